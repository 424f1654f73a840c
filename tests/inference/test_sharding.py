"""A model over eight devices gives what it gives on one."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from jax.sharding import PartitionSpec

from tests.inference.test_model import CONFIG
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.inference.sharding import find_spec, make_mesh

ROOT = Path(__file__).resolve().parent.parent.parent
CASES = [f"{model_parallel} {scan}" for model_parallel in (1, 2) for scan in (False, True)]


@functools.cache
def run_on_eight_devices():
    command = [sys.executable, "-m", "tests.inference.eight_devices"]
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_eight_devices_give_what_one_gives(case):
    found = run_on_eight_devices()
    assert found["devices"] == 8
    case = found["cases"][case]
    # Products of another size sum in another order; merging weighs the difference.
    assert 0 <= case["apart"] < 5e-5
    assert 0 <= case["plain_apart"] < 5e-5
    assert case["same_sources"]
    assert case["same_params"]


@pytest.mark.parametrize("case", CASES)
def test_clips_and_parameters_are_really_split(case):
    model_parallel = int(case.split()[0])
    case = run_on_eight_devices()["cases"][case]
    assert case["devices_of_logits"] == 8
    assert case["clips_per_device"] == model_parallel
    assert case["mlp_dim_per_device"] == CONFIG.mlp_dim // model_parallel


@pytest.mark.parametrize("case", CASES)
def test_pixels_are_split_like_floats_and_stay_bytes(case):
    model_parallel = int(case.split()[0])
    case = run_on_eight_devices()["cases"][case]
    assert case["pixels_per_device"] == ["uint8", model_parallel, 4, 32, 32, 3]
    assert 0 <= case["pixels_apart"] < 5e-5


@pytest.mark.parametrize("case", CASES)
def test_devices_talk_only_to_add_the_parts_of_one_clip(case):
    talk = run_on_eight_devices()["cases"][case]["talk"]
    sums = talk.pop("all-reduce")
    assert set(talk.values()) == {0}
    assert (sums > 0) == case.startswith("2")


def test_each_dense_layer_is_split_on_one_side_and_the_rest_not_at_all():
    mesh = jax.sharding.AbstractMesh((4, 2), ("data", "model"))

    def spec(path, num_axes):
        return find_spec(path, num_axes, mesh)

    split = {path for path, shape in find_param_shapes(CONFIG).items() if spec(path, len(shape)) != PartitionSpec()}
    block = {path.removeprefix("encoder/block_0/") for path in split if path.startswith("encoder/block_0/")}
    dense = {"attn/query/kernel", "attn/query/bias", "attn/key/kernel", "attn/value/kernel", "attn/value/bias"}
    assert block == dense | {"attn/proj/kernel", "mlp/fc1/kernel", "mlp/fc1/bias", "mlp/fc2/kernel"}
    assert len(split) == CONFIG.depth * len(block)
    assert spec("encoder/block_0/mlp/fc1/kernel", 2) == PartitionSpec(None, "model")
    assert spec("encoder/block_0/mlp/fc2/kernel", 2) == PartitionSpec("model", None)
    assert spec("encoder/blocks/mlp/fc1/kernel", 3) == PartitionSpec(None, None, "model")
    assert spec("vision/encoder/blocks/attn/query/bias", 2) == PartitionSpec(None, "model")


def test_what_does_not_fit_the_devices_is_refused():
    assert run_on_eight_devices()["errors"] == {
        "batch": 'a batch is a multiple of the 8 devices along "data"; got 3 clips; '
        "fill it up by repeating some, and leave their results out.",
        "heads": 'heads are split evenly along the mesh\'s axis "model"; got 2 heads and 8 devices; '
        "take a divisor of the heads.",
        "devices": "model_parallel divides the number of devices, 8; got 3; take a divisor, or give fewer devices.",
        "axes": 'a mesh has the axis "data" and perhaps "model"; got (\'clips\',); make_mesh makes one.',
    }


def test_classify_on_eight_devices_says_what_it_says_on_one():
    found = run_on_eight_devices()["commands"]["classify"]
    one, eight = (found[devices] for devices in ("1", "8"))
    assert len(eight) == 5
    for before, after in zip(one, eight, strict=True):
        assert [p["label"] for p in before["predictions"]] == [p["label"] for p in after["predictions"]]
        expected, got = ([p["probability"] for p in side["predictions"]] for side in (before, after))
        assert got == pytest.approx(expected, abs=1e-4)


def test_texts_look_at_videos_on_eight_devices_as_on_one():
    found = run_on_eight_devices()["rerank"]
    assert len(found["apart"]) == 2
    assert max(found["apart"]) < 1e-5 < 1e-3 < found["spread"]


def test_benchmark_fills_a_batch_up_to_the_devices():
    found = run_on_eight_devices()["commands"]["benchmark"]
    assert (found["1"]["shape"][0], found["8"]["shape"][0]) == (3, 8)


def test_the_main_process_has_one_device():
    assert jax.device_count() == 1


@pytest.mark.parametrize("number", ["2", None, 1.5, True])
def test_a_mesh_is_made_for_a_whole_number(number):
    with pytest.raises(ValueError, match=f"^model_parallel is a whole number; got {number!r}; pass an int."):
        make_mesh(model_parallel=number)
