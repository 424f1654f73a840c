"""The official classifiers' logits from their weights, carried over here by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference.files import find_golden, load_golden, require_torch
from vidtldr_jax import ops
from vidtldr_jax.models import VideoViT, VideoViTConfig


def carry_over(weights, depth=3):
    def dense(name):
        return {"kernel": weights[f"{name}.weight"].T, "bias": weights[f"{name}.bias"]}

    def norm(name):
        return {"scale": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]}

    encoder = {}
    for i in range(depth):
        b = f"blocks.{i}"
        query, key, value = (part.T for part in np.split(weights[f"{b}.attn.qkv.weight"], 3))
        encoder[f"block_{i}"] = {
            "norm1": norm(f"{b}.norm1"),
            "norm2": norm(f"{b}.norm2"),
            "attn": {
                "query": {"kernel": query, "bias": weights[f"{b}.attn.q_bias"]},
                "key": {"kernel": key},
                "value": {"kernel": value, "bias": weights[f"{b}.attn.v_bias"]},
                "proj": dense(f"{b}.attn.proj"),
            },
            "mlp": {"fc1": dense(f"{b}.mlp.fc1"), "fc2": dense(f"{b}.mlp.fc2")},
        }
    patches = weights["patch_embed.proj.weight"].transpose(2, 3, 4, 1, 0)
    return {
        "patch_embed": {"kernel": patches, "bias": weights["patch_embed.proj.bias"]},
        "pos_embed": weights["pos_embed"][0],
        "encoder": encoder,
        "pool_norm": norm("fc_norm"),
        "head": dense("head"),
    }


@pytest.mark.parametrize("name", ["umt", "videomae"])
def test_logits_sizes_and_sources_equal_the_original(name):
    golden = load_golden(f"cls_{name}.npz")
    torch = require_torch()
    weights = torch.load(find_golden(f"cls_{name}.pth"), weights_only=True)["module"]
    params = carry_over({key: value.numpy() for key, value in weights.items()})
    config = VideoViTConfig(
        num_frames=golden["num_frames"].item(), image_size=32, patch_size=8, tubelet_size=golden["tubelet"].item(),
        dim=24, depth=3, num_heads=4, mlp_dim=96, positions="learned", num_classes=10,
    )  # fmt: skip
    video = jnp.asarray(golden["video"].transpose(0, 1, 3, 4, 2))
    r = tuple(int(count) for count in golden["r"])
    plain = jax.jit(VideoViT(config).apply)({"params": params}, video)
    np.testing.assert_allclose(plain.logits, golden["logits_plain"], atol=1e-5)
    merged = jax.jit(lambda p, v: VideoViT(config, r=r).apply({"params": p}, v, trace=True))(params, video)
    np.testing.assert_allclose(merged.logits, golden["logits_merged"], atol=1e-5)
    np.testing.assert_allclose(merged.size, golden["size"], atol=1e-5)
    matrix = ops.source_matrix(merged.trace.source, merged.trace.weight, num_tokens=merged.size.shape[1])
    np.testing.assert_array_equal(np.asarray(matrix) != 0, golden["source"] != 0)
    np.testing.assert_allclose(matrix, golden["source"], atol=1e-5)
