"""Parameters out of a Scenic checkpoint file, head included: what the trainers' `init_from` never restores.

Files of the model zoo are called `checkpoint`, those of a run `checkpoint_N`. Two layouts are about: that of 2023 and
before (`optimizer/target`) and today's (`params`). Both are msgpack: arrays and plain values, nothing that runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
import numpy as np
from flax import serialization, traverse_util

from vidtldr_jax.trust.nearest import find_nearest

_STEP: Final = re.compile(r"checkpoint_(\d+)")
_MOST_SHOWN: Final = 10


class ScenicCheckpoint(NamedTuple):
    """What evaluation needs of a checkpoint.

    Attributes:
      path: the file that was read.
      params: nested parameters, NumPy's, in Scenic's names.
      step: of training, None where the file doesn't say.
    """

    path: Path
    params: dict[str, Any]
    step: int | None


def read_checkpoint(place: str | Path) -> ScenicCheckpoint:
    """Reads a checkpoint.

    Args:
      place: a file, or a folder with `checkpoint` or `checkpoint_N`, of which the last step is taken.

    Returns:
      Its parameters.

    Raises:
      ValueError: there is no such file, it is no msgpack, or it holds no parameters.
    """
    path = _find_file(Path(place))
    try:
        state = serialization.msgpack_restore(path.read_bytes())
    except Exception as error:  # msgpack and Flax raise many kinds for damaged bytes
        raise ValueError(
            f"a checkpoint is Flax's msgpack; {path} is not ({type(error).__name__}); check it."
        ) from error
    found: Any = state if isinstance(state, Mapping) else {}
    if isinstance(found.get("optimizer"), Mapping):
        params = found["optimizer"].get("target")
    else:
        params = found.get("params", found if "output_projection" in found else None)
    if not isinstance(params, Mapping) or not params:
        raise ValueError(
            "parameters lie under optimizer/target (2023) or params; "
            f"{path} has {', '.join(map(str, found)) or 'no names'}; check that it is a checkpoint of a ViViT."
        )
    step = found.get("global_step")
    return ScenicCheckpoint(path, _nest(params), None if step is None else int(np.ravel(step)[0]))


def check_params(params: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Makes sure that parameters are those of a module, no more and no less.

    Args:
      params: nested, as read.
      expected: nested shapes, as `jax.eval_shape` of the module's `init` gives them.

    Raises:
      ValueError: parameters are missing, unexpected or of another shape; all are named.
    """
    read, wanted = flatten_params(params), flatten_params(expected)
    faults = []
    for path, leaf in wanted.items():
        if path not in read:
            faults.append(f"{path} {tuple(leaf.shape)} is missing")
        elif tuple(read[path].shape) != tuple(leaf.shape):
            faults.append(f"{path} is {tuple(read[path].shape)} and should be {tuple(leaf.shape)}")
    unknown = [path for path in read if path not in wanted]
    nearest = find_nearest(unknown, wanted)
    faults += [f"{path} has no place" + (f" (nearest: {nearest[path]})" if path in nearest else "") for path in unknown]
    if faults:
        more = len(faults) - _MOST_SHOWN
        shown = "; ".join(faults[:_MOST_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        raise ValueError(
            f"checkpoint and config describe one model; {shown}; evaluate with the config that it was "
            "trained with (frames, crop size, classes, heads)."
        )


def _find_file(place: Path) -> Path:
    if place.is_file():
        return place
    if not place.is_dir():
        raise ValueError(f"a file or a folder is needed; there is no {place}; check the path.")
    steps = {
        int(match[1]): path for path in place.iterdir() if (match := _STEP.fullmatch(path.name)) and path.is_file()
    }
    if steps:
        return steps[max(steps)]
    if (place / "checkpoint").is_file():
        return place / "checkpoint"
    names = ", ".join(sorted(path.name for path in place.iterdir())[:_MOST_SHOWN]) or "nothing"
    raise ValueError(f"a folder holds checkpoint or checkpoint_N as files; {place} holds {names}; give the file.")


def flatten_params(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns parameters by their path, such as "Transformer/encoder_norm/scale"; frozen trees too."""
    flat: dict[str, Any] = traverse_util.flatten_dict(_nest(tree), sep="/")
    return flat


def _nest(tree: Any) -> Any:
    """Turns frozen and other mappings into plain ones."""
    return {str(name): _nest(value) for name, value in tree.items()} if isinstance(tree, Mapping) else tree


def find_shapes(module: Any, input_shape: tuple[int, ...]) -> dict[str, Any]:
    """Returns the nested shapes of a module's parameters.

    Args:
      module: Scenic's or ours.
      input_shape: of a batch of videos.

    Returns:
      Nested `jax.ShapeDtypeStruct`.
    """
    video = jax.ShapeDtypeStruct(input_shape, np.float32)
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), video)
    shapes: dict[str, Any] = _nest(variables["params"])
    return shapes
