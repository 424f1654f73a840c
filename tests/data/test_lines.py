"""Only a line feed ends a line: names, labels and words may hold what Unicode or Python take for a line's end."""

import ast
import json
from pathlib import Path

import pytest

from vidtldr_jax.data.annotations import read_answers
from vidtldr_jax.data.manifest import read_manifest
from vidtldr_jax.data.text import read_tokenizer
from vidtldr_jax.train.classes import find_classes
from vidtldr_jax.trust.lines import read_exact, split_lines

ROOT = Path(__file__).resolve().parent.parent.parent
# U+2028 and U+2029, NEL, form feed, vertical tab, three separators: str.splitlines ends a line at each.
BREAKS = "\u2028\u2029\x85\x0c\x0b\x1c\x1d\x1e"


def write(folder, text, name):
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_lines_end_at_line_feeds():
    assert split_lines(f"a{BREAKS}b\r\nc\r\r\n\nd") == [f"a{BREAKS}b", "c\r", "", "d"]
    assert split_lines("a\n") == ["a"]
    assert split_lines("") == []


def test_every_character_of_a_file_is_read_as_it_is(tmp_path):
    assert read_exact(write(tmp_path, "\ufeffa\rb\r\n", "a.txt")) == "a\rb\r\n"


@pytest.mark.parametrize("character", BREAKS[:3])
def test_json_lines_are_not_cut_inside_a_string(tmp_path, character):
    rows = [{"path": f"a{character}b.mp4", "label": f"x{character}y"}, {"path": "c.mp4", "label": "z"}]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path = write(tmp_path, text, "list.jsonl")
    names = [f"x{character}y", "z"]
    found = read_manifest(path, class_names=[names])
    assert [(entry.name, entry.labels) for entry in found] == [(f"a{character}b.mp4", (0,)), ("c.mp4", (1,))]
    assert find_classes(path, model_names=names, model_count=2).names == tuple(names)


@pytest.mark.parametrize("character", [*BREAKS, "\n", "\r", "\r\n"])
def test_csv_fields_keep_their_line_ends(tmp_path, character):
    path = write(tmp_path, f'path,label\n"a{character}b.mp4","x{character}y"\nc.mp4,z\n', "list.csv")
    names = [f"x{character}y", "z"]
    found = read_manifest(path, class_names=[names])
    assert [(entry.name, entry.labels) for entry in found] == [(f"a{character}b.mp4", (0,)), ("c.mp4", (1,))]
    assert find_classes(path, model_names=names, model_count=2).names == tuple(names)


def test_a_vocabulary_has_words_of_any_character(tmp_path):
    pytest.importorskip("tokenizers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"a{character}" for character in BREAKS), "dog"]
    found = read_tokenizer(write(tmp_path, "\n".join(words) + "\n", "vocab.txt"))
    assert found.vocab_size == len(words)
    assert found.encode(["dog"], max_tokens=8).ids[0, 1] == len(words) - 1


def test_answers_are_not_cut(tmp_path):
    assert read_answers(write(tmp_path, "a\u2028b\r\nc\x85d\n", "a.txt")) == ("a\u2028b", "c\x85d")


def test_nothing_takes_text_apart_at_other_characters():
    """What is left looks at the first line of an exception, or at bytes, of which only line feeds and \\r end lines."""
    allowed = {"attention_trial.py": 1, "hub.py": 1, "group.py": 1, "records.py": 1, "metrics.py": 1}
    found = {}
    for path in [*(ROOT / "vidtldr_jax").rglob("*.py"), *(ROOT / "checkpoints_convert").rglob("*.py")]:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        count = sum(isinstance(node, ast.Attribute) and node.attr == "splitlines" for node in nodes)
        if count > allowed.get(path.name, 0):
            found[path.name] = count
    assert found == {}
