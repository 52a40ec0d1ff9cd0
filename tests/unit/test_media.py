"""Headers that negotiate: any text is survived, and the standard's examples mean what it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.media import JSON, MSGPACK, NPY, TEXT, accepts_coding, choose, media_type, ranges
from motet.trace import child, received

OFFERS = (JSON, TEXT, MSGPACK, NPY)
PARTS = st.sampled_from(["application", "json", "text", "*", "/", ";", ",", "q", "=", "0.5", "1", "0", '"', "\\", " ", "\t", "\x00", "é"])
HEADERS = st.lists(PARTS, max_size=40).map("".join) | st.text(max_size=100)


@given(HEADERS)
def test_any_header(text):
    """Nothing raises, and what is chosen is an offer."""
    assert choose(text, OFFERS) in (*OFFERS, None)
    assert isinstance(accepts_coding(text, "gzip"), bool)
    assert isinstance(media_type(text)[0], str)
    assert all(0 <= each.quality <= 1 for each in ranges(text))


@given(st.permutations([("application/json", 0.3), ("text/*", 0.7), ("application/msgpack", 0.9), ("*/*", 0.1)]))
def test_order_does_not_matter(members):
    """Only qualities and how specific a range is."""
    assert choose(", ".join(f"{name};q={quality}" for name, quality in members), OFFERS) == MSGPACK


@pytest.mark.parametrize(
    "text", ['"\\' * 30_000, '"' * 60_001, "a;" * 30_000, "," * 60_000, ";q=" * 20_000, "a/b," * 15_000], ids=lambda t: t[:4]
)
def test_long_headers(text):
    """They take a time in proportion to their length: each of these once is nothing, squared it would be minutes."""
    for _ in range(3):
        choose(text, OFFERS)
        media_type(text)


@pytest.mark.parametrize(
    ("header", "media", "parameters"),
    [
        ("Text/HTML;Charset=UTF-8", "text/html", {"charset": "UTF-8"}),
        ('text/html; charset="utf-8"', "text/html", {"charset": "utf-8"}),
        ('a/b; x="c;d,\\"e"; y=f', "a/b", {"x": 'c;d,"e', "y": "f"}),
        ("", "", {}),
    ],
)
def test_content_types(header, media, parameters):
    """As the standard writes them."""
    assert media_type(header) == (media, parameters)


EXAMPLE = "text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, text/plain;format=fixed;q=0.4, */*;q=0.5"


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        (("text/plain;format=flowed", "text/plain"), "text/plain;format=flowed"),
        (("text/html", "text/plain"), "text/plain"),
        (("image/jpeg", "text/html"), "image/jpeg"),
        (("text/html", "text/plain;format=fixed"), "text/plain;format=fixed"),
    ],
)
def test_example_of_the_standard(offers, chosen):
    """RFC 9110, section 12.5.1: the most specific range that covers a type decides about it."""
    assert choose(EXAMPLE, offers) == chosen


@given(st.text(max_size=80), st.none() | st.text(max_size=80))
def test_any_trace(parent, state):
    """Nothing raises, and hardly anything is a trace."""
    assert received(parent, state) is None


HEXADECIMAL = st.text("0123456789abcdef", min_size=16, max_size=16)


@given(HEXADECIMAL, HEXADECIMAL, HEXADECIMAL.filter(lambda text: text != "0" * 16), st.sampled_from(["00", "01", "ff"]))
def test_traces(high, low, parent, flags):
    """The trace stays through every hop, spans are new, and what is passed on is valid again."""
    if high == low == "0" * 16:
        return
    trace = received(f"00-{high}{low}-{parent}-{flags}", "a=1")
    hop = child(trace)
    assert trace[:35] == hop[:35] == f"00-{high}{low}"
    assert len({trace[36:52], hop[36:52], parent}) == 3
    assert received(*hop.split(" "))[53:] == trace[53:] == hop[53:]
