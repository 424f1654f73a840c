"""Whatever Scenic raises of a config ends a run in one line that names the field's reader. No Scenic."""

import logging
import types

import flax
import ml_collections
import pytest

from vidtldr_jax.scenic_adapter.one_line import end_in_one_line

# Stands in for a file of Scenic that reads a config.
READER = """
def get_rate(config):
    assert config.get("steps", 1), "steps must be given"
    return config.lr_configs.base_learning_rate
"""


@pytest.fixture
def reader(tmp_path):
    module = types.ModuleType("scenic.train_lib.lr_schedules")
    file = tmp_path / "lr_schedules.py"
    file.write_text(READER)
    exec(compile(READER, str(file), "exec"), vars(module))
    return module


@pytest.mark.parametrize(
    ("fields", "line", "message"),
    [
        ({}, 4, "AttributeError \"'lr_configs'\" at"),
        ({"steps": 0}, 3, "AssertionError steps must be given at"),
        ({"lr_configs": 3}, 4, "AttributeError 'int' object has no attribute 'base_learning_rate' at"),
        ({"lr_configs": {"rate": 1}}, 4, "base_learning_rate"),
    ],
)
def test_a_field_that_does_not_do_is_one_line_with_the_place_that_reads_it(reader, caplog, fields, line, message):
    with (
        caplog.at_level(logging.DEBUG, logger="vidtldr_jax"),
        pytest.raises(SystemExit) as error,
        end_in_one_line(),
    ):
        reader.get_rate(ml_collections.ConfigDict(fields))
    said = str(error.value)
    assert said.startswith("error: Scenic runs a complete config; got ")
    assert message in said
    source = READER.splitlines()[line - 1].strip()
    assert f"lr_schedules.py:{line} ({source}); fix the field" in said
    assert "\n" not in said
    assert caplog.records[0].exc_info is not None


def test_our_own_faults_are_said_as_they_are_and_others_raised():
    with pytest.raises(SystemExit, match=r"^error: a field has one value; got two; fix it$"), end_in_one_line():
        raise ValueError("a field has one value;\n got two; fix it")
    with pytest.raises(SystemExit, match=r"generate shape \(3, 5\)"), end_in_one_line():
        raise flax.errors.ScopeParamShapeError("kernel", "/head", (3, 4), (3, 5))
    for fault in (MemoryError, TypeError, AssertionError):  # not of Scenic: a defect
        with pytest.raises(fault), end_in_one_line():
            raise fault
