"""Texts that people bring: tokenizers, vocabularies, manifests, annotations."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from scripts.fuzz.fuzz_class import FuzzClass
from vidtldr_jax.data.annotations import read_answers, read_questions, read_retrieval_set
from vidtldr_jax.data.manifest import read_manifest
from vidtldr_jax.data.text import TextError, read_tokenizer

_WORDS: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "dog", "##s", "running")
_LABELS: Final = ("running", "3", "jumping")


def _write(name: str, text: str, folder: Path) -> None:
    (folder / name).write_text(text)


def _make_tokenizer(folder: Path) -> None:
    _write("vocab.txt", "\n".join(_WORDS) + "\n", folder)
    (folder / "tokenizer.json").write_text(read_tokenizer(folder / "vocab.txt").to_json())
    (folder / "vocab.txt").unlink()


def _encode(name: str, folder: Path) -> Any:
    return read_tokenizer(folder / name).encode(["a dog", "running dogs"], max_tokens=8)


def _are_ids(value: Any, expected: Any) -> bool:
    return value.ids.shape == value.mask.shape and len(value.ids) == len(expected.ids) and value.ids.shape[1] <= 8


def _has_types(value: Any, expected: Any) -> bool:
    """Whether a value has the types of the sound one, in all of its parts; there may be more or fewer rows."""
    if type(value) is not type(expected):
        return False
    if dataclasses.is_dataclass(expected):
        return _has_types(tuple(vars(value).values()), tuple(vars(expected).values()))
    if hasattr(expected, "_fields"):
        return all(map(_has_types, value, expected))
    return not isinstance(expected, list | tuple) or all(_has_types(part, expected[0]) for part in value)


def _list_file(
    name: str,
    text: str,
    read: Callable[[Path], Any],
    *,
    structure: str,
    error: type[Exception],
    answer: str = "typed rows, or one line that names the file",
) -> FuzzClass:
    return FuzzClass(
        name=name,
        answer=answer,
        make=functools.partial(_write, name, text),
        structures={name: (structure, 1)},
        read=lambda folder: read(folder / name),
        is_right=_has_types,
        documented=(error, OSError),
    )


def _read_manifest(path: Path) -> Any:
    return read_manifest(path, class_names=[_LABELS])


_ROWS: Final = [{"path": f"{n}.mp4", "label": _LABELS[n % 3]} for n in range(20)]
_CAPTIONS: Final = [{"video": f"{n}.mp4", "caption": [f"a dog {n}", "a cat"]} for n in range(5)]
_QUESTIONS: Final = [
    {"video": f"{n}.mp4", "question": "what is it", "answer": "dog", "question_id": n} for n in range(5)
]

TEXT_CLASSES: Final = (
    FuzzClass(
        name="tokenizer.json",
        answer="token ids, or one line that names the file",
        make=_make_tokenizer,
        structures={"tokenizer.json": ("json", 1)},
        read=functools.partial(_encode, "tokenizer.json"),
        is_right=_are_ids,
        documented=(TextError, OSError),
    ),
    FuzzClass(
        name="vocab.txt",
        answer="token ids, or one line that names the file",
        make=functools.partial(_write, "vocab.txt", "\n".join(_WORDS) + "\n"),
        structures={"vocab.txt": ("lines", 1)},
        read=functools.partial(_encode, "vocab.txt"),
        is_right=_are_ids,
        documented=(TextError, OSError),
    ),
    _list_file(
        "manifest.csv",
        "path,label\n" + "".join(f"{row['path']},{row['label']}\n" for row in _ROWS),
        _read_manifest,
        structure="lines",
        error=ValueError,
    ),
    _list_file(
        "manifest.jsonl",
        "".join(json.dumps(row) + "\n" for row in _ROWS),
        _read_manifest,
        structure="lines",
        error=ValueError,
    ),
    _list_file("captions.json", json.dumps(_CAPTIONS), read_retrieval_set, structure="json", error=TextError),
    _list_file("questions.json", json.dumps(_QUESTIONS), read_questions, structure="json", error=TextError),
    _list_file("answers.json", json.dumps(["dog", "cat"]), read_answers, structure="json", error=TextError),
)
