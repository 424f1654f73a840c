"""Trains the small model that ships with the package: which way do two digits move over a photo?

    python scripts/moving_objects/train.py --out vidtldr_jax/assets/moving_objects

Expect 98 % of the validation clips; the shipped weights took 46 minutes on two cores that others used too. Needs
mlxtend, scikit-image and optax besides the package. The same seed gives the same clips and the same start; float32
sums may differ by machine.

Two things make it learnable that quickly. The photos start black and brighten over the first 60 % of the steps. And
the first steps see a random third of each clip's tokens (training only): they cost a quarter, and the model gets used
to incomplete clips.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import platform
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors.numpy
from clips import BRIGHTNESS, IMAGE_SIZE, MEAN, NUM_FRAMES, STD, draw_clips, load_small_pictures
from flax import traverse_util
from jaxtyping import Array, Float, Int, UInt8
from pictures import PHOTOS
from scenes import LABELS

from vidtldr_jax.models.block import make_layer_norm
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.encoder import Encoder
from vidtldr_jax.models.patches import PatchEmbed
from vidtldr_jax.models.positions import sincos_positions
from vidtldr_jax.models.video_vit import VideoViT

Params = Mapping[str, Any]

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the model is trained; every number that decides the result.

    Attributes:
      seed: of the parameters, the clips and the dropped tokens.
      steps: optimiser steps.
      sparse_steps: of these, the first so many see `sparse_tokens` tokens per clip.
      sparse_tokens: see above.
      batch_size: clips per step.
      learning_rate: the highest one, after the warm-up; a cosine leads to 0.
      warmup_steps: linear warm-up.
      weight_decay: AdamW's, on all that has two axes or more.
      clip_norm: gradients are shortened to this norm.
      ramp_share: part of the steps over which the photos brighten.
      ema: decay of the moving average of the parameters that is kept in the end.
    """

    seed: int = 0
    steps: int = 2000
    sparse_steps: int = 1500
    sparse_tokens: int = 96
    batch_size: int = 64
    learning_rate: float = 1.5e-3
    warmup_steps: int = 100
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ramp_share: float = 0.6
    ema: float = 0.99


class TrainState(NamedTuple):
    """What a step changes.

    Attributes:
      params: nested parameters.
      average: their moving average.
      optimizer: the optimiser's state.
    """

    params: Params
    average: Params
    optimizer: optax.OptState


def normalise(clips: UInt8[Array, "B T Y X 3"]) -> Float[Array, "B T Y X 3"]:
    """Maps 0 to 255 to what the model expects."""
    return (jnp.asarray(clips, jnp.float32) / 255 - MEAN) / STD


def classify_some_tokens(params: Params, video: Float[Array, "B T Y X 3"], kept: Int[Array, "B K"]) -> Array:
    """Runs the model on some of each clip's tokens; on all of them it is the model itself.

    Args:
      params: nested parameters of a `VideoViT` of `CONFIG`.
      video: normalised clips.
      kept: indices of the tokens that the encoder sees.

    Returns:
      Logits, `[B, num_classes]`.
    """
    embed = PatchEmbed(CONFIG.dim, CONFIG.patch_size, CONFIG.tubelet_size)
    tokens = embed.apply({"params": params["patch_embed"]}, video)  # [B, N, D]
    tokens = tokens + sincos_positions(CONFIG.grid, CONFIG.dim).astype(jnp.float32)
    tokens = jnp.take_along_axis(tokens, kept[..., None], axis=1)  # [B, K, D]
    state, _ = Encoder(CONFIG).apply({"params": params["encoder"]}, tokens)
    norm = make_layer_norm(CONFIG.norm_eps, dtype=jnp.float32, param_dtype=jnp.float32, name="pool_norm")
    pooled = norm.apply({"params": params["pool_norm"]}, state.tokens.mean(1))  # [B, D]
    return nn.Dense(len(LABELS)).apply({"params": params["head"]}, pooled)


def make_optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """Returns AdamW with warm-up, cosine and clipping."""
    rate = optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, recipe.warmup_steps, recipe.steps)
    decay = optax.adamw(
        rate,
        b2=0.98,
        weight_decay=recipe.weight_decay,
        mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
    )
    return optax.chain(optax.clip_by_global_norm(recipe.clip_norm), decay)


@functools.partial(jax.jit, static_argnames=("recipe", "num_tokens"), donate_argnums=0)
def train_step(
    state: TrainState,
    clips: UInt8[Array, "B T Y X 3"],
    labels: Int[Array, " B"],
    key: Array,
    *,
    recipe: Recipe,
    num_tokens: int,
) -> tuple[TrainState, Array]:
    """Takes one step on `num_tokens` random tokens of each clip.

    Args:
      state: donated.
      clips: values 0 to 255.
      labels: their classes.
      key: decides which tokens are kept.
      recipe: static.
      num_tokens: static.

    Returns:
      The next state and the loss.
    """
    video = normalise(clips)

    def find_loss(params: Params) -> Array:
        if num_tokens == CONFIG.num_tokens:
            output = VideoViT(CONFIG).apply({"params": params}, video)
            logits = output.logits
        else:
            chance = jax.random.uniform(key, (len(clips), CONFIG.num_tokens))
            logits = classify_some_tokens(params, video, jnp.argsort(chance)[:, :num_tokens])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loss, gradients = jax.value_and_grad(find_loss)(state.params)
    updates, optimizer = make_optimizer(recipe).update(gradients, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    average = jax.tree.map(lambda old, new: recipe.ema * old + (1 - recipe.ema) * new, state.average, params)
    return TrainState(params, average, optimizer), loss


@jax.jit
def predict(params: Params, clips: UInt8[Array, "B T Y X 3"]) -> Int[Array, " B"]:
    """Returns the most likely label of each clip, by the plain model."""
    return VideoViT(CONFIG).apply({"params": params}, normalise(clips)).logits.argmax(-1)


def stream_clips(recipe: Recipe) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Renders the training batches in order, a few ahead, in a thread beside the steps."""
    pictures = load_small_pictures("train")
    ready: queue.Queue[tuple[np.ndarray, np.ndarray]] = queue.Queue(maxsize=8)

    def render() -> None:
        for step in range(recipe.steps):
            level = BRIGHTNESS * min(1.0, step / (recipe.ramp_share * recipe.steps))
            size = recipe.batch_size
            ready.put(draw_clips(pictures, "train", step, batch_size=size, seed=recipe.seed, brightness=level))

    threading.Thread(target=render, daemon=True).start()
    for _ in range(recipe.steps):
        yield ready.get()


def save_parameters(path: Path, params: Params) -> None:
    """Writes parameters, flat, so that an interrupted run is not lost."""
    flat = traverse_util.flatten_dict(params, sep="/")
    safetensors.numpy.save_file({name: np.asarray(value) for name, value in flat.items()}, path)


def train(recipe: Recipe, progress_file: Path, *, report_every: int = 100) -> tuple[Params, float]:
    """Trains a model and prints its way.

    Args:
      recipe: how.
      progress_file: gets the averaged parameters at every report.
      report_every: steps between reports.

    Returns:
      The averaged parameters, nested, and their accuracy on the validation clips.
    """
    shape = (1, CONFIG.num_frames, CONFIG.image_size, CONFIG.image_size, 3)
    params = VideoViT(CONFIG).init(jax.random.key(recipe.seed), jnp.zeros(shape))["params"]
    state = TrainState(params, jax.tree.map(jnp.copy, params), make_optimizer(recipe).init(params))
    watched = [draw_clips(load_small_pictures("validation"), "validation", n, batch_size=96) for n in range(4)]
    began, losses, accuracy = time.monotonic(), [], 0.0
    for step, (clips, labels) in enumerate(stream_clips(recipe)):
        num_tokens = recipe.sparse_tokens if step < recipe.sparse_steps else CONFIG.num_tokens
        key = jax.random.key(recipe.seed * 1_000_003 + step)
        state, loss = train_step(state, clips, labels, key, recipe=recipe, num_tokens=num_tokens)
        losses.append(float(loss))
        if (step + 1) % report_every == 0 or step + 1 == recipe.steps:
            hits = [np.asarray(predict(state.average, seen)) == truth for seen, truth in watched]
            accuracy = float(np.concatenate(hits).mean())
            save_parameters(progress_file, state.average)
            took = time.monotonic() - began
            print(
                f"step {step + 1}/{recipe.steps}  {took:.0f} s  loss {np.mean(losses):.3f}  validation {accuracy:.3f}",
                flush=True,
            )
            losses = []
    return state.average, accuracy


def main() -> None:
    """Trains and writes the checkpoint folder."""
    from vidtldr_jax.data.preprocessing import Preprocessing
    from vidtldr_jax.inference.checkpoint import save_checkpoint

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint folder to write")
    for field in dataclasses.fields(Recipe):
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(name, type=type(field.default), default=field.default, help=f"default {field.default}")
    arguments = vars(parser.parse_args())
    out = arguments.pop("out")
    recipe = Recipe(**arguments)
    out.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    progress_file = out.with_name(out.name + "-progress.safetensors")
    params, accuracy = train(recipe, progress_file)
    save_checkpoint(
        out,
        params=params,
        config=CONFIG,
        preprocessing=Preprocessing(
            num_frames=CONFIG.num_frames,
            image_size=CONFIG.image_size,
            sampling="uniform",  # first to last frame, as the training clips are drawn
            resize="squash",
            kernel="bilinear_antialias",
            mean=(MEAN,) * 3,
            std=(STD,) * 3,
        ),
        labels=list(LABELS),
        source={
            "made_by": "scripts/moving_objects/train.py",
            "recipe": dataclasses.asdict(recipe),
            "validation_accuracy": round(accuracy, 4),
            "training_seconds": round(time.monotonic() - began),
            "photos": {split: list(names) for split, names in PHOTOS.items()},
            "jax": jax.__version__,
            "machine": platform.machine(),
        },
    )
    progress_file.unlink(missing_ok=True)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
