"""Archives of many files: what is started of them, what is unpacked, and what never is."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overseer.updater import kinds, tree
from overseer.updater.kinds import NotAReleaseError

if TYPE_CHECKING:
    from pathlib import Path

MAIN = b"import sys, part; print(part.WORD, sys.argv[1:])"
GOOD = {"app/__main__.py": MAIN, "app/part.py": b"WORD = 'hello'"}


def tar_of(files: dict[str, bytes], *more: tuple[str, dict[str, Any]]) -> bytes:
    """Make a tar archive; `more` are members with odd fields."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755 if "bin/" in name else 0o644
            archive.addfile(info, io.BytesIO(content))
        for name, fields in more:
            info = tarfile.TarInfo(name)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info)
    return made.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    """Make a zip archive, as Unix has it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFREG | (0o755 if "bin/" in name else 0o644)) << 16
            archive.writestr(info, content)
    return made.getvalue()


def written(folder: Path, content: bytes) -> str:
    """Put a release where the store would."""
    path = folder / "app"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_an_archive_is_unpacked_and_its_main_is_started(tmp_path: Path, pack: Any) -> None:
    """By this interpreter, with what lies beside it."""
    path = written(tmp_path, pack(GOOD))
    kind = kinds.detect(path)
    assert kind.name == "tree"
    kind.prepare(path)
    done = subprocess.run([*kind.argv(path), "x"], capture_output=True, text=True, check=True)
    assert done.stdout == "hello ['x']\n"


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_the_only_program_in_bin_is_started(tmp_path: Path, pack: Any) -> None:
    """Whatever it is written in; files that are not to be executed are not."""
    path = written(tmp_path, pack({"x-1.0/bin/serve": b"#!/bin/sh\necho served\n", "x-1.0/README": b""}))
    kinds.detect(path).prepare(path)
    (program,) = kinds.detect(path).argv(path)
    assert subprocess.run([program], capture_output=True, check=True).stdout == b"served\n"
    assert not os.access(tmp_path / "tree" / "x-1.0" / "README", os.X_OK) or os.geteuid() == 0
    assert stat.S_IMODE((tmp_path / "tree" / "x-1.0" / "README").stat().st_mode) == 0o644


def test_what_was_damaged_is_unpacked_again(tmp_path: Path) -> None:
    """And what is whole is left alone."""
    path = written(tmp_path, tar_of(GOOD))
    tree.ensure(path)
    part = tmp_path / "tree" / "app" / "part.py"
    before = part.stat().st_ino
    tree.ensure(path)
    assert part.stat().st_ino == before
    part.write_bytes(b"WORD = 'hullo'")
    tree.ensure(path)
    assert part.read_bytes() == GOOD["app/part.py"]
    (tmp_path / "tree" / "app" / "__main__.py").unlink()
    tree.ensure(path)
    assert (tmp_path / "tree" / "app" / "__main__.py").read_bytes() == MAIN


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("/etc/passwd", {}), "leads out of it"),
        (("app/../../x", {}), "leads out of it"),
        (("app/l", {"type": tarfile.SYMTYPE, "linkname": "../../x"}), "link .* leads out of it"),
        (("app/l", {"type": tarfile.SYMTYPE, "linkname": "/etc"}), "link .* leads out of it"),
        (("app/h", {"type": tarfile.LNKTYPE, "linkname": "app/part.py"}), "no file, folder or symbolic link"),
        (("app/d", {"type": tarfile.CHRTYPE}), "no file, folder or symbolic link"),
        (("app/f", {"type": tarfile.FIFOTYPE}), "no file, folder or symbolic link"),
        (("app/s", {"mode": 0o4755}), "setuid"),
        (("app/part.py", {}), "twice"),
    ],
)
def test_what_leads_out_or_is_no_file_is_refused(
    tmp_path: Path, more: tuple[str, dict[str, Any]], words: str
) -> None:
    """Before a byte of it is written."""
    path = written(tmp_path, tar_of(GOOD, more))
    with pytest.raises(NotAReleaseError, match=words):
        kinds.detect(path)
    with pytest.raises(tree.TreeError, match=words):
        tree.ensure(path)
    assert os.listdir(tmp_path) == ["app"]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    """A link, and then a file behind it: refused, even where the link stays inside."""
    link = ("app/l", {"type": tarfile.SYMTYPE, "linkname": "other"})
    path = written(tmp_path, tar_of(GOOD, link, ("app/l/x", {})))
    with pytest.raises(NotAReleaseError, match="lies behind a link"):
        kinds.detect(path)


def test_a_link_within_is_kept(tmp_path: Path) -> None:
    """As shared libraries have them."""
    path = written(tmp_path, tar_of(GOOD, ("app/l", {"type": tarfile.SYMTYPE, "linkname": "part.py"})))
    tree.ensure(path)
    assert os.readlink(tmp_path / "tree" / "app" / "l") == "part.py"
    assert (tmp_path / "tree" / "app" / "l").read_bytes() == GOOD["app/part.py"]


def test_limits_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of files, and of their bytes."""
    path = written(tmp_path, tar_of(GOOD))
    monkeypatch.setattr(tree, "MOST_FILES", 1)
    with pytest.raises(NotAReleaseError, match="more than 1 files"):
        kinds.detect(path)
    monkeypatch.setattr(tree, "MOST_FILES", 10)
    monkeypatch.setattr(tree, "MOST_BYTES", 10)
    with pytest.raises(NotAReleaseError, match="MiB"):
        kinds.detect(path)


def test_an_archive_in_which_nothing_can_be_started_is_said(tmp_path: Path) -> None:
    """A person reads the log."""
    path = written(tmp_path, tar_of({"README": b"hello"}))
    with pytest.raises(NotAReleaseError, match="nothing can be started"):
        kinds.detect(path)


def test_a_place_before_the_beginning_is_a_broken_archive(tmp_path: Path) -> None:
    """Its table says that everything stands further on than it does: then the first is before the start."""
    content = bytearray(zip_of(GOOD))
    end = content.rindex(b"PK\5\6")
    told = int.from_bytes(content[end + 16 : end + 20], "little")
    content[end + 16 : end + 20] = (told + 1).to_bytes(4, "little")
    with pytest.raises(NotAReleaseError):
        _prepared(written(tmp_path, bytes(content)))


def _prepared(path: str) -> None:
    kinds.detect(path).prepare(path)


@pytest.mark.parametrize("pack", [tar_of, zip_of])
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_broken_is_refused_or_whole(tmp_path: Path, pack: Any, data: st.DataObject) -> None:
    """Cut or changed anywhere: no other exception, and nothing outside of the folder."""
    content = bytearray(pack(GOOD))
    content = content[: data.draw(st.integers(min(600, len(content) // 2), len(content)))]
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = written(tmp_path, bytes(content))
    try:
        kind = kinds.detect(path)
        kind.prepare(path)
    except NotAReleaseError:
        return
    if kind.name == "tree":
        assert kind.argv(path)[-1].startswith(str(tmp_path / "tree"))
