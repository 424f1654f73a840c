"""Wherever a name out of a list is expected, a wrong one is answered with the nearest, in one line."""

import dataclasses
from pathlib import Path

import click
import pytest

from tests.cli.conftest import LABELS
from tests.cli.test_main import COMMANDS, ROOT, assert_one_error
from tests.reference.files import find_golden
from vidtldr_jax.cli.choices import NameType

# Words in a metavar that stand for a name out of a list.
NAMES = ("NAME", "PRESET")
PARAMETERS = [
    (command, param)
    for command, known in sorted(COMMANDS.items())
    for param in known.params
    if isinstance(param.type, (click.Choice, NameType)) or any(word in (param.metavar or "") for word in NAMES)
]
OPTIONS = [
    (command, option)
    for command, known in sorted(COMMANDS.items())
    for param in known.params
    for option in (*param.opts, *param.secondary_opts)
    if option.startswith("--")
]


def list_names(kind):
    """All names that a type knows; a type that knows none gives no hint either."""
    return [str(name) for name in (kind.choices if isinstance(kind, click.Choice) else getattr(kind, "names", ()))]


@pytest.mark.parametrize(("command", "param"), PARAMETERS, ids=lambda value: getattr(value, "name", value))
def test_a_wrong_name_is_answered_with_the_nearest(call, command, param):
    names = list_names(param.type)
    assert names, "take ChoiceType, or a NameType with its names"
    for name in (names[0], names[-1]):
        words = [f"{name}x"] if isinstance(param, click.Argument) else [param.opts[-1], f"{name}x"]
        result = call(*command.split(), *words)
        assert_one_error(result, "did you mean ", exit_code=1 if "model" in param.name or param.name == "preset" else 2)
        assert f"did you mean {name!r}?" in result.stderr


def test_the_walk_meets_what_it_is_for():
    met = {(command, param.opts[-1]) for command, param in PARAMETERS}
    assert {("classify", "--dtype"), ("plan", "--preset"), ("embed", "--method"), ("convert", "--family")} <= met
    assert {("info", "model"), ("evaluate classification", "--crops"), ("search", "--model")} <= met
    assert len(OPTIONS) > 150


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_wrong_option_is_answered_with_the_nearest(call, command):
    for option in [option for name, option in OPTIONS if name == command]:
        result = call(*command.split(), f"{option}x")
        assert_one_error(result, f"there is no option '{option}x'; did you mean '{option}'?", exit_code=2)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_wrong_command_is_answered_with_the_nearest(call, command):
    *group, name = command.split()
    assert_one_error(call(*group, f"{name}x"), f"did you mean {name!r}?", exit_code=2)


def test_an_option_that_resembles_none_is_refused_alone(call):
    assert_one_error(call("info", "--qqqqqq"), "there is no option '--qqqqqq'. (see cli info --help)", exit_code=2)


def test_a_choice_that_resembles_none_is_answered_with_all(call):
    result = call("classify", "x.mp4", "--dtype", "qqq")
    assert_one_error(result, "it is one of float32, bfloat16; got 'qqq'; take one of them.", exit_code=2)


def test_every_field_of_a_recipe_is_the_nearest_to_its_misspelling():
    recipe = pytest.importorskip("vidtldr_jax.train").Recipe
    for field in dataclasses.fields(recipe):
        with pytest.raises(ValueError, match=f"unknown field '{field.name}x' .did you mean '{field.name}'"):
            recipe.from_dict({f"{field.name}x": 1})


def test_a_wrong_fact_of_a_source_is_answered_with_the_nearest(call):
    for setting in ("headsx=4", "framesx=4", "meanx=0.5", "labelsx=a"):
        name = setting.split("x")[0]
        assert_one_error(call("info", find_golden("cls_umt.pth"), "--set", setting), f"(nearest: {name})")


def test_a_config_that_does_not_exist_is_answered_with_the_nearest_file(call):
    place = Path(ROOT) / "configs" / "retreival.py"
    result = call("evaluate", "retrieval", "--config", f"{place}:msrvtt,b16")
    assert_one_error(result, f"there is no {str(place)!r}; did you mean {str(place.with_name('retrieval.py'))!r}?")
    result = call("evaluate", "retrieval", "--config", "nowhere/mine.py")
    assert_one_error(result, "there is no 'nowhere/mine.py'; check it.")


def test_a_label_that_is_no_class_is_answered_with_the_nearest(call, model, clip, tmp_path):
    (tmp_path / "clips.csv").write_text(f"path,label\n{clip},{LABELS[0]}x\n")
    result = call("evaluate", "classification", "--model", model, "--manifest", "clips.csv")
    assert_one_error(result, f"no class (nearest: {LABELS[0]!r})")
