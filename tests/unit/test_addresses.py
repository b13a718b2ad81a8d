"""Addresses as text and as values: what is read, what is refused, what counts as the same place."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from overseer.addresses import DEFAULT_BACKLOG, LONGEST_PATH, Address, parse
from overseer.errors import AddressError
from overseer.values import replace


@pytest.mark.parametrize(
    ("text", "kind", "host", "port"),
    [
        (":3000", "tcp", "", 3000),
        ("3000", "tcp", "", 3000),
        (":0", "tcp", "", 0),
        ("127.0.0.1:3000", "tcp", "127.0.0.1", 3000),
        ("[::1]:3000", "tcp", "::1", 3000),
        ("[0:0::0:1]:3000", "tcp", "::1", 3000),
        ("[fe80::1%eth0]:80", "tcp", "fe80::1%eth0", 80),
        ("LocalHost:3000", "tcp", "localhost", 3000),
        ("tcp:127.0.0.1:3000", "tcp", "127.0.0.1", 3000),
        ("tcp::3000", "tcp", "", 3000),
        ("TCP:3000", "tcp", "", 3000),
        ("udp:127.0.0.1:53", "udp", "127.0.0.1", 53),
        ("udp::53", "udp", "", 53),
        ("udp:[::1]:53", "udp", "::1", 53),
    ],
)
def test_internet_addresses_are_read(text: str, kind: str, host: str, port: int) -> None:
    """TCP and UDP, every interface or one, a number or a name."""
    address = parse(text)
    assert (address.kind, address.host, address.port) == (kind, host, port)
    assert address.text == text


@pytest.mark.parametrize(
    ("text", "path", "abstract"),
    [
        ("unix:/run/app.sock", "/run/app.sock", False),
        ("unix:///run/./app.sock", "/run/app.sock", False),
        ("unix:/run/a=b c.sock", "/run/a=b c.sock", False),
        ("unix:/run/../app.sock", "/run/../app.sock", False),
        ("unix:@app", "app", True),
        ("unix:@a/b:c", "a/b:c", True),
    ],
)
def test_unix_addresses_are_read(text: str, path: str, abstract: bool) -> None:  # noqa: FBT001 - a table's column
    """A file or an abstract name."""
    address = parse(text)
    assert (address.kind, address.path, address.abstract) == ("unix", path, abstract)


def test_the_socket_of_a_service_manager_is_named() -> None:
    """`fd:` carries the name of LISTEN_FDNAMES, which may be a unit's."""
    address = parse("fd:app@1.socket")
    assert (address.kind, address.path, address.name) == ("fd", "app@1.socket", "app-1.socket")


def test_options_of_a_unix_address_are_read() -> None:
    """Mode is octal, owners are names or numbers."""
    address = parse("unix:/run/app.sock?mode=0660&user=www-data&group=33")
    assert (address.mode, address.user, address.group) == (0o660, "www-data", "33")


def test_options_of_an_internet_address_are_read() -> None:
    """Backlog, port sharing and IPv6 alone are asked for after the question mark."""
    address = parse(":80?backlog=1024&reuse_port=yes&v6only=on")
    assert (address.backlog, address.reuse_port, address.v6only) == (1024, True, True)


def test_nothing_special_is_asked_unless_it_is_written() -> None:
    """The defaults share no port, leave mode and owner alone and take both families."""
    address = parse(":80")
    assert (address.backlog, address.reuse_port, address.v6only) == (DEFAULT_BACKLOG, False, False)
    assert (address.mode, address.user, address.group) == (None, "", "")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("web=127.0.0.1:80", "web"),
        ("web.2=unix:/run/a=b.sock", "web.2"),
        ("web=fd:http", "web"),
        (":3000", "3000"),
        ("127.0.0.1:3000", "127.0.0.1-3000"),
        ("udp:[::1]:53", "udp-1-53"),
        ("unix:/run/app.sock?mode=0600", "unix-run-app.sock"),
        ("fd:http", "http"),
        ("fd:@", "fd"),
        (":80?backlog=5", "80"),
    ],
)
def test_a_listener_has_a_name_given_or_derived(text: str, name: str) -> None:
    """The name in front wins; without one the place gives it, in letters that LISTEN_FDNAMES can carry."""
    assert parse(text).name == name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (":3000", "3000"),
        (":3000", "tcp::3000"),
        (":3000", "[::]:3000"),
        (":3000", "web=:03000?backlog=7&v6only=no"),
        ("[::1]:80", "[0:0:0:0:0:0:0:1]:80?v6only=yes"),
        ("LOCALHOST:80", "localhost:80"),
        ("unix:/run/app.sock", "unix://run//app.sock?mode=0600"),
        ("fd:web", "http=fd:web"),
    ],
)
def test_two_spellings_of_one_place_have_the_same_key(one: str, other: str) -> None:
    """Lists of two generations are compared by place, not by spelling, name or options."""
    assert parse(one).key == parse(other).key


def test_different_places_have_different_keys() -> None:
    """Kind, interface, port, path and the refusal of IPv4 all make another listener."""
    internet = ":80 :81 0.0.0.0:80 127.0.0.1:80 [::1]:80 localhost:80 udp::80 :80?v6only=yes"
    texts = [*internet.split(), "unix:/80", "unix:@/80", "fd:80"]
    assert len({parse(text).key for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "empty"),
        (" :3000", "blank"),
        (":3000\n", "blank"),
        ("localhost", "no port"),
        ("http://localhost:80", "has slashes"),
        ("::1:80", "brackets"),
        ("[::1]", "and a port"),
        ("[::1:80", "and a port"),
        ("[hello]:80", "no IPv6 address"),
        ("[fe80::1%]:80", "network interface"),
        (":65536", "0 to 65535"),
        (":" + "9" * 5000, "0 to 65535"),
        ("localhost:http", "0 to 65535"),
        (":٣٠٠٠", "0 to 65535"),
        ("300.1.1.1:80", "neither an IPv4 address"),
        ("10.0.1:80", "neither an IPv4 address"),
        ("*:80", "every interface"),
        ("bücher.example:80", "xn--"),
        ("=:80", "the name before ="),
        ("web=", "no port"),
        ("unix:app.sock", "not absolute"),
        ("unix:/run/", "a folder"),
        ("unix:@", "1 to"),
        ("unix:/run/a\0b", "control character"),
        ("unix:/run/\ud800", "no text"),
        ("unix:/" + "x" * 200, f"allows {LONGEST_PATH}"),
        ("fd:", "name the service manager gave"),
        ("fd:a:b", "without a colon"),
        ("fd:web?backlog=1", "nothing can stand after ?"),
        (":80?", "no option"),
        (":80?mode=0600", "'mode' is no option"),
        (":80?backlog=0", "1 to 2147483647"),
        (":80?backlog=5&backlog=6", "given twice"),
        (":80?reuse_port=maybe", "neither yes nor no"),
        ("127.0.0.1:80?v6only=yes", "'v6only' is no option"),
        ("udp::53?backlog=5", "'backlog' is no option"),
        ("unix:@app?mode=0600", "'mode' is no option"),
        ("unix:/run/app.sock?mode=0888", "no octal mode"),
        ("unix:/run/app.sock?mode=4755", "no octal mode"),
        ("unix:/run/app.sock?user=", "neither a name nor a number"),
        ("unix:/run/app.sock?group=4294967295", "neither a name nor a number"),
    ],
)
def test_what_is_no_address_is_refused_with_a_sentence_and_an_example(text: str, sentence: str) -> None:
    """The error says what is wrong with this text and what would be right."""
    with pytest.raises(AddressError) as refused:
        parse(text)
    assert sentence in str(refused.value)
    assert "for example" in str(refused.value)
    assert str(refused.value).isprintable()


def test_an_example_in_an_error_is_itself_right() -> None:
    """Whoever copies an example out of a message gets an address."""
    for right in ("127.0.0.1:3000", "[fe80::1%eth0]:3000", "web=127.0.0.1:80", "unix:@app", "fd:web"):
        parse(right)
    for right in (":80?backlog=512&reuse_port=yes", "unix:/run/app.sock?mode=0660&group=web"):
        parse(right)


_names = st.text(st.sampled_from("abcxyzABC019_.-"), min_size=1, max_size=12)
_options = st.one_of(
    st.builds("backlog={}".format, st.integers(1, 2**31 - 1)),
    st.builds("reuse_port={}".format, st.sampled_from(["yes", "no", "1", "False"])),
    st.builds("v6only={}".format, st.sampled_from(["yes", "no"])),
    st.builds("mode={:o}".format, st.integers(0, 0o777)),
    st.builds("user={}".format, _names),
    st.builds("group={}".format, st.integers(0, 70000)),
)
_internet = st.builds(
    "{}{}:{}".format,
    st.sampled_from(["", "tcp:", "udp:"]),
    st.one_of(
        st.just(""),
        st.ip_addresses(v=4).map(str),
        st.ip_addresses(v=6).map("[{}]".format),
        st.sampled_from(["localhost", "A.example", "x-1.internal."]),
    ),
    st.integers(0, 65535),
)
_unix = st.builds("unix:{}{}".format, st.sampled_from(["/", "@", "//run/"]), st.text(max_size=40))
_inherited = st.builds("fd:{}".format, _names)
_written = st.builds(
    lambda name, place, options: name + place + ("?" + "&".join(options) if options else ""),
    st.one_of(st.just(""), _names.map("{}=".format)),
    st.one_of(_internet, _unix, _inherited),
    st.lists(_options, max_size=3),
)


def _parse_or_refuse(text: str) -> Address | None:
    try:
        return parse(text)
    except AddressError:
        return None


@given(st.one_of(st.text(), st.text(st.sampled_from("0123456789:.[]%@?&=/-unixfdtcp~*\u200b")), _written))
def test_any_text_parses_or_raises_address_error(text: str) -> None:
    """No text makes the parser fail in another way, and what it says is fit for a terminal."""
    try:
        parse(text)
    except AddressError as refused:
        assert str(refused).isprintable()  # noqa: PT017 - a text that parses is right too


@given(st.one_of(_written, st.text(st.sampled_from("0123456789:.[]@?&=/fd"))))
def test_what_is_written_back_is_read_as_the_same_address(text: str) -> None:
    """Rendering loses nothing but the spelling, and is its own rendering."""
    address = _parse_or_refuse(text)
    if address is None:
        return
    again = parse(str(address))
    assert replace(again, text=address.text) == address
    assert (again.key, str(again)) == (address.key, str(address))


@given(_written)
@example("unix:/run/app.sock ?backlog=1")
@example("web= unix:/run/app.sock")
def test_a_key_is_itself_an_address_of_the_same_place(text: str) -> None:
    """The key can be shown to people and read again."""
    address = _parse_or_refuse(text)
    if address is not None:
        assert parse(address.key).key == address.key


@given(_written)
def test_a_name_is_safe_for_the_service_manager_s_protocol(text: str) -> None:
    """LISTEN_FDNAMES joins names with colons: no name may hold one, nor be empty."""
    address = _parse_or_refuse(text)
    if address is not None:
        assert 0 < len(address.name) <= 255
        assert address.name.isascii()
        assert address.name.isprintable()
        assert ":" not in address.name
