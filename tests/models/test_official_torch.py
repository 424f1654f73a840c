"""The torch re-statement gives the official code's numbers, and ours are the same on other inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from checkpoints_convert import FAMILIES
from checkpoints_convert.export import make_state_dict
from tests.reference.files import find_golden, load_golden, require_torch
from tests.reference.inputs import make_params
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.models import VideoViT, VideoViTConfig, ViViTConfig
from vidtldr_jax.models.architectures import make_module
from vidtldr_jax.reduction.schedule import resolve_schedule

torch = require_torch()


@pytest.mark.parametrize("name", ["cls_umt", "cls_videomae"])
def test_the_restatement_gives_the_official_logits_and_sizes(name):
    from tests.reference.official_torch import encode

    golden = load_golden(f"{name}.npz")
    state = torch.load(find_golden(f"{name}.pth"), weights_only=True)["module"]
    video = torch.from_numpy(golden["video"]).transpose(1, 2)
    r = [int(count) for count in golden["r"]]
    with torch.no_grad():
        merged = encode(state, video, num_heads=4, r=r)
        plain = encode(state, video, num_heads=4)
        fused = encode(state, video, num_heads=4, attention="fused")
    # float32 rounding of both.
    np.testing.assert_allclose(merged.logits, golden["logits_merged"], atol=2e-6)
    np.testing.assert_allclose(merged.size[..., 0], golden["size"], atol=1e-5)
    np.testing.assert_allclose(plain.logits, golden["logits_plain"], atol=2e-6)
    np.testing.assert_allclose(fused.logits, golden["logits_plain"], atol=2e-6)
    with pytest.raises(ValueError, match="fused attention gives no map"):
        encode(state, video, num_heads=4, r=r, attention="fused")


@pytest.mark.parametrize("r", [(), (30, 7), (24, 18, 13)])
def test_ours_equals_the_restatement(r):
    from tests.reference.official_torch import encode

    config = VideoViTConfig(
        num_frames=4, image_size=32, patch_size=8, tubelet_size=1, dim=24, depth=3, num_heads=3, mlp_dim=60,
        num_classes=5, positions="learned",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    params = {
        path: (0.3 * rng.normal(size=shape) + path.endswith("scale")).astype(np.float32)
        for path, shape in find_param_shapes(config).items()
    }
    video = rng.normal(size=(2, 4, 32, 32, 3)).astype(np.float32)
    state, _ = make_state_dict(params, config, FAMILIES["single_modality"])
    tensors = {key: torch.from_numpy(values) for key, values in state.items()}
    with torch.no_grad():
        theirs = encode(tensors, torch.from_numpy(video.transpose(0, 4, 1, 2, 3)), num_heads=3, r=r)
    counts = resolve_schedule(r, num_tokens=64, num_layers=3).r
    module = VideoViT(config, r=counts if any(counts) else ())
    variables = {"params": traverse_util.unflatten_dict(params, sep="/")}
    ours = jax.jit(module.apply)(variables, jnp.asarray(video))
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=5e-5)
    np.testing.assert_allclose(ours.size, theirs.size[..., 0], atol=1e-4)


@pytest.mark.parametrize("r", [(), (30, 7, 0), (24, 18, 11)])
def test_a_class_token_is_protected_as_ours_is(r):
    from benchmarks.rivals import name_vivit
    from tests.reference.official_torch import encode

    config = ViViTConfig(
        num_frames=8, image_size=32, patch_size=8, tubelet_size=2, dim=24, depth=3, num_heads=3, mlp_dim=60,
        num_classes=5, attention="spacetime", pooling="cls",
    )  # fmt: skip
    params = make_params(config)
    video = np.random.default_rng(0).normal(size=(2, 8, 32, 32, 3)).astype(np.float32)
    tensors = {key: torch.from_numpy(np.array(values)) for key, values in name_vivit(params, config).items()}
    with torch.no_grad():
        frames = torch.from_numpy(video.transpose(0, 4, 1, 2, 3))
        theirs = encode(tensors, frames, num_heads=3, r=r, gelu="tanh")
    variables = {"params": traverse_util.unflatten_dict(params, sep="/")}
    ours = jax.jit(make_module(config, r=r).apply)(variables, jnp.asarray(video))
    np.testing.assert_allclose(ours.size, theirs.size[..., 0], atol=1e-5)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=5e-5)
