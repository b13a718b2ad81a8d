"""Functions, streams and fetchers of the original's shape as sources."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

import pytest

from overseer.errors import ConfigError, FetchError
from overseer.fetcher import Func, Legacy, Offer, adapt

if TYPE_CHECKING:
    from pathlib import Path


def look(fetcher: Func | Legacy, seen: dict[str, str] | None = None) -> Offer:
    """Look, and insist on news."""
    offer = fetcher.latest(seen)
    assert offer is not None
    return offer


def read(offer: Offer) -> bytes:
    """Read an offer to its end."""
    return b"".join(offer.open(None).chunks)


def test_bytes_are_offered_until_they_were_seen() -> None:
    """By their digest."""
    content = [b"one" * 200_000]
    fetcher = Func(lambda: content[0])
    offer = look(fetcher)
    assert (read(offer), offer.size) == (content[0], 600_000)
    assert offer.digest == hashlib.sha256(content[0]).hexdigest()
    assert fetcher.latest(offer.seen) is None
    content[0] = b"two"
    assert read(look(fetcher, dict(offer.seen))) == b"two"


def test_a_path_is_offered_until_it_was_seen(tmp_path: Path) -> None:
    """By its identity; two files are two, be they alike."""
    (tmp_path / "app.gz").write_bytes(b"one")
    fetcher = Func(lambda: tmp_path / "app.gz")
    offer = look(fetcher)
    assert (offer.name, read(offer)) == ("app.gz", b"one")
    assert fetcher.latest(offer.seen) is None


def test_a_path_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    """The function promised a file."""
    with pytest.raises(FetchError, match="missing or empty"):
        Func(lambda: str(tmp_path / "none")).latest(None)


def test_a_stream_is_read_once_and_closed() -> None:
    """To its end, in pieces."""
    stream = io.BytesIO(b"one" * 200_000)
    offer = look(Func(lambda: stream))
    chunks = list(offer.open(None).chunks)
    assert (b"".join(chunks), len(chunks), stream.closed) == (b"one" * 200_000, 3, True)
    with pytest.raises(FetchError, match="once"):
        offer.open(None)


def test_a_stream_that_breaks_is_an_error() -> None:
    """Whatever it raises, and text is no release."""

    class Broken(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            raise RuntimeError(size)

    for stream in (Broken(), io.StringIO("text")):
        with pytest.raises(FetchError, match="broke off"):
            read(look(Func(lambda stream=stream: stream)))  # type: ignore[misc]


def test_none_is_nothing_new() -> None:
    """As in the original."""
    assert Func(lambda: None).latest(None) is None


@pytest.mark.parametrize("found", [3, b"", object()])
def test_what_is_no_release_is_an_error(found: Any) -> None:
    """And it says what is expected."""
    with pytest.raises(FetchError, match="None"):
        Func(lambda: found).latest(None)


def test_an_exception_of_the_function_is_a_failed_look() -> None:
    """It is told by its type and words."""

    def fail() -> bytes:
        raise KeyError("who")

    with pytest.raises(FetchError, match="KeyError: 'who'"):
        Func(fail).latest(None)


def test_options_that_can_never_work_are_refused() -> None:
    """When the source is made."""
    with pytest.raises(ConfigError):
        Func("no function")  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        Func(lambda: None, interval=-1)


class Original:
    """A fetcher of the original's shape."""

    def __init__(self, *answers: Any) -> None:
        """Answer so, one after the other."""
        self.answers = list(answers)
        self.inits = 0

    def init(self) -> None:
        """Count."""
        self.inits += 1

    def fetch(self) -> io.BytesIO | None:
        """Answer."""
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]


def test_a_fetcher_of_the_original_shape_is_one() -> None:
    """It is initialised once, asked again and again, and throttles itself."""
    original = Original(io.BytesIO(b"one"), None, io.BytesIO(b"two"))
    fetcher = adapt(original)
    assert isinstance(fetcher, Legacy)
    assert fetcher.interval == 0
    assert read(look(fetcher)) == b"one"
    assert fetcher.latest(None) is None
    assert read(look(fetcher)) == b"two"
    assert original.inits == 1


def test_a_fetcher_that_cannot_be_initialised_is_turned_off() -> None:
    """Its error is permanent; one of a fetch is not."""

    class Unready(Original):
        def init(self) -> None:
            raise OSError("no disk")

    with pytest.raises(FetchError, match="no disk") as caught:
        adapt(Unready()).latest(None)
    assert caught.value.permanent
    with pytest.raises(FetchError, match="no net") as caught:
        adapt(Original(OSError("no net"))).latest(None)
    assert not caught.value.permanent
    with pytest.raises(FetchError, match="not a binary stream"):
        adapt(Original("text")).latest(None)
