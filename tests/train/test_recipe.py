"""Recipes check themselves: every fault at once, unknown names answered with the nearest."""

import pytest

from vidtldr_jax.train.recipe import Recipe


def test_every_fault_is_named_at_once():
    with pytest.raises(ValueError) as caught:
        Recipe(steps=0, batch_size=True, dtype="half", warmup=1, ema=1.0, crop=0, mixup=-1, layer_decay=1.5, seed=-1,
               dropout=1.0, drop_path=-0.1, remat=1)  # fmt: skip
    text = str(caught.value)
    for fault in (
        "batch_size = True is not a positive int",
        "steps = 0 is neither None nor a positive int",
        "dtype = 'half' is none of float32, bfloat16",
        "warmup = 1 is not a number from 0 on and below 1",
        "ema = 1.0 is not a number from 0 on and below 1",
        "crop = 0 is not above 0 and at most 1",
        "mixup = -1 is not a number from 0 on",
        "layer_decay = 1.5 is not above 0 and at most 1",
        "seed = -1 is not an int from 0 on",
        "dropout = 1.0 is not a number from 0 on and below 1",
        "drop_path = -0.1 is not a number from 0 on and below 1",
        "remat = 1 is neither true nor false",
    ):
        assert fault in text


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"batch_size": 6, "accumulation": 4}, "batch_size = 6 is not a multiple of accumulation = 4"),
        ({"schedule": "a"}, "schedule = 'a' is no schedule (entries are numbers"),
        ({"eval_schedule": "-3"}, "eval_schedule = '-3' is no schedule"),
        ({"method": "tom"}, "did you mean 'tome'?"),
        ({"probe": True, "random_time": False, "mixup": 0.2}, "a probe without random clips reads them once"),
        (
            {"probe": True, "random_time": False, "drop_path": 0.2},
            "drop_path = 0.2 is of a model that runs",
        ),
        ({"probe": True, "random_time": False, "remat": True}, "remat = True is of a model that runs in every step"),
    ],
)
def test_fields_that_do_not_fit_each_other_are_refused(fields, fault):
    with pytest.raises(ValueError) as caught:
        Recipe(**fields)
    assert fault in str(caught.value)


def test_unknown_fields_are_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown field 'lerning_rate' .did you mean 'learning_rate'"):
        Recipe.from_dict({"lerning_rate": 1})
    assert Recipe.from_dict(Recipe(few=3).to_dict()) == Recipe(few=3)


def test_steps_count_more_than_epochs_and_passes_are_rounded_up():
    assert Recipe(steps=7).count_steps(100) == 7
    assert Recipe(epochs=3, batch_size=8).count_steps(10) == 4
    assert Recipe(epochs=0.1, batch_size=8).count_steps(10) == 1


def test_a_run_of_a_version_without_dropout_has_the_same_description():
    later = {"dropout": 0.1, "attention_dropout": 0.1, "drop_path": 0.1, "head_dropout": 0.1, "remat": True}
    described = Recipe(few=3).to_dict()
    assert not set(later) & set(described)
    assert Recipe.from_dict(described) == Recipe(few=3)
    assert {name: Recipe(**later).to_dict()[name] for name in later} == later


def test_clips_are_random_where_anything_is():
    assert not Recipe(random_time=False).is_random
    assert all(Recipe(random_time=False, **one).is_random for one in ({"crop": 0.9}, {"mirror": True}))
    assert Recipe().is_random
