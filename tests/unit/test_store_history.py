"""The history: lines for people, that survive what happens to lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overseer.store import history

if TYPE_CHECKING:
    from pathlib import Path


def test_what_happened_is_read_in_order(tmp_path: Path) -> None:
    """With what, which and why."""
    path = str(tmp_path / "history")
    history.append(path, "staged", release="ab", version="1.0")
    history.append(path, "rejected", release="ab", why="it crashed\nbadly")
    assert [(entry.what, entry.release, entry.version, entry.why) for entry in history.read(path)] == [
        ("staged", "ab", "1.0", ""),
        ("rejected", "ab", "", "it crashed\nbadly"),
    ]


def test_a_torn_last_line_costs_itself_only(tmp_path: Path) -> None:
    """A power cut in the middle of a write: the next line begins anew."""
    path = tmp_path / "history"
    history.append(str(path), "staged", release="ab")
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole + whole[:cut])
        history.append(str(path), "promoted")
        assert [entry.what for entry in history.read(str(path))] in (
            ["staged", "promoted"],
            ["staged", "staged", "promoted"],  # only the newline was lost
        )


def test_a_history_that_is_not_there_is_empty(tmp_path: Path) -> None:
    """It is no error to have none."""
    assert list(history.read(str(tmp_path / "history"))) == []


def test_garbage_is_passed_over(tmp_path: Path) -> None:
    """Also lines that somebody else wrote."""
    path = tmp_path / "history"
    path.write_bytes(b'[]\n{"at": "now"}\n\xff\xfe\n17\n{"at": "then", "what": "staged", "more": 1}\n')
    assert [entry.what for entry in history.read(str(path))] == ["staged"]


def test_the_history_does_not_grow_without_end(tmp_path: Path) -> None:
    """The older half goes, in whole lines."""
    path = tmp_path / "history"
    line = b'{"at": "then", "what": "old"}\n'
    path.write_bytes(line * (history.MAX_SIZE // len(line) + 2))
    history.append(str(path), "new")
    entries = list(history.read(str(path)))
    assert path.stat().st_size < history.MAX_SIZE * 0.6
    assert {entry.what for entry in entries[:-1]} == {"old"}
    assert entries[-1].what == "new"
