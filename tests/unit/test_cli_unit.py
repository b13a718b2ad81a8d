"""What `overseer unit` prints is what its reader takes; and completion completes."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from overseer.cli.main import cli

if TYPE_CHECKING:
    from pathlib import Path


def printed(*words: str) -> str:
    """Run `overseer` with these words; return what it prints."""
    done = CliRunner().invoke(cli, [*words])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit_without_a_word(tmp_path: Path) -> None:
    """Quoting included: no word of the command is looked up or cut."""
    program = tmp_path / "app.py"
    program.write_text("")
    words = (sys.executable, str(program), "100%", "$HOME", 'a "b"', "c;d")
    unit = tmp_path / "app.service"
    unit.write_text(printed("unit", "--directory", str(tmp_path), "--", *words))
    assert 'app.py "100%%" "$$HOME" "a \\"b\\"" "c;d"' in unit.read_text()
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    ours = [line for line in done.stderr.splitlines() if "app.service" in line]
    assert ours == []


def test_the_name_is_that_of_the_script() -> None:
    """And not of the interpreter; without a script it is the program's."""
    assert "Description=shop under" in printed("unit", "--", "python3", "/srv/shop.py")
    assert "RuntimeDirectory=nginx" in printed("unit", "--", "/usr/sbin/nginx")
    assert "RuntimeDirectory=web" in printed("unit", "--name", "web", "--", "nginx")
    assert CliRunner().invoke(cli, ["unit", "--name", "a/b", "--", "nginx"]).exit_code == 2


@pytest.mark.parametrize(
    ("toml", "words", "patience"),
    [
        ("", ["--", "nginx"], 45),
        ("", ["--", "overseer", "run", "--", "nginx"], 45),
        ("", ["--", "/opt/bin/overseer", "run", "--terminate-timeout", "299.5", "--", "nginx"], 315),
        ("terminate_timeout = 100", ["--", "overseer", "run", "--", "nginx"], 115),
        ("terminate_timeout = 100", ["--patience", "7", "--", "overseer", "run", "--", "nginx"], 7),
        ("terminate_timeout = inf", ["--", "overseer", "run", "--", "nginx"], 604_815),
        ("terminate_timeout = 100", ["--", "nginx"], 45),
    ],
)
def test_a_stop_is_given_the_time_that_draining_may_take(
    tmp_path: Path, toml: str, words: list[str], patience: int
) -> None:
    """A manager that kills before the master does would cut what is still being answered."""
    (tmp_path / "overseer.toml").write_text(toml)
    assert f"TimeoutStopSec={patience}\n" in printed("unit", "--directory", str(tmp_path), *words)


def test_the_options_of_overseer_run_are_checked(tmp_path: Path) -> None:
    """A unit that would not start is not printed; the name that was said is the unit's."""
    run = ["unit", "--directory", str(tmp_path), "--", "overseer", "run"]
    assert "Description=web under" in printed(*run, "--name", "web", "--", "nginx")
    assert "Description=nginx under" in printed(*run, "--", "nginx")
    (tmp_path / "overseer.toml").write_text("\nterminate_timeout = -1\n")
    for wrong in (["--", "nginx"], ["--frobnicate", "--", "nginx"]):
        done = CliRunner().invoke(cli, [*run, *wrong])
        assert done.exit_code == 2
        assert ("line 2: terminate_timeout" in done.output) == (wrong[0] == "--")
        assert ("No such option" in done.output) == (wrong[0] != "--")


def test_supervisor_takes_its_section() -> None:
    """Which is an INI file with % doubled."""
    parser = configparser.RawConfigParser()
    words = ("--user", "app", "--directory", "/srv/100%", "--", "sh", "-c", "echo 100%")
    parser.read_string(printed("unit", "--for", "supervisor", *words))
    section = parser["program:sh"]
    assert section["command"].endswith("sh -c 'echo 100%%'")
    assert section["user"] == "app"
    assert section["directory"] == "/srv/100%%"


@pytest.mark.parametrize(("manager", "tool"), [("runit", "chpst"), ("s6", "s6-setuidgid")])
def test_runit_and_s6_take_a_script(tmp_path: Path, manager: str, tool: str) -> None:
    """It becomes the program, from its folder, and the user may write where the control socket is put."""
    here, script = tmp_path / "a folder", tmp_path / "run"
    here.mkdir()
    words = ("--user", "app", "--directory", str(here), "--", "sh", "-c", "echo hello")
    text = printed("unit", "--for", manager, *words)
    script.write_text(text.replace("/run/sh", str(tmp_path / "control")))
    for name in ("chown", tool):  # in place of tools that only root may use: they say what they are told
        (tmp_path / name).write_text('#!/bin/sh\necho "${0##*/} in ${PWD##*/}:" "$@"\n')
        (tmp_path / name).chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", script], env=environ, stdout=subprocess.PIPE, text=True, check=True)
    program = f"{'-u ' if tool == 'chpst' else ''}app {shutil.which('sh')} -c echo hello"
    assert done.stdout.splitlines() == [
        f"chown in a folder: app {tmp_path}/control",
        f"{tool} in a folder: {program}",
    ]


def test_a_container_has_it_as_its_first_process() -> None:
    """Without a shell between, which would not pass signals on."""
    lines = printed("unit", "--for", "docker", "--", "sh", "-c", 'echo "hello\\n"').splitlines()
    (command,) = (line.removeprefix("CMD ") for line in lines if line.startswith("CMD "))
    assert json.loads(command)[1:] == ["-c", 'echo "hello\\n"']


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_learns_to_complete(shell: str) -> None:
    """And then the commands are what is completed."""
    assert "_OVERSEER_COMPLETE" in printed("completion", shell)
    environ = {
        **os.environ,
        "_OVERSEER_COMPLETE": "bash_complete",
        "COMP_WORDS": "overseer re",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), "overseer")],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} >= {"restart", "reexec", "repo"}


def test_the_help_tells_every_command_whole() -> None:
    """In one line each, none of them cut."""
    for words, one in ((["--help"], "  reexec "), (["repo", "--help"], "  renew ")):
        told = CliRunner().invoke(cli, words).output.partition("Commands:")[2]
        assert one in told
        assert "..." not in told


@pytest.mark.parametrize(
    ("words", "doubt"),
    [
        (["--", "gunicorn", "app:app"], "COMMAND be overseer run --address ADDRESS -- "),
        (["--", sys.executable, "-m", "uvicorn", "app:app"], "uvicorn does not call overseer.run"),
        (["--for", "docker", "--", "uvicorn", "app:app"], "uvicorn does not call overseer.run"),
        (["--", "no-such-python", "app.py"], "no-such-python is not found here; the manager needs its whole"),
        (["--", sys.executable, "gone.py"], "there is no gone.py in "),
        (["--directory", "/nonexistent", "--", sys.executable, "app.py"], "there is no folder /nonexistent"),
    ],
)
def test_what_will_hardly_work_is_doubted_beside_the_unit(words: list[str], doubt: str) -> None:
    """On standard error: the unit is printed all the same, for it may be for another machine."""
    done = CliRunner().invoke(cli, ["unit", *words])
    assert done.exit_code == 0
    assert done.stderr.startswith("overseer: warning: ")
    assert doubt in done.stderr
    assert "overseer: warning" not in done.stdout


def test_what_will_work_is_not_doubted(tmp_path: Path) -> None:
    """Nor what is for a container, whose files are elsewhere."""
    (tmp_path / "app.py").write_text("")
    here = ["unit", "--directory", str(tmp_path)]
    for words in (
        [*here, "--", sys.executable, "app.py"],
        [*here, "--", shutil.which("sh") or "", "-c", "exit"],
        ["unit", "--for", "docker", "--directory", "/srv", "--", "python", "app.py"],
        [*here, "--", sys.executable.replace("python", "overseer"), "run", "--", "gunicorn", "app:app"],
    ):
        done = CliRunner().invoke(cli, words)
        assert (done.exit_code, done.stderr) == (0, ""), words


def test_a_stop_has_some_time() -> None:
    """To systemd, TimeoutStopSec=0 is for ever."""
    assert CliRunner().invoke(cli, ["unit", "--patience", "0", "--", "sh"]).exit_code == 2
