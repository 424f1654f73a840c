"""Where do tokens go? It is known where the objects of the benchmark's clips are, so this tells why methods differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from benchmarks.accuracy_tasks import BATCH_SIZE, normalise_batches
from vidtldr_jax.inference.model import VideoModel

Fate = dict[str, Float[np.ndarray, " N"]]


def follow_tokens(model: VideoModel, clips: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields, batch by batch, which output token holds each token, and with which weight.

    Args:
      model: with a schedule.
      clips: values 0 to 255, a multiple of the batch.

    Yields:
      Source and weight, `[B, N0]`, as `Trace` has them.
    """
    for video in normalise_batches(model, clips):
        trace = model.encode_video(video, trace=True).trace
        assert trace is not None
        yield np.asarray(trace.source), np.asarray(trace.weight)


def tell_fate(
    source: Int[np.ndarray, "B N0"], weight: Float[np.ndarray, "B N0"], is_object: Bool[np.ndarray, "B N0"]
) -> Fate:
    """Says clip by clip what became of the tokens that show an object and of the others.

    Args:
      source: the output token that holds each token; -1 if it was dropped.
      weight: what it weighs there, 0 if it was dropped or absorbed without a say.
      is_object: which tokens show an object; at least one and not all of each clip.

    Returns:
      Shares, one for each clip:
        object_detail: output tokens that hold something of an object, per token that shows one; 1 if none were merged
          with each other or lost.
        background_detail: the same of the others.
        object_vanished: of the tokens that show an object, those that nothing is left of.
        background_vanished: the same of the others.
        object_mixed: of the former, those that share an output token with background that has a say.
    """
    is_left = weight > 0
    rows: dict[str, list[float]] = {
        name: []
        for name in ("object_detail", "background_detail", "object_vanished", "background_vanished", "object_mixed")
    }
    for places, left, shown in zip(source, is_left, is_object, strict=True):
        parts = {"object": shown, "background": ~shown}
        for name, part in parts.items():
            rows[f"{name}_detail"].append(len(np.unique(places[part & left])) / part.sum())
            rows[f"{name}_vanished"].append(float((~left[part]).mean()))
        mixed = np.isin(places, places[~shown & left]) & left & shown
        rows["object_mixed"].append(mixed.sum() / shown.sum())
    return {name: np.array(values) for name, values in rows.items()}


def find_fate(model: VideoModel, clips: np.ndarray, is_object: Bool[np.ndarray, "N N0"]) -> Fate:
    """Follows the tokens of all clips through one model; see `tell_fate`."""
    found = [
        tell_fate(source, weight, shown)
        for (source, weight), shown in zip(
            follow_tokens(model, clips), np.split(is_object, len(clips) // BATCH_SIZE), strict=True
        )
    ]
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def summarise_fates(fates: Mapping[tuple[str, int], Fate]) -> Sequence[dict[str, object]]:
    """Returns the means over clips, a row for each method and budget."""
    return [
        {"method": method, "budget": budget, **{name: round(float(values.mean()), 4) for name, values in fate.items()}}
        for (method, budget), fate in fates.items()
    ]
