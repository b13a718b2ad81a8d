"""A generation that fails at its start is no event for clients, and told with all that is known."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from tests.process.programs import gated
from tests.process.service import ECHO, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.process.service import Service

THREAD = "threading.Thread(target=time.sleep, args=[1000], name='stays').start()"


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


def test_one_that_leaves_a_thread_behind_is_told_at_once(service: Callable[..., Service]) -> None:
    """Python would wait for that thread for ever, and the master until `ready_timeout`."""
    app = service().serves()
    app.write(gated(f"{THREAD}; raise RuntimeError('no database')"), terminate_timeout=1)
    answer = app.ask("restart")
    assert (answer["outcome"], answer["detail"]) == ("failed", "RuntimeError: no database")
    app.logged(r"\nRuntimeError: no database\n")
    app.logged(r"warning: the program has failed, and waits for thread stays, 1 s at most\n")
    app.logged(r"generation 2 \(pid \d+\) left after")
    assert app.knock()[0] == 1


def test_one_that_fails_while_it_serves_does_not_stay_as_a_shell(service: Callable[..., Service]) -> None:
    """Nobody accepts any more, whatever threads go on: the service ends, and its manager starts it anew."""
    app = service(gated(f"{THREAD}; state.listener.accept(); os.sys.exit(7)"), terminate_timeout=1).serves()
    with socket.create_connection(("127.0.0.1", app.port)):
        assert app.wait() == 7
    assert "the program has failed, and still waits for thread stays: it is ended" in app.log


def test_who_has_an_end_of_its_own_is_waited_for(service: Callable[..., Service]) -> None:
    """A program that returns leaves the rest to its threads, for as long as they take."""
    gate = "threading.Thread(target=answer, args=[state]).start(); os.sys.exit()"
    app = service(gated(gate), terminate_timeout=0.1).serves()
    until(lambda: app.status()["generations"][0]["workers"][0]["age"] > 1, "it has lived for a while")
    assert app.knock()[0] == 1


@pytest.mark.parametrize("call", ["wsgi('app:app', state)", "asgi(None, state)"])
def test_what_a_server_refuses_is_told_in_one_line(service: Callable[..., Service], call: str) -> None:
    """It is the mistake of who wrote it, and no traceback says more than its name."""
    app = service().serves()
    app.write(gated(f"overseer.serve.{call}"))
    assert app.ask("restart")["detail"] == "ended before it was ready (exit status 78)"
    app.logged(
        r"generation 2 starts.*\noverseer: error: app: is no application, but .*\noverseer: warning: gen"
    )
    assert app.knock()[0] == 1


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            "asgi(lambda environ, start_response: [], state)",
            "is one of WSGI: serve it by overseer.serve.wsgi",
        ),
        ("wsgi(lambda scope, receive, send: None, state)", "is one of ASGI: serve it by overseer.serve.asgi"),
        ("wsgi(lambda: None, state)", "cannot be called as one of WSGI is: <function"),
        ("asgi(lambda: None, state)", "cannot be called as one of ASGI is: <function"),
    ],
)
def test_an_application_of_another_kind_is_refused_before_it_is_asked(
    service: Callable[..., Service], call: str, told: str
) -> None:
    """It would have been ready, and have answered 500 to everybody."""
    app = service().serves()
    app.write(gated(f"overseer.serve.{call}"))
    assert app.ask("restart")["detail"] == "ended before it was ready (exit status 78)"
    assert f"overseer: error: app: {told}" in app.log
    assert app.knock()[0] == 1


@pytest.mark.parametrize(
    "call", ["wsgi(lambda environ, start: [], state)", "asgi(lambda a, b, c: None, state)"]
)
def test_a_server_without_an_address_does_not_start(service: Callable[..., Service], call: str) -> None:
    """It would have been ready, and nobody could have asked it."""
    app = service(f"import overseer\noverseer.run(lambda state: overseer.serve.{call})\n")
    assert app.wait() == os.EX_CONFIG
    assert app.log.startswith("overseer: error: address: is missing: say to overseer.run where to serve")


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
