"""A budget of time that nothing comes near is refused after one or two runs of whole models, and only such a one."""

import pytest

from vidtldr_jax.inference import latency_reach
from vidtldr_jax.inference.latency_reach import check_reach
from vidtldr_jax.inference.timing import Times, make_random_model
from vidtldr_jax.models import VideoViTConfig

CONFIG = VideoViTConfig(
    num_frames=4, image_size=16, patch_size=4, tubelet_size=2, dim=8, depth=3, num_heads=2, mlp_dim=16, num_classes=3
)


@pytest.fixture(scope="module")
def model():
    return make_random_model(CONFIG)


@pytest.fixture
def machine(monkeypatch):
    """Seconds that models take by whether they merge; writes down what was run."""
    seconds, ran = {"merged": 2.0, "plain": 6.0}, []

    def time_in_turn(runs, *, repeats, warm_up):
        assert len(runs) == 1
        kind = "merged" if ran[-1] else "plain"
        return {"run": Times(tuple(seconds[kind] * factor for factor in (1.2, 1.0, 1.1)[:repeats]), (0.0,) * repeats)}

    class Recording(type(make_random_model(CONFIG))):
        def get_encode_function(self, shape, **options):
            ran.append(not self.schedule.is_plain)
            return lambda weights, video: shape

    monkeypatch.setattr(latency_reach, "time_in_turn", time_in_turn)
    seconds["model"], seconds["ran"] = Recording({}, CONFIG, preprocessing=make_random_model(CONFIG).preprocessing), ran
    return seconds


def test_a_budget_far_below_the_fastest_schedule_is_refused_after_that_one_ran(machine):
    with pytest.raises(
        ValueError, match=r"^one run takes 2000 ms on this machine under .*, the fastest schedule tried by "
    ):
        check_reach(machine["model"], max_seconds=1.0)
    assert machine["ran"] == [True]


@pytest.mark.parametrize("seconds", [1.41, 2.0, 5.0, 100.0])
def test_what_may_be_in_reach_is_left_to_the_table(machine, seconds):
    check_reach(machine["model"], max_seconds=seconds)
    assert machine["ran"] == [True]


def test_where_merging_does_not_pay_the_plain_model_counts(machine):
    machine |= {"merged": 0.4, "plain": 0.1}
    check_reach(machine["model"], max_seconds=0.08)
    assert machine["ran"] == [True, False]
    with pytest.raises(ValueError, match=r"^one run takes 100 ms on this machine without merging, .*; got 50 ms; "):
        check_reach(machine["model"], max_seconds=0.05)


def test_a_speedup_is_relative_to_the_plain_model(machine):
    check_reach(machine["model"], speedup=4.2)
    with pytest.raises(ValueError, match=r"under .*; got 5 x the plain model's speed"):
        check_reach(machine["model"], speedup=5.0)
    assert machine["ran"] == [True, False] * 2


def test_a_real_model_is_run(model):
    check_reach(model, max_seconds=1e3, batch_size=2, num_frames=2)
    with pytest.raises(ValueError, match=r"one run takes .*; got 1e-06 ms"):
        check_reach(model, max_seconds=1e-9)
