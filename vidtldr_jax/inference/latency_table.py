"""How long a schedule will take on this machine: pieces of the model are timed once, schedules are predicted from them.

    table = measure_latency(model, cache=folder)           # about two minutes for UMT-B on two cores; kept in `folder`
    table.predict(model.with_schedule("600,200,100").schedule)    # seconds of one run, without compiling it
    plan = plan_latency(model.config, table, max_seconds=1.2)

Timed are one plain block, one block that takes tokens out and one MLP at a few numbers of tokens, and the whole plain
model. A schedule's time is the plain model's, with each layer's own time in place of the plain block's. What all
schedules share (patches, heads, the start of a program) is in the plain model's time. Of several runs the lower
quartile counts: what else goes on can only make a run slower.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float

from vidtldr_jax import ops
from vidtldr_jax.inference.latency_cache import describe_place, read_table, write_table
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import Times, make_random_video, time_in_turn
from vidtldr_jax.models.architectures import Config
from vidtldr_jax.models.block import MLP, Block, make_layer_norm
from vidtldr_jax.models.config import EncoderConfig
from vidtldr_jax.models.umt_config import UMTConfig
from vidtldr_jax.reduction.methods import Method
from vidtldr_jax.reduction.planner import Plan, propose_schedules
from vidtldr_jax.reduction.schedule import ResolvedSchedule
from vidtldr_jax.trust.fields import is_count, is_finite

# Shares of the tokens at which pieces are timed; between them time is taken to be a straight line.
_SHARES: Final = (1.0, 0.7, 0.45, 0.25, 0.12, 0.05)
# Fewer take about as long.
_FEWEST_TOKENS: Final = 16
# Of the tokens that come to it, what the timed block takes out.
_SHARE_TAKEN: Final = 0.25
# Blocks with weights of their own that a piece runs through, so that it doesn't find its weights in the caches.
_NUM_WEIGHTS: Final = 3
_SECONDS_OF_RUNS: Final = 8.0
_FEWEST_RUNS: Final = 7
_MOST_RUNS: Final = 41


class Piece(NamedTuple):
    """A part of a model that is timed.

    Attributes:
      name: "block", all of a block that takes nothing out; "reducing", one that does; "mlp", its second half.
      tokens: that come in.
      taken: that a reducing one takes out.
    """

    name: str
    tokens: int
    taken: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatencyTable:
    """Times of pieces; what comes between is a straight line.

    Attributes:
      tokens: numbers of tokens of a sequence, ascending; the last is that of the plain model.
      block: seconds of a block that takes nothing out, for each of them.
      reducing: seconds of a block that takes tokens out, without its MLP.
      mlp: seconds of the MLP.
      plain: seconds of the plain model on one batch.
      early: seconds that a method before the first layer takes; 0 for others.
      spread: of the plain model's runs, the upper over the lower quartile; far above 1 where other programs ran.
    """

    tokens: tuple[int, ...]
    block: tuple[float, ...]
    reducing: tuple[float, ...]
    mlp: tuple[float, ...]
    plain: float
    early: float = 0.0
    spread: float = 1.0

    def predict(self, schedule: ResolvedSchedule) -> float:
        """Returns the seconds of one run.

        Args:
          schedule: resolved for clips of the size that the table is for.

        Returns:
          Seconds. Never more where more tokens go in the same layers.

        Raises:
          ValueError: the schedule is for clips of another size.
        """
        if schedule.tokens[0] != self.tokens[-1]:
            raise ValueError(
                f"the table is for sequences of {self.tokens[-1]} tokens; got a schedule for "
                f"{schedule.tokens[0]}; measure that size."
            )
        seconds = self.early if schedule.method.is_early and not schedule.is_plain else 0.0
        gain = 0.0
        for before, after in zip(schedule.attended, schedule.tokens[1:], strict=True):
            if after == before:
                own = self._look_up(self.block, before)
            else:
                own = self._look_up(self.reducing, before) + self._look_up(self.mlp, after)
            gain += self.block[-1] - own
        # Where plain blocks seem to take longer than the whole model, starting them one by one does.
        whole = len(schedule.r) * self.block[-1]
        return seconds + self.plain - gain * min(1.0, self.plain / whole)

    def _look_up(self, seconds: tuple[float, ...], tokens: int) -> float:
        return float(np.interp(tokens, self.tokens, seconds))

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> LatencyTable:
        """Builds a table from plain data.

        Args:
          fields: what `to_dict` returned.

        Returns:
          The table.

        Raises:
          ValueError: they are no such data.
        """
        if set(fields) != {field.name for field in dataclasses.fields(cls)} or not _is_table(fields):
            raise ValueError("a table has columns of one length and three numbers; got something else; measure anew.")
        values_by_name: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        return cls(**values_by_name)


def _is_table(fields: dict[str, Any]) -> bool:
    """Whether values are numbers from 0 on, and the columns of one length with ascending tokens."""
    columns = [fields[name] for name in ("tokens", "block", "reducing", "mlp")]
    if not all(isinstance(column, list) for column in columns):
        return False
    values = [fields["plain"], fields["early"], fields["spread"], *itertools.chain(*columns)]
    if not all(is_finite(value) and value >= 0 for value in values):
        return False
    tokens = columns[0]
    if len(tokens) < 2 or any(len(column) != len(tokens) for column in columns):
        return False
    return all(is_count(number, least=0) for number in tokens) and tokens == sorted(set(tokens))


def measure_latency(
    model: VideoModel,
    *,
    batch_size: int = 1,
    num_frames: int | None = None,
    method: Method | None = None,
    cache: Path | None = None,
    renew: bool = False,
    begin: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LatencyTable:
    """Times the pieces of a model on JAX's default device, or reads what was timed before.

    Args:
      model: whose times are wanted; its weights and schedule don't matter.
      batch_size: clips of a run.
      num_frames: of a clip; None means the config's.
      method: how tokens are chosen; None means the model's.
      cache: folder in which tables are kept, each with everything that times depend on; None keeps none. A file there
        that is damaged or of something else is measured anew.
      renew: time anew what the folder has.
      begin: called before anything is timed, and not where the folder has a table; what it raises is raised.
      progress: called with the number of pieces that are compiled and their total.

    Returns:
      A `LatencyTable`.

    Raises:
      ValueError: the model is spread over devices, can't be reduced, or the frames don't fit.
    """
    if model.mesh is not None:
        raise ValueError("the times of one device are measured; got a mesh; leave it out.")
    method = model.schedule.method if method is None else method
    frames = model.config.num_frames if num_frames is None else num_frames
    place = describe_place(model, batch_size=batch_size, num_frames=frames, method=method.name)
    if cache is not None and not renew:
        stored = read_table(cache, place)
        if stored is not None:
            try:
                return LatencyTable.from_dict(stored)
            except ValueError:
                pass
    begin()
    table = _measure(model.with_schedule(None, method=method), batch_size, frames, progress)
    if cache is not None:
        write_table(cache, place, table.to_dict())
    return table


def plan_latency(
    config: Config, table: LatencyTable, *, max_seconds: float, method: str | Method, num_frames: int | None = None
) -> Plan:
    """Proposes schedules that should take at most so long.

    Args:
      config: of the model that the table was measured on.
      table: times of its pieces.
      max_seconds: of one run.
      method: how tokens are chosen; the one that the table was measured with.
      num_frames: of the clips; None means the config's.

    Returns:
      A `Plan`; values are predicted seconds.

    Raises:
      ValueError: max_seconds is not above 0, or nothing is so fast; then the message says what is feasible.
    """
    if not max_seconds > 0:
        raise ValueError(f"max_seconds is a number above 0; got {max_seconds}; give another.")
    search = propose_schedules(config, table.predict, max_seconds, method=method, num_frames=num_frames)
    if not search.proposals and search.least.schedule.is_plain:
        raise ValueError(
            f"by prediction no schedule is faster than the plain model's {1000 * table.plain:.4g} ms on "
            f"this machine; got {1000 * max_seconds:.4g} ms; take a larger clip or batch, for which merging pays."
        )
    if not search.proposals:
        least, plain = 1000 * search.least.value, 1000 * search.plain.value
        raise ValueError(
            f"one run takes from {least:.4g} to {plain:.4g} ms on this machine{search.explain_limit()}; "
            f"got {1000 * max_seconds:.4g} ms; take more, a smaller batch, or fewer frames."
        )
    budget = f"at most {1000 * max_seconds:.4g} ms"
    return Plan(budget=budget, limit=max_seconds, proposals=search.proposals, plain=search.plain)


def list_pieces(config: EncoderConfig, num_tokens: int, method: Method) -> list[Piece]:
    """Lists what is timed for sequences of so many tokens, the fewest first."""
    counts = sorted({max(round(share * num_tokens), min(_FEWEST_TOKENS, num_tokens)) for share in _SHARES})
    pieces = []
    for tokens in counts:
        limit = 0 if method.is_early else method.find_limit(tokens - config.num_protected)[0]
        pieces += [Piece("block", tokens), Piece("mlp", tokens)]
        pieces += [Piece("reducing", tokens, min(limit, max(1, int(_SHARE_TAKEN * tokens))))] if limit else []
    return pieces


def _measure(model: VideoModel, batch_size: int, frames: int, progress: Callable[[int, int], None]) -> LatencyTable:
    full = model.config
    config: Any = full.vision if isinstance(full, UMTConfig) else full
    video = make_random_video(full, batch_size=batch_size, num_frames=frames)
    num_tokens = model.schedule_for(video.shape).tokens[0]
    num_sequences = batch_size * full.count_sequences(frames)
    method = model.schedule.method
    pieces = list_pieces(config, num_tokens, method)
    models = {"plain": model}
    if method.is_early:
        models["early"] = model.with_schedule(str(num_tokens // 4))
    runs: dict[Any, Callable[[], Any]] = {}
    total = len(pieces) + len(models)
    for name, one in models.items():
        runs[name] = functools.partial(one.get_encode_function(video.shape), one.weights, one.place_video(video))
        jax.block_until_ready(runs[name]())
        progress(len(runs), total)
    weights = _make_weights(config, model.dtype)
    for piece in pieces:
        runs[piece] = _prepare(piece, config, num_tokens, num_sequences, method, weights, model.dtype)
        jax.block_until_ready(runs[piece]())
        progress(len(runs), total)
    start = time.perf_counter()
    for run in runs.values():
        jax.block_until_ready(run())
    seconds = time.perf_counter() - start
    repeats = min(_MOST_RUNS, max(_FEWEST_RUNS, math.ceil(_SECONDS_OF_RUNS / seconds)))
    times = time_in_turn(runs, repeats=repeats, warm_up=0)
    table = _tabulate(pieces, times)
    if method.is_early:
        guess = table.predict(models["early"].schedule_for(video.shape))
        table = dataclasses.replace(table, early=max(0.0, times["early"].lower_quartile - guess))
    return table


def _tabulate(pieces: list[Piece], times: dict[Any, Times]) -> LatencyTable:
    """Makes a table of the times; where fewer tokens seem to take longer, they are taken to be as long."""
    found: dict[str, dict[int, float]] = {"block": {}, "reducing": {}, "mlp": {}}
    for piece in pieces:
        found[piece.name][piece.tokens] = times[piece].lower_quartile / _NUM_WEIGHTS
    tokens = sorted(found["block"])
    mlp = np.maximum.accumulate([found["mlp"][count] for count in tokens])
    for piece in pieces:
        if piece.name == "reducing":
            found["reducing"][piece.tokens] -= float(np.interp(piece.tokens - piece.taken, tokens, mlp))
    # Of a method that takes nothing out of a layer, or where there is nothing to take, as the block that takes nothing.
    reducing = [found["reducing"].get(count, found["block"][count]) for count in tokens]
    columns: dict[str, Any] = {
        "block": np.maximum.accumulate([found["block"][count] for count in tokens]),
        "reducing": np.maximum.accumulate(np.maximum(reducing, 0.0)),
        "mlp": mlp,
    }
    columns = {name: tuple(map(float, column)) for name, column in columns.items()}
    low, high = map(float, np.quantile(times["plain"].seconds, (0.25, 0.75)))
    return LatencyTable(tokens=tuple(tokens), plain=low, spread=high / low, **columns)


class _SecondHalf(nn.Module):
    """What of a block comes after the reduction."""

    config: EncoderConfig
    dtype: Any

    @nn.compact
    def __call__(self, tokens: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
        dtypes = {"dtype": self.dtype, "param_dtype": self.dtype}
        norm = make_layer_norm(self.config.norm_eps, name="norm2", **dtypes)
        return tokens + MLP(self.config, name="mlp", **dtypes)(norm(tokens))


def _make_weights(config: Any, dtype: Any) -> list[dict[str, Any]]:
    """Makes the variables of several blocks, which mean nothing; all pieces share them."""
    state = ops.init_merge_state(jax.numpy.zeros((1, 2, config.dim), dtype))
    shapes = jax.eval_shape(Block(config, dtype=dtype, param_dtype=dtype).init, jax.random.key(0), state)
    rng = np.random.default_rng(0)
    return [
        jax.tree.map(lambda leaf: jax.numpy.asarray(0.02 * rng.standard_normal(leaf.shape, np.float32), dtype), shapes)
        for _ in range(_NUM_WEIGHTS)
    ]


def _prepare(
    piece: Piece,
    config: Any,
    num_tokens: int,
    num_sequences: int,
    method: Method,
    weights: list[dict[str, Any]],
    dtype: Any,
) -> Callable[[], Any]:
    """Makes a piece ready to run."""
    module: nn.Module
    rng = np.random.default_rng(0)
    shape = (num_sequences, piece.tokens, config.dim)
    value: Any = jax.numpy.asarray(rng.standard_normal(shape, np.float32), dtype)
    if piece.name == "mlp":
        module = _SecondHalf(config, dtype)
        weights = [{"params": {name: one["params"][name] for name in ("norm2", "mlp")}} for one in weights]
    else:
        # With all tokens there, none stands for several.
        use_size = method.grows and piece.tokens < num_tokens
        module = Block(config, piece.taken, use_size, method, dtype=dtype, param_dtype=dtype)
        value = ops.init_merge_state(value)
    # What comes in is an argument, sizes too, or the compiler would know that they are 1.
    function = jax.jit(module.apply)

    def run() -> Any:
        # Each is waited for: blocks of a model can't run side by side.
        return [jax.block_until_ready(function(one, value)) for one in weights]

    return run
