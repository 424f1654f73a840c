"""One optimiser step, compiled once: loss and gradients part by part, AdamW, moving average. Parameters are flat.

    state = init_state(params, setup)
    key = make_dropout_key(recipe.seed)
    state, metrics = train_step(state, frozen, batch, key, setup=setup)

Parameters, gradients and the optimiser are float32 whatever the computation's dtype.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float

from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.pixels import normalise_pixels
from vidtldr_jax.models.architectures import Config, make_module
from vidtldr_jax.models.dropout import DropRates
from vidtldr_jax.models.stacking import stack_blocks
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.reduction.methods import Method
from vidtldr_jax.train.examples import Batch
from vidtldr_jax.train.losses import blend, compute_cross_entropy, make_targets
from vidtldr_jax.train.optimizer import HEAD, find_rate, make_optimizer
from vidtldr_jax.train.recipe import Recipe

Params = Mapping[str, Any]

_DROPOUT_STREAM: Final = 13


class StepSetup(NamedTuple):
    """What a step is compiled for; all of it is static.

    Attributes:
      config: the architecture.
      preprocessing: has mean and deviation of the pixels.
      recipe: how to train, as `Recipe.strip` leaves it.
      r: tokens that every block loses; empty for none.
      method: how they are chosen.
      num_steps: of the whole run.
      num_classes: of the classifier.
      takes_features: whether inputs are features of clips, of which the classifier alone is computed.
    """

    config: Config
    preprocessing: Preprocessing
    recipe: Recipe
    r: tuple[int, ...]
    method: Method
    num_steps: int
    num_classes: int
    takes_features: bool = False


class TrainState(NamedTuple):
    """What a step changes.

    Attributes:
      params: flat path -> float32 array, of what is trained.
      average: their moving average; empty where there is none.
      optimizer: the optimiser's state.
      step: int32, how many steps are done.
    """

    params: dict[str, Any]
    average: dict[str, Any]
    optimizer: Any
    step: Any


class Metrics(NamedTuple):
    """What a step tells, float32.

    Attributes:
      loss: mean over the batch.
      accuracy: share of clips whose own class is the most likely one.
      gradient_norm: before it is limited.
      learning_rate: of this step, before layer decay.
    """

    loss: Float[Array, ""]
    accuracy: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    learning_rate: Float[Array, ""]


def split_params(params: Params, recipe: Recipe) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what is trained and what stays as it is."""
    trained = {path: value for path, value in params.items() if not recipe.probe or path.startswith(HEAD)}
    return trained, {path: value for path, value in params.items() if path not in trained}


def init_state(params: Params, setup: StepSetup) -> TrainState:
    """Makes the state before the first step; parameters are copied, since steps use their memory again."""
    copied = {path: jnp.array(value, jnp.float32) for path, value in params.items()}
    average = {path: jnp.array(value) for path, value in copied.items()} if setup.recipe.ema else {}
    optimizer = make_optimizer(setup.recipe, setup.config, num_steps=setup.num_steps)
    return TrainState(copied, average, optimizer.init(copied), jnp.zeros((), jnp.int32))


def make_dropout_key(seed: int) -> Any:
    """Returns the key of a run that every step's dropout is drawn from."""
    return jax.random.key(np.random.default_rng((seed, _DROPOUT_STREAM)).integers(2**31))


def find_drop_rates(recipe: Recipe, config: Config) -> DropRates:
    """Returns what is dropped where, as the original training code of the architecture does.

    Args:
      recipe: has the rates.
      config: the architecture.

    Returns:
      The rates of its module. VideoMAE and UMT drop nothing inside an MLP and rescale what stochastic depth keeps;
      Scenic's ViViT does the opposite in both.
    """
    is_vivit = isinstance(config, ViViTConfig)
    return DropRates(
        tokens=recipe.dropout,
        attention=recipe.attention_dropout,
        update=recipe.dropout,
        hidden=recipe.dropout if is_vivit else 0.0,
        path=recipe.drop_path,
        head=recipe.head_dropout,
        rescale_path=not is_vivit,
    )


@functools.partial(jax.jit, static_argnames="setup", donate_argnums=0)
def train_step(
    state: TrainState, frozen: Params, batch: Batch, key: Any = None, *, setup: StepSetup
) -> tuple[TrainState, Metrics]:
    """Takes one step; the one place where training is jitted.

    Args:
      state: before; its memory is used again.
      frozen: flat parameters that stay as they are.
      batch: its parts go through the model one after the other.
      key: of the run's dropout, the same for all steps; may be None where the recipe drops nothing.
      setup: static.

    Returns:
      The next state, and what to record.
    """
    recipe = setup.recipe
    find = jax.value_and_grad(compute_loss, has_aux=True)

    if key is not None:
        key = jax.random.fold_in(key, state.step)
    if recipe.accumulation == 1:
        found = find(state.params, frozen, jax.tree.map(lambda leaf: leaf[0], batch), key, setup=setup)
    else:
        nothing = jnp.zeros((), jnp.float32)
        empty = (nothing, nothing), jax.tree.map(jnp.zeros_like, state.params)

        keys = None if key is None else jax.random.split(key, recipe.accumulation)

        def add_part(total: Any, part: tuple[Batch, Any]) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, find(state.params, frozen, *part, setup=setup)), None

        found, _ = jax.lax.scan(add_part, empty, (batch, keys))
    (loss, accuracy), gradients = jax.tree.map(lambda leaf: leaf / recipe.accumulation, found)
    rate = find_rate(state.step, recipe=recipe, num_steps=setup.num_steps)
    optimizer = make_optimizer(recipe, setup.config, num_steps=setup.num_steps)
    updates, moments = optimizer.update(gradients, state.optimizer, state.params)
    params = {path: value + updates[path] for path, value in state.params.items()}
    average = {path: recipe.ema * old + (1 - recipe.ema) * params[path] for path, old in state.average.items()}
    norm = jnp.sqrt(sum(jnp.square(value).sum() for value in gradients.values()))
    metrics = Metrics(loss, accuracy, norm, jnp.asarray(rate, jnp.float32))
    return TrainState(params, average, moments, state.step + 1), metrics


def compute_loss(
    trained: Params, frozen: Params, part: Batch, key: Any = None, *, setup: StepSetup
) -> tuple[Array, Array]:
    """Computes the loss of one part of a batch.

    Args:
      trained: flat parameters that gradients are wanted of.
      frozen: the others.
      part: `[B, ...]`.
      key: of its dropout, or None.
      setup: static.

    Returns:
      Loss and accuracy, float32.
    """
    recipe = setup.recipe
    inputs = part.inputs
    if not setup.takes_features:
        inputs = normalise_pixels(inputs, mean=setup.preprocessing.mean, std=setup.preprocessing.std)
    targets = make_targets(part.labels, num_classes=setup.num_classes, smoothing=recipe.label_smoothing)
    if recipe.mixup:
        inputs = blend(inputs, inputs[part.partner], part.weight)
        targets = blend(targets, targets[part.partner], part.weight)
    params = {**frozen, **trained}
    if setup.takes_features:
        logits = classify_features(params, inputs)
    else:
        logits = run_model(params, inputs, setup, key)
    accuracy = (logits.argmax(-1) == part.labels).astype(jnp.float32).mean()
    return compute_cross_entropy(logits, targets), accuracy


def run_model(
    params: Params, video: Float[Array, "B T Y X 3"], setup: StepSetup, key: Any = None
) -> Float[Array, "B classes"]:
    """Returns the logits of normalised clips, with the merging and the dropout of training."""
    recipe = setup.recipe
    if recipe.remat:  # of blocks one by one, XLA's compiler for CPUs computes all again at once, which saves nothing
        params = stack_blocks(params)
    module = make_module(
        setup.config,
        r=setup.r,
        method=setup.method,
        dtype=jnp.dtype(recipe.dtype),
        param_dtype=jnp.float32,
        drop_rates=find_drop_rates(recipe, setup.config),
        remat=recipe.remat,
        is_stacked=recipe.remat,
    )
    variables = {"params": traverse_util.unflatten_dict(dict(params), sep="/")}
    rngs = {} if key is None else {"dropout": key}
    return module.apply(variables, video, deterministic=False, rngs=rngs).logits


def classify_features(params: Params, features: Float[Array, "B D"]) -> Float[Array, "B classes"]:
    """Returns the classifier's logits of features, in float32."""
    product = jnp.matmul(features, params[f"{HEAD}kernel"], precision=jax.lax.Precision.HIGHEST)
    return product + params[f"{HEAD}bias"][None]


def choose_params(state: TrainState) -> dict[str, Any]:
    """Returns the parameters that are evaluated and kept: the average where there is one."""
    return state.average or state.params
