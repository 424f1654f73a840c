"""Trains the small model that ships with the package: which way do two digits move over a photo?

    python scripts/moving_objects/train.py --out vidtldr_jax/assets/moving_objects
    python scripts/moving_objects/train.py --out benchmarks/trained/moving_objects_0 --hard

The first is the shipped model: expect 98 % of the validation clips; its weights took 46 minutes on two cores that
others used too. The second is one of the accuracy benchmark's: 94, 87 and 89 % with seeds 100 to 102, after 1,240 to
1,400 CPU-seconds. Needs mlxtend, scikit-image and optax besides the package. The same seed gives the same clips and the
same start; float32 sums may differ by machine.

Two things make the first learnable that quickly. The photos start black and brighten over the first 60 % of the steps.
And the first steps see a random third of each clip's tokens (training only): they cost a quarter, and the model gets
used to incomplete clips. The second never gets used to that: its first steps see complete clips of 32 x 32 pixels, 128
tokens. With the photos' brightness, its clips' other difficulties grow too.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from pathlib import Path

import jax
import numpy as np
import optax
from clips import BRIGHTNESS, HARD_BRIGHTNESS, IMAGE_SIZE, NUM_FRAMES, draw_clips, load_small_pictures
from jaxtyping import Array, Float, Int
from scenes import EASY, HARD, LABELS, mix_looks
from training import (
    Heads,
    Params,
    Recipe,
    Task,
    add_recipe_arguments,
    make_video_params,
    normalise,
    read_recipe,
    run,
)

from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.video_vit import VideoViT

CONFIG = VideoViTConfig(
    num_frames=NUM_FRAMES,
    image_size=IMAGE_SIZE,
    patch_size=8,
    tubelet_size=2,
    dim=96,
    depth=4,
    num_heads=3,
    mlp_dim=384,
    num_classes=len(LABELS),
)
HARD_CONFIG = dataclasses.replace(CONFIG, num_classes=len(HARD.labels))
HARD_RECIPE = Recipe(
    seed=100,
    optimizer="muon",
    batch_size=32,
    steps=1600,
    sparse_steps=0,
    small_steps=1300,
    learning_rate=3e-3,
    ramp_share=0.4,
)


def make_task(recipe: Recipe, *, is_hard: bool = False) -> Task:
    """Brings clips and loss together.

    Args:
      recipe: of it the seed and the batch size.
      is_hard: the accuracy benchmark's clips instead of the shipped model's.

    Returns:
      What `train` takes.
    """
    pictures, others = load_small_pictures("train"), load_small_pictures("validation")
    final = {"look": HARD, "brightness": HARD_BRIGHTNESS} if is_hard else {"look": EASY, "brightness": BRIGHTNESS}
    config = HARD_CONFIG if is_hard else CONFIG
    watched = [draw_clips(others, "validation", number, batch_size=96, **final) for number in range(4)]
    predict = jax.jit(lambda params, clips: VideoViT(config).apply({"params": params}, normalise(clips)).logits)

    def draw_batch(step: int, hardness: float) -> tuple[np.ndarray, np.ndarray]:
        return draw_clips(
            pictures,
            "train",
            step,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            brightness=hardness * final["brightness"],
            look=mix_looks(EASY, HARD, hardness) if is_hard else EASY,
        )

    def find_score(params: Params) -> float:
        hits = [np.asarray(predict(params, clips)).argmax(-1) == labels for clips, labels in watched]
        return float(np.concatenate(hits).mean())

    return Task(
        config=config,
        make_params=functools.partial(make_video_params, config, start_from=recipe.start_from),
        pick_video=lambda params: params,
        find_loss=find_cross_entropy,
        draw_batch=draw_batch,
        find_score=find_score,
    )


def find_cross_entropy(params: Params, heads: Heads, labels: Int[Array, " B"]) -> Float[Array, ""]:
    """Returns the classifier's loss."""
    return optax.softmax_cross_entropy_with_integer_labels(heads.logits, labels).mean()


def main() -> None:
    """Trains and writes the checkpoint folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint folder to write")
    parser.add_argument("--hard", action="store_true", help="the clips of the accuracy benchmark")
    is_hard = "--hard" in sys.argv[1:]  # other numbers are usual then
    add_recipe_arguments(parser, HARD_RECIPE if is_hard else Recipe())
    arguments = parser.parse_args()
    made_by = "scripts/moving_objects/train.py" + " --hard" * is_hard
    make = functools.partial(make_task, is_hard=is_hard)
    run(arguments.out, make, read_recipe(arguments), made_by=made_by, labels=list(HARD.labels if is_hard else LABELS))
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
