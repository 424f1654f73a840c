"""A profile tells the parts of a model apart: their operations carry the parts' names."""

import re

import jax
import jax.numpy as jnp
import pytest

from tests.models.test_stacking import CONFIGS, make, nest
from vidtldr_jax.models.architectures import make_module
from vidtldr_jax.models.stacking import stack_blocks
from vidtldr_jax.reduction.methods import METHODS

PARTS = {"attention", "saliency", "match", "merge", "select", "mlp"}


def find_parts(r, method="vidtldr", form="auto", is_stacked=False):
    flat, video = make("joint")
    flat = {path: jnp.asarray(value) for path, value in flat.items()}
    variables = nest(stack_blocks(flat) if is_stacked else flat)
    module = make_module(CONFIGS["joint"], r=r, method=METHODS[method], form=form, is_stacked=is_stacked)
    text = jax.jit(module.apply).lower(variables, video).as_text(debug_info=True)
    return {part for name in re.findall(r'"(jit\([^"]*)"', text) for part in name.split("/")} & PARTS


@pytest.mark.parametrize("is_stacked", [False, True])
@pytest.mark.parametrize("form", ["by_head", "blocked", "dense"])
def test_a_merging_model_names_all_its_parts(form, is_stacked):
    assert find_parts((2, 2, 0), form=form, is_stacked=is_stacked) == PARTS - {"select"}


def test_a_plain_model_has_attention_and_mlp_alone():
    assert find_parts(()) == {"attention", "mlp"}


def test_a_method_that_drops_tokens_selects_them():
    assert find_parts((2, 0, 0), method="svitt") == {"attention", "select", "merge", "mlp"}
