"""Whatever a server sends, and whatever a stolen key signs: a refusal in words, and no other end."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from securesystemslib.exceptions import FormatError
from securesystemslib.formats import encode_canonical
from tuf.api.metadata import Metadata

from overseer.errors import FetchError
from overseer.trust.choose import Here, choose
from overseer.trust.client import refresh
from overseer.trust.terms import Terms
from tests.conformance.repository import Repository

pytestmark = pytest.mark.long

ROLES = ("root", "timestamp", "snapshot", "targets", "team")

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**30)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["../x", "targets", "root", "*", "[", "1.0.31", "9999-12-31T23:59:59Z", "ed25519", "\ud800"]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


def home() -> Repository:
    """Publish a repository of two releases, one of them a team's, in second versions."""
    made = Repository()
    made.delegate("team", "web-*")
    for role, name in (("targets", "app"), ("team", "web")):
        made.add(f"{name}-1.0-any", b"content", role=role)
        made[role].targets[f"{name}-1.0-any"].unrecognized_fields["custom"] = Terms(
            name=name, version="1.0"
        ).custom()
    made.renew("targets", "team")
    made.publish("root")
    return made


HOME = home()
FIRST = HOME.metadata.files["1.root.json"]


def look(served: dict[str, bytes]) -> set[str] | None:
    """Look twice with what was trusted before, and once with nothing; return what could be taken."""
    repository = copy.copy(HOME)
    repository.metadata = copy.copy(HOME.metadata)
    folder = Path(tempfile.mkdtemp())
    try:
        found = None
        for _ in range(2):
            repository.metadata.files = served
            said = "no word"
            try:
                view = refresh(repository.metadata, str(folder), FIRST)
            except FetchError as error:
                said = str(error)
            else:
                for name in ("app", "web"):
                    choose(view.targets, name, Here(platform="linux"))
                found = {each.path for each in view.targets}
            assert len(said.splitlines()) == 1
        return found
    finally:
        shutil.rmtree(folder)


def test_what_is_sound_is_taken() -> None:
    """Or the others would show nothing."""
    assert look(HOME.metadata.files) == {"app-1.0-any", "web-1.0-any"}


@pytest.mark.parametrize("role", ROLES)
@given(data=st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode()))
@example(data=b"")
@example(data=b"{}")
@example(data=b"[" * 200_000)
@example(data=b'{"signed":' * 50_000)
@example(data=b"9" * 5_000)
@example(data=b'{"signatures": [], "signed": {"version": ' + b"9" * 5_000 + b"}}")
@example(data=b'{"signatures": [], "signed": []}')
@example(data=b'{"signatures": {}, "signed": {"_type": ["root"]}}')
@example(data=b'\xef\xbb\xbf{"signed": NaN}')
@example(data=b"\x00" * 100)
def test_bytes_that_nobody_signed_are_refused(role: str, data: bytes) -> None:
    """In the place of any role; only what others have signed is taken."""
    found = look({**HOME.metadata.files, HOME.name(role): data})
    assert found == ({"app-1.0-any"} if role == "team" else None)


@pytest.mark.parametrize("role", ROLES)
@given(data=st.data())
def test_one_changed_part_is_refused(role: str, data: st.DataObject) -> None:
    """One value anywhere, which its signature does not cover: all the rest is as it was."""
    told = json.loads(HOME.metadata.files[HOME.name(role)])
    before = json.dumps(told["signed"], sort_keys=True)
    change(data, told["signed"])
    served = json.dumps(told)
    assume(json.dumps(json.loads(served)["signed"], sort_keys=True) != before)
    found = look({**HOME.metadata.files, HOME.name(role): served.encode()})
    if found not in (None, {"app-1.0-any"}):
        assert same(served, HOME.metadata.files[HOME.name(role)])


@pytest.mark.parametrize("role", ROLES)
@given(data=st.data())
def test_nonsense_of_a_stolen_key_is_refused(role: str, data: st.DataObject) -> None:
    """One value anywhere, and well signed: whatever it makes of that, it says so in words."""
    told = json.loads(HOME.metadata.files[HOME.name(role)])
    for _ in range(data.draw(st.integers(1, 3))):
        change(data, told["signed"])
    payload = b""
    try:
        payload = (encode_canonical(told["signed"]) or "").encode()
    except (FormatError, UnicodeEncodeError, RecursionError):
        assume(False)
    told["signatures"] = [each.sign(payload).to_dict() for each in HOME.signers[role]]
    look({**HOME.metadata.files, HOME.name(role): json.dumps(told).encode()})


def change(data: st.DataObject, told: Any) -> None:
    """Put another value somewhere into it, or take one away."""
    places = list(walk(told))
    inside, key = data.draw(st.sampled_from(places))
    if isinstance(inside, dict) and data.draw(st.integers(0, 4)) == 0:
        del inside[key]
    elif isinstance(inside, dict) and data.draw(st.integers(0, 4)) == 0:
        inside[data.draw(st.text(max_size=6))] = inside[key]
    else:
        inside[key] = data.draw(VALUES)


def walk(told: Any) -> Any:
    """Yield every place in JSON, as what it is in and its key there."""
    pairs = told.items() if isinstance(told, dict) else enumerate(told) if isinstance(told, list) else ()
    for key, value in list(pairs):
        yield told, key
        yield from walk(value)


def same(one: str, other: bytes) -> bool:
    """Tell whether two texts are the same metadata to who reads them: what is left out has a default."""
    return Metadata.from_bytes(one.encode()).signed_bytes == Metadata.from_bytes(other).signed_bytes
