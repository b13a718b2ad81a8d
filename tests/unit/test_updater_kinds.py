"""What a release is, told from its bytes; and what is none, told in words."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overseer.updater.kinds import KINDS, NotAReleaseError, detect, named

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def ours() -> bytes:
    """The executable of this interpreter: certainly one for this machine."""
    with open("/proc/self/exe", "rb") as file:
        return file.read()


def archive(*, main: str = "__main__.py", shebang: bytes = b"", content: str = "print(1)\n" * 500) -> bytes:
    """Make a zip archive as zipapp, shiv and pex do."""
    data = io.BytesIO()
    data.write(shebang)
    with zipfile.ZipFile(data, "a", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr(main, content)
        zipped.writestr("package/module.py", content)
    return data.getvalue()


def kind_of(folder: Path, content: bytes, name: str = "app") -> str:
    """Put it in a file and tell its kind."""
    path = folder / "release"
    path.write_bytes(content)
    return detect(str(path), name=name).name


def refusal(folder: Path, content: bytes, name: str = "app") -> str:
    """Say why it is no release."""
    with pytest.raises(NotAReleaseError) as caught:
        kind_of(folder, content, name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        (b"#!/usr/bin/env python3\nprint(1)\n", "app", "python"),
        (b"#!/usr/bin/python3.11 -I\nprint(1)\n", "app", "python"),
        (b"print(1)\n", "app.py", "python"),
        (b"#!/bin/sh\necho\n", "app", "script"),
        (b"#!/bin/sh\necho\n", "app.py", "script"),
        (archive(), "app.pyz", "zipapp"),
        (archive(shebang=b"#!/usr/bin/env python3\n"), "app", "zipapp"),
        (archive(main="__main__.pyc"), "app", "zipapp"),
    ],
)
def test_releases_are_recognised_by_their_first_bytes(
    tmp_path: Path, content: bytes, name: str, kind: str
) -> None:
    """And scripts without a #! line by their name."""
    assert kind_of(tmp_path, content, name) == kind


def test_an_executable_for_this_machine_is_one(tmp_path: Path, ours: bytes) -> None:
    """Which is told from the header of our own."""
    assert kind_of(tmp_path, ours) == "elf"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"<!doctype html><html>login</html>", "a web page"),
        (b"\n  <html>", "a web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "a web page"),
        (b'{"message": "Not Found"}', "JSON"),
        (b"Not Found\n", "text without a #! line: b'Not Found"),
        (b"MZ\x90\x00" + bytes(100), "an executable for Windows"),
        (b"\xcf\xfa\xed\xfe" + bytes(100), "macOS"),
        (bytes(300), "nothing that can be started: it begins with 00 00"),
        (bytes(257) + b"ustar\x0000" + bytes(300), "it is a broken archive"),
        (b"#!/usr/bin/env python3\nif True:\n", "no Python that this interpreter can read"),
        (archive(main="main.py"), "without a __main__.py"),
    ],
)
def test_what_is_no_release_is_said_in_words(tmp_path: Path, content: bytes, words: str) -> None:
    """A person reads the log."""
    assert words in refusal(tmp_path, content)


def test_a_web_page_is_no_python_whatever_it_is_called(tmp_path: Path) -> None:
    """A captive portal answers for app.py as well."""
    assert "a web page" in refusal(tmp_path, b"<html>", "app.py")


def test_an_executable_for_another_machine_is_refused_and_both_are_named(tmp_path: Path, ours: bytes) -> None:
    """And it is certain: it will not be better another time."""
    other = struct.pack("<H", 183 if ours[18:20] != struct.pack("<H", 183) else 62)
    with pytest.raises(
        NotAReleaseError, match=r"for (arm64|x86_64); this machine is (arm64|x86_64)"
    ) as caught:
        kind_of(tmp_path, ours[:18] + other + ours[20:])
    assert caught.value.certain


def test_an_executable_of_another_width_is_refused(tmp_path: Path, ours: bytes) -> None:
    """Class and byte order are looked at first."""
    assert "32-bit" in refusal(tmp_path, ours[:4] + b"\x01" + ours[5:])
    assert "big-endian" in refusal(tmp_path, ours[:5] + b"\x02" + ours[6:])


def test_an_object_file_is_no_executable(tmp_path: Path, ours: bytes) -> None:
    """Nor is a core dump."""
    assert "object file or a core dump" in refusal(tmp_path, ours[:16] + b"\x01\x00" + ours[18:])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(part=st.floats(0, 1, exclude_max=True))
def test_an_executable_that_was_cut_short_is_refused_wherever_it_was_cut(
    tmp_path: Path, ours: bytes, part: float
) -> None:
    """An ELF file says how long it is."""
    assert refusal(tmp_path, ours[: int(len(ours) * part)])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(part=st.floats(0, 1, exclude_max=True), shebang=st.sampled_from([b"", b"#!/usr/bin/env python3\n"]))
def test_an_archive_that_was_cut_short_is_refused_wherever_it_was_cut(
    tmp_path: Path, part: float, shebang: bytes
) -> None:
    """A zip archive ends in its directory."""
    whole = archive()
    assert refusal(tmp_path, shebang + whole[: 4 + int((len(whole) - 4) * part)])


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.floats(0, 1, exclude_max=True))
def test_an_archive_with_a_damaged_member_is_refused(tmp_path: Path, at: float) -> None:
    """Its checksums are compared before it is started."""
    whole = archive()
    place = 41 + int(at * 30)  # inside of the first member's data, before its last bits
    damaged = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
    assert refusal(tmp_path, damaged)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    head=st.sampled_from(
        [b"", b"\x7fELF", b"PK\x03\x04", b"#!", b"#!/usr/bin/python3\n", b"\x7fELF\x02\x01\x01"]
    ),
    rest=st.binary(max_size=300),
)
def test_any_bytes_are_some_kind_or_none(tmp_path: Path, head: bytes, rest: bytes) -> None:
    """And nothing else is raised."""
    with suppress(NotAReleaseError):
        assert kind_of(tmp_path, head + rest) in KINDS


def test_python_is_started_by_this_interpreter_with_its_flags() -> None:
    """Never by whatever the #! line finds on some PATH."""
    assert KINDS["python"].argv("/v/app", ["/py", "-I"]) == ["/py", "-I", "/v/app"]
    assert KINDS["zipapp"].argv("/v/app")[0] == sys.executable


def test_what_the_kernel_starts_is_started_as_it_is() -> None:
    """By its path alone."""
    assert KINDS["elf"].argv("/v/app", ["/py"]) == ["/v/app"]
    assert KINDS["script"].argv("/v/app", ["/py"]) == ["/v/app"]


def test_an_archive_unpacks_into_a_cache_of_its_own() -> None:
    """So that no release runs on files that another one unpacked."""
    assert KINDS["zipapp"].environment("/v/caches") == {
        "SHIV_ROOT": "/v/caches/shiv_root",
        "PEX_ROOT": "/v/caches/pex_root",
    }


def test_a_kind_that_was_noted_is_not_looked_for_again() -> None:
    """The file need not even be readable."""
    assert named("elf", "/nowhere").name == "elf"
