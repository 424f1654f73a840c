"""Costs that are read from a compiler and added up; the run itself where libtpu is installed."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import pytest

from benchmarks import tpu_parts
from benchmarks.tpu_programs import Layer, list_layers
from scripts.tables.tpu import make_tpu_models_table, make_tpu_parts_table
from vidtldr_jax.ops.attention_blocks import attend_all_heads


def test_joins_of_prefetches_take_no_time():
    cost = tpu_parts.read_cost({"flops": 8.0, "bytes accessed": 4.0, "optimal_seconds": -4.75})
    assert cost == {"flops": 8.0, "bytes": 4.0, "seconds": 0.25}
    assert tpu_parts.read_cost({"optimal_seconds": 0.25})["seconds"] == 0.25


def test_equal_layers_of_a_schedule_are_one():
    assert list_layers(10, (3, 2, 0, 0)) == {Layer(10, 3, False): 1, Layer(7, 2, True): 1, Layer(5, 0, True): 2}
    assert list_layers(10, (0, 0, 0)) == {Layer(10, 0, False): 3}


def test_a_loop_with_its_repeats_costs_what_one_large_block_costs():
    key = jnp.ones((1, 512, 2, 32))

    def count(num_rows, block_size):
        query = jnp.ones((1, num_rows, 2, 32))
        attend = jax.jit(lambda q, k: attend_all_heads(q, k, k, None, with_sharpness=True, block_size=block_size))
        return tpu_parts.read_cost(attend.lower(query, key).compile().cost_analysis())

    loop, block, whole = count(512, 64), count(64, 64), count(512, 512)
    assert loop["flops"] < whole["flops"] / 4  # the loop's body is counted once
    assert tpu_parts.add_repeats(loop, block, 8)["flops"] == pytest.approx(whole["flops"], rel=0.02)


def test_a_model_is_the_sum_of_its_layers(monkeypatch):
    first, second, rest = Layer(64, 14, False), Layer(50, 10, True), Layer(40, 0, True)
    rows = [make_row("patch embedding", Layer(64, 0, False), 1)]
    rows += [make_row(part, layer, 10) for layer in (first, second, rest) for part in tpu_parts.list_parts(layer)]
    rows += [make_row(part, first, 1000, batch=8) for part in tpu_parts.ATTENTION]
    rows += [make_row(part, Layer(64, 0, False), 10) for part in ("projections", *tpu_parts.ATTENTION, "MLP")]
    models = tpu_parts.sum_models(rows, "TPU v5e", "12 x 224 x 224", is_smoke=True)
    # Three layers of projections, attention and MLP; match and merge in two of the merged model's.
    assert [model["flops"] for model in models] == [91, 91, 131, 131, 131, 131]


def make_row(part, layer, flops, batch=1):
    where = {"device": "TPU v5e", "clip": "12 x 224 x 224", "part": part, "batch": batch}
    return {**where, **layer._asdict(), "flops": flops, "bytes": 0.0, "seconds": 0.0}


@pytest.mark.once
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_a_smoke_run_compiles_every_part(capfd):
    tpu_parts.main(["--smoke"])
    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    parts = {row["part"] for row in result["rows"]}
    assert parts == {"patch embedding", *tpu_parts.list_parts(Layer(64, 1, False))}
    assert all(row["bytes"] > 0 for row in result["rows"])
    assert len(result["models"]) == 12
    assert "python benchmarks/tpu_parts.py" in make_tpu_parts_table(result)
    assert make_tpu_models_table(result).count("| plain |") == 4
