"""Any executable as the program: sockets, readiness, draining and notices as under systemd."""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.process.foreigners import NOTIFYING, QUIET, foreign, written
from tests.process.service import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process.service import Service


def test_a_restart_is_gated_by_ready_and_keeps_what_is_in_flight(service: Callable[..., Service]) -> None:
    """READY=1 brings the next one in; the old one drains by signal and finishes its request."""
    app = foreign(service, "--ready", "notify", body=NOTIFYING).serves()
    held = app.hold()
    assert app.restart() == 2
    app.answers(2)
    assert app.release(held) == 1
    app.logged(r"generation 1 \(pid \d+\) left after .*: exit status 0")
    app.signal(signal.SIGTERM)
    assert app.wait() == 0


def test_a_program_that_says_nothing_is_ready_when_it_has_lived(service: Callable[..., Service]) -> None:
    """For `--ready-after` seconds; one that dies before is no restart."""
    app = foreign(service, "--ready-after", "1").serves()
    app.write(written("sys.exit(3)"))
    answer = app.ask("restart")
    assert (answer["outcome"], "exit status 3" in answer["detail"]) == ("failed", True)
    assert app.knock()[0] == 1


@pytest.mark.long
def test_only_its_word_counts_where_it_is_asked_for(service: Callable[..., Service]) -> None:
    """With --ready notify being alive is not enough; the old generation serves on."""
    app = foreign(service, "--ready", "notify", "--ready-timeout", "3", body=NOTIFYING).serves()
    app.write(written(QUIET))
    answer = app.ask("restart")
    assert answer == answer | {"outcome": "failed", "detail": "was not ready within 3 s"}
    app.logged(r"generation 2 \(pid \d+\) left")  # until then it may accept as well
    assert app.knock()[0] == 1


def test_the_signals_are_the_programs_own(service: Callable[..., Service]) -> None:
    """One asks to drain, another to stop; dying of it is a good end."""
    app = foreign(
        service, "--ready", "notify", "--drain-signal", "USR1", "--stop-signal", "QUIT", body=NOTIFYING
    ).serves()
    app.restart()
    app.said(rf"leaves 1 {int(signal.SIGUSR1)}")
    app.signal(signal.SIGTERM)
    app.said(rf"leaves 2 {int(signal.SIGQUIT)}")
    assert app.wait() == 0


def test_who_dies_of_its_drain_signal_has_left_cleanly(service: Callable[..., Service]) -> None:
    """As uvicorn does, which ends by raising the signal again."""
    body = "notify('READY=1')\nprogram()\nsignal.signal(15, signal.SIG_DFL)\nos.kill(os.getpid(), 15)"
    app = foreign(service, "--ready", "notify", body=body).serves()
    app.signal(signal.SIGTERM)
    assert app.wait() == 0


def test_other_clean_ends_can_be_told(service: Callable[..., Service]) -> None:
    """A status that the program has for a good end becomes 0."""
    body = "notify('READY=1')\nprogram()\nsys.exit(7)"
    app = foreign(service, "--ready", "notify", "--clean-exit", "7", body=body).serves()
    app.signal(signal.SIGTERM)
    assert app.wait() == 0


def test_a_wrong_file_of_options_fails_the_restart_and_nothing_else(service: Callable[..., Service]) -> None:
    """Every generation reads it anew; the reason names the file and the line."""
    app = foreign(service, body=NOTIFYING).serves()
    (app.folder / "overseer.toml").write_text("workers = 1\nterminate_timout = 3\n")
    answer = app.ask("restart")
    assert answer["outcome"] == "failed"
    assert (
        "overseer.toml, line 2: terminate_timout: is no option; was terminate_timeout meant?"
        in answer["detail"]
    )
    assert app.knock()[0] == 1
    (app.folder / "overseer.toml").write_text("workers = 2\n")
    app.restart()
    assert len(app.pids(3)) == 2


def test_a_program_that_is_gone_fails_the_restart_and_nothing_else(
    service: Callable[..., Service],
) -> None:
    """The reason says so."""
    app = foreign(service, "--env-file", "-variables", body=NOTIFYING).serves()
    (app.folder / "variables").write_text("PATH=/nowhere\nPYTHONHOME='/no where'\nodd line\n")
    answer = app.ask("restart")
    assert "variables, line 3: 'odd line' is no NAME=VALUE" in answer["detail"]
    assert app.knock()[0] == 1


def test_variables_and_the_folder_follow_the_generation(service: Callable[..., Service]) -> None:
    """Files of variables are read anew, and a link to the current release is followed anew."""
    body = "print('at', os.environ['WHERE'], os.path.basename(os.getcwd()), flush=True)\n" + NOTIFYING
    app = foreign(service, "--env-file", "variables", "--directory", "now", body=body, write=False)
    app.wait()  # there is no such file: it does not even start
    assert "variables is not there" in app.log
    app = service(
        written(body),
        command=[
            *("-m", "overseer", "run", "--address", "127.0.0.1:0", "--env-file", "-variables"),
            *("--directory", ".", "--", sys.executable, "app.py", "{generation}", "{worker}"),
        ],
        env={"WHERE": "first"},
    ).serves()
    app.said("at first service1")
    (app.folder / "variables").write_text("WHERE=second # and a comment\n")
    app.restart()
    app.said("at second service1")


def test_what_it_says_of_itself_is_shown(service: Callable[..., Service]) -> None:
    """STATUS= stands in the status."""
    app = foreign(service, "--ready", "notify", body="notify('READY=1\\nSTATUS=well')\nprogram()").serves()
    (worker,) = app.status()["generations"][0]["workers"]
    assert worker["says"] == "well"


def test_a_silent_program_is_killed_by_its_watchdog(service: Callable[..., Service]) -> None:
    """Fed it lives; its silence is an unexpected end, and with several workers one is replaced."""
    body = """
assert int(os.environ["WATCHDOG_PID"]) == os.getpid()
notify("READY=1")
def feed():
    while not os.path.exists("starve"):
        notify("WATCHDOG=1")
        left.wait(int(os.environ["WATCHDOG_USEC"]) / 4e6)
threading.Thread(target=feed, daemon=True).start()
program()
"""
    app = foreign(service, "--ready", "notify", "--watchdog", "0.8", "--workers", "2", body=body).serves()
    before = app.pids(1)
    (app.folder / "starve").touch()
    app.logged(r"generation 1, worker [12] \(pid \d+\) was silent for .* its watchdog allows 0.8 s", 2)
    (app.folder / "starve").unlink()
    until(lambda: len({*app.pids(1)} - {*before}) == 2, "both are replaced")


@pytest.mark.long
def test_a_program_may_take_longer_if_it_says_so(service: Callable[..., Service]) -> None:
    """EXTEND_TIMEOUT_USEC moves the deadline of its start."""
    body = """
import time
for _ in range(8):
    notify("EXTEND_TIMEOUT_USEC=2000000")
    left.wait(0.25)
notify("READY=1")
program()
"""
    app = foreign(service, "--ready", "notify", "--ready-timeout", "2", body=body).serves()
    assert app.knock()[0] == 1
    app.logged(r"needs longer: 2 s from now")


def test_who_is_stopping_by_itself_is_not_asked_again(service: Callable[..., Service]) -> None:
    """STOPPING=1: many take a second signal for "at once". Its successor takes over, and it ends well."""
    body = "notify('READY=1')\nprogram()"
    app = foreign(
        service, "--ready", "notify", body=body + "\nprint('ended', generation, flush=True)"
    ).serves()
    held = app.hold()
    app.knock("notify STOPPING=1")
    app.logged(r"generation 1 \(pid \d+\) says that it is stopping")
    (pid,) = app.pids(1)
    assert app.restart() == 2
    app.logged("generation 1 drains")
    os.kill(pid, signal.SIGUSR1)  # the only one that it gets
    assert app.release(held) == 1
    app.said("ended 1")
    assert re.findall(r"leaves 1 (\d+)", app.out) == [str(int(signal.SIGUSR1))]


def test_who_is_stopping_by_itself_is_not_watched_but_has_to_go(service: Callable[..., Service]) -> None:
    """After STOPPING=1 its silence means nothing; it has `terminate_timeout`, then it is killed."""
    options = ("--ready", "notify", "--watchdog", "0.5", "--terminate-timeout", "1.5", "--workers", "2")
    body = """
notify("READY=1")
if worker == "1":
    notify("STOPPING=1")
while not left.wait(0.1):
    if worker != "1":
        notify("WATCHDOG=1")
"""
    app = foreign(service, *options, body=body).serves()
    app.logged(r"generation 1, worker 1 \(pid \d+\) is stopping by itself, and takes too long: it is killed")
    app.logged(
        r"generation 1, worker 1 \(pid \d+\) ended unasked while serving, after .*: killed by signal 9"
    )
    assert "was silent" not in app.log


def test_a_program_that_forks_away_is_told_to_stay(service: Callable[..., Service]) -> None:
    """It ends with status 0, so nothing failed; but nobody serves, and that is said. Nobody stays behind."""
    body = "if os.fork():\n    sys.exit(0)\nprint('away', os.getpid(), flush=True)\nprogram()"
    app = foreign(service, "--ready-after", "60", body=body)
    assert app.wait() == 0
    app.logged(r"generation 1 \(pid \d+\) has put itself into the background, or had nothing to serve: run")
    away = [f"/proc/{pid}" for pid in re.findall(r"away (\d+)", app.out)]
    until(lambda: not any(map(os.path.exists, away)), "it is gone, too")


def test_a_command_that_is_done_is_no_news(service: Callable[..., Service]) -> None:
    """Without an address there was nothing to serve."""
    words = ["-m", "overseer", "run", "--ready-after", "60", "--", sys.executable, "-c", "print('done')"]
    app = service(command=words)
    assert app.wait() == 0
    assert (app.out, app.log) == ("done\n", "")


def test_the_probe_is_no_part_of_the_program(service: Callable[..., Service]) -> None:
    """Where the program ends first, nobody of its process group has to be waited for."""
    app = foreign(service, "--ready-url", "tcp://127.0.0.1:{port}").serves()
    app.write(written("threading.Event().wait(0.5)\nsys.exit(3)"))
    assert "exit status 3" in app.ask("restart")["detail"]
    app.write(
        written("signal.signal(15, signal.SIG_DFL)\nprint('there', flush=True)\nthreading.Event().wait()")
    )
    with app.call() as caller:
        caller.sendall(b'{"type": "restart"}\n')
        app.said("there")
        app.signal(signal.SIGTERM)
        app.wait()
    assert "others of its process group" not in app.log


def test_a_barrier_is_answered(service: Callable[..., Service]) -> None:
    """The descriptor that comes with BARRIER=1 is closed, so systemd-notify does not hang."""
    body = """
reader_end, writer_end = os.pipe()
notify("BARRIER=1", writer_end)
os.close(writer_end)
print("answered", os.read(reader_end, 1), flush=True)
notify("READY=1")
program()
"""
    app = foreign(service, "--ready", "notify", body=body).serves()
    app.said(r"answered b''")


def test_the_master_starts_anew_and_still_hears_the_program(service: Callable[..., Service]) -> None:
    """The socket for notices survives the master's own re-exec."""
    app = foreign(service, "--ready", "notify", body=NOTIFYING).serves()
    assert app.ask("reexec")["outcome"] == "done"
    app.knock("notify STATUS=still-heard")
    until(lambda: app.status()["generations"][0]["workers"][0]["says"] == "still-heard", "it is heard")
    assert app.restart() == 2


@pytest.mark.long
def test_the_probe_is_not_fooled_by_the_old_generation(service: Callable[..., Service]) -> None:
    """Both have the same listener, so an answer counts only if the new one has accepted."""
    app = foreign(service, "--ready-url", "tcp://127.0.0.1:{port}", "--ready-timeout", "5").serves()
    app.write(written("threading.Event().wait()"))
    answer = app.ask("restart")
    assert (answer["outcome"], answer["detail"]) == ("failed", "was not ready within 5 s")
    app.write(written(QUIET))
    assert app.restart() == 3


def test_a_command_line_that_cannot_be_meant_starts_nothing(service: Callable[..., Service]) -> None:
    """One line, which names the option, and status 78."""
    for options, told in (
        (("--workers", "0"), r"--workers: 0 is less than 1"),
        (("--ready-url", "ftp://x"), r"--ready-url: 'ftp://x' is neither"),
        (("--", "{port:nobody}"), r"command: \{port:nobody\}: there is no such listener"),
        (("--config", "no.toml"), r"config: no.toml is not there"),
    ):
        app = foreign(service, *options)
        assert app.wait() == os.EX_CONFIG
        assert re.search(f"^overseer: error: {told}", app.log), app.log
        assert app.log.count("\n") == 1


def test_what_cannot_be_started_is_told_before_there_is_a_master(service: Callable[..., Service]) -> None:
    """What is wrong with it, and under the name that it was given by."""
    nothing, folder, plain = "/nonexistent/server", os.path.dirname(__file__), __file__
    for words, told in (
        (
            ("--", "no-such-server"),
            "command: there is no program no-such-server in PATH; give its whole path",
        ),
        (("--", nothing), f"command: {nothing} is not there"),
        (("--", folder), f"command: {folder} is a folder; name the program in it"),
        (("--", plain), f"command: {plain} may not be executed: chmod +x, or name its interpreter"),
        (("--directory", "gone", "--", "true"), "--directory: there is no folder gone"),
        (("--env-file", "gone", "--", "true"), "--env-file: gone is not there"),
        (("--config", folder, "--", "true"), f"config: {folder} cannot be read: Is a directory\n"),
    ):
        app = service(command=["-m", "overseer", "run", *words])
        assert app.wait() == os.EX_CONFIG
        assert app.log.startswith(f"overseer: error: {told}"), app.log
        assert app.log.count("\n") == 1


def test_a_folder_in_a_file_of_options_is_told_with_its_line(service: Callable[..., Service]) -> None:
    """Also what is found out only by looking at the disk."""
    words = "import os, sys\n"
    words += "open('overseer.toml', 'w').write('command = [\"true\"]\\ndirectory = \"gone\"\\n')\n"
    app = service(words + "os.execv(sys.executable, [sys.executable, '-m', 'overseer', 'run'])\n")
    assert app.wait() == os.EX_CONFIG
    assert app.log == "overseer: error: overseer.toml, line 2: directory: there is no folder gone\n"


def test_a_server_without_an_address_is_told_what_a_restart_would_do(service: Callable[..., Service]) -> None:
    """Nothing is open in between, whatever it binds itself; and who says --no-warn is not told."""
    words = ["-m", "overseer", "run", "--ready", "alive"]
    server = ["--", sys.executable, "-m", "uvicorn", "--help"]
    app = service(command=[*words, *server])
    assert app.wait() == 0
    assert app.log.startswith("overseer: warning: uvicorn is given no --address, and binds one itself: ")
    quiet = service(command=[*words, "--no-warn", *server])
    assert quiet.wait() == 0
    assert "--address" not in quiet.log
