"""A folder with a hostile name, with models, videos, lists and an index of hostile names, labels and texts in it."""

import json
import shutil
import types

import numpy as np
from safetensors.numpy import save_file

from tests.cli.conftest import save_model
from tests.cli.hostile import LABEL, NAME, UNICODE_NAME, call_hostile
from tests.cli.umt_sets import make_umt
from tests.data.making import write_video
from tests.reference.files import find_golden

LABELS = [LABEL, f"{LABEL} 2", "plain"]
_SETTINGS = ("--set", "heads=4", "--set", "frames=4", "--set", "image_size=32")


def make_hostile_place(folder):
    """Makes the folder; returns its places by name."""
    home = folder / f"{NAME} home"
    home.mkdir()
    names = ("model", "retrieval", "answering", "captions", "questions")
    here = types.SimpleNamespace(home=home, **{name: home / f"{NAME} {name}" for name in names})
    here.video, here.broken, here.source = home / f"{NAME}.mp4", home / f"{NAME} broken.mp4", home / f"{NAME}.pth"
    here.manifest, here.index = home / f"{NAME}.jsonl", home / f"{NAME} index"
    save_model(here.model, labels=LABELS)
    for number, place in enumerate((here.video, home / "plain.mp4")):
        write_video(folder / "made.mp4", num_frames=9 + number, first_number=20 * number)
        shutil.move(folder / "made.mp4", place)
    here.broken.write_bytes(b"no video")
    rows = [
        {"path": place.name, "label": label}
        for place, label in zip((here.video, home / "plain.mp4", here.broken), LABELS, strict=True)
    ]
    here.manifest.write_text("\n".join(map(json.dumps, rows)) + "\n")
    for task, place in (("retrieval", here.retrieval), ("question_answering", here.answering)):
        shutil.move(make_umt(folder, task), place)
    names = [row["path"] for row in rows[:2]]
    write_json(here.captions, [{"video": name, "caption": f"w3 {LABEL} {n}"} for n, name in enumerate(names)])
    asked = {"question": f"w3 {LABEL}?", "answer": LABEL}
    write_json(here.questions, [{"video": name, "question_id": n, **asked} for n, name in enumerate(names)])
    here.answers = home.joinpath(f"{NAME} answers.json")
    write_json(here.answers, [LABEL, "w4", "w5"])
    shutil.copy(find_golden("cls_umt.pth"), here.source)
    here.keys, here.damaged = home / f"{NAME}.safetensors", home / f"{NAME} damaged"
    save_file({f"{LABEL}.{n}": np.zeros(n + 1, np.float32) for n in range(30)}, folder / "keys.safetensors")
    shutil.move(folder / "keys.safetensors", here.keys)
    shutil.copytree(here.model, here.damaged)
    weights = here.damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    code, _, err = call_hostile("embed", here.video, "--model", here.retrieval, "--out", here.index, "--no-cache")
    assert code == 0, err
    return here


def write_json(path, value):
    path.write_text(json.dumps(value))


def write_line(name, at, out):
    """Returns a command line that does well, or names what is broken, and texts that its JSON must have.

    Args:
      name: of a command; behind a colon, of another way to call it.
      at: the hostile place.
      out: folder for what is written.
    """
    new, run, merged = out / NAME, out / UNICODE_NAME, ("--model", at.model, "--schedule", 4)
    umt = ("--videos", at.home, "--out", out / f"{NAME}.json", "--skip-missing")
    back = out / f"{NAME}.safetensors"
    kinds = [word for kind in ("html", "png", "mp4", "gif") for word in (f"--{kind}", out / f"{NAME}.{kind}")]
    text = f"w3 {LABEL}"
    lines = {
        "ask": ([at.video, text, "--answers", at.answers, "--model", at.answering], [LABEL, text, at.video]),
        "benchmark": ([*merged, "--repeats", 1, "--no-search"], [at.model]),
        "classify": ([at.video, at.broken, "--model", at.model], [*LABELS, at.video, at.broken]),
        "completion": (["bash"], []),
        "convert": ([at.source, new, *_SETTINGS], [new]),
        "convert: keys": ([at.keys, new], []),
        "convert: torch": ([at.model, back, "--to", "torch", "--family", "single_modality"], [back]),
        "demo": (["--video", at.video, *merged, "--repeats", 1, "--out", new], [LABEL, at.video, at.model]),
        "embed": ([at.video, at.broken, "--model", at.retrieval, "--out", new], [new, at.broken]),
        "embed: prune": ([at.video, "--model", at.retrieval, "--out", at.index, "--prune"], [at.index]),
        "evaluate classification": (
            ["--manifest", at.manifest, "--model", at.model, "--out", out / f"{NAME}.json"],
            [at.manifest, at.broken.name],
        ),
        "evaluate qa": (
            ["--annotation", at.questions, "--answers", at.answers, "--model", at.answering, *umt,
             "--max-question-tokens", 16],
            [at.questions],
        ),
        "evaluate retrieval": (
            ["--annotation", at.captions, "--model", at.retrieval, *umt, "--max-text-tokens", 16], [at.captions],
        ),
        "export": (["--model", at.model, "--batch-size", 1, "--out", new], [new]),
        "finetune": (
            ["--data", at.manifest, "--model", at.model, "--out", run, "--steps", 1, "--batch-size", 2,
             "--few", 1, "--skip-unreadable"],
            [run / "model", at.model],
        ),
        "info": ([at.model], [*LABELS, at.model]),
        "info: check": ([at.model, "--check"], [at.model]),
        "info: damaged": ([at.damaged, "--check"], [at.damaged]),
        "info: index": ([at.index, "--check"], [at.index]),
        "info: keys": ([at.keys], []),
        "info: source": ([at.source, *_SETTINGS], [at.source.name]),
        "plan": (
            ["--model", at.model, "--keep", 0.5, "--calibrate", at.video, "--plot", out / f"{NAME}.png",
             "--write-config", out / f"{NAME}.py"],
            [at.model],
        ),
        "schedules": ([], []),
        "search": ([at.index, text, "--model", at.retrieval], [text, at.video, at.index]),
        "visualize": ([at.video, *merged, *kinds], [LABEL, at.video, out / f"{NAME}.gif"]),
    }  # fmt: skip
    words, expected = lines[name]
    return [*name.split(":")[0].split(), *words], {str(one) for one in expected}


# Further ways to call commands, that print what the first one does not.
MORE = (
    "convert: keys", "convert: torch", "embed: prune", "info: check", "info: damaged", "info: index", "info: keys",
    "info: source",
)  # fmt: skip
