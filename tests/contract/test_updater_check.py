"""The check of a release, with real processes that answer well, badly, late, or not at all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.contract.stand_in import ANSWER, PATIENCE, installed, program

from overseer.errors import CheckError
from overseer.updater.check import Checked, check

if TYPE_CHECKING:
    from pathlib import Path


def checked(folder: Path, *, before: str = "", answer: str = ANSWER, timeout: float = PATIENCE) -> Checked:
    """Check a program that does something before it answers, and answers as told."""
    return check(
        [sys.executable, installed(folder, program("2.0", before=before, answer=answer))], timeout=timeout
    )


def refusal(folder: Path, *, before: str = "", answer: str = ANSWER, timeout: float = PATIENCE) -> str:
    """Say why a program does not pass."""
    with pytest.raises(CheckError) as caught:
        checked(folder, before=before, answer=answer, timeout=timeout)
    return str(caught.value)


def test_a_release_that_answers_with_the_token_passes(tmp_path: Path) -> None:
    """And says what it is."""
    assert checked(tmp_path) == Checked(version="2.0", overseer="1", config={})


def test_what_a_release_prints_counts_for_nothing(tmp_path: Path) -> None:
    """Standard output belongs to the program, were it a forged answer or more than any pipe holds."""
    noise = """
import sys
print('{"type": "checked", "token": "x", "protocol": 1}' * 100000)
print("x" * 3000000, file=sys.stderr)
"""
    assert checked(tmp_path, before=noise).version == "2.0"


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("raise SystemExit(3)", "exit status 3 and without an answer"),
        ("raise SystemExit(0)", "without an answer, so it does not run under overseer"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("print('the end of it'); raise SystemExit(1)", "it printed:\nthe end of it"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("os.kill(os.getpid(), 9)", "killed by signal 9"),
        ("import time; time.sleep(3600)", "did not answer within 0.3 s"),
    ],
)
def test_a_release_that_does_not_answer_fails_with_its_last_words(
    tmp_path: Path, before: str, words: str
) -> None:
    """Exits, crashes and hangs alike."""
    assert words in refusal(tmp_path, before=before, timeout=0.3 if "sleep" in before else PATIENCE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('os.environ["OVERSEER_TOKEN"]', '"guessed"'), "without an answer"),
        (('"protocol": 1', '"protocol": 99'), "speaks protocol 99"),
        (('"type": "checked"', '"type": "ready"'), "without an answer"),
        (("SystemExit(0)", "SystemExit(4)"), "ended with exit status 4"),
        (('json.dumps(word).encode() + b"\\n"', 'b"x" * 3000000'), "without an answer"),
        (('json.dumps(word).encode() + b"\\n"', "json.dumps(word).encode()"), "without an answer"),
        (("raise SystemExit(0)", "import time; time.sleep(3600)"), "answered but did not end within 1 s"),
    ],
)
def test_an_answer_that_is_not_right_is_none(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    """Another token, another protocol, another word, half a word; or an answer and then no end."""
    assert change[0] in ANSWER
    assert words in refusal(tmp_path, answer=ANSWER.replace(*change), timeout=1)


def test_a_release_in_another_protocol_is_refused_even_while_it_lives(tmp_path: Path) -> None:
    """There is nothing to wait for."""
    answer = ANSWER.replace('"protocol": 1', '"protocol": 2').replace(
        "raise SystemExit(0)", "import time; time.sleep(3600)"
    )
    assert "speaks protocol 2 and this overseer 1" in refusal(tmp_path, answer=answer)


def test_only_the_end_of_a_long_output_is_shown(tmp_path: Path) -> None:
    """A log is read by people."""
    said = refusal(tmp_path, before="print('x' * 100000 + 'the reason'); raise SystemExit(1)")
    assert said.endswith("xxthe reason")
    assert len(said) < 2500


def test_everything_that_a_release_leaves_behind_is_killed(tmp_path: Path) -> None:
    """A release that forks and dies does not live on in its child."""
    before = f"""
import time
if os.fork() == 0:
    open({str(tmp_path / "child")!r}, "w").write(str(os.getpid()))
    time.sleep(3600)
while not os.path.exists({str(tmp_path / "child")!r}) or not open({str(tmp_path / "child")!r}).read():
    time.sleep(0.01)
"""
    checked(tmp_path, before=before)
    pid = int((tmp_path / "child").read_text())
    _wait_for_end(pid)


def test_a_release_that_makes_itself_a_daemon_is_killed_as_well(tmp_path: Path) -> None:
    """It has left its session, but not the environment it was given."""
    before = f"""
import time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open({str(tmp_path / "new")!r}, "w").write(str(os.getpid()))
        os.rename({str(tmp_path / "new")!r}, {str(tmp_path / "child")!r})
        time.sleep(3600)
    os._exit(0)
while not os.path.exists({str(tmp_path / "child")!r}):
    time.sleep(0.01)
"""
    checked(tmp_path, before=before)
    _wait_for_end(int((tmp_path / "child").read_text()))


def test_a_release_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """Also one that ignores what can be ignored."""
    before = f"""
import signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
child = os.fork()
if child:
    open({str(tmp_path / "child")!r}, "w").write(str(child))
time.sleep(3600)
"""
    refusal(tmp_path, before=before, timeout=1)
    _wait_for_end(int((tmp_path / "child").read_text()))


def test_a_check_has_no_terminal_and_nothing_to_read(tmp_path: Path) -> None:
    """It must not steal the user's keys, nor wait for them."""
    before = "import sys; assert sys.stdin.read() == '' and os.getsid(0) == os.getpid()"
    assert checked(tmp_path, before=before).version == "2.0"


def test_no_descriptor_of_ours_reaches_the_release_but_the_channel(tmp_path: Path) -> None:
    """Neither the lock of the store nor the channel to the master."""
    mine, other = socket.socketpair()
    before = """
channel = int(os.environ["OVERSEER_CHANNEL"].partition(":")[0])
others = set(os.listdir("/proc/self/fd")) - {"0", "1", "2", str(channel)}
others = {fd for fd in others if os.path.exists(f"/proc/self/fd/{fd}")}
assert not others, others
"""
    checked(tmp_path, before=before)
    mine.close()
    other.close()


def test_the_channel_is_named_with_its_inode(tmp_path: Path) -> None:
    """So that a grandchild, which has the variable and not the descriptor, does not take it for its own."""
    before = """
fd, _, inode = os.environ["OVERSEER_CHANNEL"].partition(":")
assert os.fstat(int(fd)).st_ino == int(inode) and os.environ["OVERSEER_ROLE"] == "check"
"""
    assert checked(tmp_path, before=before).version == "2.0"


def test_what_cannot_be_executed_fails_its_check(tmp_path: Path) -> None:
    """With what the system says about it."""
    with pytest.raises(CheckError, match=r"cannot be executed: .*No such file"):
        check([installed(tmp_path, b"#!/no/such/interpreter\n")])
    with pytest.raises(CheckError, match=r"cannot be executed: .*Exec format error"):
        check([installed(tmp_path, b"\x7fELF" + bytes(100))])


def test_a_file_that_is_still_open_for_writing_elsewhere_is_tried_again(tmp_path: Path) -> None:
    """A process that forked during the download holds its descriptor until it execs."""
    path = installed(tmp_path, b"#!" + sys.executable.encode() + b"\n" + program("2.0").split(b"\n", 1)[1])
    writer = subprocess.Popen(
        [sys.executable, "-c", f"import sys; f = open({path!r}, 'ab'); print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    threading.Timer(0.2, writer.communicate).start()
    assert check([path], timeout=PATIENCE).version == "2.0"
    writer.wait()


def test_a_check_ends_when_whoever_wanted_it_has_gone(tmp_path: Path) -> None:
    """And so does the release under check."""
    ours, theirs = socket.socketpair()
    theirs.close()

    class Gone(Exception):  # noqa: N818
        pass

    def attend() -> None:
        raise Gone

    path = installed(tmp_path, program("2.0", before="import time; time.sleep(3600)"))
    with pytest.raises(Gone):
        check([sys.executable, path], timeout=PATIENCE, attend=attend, attend_to=ours.fileno())
    ours.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def _wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except (ProcessLookupError, FileNotFoundError):
            return
    os.kill(pid, signal.SIGKILL)
    pytest.fail("it lives on")
