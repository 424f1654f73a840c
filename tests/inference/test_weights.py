"""The writer's files are what the safetensors library reads, and one that can't be finished is not left behind."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from vidtldr_jax.inference.weights import write_safetensors

DTYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")


def entry(values):
    return values.shape, values.dtype, lambda: values


@settings(max_examples=40, deadline=None)
@given(
    shapes=st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12),
        st.tuples(st.lists(st.integers(0, 4), max_size=3), st.sampled_from(DTYPES)),
        min_size=1,
        max_size=5,
    )
)
def test_the_library_reads_what_was_written(tmp_path_factory, shapes):
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    rng = np.random.default_rng(0)
    shapes = {name: value for name, value in shapes.items() if name != "__metadata__"}
    arrays = {name: (9 * rng.standard_normal(shape)).astype(dtype) for name, (shape, dtype) in shapes.items()}
    write_safetensors(path, {name: entry(values) for name, values in arrays.items()})
    read = safetensors.numpy.load_file(path)
    assert read.keys() == arrays.keys()
    for name, values in arrays.items():
        assert read[name].dtype == values.dtype
        np.testing.assert_array_equal(read[name], values)


def test_bfloat16_turned_axes_and_alignment(tmp_path):
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    arrays = {"odd": np.zeros(3, np.int8), "half": np.ones((2, 2), ml_dtypes.bfloat16), "turned": turned}
    steps = []
    write_safetensors(
        tmp_path / "m.safetensors", {name: entry(values) for name, values in arrays.items()}, progress=steps.append
    )
    read = safetensors.numpy.load_file(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(read["turned"], turned)
    np.testing.assert_array_equal(read["half"].astype(np.float32), np.ones((2, 2)))
    body = (tmp_path / "m.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", body[:8])
    header = json.loads(body[8 : 8 + length])
    assert length % 8 == 0
    assert header["turned"]["data_offsets"][0] % 4 == header["half"]["data_offsets"][0] % 2 == 0
    assert steps == [24, 32, 35]


def test_arrays_are_asked_for_one_at_a_time(tmp_path):
    asked = []

    def read(number):
        asked.append(number)
        return np.full(4, number, np.float32)

    entries = {f"a{n}": ((4,), np.dtype("float32"), lambda n=n: read(n)) for n in range(3)}
    write_safetensors(tmp_path / "m.safetensors", entries)
    assert asked == [0, 1, 2]


@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        (((4,), np.dtype("float32"), lambda: np.zeros(5, np.float32)), ValueError, "b was declared as float32"),
        (((4,), np.dtype("float32"), lambda: np.zeros(4, np.float64)), ValueError, "float64"),
        (((4,), np.dtype("float32"), lambda: 1 / 0), ZeroDivisionError, "division"),
    ],
)
def test_a_file_that_can_not_be_finished_is_not_left_behind(tmp_path, broken, error, message):
    entries = {"a": entry(np.zeros(3, np.float32)), "b": broken}
    with pytest.raises(error, match=message):
        write_safetensors(tmp_path / "m.safetensors", entries)
    assert not list(tmp_path.iterdir())


def test_a_dtype_without_a_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"dtypes are float64, .*'b': 'complex64'.*cast them first"):
        write_safetensors(tmp_path / "m.safetensors", {"b": entry(np.zeros(2, np.complex64))})
