"""Models over several devices: clips are split along a mesh's axis "data", channels and heads along "model".

    mesh = make_mesh()                                  # all devices along "data"
    model = load_model("checkpoints/mine", mesh=mesh)
    logits = model.classify(batch)                      # a multiple of the devices along "data"

Along "data" every device runs the whole model on its clips and they don't talk. Along "model", for models too large for
one device, each holds a part of every projection and the compiler adds the sums between devices.

Over several processes, one per host, "data" reaches over all of them and "model" stays within each, where devices are
connected best. A process passes its own clips, its share, to a model over such a mesh, and gets global arrays, of which
`fetch_share` returns its own rows. Work on lists of files runs on the process's part of the mesh alone (`take_local`):
as nothing is sent along "data", no process has to wait for another.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
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
    """Arrange devices for a `VideoModel`.

    Args:
      devices: which; None means all of the default backend, those of other processes included. Of each process equally
        many; `jax.local_devices()` makes a mesh of this process alone.
      model_parallel: over how many devices, of one process, each clip's heads and channels are split. 1 unless the
        model is too large.

    Returns:
      A mesh with the axes "data" and "model". The devices of a process are neighbours, in the order of the processes.

    Raises:
      ValueError: model_parallel is no whole number, the number of devices of a process is no multiple of it, or
        processes have different numbers of devices.
    """
    # A TPU slice numbers its chips by their place, across hosts.
    found = sorted(jax.devices() if devices is None else devices, key=lambda device: device.process_index)
    model_parallel = check_count("model_parallel", model_parallel)
    counts = collections.Counter(device.process_index for device in found)
    _check_counts(counts)
    count = next(iter(counts.values()), 0)
    if model_parallel < 1 or count % model_parallel:
        of = "devices" if len(counts) == 1 else "devices of each process"
        raise ValueError(
            f"model_parallel divides the number of {of}, {count}; got {model_parallel}; "
            "take a divisor, or give fewer devices."
        )
    return Mesh(np.array(found).reshape(-1, model_parallel), (DATA_AXIS, MODEL_AXIS))


def check_mesh(mesh: Mesh, *, num_heads: int) -> None:
    """Refuse a mesh that a model can't be spread over.

    Args:
      mesh: of devices.
      num_heads: of the model's attention.

    Raises:
      ValueError: an axis is missing or unknown, heads can't be split evenly, or the axis "model" crosses processes,
        which must have equally many devices.
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
    owners = [{device.process_index for device in row} for row in _list_rows(mesh)]
    crossing = next((sorted(processes) for processes in owners if len(processes) > 1), None)
    if crossing is not None:
        raise ValueError(
            f'devices along the mesh\'s axis "{MODEL_AXIS}" belong to one process; got some of processes '
            f"{crossing}; make_mesh arranges devices so."
        )
    _check_counts(collections.Counter(process for processes in owners for process in processes))


def _check_counts(counts: Mapping[int, int]) -> None:
    """Refuses devices of which this process has none, or another number than other processes."""
    if jax.process_index() not in counts or len(set(counts.values())) > 1:
        raise ValueError(
            "every process has as many devices in a mesh as the others; got "
            f"{ {process: counts.get(process, 0) for process in range(jax.process_count())} } by process; use all "
            "devices, or make a mesh of jax.local_devices()."
        )


def _list_rows(mesh: Mesh) -> np.ndarray:
    """Returns the devices [data, model]: those of a row run the model on the same clips."""
    return np.moveaxis(mesh.devices, mesh.axis_names.index(DATA_AXIS), 0).reshape(mesh.shape[DATA_AXIS], -1)


def _is_row_local(mesh: Mesh) -> np.ndarray:
    """Returns for each place along "data" whether its devices are of this process, bool [data]."""
    return np.array([row[0].process_index == jax.process_index() for row in _list_rows(mesh)])


def count_model_devices(mesh: Mesh) -> int:
    """Returns over how many devices each clip is split."""
    return mesh.shape.get(MODEL_AXIS, 1)


def round_up_batch(batch_size: int, mesh: Mesh | None) -> int:
    """Return the size of a batch that fills this process's devices along "data"; its own size without a mesh."""
    count = 1 if mesh is None else int(_is_row_local(mesh).sum())
    return -(-batch_size // count) * count


def place_params(params: Mapping[str, Any], mesh: Mesh, *, dtype: jnp.dtype) -> dict[str, jax.Array]:
    """Put parameters on a mesh's devices: along "data" each has all, along "model" its part.

    Args:
      params: flat parameter path -> array; over several processes each has all of them, and nothing is sent.
      mesh: of devices.
      dtype: of the result. They are cast where they are, so that a large array need not pass through one device.

    Returns:
      Flat parameter path -> array on the devices.
    """
    return {
        path: _place_everywhere(_cast(value, dtype), NamedSharding(mesh, find_spec(path, value.ndim, mesh)))
        for path, value in params.items()
    }


def _cast(value: Any, dtype: jnp.dtype) -> Any:
    return value.astype(dtype) if value.dtype != dtype else value


def _place_everywhere(value: Any, sharding: NamedSharding) -> jax.Array:
    is_global = isinstance(value, jax.Array) and not value.is_fully_addressable
    if sharding.is_fully_addressable or is_global:
        return jax.device_put(value, sharding)
    # `device_put` would compare the values of all processes.
    host = np.asarray(value)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


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
    """Split a batch along "data".

    Args:
      batch: array with a leading batch axis. Over several processes it is this process's share, as large as those of
        the others, or a global array, which all share already.
      mesh: of devices.

    Returns:
      The array on the devices, with the shares of all processes.

    Raises:
      ValueError: the batch is no multiple of this process's devices along "data".
    """
    if isinstance(batch, jax.Array) and not batch.is_fully_addressable:
        return batch
    count = int(_is_row_local(mesh).sum())
    if batch.shape[0] % count:
        of = "this process's share of a batch" if mesh.is_multi_process else "a batch"
        its = "its " if mesh.is_multi_process else "the "
        raise ValueError(
            f'{of} is a multiple of {its}{count} devices along "{DATA_AXIS}"; got {batch.shape[0]} '
            "clips; fill it up by repeating some, and leave their results out."
        )
    sharding = NamedSharding(mesh, PartitionSpec(DATA_AXIS))
    if not mesh.is_multi_process:
        return jax.device_put(batch, sharding)
    return jax.make_array_from_process_local_data(sharding, np.asarray(batch))


def split_results(results: Any, mesh: Mesh) -> Any:
    """Split results along "data" where a mesh is over several processes: each then has the rows of its own share.

    Args:
      results: pytree of arrays whose first axis is that of a batch which `place_batch` placed.
      mesh: of devices; over those of one process, results stay where the compiler put them.

    Returns:
      The same pytree.
    """
    if not mesh.is_multi_process:
        return results
    return jax.device_put(results, NamedSharding(mesh, PartitionSpec(DATA_AXIS)))


def fetch_share(outputs: Any) -> Any:
    """Return this process's rows of results over a mesh, as NumPy arrays.

    Args:
      outputs: a `VideoOutput`, an array, or another pytree of arrays, whose first axis is that of the batch. Over one
        process, or where every device has all rows, these are all.

    Returns:
      The same pytree of NumPy arrays, rows in the order of the clips that this process passed.
    """
    return jax.tree.map(_fetch_rows, outputs)


def _fetch_rows(array: jax.Array) -> np.ndarray:
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    # By where a part begins along each axis: devices that hold the same part are asked once.
    shards = {tuple(part.start or 0 for part in shard.index): shard for shard in array.addressable_shards}
    size = array.sharding.shard_shape(array.shape)[0]
    row_of = {first: size * place for place, first in enumerate(sorted({start[0] for start in shards}))}
    rows = np.empty((size * len(row_of), *array.shape[1:]), array.dtype)
    for start, shard in shards.items():
        first = row_of[start[0]]
        rows[(slice(first, first + size), *shard.index[1:])] = shard.data
    return rows


def take_local(weights: Any, mesh: Mesh) -> tuple[Any, Mesh]:
    """Take this process's part of a mesh and of the parameters on it; nothing is copied or sent.

    Args:
      weights: pytree of arrays that `place_params` placed.
      mesh: over several processes.

    Returns:
      The same parameters on the devices of this process, and the mesh of these.
    """
    local = Mesh(np.compress(_is_row_local(mesh), mesh.devices, mesh.axis_names.index(DATA_AXIS)), mesh.axis_names)

    def take(array: jax.Array) -> jax.Array:
        assert isinstance(array.sharding, NamedSharding)
        sharding = NamedSharding(local, array.sharding.spec)
        parts = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, sharding, parts)

    return jax.tree.map(take, weights), local


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
