"""What is lowered for other machines takes forms that these have, and gives the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidtldr_jax.ops.attention_forms import choose_form
from vidtldr_jax.ops.platform import find_platform, is_lowering, lower_for
from vidtldr_jax.ops.ranking import rank_highest


def test_a_platform_is_named_while_the_context_is_open():
    here = jax.default_backend()
    assert (find_platform(), is_lowering()) == (here, False)
    with lower_for("gpu"):
        with lower_for("tpu"):
            assert (find_platform(), is_lowering()) == ("tpu", True)
        assert find_platform() == "gpu"
    with pytest.raises(KeyError), lower_for("gpu"):
        raise KeyError
    assert (find_platform(), is_lowering()) == (here, False)


@pytest.mark.parametrize(("platform", "form"), [("cpu", "by_head"), ("gpu", "blocked"), ("tpu", "blocked")])
def test_no_kernel_is_taken_for_another_machine(monkeypatch, platform, form):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with lower_for(platform):
        assert choose_form("auto", num_tokens=2000, channels=64) == form


def test_sequences_of_unknown_number_count_as_many(shapes_unchecked):
    (unknown,) = jax.export.symbolic_shape("b")
    with lower_for("cpu"):
        assert choose_form("auto", num_tokens=16, channels=64, num_sequences=unknown) == "blocked"
        assert choose_form("auto", num_tokens=200, channels=64, num_sequences=unknown) == "by_head"


@pytest.mark.parametrize("k", [1, 4, 9])
def test_the_highest_are_the_same_by_sorting(k):
    rng = np.random.default_rng(0)
    score = rng.integers(-2, 3, (50, 9)).astype(np.float32)  # many ties
    score[::7, 2], score[::5, 4] = np.inf, -np.inf
    best, order = rank_highest(jnp.asarray(score), k)
    expected = np.argsort(-score, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(order, expected)
    with lower_for("tpu"):
        sorted_best, sorted_order = rank_highest(jnp.asarray(score), k)
    np.testing.assert_array_equal(sorted_order, expected)
    np.testing.assert_array_equal(sorted_best, best)
    np.testing.assert_array_equal(best, np.take_along_axis(score, expected, axis=1))
