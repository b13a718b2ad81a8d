"""Targets: what is written is what was signed, and nothing else is (TUF specification 5.7)."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from overseer.errors import FetchError
from tests.conformance import client as verbs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conformance.repository import Client, Repository


def test_a_target_is_brought_once(client: Client, repository: Repository) -> None:
    """What is here already, and is right, is not asked for again."""
    repository.add("tool", b"content")
    repository.renew("targets")
    assert client.download("tool") == b"content"
    assert len(repository.targets.asked) == 1
    assert client.download("tool") == b"content"
    assert repository.targets.asked == []


def test_metadata_is_brought_up_to_date_before(client: Client, repository: Repository) -> None:
    """Also where there is no such target."""
    with pytest.raises(FetchError, match="nobody we trust has signed"):
        client.download("tool")
    assert client.trusted == dict.fromkeys(("root", "timestamp", "snapshot", "targets"), 1)
    assert repository.targets.asked == []


@pytest.mark.parametrize("served", [b"other!!", b"conten", b"content and more", b""])
def test_other_bytes_are_refused(client: Client, repository: Repository, served: bytes) -> None:
    """Shorter, longer, as long: nothing is written."""
    repository.add("tool", b"content")
    repository.renew("targets")
    (file,) = repository.targets.files
    repository.targets.files[file] = served
    with pytest.raises(FetchError, match="signed"):
        client.download("tool")
    assert list(client.into.iterdir()) == []


def test_what_was_here_stays_until_there_is_better(client: Client, repository: Repository) -> None:
    """A release that is refused does not take the place of the one before."""
    repository.add("tool", b"content")
    repository.renew("targets")
    client.download("tool")
    repository.add("tool", b"changed")
    repository.renew("targets")
    good = dict(repository.targets.files)
    repository.targets.files = dict.fromkeys(good, b"evil!!!")
    with pytest.raises(FetchError, match="not what was signed"):
        client.download("tool")
    assert [path.read_bytes() for path in client.into.iterdir()] == [b"content"]
    repository.targets.files = good
    assert client.download("tool") == b"changed"
    assert [path.read_bytes() for path in client.into.iterdir()] == [b"changed"]


def test_what_was_changed_here_is_brought_anew(client: Client, repository: Repository) -> None:
    """What lies here is verified each time."""
    repository.add("tool", b"content")
    repository.renew("targets")
    client.download("tool")
    (client.into / "tool").write_bytes(b"CONTENT")
    assert client.download("tool") == b"content"


@pytest.mark.parametrize("hashes", [("sha256",), ("sha512",), ("sha256", "sha512"), ("sha512", "sha256")])
def test_every_digest_that_is_signed_counts(
    client: Client, repository: Repository, hashes: tuple[str, ...]
) -> None:
    """One that is wrong is enough to refuse it."""
    repository.add("tool", b"content", hashes=hashes)
    repository.renew("targets")
    assert client.download("tool") == b"content"
    (client.into / "tool").unlink()
    known = repository["targets"].targets["tool"].hashes
    first = hashes[0]
    known[first] = known[first][:-1] + ("0" if known[first][-1] != "0" else "1")
    for digest in known.values():
        repository.targets.files[f"{digest}.tool"] = b"content"
    repository.renew("targets")
    with pytest.raises(FetchError, match="not what was signed"):
        client.download("tool")


def test_a_digest_that_nobody_can_compute_is_refused(client: Client, repository: Repository) -> None:
    """There would be nothing to compare."""
    repository.add("tool", b"content")
    target = repository["targets"].targets["tool"]
    target.hashes = {"sha-of-tomorrow": target.hashes["sha256"]}
    repository.renew("targets")
    with pytest.raises(FetchError, match="not what was signed"):
        client.download("tool")


def test_a_missing_target_is_said_to_be_missing(client: Client, repository: Repository) -> None:
    """It is signed, and not there."""
    repository.add("tool", b"content")
    repository.renew("targets")
    repository.targets.files.clear()
    with pytest.raises(FetchError, match="there is no"):
        client.download("tool")


class Quiet(SimpleHTTPRequestHandler):
    """A server of files, which remembers the paths as they came."""

    asked: list[str]

    def do_GET(self) -> None:
        """Serve a file."""
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(client: Client, repository: Repository, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a repository with odd names over HTTP: its URL, and what was asked for."""
    del client
    odd = "odd/a b#?ä%20c+.zip"
    repository.delegate("../team ?", "odd/*")
    repository.add(odd, b"odd content", role="../team ?")
    repository.add("plain", b"plain content")
    repository.renew("targets", "../team ?")
    for kind, shelf in (("metadata", repository.metadata), ("targets", repository.targets)):
        for name, data in shelf.files.items():
            if kind == "metadata" and "team" in name:
                place = tmp_path / "site" / "metadata" / "1..." / "team ?.json"
            else:
                place = tmp_path / "site" / kind / name.replace("%20", " ")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
    paths: list[str] = []

    class Asked(Quiet):
        asked = paths

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Asked, directory=str(tmp_path / "site"))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()


def arguments(client: Client, url: str, target: str) -> list[str]:
    """Return the words of a download."""
    words = {
        "--metadata-dir": str(client.folder),
        "--metadata-url": f"{url}/metadata",
        "--target-name": target,
        "--target-base-url": f"{url}/targets/",
        "--target-dir": str(client.into),
    }
    return [word for pair in words.items() for word in pair]


def test_names_are_quoted_once(client: Client, site: tuple[str, list[str]]) -> None:
    """The name of a role is one part of a URL; a target's path is part of one as it is (5.6.7, 4.5)."""
    url, asked = site
    assert verbs.main([*arguments(client, url, "odd/a b#?ä%20c+.zip"), "download"]) == 0
    assert [path.read_bytes() for path in client.into.iterdir()] == [b"odd content"]
    assert "/metadata/1...%2Fteam%20%3F.json" in asked
    assert asked[-1].startswith("/targets/odd/")
    assert asked[-1].endswith(".a%20b%23%3F%C3%A4%20c%2B.zip")


@pytest.mark.long
def test_the_verbs_are_those_of_a_suite(client: Client, site: tuple[str, list[str]], tmp_path: Path) -> None:
    """As processes: 0 when it is done, 1 after one sentence."""
    url, asked = site
    words = arguments(client, url, "plain")
    command = [sys.executable, verbs.__file__]
    root = tmp_path / "root.json"
    for more in (["init", str(root)], ["refresh"], ["download"]):
        subprocess.run([*command, *words, *more], check=True, timeout=60)
    assert (client.into / "plain").read_bytes() == b"plain content"
    assert not [path for path in asked if path.startswith("/targets/odd")]
    words[words.index("plain")] = "none"
    done = subprocess.run(
        [*command, *words, "download"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "nobody we trust has signed a target called none\n"
