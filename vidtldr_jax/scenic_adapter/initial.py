"""`config.init_from`, read for all of Scenic's trainers.

Of these `classification_trainer` ignores it, `objectvivit_trainer` finds no file of the model zoo, and none says what a
file gave. Scenic's model classes say what of a checkpoint goes where: all but the head, positions adapted to another
size. Every trainer starts from the random values that `train_utils.initialize_model` returns; the file's take their
place there. What the file gave is logged, and a file that gives nothing, or other shapes, is refused.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.training.checkpoints import latest_checkpoint

from vidtldr_jax.scenic_adapter.checkpoints import flatten_params, read_checkpoint
from vidtldr_jax.trust.harmless import make_harmless

_MOST_SHOWN = 10
_log = logging.getLogger(__name__)


class _State(NamedTuple):
    """What Scenic's models take for a state of training: parameters that can be replaced."""

    params: Any

    def replace(self, *, params: Any) -> _State:
        return _State(params)


@contextlib.contextmanager
def start_from(
    config: Any, model_cls: Any, meta_data: Mapping[str, Any], workdir: str, *, train_utils: Any
) -> Iterator[None]:
    """Lets first parameters come from `config.init_from` while this is open.

    Args:
      config: the experiment's ConfigDict.
      model_cls: one of Scenic's ViViT classes, or ours.
      meta_data: of the data set.
      workdir: of the run; one that goes on from its own checkpoint reads no other.
      train_utils: the trainer's module with `initialize_model`.

    Yields:
      Nothing.
    """
    if not config.get("init_from"):
        yield
        return
    if config.get("checkpoint") and latest_checkpoint(workdir):
        _log.info("init_from is not read: the run goes on from its own checkpoint in %s", make_harmless(str(workdir)))
        yield
        return
    initialize = train_utils.initialize_model

    def initialize_from_file(**options: Any) -> Any:
        params, *others = initialize(**options)
        model = model_cls(config, meta_data)
        return (take_params(model, config, params), *others)

    train_utils.initialize_model = initialize_from_file
    try:
        yield
    finally:
        train_utils.initialize_model = initialize


def take_params(model: Any, config: Any, params: Any) -> Any:
    """Puts the parameters of a checkpoint in the place of first values.

    Args:
      model: with Scenic's `init_from_train_state`, which says what goes where.
      config: the experiment's ConfigDict, with `init_from`.
      params: nested first values.

    Returns:
      The parameters, nested as before.

    Raises:
      ValueError: the file can't be read, gives nothing, or does not fit the model.
    """
    init = config.init_from
    read = read_checkpoint(init.checkpoint_path)
    restored = _State(jax.tree.map(jnp.asarray, read.params))
    theirs = init.get("model_config") or config
    try:
        found = model.init_from_train_state(_State(params), restored, theirs).params
    except (AssertionError, AttributeError, KeyError, TypeError) as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"init_from reads a checkpoint of a model like this one; {read.path} does not fit: {what}; check "
            "init_from.model_config and init_from.positional_embed_size_change."
        ) from error
    before, after = flatten_params(params), flatten_params(found)
    wrong = [
        f"{path} is {tuple(after[path].shape)} and should be {tuple(leaf.shape)}"
        for path, leaf in before.items()
        if path in after and after[path].shape != leaf.shape
    ]
    wrong += [f"{path} is missing" for path in before if path not in after]
    wrong += [f"{path} has no place" for path in after if path not in before]
    if wrong:
        more = f"; and {len(wrong) - _MOST_SHOWN} more" if len(wrong) > _MOST_SHOWN else ""
        raise ValueError(
            f"init_from reads a checkpoint of a model like this one; of {read.path}, "
            f"{'; '.join(wrong[:_MOST_SHOWN])}{more}; take the file of such a model."
        )
    kept = [path for path in before if after[path] is before[path]]
    if len(kept) == len(before):
        raise ValueError(
            f"init_from takes parameters from a checkpoint; {read.path} has none that this model has; take the file of "
            "a ViViT or ViT."
        )
    _log.info(
        "init_from: %d of %d parameter arrays come from %s; first values remain in %s",
        len(before) - len(kept), len(before), make_harmless(str(read.path)), ", ".join(sorted(kept)) or "none",
    )  # fmt: skip
    return found
