"""Each argument of each public function with values of other types: the answer is one line of ours, or a result."""

import traceback

import jax.numpy as jnp
import numpy as np
import pytest

import vidtldr_jax as vt
from vidtldr_jax import ops
from vidtldr_jax.reduction import count_xla_gmacs, get_method, resolve_r
from vidtldr_jax.reduction.fitting import fit_schedule

pytestmark = pytest.mark.usefixtures("shapes_unchecked")

TOKENS = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 8)), jnp.float32)
ROW = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 12)), jnp.float32)
STATE = ops.init_merge_state(TOKENS, trace=True)
PLAN = ops.match_tokens(TOKENS, r=4)
PARTNER = ops.pair_tokens(TOKENS).partner
QUERY_KEY_VALUE = dict.fromkeys(("query", "key", "value"), TOKENS.reshape(2, 12, 2, 4))
UMT = vt.models.get_preset("umt-b16")
EVERY_ARGUMENT = {
    ops.attention_saliency: {"attention": jnp.full((1, 2, 4, 4), 0.25), "num_protected": 0},
    ops.negative_entropy: {"mean_attention": jnp.full((1, 4, 4), 0.25)},
    ops.normalise_sharpness: {"sharpness": ROW, "num_protected": 0},
    ops.normalise_features: {"features": TOKENS},
    ops.attend: {**QUERY_KEY_VALUE, "size": ROW, "num_protected": 0, "form": "auto", "block_size": 4},
    ops.attend_received: {**QUERY_KEY_VALUE, "size": ROW, "num_protected": 0, "form": "auto", "block_size": 4},
    ops.match_tokens: {"features": TOKENS, "r": 2, "num_protected": 0},
    ops.pair_tokens: {"features": TOKENS, "num_protected": 0},
    ops.absorb_pairs: {"partner": PARTNER, "score": ROW[:, :6], "r": 2, "num_tokens": 12, "num_protected": 0},
    ops.merge_tokens: {"state": STATE, "plan": PLAN, "weight": ROW, "form": "segment_sum"},
    ops.unmerge_tokens: {"tokens": TOKENS, "source": STATE.source},
    ops.source_matrix: {"source": STATE.source, "source_weight": ROW, "num_tokens": 12},
    ops.keep_best: {"score": ROW, "r": 2, "num_protected": 0},
    ops.fuse_rest: {"score": ROW, "r": 2, "num_protected": 0},
    ops.init_merge_state: {"tokens": TOKENS},
    vt.reduce_tokens: {"state": STATE, "features": TOKENS, "saliency": ROW, "r": 2, "form": "one_hot"},
    vt.resolve_schedule: {"schedule": "2", "num_tokens": 12, "num_layers": 2, "num_protected": 0, "method": "evit"},
    vt.count_macs: {"config": UMT, "schedule": "2", "num_frames": 4},
    count_xla_gmacs: {"config": UMT, "schedule": "2", "num_frames": 4},
    vt.plan_schedule: {"config": UMT, "keep": 0.5, "method": "evit", "num_frames": 4},
    resolve_r: {"r": 2, "num_tokens": 12},
    get_method: {"method": "tome"},
    vt.models.get_preset: {"name": "umt-b16"},
    vt.make_module: {"config": UMT},
    fit_schedule: {"config": UMT, "schedule": "2"},
}
WRONG = (
    None,
    "x",
    b"x",
    True,
    2.5,
    1j,
    [1.0],
    {},
    object(),
    np.full((2, 12), "a"),
    np.zeros((2, 12, 8, 1)),
    STATE,
    UMT,
)


def find_error(function, arguments):
    """Returns what a call raises, which may be a ValueError or a TypeError, or None."""
    try:
        function(**arguments)
    except (ValueError, TypeError) as error:
        return error
    return None


@pytest.mark.parametrize("function", EVERY_ARGUMENT, ids=lambda function: function.__name__)
def test_a_wrong_value_of_any_argument_is_explained_in_one_line(function):
    right = EVERY_ARGUMENT[function]
    calls = {(name, at): {**right, name: value} for name in right for at, value in enumerate(WRONG)}
    errors = {where: find_error(function, arguments) for where, arguments in calls.items()}
    refused = {where: error for where, error in errors.items() if error is not None}
    assert len(refused) >= len(calls) / 2
    for where, error in refused.items():
        message, last = str(error), list(traceback.walk_tb(error.__traceback__))[-1][0]
        assert "vidtldr_jax" in last.f_code.co_filename, (where, message)
        assert len(message.splitlines()) == 1, (where, message)
        assert message.count("; ") >= 2, (where, message)
        assert len(message) < 500, (where, message)
