"""What the accuracy benchmark measures on: held-out clips, trained models and what counts as right."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from jaxtyping import Bool, Float, UInt8

from vidtldr_jax.inference.load import load_model
from vidtldr_jax.inference.model import VideoModel

ROOT = Path(__file__).resolve().parent.parent
TRAINED = Path(__file__).parent / "trained"
BATCH_SIZE = 16  # clips that are encoded at a time: on two cores more are slower
_DRAWN = 64  # clips that are drawn at a time, which decides what they show
Output = Float[np.ndarray, "B values"]
Hits = Mapping[str, Float[np.ndarray, " N"]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """One task with all that is measured on it.

    Attributes:
      name: also of its models' folders.
      metric: the main one's name, a key of what `find_hits` returns.
      metric_in_words: what it is.
      clips: held-out ones, values 0 to 255.
      num_models: seeds.
      read_model: a seed -> its model.
      find_hits: a seed and the model's outputs for all clips -> metric -> what each clip brings, 0 to 1.
      find_controls: the same -> further numbers on the plain model.
      find_objects: the models' patch and tubelet -> for each clip, which tokens show what the task is about.
      about: the clips, as plain data.
      budgets: those to evaluate, per cent; None for all.
    """

    name: str
    metric: str
    metric_in_words: str
    clips: UInt8[np.ndarray, "N T Y X 3"]
    num_models: int
    read_model: Callable[[int], VideoModel]
    find_hits: Callable[[int, Output], Hits]
    find_controls: Callable[[int, Output], dict[str, float]]
    find_objects: Callable[[int, int], Bool[np.ndarray, "N tokens"]]
    about: dict[str, Any]
    budgets: tuple[int, ...] | None = None


class Options(NamedTuple):
    """What is left to choose.

    Attributes:
      num_clips: of the motion task.
      num_galleries: of the captioned task, each with one clip for every caption.
      stamps: where the cut-outs are; None for where Debian installs them.
    """

    num_clips: int
    num_galleries: int
    stamps: Path | None


def add_scripts_to_path() -> None:
    """Makes the folders of the training scripts importable, as they are when those run."""
    for name in ("moving_objects", "captioned_objects"):
        folder = str(ROOT / "scripts" / name)
        if folder not in sys.path:
            sys.path.append(folder)


def find_outputs(model: VideoModel, clips: UInt8[np.ndarray, "N T Y X 3"], *, batch_size: int = BATCH_SIZE) -> Output:
    """Runs a model over all clips, in float32.

    Args:
      model: with a classifier or a projection.
      clips: values 0 to 255; their number is a multiple of the batch, so that nothing is compiled twice.
      batch_size: clips at a time.

    Returns:
      Logits, or embeddings as unit vectors.
    """
    rows = []
    for video in normalise_batches(model, clips, batch_size=batch_size):
        output = model.encode_video(video)
        if output.logits is not None:
            rows.append(np.asarray(output.logits))
        else:
            embedding = np.asarray(output.embedding)
            rows.append(embedding / np.linalg.norm(embedding, axis=-1, keepdims=True))
    return np.concatenate(rows)


def normalise_batches(
    model: VideoModel, clips: UInt8[np.ndarray, "N T Y X 3"], *, batch_size: int = BATCH_SIZE
) -> Iterator[Float[np.ndarray, "B T Y X 3"]]:
    """Yields clips as a model expects them, a batch at a time."""
    mean, std = (np.asarray(part, np.float32) for part in (model.preprocessing.mean, model.preprocessing.std))
    for first in range(0, len(clips), batch_size):
        yield (clips[first : first + batch_size].astype(np.float32) / 255 - mean) / std


def count_models(name: str) -> int:
    """Counts the trained models of a task, numbered from 0."""
    return next(seed for seed in range(1000) if not (TRAINED / f"{name}_{seed}" / "config.json").is_file())


def retrain(stamps: Path | None, numbers: Sequence[int]) -> None:
    """Trains models by the commands that a reader would type; the motion task's seeds are not the shipped model's."""
    beside = ["--stamps", str(stamps)] if stamps else []
    for number in numbers:
        for script, name, seed, more in (
            ("moving_objects/train.py", "moving_objects", 100 + number, ["--hard"]),
            ("captioned_objects/train_captioned.py", "captioned_objects", number, beside),
        ):
            out = TRAINED / f"{name}_{number}"
            words = [sys.executable, str(ROOT / "scripts" / script), "--out", str(out), "--seed", str(seed), *more]
            print(" ".join(words), flush=True)
            subprocess.run(words, check=True)


def make_motion_task(options: Options, *, name: str = "moving_objects", budgets: tuple[int, ...] | None = None) -> Task:
    """Which of ten ways do two objects move? Held-out digits and photos."""
    add_scripts_to_path()
    from clips import HARD_BRIGHTNESS, IMAGE_SIZE, draw_batch_scenes, draw_clips, load_small_pictures
    from pictures import PHOTOS
    from scenes import HARD, LABELS, NUM_OBJECTS, find_object_patches

    is_shipped = name == "moving_objects_sparse"
    known = [LABELS.index(label) for label in HARD.labels]  # of the shipped model's logits
    pictures = load_small_pictures("test")
    numbers, which = range(options.num_clips // _DRAWN), {"batch_size": _DRAWN, "seed": 1, "look": HARD}
    batches = [draw_clips(pictures, "test", n, brightness=HARD_BRIGHTNESS, **which) for n in numbers]
    clips, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    about = {"photos": list(PHOTOS["test"]), "look": dataclasses.asdict(HARD)}

    def find_hits(seed: int, logits: Output) -> Hits:
        logits = logits[:, known] if is_shipped else logits
        return {"accuracy": (logits.argmax(-1) == labels).astype(np.float64)}

    def find_objects(patch: int, tubelet: int) -> Bool[np.ndarray, "N tokens"]:
        sizes = {"image_size": IMAGE_SIZE, "patch_size": patch, "tubelet_size": tubelet, "num_objects": NUM_OBJECTS}
        scenes = [draw_batch_scenes(pictures, "test", n, **which) for n in numbers]
        return np.concatenate([find_object_patches(part, **sizes) for part in scenes])

    return Task(
        name=name,
        metric="accuracy",
        metric_in_words="accuracy",
        clips=clips,
        num_models=1 if is_shipped else count_models(name),
        read_model=lambda seed: load_model("moving-objects") if is_shipped else _read_model(name)(seed),
        find_hits=find_hits,
        find_controls=lambda seed, logits: {"chance": 1 / len(HARD.labels)},
        find_objects=find_objects,
        about=about | {"clips": len(clips)},
        budgets=budgets,
    )


def make_captioned_task(
    options: Options, *, name: str = "captioned_objects", budgets: tuple[int, ...] | None = None
) -> Task:
    """Which clip belongs to "A squirrel. It moves left.", and which caption to a clip? Held-out photos and pairs."""
    add_scripts_to_path()
    from captioned_clips import IMAGE_SIZE, draw_gallery, draw_gallery_scenes, is_held_out
    from clips import load_small_pictures
    from cutouts import DEBIAN_FOLDER, load_cutouts
    from motions import LOOK, SENTENCES
    from pictures import PHOTOS
    from retrieval import find_recall, project_captions
    from scenes import find_object_patches
    from train_captioned import load_captions, name_text_file

    pictures = load_cutouts(options.stamps or DEBIAN_FOLDER).pictures
    photos = load_small_pictures("test").photos
    clips = np.concatenate([draw_gallery(pictures, photos, "test", seed=n) for n in range(options.num_galleries)])
    captions = load_captions(TRAINED / "captions.safetensors")
    size = len(captions.texts)
    cutout, motion = np.arange(size) // len(SENTENCES), np.arange(size) % len(SENTENCES)
    held_out = is_held_out(cutout, motion)

    @functools.cache
    def project(seed: int) -> Float[np.ndarray, "P E"]:
        weights = safetensors.numpy.load_file(name_text_file(TRAINED / f"{name}_{seed}"))
        weights = {key: value.astype(np.float32) for key, value in weights.items()}
        return np.asarray(project_captions(weights, captions.embeddings))

    def find_hits(seed: int, videos: Output) -> Hits:
        found = [find_recall(part, project(seed)) for part in np.split(videos, options.num_galleries)]
        to_video, to_text = (np.concatenate(part).astype(np.float64) for part in zip(*found, strict=True))
        hits = {"recall_at_1": (to_video + to_text)[:, 0] / 2}
        for direction, values in (("text_to_video", to_video), ("video_to_text", to_text)):
            hits |= {f"{direction}_at_1": values[:, 0], f"{direction}_at_5": values[:, 1]}
        return hits

    def find_controls(seed: int, videos: Output) -> dict[str, float]:
        recall = find_hits(seed, videos)["recall_at_1"].reshape(-1, size)
        best = (videos @ project(seed).T).argmax(-1).reshape(-1, size)
        return {
            "chance": 1 / size,
            "if_only_the_cutout_were_known": 1 / len(SENTENCES),
            "if_only_the_motion_were_known": len(SENTENCES) / size,
            "cutout_of_the_first_caption_is_right": float((cutout[best] == cutout).mean()),
            "motion_of_the_first_caption_is_right": float((motion[best] == motion).mean()),
            "recall_at_1_of_trained_pairs": float(recall[:, ~held_out].mean()),
            "recall_at_1_of_pairs_never_trained": float(recall[:, held_out].mean()),
        }

    def find_objects(patch: int, tubelet: int) -> Bool[np.ndarray, "N tokens"]:
        sizes = {"image_size": IMAGE_SIZE, "patch_size": patch, "tubelet_size": tubelet, "num_objects": 1}
        scenes = [draw_gallery_scenes(len(pictures), len(photos), "test", seed=n) for n in range(options.num_galleries)]
        return np.concatenate([find_object_patches(part, **sizes) for part in scenes])

    return Task(
        name=name,
        metric="recall_at_1",
        metric_in_words="R@1, mean of text to video and video to text",
        clips=clips,
        num_models=count_models(name),
        read_model=_read_model(name),
        find_hits=find_hits,
        find_controls=find_controls,
        find_objects=find_objects,
        about={
            "clips": len(clips),
            "galleries": options.num_galleries,
            "captions": size,
            "cutouts": len(pictures),
            "pairs_never_trained": int(held_out.sum()),
            "photos": list(PHOTOS["test"]),
            "look": dataclasses.asdict(LOOK),
        },
        budgets=budgets,
    )


def _read_model(name: str) -> Callable[[int], VideoModel]:
    return lambda seed: load_model(str(TRAINED / f"{name}_{seed}"))


MAKERS: dict[str, Callable[[Options], Task]] = {
    "moving_objects": make_motion_task,
    "captioned_objects": make_captioned_task,
    # Controls: most of their training steps saw a random third of each clip's tokens. The first is the shipped model,
    # which was never trained on these clips.
    "moving_objects_sparse": functools.partial(make_motion_task, name="moving_objects_sparse", budgets=(100, 50, 30)),
    "captioned_objects_sparse": functools.partial(
        make_captioned_task, name="captioned_objects_sparse", budgets=(100, 50, 30)
    ),
}
