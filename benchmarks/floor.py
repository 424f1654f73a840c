"""Where does the time above the machine's own limit go, part by part?

    python benchmarks/floor.py          # writes results/floor.json

UMT-B/16, one clip of 12 x 224 x 224, float32, plain and merged 600,200,100. Every part of a layer is compiled alone,
at the shapes that it has in each layer (equal shapes once, counted as often as they come), and timed in turn with the
whole models. Beside each part stands the bound: its counted multiply-accumulates at the rate of this machine's own
matrix product. "Saliency" is attention with saliency less attention without; "rest" is the whole model less its parts:
residual sums, pooling, copies between parts, and what compiling a part alone changes.
"""

from __future__ import annotations

import functools
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import record
from benchmarks.models import MSRVTT, choose_config, scale_schedule
from vidtldr_jax import ops
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import Times, make_random_model, make_random_video, time_in_turn
from vidtldr_jax.models.block import MLP, make_layer_norm
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.patches import PatchEmbed
from vidtldr_jax.reduction.cost import count_macs
from vidtldr_jax.reduction.schedule import ResolvedSchedule

PRESET = "umt-b16"


class Piece(NamedTuple):
    """Something that is compiled alone.

    Attributes:
      kind: a key of `_MAKERS`.
      tokens: that come in.
      r: tokens absorbed, for matching and merging.
      use_size: whether attention gets sizes.
    """

    kind: str
    tokens: int
    r: int = 0
    use_size: bool = False


def list_pieces(config: VideoViTConfig, schedule: ResolvedSchedule) -> dict[str, Counter[Piece]]:
    """Lists what each part of a model consists of.

    Args:
      config: of the model.
      schedule: of the model.

    Returns:
      Part -> how often each piece comes; a negative count is taken off.
    """
    parts: dict[str, Counter[Piece]] = {
        name: Counter()
        for name in ("patches", "projections", "attention", "saliency", "matching", "merging", "mlp", "norms")
    }
    parts["patches"][Piece("patches", schedule.tokens[0])] += 1
    for layer, r in enumerate(schedule.r):
        before, after = schedule.tokens[layer : layer + 2]
        attention = Piece("attention", before, use_size=any(schedule.r[:layer]))
        parts["projections"][Piece("projections", before)] += 1
        parts["attention"][attention] += 1
        if r:
            parts["saliency"][attention._replace(kind="attention with saliency")] += 1
            parts["saliency"][attention] -= 1
            parts["matching"][Piece("matching", before, r)] += 1
            parts["merging"][Piece("merging", before, r)] += 1
        parts["mlp"][Piece("mlp", after)] += 1
        parts["norms"].update([Piece("norms", before), Piece("norms", after)])
    if config.final_norm:
        parts["norms"][Piece("norms", schedule.tokens[-1])] += 1
    return parts


def make_piece(config: VideoViTConfig, piece: Piece) -> Callable[[], Any]:
    """Compiles a piece with random inputs; returns a function that runs it."""
    function, inputs = _MAKERS[piece.kind](config, piece, np.random.default_rng(0))
    inputs = jax.tree.map(jnp.asarray, inputs)
    return functools.partial(jax.jit(function).lower(*inputs).compile(), *inputs)


def _make_tokens(config: VideoViTConfig, piece: Piece, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((1, piece.tokens, config.dim), np.float32)


def _make_patches(config: VideoViTConfig, piece: Piece, rng: np.random.Generator) -> tuple[Any, ...]:
    video = jnp.asarray(make_random_video(config))
    module = PatchEmbed(config.dim, config.patch_size, config.tubelet_size)
    return module.apply, (module.init(jax.random.key(0), video), video)


def _make_projections(config: VideoViTConfig, piece: Piece, rng: np.random.Generator) -> tuple[Any, ...]:
    kernels = 0.02 * rng.standard_normal((4, config.dim, config.dim), np.float32)
    bias = np.zeros(config.dim, np.float32)

    def project(tokens: Any, kernels: list[Any], bias: Any) -> tuple[Any, ...]:
        query, key, value = (tokens @ kernels[0] + bias, tokens @ kernels[1], tokens @ kernels[2] + bias)
        return query, key, value, value @ kernels[3] + bias

    return project, (_make_tokens(config, piece, rng), list(kernels), bias)


def _make_attention(
    config: VideoViTConfig, piece: Piece, rng: np.random.Generator, *, with_saliency: bool = False
) -> tuple[Any, ...]:
    shape = (1, piece.tokens, config.num_heads, config.dim // config.num_heads)
    inputs = tuple(rng.standard_normal(shape, np.float32) for _ in range(3))
    size = np.ones((1, piece.tokens), np.float32) if piece.use_size else None
    attend = functools.partial(ops.attend, with_saliency=with_saliency, num_protected=config.num_protected)
    return attend, (*inputs, size)


def _make_matching(config: VideoViTConfig, piece: Piece, rng: np.random.Generator) -> tuple[Any, ...]:
    match = functools.partial(ops.match_tokens, r=piece.r, num_protected=config.num_protected)
    return match, (_make_tokens(config, piece, rng),)


def _make_merging(config: VideoViTConfig, piece: Piece, rng: np.random.Generator) -> tuple[Any, ...]:
    tokens = jnp.asarray(_make_tokens(config, piece, rng))
    plan = ops.match_tokens(tokens, r=piece.r, num_protected=config.num_protected)
    return ops.merge_tokens, (ops.init_merge_state(tokens), plan, rng.random((1, piece.tokens), np.float32))


def _make_module(module: Any, config: VideoViTConfig, piece: Piece, rng: np.random.Generator) -> tuple[Any, ...]:
    tokens = jnp.asarray(_make_tokens(config, piece, rng))
    return module.apply, (module.init(jax.random.key(0), tokens), tokens)


def _make_mlp(config: VideoViTConfig, piece: Piece, rng: np.random.Generator) -> tuple[Any, ...]:
    return _make_module(MLP(config), config, piece, rng)


def _make_norm(config: VideoViTConfig, piece: Piece, rng: np.random.Generator) -> tuple[Any, ...]:
    kind = jnp.float32
    return _make_module(make_layer_norm(config.norm_eps, dtype=kind, param_dtype=kind, name="norm"), config, piece, rng)


_MAKERS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "patches": _make_patches,
    "projections": _make_projections,
    "attention": _make_attention,
    "attention with saliency": functools.partial(_make_attention, with_saliency=True),
    "matching": _make_matching,
    "merging": _make_merging,
    "mlp": _make_mlp,
    "norms": _make_norm,
}


def sum_parts(
    parts: dict[str, Counter[Piece]], times: dict[str | Piece, Times], whole: str
) -> dict[str, dict[str, float]]:
    """Adds pieces up to parts, round by round.

    Args:
      parts: from `list_pieces`.
      times: of every piece and of the whole model.
      whole: the model's key in times.

    Returns:
      Part, "rest" and "whole" -> medians over the rounds, "seconds" and "cpu_seconds".
    """
    result: dict[str, dict[str, float]] = {}
    for clock in ("seconds", "cpu_seconds"):
        rounds = np.array(getattr(times[whole], clock))
        rest = rounds.copy()
        for name, pieces in parts.items():
            total = sum((count * np.array(getattr(times[piece], clock)) for piece, count in pieces.items()), 0 * rounds)
            rest -= total
            result.setdefault(name, {})[clock] = statistics.median(total.tolist())
        result.setdefault("rest", {})[clock] = statistics.median(rest.tolist())
        result.setdefault("whole", {})[clock] = statistics.median(rounds.tolist())
    return result


def describe_parts(model: VideoModel, summed: dict[str, dict[str, float]], rate: dict[str, float]) -> dict[str, Any]:
    """Puts the bound beside each part's time, and says which share of the time above it is the part's."""
    cost = count_macs(model.config, model.schedule)
    gmacs = {name: macs / 1e9 for name, macs in cost.by_part().items()}
    gmacs["norms"] += gmacs.pop("final_norm")
    gmacs["whole"] = cost.gmacs
    rows = {}
    above_whole = summed["whole"]["cpu_seconds"] - cost.gmacs / rate["gmacs_per_cpu_second"]
    for name, times in summed.items():
        bound = gmacs.get(name, 0.0) / rate["gmacs_per_cpu_second"]
        above = times["cpu_seconds"] - bound
        rows[name] = {
            "gmacs": round(gmacs.get(name, 0.0), 3),
            **{clock: round(value, 5) for clock, value in times.items()},
            "floor_cpu_seconds": round(bound, 5),
            "cpu_seconds_above": round(above, 5),
            "share_of_time_above": round(above / above_whole, 4),
        }
    return {"schedule": model.schedule.text, "parts": rows}


def run(*, repeats: int, is_smoke: bool) -> dict[str, Any]:
    """Measures both models and all their pieces; returns plain data."""
    config, loops = choose_config(PRESET, is_smoke=is_smoke), 1 if is_smoke else 20
    plain = make_random_model(config)
    r = MSRVTT[:1] if is_smoke else MSRVTT
    models = {"plain": plain, "merged": plain.with_schedule(scale_schedule(r, config.num_tokens))}
    pieces = {name: list_pieces(config, model.schedule) for name, model in models.items()}
    video = jnp.asarray(make_random_video(config))
    runs: dict[str | Piece, Callable[[], Any]] = {}
    for name, model in models.items():
        compiled = model.get_encode_function(video.shape).lower(model.weights, video).compile()
        runs[name] = functools.partial(compiled, model.weights, video)
    for piece in dict.fromkeys(piece for parts in pieces.values() for part in parts.values() for piece in part):
        runs[piece] = make_piece(config, piece)
    before = record.measure_matmul_rate(repeats, loops=loops)
    times = time_in_turn(runs, repeats=repeats)
    rate = record.pick_faster(before, record.measure_matmul_rate(repeats, loops=loops))
    described = {
        name: describe_parts(model, sum_parts(pieces[name], times, name), rate) for name, model in models.items()
    }
    return {
        "preset": PRESET,
        "shape": list(video.shape),
        "dtype": "float32",
        "repeats": repeats,
        "matmul": rate,
        "models": described,
    }


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    arguments = record.make_parser(__doc__).parse_args(words)
    result = run(repeats=1 if arguments.smoke else arguments.repeats, is_smoke=arguments.smoke)
    record.finish("floor", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
