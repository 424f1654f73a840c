"""Every method inside the models: fed with the right evidence, at the right place, with the right shapes."""

import dataclasses

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import methods_oracle, oracle
from tests.reference.inputs import make_params
from vidtldr_jax import ops
from vidtldr_jax.models import VideoViT, VideoViTConfig
from vidtldr_jax.models.architectures import init_variables, make_module
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.patches import measure_novelty
from vidtldr_jax.models.stacking import stack_blocks
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.reduction import METHODS
from vidtldr_jax.reduction.chance import draw_scores
from vidtldr_jax.reduction.fitting import fit_schedule

SIZES = {"num_frames": 4, "image_size": 16, "patch_size": 4, "dim": 12, "depth": 2, "num_heads": 3, "mlp_dim": 20}
CONFIG = VideoViTConfig(**SIZES, tubelet_size=2)  # 32 tokens, 16 of each moment
R = (9, 5)
VIDEO = np.random.default_rng(1).normal(size=(2, 4, 16, 16, 3)).astype(np.float32)
# Two layers in float32; normalised values of about 1.
TOLERANCE = 2e-5
all_methods = pytest.mark.parametrize("name", list(METHODS))


def nest(params):
    return flax.traverse_util.unflatten_dict(params, sep="/")


@all_methods
def test_a_model_reduces_as_the_oracle_does(name):
    params = make_params(CONFIG)
    resolved = fit_schedule(CONFIG, R, method=name)
    assert resolved.tokens[-1] == 18
    model = VideoViT(CONFIG, r=resolved.r, method=resolved.method)
    output = jax.jit(lambda p, v: model.apply({"params": p}, v, trace=True))(nest(params), jnp.asarray(VIDEO))

    def choose(evidence, r):
        places = draw_scores(evidence["features"].shape[1])
        return methods_oracle.decide_all(name, evidence, r=r, protected=0, places=places)

    options = {"heads": 3, "r": R, "choose": choose}
    if METHODS[name].is_early:
        novelty = [methods_oracle.measure_novelty(np.float64(clip), 4, 2) for clip in VIDEO]
        options = {"heads": 3, "r": (0, 0), "first": [(methods_oracle.keep_highest(n, 14, 0), {}) for n in novelty]}
    tokens, size, source = oracle.encode(params, VIDEO, oracle.sincos(32, 12), **options)
    np.testing.assert_allclose(output.tokens, tokens, atol=TOLERANCE, rtol=TOLERANCE)
    np.testing.assert_allclose(output.size, size, rtol=TOLERANCE)
    matrix = ops.source_matrix(output.trace.source, output.trace.weight, num_tokens=18)
    np.testing.assert_allclose(matrix, source, atol=TOLERANCE)
    assert [step.saliency.shape[1] for step in output.trace.steps] == ([32] if METHODS[name].is_early else [32, 23])
    has_opinion = METHODS[name].needs not in ((), ("keys",))
    assert (float(jnp.ptp(output.trace.steps[0].saliency)) > 0) == has_opinion


@pytest.mark.parametrize("name", ["evit", "rlt"])
def test_stacked_blocks_give_the_same(name):
    params = make_params(CONFIG)
    resolved = fit_schedule(CONFIG, (5,), method=name)
    outputs = []
    for is_stacked in (False, True):
        model = VideoViT(CONFIG, r=resolved.r, method=resolved.method, is_stacked=is_stacked)
        tree = nest(stack_blocks(params) if is_stacked else params)
        outputs.append(jax.jit(lambda p, m=model: m.apply({"params": p}, jnp.asarray(VIDEO)).tokens)(tree))
    np.testing.assert_allclose(*outputs, atol=1e-5)


CLIP = CLIPConfig(**SIZES, encoding="joint")
VIVIT = ViViTConfig(**SIZES, tubelet_size=2, attention="spacetime", pooling="cls", num_classes=3)
FIRST = dataclasses.replace(CONFIG, pooling="first")


@pytest.mark.parametrize(
    ("name", "config"),
    [*((name, CLIP) for name in METHODS), ("evit", VIVIT), ("rlt", VIVIT), ("evit", FIRST), ("rlt", FIRST)],
    ids=[*METHODS, "vivit-evit", "vivit-rlt", "first-patch-evit", "first-patch-rlt"],
)
def test_every_model_takes_every_method(name, config):
    resolved = fit_schedule(config, "0.2,0.2", method=name)
    module = make_module(config, r=resolved.r, method=resolved.method)
    variables = jax.eval_shape(lambda: init_variables(config, jax.random.key(0)))
    found = jax.eval_shape(lambda v: module.apply(v, jnp.asarray(VIDEO), trace=True), variables)
    assert found.tokens.shape[1] == resolved.tokens[-1] < resolved.tokens[0] - 1


@pytest.mark.parametrize(
    "config",
    [
        CLIPConfig(**SIZES, encoding="per_frame"),
        ViViTConfig(**SIZES, tubelet_size=2, attention="factorized_encoder", pooling="cls", temporal_depth=1),
        dataclasses.replace(CONFIG, num_frames=2),
    ],
    ids=["frame-by-frame", "factorised", "one-moment"],
)
def test_run_lengths_need_more_than_one_moment(config):
    with pytest.raises(ValueError, match=r"rlt compares a patch with the one a moment earlier; .* of one moment"):
        fit_schedule(config, "5", method="rlt")
    assert fit_schedule(config, None, method="rlt").is_plain


def test_the_first_patch_of_a_model_that_reads_it_counts_to_its_moment():
    resolved = fit_schedule(FIRST, "100", method="rlt")
    assert resolved.r == (16, 0)
    assert resolved.clamps == ("layer 0: r = 31 clamped to 16, all but the first moment's 15 of 31 tokens",)


@pytest.mark.parametrize(("patch", "tubelet"), [(4, 2), (8, 1), (2, 4)])
def test_novelty_equals_the_oracle(patch, tubelet):
    found = measure_novelty(jnp.asarray(VIDEO), patch_size=patch, tubelet_size=tubelet, num_cls_tokens=1)
    expected = [[np.inf, *methods_oracle.measure_novelty(np.float64(clip), patch, tubelet)] for clip in VIDEO]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
