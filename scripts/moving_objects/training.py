"""The loop that trains every small model here; what is learnt comes as a `Task`.

    params, score = train(make_task(seed), Recipe(steps=1000), Path("progress.safetensors"))

AdamW or Muon under a warm-up and a cosine, gradients cut to a norm, a moving average of the parameters, clips rendered
in a thread beside the steps. To be quicker, the first steps may see a random part of each clip's tokens, or complete
clips with fewer pixels: a model that learnt so was never used to missing tokens.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import platform
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import safetensors.numpy
from clips import MEAN, STD
from flax import traverse_util
from jaxtyping import Array, Float, Int, UInt8
from pictures import PHOTOS

from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.checkpoint import save_checkpoint
from vidtldr_jax.inference.load import load_model
from vidtldr_jax.models.block import make_layer_norm
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.encoder import Encoder
from vidtldr_jax.models.patches import PatchEmbed
from vidtldr_jax.models.positions import sincos_positions
from vidtldr_jax.models.video_vit import VideoViT

Params = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained; every number that decides the result.

    Attributes:
      seed: of the parameters, the clips and the dropped tokens.
      steps: optimiser steps.
      sparse_steps: of these, the first so many see `sparse_tokens` tokens per clip.
      sparse_tokens: see above.
      small_steps: instead, the first so many see clips of `small_size` pixels, complete but with fewer tokens.
      small_size: see above; a multiple of the patches'.
      batch_size: clips per step.
      optimizer: "adamw", or "muon" for the matrices and AdamW for the rest.
      learning_rate: the highest one, after the warm-up; a cosine leads to 0.
      warmup_steps: linear warm-up.
      weight_decay: on all that has two axes or more.
      clip_norm: gradients are shortened to this norm.
      ramp_share: part of the steps over which the clips become as hard as they get.
      ema: decay of the moving average of the parameters that is kept in the end.
      start_from: a trained model of the same size to go on from, its name or folder; empty to start from nothing.
    """

    seed: int = 0
    steps: int = 2000
    sparse_steps: int = 1500
    sparse_tokens: int = 96
    small_steps: int = 0
    small_size: int = 32
    batch_size: int = 64
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1.5e-3
    warmup_steps: int = 100
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ramp_share: float = 0.6
    ema: float = 0.99
    start_from: str = ""


class Heads(NamedTuple):
    """What the loss is computed from.

    Attributes:
      embedding: of a model with `embed_dim`, otherwise None.
      logits: of a model with `num_classes`, otherwise None.
    """

    embedding: Float[Array, "B E"] | None
    logits: Float[Array, "B num_classes"] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """What is learnt; compared by identity, so that it can be static.

    Attributes:
      config: of the video model.
      make_params: a seed -> parameters to start from.
      pick_video: all parameters -> the video model's.
      find_loss: parameters, `Heads` and targets -> the loss.
      draw_batch: a step and how hard its clips are (0 to 1) -> clips and targets.
      find_score: parameters -> what is watched on validation clips, 0 to 1.
    """

    config: VideoViTConfig
    make_params: Callable[[int], Params]
    pick_video: Callable[[Params], Params]
    find_loss: Callable[[Params, Heads, Any], Array]
    draw_batch: Callable[[int, float], tuple[np.ndarray, Any]]
    find_score: Callable[[Params], float]


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
    """Maps 0 to 255 to what the models expect."""
    return (jnp.asarray(clips, jnp.float32) / 255 - MEAN) / STD


def make_video_params(config: VideoViTConfig, seed: int, *, start_from: str = "") -> Params:
    """Draws a video model's parameters, or all but its heads from a trained one.

    Args:
      config: of the model.
      seed: of what is drawn.
      start_from: a model of the same size, its name or folder, as `load_model` takes it; its heads are left out. Empty
        for none.

    Returns:
      Nested parameters.
    """
    shape = (1, config.num_frames, config.image_size, config.image_size, config.num_channels)
    params = dict(jax.jit(VideoViT(config).init)(jax.random.key(seed), jnp.zeros(shape))["params"])
    if start_from:
        trained = load_model(start_from).params
        params |= {name: jax.tree.map(jnp.array, trained[name]) for name in params.keys() - {"head", "projection"}}
    return params


def encode_some_tokens(
    params: Params, video: Float[Array, "B T Y X 3"], kept: Int[Array, "B K"], *, config: VideoViTConfig
) -> Heads:
    """Runs a model on some of each clip's tokens; on all of them it is the model itself.

    Args:
      params: nested parameters of a `VideoViT` of `config`.
      video: normalised clips.
      kept: indices of the tokens that the encoder sees.
      config: with sin-cos positions, mean pooling and its norm.

    Returns:
      Embedding and logits.
    """
    embed = PatchEmbed(config.dim, config.patch_size, config.tubelet_size)
    tokens = embed.apply({"params": params["patch_embed"]}, video)  # [B, N, D]
    tokens = tokens + sincos_positions(config.grid, config.dim).astype(jnp.float32)
    tokens = jnp.take_along_axis(tokens, kept[..., None], axis=1)  # [B, K, D]
    state, _ = Encoder(config).apply({"params": params["encoder"]}, tokens)
    norm = make_layer_norm(config.norm_eps, dtype=jnp.float32, param_dtype=jnp.float32, name="pool_norm")
    pooled = norm.apply({"params": params["pool_norm"]}, state.tokens.mean(1))  # [B, D]
    sizes = {"projection": config.embed_dim, "head": config.num_classes}
    outputs = {
        name: None if size is None else nn.Dense(size).apply({"params": params[name]}, pooled)
        for name, size in sizes.items()
    }
    return Heads(outputs["projection"], outputs["head"])


def make_optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """Returns AdamW or Muon with warm-up, cosine and clipping."""
    rate = optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, recipe.warmup_steps, recipe.steps)

    def is_matrix(params: Params) -> Any:
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    if recipe.optimizer == "muon":
        decay = optax.contrib.muon(
            rate,
            weight_decay=recipe.weight_decay,
            weight_decay_mask=is_matrix,
            adam_b2=0.98,
            consistent_rms=0.2,  # updates as large as Adam's, so that one rate fits both
        )
    else:
        decay = optax.adamw(rate, b2=0.98, weight_decay=recipe.weight_decay, mask=is_matrix)
    return optax.chain(optax.clip_by_global_norm(recipe.clip_norm), decay)


@functools.partial(jax.jit, static_argnames=("task", "recipe", "num_tokens", "size"), donate_argnums=0)
def train_step(
    state: TrainState,
    clips: UInt8[Array, "B T Y X 3"],
    targets: Any,
    key: Array,
    *,
    task: Task,
    recipe: Recipe,
    num_tokens: int,
    size: int,
) -> tuple[TrainState, Array]:
    """Takes one step on `num_tokens` random tokens of each clip, or on all tokens of clips of `size` pixels.

    Args:
      state: donated.
      clips: values 0 to 255.
      targets: what the task's loss reads beside the model's output.
      key: decides which tokens are kept.
      task: static.
      recipe: static.
      num_tokens: static.
      size: static.

    Returns:
      The next state and the loss.
    """
    video, config = normalise(clips), task.config
    if size < config.image_size:
        video = jax.image.resize(video, (*video.shape[:2], size, size, video.shape[-1]), "linear")
        config = dataclasses.replace(config, position_grid=config.grid)  # places keep their meaning

    def find_loss(params: Params) -> Array:
        tower = task.pick_video(params)
        if num_tokens == task.config.num_tokens:
            output = VideoViT(config).apply({"params": tower}, video)
            heads = Heads(output.embedding, output.logits)
        else:
            chance = jax.random.uniform(key, (len(clips), task.config.num_tokens))
            kept = jnp.argsort(chance)[:, :num_tokens]
            heads = encode_some_tokens(tower, video, kept, config=task.config)
        return task.find_loss(params, heads, targets)

    loss, gradients = jax.value_and_grad(find_loss)(state.params)
    updates, optimizer = make_optimizer(recipe).update(gradients, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    average = jax.tree.map(lambda old, new: recipe.ema * old + (1 - recipe.ema) * new, state.average, params)
    return TrainState(params, average, optimizer), loss


def stream_batches(task: Task, recipe: Recipe) -> Iterator[tuple[np.ndarray, Any]]:
    """Renders the training batches in order, a few ahead, in a thread beside the steps."""
    ready: queue.Queue[tuple[np.ndarray, Any] | BaseException] = queue.Queue(maxsize=8)

    def render() -> None:
        try:
            for step in range(recipe.steps):
                ramp = recipe.ramp_share * recipe.steps
                ready.put(task.draw_batch(step, min(1.0, step / ramp) if ramp else 1.0))
        except BaseException as fault:
            ready.put(fault)

    threading.Thread(target=render, daemon=True).start()
    for _ in range(recipe.steps):
        batch = ready.get()
        if isinstance(batch, BaseException):
            raise batch
        yield batch


def save_parameters(path: Path, params: Params) -> None:
    """Writes parameters, flat, so that an interrupted run is not lost."""
    flat = traverse_util.flatten_dict(params, sep="/")
    safetensors.numpy.save_file({name: np.asarray(value) for name, value in flat.items()}, path)


def train(task: Task, recipe: Recipe, progress_file: Path, *, report_every: int = 100) -> tuple[Params, float]:
    """Trains a model and prints its way.

    Args:
      task: what is learnt.
      recipe: how.
      progress_file: gets the averaged parameters at every report.
      report_every: steps between reports.

    Returns:
      The averaged parameters, nested, and their score on the validation clips.
    """
    params = task.make_params(recipe.seed)
    state = TrainState(params, jax.tree.map(jnp.copy, params), make_optimizer(recipe).init(params))
    began, losses, score = time.monotonic(), [], 0.0
    for step, (clips, targets) in enumerate(stream_batches(task, recipe)):
        num_tokens = recipe.sparse_tokens if step < recipe.sparse_steps else task.config.num_tokens
        size = recipe.small_size if step < recipe.small_steps else task.config.image_size
        key = jax.random.key(recipe.seed * 1_000_003 + step)
        state, loss = train_step(state, clips, targets, key, task=task, recipe=recipe, num_tokens=num_tokens, size=size)
        losses.append(float(loss))
        if (step + 1) % report_every == 0 or step + 1 == recipe.steps:
            score = task.find_score(state.average)
            save_parameters(progress_file, state.average)
            took = time.monotonic() - began
            print(
                f"step {step + 1}/{recipe.steps}  {took:.0f} s  loss {np.mean(losses):.3f}  validation {score:.3f}",
                flush=True,
            )
            losses = []
    return state.average, score


def run(
    out: Path, make_task: Callable[[Recipe], Task], recipe: Recipe, *, made_by: str, labels: list[str] | None = None
) -> Params:
    """Trains a model and writes its checkpoint folder.

    Args:
      out: the folder.
      make_task: what is learnt, under a recipe.
      recipe: how.
      made_by: which script this is, for the checkpoint's description.
      labels: of the classifier.

    Returns:
      All parameters, those beside the video model's included; float16, as they are written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    began, cpu_began = time.monotonic(), time.process_time()
    progress_file = out.with_name(out.name + "-progress.safetensors")
    task = make_task(recipe)
    params, score = train(task, recipe, progress_file)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), params)
    save_checkpoint(
        out,
        params=task.pick_video(params),
        config=task.config,
        preprocessing=Preprocessing(
            num_frames=task.config.num_frames,
            image_size=task.config.image_size,
            sampling="uniform",  # first to last frame, as the training clips are drawn
            resize="squash",
            kernel="bilinear_antialias",
            mean=(MEAN,) * 3,
            std=(STD,) * 3,
        ),
        labels=labels,
        source={
            "made_by": made_by,
            "recipe": dataclasses.asdict(recipe),
            "validation_accuracy": round(score, 4),
            "training_seconds": round(time.monotonic() - began),
            "training_cpu_seconds": round(time.process_time() - cpu_began),
            "photos": {split: list(names) for split, names in PHOTOS.items()},
            "jax": jax.__version__,
            "machine": platform.machine(),
        },
    )
    progress_file.unlink(missing_ok=True)
    return params


def add_recipe_arguments(parser: argparse.ArgumentParser, defaults: Recipe) -> None:
    """Adds an option for every number of a recipe."""
    for field in dataclasses.fields(Recipe):
        default = getattr(defaults, field.name)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(default), default=default)


def read_recipe(arguments: argparse.Namespace) -> Recipe:
    """Takes the recipe from the parsed options."""
    return Recipe(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Recipe)})
