"""The plot of make bench-serve is an SVG, whatever it has to show."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from bench.serve.plot import Bar, draw
from hypothesis import given
from hypothesis import strategies as st

FINITE = st.floats(min_value=0, max_value=1e9)
LETTERS = st.characters(min_codepoint=32, max_codepoint=0x2FFF)
BARS = st.lists(st.builds(Bar, st.text(LETTERS), FINITE, FINITE, st.booleans()))


@given(BARS)
def test_every_server_has_its_name_and_two_bars(bars: list[Bar]) -> None:
    """Also one that failed nothing, and names with letters that XML has for itself."""
    root = ET.fromstring(draw(bars))
    assert len(root.findall("{*}rect")) == 1 + 2 * len(bars)
    texts = [element.text or "" for element in root.findall("{*}text")]
    assert texts[len(texts) - len(bars) :] == [bar.name for bar in bars]
