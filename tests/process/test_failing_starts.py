"""A generation that fails at its start is no event for clients, and told with all that is known."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from typing import TYPE_CHECKING

from tests.process.programs import gated
from tests.process.service import ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.process.service import Service


def test_one_that_exits_is_told_with_status_age_and_phase(service: Callable[..., Service]) -> None:
    """The old one serves on; who asked gets the reason."""
    app = service().serves()
    app.write("raise SystemExit(3)")
    answer = app.ask("restart")
    assert answer["outcome"] == "failed"
    assert answer["detail"] == "ended before it was ready (exit status 3)"
    app.logged(
        r"warning: generation 2 \(pid \d+\) ended unasked while starting, after \d+\.\d\d s: exit status 3"
    )
    app.logged(
        r"warning: a restart failed: ended before it was ready \(exit status 3\); generation 1 serves on"
    )
    assert app.knock()[0] == 1


def test_its_traceback_stands_just_above(service: Callable[..., Service]) -> None:
    """Standard error is inherited: an import error is in the log before the master speaks about it."""
    app = service().serves()
    app.write("import no_such_module")
    assert app.ask("restart")["outcome"] == "failed"
    app.logged(
        r"ModuleNotFoundError: No module named 'no_such_module'\n"
        r"overseer: warning: generation 2 .* exit status 1"
    )


def test_one_that_is_killed_is_told_by_its_signal(service: Callable[..., Service]) -> None:
    """A crash of the interpreter has no exit status; its signal is told."""
    app = service().serves()
    app.write("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    assert app.ask("restart")["detail"] == "ended before it was ready (killed by signal 11)"
    assert app.knock()[0] == 1


def test_one_that_fails_after_its_hello_is_no_event_either(service: Callable[..., Service]) -> None:
    """It has its listeners, and raises before it uses them."""
    app = service(gated("")).serves()
    app.write(gated("raise RuntimeError('no database')"))
    answer = app.ask("restart")
    assert answer["detail"] == "ended before it was ready (exit status 1)"
    app.logged(r"RuntimeError: no database\noverseer: warning: generation 2")
    assert app.knock()[0] == 1


def test_one_that_says_it_will_not_do_is_believed(service: Callable[..., Service]) -> None:
    """Its own reason is the answer, and it is asked to leave."""
    app = service(gated("")).serves()
    app.write(gated("state.fail('the schema is too old'); state.draining.wait(); return"))
    answer = app.ask("restart")
    assert (answer["outcome"], answer["detail"]) == ("failed", "the schema is too old")
    app.logged(r"generation 2 \(pid \d+\) says that it will not do: the schema is too old")
    app.logged(r"generation 2 \(pid \d+\) left")
    assert app.knock()[0] == 1


def test_a_failure_is_told_once_however_many_have_asked(service: Callable[..., Service]) -> None:
    """Each caller has an answer; the log has one line."""
    app = service().serves()
    app.write("import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\nraise SystemExit(3)")
    with app.call() as caller:
        caller.settimeout(20)
        caller.sendall(b'{"type":"restart"}\n')
        app.logged("generation 2 starts")
        caller.sendall(b'{"type":"restart"}\n' * 9)
        (app.folder / "go").touch()
        with caller.makefile() as lines:
            answers = [lines.readline() for _ in range(10)]
    assert all('"failed"' in answer for answer in answers)
    assert len(re.findall("a restart failed", app.log)) == 2  # generation 2, and the one follow-up


def test_the_next_restart_takes_a_program_that_was_mended(service: Callable[..., Service]) -> None:
    """Nothing is remembered against a program that runs where it stands: who asks again is obeyed."""
    app = service().serves()
    for _ in range(3):
        app.write("raise SystemExit(3)")
        assert app.ask("restart")["outcome"] == "failed"
    app.write(ECHO)
    assert app.restart() == 5
    app.answers(5)


def test_a_program_that_has_vanished_is_a_failed_start(service: Callable[..., Service]) -> None:
    """The file is not there when the next generation starts."""
    app = service().serves()
    app.app.unlink()
    assert app.ask("restart")["outcome"] == "failed"
    app.logged(r"can't open file .*\n.*generation 2 .* ended unasked while starting, after .*: exit status 2")
    assert app.knock()[0] == 1


def test_an_interpreter_that_has_vanished_is_a_failed_start(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    """Nothing can be executed; the child says so as a shell does."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    shutil.copy(os.path.join(sys.prefix, "pyvenv.cfg"), tmp_path)
    (tmp_path / "lib").symlink_to(os.path.join(sys.prefix, "lib"))
    app = service(python=str(python)).serves()
    python.unlink()
    assert app.ask("restart")["detail"] == "ended before it was ready (exit status 127)"
    app.logged(rf"overseer: cannot execute {python}: No such file or directory\n.*exit status 127")
    assert app.knock()[0] == 1


def test_helpers_of_a_failed_start_do_not_stay(service: Callable[..., Service]) -> None:
    """What it forked before it failed is ended with it."""
    app = service().serves()
    app.write(
        """
        import os, signal, sys, time
        if (pid := os.fork()) == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.pause()
        print("helper", pid, flush=True)
        sys.exit(4)
        """
    )
    assert app.ask("restart")["outcome"] == "failed"
    helper = int(app.said(r"helper (\d+)")[0])
    until(lambda: not os.path.exists(f"/proc/{helper}"), "the helper has gone")


def test_a_stop_during_a_failing_start_ends_with_the_old_ones_status(
    service: Callable[..., Service],
) -> None:
    """Whoever is starting leaves as well; the status is that of the generation that served."""
    app = service().serves()
    app.write("import threading\nthreading.Event().wait()")
    app.signal(signal.SIGUSR2)
    app.logged("generation 2 starts")
    app.signal(signal.SIGTERM)
    assert app.wait() == 0
