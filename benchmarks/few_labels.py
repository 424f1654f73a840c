"""What do a few labels bring a converted model on videos that it was not trained for, with and without merging?

    python benchmarks/few_labels.py              # writes benchmarks/results/few_labels.json

The shipped model goes to a torch state dict and back, so that it is a converted one. The videos are H.264 files of the
same twelve motions in another look: photos twice as bright, objects two thirds the size, more pans. A pool of labelled
ones shows the training split's pictures; the held-out ones, digits and photos that neither the model nor the pool has.
From the pool come k videos of each class, by seed. The recipes are those of configs/finetune.py. Needs the extra
`pictures`.

A gain is the paired difference to the model before, on the same videos, with the 95 % interval over videos and seeds.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image

from benchmarks import record
from benchmarks.accuracy_statistics import find_difference
from checkpoints_convert.convert import convert_checkpoint
from checkpoints_convert.export import export_checkpoint
from vidtldr_jax.cli.python_config import run_config
from vidtldr_jax.data.manifest import read_manifest
from vidtldr_jax.inference.checkpoint import find_param_shapes, read_checkpoint, save_checkpoint
from vidtldr_jax.inference.load import find_checkpoint, load_model
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.train import Recipe, finetune, prepare
from vidtldr_jax.train.evaluation import encode_entries, find_right, score

ROOT: Final = Path(__file__).resolve().parent.parent
_SCRIPTS: Final = ROOT / "scripts" / "moving_objects"
_CONFIG: Final = ROOT / "configs" / "finetune.py"
_SCHEDULE: Final = "100,40"
_KS: Final = (5, 20)
_VIDEO_SIZE: Final = 96  # pixels
_BRIGHTNESS: Final = 1.0
_SIDE: Final = (0.24, 0.32)  # of objects; the model saw 0.36 to 0.48
_PAN_SHARE: Final = 0.75
_BATCH_SIZE: Final = 48
_HELD_OUT_SEED: Final = 202  # 102 gave the videos on which recipes were chosen


class Run(NamedTuple):
    """One way to use k labels.

    Attributes:
      way: its name.
      config: of configs/finetune.py.
      schedule: merging in training.
    """

    way: str
    config: str
    schedule: str


RUNS: Final = (
    Run("probe", "probe", "none"),
    Run("fine-tuned", "few", "none"),
    Run("fine-tuned with merging", "few", _SCHEDULE),
)


def load_pictures(split: Any, *, is_smoke: bool) -> Any:
    """Returns digits and photos of a split; noise in a smoke run, which needs no packages for them."""
    from pictures import Pictures, load_pictures

    if not is_smoke:
        return load_pictures(split)
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    return Pictures(rng.integers(0, 256, (4, 28, 28), dtype=np.uint8), [photo])


def write_videos(folder: Path, split: str, num_clips: int, *, seed: int, num_frames: int, is_smoke: bool) -> Path:
    """Renders videos of the shifted look; returns their list."""
    from make_clips import write_video
    from scenes import LABELS, Look, draw_scenes, render_scenes

    manifest = folder / f"{split}.csv"
    if manifest.exists():
        return manifest
    pictures = load_pictures(split, is_smoke=is_smoke)
    look = Look(side=_SIDE, pan_share=_PAN_SHARE)
    counts = {"num_digits": len(pictures.digits), "num_photos": len(pictures.photos)}
    scenes = draw_scenes(np.random.default_rng(seed), num_clips, num_frames=num_frames, look=look, **counts)
    size = 32 if is_smoke else _VIDEO_SIZE
    clips = render_scenes(scenes, pictures.digits, pictures.photos, image_size=size, brightness=_BRIGHTNESS)
    lines = ["path,label"]
    for number, (clip, label) in enumerate(zip(clips, scenes.label, strict=True)):
        name = f"{split}_{number:04d}.mp4"
        write_video(folder / name, clip)
        lines.append(f"{name},{LABELS[label]}")
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def make_tiny_model(folder: Path) -> Path:
    """Writes a model of the smoke run: random, with the shipped one's classes and preprocessing."""
    stored = read_checkpoint(find_checkpoint("moving-objects"))
    config = VideoViTConfig(
        num_frames=16, image_size=16, patch_size=8, tubelet_size=8, dim=24, depth=2, num_heads=2, mlp_dim=24,
        num_classes=12,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    params = {path: rng.normal(size=shape).astype(np.float32) for path, shape in find_param_shapes(config).items()}
    recipe = stored.preprocessing.from_dict(stored.preprocessing.to_dict() | {"image_size": 16})
    return save_checkpoint(folder, params=params, config=config, preprocessing=recipe, labels=stored.labels)


def convert_there_and_back(folder: Path, place: Path) -> tuple[Path, bool]:
    """Writes a checkpoint as a torch state dict and converts that; tells whether every number is the same."""
    stored = read_checkpoint(folder)
    export_checkpoint(folder, place / "torch.safetensors", family="single_modality")
    recipe, config = stored.preprocessing.to_dict(), stored.config
    settings = {name: value for name, value in recipe.items() if name not in ("num_frames", "image_size")}
    settings |= {"num_frames": config.num_frames, "image_size": config.image_size, "num_heads": config.num_heads}
    settings["labels"] = list(stored.labels or [])
    convert_checkpoint(place / "torch.safetensors", place / "converted", settings=settings)
    converted = read_checkpoint(place / "converted")
    same = all(np.array_equal(value, converted.params[path]) for path, value in stored.params.items())
    return place / "converted", same


def measure_accuracy(model: Path, manifest: Path, schedule: str) -> dict[str, Any]:
    """Returns the accuracy of a model on a list of videos, and of each whether it is right."""
    loaded = load_model(model, schedule=schedule)
    entries = read_manifest(manifest, class_names=[loaded.labels or []])
    rows = encode_entries(loaded, entries, output="logits", batch_size=_BATCH_SIZE)
    truth = [entry.labels[0] for entry in entries]
    return {**score(rows, truth), "is_right": find_right(rows, truth).astype(int).tolist()}


def measure_both(model: Path, manifest: Path) -> dict[str, Any]:
    """Returns the accuracies of a model plain and merged."""
    return {
        "plain": measure_accuracy(model, manifest, "none"),
        "merged": measure_accuracy(model, manifest, _SCHEDULE),
    }


def read_recipe(run: Run, *, k: int, seed: int, is_smoke: bool) -> Recipe:
    """Returns the recipe of a run."""
    fields = run_config(f"{_CONFIG}:{run.config},k{k}").recipe.to_dict()
    fields |= {"seed": seed, "schedule": run.schedule}
    if is_smoke:
        fields |= {"steps": 2, "batch_size": 4}
    return Recipe.from_dict(fields)


def run_all(
    place: Path, model: Path, pool: Path, held_out: Path, before: dict[str, Any], *, seeds: int, is_smoke: bool
) -> list[dict[str, Any]]:
    """Trains every way with every number of labels and seed; returns a row for each way and number."""
    rows = []
    for k in (1,) if is_smoke else _KS:
        for run in RUNS[::2] if is_smoke else RUNS:
            found = []
            for seed in range(seeds):
                recipe = read_recipe(run, k=k, seed=seed, is_smoke=is_smoke)
                found.append(run_once(place / f"{run.config}-{run.schedule}-{k}-{seed}", model, pool, held_out, recipe))
                print(f"{run.way}, k = {k}, seed {seed}: {_shorten(found[-1]['accuracy'])}", flush=True)
            accuracies = {name: [one["accuracy"][name] for one in found] for name in ("plain", "merged")}
            rows.append(
                {
                    "way": run.way,
                    "k": k,
                    "videos": found[0]["videos"],
                    "steps": found[0]["steps"],
                    "schedule_in_training": run.schedule,
                    **{name: summarise(of_seeds, before[name]) for name, of_seeds in accuracies.items()},
                }
            )
    return rows


def run_once(place: Path, model: Path, pool: Path, held_out: Path, recipe: Recipe) -> dict[str, Any]:
    """Trains once and measures; what an earlier start left in the place is taken from there."""
    outcome = place / "outcome.json"
    if outcome.exists():
        return json.loads(outcome.read_text())
    result = finetune(prepare(model, pool, recipe), place)
    found = {
        "videos": result["videos"],
        "steps": result["steps"],
        "accuracy": measure_both(Path(result["model"]), held_out),
    }
    outcome.write_text(json.dumps(found))
    return found


def summarise(of_seeds: list[dict[str, Any]], before: dict[str, Any]) -> dict[str, Any]:
    """Returns mean, lowest and highest of the seeds, all of them, and the gain over the model before."""
    accuracies = [round(one["accuracy"], 4) for one in of_seeds]
    is_right = np.array([one["is_right"] for one in of_seeds])  # [S, N]
    gain = find_difference(is_right, np.broadcast_to(before["is_right"], is_right.shape))
    return {
        "mean": round(statistics.mean(one["accuracy"] for one in of_seeds), 4),
        "lowest": min(accuracies),
        "highest": max(accuracies),
        "by_seed": accuracies,
        "gain": round(gain.mean, 4),
        "gain_interval_95": [round(gain.low, 4), round(gain.high, 4)],
    }


def _shorten(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {one['accuracy']:.1%}" for name, one in found.items())


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__, repeats=3)
    parser.add_argument("--held-out", type=int, default=1200, help="held-out videos [default: %(default)s]")
    parser.add_argument("--folder", type=Path, help="keeps videos and runs, so that a later start goes on")
    arguments = parser.parse_args(words)
    is_smoke = arguments.smoke
    sys.path.insert(0, str(_SCRIPTS))  # scripts import each other as Python sees them when they run
    with tempfile.TemporaryDirectory() as name:
        place = arguments.folder or Path(name)
        place.mkdir(parents=True, exist_ok=True)
        start = make_tiny_model(place / "tiny") if is_smoke else find_checkpoint("moving-objects")
        model, is_same = convert_there_and_back(start, place)
        sizes = {"num_frames": 16, "is_smoke": is_smoke}
        pool = write_videos(place, "train", 12 if is_smoke else 12 * 2 * max(_KS), seed=101, **sizes)
        held_out = write_videos(place, "test", 12 if is_smoke else arguments.held_out, seed=_HELD_OUT_SEED, **sizes)
        before = measure_both(model, held_out)
        print(f"before: {_shorten(before)}", flush=True)
        seeds = 1 if is_smoke else arguments.repeats
        rows = run_all(place, model, pool, held_out, before, seeds=seeds, is_smoke=is_smoke)
    result = {
        "model": "moving-objects, as a torch state dict and back",
        "is_same_to_the_bit": is_same,
        "look": {"brightness": _BRIGHTNESS, "side": list(_SIDE), "pan_share": _PAN_SHARE, "pixels": _VIDEO_SIZE},
        "schedule": _SCHEDULE,
        "num_held_out": arguments.held_out,
        "seeds": arguments.repeats,
        "before": {
            name: {key: value for key, value in one.items() if key != "is_right"} for name, one in before.items()
        },
        "rows": rows,
    }
    record.finish("few_labels", result, is_smoke=is_smoke)


if __name__ == "__main__":
    main()
