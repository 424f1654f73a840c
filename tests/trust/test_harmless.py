"""Other people's text, printed: nothing that drives a terminal, forges a line or reverses an order."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtldr_jax.trust.harmless import dump_json, is_harmless, make_harmless

UNSAFE = [*map(chr, (*range(0x20), *range(0x7F, 0xA0)))]
UNSAFE += [*"\u00ad\u061c\u180e\u200b\u200e\u200f\u2028\u2029\u2060\u2069\ufeff\udc80\udfff\U000e0001\U000e007f"]
UNSAFE += [*"\u034f\u115f\u1160\u17b4\u180b\u3164\uffa0\ufff0\U0001bca0\U000e0100"]  # seen as nothing at all
UNSAFE += [chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))]
HARMLESS = "plain", "Füße", "日本語", "कि\u200cत", "👨\u200d👩", "☀\ufe0f", "[bold]x[/]", "a\\x1b", "", " "
ANY_TEXT = st.text(st.characters())
PLAIN_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
)


@pytest.mark.parametrize("character", UNSAFE, ids=lambda character: f"U+{ord(character):04X}")
def test_an_unsafe_character_is_written_as_an_escape(character):
    shown = make_harmless(f"a{character}b")
    code = ord(character)
    assert shown == f"a\\x{code:02x}b" if code < 0x100 else shown in (f"a\\u{code:04x}b", f"a\\U{code:08x}b")
    assert shown.isascii()
    assert not is_harmless(f"a{character}b")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_shows_characters_stays_as_it_is(text):
    assert make_harmless(text) == text
    assert is_harmless(text)


@given(ANY_TEXT)
def test_nothing_that_controls_or_separates_lines_is_left_in_any_text(text):
    shown = make_harmless(text)
    assert not {unicodedata.category(one) for one in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(one) for one in shown} & {
        "LRE",
        "RLE",
        "LRO",
        "RLO",
        "PDF",
        "LRI",
        "RLI",
        "FSI",
    }
    assert len(shown.splitlines()) <= 1
    assert make_harmless(shown) == shown


@given(PLAIN_DATA)
def test_json_reads_back_exactly_and_has_no_unsafe_character(value):
    for indent in (None, 2):
        text = dump_json(value, indent=indent)
        assert json.loads(text) == value
        assert is_harmless(text.replace("\n", "") if indent else text)
        text.encode()  # no half of a surrogate pair is left


def test_json_stays_readable_and_strict():
    assert dump_json({"label": "Füße"}) == '{"label": "Füße"}'
    assert dump_json("\x85\u2028\u202e\ud83d\U000e0001") == r'"\u0085\u2028\u202e\ud83d\udb40\udc01"'
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_json(float("nan"))
