"""Parameters by their flat paths: which ones an architecture has, first values, and a check both ways."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from vidtldr_jax.inference.errors import CheckpointError
from vidtldr_jax.inference.plausible import check_architecture
from vidtldr_jax.models.architectures import Config, init_variables
from vidtldr_jax.trust.faults import join_faults, shorten
from vidtldr_jax.trust.nearest import find_nearest


class LazyArray(NamedTuple):
    """A parameter that is read when it is written, so that one at a time is in memory.

    Attributes:
      shape: of the array.
      dtype: of the array.
      read: returns it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


def make_lazy(value: Any) -> LazyArray:
    """Return an array, which may be lazy already, as a `LazyArray`."""
    if isinstance(value, LazyArray):
        return value
    array = np.asarray(value)
    return LazyArray(array.shape, array.dtype, lambda: array)


def flatten_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Turn nested parameters into flat paths; flat ones stay as they are.

    Raises:
      CheckpointError: they are no parameters at all.
    """
    if not isinstance(params, Mapping):
        raise CheckpointError(
            f"parameters are a dict of arrays, flat or nested; got {type(params).__name__}; pass model.params."
        )
    nested = traverse_util.unflatten_dict(dict(params), sep="/")
    return traverse_util.flatten_dict(nested, sep="/")


def find_param_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of an architecture without making one.

    Args:
      config: the architecture.

    Returns:
      Parameter path -> shape.

    Raises:
      CheckpointError: the architecture is larger than the limits allow, or no module can be made of it.
    """
    try:
        check_architecture(config)
    except ValueError as error:
        raise CheckpointError(f"{error}.") from error
    try:
        return dict(_trace_param_shapes(config))
    except (ValueError, TypeError, ArithmeticError) as error:
        reason = shorten(" ".join(str(error).split()))
        raise CheckpointError(f"no module can be made of the architecture ({reason}); fix the architecture.") from error


@functools.lru_cache(maxsize=64)
def _trace_param_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    variables = jax.eval_shape(lambda key: init_variables(config, key), jax.random.key(0))
    return {path: leaf.shape for path, leaf in flatten_params(variables["params"]).items()}


def make_initial_params(config: Config, paths: Sequence[str], *, seed: int = 0) -> dict[str, np.ndarray]:
    """Make initial values for some parameters; the others are not computed.

    Args:
      config: the architecture.
      paths: which parameters.
      seed: of the random numbers.

    Returns:
      Parameter path -> float32 array.
    """

    def init(key: jax.Array) -> dict[str, jax.Array]:
        params = flatten_params(init_variables(config, key)["params"])
        return {path: params[path] for path in paths}

    return {path: np.asarray(value) for path, value in jax.jit(init)(jax.random.key(seed)).items()}


def check_params(params: Mapping[str, Any], config: Config) -> None:
    """Check parameters against an architecture, both ways.

    Args:
      params: flat parameter path -> array, or what else has a shape and a dtype.
      config: the architecture.

    Raises:
      CheckpointError: parameters are missing, unknown, of another shape or no floating-point numbers; as many are named
        as the limit "faults" allows.
    """
    if params and all(path.startswith("params/") for path in params):
        raise CheckpointError('parameters are needed; got the variables, which hold them; pass variables["params"].')
    shapes = find_param_shapes(config)
    faults = [f"missing {path} {shape}" for path, shape in shapes.items() if path not in params]
    unknown = [path for path in params if path not in shapes]
    nearest = find_nearest(unknown, shapes)
    faults += [f"unknown {path}" + (f" (nearest: {nearest[path]})" if path in nearest else "") for path in unknown]
    for path, value in params.items():
        if path in shapes and tuple(value.shape) != shapes[path]:
            faults.append(f"{path} is {tuple(value.shape)}, not {shapes[path]}")
        elif path in shapes and not jnp.issubdtype(value.dtype, jnp.floating):
            faults.append(f"{path} has dtype {value.dtype} and no floating-point numbers")
    if faults:
        raise CheckpointError(
            f"the parameters don't fit the architecture: {join_faults(faults)}; convert the weights again or fix the "
            "architecture."
        )
