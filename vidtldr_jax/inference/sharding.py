"""Models over several devices: clips are split along a mesh's axis "data", channels and heads along "model".

    mesh = make_mesh()                                  # all devices along "data"
    model = load_model("checkpoints/mine", mesh=mesh)
    logits = model.classify(batch)                      # a multiple of the devices along "data"

Along "data" every device runs the whole model on its clips and they don't talk. Along "model", for models too large for
one device, each holds a part of every projection and the compiler adds the sums between devices.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vidtldr_jax.ops.checks import check_count

DATA_AXIS: Final = "data"
MODEL_AXIS: Final = "model"
# A block's dense layers come in pairs: the first of a pair is split by what it puts out (heads, hidden channels), the
# second by what it takes in, so that one sum over devices ends each pair.
_SPLIT_OUTPUT: Final = re.compile(r".*/(?:attn\w*/(?:query|key|value)|mlp/fc1)/(?:kernel|bias)")
_SPLIT_INPUT: Final = re.compile(r".*/(?:attn\w*/proj|mlp/fc2)/kernel")


def make_mesh(devices: Sequence[jax.Device] | None = None, *, model_parallel: int = 1) -> Mesh:
    """Arranges devices for a `VideoModel`.

    Args:
      devices: which; None means all of the default backend.
      model_parallel: over how many devices each clip's heads and channels are split. 1 unless the model is too large.

    Returns:
      A mesh with the axes "data" and "model".

    Raises:
      ValueError: model_parallel is no whole number, or the number of devices is no multiple of it.
    """
    found = list(jax.devices() if devices is None else devices)
    model_parallel = check_count("model_parallel", model_parallel)
    if model_parallel < 1 or len(found) % model_parallel:
        raise ValueError(
            f"model_parallel divides the number of devices, {len(found)}; got {model_parallel}; "
            "take a divisor, or give fewer devices."
        )
    return Mesh(np.array(found).reshape(-1, model_parallel), (DATA_AXIS, MODEL_AXIS))


def check_mesh(mesh: Mesh, *, num_heads: int) -> None:
    """Refuses a mesh that a model can't be spread over.

    Args:
      mesh: of devices.
      num_heads: of the model's attention.

    Raises:
      ValueError: an axis is missing or unknown, or heads can't be split evenly.
    """
    axes = tuple(mesh.axis_names)
    if DATA_AXIS not in axes or set(axes) - {DATA_AXIS, MODEL_AXIS}:
        raise ValueError(
            f'a mesh has the axis "{DATA_AXIS}" and perhaps "{MODEL_AXIS}"; got {axes}; make_mesh makes one.'
        )
    if num_heads % count_model_devices(mesh):
        raise ValueError(
            f'heads are split evenly along the mesh\'s axis "{MODEL_AXIS}"; got {num_heads} heads '
            f"and {count_model_devices(mesh)} devices; take a divisor of the heads."
        )


def count_model_devices(mesh: Mesh) -> int:
    """Returns over how many devices each clip is split."""
    return mesh.shape.get(MODEL_AXIS, 1)


def round_up_batch(batch_size: int, mesh: Mesh | None) -> int:
    """Returns the smallest multiple of the devices along "data" that holds a batch; without a mesh the batch's size."""
    count = 1 if mesh is None else mesh.shape[DATA_AXIS]
    return -(-batch_size // count) * count


def place_params(params: Mapping[str, Any], mesh: Mesh) -> dict[str, jax.Array]:
    """Puts parameters on a mesh's devices: along "data" each has all, along "model" its part.

    Args:
      params: flat parameter path -> array.
      mesh: of devices.

    Returns:
      Flat parameter path -> array on the devices.
    """
    return {
        path: jax.device_put(value, NamedSharding(mesh, find_spec(path, value.ndim, mesh)))
        for path, value in params.items()
    }


def find_spec(path: str, num_axes: int, mesh: Mesh) -> PartitionSpec:
    """Returns how a parameter is split; stacked blocks have one more axis in front, which is not.

    Args:
      path: of the parameter.
      num_axes: of its array.
      mesh: of devices.

    Returns:
      The axes of the mesh that its axes are split along.
    """
    if count_model_devices(mesh) == 1:
        return PartitionSpec()
    place = -1 if _SPLIT_OUTPUT.fullmatch(path) else -2 if _SPLIT_INPUT.fullmatch(path) else None
    if place is None:
        return PartitionSpec()
    axes: list[str | None] = [None] * num_axes
    axes[place] = MODEL_AXIS
    return PartitionSpec(*axes)


def place_batch(batch: Any, mesh: Mesh) -> jax.Array:
    """Splits a batch along "data".

    Args:
      batch: array with a leading batch axis.
      mesh: of devices.

    Returns:
      The array on the devices.

    Raises:
      ValueError: the batch is no multiple of the devices.
    """
    count = mesh.shape[DATA_AXIS]
    if batch.shape[0] % count:
        raise ValueError(
            f'a batch is a multiple of the {count} devices along "{DATA_AXIS}"; got {batch.shape[0]} '
            "clips; fill it up by repeating some, and leave their results out."
        )
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec(DATA_AXIS)))


def split_batches(function: Callable[[Any, Any], Any], mesh: Mesh) -> Callable[[Any, Any], Any]:
    """Makes a function of (parameters, batch) run on every device's own clips.

    Args:
      function: every array that it returns has a leading batch axis.
      mesh: of devices.

    Returns:
      The function over the whole batch; to be jitted.
    """
    # "model" is left to the compiler, which splits products by how parameters lie.
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(DATA_AXIS)),
        out_specs=PartitionSpec(DATA_AXIS),
        axis_names={DATA_AXIS},
        check_vma=False,
    )
