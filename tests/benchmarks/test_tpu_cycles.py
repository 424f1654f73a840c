"""Cycles that are read from profiles and programs; the run itself where libtpu is installed."""

import importlib.util
import json

import pytest

from benchmarks import tpu_cycles
from scripts.tables.tpu import make_tpu_cycles_table

# Shortened from what libtpu writes.
ESTIMATE = """hlo_op_estimate {{
  hlo_op_name: "{name}"
  estimated_cycles: {cycles}
  num_equivalent_hlos: {times}
  dma_instruction_type: DMA_INSTRUCTION_TYPE_NONE
}}
"""
PROGRAM = """HloModule jit_attend, is_scheduled=true

%body.1 (arg: (s32[], f32[8])) -> (s32[], f32[8]) {
  %arg = (s32[], f32[8]{0:T(128)}) parameter(0)
  %exp_fusion.3 = f32[8]{0:T(128)S(1)} fusion(%arg), kind=kLoop, calls=%fused
  ROOT %tuple.9 = (s32[], f32[8]) tuple(%arg)
}

%condition (arg.1: (s32[], f32[8])) -> pred[] {
  ROOT %lt.0 = pred[] compare(%arg.1, %arg.1), direction=LT
}

ENTRY %main.4 (query.1: f32[8]) -> f32[8] {
  %copy.2 = f32[8]{0:T(128)} copy(%query.1)
  %while = (s32[], f32[8]) while(%tuple), condition=%condition, body=%body.1
  ROOT %pad.1 = f32[8]{0:T(128)} copy(%copy.2)
}
"""


def test_equal_operations_count_together(tmp_path):
    for name, cycles, times in (("copy.2", 100, 1), ("exp_fusion.3", 20, 3)):
        path = tmp_path / f"{name}_TPU v5 lite_static_llo_profile.textproto"
        path.write_text(ESTIMATE.format(name=name, cycles=cycles, times=times))
    assert tpu_cycles.read_profile(tmp_path) == {"copy.2": 100, "exp_fusion.3": 60}


def test_what_is_in_a_loop_runs_as_often_as_the_loop():
    assert tpu_cycles.find_loop_body(PROGRAM) == {"arg", "exp_fusion.3", "tuple.9"}
    assert tpu_cycles.count_blocked({"copy.2": 100, "exp_fusion.3": 60, "pad.1": 5}, PROGRAM, rounds=10) == 705
    assert tpu_cycles.find_loop_body(PROGRAM.replace(" while(", " call(")) == set()


def test_three_small_grids_give_the_cycles_of_a_large_one():
    def walk(heads, tiles, step=(70, 40), end=(9, 5)):
        update = sharpness = 0
        for _ in range(heads):
            for _ in range(tiles):
                update += tiles * step[0] + end[0]
        for _ in range(tiles * tiles):
            sharpness += heads * step[1] + end[1]
        return update, sharpness

    small = {grid: walk(*grid) for grid in tpu_cycles.SMALL_GRIDS}
    assert tpu_cycles.fit_kernel(small, num_heads=16, num_tiles=3) == walk(16, 3)


@pytest.mark.once
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_a_smoke_run_profiles_both_forms(capfd):
    tpu_cycles.main(["--smoke"])
    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    rows = result["rows"]
    assert "python benchmarks/tpu_cycles.py" in make_tpu_cycles_table(result)
    assert {(row["device"], row["form"]) for row in rows} == {
        (device, form) for device in tpu_cycles.TOPOLOGIES for form in ("blocked", "kernel")
    }
    assert all(row["cycles"] > 1000 for row in rows)
