"""`overseer repo` as it is typed: its output and its exit status; the first story by real processes."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from tests.contract.publishing import PASSPHRASE, quick_key
from tests.contract.stand_in import PATIENCE, program

from overseer.cli.main import cli

if TYPE_CHECKING:
    from pathlib import Path


class Shell:
    """A folder, and commands typed in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.passphrase: str | None = PASSPHRASE
        self.real = False

    def repo(self, *arguments: str, status: int = 0) -> str:
        """Run `overseer repo`; return what it said."""
        found, said = (self._process if self.real else self._here)(arguments)
        assert found == status, said
        assert "Traceback" not in said
        return said

    def _process(self, arguments: tuple[str, ...]) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "overseer", "repo", *arguments],
            check=False,
            cwd=self.folder,
            env={**os.environ, "OVERSEER_PASSPHRASE": PASSPHRASE},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    def _here(self, arguments: tuple[str, ...]) -> tuple[int, str]:
        known = {"OVERSEER_PASSPHRASE": self.passphrase}
        done = CliRunner().invoke(cli, ["repo", *arguments], env=known)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return done.exit_code, done.output

    def begin(self) -> str:
        """Make a repository with keys that open at once."""
        for key in ("offline", "online"):
            quick_key(str(self.folder / "overseer-repo" / "keys" / f"{key}.key"))
        return self.repo("init", "app")

    def release(self, version: str, *, content: bytes = b"", name: str = "app.py") -> str:
        """Write a release, and return its name."""
        (self.folder / name).write_bytes(content or program(version))
        return name


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Have an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path)


@pytest.mark.long
def test_two_commands_make_a_signed_release(shell: Shell) -> None:
    """`init` and `publish`, by real processes; the keys they leave are nobody else's and encrypted."""
    shell.real = True
    said = shell.repo("init", "app")
    assert "made: the repository of app in overseer-repo/public" in said
    assert 'trust=overseer.TUF(root="root.json")' in said
    assert "published: app-1.0-any.py" in shell.repo("publish", shell.release("1.0"))
    shell.real = False
    assert "all is well" in shell.repo("verify", "--deep")
    keys = shell.folder / "overseer-repo" / "keys"
    for key in ("offline.key", "online.key"):
        assert (keys / key).stat().st_mode & 0o777 == 0o600
        assert subprocess.run(["ssh-keygen", "-y", "-P", "wrong", "-f", keys / key], check=False).returncode
        shown = subprocess.check_output(["ssh-keygen", "-y", "-P", PASSPHRASE, "-f", keys / key], text=True)
        assert (keys / f"{key}.pub").read_text().split()[:2] == shown.split()[:2]


def test_each_command_again_does_nothing(shell: Shell) -> None:
    """And a machine that has the online key only can renew, and nothing else."""
    shell.begin()
    assert "there already" in shell.repo("init", "app")
    shell.repo("publish", shell.release("1.0"), "--notes", "the first")
    assert "published already" in shell.repo("publish", "app.py", "--notes", "the first")
    assert "1.0  any" in (listed := shell.repo("list"))
    assert "the first" in listed
    (shell.folder / "overseer-repo" / "keys" / "offline.key").unlink()
    assert "timestamp 3 is valid until" in shell.repo("renew")
    assert "offline.key" in shell.repo("revoke", "1.0", status=1)
    assert "problem: timestamp expires in" in shell.repo("verify", "--within", "60", status=1)


def test_what_cannot_run_is_not_published(shell: Shell) -> None:
    """Its own check is run first, and what it printed is shown; nothing was written."""
    shell.begin()
    bad = shell.release("1.0", content=b"raise SystemExit('no module named fun')")
    said = shell.repo("publish", bad, "--version", "1.0", status=1)
    assert "did not pass its check" in said
    assert "no module named fun" in said
    assert "says that it is version 1.0, not 2.0" in shell.repo(
        "publish", shell.release("1.0"), "--version", "2.0", status=1
    )
    assert "it is a web page" in shell.repo("publish", shell.release("", content=b"<html>"), status=1)
    assert "nothing is published yet" in shell.repo("list")
    shell.release("", content=b"#!/usr/bin/env python3\nprint('hello')")
    told = shell.repo("publish", bad, "--version", "1.0", "--no-check")
    assert "not checked here: you said --no-check" in told


def test_a_release_for_another_machine_is_not_run(shell: Shell) -> None:
    """It is published as what it is said to be, and that it was not checked is told."""
    shell.begin()
    name = shell.release("", content=b"\x7fELF\x02\x01" + bytes(12) + b"\xf3\x00" + bytes(50), name="app")
    said = shell.repo("publish", name, "--version", "1.0", "--platform", "linux-riscv64-gnu")
    assert "not checked here: it is for linux-riscv64-gnu" in said
    assert "published: app-1.0-linux-riscv64-gnu," in said


def test_a_secret_is_asked_of_nobody_where_nobody_is(shell: Shell) -> None:
    """A wrong passphrase and none at all are told apart, and a file may hold it."""
    shell.begin()
    shell.passphrase = "wrong"
    assert "the passphrase is wrong" in shell.repo("renew", status=1)
    shell.passphrase = None
    assert "there is nobody to ask; use --passphrase-file" in shell.repo("renew", status=1)
    (shell.folder / "secret").write_text(PASSPHRASE + "\n")
    shell.repo("--passphrase-file", "secret", "renew")


def test_what_a_program_wants_is_given_to_its_check(shell: Shell) -> None:
    """Behind two dashes, as it would be typed for the program itself."""
    shell.begin()
    wants = b"import sys\nif sys.argv[1:] != ['--port', '3000']: sys.exit('which port?')\n"
    shell.release("", content=wants + program("1.0"))
    assert "which port?" in shell.repo("publish", "app.py", status=1)
    assert "published: app-1.0-any.py" in shell.repo("publish", "app.py", "--", "--port", "3000")


def test_the_list_of_releases_is_signed_anew_before_it_expires(shell: Shell) -> None:
    """Each problem names the command that mends it; the root's is signed by people."""
    shell.begin()
    said = shell.repo("verify", "--within", "1100", status=1)
    assert "targets expires in" in said
    assert "overseer repo renew --targets signs it anew" in said
    assert "overseer repo root export signs it anew" in said
    shell.repo("renew", "--targets")
    assert "targets 2 expires" in shell.repo("verify")


def test_what_is_served_is_looked_at_where_clients_look(shell: Shell) -> None:
    """A server that has not got the newest files, or nothing at all, is found out."""
    shell.begin()
    shell.repo("publish", shell.release("1.0"))
    public = shell.folder / "overseer-repo" / "public"
    handler = partial(SimpleHTTPRequestHandler, directory=public)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{served.server_port}/"
        assert f"as a client sees {url}" in (said := shell.repo("verify", "--deep", "--url", url))
        assert "all is well" in said
        (release,) = public.glob("*.app-1.0-any.py")
        release.write_bytes(b"x" * release.stat().st_size)
        assert "does not have the digest that is signed" in shell.repo(
            "verify", "--deep", "--url", url, status=1
        )
        release.unlink()
        assert "has 0 bytes" in shell.repo("verify", "--url", url, status=1)
        (public / "2.targets.json").unlink()
        assert "2.targets.json is missing" in shell.repo("verify", "--url", url, status=1)
        served.shutdown()
    said = shell.repo("verify", "--url", url, status=1)
    assert f"problem: {url}timestamp.json could not be read: Connection refused\n" in said


def test_what_is_purged_is_gone(shell: Shell) -> None:
    """Revoked, and no longer served."""
    shell.begin()
    shell.repo("publish", shell.release("1.0"))
    public = shell.folder / "overseer-repo" / "public"
    assert list(public.glob("*.app-1.0-any.py"))
    assert "revoked: app-1.0-any.py" in shell.repo("revoke", "1.0", "--purge")
    assert not list(public.glob("*.app-1.0-any.py"))
    assert "version 1.0 is not published; there is none" in shell.repo("revoke", "1.0", status=1)
    assert "version 1.0 was revoked" in shell.repo("publish", "app.py", status=1)
    assert "all is well" in shell.repo("verify", "--deep")


@pytest.mark.long
def test_a_person_is_asked_and_sees_how_far_it_is(shell: Shell) -> None:
    """On a terminal, and only there: the passphrase is asked for and not shown, and a bar is drawn."""
    shell.release("", content=program("1.0") + b"#" * (3 << 20))
    keys = [f"overseer-repo/keys/{key}.key: " for key in ("offline", "online")]
    said = typed(shell, ["init", "app"], [keys[0], "confirmation: ", keys[1], "confirmation: "])
    assert "made: the repository of app" in said
    said += typed(shell, ["publish", "app.py"], keys)
    assert "3.1/3.1 MB" in said
    assert PASSPHRASE not in said


def typed(shell: Shell, arguments: list[str], questions: list[str]) -> str:
    """Run `overseer repo` on a terminal and answer its questions with the passphrase; return what is seen."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OVERSEER_")}
    environ |= {"TERM": "xterm", "COLUMNS": "100"}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "overseer", "repo", *arguments]
    ends = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = subprocess.Popen(command, cwd=shell.folder, env=environ, start_new_session=True, **ends)  # type: ignore[call-overload]
    with process, open(ours, "r+b", buffering=0) as terminal:
        os.close(theirs)
        seen, at = "", 0
        while select.select([terminal], [], [], PATIENCE)[0]:
            try:
                seen += terminal.read(4096).decode(errors="replace")
            except OSError:  # its end, on a terminal
                break
            if questions and (found := seen.find(questions[0], at)) >= 0:
                at = found + len(questions.pop(0))
                terminal.write(PASSPHRASE.encode() + b"\n")
        else:
            process.kill()
        assert process.wait() == 0, seen
    assert not questions, seen
    return seen


def test_a_folder_that_makes_no_sense_is_told(shell: Shell) -> None:
    """One line that says which file, and what to do."""
    assert "overseer repo init makes one" in shell.repo("list", status=1)
    (shell.folder / "overseer-repo").mkdir()
    config = shell.folder / "overseer-repo" / "repo.json"
    for nonsense in ("{", "[]", json.dumps({"name": "app", "days": 3}), json.dumps({"name": "a", "x": 1})):
        config.write_text(nonsense)
        assert "repo.json" in shell.repo("list", status=1)


def test_a_place_with_a_slip_in_it_can_be_mended(shell: Shell) -> None:
    """The keys are made by then: the line says where the place is written."""
    for key in ("offline", "online"):
        quick_key(str(shell.folder / "overseer-repo" / "keys" / f"{key}.key"))
    assert "cannot be written" in shell.repo("init", "app", "--to", "/proc/nowhere", status=1)
    said = shell.repo("init", "app", "--to", "served", status=1)
    assert "or change that in overseer-repo/repo.json" in said
    config = shell.folder / "overseer-repo" / "repo.json"
    config.write_text(config.read_text().replace("/proc/nowhere", str(shell.folder / "served")))
    assert "made: the repository of app in" in shell.repo("init", "app", "--to", "served")


def test_a_file_that_is_not_there_is_told_without_the_systems_numbers(shell: Shell) -> None:
    """The name first, and what is wrong with it."""
    assert "File 'none' does not exist" in shell.repo("--passphrase-file", "none", "list", status=2)
    shell.begin()
    said = shell.repo("root", "export", "/proc/nowhere/root.json", status=1)
    assert said.startswith("overseer: error: /proc/nowhere/root.json.")
    assert said.endswith(": No such file or directory\n")


def test_what_has_expired_is_told_as_past(shell: Shell) -> None:
    """And a key that is not there by its name, without the system's numbers."""
    home = shell.folder / "overseer-repo"
    shell.begin()
    config = json.loads((home / "repo.json").read_text())
    config["days"]["timestamp"] = -3
    (home / "repo.json").write_text(json.dumps(config))
    shell.repo("renew")
    assert ", 3 days ago\n" in (said := shell.repo("verify", status=1))
    assert "in -" not in said
    (home / "keys" / "online.key").unlink()
    said = shell.repo("renew", status=1)
    assert said.endswith("/online.key cannot be used: No such file or directory\n")
