"""Service managers, each with its verbs, and with the configuration that we print for it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar

from click.testing import CliRunner

from overseer.cli.main import cli
from tests.process.service import until

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = os.path.dirname(sys.executable)

PATIENCE = 60.0
"""Seconds for what a manager does on a machine with other work."""


def printed(manager: str, name: str, folder: Path) -> str:
    """Return what `overseer unit --for MANAGER` prints for app.py in a folder."""
    words = ["unit", "--for", manager, "--name", name, "--directory", str(folder), "--"]
    done = CliRunner().invoke(cli, [*words, sys.executable, str(folder / "app.py")])
    assert done.exit_code == 0, done.output
    return done.stdout  # on the other one it may be doubted


class Manager:
    """A manager with one service, whose program is `folder`/app.py and whose log is `log`."""

    tools: ClassVar[tuple[str, ...]] = ()
    """What has to be installed."""
    kind: ClassVar[str]
    """What `overseer unit` calls it."""

    def __init__(self, name: str, folder: Path) -> None:
        """Print the configuration, write it where this manager looks, and start it."""
        self.name = name
        self.folder = folder
        self.text = printed(self.kind, name, folder)
        self.log = folder / "log"
        self.control = Path("/run") / name / "overseer.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def missing(cls) -> str:
        """Say why this cannot be run here; empty when it can."""
        if os.geteuid() != 0:
            return "only root can be asked to write where managers look"
        absent = [tool for tool in cls.tools if not shutil.which(tool, path=f"{BIN}:{os.environ['PATH']}")]
        return f"not installed: {', '.join(absent)} (make machine)" if absent else ""

    def start(self) -> None:
        """Start the manager; it starts the service."""
        raise NotImplementedError

    def restart(self) -> None:
        """Have a graceful restart, by the verb of this manager."""
        raise NotImplementedError

    def ask_to_stop(self) -> None:
        """Ask for a stop, and return at once."""
        raise NotImplementedError

    def end(self) -> str:
        """Wait for the service's end; return its exit status as this manager tells it."""
        raise NotImplementedError

    def pid(self) -> int:
        """Return the service's PID as this manager knows it."""
        raise NotImplementedError

    def clean(self) -> None:
        """End the manager, whatever it was doing."""
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(Path("/run") / self.name, ignore_errors=True)

    def launch(self, *command: str, out: int | IO[bytes] = subprocess.DEVNULL) -> None:
        """Start a process that lasts until `clean`."""
        self.process = subprocess.Popen(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )

    def launch_logged(self, *command: str) -> None:
        """Start one that writes into the log."""
        with self.log.open("ab") as log:
            self.launch(*command, out=log)


def run(*command: str) -> str:
    """Run a tool of a manager to its end; return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, (command, done)
    return done.stdout


class Supervisor(Manager):
    """supervisord, with its own command line."""

    kind = "supervisor"
    tools: ClassVar[tuple[str, ...]] = ("supervisord",)

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self.log = Path("/var/log") / f"{name}.log"
        self.control = folder / "overseer.sock"
        self.conf = folder / "supervisor.conf"
        socket = f"unix://{folder}/s.sock"
        self.conf.write_text(
            f"[supervisord]\nnodaemon=true\nlogfile={folder}/supervisor.log\npidfile={folder}/supervisor.pid\n"
            f"[unix_http_server]\nfile={folder}/s.sock\n[supervisorctl]\nserverurl={socket}\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n" + self.text
        )

    def start(self) -> None:
        """Start it in the foreground."""
        self.launch(f"{BIN}/supervisord", "-n", "-c", str(self.conf))

    def ctl(self, *words: str) -> str:
        """Run supervisorctl."""
        return run(f"{BIN}/supervisorctl", "-c", str(self.conf), *words)

    def restart(self) -> None:
        """By signal: its own restart is a stop and a start."""
        self.ctl("signal", "USR2", self.name)

    def ask_to_stop(self) -> None:
        """By its stop, which waits; so in the background."""
        command = (f"{BIN}/supervisorctl", "-c", str(self.conf), "stop", self.name)
        self.stopping = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def end(self) -> str:
        """It tells in its log."""
        assert self.stopping.wait(PATIENCE) == 0
        told = re.findall(rf"stopped: {self.name} \((.*)\)", (self.folder / "supervisor.log").read_text())
        return str(told[-1])

    def pid(self) -> int:
        """As `supervisorctl pid` tells it."""
        return int(self.ctl("pid", self.name))

    def clean(self) -> None:
        """Its log, too."""
        super().clean()
        self.log.unlink(missing_ok=True)


class Runit(Manager):
    """runsvdir, and sv."""

    kind = "runit"
    tools: ClassVar[tuple[str, ...]] = ("runsvdir", "sv")
    scan: ClassVar[tuple[str, ...]] = ("runsvdir", "-P")
    over: ClassVar[signal.Signals] = signal.SIGHUP
    """What ends the manager together with its services."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self.service = folder / "services" / name
        self.service.mkdir(parents=True)
        for script, text in {"run": self.text, "finish": f'#!/bin/sh\necho "$1" >{folder}/ended\n'}.items():
            (self.service / script).write_text(text)
            (self.service / script).chmod(0o755)

    def start(self) -> None:
        """Start it over its folder of services."""
        self.launch_logged(*self.scan, str(self.service.parent))

    def restart(self) -> None:
        """By its verb for SIGUSR2."""
        run("sv", "2", str(self.service))

    def ask_to_stop(self) -> None:
        """It stays down then."""
        run("sv", "down", str(self.service))

    def end(self) -> str:
        """What `finish` was told, which is run at the end."""
        ended = self.folder / "ended"
        until(lambda: ended.exists() and ended.read_text().strip(), "finish was run", PATIENCE)
        return f"exit status {ended.read_text().strip()}"

    def pid(self) -> int:
        """As its own file tells it."""
        return int((self.service / "supervise" / "pid").read_text())

    def clean(self) -> None:
        """It ends its services with it."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(self.over)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE)
        super().clean()


class S6(Runit):
    """s6-svscan, and s6-svc."""

    kind = "s6"
    tools: ClassVar[tuple[str, ...]] = ("s6-svscan", "s6-svc", "s6-svstat")
    scan: ClassVar[tuple[str, ...]] = ("s6-svscan",)
    over = signal.SIGTERM

    def restart(self) -> None:
        """By its verb for SIGUSR2."""
        run("s6-svc", "-2", str(self.service))

    def ask_to_stop(self) -> None:
        """It stays down then."""
        run("s6-svc", "-d", str(self.service))

    def pid(self) -> int:
        """As s6-svstat tells it."""
        return int(run("s6-svstat", "-o", "pid", str(self.service)))


class Contained(Manager):
    """The program as process 1 of a PID namespace, by the words of the image that `overseer unit` prints."""

    kind = "docker"
    tools: ClassVar[tuple[str, ...]] = ("unshare",)

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        told = dict(line.split(" ", 1) for line in self.text.splitlines() if not line.startswith("#"))
        self.command: list[str] = json.loads(told["CMD"])
        self.number = signal.Signals[told["STOPSIGNAL"]]
        assert told["WORKDIR"] == str(folder)
        self.control = folder / "overseer.sock"

    def start(self) -> None:
        """Start it; what unshare(1) waits for is process 1."""
        inside = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self.launch_logged("env", f"RUNTIME_DIRECTORY={self.folder}", *inside, *self.command)

    def restart(self) -> None:
        """As `docker kill --signal=USR2`."""
        os.kill(self.pid(), signal.SIGUSR2)

    def ask_to_stop(self) -> None:
        """As `docker stop`."""
        os.kill(self.pid(), self.number)

    def end(self) -> str:
        """unshare(1) ends as process 1 did."""
        assert self.process
        return f"exit status {self.process.wait(PATIENCE)}"

    def pid(self) -> int:
        """The child of unshare(1), seen from outside."""
        assert self.process
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text())


class Podman(Contained):
    """The same in a container of podman; its root is this machine's, and what it writes there is lost."""

    tools: ClassVar[tuple[str, ...]] = ("podman", "runc", "conmon")
    LIMITS: ClassVar[tuple[str, ...]] = ("--ulimit", "nofile=1024:4096", "--ulimit", "nproc=4096:4096")

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self.client: tuple[str, ...] = self.podman()

    @classmethod
    def missing(cls) -> str:
        """Containers need more of a machine than their tools."""
        if why := super().missing():
            return why
        done = subprocess.run(
            [*cls.podman(), "run", "--rm", "--network=host", *cls.LIMITS, "--rootfs", "/:O", "true"],
            capture_output=True,
            text=True,
            check=False,
        )
        return "" if done.returncode == 0 else f"podman runs no container here: {done.stderr.strip()[-200:]}"

    @staticmethod
    def podman() -> tuple[str, ...]:
        """Return how it is called where nothing is set up for it."""
        return ("podman", "--log-level=error", "--runtime", "runc", "--cgroup-manager=cgroupfs")

    def start(self) -> None:
        """Start a container, and wait for it with its own log."""
        self.run_container("--workdir", str(self.folder), *self.LIMITS, "--rootfs", "/:O", *self.command)

    def run_container(self, *words: str) -> None:
        """With the network of this machine, and the folder in it as it is outside."""
        here = ["--network=host", "--name", self.name, "--env", f"RUNTIME_DIRECTORY={self.folder}"]
        self.launch_logged(*self.client, "run", *here, "--volume", f"{self.folder}:{self.folder}", *words)

    def restart(self) -> None:
        """By its verb."""
        run(*self.client, "kill", "--signal=USR2", self.name)

    def ask_to_stop(self) -> None:
        """By its verb, which waits; so in the background."""
        command = (*self.client, "stop", "-t", "45", self.name)
        self.stopping = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def end(self) -> str:
        """Its `run` ends as process 1 did."""
        told = super().end()
        assert self.stopping.wait(PATIENCE) == 0
        return told

    def pid(self) -> int:
        """As it is seen from outside."""
        return int(run(*self.client, "inspect", "--format", "{{.State.Pid}}", self.name))

    def clean(self) -> None:
        """The container, too."""
        subprocess.run([*self.client, "rm", "--force", self.name], capture_output=True, check=False)
        super().clean()


class Docker(Podman):
    """The same under a daemon of docker, which builds its image with the lines that are printed.

    The image is an empty folder otherwise: what the program needs of this machine is mounted, to be read.
    """

    tools: ClassVar[tuple[str, ...]] = ("dockerd", "docker", "containerd", "runc")

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self.state = Path("/run") / name  # not in `folder`: containerd's sockets have long names
        self.client = ("docker", "--host", f"unix://{self.state}/docker.sock")
        self.daemon: subprocess.Popen[bytes] | None = None

    @classmethod
    def missing(cls) -> str:
        """Its daemon wants more of a machine than its tools."""
        if why := super(Podman, cls).missing():
            return why
        with tempfile.TemporaryDirectory() as folder:
            docker = cls(f"ovs{os.getpid()}try", Path(folder))
            try:
                docker.start_daemon()
                run(*docker.client, "run", "--rm", *docker.needed(), docker.name, "/bin/true")
            except AssertionError as failed:
                told = (Path(folder) / "daemon").read_text(errors="replace").strip()
                return f"docker runs no container here: {str(failed)[-200:]} {told[-400:]}"
            finally:
                docker.clean()
        return ""

    def start_daemon(self) -> None:
        """Start one of our own, that touches no network, and build the image."""
        self.state.mkdir(parents=True, exist_ok=True)
        command = ["dockerd", "--host", f"unix://{self.state}/docker.sock", "--pidfile", f"{self.state}/pid"]
        command += ["--data-root", f"{self.folder}/docker", "--exec-root", f"{self.state}/docker"]
        command += ["--bridge=none", "--iptables=false", "--ip6tables=false"]
        with (self.folder / "daemon").open("wb") as log:
            self.daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        asks = [*self.client, "info"]
        until(lambda: not subprocess.run(asks, capture_output=True, check=False).returncode, "it runs")
        image = self.folder / "image"
        image.mkdir()
        for link in filter(os.path.islink, ("/bin", "/sbin", "/lib", "/lib64")):  # into /usr
            (image / link[1:]).symlink_to(os.readlink(link))
        (image / "Dockerfile").write_text(f"FROM scratch\nCOPY . /\n{self.text}")
        old = {**os.environ, "DOCKER_BUILDKIT": "0"}  # the builder that needs no part of its own
        build = [*self.client, "build", "--tag", self.name, str(image)]
        done = subprocess.run(build, capture_output=True, text=True, env=old, check=False)
        assert done.returncode == 0, done

    @staticmethod
    def needed() -> Iterator[str]:
        """Mount what a program of Python is made of, and us."""
        for place in {"/usr", "/etc", sys.base_prefix, sys.prefix, str(Path(__file__).parents[2])}:
            yield f"--volume={place}:{place}:ro"

    def start(self) -> None:
        """With the image's own folder, command and signal."""
        self.start_daemon()
        self.run_container(*self.needed(), self.name)

    def clean(self) -> None:
        """The daemon, too, and what it leaves mounted."""
        subprocess.run([*self.client, "rm", "--force", self.name], capture_output=True, check=False)
        if self.daemon:
            self.daemon.terminate()
            self.daemon.wait(PATIENCE)
        for place in (self.folder / "docker", self.state / "docker" / "netns" / "default"):
            subprocess.run(["umount", str(place)], capture_output=True, check=False)
        super().clean()


MANAGERS: dict[str, type[Manager]] = {
    "supervisor": Supervisor,
    "runit": Runit,
    "s6": S6,
    "process 1": Contained,
    "podman": Podman,
    "docker": Docker,
}
"""By the names that docs/howto/managers.md calls them."""
