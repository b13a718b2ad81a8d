"""The options of `overseer run`: from a file, with lines named; placeholders; files of variables."""

from __future__ import annotations

import math
import signal
import socket
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.cli.run import run
from overseer.config import Config
from overseer.errors import ConfigError
from overseer.foreign import envfile
from overseer.foreign.document import KNOWN, NOT_IN_A_FILE, Document, find
from overseer.foreign.hasty import is_hasty
from overseer.foreign.known import needs_address
from overseer.foreign.options import Options
from overseer.foreign.placeholders import fill, names
from overseer.foreign.run import options_of

if TYPE_CHECKING:
    from pathlib import Path

FILE = """
name = "shop"
addresses = ["web=127.0.0.1:0", "127.0.0.1:0"]
command = ["server", "--port", "{port:web}"]
drain_signal = "QUIT"
"workers" = 2
"""

PYPROJECT = """
[project]
name = "shop"
workers = 1

[tool.overseer]
workers = 3
[tool.other]
drain_signal = 1
"""


def test_a_file_has_the_options_by_their_names() -> None:
    """And signals by theirs."""
    options = options_of(Document("overseer.toml", FILE), {})
    assert (options.name, options.workers, options.drain_signal) == ("shop", 2, signal.SIGQUIT)
    assert options.settings().foreign.stop_signal == signal.SIGQUIT


def test_a_file_can_say_never_as_the_command_line_can() -> None:
    """TOML has no word for None."""
    given = {"command": ("server",)}
    for told, meant in (("'never'", math.inf), ("inf", math.inf), ("2", 2)):
        options = options_of(Document("overseer.toml", f"ready_after = {told}"), given)
        assert options.settings().policy.ready_after == meant


def test_every_option_of_a_program_is_one_of_a_command_but_those_about_releases() -> None:
    """In the file and on the command line: none is forgotten."""
    absent = {field.name for field in fields(Config)} - {*KNOWN}
    assert absent == NOT_IN_A_FILE
    offered = {parameter.name for parameter in run.params} | {"addresses"}
    assert offered - {"config"} == {*KNOWN}


def test_the_command_line_goes_first() -> None:
    """Also where it gives one address and the file several."""
    options = options_of(Document("overseer.toml", FILE), {"workers": 5, "addresses": ("web=:0",)})
    assert (options.workers, options.addresses) == (5, ("web=:0",))


def test_a_part_of_pyproject_toml_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it has one; overseer.toml goes before it."""
    monkeypatch.chdir(tmp_path)
    assert find() is None
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert find() is None
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    found = find()
    assert found is not None
    assert found.values == {"workers": 3}
    assert found.place("workers") == "pyproject.toml, line 7: workers"
    (tmp_path / "overseer.toml").write_text(FILE)
    found = find()
    assert found is not None
    assert found.path == "overseer.toml"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = 1\nworkers = 0", "overseer.toml, line 1: a: is no option"),
        ("\nworker = 0", "overseer.toml, line 2: worker: is no option; was workers meant?"),
        ("# x\n\nworkers = 0", "overseer.toml, line 3: workers: 0 is less than 1"),
        ("workers = '3'", "overseer.toml, line 1: workers: '3' is not a whole number"),
        ("drain_signal = 'TERMINATE'", "overseer.toml, line 1: drain_signal: 'TERMINATE' is no signal"),
        ("[workers]\nx = 1", "overseer.toml, line 1: workers: {'x': 1} is not a whole number"),
        ("ready = 'soon'", "overseer.toml, line 1: ready: 'soon' is none of accept, alive and"),
        ("name = 'a/b'", "overseer.toml, line 1: name: 'a/b' is no name"),
        ("fetcher = 'https://x'", "overseer.toml, line 1: fetcher: is about releases, which are for a"),
        ("clean_exits = [true]", "overseer.toml, line 1: clean_exits: [True] is not a list of whole"),
        ("addresses = 3", "overseer.toml, line 1: addresses: 3 is not a list of texts"),
        (
            "addresses = ['127.0.0.1:0', 8000]",
            "overseer.toml, line 1: addresses: ['127.0.0.1:0', 8000] is not",
        ),
        ("env_files = 'x.env'", "overseer.toml, line 1: env_files: 'x.env' is not a list of texts"),
        ("ready_url = 5", "overseer.toml, line 1: ready_url: 5 is not a text"),
        ('directory = "a\\u0000b"', "overseer.toml, line 1: directory: 'a\\x00b' is not a text"),
        ("workers = ", "overseer.toml: is not TOML: Invalid value (at end of document)"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, told: str) -> None:
    """Whoever reads it goes there at once."""
    with pytest.raises(ConfigError) as caught:
        options_of(Document("overseer.toml", text), {"command": ("server",)})
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    "command", ["'gunicorn app:app'", "['server', 8000]", "[]", "{}", "7", '["a\\u0000b"]']
)
def test_a_command_is_a_list_of_words(command: str) -> None:
    """A line for a shell is none: it would be taken for a list of letters."""
    with pytest.raises(ConfigError, match=r"^overseer\.toml, line 1: command: "):
        options_of(Document("overseer.toml", f"command = {command}"), {})


VALUES = (
    *(
        "1",
        "-1",
        "0",
        "1.5",
        "nan",
        "inf",
        "-inf",
        "9" * 30,
        "true",
        "''",
        "'x'",
        '"a\\u0000b"',
        "[]",
        "['x']",
    ),
    *("[1]", "[true]", "[[]]", "{}", "{a = 1}", "1979-05-27", "07:32:00", "'127.0.0.1:0'", "'tcp://[::1'"),
)


@pytest.mark.parametrize("name", KNOWN)
def test_any_value_of_any_option_is_good_or_an_error_of_ours(name: str) -> None:
    """Whatever stands in a file, a generation that reads it says what is wrong."""
    words: dict[str, Any] = {} if name == "command" else {"command": ("server",)}
    for told in VALUES:
        with suppress(ConfigError):
            options_of(Document("overseer.toml", f"{name} = {told}"), words).settings()


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("fd://{fd}", "fd://3"),
        ("{fd:second} {fd:1}", "4 4"),
        ("{host:web}:{port:web}", "127.0.0.1:PORT"),
        ('{"json": {}} ${HOME} {other}', '{"json": {}} ${HOME} {other}'),
        ("{generation}/{worker}", "7/2"),
    ],
)
def test_placeholders_stand_for_listeners(text: str, filled: str) -> None:
    """By name or place; what is none of them is the program's own."""
    with socket.socket() as web, socket.socket() as second:
        web.bind(("127.0.0.1", 0))
        known = names(["web=127.0.0.1:0", "second=127.0.0.1:0"])
        port = str(web.getsockname()[1])
        found = fill(text, [web, second], known, {"generation": "7", "worker": "2"})
        assert found == filled.replace("PORT", port)


@pytest.mark.parametrize("text", ["{fd:2}", "{port:nobody}", "{host:-1}"])
def test_a_placeholder_for_nobody_is_refused(text: str) -> None:
    """Before anything is started."""
    with pytest.raises(ConfigError, match="no such listener"):
        Options(command=("server", text), address=":0", name="x")


def test_a_file_of_variables_is_read_as_a_shell_would() -> None:
    """Quotes, comments and export; nothing is expanded."""
    text = "# one\nA=1\nexport B='two words' # and a comment\nC=\"$HOME\"\n\nD=\n"
    assert envfile.parse(text, "env") == {"A": "1", "B": "two words", "C": "$HOME", "D": ""}


@pytest.mark.parametrize("line", ["A", "A=1 B=2", "1A=2", "=x", "A='", "two words"])
def test_a_wrong_line_of_variables_is_named(line: str) -> None:
    """With its number."""
    with pytest.raises(ConfigError, match="env, line 2"):
        envfile.parse(f"A=1\n{line}\n", "env")


@given(st.text(max_size=200))
def test_any_text_is_variables_or_an_error_of_ours(text: str) -> None:
    """No other exception."""
    try:
        found = envfile.parse(text, "env")
    except ConfigError:
        return
    assert all(name.isidentifier() and "\0" not in told for name, told in found.items())


@given(st.text(max_size=200))
def test_any_text_is_a_document_or_an_error_of_ours(text: str) -> None:
    """No other exception."""
    wrong: ConfigError | None = None
    try:
        Document("overseer.toml", text)
    except ConfigError as error:
        wrong = error
    assert wrong is None or str(wrong).startswith("overseer.toml")


@pytest.mark.parametrize(
    ("command", "environ", "hasty"),
    [
        (["gunicorn", "app:app"], {}, True),
        (["/srv/venv/bin/gunicorn", "app:app"], {}, True),
        (["python3.13", "-m", "gunicorn", "app:app"], {}, True),
        (["python", "bin/gunicorn", "app:app"], {}, True),
        (["gunicorn", "--preload", "app:app"], {}, False),
        (["gunicorn", "app:app"], {"GUNICORN_CMD_ARGS": "-w 2 --preload"}, False),
        (["python", "server.py", "gunicorn"], {}, False),
        (["uvicorn", "app:app"], {}, False),
    ],
)
def test_a_server_that_says_ready_too_early_is_known(
    command: list[str], environ: dict[str, str], *, hasty: bool
) -> None:
    """Unless it imports the application first."""
    assert is_hasty(command, environ) is hasty


@pytest.mark.parametrize(
    ("given", "asked", "lives"),
    [
        ({"addresses": [":8000"]}, True, math.inf),
        ({"addresses": ["fd:web"]}, True, math.inf),
        ({"addresses": ["unix:/run/web", "127.0.0.1:0"]}, True, math.inf),
        ({"addresses": [":8000"], "ready": "alive"}, False, 1.0),
        ({"addresses": [":8000"], "ready": "notify"}, False, math.inf),
        ({"addresses": [":8000"], "ready_after": 3.0}, False, 3.0),
        ({"addresses": [":8000"], "ready_after": None}, False, math.inf),
        ({"addresses": [":8000"], "ready_after": 3.0, "ready": "accept"}, True, math.inf),
        ({"addresses": [":8000"], "ready_url": "tcp://127.0.0.1:1"}, False, math.inf),
        ({"addresses": ["unix:/run/web"]}, False, 1.0),
        ({"addresses": ["udp::8000"]}, False, 1.0),
        ({}, False, 1.0),
    ],
)
def test_being_alive_counts_only_where_nothing_better_is_seen(
    given: dict[str, Any], lives: float, *, asked: bool
) -> None:
    """With an address of TCP the program has to accept; who says how long it has to live wants just that."""
    options = options_of(None, {"command": ["server"], **given})
    assert (options.knocks, options.settings().policy.ready_after) == (asked, lives)


@pytest.mark.parametrize(("command", "probed"), [("gunicorn", True), ("uvicorn", False)])
def test_the_word_of_a_server_that_says_it_too_early_does_not_count(command: str, *, probed: bool) -> None:
    """As long as there is something better; of others READY=1 counts as well."""
    options = options_of(None, {"command": [command], "addresses": [":8000"]})
    assert options.settings().foreign.probed is probed


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["gunicorn", "-b", ":8000", "app:app"], "gunicorn"),
        (["/venv/bin/uvicorn", "app:app"], "uvicorn"),
        (["python3", "-m", "hypercorn", "app:app"], "hypercorn"),
        (["/usr/bin/python3.13", "/venv/bin/daphne", "app:app"], "daphne"),
        (["gunicorn", "--reuse-port", "app:app"], ""),
        (["granian", "app:app"], ""),
        (["python3", "app.py", "uvicorn"], ""),
        (["python3"], ""),
        (["celery", "worker"], ""),
    ],
)
def test_a_server_that_would_bind_what_the_last_one_has_is_known(command: list[str], name: str) -> None:
    """By its name; and others need no address."""
    assert needs_address(command) == name
