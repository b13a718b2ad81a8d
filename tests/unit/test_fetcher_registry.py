"""Fetchers by URL, and whatever can be made one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from overseer.errors import ConfigError
from overseer.fetcher import HTTP, S3, File, Func, GitHub, adapt, from_url
from overseer.fetcher.options import need

POINTS = """
[overseer.fetchers]
tape = tapes:Tape
broken = tapes:missing
number = tapes:NUMBER
useless = tapes:make_useless
"""

TAPES = """
NUMBER = 3
class Tape:
    def __init__(self, url, *, speed=1):
        self.url, self.interval, self.speed = url, 60.0, speed
    def latest(self, seen):
        return None
def make_useless(url):
    return 3
"""


@pytest.mark.parametrize(
    ("url", "fetcher"),
    [
        ("https://host/app-{os}?a=b", HTTP("https://host/app-{os}?a=b")),
        ("HTTP://host/app", HTTP("HTTP://host/app")),
        ("file:/srv/app%20one", File("/srv/app one")),
        ("file:///srv/app", File("/srv/app")),
        ("file:app", File("app")),
        ("s3://bucket/a/b?region=eu", S3(bucket="bucket", key="a/b", region="eu")),
        ("s3://bucket/a?path_style=no", S3(bucket="bucket", key="a", path_style=False)),
        ("github:ann/app", GitHub("ann", "app")),
        (
            "github:ann/app?asset=x-{os}&pre_releases=yes",
            GitHub("ann", "app", asset="x-{os}", pre_releases=True),
        ),
        ("github:ann/app?tag=v1%2B2", GitHub("ann", "app", tag="v1+2")),
    ],
)
def test_a_url_names_a_fetcher(url: str, fetcher: object) -> None:
    """By its scheme."""
    assert from_url(url) == fetcher
    assert adapt(url) == fetcher


def test_options_go_before_those_of_the_url() -> None:
    """And are those of the fetcher."""
    assert from_url("github:ann/app?tag=v1", tag="v2", interval=5) == GitHub("ann", "app", 5, tag="v2")
    assert from_url("https://host", interval=5).interval == 5


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app",
        "/srv/app",
        "ftp://host/app",
        "https:///app",
        "https://host:port/",
        "https://[host/",
        "https://host/{cpu}",
        "https://host/{version}",
        "https://host/a b",
        "file://host/app",
        "file:",
        "file:/app?x",
        "s3://bucket",
        "s3:///key",
        "s3://b/k?colour=red",
        "s3://b/k?path_style=perhaps",
        "github:ann",
        "github://ann/app",
        "github:ann/app/more",
        "github:ann/..",
        "github:an n/app",
        "github:ann/app?asset={cpu}",
        "github:ann/app?tag=v1&pre_releases=1",
    ],
)
def test_a_url_that_can_never_work_is_refused(url: str) -> None:
    """When the fetcher is made, not at its first look."""
    with pytest.raises(ConfigError):
        from_url(url)


def test_an_option_that_nobody_knows_is_refused() -> None:
    """As a mistake in the configuration."""
    with pytest.raises(ConfigError, match="colour"):
        from_url("https://host", colour="red")


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a distribution that brings fetchers."""
    (tmp_path / "tapes.py").write_text(TAPES)
    (tmp_path / "tapes-1.dist-info").mkdir()
    (tmp_path / "tapes-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tapes\nVersion: 1\n"
    )
    (tmp_path / "tapes-1.dist-info" / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("plugins")
def test_an_installed_package_brings_a_scheme() -> None:
    """Its maker gets the URL and the options."""
    fetcher: Any = from_url("tape://drive/1", speed=2)
    assert (fetcher.url, fetcher.speed, fetcher.latest(None)) == ("tape://drive/1", 2, None)


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("scheme", ["broken", "number", "useless"])
def test_a_package_that_brings_none_is_an_error_that_names_it(scheme: str) -> None:
    """Whose fault it is."""
    with pytest.raises(ConfigError):
        from_url(f"{scheme}:x")


def test_whatever_can_be_one_is_made_a_fetcher() -> None:
    """A fetcher stays itself, a function becomes one; a class, or anything else, is a mistake."""
    fetcher = File("app")
    assert adapt(fetcher) is fetcher
    assert isinstance(adapt(lambda: None), Func)
    for mistake in (File, 3, None, Path("app")):
        with pytest.raises(ConfigError):
            adapt(mistake)


def test_a_package_that_is_missing_is_told_with_what_brings_it() -> None:
    """As a shell takes it: some would look for files by the brackets."""
    with pytest.raises(ConfigError, match=r"needs no_such_package; pip install 'pyoverseer\[s3\]' brings it"):
        need("no_such_package", extra="s3")
