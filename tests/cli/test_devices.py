"""--devices: how many there are is said where more are asked for. What several give is in tests/inference."""

import pytest


@pytest.mark.parametrize("command", ["classify", "benchmark"])
def test_more_devices_than_there_are_is_an_error(command, call, clip, model):
    words = [clip] if command == "classify" else ["--no-search"]
    result = call(command, *words, "--model", model, "--devices", 2)
    assert result.exit_code == 1
    assert "--devices is at most the number of devices, 1 (cpu); got 2; take fewer." in " ".join(result.output.split())
