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
from vidtldr_jax.ops import merging
from vidtldr_jax.reduction.cost import count_macs
from vidtldr_jax.reduction.schedule import ResolvedSchedule

PRESET = "umt-b16"
MERGE_FORMS = tuple(form for form in merging.MERGE_FORMS if form != "auto")


class Piece(NamedTuple):
    """Something that is compiled alone.

    Attributes:
      kind: a key of `_MAKERS`; of merging perhaps with a form.
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


class Setting(NamedTuple):
    """What pieces are made for.

    Attributes:
      config: of the model.
      dtype: of tokens, weights and computation.
      batch_size: clips at a time.
      form: of attention.
    """

    config: VideoViTConfig
    dtype: str = "float32"
    batch_size: int = 1
    form: ops.AttentionForm = "auto"

    def draw(self, *shape: int) -> jax.Array:
        """Return random numbers in the dtype, for every clip, the same for the same shape."""
        numbers = np.random.default_rng(0).standard_normal((self.batch_size, *shape), np.float32)
        return jnp.asarray(numbers, self.dtype)

    def draw_positive(self, *shape: int) -> jax.Array:
        """Return random numbers from 0 to 1 in float32, for every clip."""
        return jnp.asarray(np.random.default_rng(0).random((self.batch_size, *shape), np.float32))


def make_piece(setting: Setting, piece: Piece) -> Callable[[], Any]:
    """Compile a piece with random inputs; return a function that runs it."""
    function, inputs = _MAKERS[piece.kind](setting, piece)
    return functools.partial(jax.jit(function).lower(*inputs).compile(), *inputs)


def _draw_tokens(setting: Setting, piece: Piece) -> jax.Array:
    return setting.draw(piece.tokens, setting.config.dim)


def _make_patches(setting: Setting, piece: Piece) -> tuple[Any, ...]:
    config = setting.config
    video = jnp.asarray(make_random_video(config, batch_size=setting.batch_size))
    dtypes = {"dtype": setting.dtype, "param_dtype": setting.dtype}
    module = PatchEmbed(config.dim, config.patch_size, config.tubelet_size, **dtypes)
    return module.apply, (jax.jit(module.init)(jax.random.key(0), video), video)


def _make_projections(setting: Setting, piece: Piece) -> tuple[Any, ...]:
    dim = setting.config.dim
    kernels = [0.02 * jax.random.normal(jax.random.key(seed), (dim, dim), setting.dtype) for seed in range(4)]
    bias = jnp.zeros(dim, setting.dtype)

    def project(tokens: Any, kernels: list[Any], bias: Any) -> tuple[Any, ...]:
        query, key, value = (tokens @ kernels[0] + bias, tokens @ kernels[1], tokens @ kernels[2] + bias)
        return query, key, value, value @ kernels[3] + bias

    return project, (_draw_tokens(setting, piece), kernels, bias)


def _make_attention(setting: Setting, piece: Piece, *, with_saliency: bool = False) -> tuple[Any, ...]:
    config = setting.config
    inputs = [setting.draw(piece.tokens, config.num_heads, config.dim // config.num_heads)] * 3
    size = jnp.ones((setting.batch_size, piece.tokens), jnp.float32) if piece.use_size else None
    options = {"with_saliency": with_saliency, "num_protected": config.num_protected, "form": setting.form}
    return functools.partial(ops.attend, **options), (*inputs, size)


def _make_matching(setting: Setting, piece: Piece) -> tuple[Any, ...]:
    match = functools.partial(ops.match_tokens, r=piece.r, num_protected=setting.config.num_protected)
    return match, (_draw_tokens(setting, piece),)


def _make_top_k(setting: Setting, piece: Piece) -> tuple[Any, ...]:
    num_sources = -(-(piece.tokens - setting.config.num_protected) // 2)
    return functools.partial(jax.lax.top_k, k=piece.r), (setting.draw_positive(num_sources),)


def _make_merging(setting: Setting, piece: Piece) -> tuple[Any, ...]:
    tokens = _draw_tokens(setting, piece)
    match, _ = _make_matching(setting, piece)
    plan = jax.jit(match)(tokens)
    form: Any = piece.kind.removeprefix("merging, ") if "," in piece.kind else "auto"
    merge = functools.partial(ops.merge_tokens, form=form)
    return merge, (ops.init_merge_state(tokens), plan, setting.draw_positive(piece.tokens))


def _make_module(module: Any, setting: Setting, piece: Piece) -> tuple[Any, ...]:
    tokens = _draw_tokens(setting, piece)
    return module.apply, (jax.jit(module.init)(jax.random.key(0), tokens), tokens)


def _make_mlp(setting: Setting, piece: Piece) -> tuple[Any, ...]:
    return _make_module(MLP(setting.config, setting.dtype, setting.dtype), setting, piece)


def _make_norm(setting: Setting, piece: Piece) -> tuple[Any, ...]:
    dtypes = {"dtype": setting.dtype, "param_dtype": setting.dtype}
    return _make_module(make_layer_norm(setting.config.norm_eps, **dtypes, name="norm"), setting, piece)


_MAKERS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "patches": _make_patches,
    "projections": _make_projections,
    "attention": _make_attention,
    "attention with saliency": functools.partial(_make_attention, with_saliency=True),
    "matching": _make_matching,
    "top-k": _make_top_k,
    "merging": _make_merging,
    **{f"merging, {form}": _make_merging for form in MERGE_FORMS},
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
        runs[piece] = make_piece(Setting(config), piece)
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
