"""What is taken for parameters, or fields of a module, and is none: refused with what to pass."""

import jax
import jax.numpy as jnp
import pytest

import vidtldr_jax as vt
from vidtldr_jax.inference.params import check_params, flatten_params
from vidtldr_jax.inference.stream import choose_batch_size

CONFIG = vt.VideoViTConfig(
    num_frames=2, image_size=16, patch_size=8, tubelet_size=2, dim=8, depth=2, num_heads=2, mlp_dim=8
)


def test_variables_are_told_from_parameters():
    variables = vt.init_variables(CONFIG, jax.random.key(0))
    check_params(flatten_params(variables["params"]), CONFIG)
    with pytest.raises(
        ValueError, match=r'^parameters are needed; got the variables, .*; pass variables\["params"\]\.$'
    ):
        check_params(flatten_params(variables), CONFIG)


@pytest.mark.parametrize("given", [None, 3, [1]])
def test_what_is_no_dict_is_refused(given):
    with pytest.raises(
        ValueError, match=r"^parameters are a dict of arrays, flat or nested; got .*; pass model.params"
    ):
        flatten_params(given)


@pytest.mark.parametrize("r", [3, None, 1.5])
def test_a_module_needs_a_number_for_each_block(r):
    with pytest.raises(
        ValueError, match=r"^r has one number for each block; got .*; resolve_schedule makes such a tuple"
    ):
        vt.make_module(CONFIG, r=r)


@pytest.mark.parametrize(
    ("r", "rule"), [((-1, 0), "r is at least 0; got -1"), ((0.5, 0), "r is a whole number; got 0.5")]
)
def test_a_module_takes_counts(r, rule):
    with pytest.raises(ValueError, match=f"^{rule}"):
        vt.make_module(CONFIG, r=r)


@pytest.mark.parametrize("rates", [0.1, {"path": 0.1}])
def test_drop_rates_are_of_their_class(rates):
    module = vt.make_module(CONFIG, drop_rates=rates)
    with pytest.raises(ValueError, match=r"^drop_rates is a DropRates; got .*; write DropRates\(path=0\.1\)"):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 2, 16, 16, 3)))


@pytest.mark.parametrize("size", ["2", None, 1.5])
def test_a_batch_is_a_whole_number_of_views(size):
    with pytest.raises(ValueError, match=r"^batch_size is a whole number; got .*; pass an int"):
        choose_batch_size(object(), 3, size)
