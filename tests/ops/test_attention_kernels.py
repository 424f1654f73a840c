"""The Pallas kernels, run as plain JAX and lowered for the devices that they are for; and which form runs where."""

import contextlib
import functools
import itertools
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import PartitionSpec

from tests.reference import oracle
from tests.reference.inputs import make_qkv, make_size
from vidtldr_jax import ops
from vidtldr_jax.ops import attention_forms
from vidtldr_jax.ops.attention_blocks import attend_all_heads
from vidtldr_jax.ops.attention_forms import choose_form, get_form, split_exactly
from vidtldr_jax.ops.attention_mosaic import attend_mosaic, count_attend, count_sharpness, divide_tokens
from vidtldr_jax.ops.attention_trial import is_usable
from vidtldr_jax.ops.attention_triton import attend_triton

# Float32 sums of a dozen products of about 1, over a hundred tokens.
TOLERANCE = 1e-5
# A TPU's memory as it is: what nobody wrote is not a number.
STRICT = pltpu.InterpretParams(uninitialized_memory="nan")
KERNELS = {
    "triton": functools.partial(attend_triton, block_size=16, interpret=True),
    "mosaic": functools.partial(attend_mosaic, block_size=128, interpret=True),
    "mosaic, memory not written": functools.partial(attend_mosaic, block_size=128, interpret=STRICT),
}


def make_inputs(shape, sized=True, scale=1.0, dtype=jnp.float32):
    query, key, value = (jnp.asarray(array, dtype) for array in make_qkv(shape))
    return query * scale, key, value, jnp.asarray(make_size(shape[:2])) if sized else None


def find_sharpness(query, key):
    attention = oracle.attention_map(np.asarray(query, np.float64), np.asarray(key, np.float64)).mean(1)
    return np.where(attention > 0, attention * np.log(np.where(attention > 0, attention, 1)), 0).sum(-1)


def run(kernel, inputs, **options):
    return jax.jit(functools.partial(KERNELS[kernel], with_sharpness=True, **options))(*inputs)


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize(
    "shape", [(2, 150, 3, 8), (1, 128, 2, 16), (1, 5, 1, 4)], ids=["tiles not full", "tiles full", "few tokens"]
)
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_equals_the_oracle(kernel, shape, sized):
    inputs = make_inputs(shape, sized)
    update, sharpness = run(kernel, inputs)
    exact = [None if array is None else np.asarray(array, np.float64) for array in inputs]
    np.testing.assert_allclose(update, oracle.attend(*exact), atol=TOLERANCE)
    np.testing.assert_allclose(sharpness, find_sharpness(*inputs[:2]), atol=TOLERANCE)
    alone, nothing = KERNELS[kernel](*inputs, with_sharpness=False)
    assert nothing is None
    np.testing.assert_allclose(alone, update, atol=TOLERANCE)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_takes_logits_of_hundreds(kernel):
    # The running maximum changes from tile to tile, and most of the map is 0.
    inputs = make_inputs((1, 150, 2, 8), scale=300.0)
    update, sharpness = run(kernel, inputs)
    exact = [np.asarray(array, np.float64) for array in inputs]
    np.testing.assert_allclose(update, oracle.attend(*exact), atol=5e-4)  # logits of 1000 have 1e-4 to spare
    np.testing.assert_allclose(sharpness, find_sharpness(*inputs[:2]), atol=5e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_keys_that_all_point_away_are_not_outshone_by_the_padding(kernel):
    # Every logit is below -200; a padded key of zeros would have logit 0.
    query = jnp.full((1, 150, 1, 4), 20.0)
    key = -jnp.full((1, 150, 1, 4), 6.0) * jnp.linspace(1, 1.05, 150)[None, :, None, None]
    value = jnp.asarray(make_qkv((1, 150, 1, 4))[2])
    update, sharpness = run(kernel, (query, key, value, None))
    exact = [np.asarray(array, np.float64) for array in (query, key, value)]
    np.testing.assert_allclose(update, oracle.attend(*exact, None), atol=1e-4)
    np.testing.assert_allclose(sharpness, find_sharpness(query, key), atol=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_bfloat16_sums_in_float32(kernel):
    inputs = make_inputs((1, 150, 2, 16), dtype=jnp.bfloat16)
    update, sharpness = run(kernel, inputs)
    assert (update.dtype, sharpness.dtype) == (jnp.bfloat16, jnp.float32)
    # Products of bfloat16 are exact in float32, so the map is as good as in float32.
    np.testing.assert_allclose(sharpness, find_sharpness(*inputs[:2]), atol=TOLERANCE)
    exact = [np.asarray(array, np.float64) for array in inputs]
    np.testing.assert_allclose(np.asarray(update, np.float64), oracle.attend(*exact), atol=0.02)


def count_fetches(grid, block, place):
    """Counts bytes by walking a grid: a block moves when its place is another one than a step before."""
    moved, before = 0, None
    for step in itertools.product(*map(range, grid)):
        if place(*step) != before:
            moved, before = moved + int(np.prod(block)), place(*step)
    return moved


def test_the_declared_cost_of_the_tpu_kernels_is_what_a_walk_over_their_grids_counts():
    batch, heads, tiles, tile, channels = 2, 3, 4, 128, 64
    sides = {"sides": (batch, heads, tiles, tile), "channels": channels, "itemsize": 2}
    vector, row = (tile, 128, 2), (tile, 128, 4)  # both are padded to 128 lanes
    grid = (batch, heads, tiles, tiles)
    first = count_attend(**sides)
    moved = count_fetches(grid, vector, lambda b, h, q, k: (b, h, q)) * 2  # queries in, the update out
    moved += count_fetches(grid, vector, lambda b, h, q, k: (b, h, k)) * 2  # keys and values
    moved += count_fetches(grid, (tile, 4), lambda b, h, q, k: (b, k))
    moved += count_fetches(grid, row, lambda b, h, q, k: (b, h, q)) * 2
    assert first.bytes_accessed == moved
    steps = int(np.prod(grid))
    assert first.flops == steps * 2 * (2 * tile * tile * channels)
    assert first.transcendentals == steps * (tile * tile + tile)

    second = count_sharpness(**sides)
    grid = (batch, tiles, tiles, heads)
    moved = count_fetches(grid, vector, lambda b, q, k, h: (b, h, q)) + count_fetches(grid, vector, lambda *step: step)
    moved += count_fetches(grid, row, lambda b, q, k, h: (b, h, q)) * 2
    moved += count_fetches(grid, row, lambda b, q, k, h: (b, q))
    assert second.bytes_accessed == moved
    assert second.flops == steps * 2 * tile * tile * channels
    assert second.transcendentals == steps * tile * tile + batch * tiles * tiles * tile * tile


@pytest.mark.parametrize(
    ("num_tokens", "tiles"), [(5, (1, 128)), (1024, (1, 1024)), (1025, (2, 640)), (2352, (3, 896)), (4608, (5, 1024))]
)
def test_tiles_of_the_tpu_kernel_are_balanced_multiples_of_128(num_tokens, tiles):
    assert divide_tokens(num_tokens) == tiles
    assert divide_tokens(num_tokens, 256) == (-(-num_tokens // 256), 256)


def trace_shapes(dtype):
    return [jax.ShapeDtypeStruct((1, 2352, 12, 64), dtype)] * 3 + [jax.ShapeDtypeStruct((1, 2352), jnp.float32)]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_the_tpu_kernel_lowers_for_a_tpu_and_makes_no_map(dtype):
    function = jax.jit(functools.partial(attend_mosaic, with_sharpness=True))
    module = export.export(function, platforms=["tpu"])(*trace_shapes(dtype)).mlir_module()
    assert module.count("stablehlo.custom_call @tpu_custom_call") == 2
    assert "2352x2352" not in module
    assert "2688x2688" not in module


def test_the_tpu_kernel_lowers_where_shard_map_checks_what_varies():
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("clips",))
    split = PartitionSpec("clips")
    attend = jax.shard_map(
        functools.partial(attend_mosaic, with_sharpness=True), mesh=mesh, in_specs=split, out_specs=split
    )
    assert jax.jit(attend).trace(*trace_shapes(jnp.float32)).lower(lowering_platforms=("tpu",)).as_text()


# From 0.12 on JAX announces that it will drop Triton; then another form runs (see the test below).
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_the_gpu_kernel_lowers_to_triton_and_makes_no_map(dtype):
    function = jax.jit(functools.partial(attend_triton, with_sharpness=True))
    # Its calls carry no promise for other versions, which a test does not need.
    names = ("__gpu$xla.gpu.triton", "triton_kernel_call", "triton_kernel_call_ffi")
    unchecked = [export.DisabledSafetyCheck.custom_call(name) for name in names]
    lower = functools.partial(export.export(function, platforms=["cuda"], disabled_checks=unchecked))
    with pretend_gpu():
        module = lower(*trace_shapes(dtype)).mlir_module()
    assert sum(module.count(f"custom_call @{name}(") for name in names) == 2
    assert "2352x2352" not in module
    assert "2368x2368" not in module


def pretend_gpu():
    """Names a GPU to lower for, which JAX from 0.12 on asks for; old versions have no such name."""
    if not hasattr(jax.sharding, "AbstractDevice"):
        return contextlib.nullcontext()
    device = jax.sharding.AbstractDevice(device_kind="NVIDIA A100-SXM4-40GB", num_cores=None, platform="gpu")
    mesh = jax.sharding.AbstractMesh((), (), abstract_device=device)
    return jax.sharding.use_abstract_mesh(mesh)


def test_sizes_in_extra_channels_are_exact_in_bfloat16():
    logs = jnp.log(jnp.asarray(make_size((1, 500)) * 100, jnp.float32)) * 8.0
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        parts = jax.jit(split_exactly, static_argnums=1)(logs, jnp.dtype(dtype).name)
        np.testing.assert_array_equal(parts, parts.astype(dtype).astype(jnp.float32))
        # A last part of float16 may be too small for it.
        np.testing.assert_allclose(parts.sum(-1), logs, rtol=2e-6 if dtype == jnp.float16 else 2e-7)


def choose_on(backend, monkeypatch, form="auto", usable=("kernel", "fused"), **case):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(attention_forms, "is_usable", lambda form, *case: form in usable)
    return choose_form(form, **{"num_tokens": 2352, "channels": 64, "dtype": jnp.bfloat16, **case})


def test_each_platform_has_its_form(monkeypatch):
    choose = functools.partial(choose_on, monkeypatch=monkeypatch)
    assert choose("cpu") == choose("cpu", with_saliency=True) == "by_head"
    assert choose("cpu", num_tokens=16, num_sequences=196) == "blocked"
    assert choose("cpu", num_tokens=16, num_sequences=63) == choose("cpu", num_sequences=196) == "by_head"
    assert choose("tpu") == choose("tpu", with_saliency=True) == "blocked"
    assert choose("gpu") == "fused"
    assert choose("gpu", with_saliency=True) == "kernel"
    assert choose("gpu", dtype=jnp.float32) == "kernel"  # cuDNN takes 16 bits only
    assert choose("gpu", channels=128) == "kernel"  # with the sizes' channels a head is too wide for cuDNN
    assert choose("gpu", num_tokens=128) == "blocked"  # one block is the whole map
    assert choose("gpu", usable=()) == choose("gpu", usable=(), with_saliency=True) == "blocked"
    assert choose("gpu", usable=("kernel",)) == "kernel"
    assert choose("gpu", usable=("fused",), with_saliency=True) == "fused"  # a JAX without Triton
    assert choose("gpu", usable=("fused",), with_saliency=True, dtype=jnp.float32) == "blocked"
    assert choose("gpu", usable=("fused",), with_saliency=True, channels=128) == "blocked"


def test_a_form_that_is_named_runs_everywhere(monkeypatch):
    for backend in ("cpu", "gpu", "tpu"):
        for form in ("by_head", "blocked", "kernel", "fused", "dense"):
            assert choose_on(backend, monkeypatch, form=form, with_saliency=True) == form
            assert choose_on(backend, monkeypatch, form=form) == form


@pytest.fixture
def fresh_trials():
    is_usable.cache_clear()
    yield
    is_usable.cache_clear()


@pytest.mark.parametrize("form", ["kernel", "fused"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_form_that_works_passes_its_trial_even_while_a_model_is_traced(form, dtype, fresh_trials):
    found = []
    jax.make_jaxpr(lambda x: found.append(is_usable(form, get_form(form), dtype, 8)) or x)(1.0)
    assert found == [True]


def test_a_kernel_that_does_not_compile_is_not_used(fresh_trials):
    def fail(*args, **kwargs):
        raise NotImplementedError("no such instruction\nand more")

    message = (
        "kernel attention in float32 can't be used on this device (NotImplementedError: no such instruction); "
        "another form runs instead."
    )
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        assert not is_usable("kernel", fail, "float32", 8)


def test_a_jax_without_triton_takes_no_kernel(monkeypatch, fresh_trials):
    monkeypatch.setitem(sys.modules, "jax.experimental.pallas.triton", None)
    monkeypatch.delattr("jax.experimental.pallas.triton", raising=False)
    with pytest.warns(UserWarning, match=r"in bfloat16 can't be used on this device \((Module|Import)"):
        assert not is_usable("kernel", get_form("kernel"), "bfloat16", 8)


@pytest.mark.parametrize("wrong", ["update", "sharpness"])
def test_a_kernel_that_gives_other_numbers_is_not_used(wrong, fresh_trials):
    def give_others(*inputs, **options):
        update, sharpness = attend_all_heads(*inputs, **options)
        return (update + 0.1, sharpness) if wrong == "update" else (update, sharpness * 1.1)

    with pytest.warns(UserWarning, match=r"its numbers are .* from those of the blocked form"):
        assert not is_usable("kernel", give_others, "float32", 8)


def test_a_kernel_that_gives_nan_is_not_used(fresh_trials):
    def give_nan(*inputs, **options):
        return jax.tree.map(lambda array: array * jnp.nan, attend_all_heads(*inputs, **options))

    with pytest.warns(UserWarning, match="its numbers are nan from"):
        assert not is_usable("kernel", give_nan, "float32", 8)


def test_a_kernel_maps_over_another_axis():
    inputs = [jnp.stack([array, array * 0.5]) for array in make_inputs((1, 20, 2, 4), sized=False)[:3]]
    attend = functools.partial(ops.attend, form="kernel", with_saliency=True)
    mapped = jax.vmap(attend)(*inputs)
    for number in range(2):
        one = attend(*(array[number] for array in inputs))
        np.testing.assert_allclose(mapped.update[number], one.update, atol=1e-6)
        np.testing.assert_allclose(mapped.saliency[number], one.saliency, atol=1e-6)
