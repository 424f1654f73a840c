"""Parts add up from pieces, and what is left over is the rest."""

from collections import Counter

import pytest

from benchmarks.floor import Piece, list_pieces, sum_parts
from benchmarks.models import choose_config
from vidtldr_jax.inference.timing import Times
from vidtldr_jax.reduction.schedule import resolve_schedule


def test_pieces_have_the_shapes_of_the_layers():
    config = choose_config("", is_smoke=True)
    schedule = resolve_schedule("16,5", num_tokens=config.num_tokens, num_layers=config.depth)
    parts = list_pieces(config, schedule)
    first, second, third = (Piece("attention", n, use_size=use) for n, use in ((64, False), (48, True), (43, True)))
    assert parts["attention"] == Counter([first, second, third])
    saliency = [piece._replace(kind="attention with saliency") for piece in (first, second)]
    assert dict(parts["saliency"]) == dict.fromkeys(saliency, 1) | dict.fromkeys([first, second], -1)
    assert parts["merging"] == Counter([Piece("merging", 64, 16), Piece("merging", 48, 5)])
    assert parts["mlp"] == Counter({Piece("mlp", 48): 1, Piece("mlp", 43): 2})
    assert parts["norms"].total() == 2 * config.depth + config.final_norm


def test_counts_and_signs_are_kept_and_medians_are_taken_over_rounds():
    with_it, without = Piece("attention with saliency", 9), Piece("attention", 9)
    parts = {"attention": Counter({without: 2}), "saliency": Counter({with_it: 1, without: -1}), "merging": Counter()}
    times = {
        "whole": Times((10.0, 20.0, 12.0), (1.0, 1.0, 1.0)),
        with_it: Times((4.0, 9.0, 5.0), (0.5, 0.5, 0.5)),
        without: Times((3.0, 3.0, 4.0), (0.25, 0.25, 0.25)),
    }
    summed = sum_parts(parts, times, "whole")
    assert {name: part["seconds"] for name, part in summed.items()} == {
        "attention": 6.0, "saliency": 1.0, "merging": 0.0, "rest": 3.0, "whole": 12.0,
    }  # fmt: skip
    assert summed["rest"]["cpu_seconds"] == pytest.approx(0.25)
