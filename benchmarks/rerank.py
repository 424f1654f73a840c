"""How many pairs of a video and a text are looked at per second when search results are re-ranked (ITM)?

    python benchmarks/rerank.py          # writes results/rerank.json

UMT-B/16 for retrieval with random weights: 1452 video tokens (600,200,100 of 2352 absorbed), 32 text tokens, three
fusion layers. "each pair by itself" computes keys and values of the video for every pair, as the plain form does.
"keys and values once" computes them once for all texts of a video. "as used" does so too and takes no more of the last
layer than the first token, the only one that the head reads; it is timed with everything around it: projecting the
video, gathering texts, blocks of one size. Text encoding, once per text, is left out of all three.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Final

import jax
import numpy as np

from benchmarks import record
from benchmarks.models import MSRVTT, UMT_TOKENS, choose_umt_config
from vidtldr_jax.inference.text_model import RetrievalModel
from vidtldr_jax.inference.timing import make_random_model, time_in_turn
from vidtldr_jax.models.architectures import make_module
from vidtldr_jax.models.umt_config import UMTConfig
from vidtldr_jax.search.reranking import BLOCK_SIZE, TextFeatures, score_pairs

# With k = 128 a video is asked about by 128 texts of its own choice and by as many, on average, that chose it.
TEXTS: Final = 256
TEXT_TOKENS: Final = 32
PAIRS_AT_A_TIME: Final = 8  # of the plain form; its pairs share nothing, so that more at a time change little


def count_pair_gmacs(
    config: UMTConfig, video_tokens: int, text_tokens: int, *, shared_by: int, first_only: bool
) -> float:
    """Counts giga multiply-accumulates of one pair's products; the video is projected once for `shared_by` pairs."""
    dim, width, mlp = config.text.dim, config.vision.dim, config.text.mlp_dim
    layers = config.text.depth - config.text.num_text_layers
    project = 2 * video_tokens * width * dim / shared_by
    total = 0.0
    for layer in range(layers):
        rows = 1 if first_only and layer == layers - 1 else text_tokens
        own = 2 * text_tokens * dim * dim + 2 * rows * dim * dim + 2 * rows * text_tokens * dim
        cross = 2 * rows * dim * dim + 2 * rows * video_tokens * dim
        total += project + own + cross + 2 * rows * dim * mlp
    return total / 1e9


def run(config: UMTConfig, sizes: Sequence[int], repeats: int) -> dict[str, Any]:
    """Measures the three ways in turn and returns plain data."""
    video_tokens, text_tokens, num_texts, at_a_time = sizes
    model = make_random_model(config)
    assert isinstance(model, RetrievalModel)
    module = make_module(config)
    rng = np.random.default_rng(2)
    video = rng.standard_normal((1, video_tokens, config.vision.dim), np.float32)
    texts = rng.standard_normal((num_texts, text_tokens, config.text.dim), np.float32)
    mask = np.ones((num_texts, text_tokens), np.int32)
    match = jax.jit(lambda weights, *rest: module.apply({"params": weights}, *rest, method="match_pairs"))
    features = TextFeatures(texts, mask)
    block = min(BLOCK_SIZE, num_texts)

    def by_itself() -> Any:
        copies = np.broadcast_to(video, (at_a_time, *video.shape[1:]))
        return match(model.weights, copies, texts[:at_a_time], mask[:at_a_time])

    def once() -> Any:
        return match(model.weights, video, texts[:block], mask[:block])

    def as_used() -> Any:
        return next(score_pairs(model, lambda number: video[0], features, {0: range(num_texts)}))[1]

    _check_equal(np.asarray(by_itself()), np.asarray(once())[:at_a_time], as_used()[:at_a_time])
    pairs = {"each pair by itself": at_a_time, "keys and values once": block, "as used": num_texts}
    times = time_in_turn(dict(zip(pairs, (by_itself, once, as_used))), repeats=repeats)
    rows = []
    for name, count in pairs.items():
        shared = 1 if name == "each pair by itself" else count
        gmacs = count_pair_gmacs(config, video_tokens, text_tokens, shared_by=shared, first_only=name == "as used")
        rates = [count / seconds for seconds in times[name].seconds]
        rows.append(
            {
                "way": name,
                "pairs": count,
                "gmacs_per_pair": round(gmacs, 4),
                "pairs_per_second": round(statistics.median(rates), 2),
                "slowest": round(min(rates), 2),
                "fastest": round(max(rates), 2),
                "cpu_seconds_per_pair": round(times[name].cpu_median / count, 6),
            }
        )
    shape = {"video_tokens": video_tokens, "text_tokens": text_tokens, "block_size": BLOCK_SIZE}
    return {**shape, "dtype": "float32", "repeats": repeats, "rows": rows}


def _check_equal(*scores: np.ndarray) -> None:
    """Refuses to time ways that don't agree."""
    for other in scores[1:]:
        np.testing.assert_allclose(other, scores[0], atol=1e-3)


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    arguments = record.make_parser(__doc__, repeats=5).parse_args(words)
    config = choose_umt_config(is_smoke=arguments.smoke)
    left = UMT_TOKENS - sum(MSRVTT)
    sizes = (64, 8, 16, 4) if arguments.smoke else (left, TEXT_TOKENS, TEXTS, PAIRS_AT_A_TIME)
    repeats = 1 if arguments.smoke else arguments.repeats
    record.finish("rerank", run(config, sizes, repeats), is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
