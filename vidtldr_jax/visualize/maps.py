"""A trace -> maps over the patches: saliency per layer, and which patches share a token. Arrays only, no pixels.

A map is `[t, y, x]`, one value for each patch of the clip; t counts tubelets, not frames.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32

from vidtldr_jax.models.encoder import ReductionStep, Trace

Grid = tuple[int, int, int]
DROPPED = -1


class LayerMap(NamedTuple):
    """What one reducing layer saw and did, on the grid of patches.

    Attributes:
      layer: index of the layer.
      saliency: `[t, y, x]` float32 in [0, 1] of the token that held each patch when it entered the layer; NaN where
        the patch had been dropped before.
      group: `[t, y, x]` int32, index of the token that holds each patch after the layer; -1 where it is dropped.
      weight: `[t, y, x]` float32, the patch's say in that token: the product of the weights on its way; 0 where it is
        dropped. A token's size is the sum over its patches.
    """

    layer: int
    saliency: Float32[np.ndarray, "t y x"]
    group: Int32[np.ndarray, "t y x"]
    weight: Float32[np.ndarray, "t y x"]


def make_layer_maps(trace: Trace, *, grid: Grid, example: int = 0) -> tuple[LayerMap, ...]:
    """Spreads the trace of one clip over its grid, layer by layer.

    Args:
      trace: of `encode_video(..., trace="every_layer")`, without class tokens (see `drop_class_tokens`).
      grid: patches over time, rows and columns.
      example: which clip of the batch.

    Returns:
      One `LayerMap` per layer; of an early method that of the first alone.

    Raises:
      ValueError: the grid is another clip's, or the trace is not of every layer.
    """
    if any(step.weight is None for step in trace.steps):
        raise ValueError(
            'the weights before every layer are needed; got a trace without them; encode with trace="every_layer".'
        )
    after = [(step.source, step.weight) for step in trace.steps[1:]] + [(trace.source, trace.weight)]
    return tuple(
        LayerMap(
            layer,
            spread_saliency(np.asarray(step.saliency)[example], np.asarray(step.source)[example], grid=grid),
            spread_groups(np.asarray(source)[example], grid=grid),
            np.asarray(weight, np.float32)[example].reshape(grid),
        )
        for layer, (step, (source, weight)) in enumerate(zip(trace.steps, after))
    )


def drop_class_tokens(trace: Trace, *, num_cls_tokens: int, num_sequences: int = 1) -> Trace:
    """Takes the class tokens out of what a trace says of original tokens, so that the patches of the grid remain.

    Args:
      trace: of `encode_video(..., trace=True)`.
      num_cls_tokens: tokens at the front of each sequence that stand for no patch.
      num_sequences: sequences that were reduced one by one: the frames of a factorised encoder, else 1.

    Returns:
      The trace of the patches, in NumPy; tokens keep their indices.
    """

    def leave(values: Any) -> Any:
        by_sequence = np.asarray(values).reshape(len(values), num_sequences, -1)
        return by_sequence[:, :, num_cls_tokens:].reshape(len(values), -1)  # [B, t y x]

    steps = tuple(
        ReductionStep(step.saliency, leave(step.source), None if step.weight is None else leave(step.weight))
        for step in trace.steps
    )
    return Trace(leave(trace.source), leave(trace.weight), steps)


def spread_saliency(
    saliency: Float[np.ndarray, " N"], source: Int[np.ndarray, " N0"], *, grid: Grid
) -> Float32[np.ndarray, "t y x"]:
    """Gives every patch the saliency of the token that holds it.

    Args:
      saliency: of the tokens.
      source: index of the token that holds each patch, -1 for none.
      grid: patches over time, rows and columns.

    Returns:
      The map; NaN where no token holds the patch.

    Raises:
      ValueError: the grid has another number of patches.
    """
    _check_grid(source, grid)
    held = np.asarray(saliency, np.float32)[np.maximum(source, 0)]
    return np.where(source == DROPPED, np.float32(np.nan), held).reshape(grid)


def spread_groups(source: Int[np.ndarray, " N0"], *, grid: Grid) -> Int32[np.ndarray, "t y x"]:
    """Lays the index of the token that holds each patch out on the grid.

    Args:
      source: index of the token that holds each patch, -1 for none.
      grid: patches over time, rows and columns.

    Returns:
      The map.

    Raises:
      ValueError: the grid has another number of patches.
    """
    _check_grid(source, grid)
    return np.asarray(source, np.int32).reshape(grid)


def count_members(group: Int[np.ndarray, "t y x"]) -> Int[np.ndarray, "t y x"]:
    """Counts, for every patch, the patches that share its token, itself included; 0 where it is dropped."""
    num_members = np.bincount(group[group != DROPPED].ravel(), minlength=1)
    return np.where(group == DROPPED, 0, num_members[np.maximum(group, 0)])


def _check_grid(source: np.ndarray, grid: Grid) -> None:
    if source.shape != (grid[0] * grid[1] * grid[2],):
        raise ValueError(
            f"a grid of {grid} has {grid[0] * grid[1] * grid[2]} patches; got a source of shape "
            f"{source.shape}; pass the grid of this clip."
        )
