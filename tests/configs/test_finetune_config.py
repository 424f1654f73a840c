"""The recipes of configs/finetune.py: each is one that the command takes, and wrong words are answered."""

import importlib.util
from pathlib import Path

import pytest

from vidtldr_jax.train.recipe import Recipe

PATH = Path(__file__).resolve().parents[2] / "configs" / "finetune.py"


@pytest.fixture(scope="module")
def get_config():
    pytest.importorskip("ml_collections")
    spec = importlib.util.spec_from_file_location("a_config", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config


def read_recipe(get_config, arg):
    return Recipe.from_dict(get_config(arg).recipe.to_dict())


@pytest.mark.parametrize("name", ["full", "few", "probe"])
def test_every_recipe_is_one(get_config, name):
    plain, merged = read_recipe(get_config, name), read_recipe(get_config, f"{name},k5,merged")
    assert plain == Recipe.from_dict(merged.to_dict() | {"few": None, "schedule": "none"})
    assert (merged.few, merged.schedule) == (5, "0.25,0.11,0.06")
    assert plain.probe == (name == "probe")
    assert plain.is_random != plain.probe  # a probe encodes every video once
    assert not plain.mirror
    assert get_config(name).task == "finetune"


def test_without_an_argument_the_whole_model_is_trained_and_mirroring_is_asked_for(get_config):
    assert get_config() == get_config("full")
    assert read_recipe(get_config, "few,mirror,k20").mirror


def test_a_new_classifier_is_asked_for(get_config):
    assert read_recipe(get_config, "few,newhead").new_head
    assert not read_recipe(get_config, "few,mirror").new_head


def test_the_docstring_s_command_is_one(get_config):
    text = PATH.read_text().split('"""')[1]
    assert "--config configs/finetune.py:few,k5" in text
    assert read_recipe(get_config, "few,k5").few == 5


@pytest.mark.parametrize(
    ("arg", "fault"),
    [
        ("fex", "'fex' is no recipe (did you mean 'few'?)"),
        ("few,merge", "'merge' is no kN or option (did you mean 'merged'?)"),
        ("few,k0", "'k0' is no kN or option (choose one of these)"),
        ("few,k5,k6", "'k6' comes after another kN, leave one out"),
        ("few,merged,merged", "'merged' is there twice, leave one out"),
        ("", "'' is no recipe (choose one of these)"),
    ],
)
def test_wrong_words_are_answered_with_the_nearest(get_config, arg, fault):
    with pytest.raises(ValueError) as caught:
        get_config(arg)
    assert fault in str(caught.value)
