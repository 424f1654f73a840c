"""How the picture of docs/profile.md is made of a trace and a compiled program."""

import gzip
import json

import jax
import numpy as np
import pytest
from PIL import Image

from benchmarks.profile_scopes import PARTS, draw, find_place, name_operations, read_trace, sum_places, take_shortest
from vidtldr_jax import ops

PROGRAM = """
%fused (a: f32[2]) -> f32[2] {
  ROOT %add.1 = f32[2]{0} add(%a, %a), metadata={op_name="jit(f)/encoder/block_0/add"}
}
ENTRY %main {
  %dot.7 = f32[2]{0} dot(%a, %b), lhs_contracting_dims={1}, metadata={op_name="jit(f)/block_3/mlp/fc1/dot" line=3}
  %while.2 = (f32[2]{0}, s32[]) while(%tuple.1), metadata={op_name="jit(f)/block_3/attn/attention/while"}
  copy.9 = f32[2]{0} copy(%a)
  ROOT %fusion.5 = f32[2]{0} fusion(%a), kind=kLoop, calls=%fused, metadata={op_name="jit(f)/block_3/match/reduce"}
}
"""


def test_operations_have_the_paths_of_the_program_and_loops_none():
    expected = {
        "add.1": "jit(f)/encoder/block_0/add",
        "dot.7": "jit(f)/block_3/mlp/fc1/dot",
        "while.2": None,
        "copy.9": "",
        "fusion.5": "jit(f)/block_3/match/reduce",
    }
    assert name_operations(PROGRAM) == expected


def test_a_loop_s_time_counts_once():
    operations = [("while.2", 9.0), ("dot.7", 2.0), ("dot.7", 1.0), ("fusion.5", 0.5), ("copy.9", 0.25), ("new", 0.25)]
    sums = sum_places(operations, name_operations(PROGRAM))
    assert sums == {"3": {"MLP": 3.0, "match": 0.5}, "": {"rest": 0.5}}


def test_the_shortest_round_of_each_part_counts():
    rounds = [{"0": {"MLP": 3.0, "match": 1.0}}, {"0": {"MLP": 2.0, "match": 4.0}}]
    assert take_shortest(rounds) == {"0": {"MLP": 2.0, "match": 1.0}}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("jit(f)/VideoViT/encoder/block_11/attn/attention/while/body/saliency/sub", ("11", "saliency")),
        ("jit(f)/VideoViT/encoder/block_0/attn/query/dot_general", ("0", "projections")),
        ("jit(f)/VideoViT/encoder/block_0/add", ("0", "rest")),
        ("jit(f)/VideoViT/patch_embed/bnc,cd->bnd/dot_general", ("", "patches")),
    ],
)
def test_the_innermost_scope_counts(path, place):
    assert find_place(path) == place


def test_a_trace_is_read_as_the_profiler_writes_it(tmp_path):
    function = jax.jit(lambda x: (x @ x).sum()).lower(np.ones((8, 8), np.float32)).compile()
    with jax.profiler.trace(str(tmp_path)):
        jax.block_until_ready(function(np.ones((8, 8), np.float32)))
    operations = read_trace(tmp_path)
    assert operations
    assert {operation for operation, _ in operations} <= name_operations(function.as_text()).keys()
    assert all(milliseconds >= 0 for _, milliseconds in operations)
    (path,) = tmp_path.glob("plugins/profile/*/*.trace.json.gz")
    events = [{"args": {"hlo_op": "dot.7"}, "dur": 1500}, {"args": {}, "dur": 3}, {}]
    path.write_bytes(gzip.compress(json.dumps({"traceEvents": events}).encode()))
    assert read_trace(tmp_path) == [("dot.7", 1.5)]
    path.write_bytes(gzip.compress(json.dumps({"traceEvents": events[1:]}).encode()))
    with pytest.raises(RuntimeError, match=r"names the operations that ran; got none in .*; use a newer jaxlib"):
        read_trace(tmp_path)


def test_every_scope_of_the_operators_is_a_part():
    tokens = np.random.default_rng(0).normal(size=(1, 8, 2, 4)).astype(np.float32)

    def step(tokens):
        update, saliency = ops.attend(tokens, tokens, tokens, None, with_saliency=True)
        state = ops.init_merge_state(update.reshape(1, 8, 8))
        return ops.merge_tokens(state, ops.match_tokens(state.tokens, r=2), saliency).tokens

    program = jax.jit(step).lower(tokens).compile().as_text()
    found = {find_place(path)[1] for path in name_operations(program).values() if path}
    assert found >= {"attention", "saliency", "match", "merge"}
    assert found - {"rest"} <= set(PARTS.values())


def test_a_picture_is_drawn_from_a_result(tmp_path):
    milliseconds = {"": {"patches": 1.0}, "0": {"attention": 2.0, "saliency": 0.5}, "1": {"MLP": 1.0}}
    models = {name: {"schedule": "4", "depth": 2, "milliseconds": milliseconds} for name in ("plain", "merged")}
    picture = np.asarray(Image.open(draw({"models": models}, tmp_path / "profile.png")).convert("RGB"))
    saliency_red = (picture == [0xC1, 0x12, 0x1F]).all(-1)
    assert saliency_red[:, : picture.shape[1] // 2].any()
    assert saliency_red[:, picture.shape[1] // 2 :].any()
