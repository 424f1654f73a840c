"""--method: in every command that takes a schedule, in what it prints, and in what it refuses."""

import json

import pytest

from vidtldr_jax.cli.main import cli
from vidtldr_jax.reduction import METHODS


def list_commands(group, words=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from list_commands(command, (*words, name))
        else:
            yield (*words, name), command


def test_whoever_takes_a_schedule_takes_a_method():
    faults = [
        " ".join(words)
        for words, command in list_commands(cli)
        for names in [{option for parameter in command.params for option in parameter.opts}]
        if "--schedule" in names and "--method" not in names
    ]
    assert faults == []


@pytest.mark.parametrize("method", ["vidtldr", "tome_mean_keys", "evit", "rlt"])
def test_info_counts_what_a_method_costs(call, method):
    result = call("info", "moving-objects", "--schedule", "100,40", "--method", method, "--json")
    told = json.loads(result.stdout)
    assert told["schedule"]["method"] == method
    assert told["schedule"]["tokens"][-1] == 148
    matching = {"vidtldr": (144**2 + 94**2) * 96, "tome_mean_keys": (144**2 + 94**2) * 32, "evit": 0, "rlt": 0}
    assert told["macs_by_part"]["matching"] == matching[method]


def test_a_method_is_told_beside_its_schedule(call):
    result = call("info", "moving-objects", "--schedule", "200", "--method", "evit")
    assert "evit; r = 200: 288 -> 88 tokens over 4 layers" in result.stdout
    assert "clamped" in call("info", "moving-objects", "--schedule", "200").stdout


def test_an_unknown_method_is_a_usage_error_that_names_the_nearest(call):
    result = call("info", "moving-objects", "--method", "evti")
    assert result.exit_code == 2
    assert f"methods are {', '.join(METHODS)}; got 'evti'; did you mean 'evit'?" in " ".join(result.stderr.split())


def test_a_clip_is_classified_by_another_method(call):
    from vidtldr_jax.cli.demo import find_demo_clip

    result = call("classify", find_demo_clip(), "--schedule", "100,40", "--method", "random_drop", "--json")
    told = json.loads(result.stdout)
    assert told["schedule"]["method"] == "random_drop"
    assert told["schedule"]["tokens"][-1] == 148
