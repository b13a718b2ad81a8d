"""Which file is for this machine: exact names, never a likeness."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.errors import ConfigError
from overseer.fetcher.target import (
    ARCH,
    LIBC,
    OS,
    Target,
    check_template,
    fill,
    fitting,
    here,
    names,
    version_of,
)

LINUX = Target("linux", "x86_64", "gnu")
MUSL = Target("linux", "x86_64", "musl")
ARM = Target("linux", "armv7l", "gnu")
ARM64 = Target("linux", "aarch64", "gnu")
OLD = Target("linux", "i686", "gnu")
MAC = Target("darwin", "aarch64")

TARGETS = st.builds(
    Target, st.sampled_from(sorted(OS)), st.sampled_from(sorted(ARCH)), st.sampled_from(["", *LIBC])
)
TEMPLATES = st.lists(
    st.sampled_from(["{os}", "{arch}", "{libc}", "{version}", "{tag}", "{machine}", "app", "-", "_", ".gz"]),
    min_size=1,
).map("".join)


def test_here_is_a_platform_that_is_known() -> None:
    """The tests run on one that has names."""
    assert here().os in OS
    assert here().machine in ARCH


@pytest.mark.parametrize(
    ("tag", "version"), [("v1.2", "1.2"), ("1.2", "1.2"), ("V2", "2"), ("app-1", "app-1"), ("v", "v")]
)
def test_the_version_is_the_tag_without_its_v(tag: str, version: str) -> None:
    """If a number follows."""
    assert version_of(tag) == version


def test_a_url_gets_the_first_spelling() -> None:
    """Go's and Docker's words, as in the original."""
    assert (
        fill("https://host/{version}/app-{os}-{arch}", LINUX, version="1") == "https://host/1/app-linux-amd64"
    )
    assert fill("{machine}.{libc}", ARM64) == "aarch64.gnu"


def test_a_field_that_has_no_word_here_is_an_error() -> None:
    """There is but one C library on a Mac."""
    with pytest.raises(ConfigError, match="libc"):
        fill("https://host/{libc}", MAC)


def test_a_template_with_an_unknown_field_is_refused() -> None:
    """And the error names those that are known."""
    for unknown in ("cpu", "OS", ""):
        with pytest.raises(ConfigError, match=rf"\{{{unknown}\}}.*\{{os\}}, \{{arch\}}"):
            check_template("url", f"https://host/{{os}}-{{{unknown}}}", ("os", "arch"))
    check_template("url", "https://host/{os}-{arch}", ("os", "arch"))


def test_a_template_stands_for_every_spelling_the_preferred_one_first() -> None:
    """In any combination, one spelling a field."""
    assert list(names("{os}-{arch}", LINUX, tag=""))[:3] == ["linux-amd64", "linux-x86_64", "linux-x64"]
    assert list(names("app-{version}", LINUX, tag="v1.0")) == ["app-1.0", "app-v1.0"]
    assert set(names("{arch}-{arch}", ARM64, tag="")) == {"arm64-arm64", "aarch64-aarch64"}
    assert list(names("{libc}", MAC, tag="")) == []


@given(TEMPLATES, TARGETS, st.text("v0123456789.", min_size=1, max_size=6))
def test_no_name_has_a_hole_and_none_comes_twice(template: str, target: Target, tag: str) -> None:
    """Whatever the template, whatever the platform."""
    found = list(names(template, target, tag=tag))
    assert len(found) == len(set(found))
    assert not any("{" in name for name in found)


@given(TARGETS, TARGETS)
def test_a_name_for_one_machine_is_for_no_other(one: Target, other: Target) -> None:
    """But for 32-bit ARM, where one word, arm, is in use for all of them."""
    mine = set(names("{os}-{arch}", one, tag=""))
    yours = set(names("{os}-{arch}", other, tag=""))
    same = (one.os, one.machine) == (other.os, other.machine)
    shared = {name for name in mine & yours if not name.endswith("-arm")}
    assert shared == (mine - {name for name in mine if name.endswith("-arm")} if same else set())


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (LINUX, "app-linux-amd64"),
        (LINUX, "app_1.0_Linux_x86_64.tar.gz"),
        (LINUX, "app-x86_64-unknown-linux-gnu"),
        (MUSL, "app-x86_64-unknown-linux-musl"),
        (ARM, "app-linux-arm"),
        (ARM, "app-linux-armv7"),
        (ARM64, "app-linux-arm64"),
        (ARM64, "app-aarch64-unknown-linux-gnu"),
        (OLD, "app-linux-386"),
        (OLD, "app-linux-x86"),
        (MAC, "app-macos-arm64.zip"),
        (MAC, "app-aarch64-apple-darwin"),
    ],
)
def test_names_in_use_are_known(target: Target, name: str) -> None:
    """As projects really write them."""
    assert fitting([name], target) == [name]


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (ARM, "app-linux-arm64"),
        (ARM64, "app-linux-arm"),
        (OLD, "app-linux-x86_64"),
        (OLD, "app-linux-x86-64"),
        (LINUX, "app-linux-x86"),
        (LINUX, "app-darwin-amd64"),
        (LINUX, "app-linuxamd64"),
        (LINUX, "app-x86_64-unknown-linux-musl"),
        (MUSL, "app-x86_64-unknown-linux-gnu"),
        (LINUX, "app-linux-amd64.sha256"),
        (LINUX, "app-linux-amd64.tar.gz.asc"),
        (LINUX, "app_linux_amd64.deb"),
        (LINUX, "app"),
    ],
)
def test_names_that_only_look_alike_are_not_taken(target: Target, name: str) -> None:
    """`arm` is not `arm64`, `x86` is not `x86_64`, and a checksum is no program."""
    assert fitting([name], target) == []


def test_a_name_that_says_our_libc_goes_before_one_that_says_none() -> None:
    """And when two are left, both are told: to choose is the caller's."""
    assert fitting(["app-linux-amd64", "app-linux-amd64-musl"], MUSL) == ["app-linux-amd64-musl"]
    assert len(fitting(["app-linux-amd64", "app-linux-amd64.gz"], LINUX)) == 2
