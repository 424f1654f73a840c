"""Every command that writes, what it writes, and how what is there is read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

_GOLDENS: Final = Path(__file__).resolve().parent.parent.parent / "tests" / "goldens"
_SETTINGS: Final = ("--set", "frames=8", "--set", "image_size=32", "--set", "heads=4")


class Writer(NamedTuple):
    """One command that writes.

    Attributes:
      name: for the table.
      words: from the folder with the inputs and the place to write to, to the words of the command line.
      check: raises where what is at the place is not whole; returns what must not get lost.
      is_replacing: whether a whole result is there before, which a later run replaces; else a run goes on.
    """

    name: str
    words: Callable[[Path, Path], list[str]]
    check: Callable[[Path], set[str]]
    is_replacing: bool = True


def make_inputs(folder: Path) -> None:
    """Write what the commands read: weights, a model that searches, videos, a manifest."""
    from checkpoints_convert import convert_checkpoint
    from tests.cli.umt_sets import make_umt, make_videos

    convert_checkpoint(
        _GOLDENS / "cls_videomae.pth",
        folder / "classifier",
        settings={"frames": 8, "image_size": 32, "heads": 4},
    )
    make_umt(folder, "retrieval")
    (folder / "videos").mkdir()
    names = make_videos(folder / "videos", 24)
    rows = "".join(f"{name},{number % 2}\n" for number, name in enumerate(names))
    (folder / "videos" / "list.csv").write_text(f"path,label\n{rows}")
    (folder / "few.csv").write_text(
        "path,label\n" + "".join(f"videos/{name},{n % 2}\n" for n, name in enumerate(names[:6]))
    )


def _check_checkpoint(place: Path) -> set[str]:
    from vidtldr_jax.inference.checkpoint import read_checkpoint

    read_checkpoint(place)
    return {"checkpoint"}


def _check_state_dict(place: Path) -> set[str]:
    from safetensors.numpy import load_file

    load_file(place)
    return {"weights"}


def _check_export(place: Path) -> set[str]:
    from vidtldr_jax.export.files import open_export

    assert open_export(place).weights
    return {"program"}


def _check_index(place: Path) -> set[str]:
    from vidtldr_jax.search.features import read_features

    if not (place / "description.json").exists():
        assert not list(place.glob("part-*"))
        return set()
    store = read_features(place)
    assert np.isfinite(store.read_embeddings()).all()
    for key in store.keys:
        store.read_tokens(key)
    return set(store.keys)


def _check_evaluation(place: Path) -> set[str]:
    if place.exists():
        assert json.loads(place.read_text())["ways"]
    records = place.with_suffix(".records.jsonl")
    if not records.exists():
        return set()
    lines = records.read_bytes().split(b"\n")[:-1]  # a line that was torn at the end is done again
    return {str(json.loads(line).get("key")) for line in lines}


def _check_video(place: Path) -> set[str]:
    import av

    with av.open(str(place)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 1
    return {"video"}


def _check_page(place: Path) -> set[str]:
    assert place.read_text(encoding="utf-8").rstrip().endswith("</html>")
    return {"page"}


def _check_run(place: Path) -> set[str]:
    from vidtldr_jax.inference.checkpoint import read_checkpoint

    if (place / "run.json").exists():
        json.loads((place / "run.json").read_text())
    if (place / "model").exists():
        read_checkpoint(place / "model")
    states = place / "checkpoints"
    newest = max((int(one.name) for one in states.glob("[0-9]*")), default=0) if states.is_dir() else 0
    return {f"step {step}" for step in range(1, newest + 1)}


def _words(*parts: Any) -> list[str]:
    return [str(part) for part in parts]


WRITERS: Final = (
    Writer(
        "convert",
        lambda inputs, out: _words("convert", _GOLDENS / "cls_videomae.pth", out, *_SETTINGS),
        _check_checkpoint,
    ),
    Writer(
        "convert --to torch",
        lambda inputs, out: _words("convert", inputs / "classifier", out, "--to", "torch", "--overwrite"),
        _check_state_dict,
    ),
    Writer(
        "export",
        lambda inputs, out: _words(
            *("export", "--model", inputs / "classifier", "--out", out, "--weights", "beside", "--platforms", "cpu"),
            "--overwrite",
        ),
        _check_export,
    ),
    Writer(
        "embed",
        lambda inputs, out: _words(
            *("embed", inputs / "videos", "--model", inputs / "umt-retrieval", "--tokens", "--out", out)
        ),
        _check_index,
        is_replacing=False,
    ),
    Writer(
        "evaluate classification",
        lambda inputs, out: _words(
            *("evaluate", "classification", "--model", inputs / "classifier", "--batch-size", 2),
            *("--manifest", inputs / "videos" / "list.csv", "--out", out),
        ),
        _check_evaluation,
        is_replacing=False,
    ),
    Writer(
        "visualize --mp4",
        lambda inputs, out: _words(
            *("visualize", inputs / "videos" / "0.mp4", "--model", inputs / "classifier", "--mp4", out)
        ),
        _check_video,
    ),
    Writer(
        "visualize --html",
        lambda inputs, out: _words(
            *("visualize", inputs / "videos" / "0.mp4", "--model", inputs / "classifier", "--html", out)
        ),
        _check_page,
    ),
    Writer(
        "finetune",
        lambda inputs, out: _words(
            *("finetune", "--data", inputs / "few.csv", "--val", inputs / "few.csv", "--model", inputs / "classifier"),
            *("--steps", 12, "--batch-size", 2, "--save-every", 1, "--out", out),
        ),
        _check_run,
        is_replacing=False,
    ),
)
PLACES: Final = {
    "convert": "model",
    "convert --to torch": "weights.safetensors",
    "export": "model.stablehlo",
    "embed": "index",
    "evaluate classification": "result.json",
    "visualize --mp4": "film.mp4",
    "visualize --html": "page.html",
    "finetune": "run",
}
