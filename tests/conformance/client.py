#!/usr/bin/env python3
"""The client of signed releases under the verbs of a conformance suite: init, refresh, download.

    client.py --metadata-dir DIR init ROOT
    client.py --metadata-dir DIR --metadata-url URL refresh
    client.py --metadata-dir DIR --metadata-url URL --target-name PATH --target-base-url URL
              --target-dir DIR download

It is what a service does: the same verification, deadline and floor, under a lock, over the same HTTP. A
service takes a target by what is signed of it; here it is asked for by its path. Exits with 0, or with 1
after a sentence.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

from tuf.api.exceptions import LengthOrHashMismatchError

from overseer.errors import FetchError, OverseerError
from overseer.fetcher import HTTP
from overseer.store.durable import replace_file
from overseer.store.lock import lock
from overseer.trust import client
from overseer.trust.tuf import TUF
from overseer.trust.web import at_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuf.api.metadata import TargetFile
    from tuf.ngclient import Updater

    from overseer.trust.files import Files

ANCHOR = "anchor"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one verb; return the exit status."""
    asked = _parser().parse_args(arguments)
    held = -1
    try:
        held = lock(os.path.join(asked.metadata_dir, "lock"))
        if asked.verb == "init":
            init(asked.metadata_dir, asked.root)
        elif asked.verb == "refresh":
            refresh(files(asked.metadata_url), asked.metadata_dir)
        else:
            metadata, targets = files(asked.metadata_url), files(asked.target_base_url)
            download(metadata, asked.metadata_dir, targets, asked.target_name, asked.target_dir)
    except (OverseerError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        if held >= 0:
            os.close(held)
    return 0


def files(url: str) -> Files:
    """Return what is served at a URL."""
    return at_url(HTTP(url if url.endswith("/") else f"{url}/"))


def init(folder: str, root: str) -> None:
    """Trust a root from now on."""
    replace_file(os.path.join(folder, ANCHOR), TUF(root).anchor())


def refresh(metadata: Files, folder: str) -> None:
    """Look once for what is signed, as a service does."""
    client.refresh(metadata, folder, _anchor(folder))


def download(metadata: Files, folder: str, targets: Files, path: str, into: str) -> None:
    """Bring a target, if it is not there already; nothing is written before it is verified."""

    def question(updater: Updater) -> tuple[TargetFile | None, bool]:
        return updater.get_targetinfo(path), client.is_consistent(folder)

    (found, consistent), _ = client.ask(metadata, folder, _anchor(folder), question)
    if found is None:
        raise FetchError(f"nobody we trust has signed a target called {path}")
    place = os.path.join(into, quote(path, safe=""))
    try:
        with open(place, "rb") as known:
            _verify(found, known.read())
    except (OSError, FetchError):
        data = _read(targets, client.file_of(path, _digest(found) if consistent else ""), found.length)
        _verify(found, data)
        replace_file(place, data)


def _read(targets: Files, name: str, size: int) -> bytes:
    data = bytearray()
    for chunk in targets.download(name, size, None).chunks:
        data += chunk
        if len(data) > size:
            raise FetchError(f"{name} is longer than the {size} bytes that are signed")
    return bytes(data)


def _digest(found: TargetFile) -> str:
    return found.hashes.get("sha256") or next(iter(found.hashes.values()))


def _verify(found: TargetFile, data: bytes) -> None:
    try:
        found.verify_length_and_hashes(io.BytesIO(data))
    except LengthOrHashMismatchError as error:
        raise FetchError(f"{found.path} is not what was signed: {error}") from error


def _anchor(folder: str) -> bytes:
    return TUF(os.path.join(folder, ANCHOR)).anchor()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--metadata-dir", required=True)
    for name in ("metadata-url", "target-name", "target-base-url", "target-dir"):
        parser.add_argument(f"--{name}", default="")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("init").add_argument("root")
    verbs.add_parser("refresh")
    verbs.add_parser("download")
    return parser


if __name__ == "__main__":
    sys.exit(main())
