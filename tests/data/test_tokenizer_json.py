"""A tokenizer.json is checked before the library sees it: its ids can't ask for all memory, nor miss the word table."""

from __future__ import annotations

import copy
import json
import sys
import types

import pytest

from vidtldr_jax.data import text as text_module
from vidtldr_jax.data.text import TextError, TextTokenizer, read_tokenizer
from vidtldr_jax.data.tokenizer_json import TokenizerError, check_tokenizer

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "dog", "##s")
SOUND = {
    "version": "1.0", "truncation": None, "padding": None,
    "added_tokens": [
        {"id": number, "content": word, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for number, word in enumerate(WORDS[:4])
    ],
    "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                   "lowercase": True},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 100, "vocab": {word: number for number, word in enumerate(WORDS)}},
}  # fmt: skip
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {
        word: {"id": word, "ids": [number], "tokens": [word]} for word, number in (("[CLS]", 2), ("[SEP]", 3))
    },
}  # fmt: skip
FAR_TEMPLATE = {**TEMPLATE, "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2**31], "tokens": ["[CLS]"]}}}
START = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}
TEXT = {"Sequence": {"id": "A", "type_id": 0}}
DOUBLE = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
UNIGRAM = {"type": "Unigram", "unk_id": 1, "vocab": [[word, -1.0] for word in WORDS]}


def change(*path, value):
    """A sound file with one place changed."""
    made = copy.deepcopy(SOUND)
    place = made
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return json.dumps(made)


HOSTILE = {
    "a word beyond the limit": (change("model", "vocab", "dog", value=2**31), r"at most 16,777,216 .*TOKEN_ID"),
    "one beyond 64 bits": (change("model", "vocab", "dog", value=2**70), "VIDTLDR_MAX_TOKEN_ID to allow more"),
    "one below the limit with holes before it": (
        change("model", "vocab", "dog", value=2**23), "ids count up from 0, and the largest of 8 is 8,388,608",
    ),
    "a hole of one": (change("model", "vocab", "##s", value=8), "the largest of 8 is 8"),
    "a negative id": (change("model", "vocab", "dog", value=-1), "id -1 of 'dog' is not an id"),
    "a fraction": (change("model", "vocab", "dog", value=6.5), "id 6.5 of 'dog' is not an id"),
    "true": (change("model", "vocab", "dog", value=True), "id True of 'dog' is not an id"),
    "an id twice": (change("model", "vocab", "dog", value=5), "id 5 of 'dog' is not an id or is there twice"),
    "no words": (change("model", "vocab", value={}), "its model has no words"),
    "text for words": (change("model", "vocab", value="abc"), "neither words with ids nor a list of words"),
    "a list of numbers": (change("model", "vocab", value=[1, 2]), "word 1 is not text"),
    "a Unigram word twice": (
        change("model", value={**UNIGRAM, "vocab": [["a", 0], ["a", 0]]}), "'a' is not text or is there twice",
    ),
    "a Unigram's unknown word": (change("model", value={**UNIGRAM, "unk_id": 2**31}), "unk_id is 2147483648"),
    "no model": (change("model", value=None), "it has no model"),
    "an added token far away": (
        change("added_tokens", value=[*SOUND["added_tokens"], {"id": 2**31, "content": "[X]"}]), "TOKEN_ID",
    ),
    "an added token in another's place": (
        change("added_tokens", value=[{"id": 4, "content": "[X]"}]), r"added token '\[X\]' has id 4",
    ),
    "an added token with two ids": (change("added_tokens", value=[{"id": 3, "content": "[CLS]"}]), "has id 3"),
    "an added token without an id": (change("added_tokens", value=[{"content": "[X]"}]), r"'\[X\]' has id None"),
    "added tokens of another kind": (change("added_tokens", value={"a": 1}), "added_tokens is not a list"),
    "a start token far away": (change("post_processor", "cls", value=["[CLS]", 2**31]), r"mentions id 2147483648"),
    "a start token of another word": (change("post_processor", "cls", value=["[CLS]", 4]), r"id 4 for '\[CLS\]'"),
    "a template far away": (
        change("post_processor", value=FAR_TEMPLATE),
        "mentions id 2147483648",
    ),
    "one in a sequence": (
        change("post_processor", value={"processors": [{**SOUND["post_processor"], "sep": ["[SEP]", 9]}]}),
        r"id 9 for '\[SEP\]'",
    ),
    "a template whose ids have no tokens": (
        change("post_processor", value={**TEMPLATE, "special_tokens": {"[CLS]": {"ids": [2**31], "tokens": []}}}),
        "mentions id 2147483648 for None",
    ),
    "a text a thousand times": (
        change("post_processor", value={**TEMPLATE, "single": [START, *[TEXT] * 1000]}), "puts a text in 1,000 times",
    ),
    "no text": (
        change("post_processor", value={"processors": [{**TEMPLATE, "single": [START]}]}), "puts a text in 0 times",
    ),
    "a text doubled 28 times": (
        change("normalizer", value={"type": "Sequence", "normalizers": [DOUBLE] * 28}),
        "normalizer makes a text more than 256 times as long",
    ),
    "characters between any two, 28 times": (
        change("normalizer", value={"normalizers": [{**DOUBLE, "pattern": {"Regex": ""}, "content": "a"}] * 28}),
        "more than 256 times",
    ),
    "a long beginning": (change("normalizer", value={"type": "Prepend", "prepend": "a" * 500}), "more than 256 times"),
    "bytes of bytes": (
        change("pre_tokenizer", value={"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}] * 24}),
        "pre_tokenizer makes a text more than 256 times as long",
    ),
    "a name twice": ('{"model": {}, "model": {}}', "is there twice in one object"),
    "not JSON": ("{", "is no tokenizer that the library reads"),
    "too deep": ("[" * 100_000, "is no tokenizer that the library reads"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_an_unsound_file_is_one_line_and_never_reaches_the_library(case, monkeypatch):
    content, message = HOSTILE[case]
    library = types.SimpleNamespace(Tokenizer=types.SimpleNamespace(from_str=lambda text: sys.exit("it was read")))
    monkeypatch.setattr(text_module, "_import_tokenizers", lambda: library)
    with pytest.raises(TextError, match=message) as caught:
        TextTokenizer.from_json(content, name="t.json")
    assert "\n" not in str(caught.value)
    assert "t.json" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_thousands_of_faults_are_counted():
    with pytest.raises(TokenizerError, match=r"and 29,979 more") as caught:
        check_tokenizer(change("model", "vocab", value={"x" * 500 + str(n): -1 - n for n in range(30_000 - 1)}), "it")
    assert len(str(caught.value)) < 8000


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(SOUND),
        change("post_processor", value=TEMPLATE),
        change("post_processor", value={"type": "Sequence", "processors": [TEMPLATE]}),
        change("added_tokens", value=[*SOUND["added_tokens"], {**SOUND["added_tokens"][0], "id": 8, "content": "[X]"}]),
        change("padding", value={"strategy": {"Fixed": 2**40}, "direction": "Right", "pad_to_multiple_of": None,
                                 "pad_id": 2**31, "pad_type_id": 0, "pad_token": "[PAD]"}),
        change("truncation", value={"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 9}),
    ],
)  # fmt: skip
def test_sound_files_are_read(content):
    found = TextTokenizer.from_json(content, name="t.json")
    assert found.encode(["a dogs"], max_tokens=8).ids.tolist() == [[2, 4, 6, 7, 3, 0, 0, 0]]


def test_a_template_adds_two_tokens():
    """More of them would not fit into the length that a model takes."""
    start = {"id": "[CLS]", "ids": [2] * 300, "tokens": ["[CLS]"] * 300}
    single = [*[START] * 300, TEXT, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}]
    tokens = {**TEMPLATE["special_tokens"], "[CLS]": start}
    content = change("post_processor", value={**TEMPLATE, "single": single, "special_tokens": tokens})
    with pytest.raises(TextError, match=r"a text becomes \[CLS\] words \[SEP\]; that of t.json adds 90,001 tokens"):
        TextTokenizer.from_json(content, name="t.json")


def test_steps_of_published_tokenizers_are_few():
    """Those of T5, Llama, CLIP and GPT-2, one after another."""
    steps = [
        {"type": "Prepend", "prepend": "\u2581"}, {**DOUBLE, "pattern": {"String": " "}, "content": "\u2581"},
        {**DOUBLE, "pattern": {"Regex": " {2,}"}, "content": " "}, {"type": "NFKC"}, SOUND["normalizer"],
    ]  # fmt: skip
    content = json.loads(change("normalizer", value={"type": "Sequence", "normalizers": steps}))
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "Whitespace"}]}
    assert check_tokenizer(json.dumps(content), "it")["normalizer"]["normalizers"] == steps


def test_the_library_may_fail_when_words_are_looked_up(monkeypatch):
    found = TextTokenizer.from_json(json.dumps(SOUND), name="t.json")

    def fail(texts):
        raise ValueError("no\nwords")

    backend = types.SimpleNamespace(model=None, encode_batch=fail)
    library = types.SimpleNamespace(Tokenizer=types.SimpleNamespace(from_str=lambda text: backend))
    monkeypatch.setattr(text_module, "_import_tokenizers", lambda: library)
    with pytest.raises(TextError, match=r"t.json is no tokenizer that the library reads \(no words\)"):
        found.look_up(["a"])


def test_the_library_may_fail_in_any_way(monkeypatch):
    class PanicException(BaseException):  # what a panic in Rust raises
        pass

    def panic(text):
        raise PanicException("called `Option::unwrap()` on a\n`None` value")

    library = types.SimpleNamespace(Tokenizer=types.SimpleNamespace(from_str=panic))
    monkeypatch.setattr(text_module, "_import_tokenizers", lambda: library)
    with pytest.raises(
        TextError, match=r"t.json is no tokenizer that the library reads \(called .* on a `None` value\)"
    ):
        TextTokenizer.from_json(json.dumps(SOUND), name="t.json")


def test_files_of_gigabytes_and_devices_are_not_read(tmp_path, monkeypatch):
    with (tmp_path / "vocab.txt").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(TextError, match="VIDTLDR_MAX_JSON_BYTES"):
        read_tokenizer(tmp_path)
    with pytest.raises(TextError, match="can't be read"):
        read_tokenizer("/dev/zero")
    monkeypatch.setenv("VIDTLDR_MAX_TOKEN_ID", "5")
    with pytest.raises(TextError, match=r"at most 5 .*; got 7"):
        TextTokenizer.from_json(json.dumps(SOUND), name="t.json")
