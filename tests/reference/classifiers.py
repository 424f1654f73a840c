"""The original implementations' small classifiers: their weights carried over by hand, and what they gave."""

import numpy as np

from tests.reference.files import find_golden, load_golden, require_torch
from vidtldr_jax.models import VideoViTConfig

CLASSIFIERS = ("umt", "videomae")
_DEPTH = 3


def read_classifier(name):
    """Returns the config, the parameters and the golden numbers of one of `CLASSIFIERS`; needs torch."""
    golden = load_golden(f"cls_{name}.npz")
    weights = require_torch().load(find_golden(f"cls_{name}.pth"), weights_only=True)["module"]
    config = VideoViTConfig(
        num_frames=golden["num_frames"].item(), image_size=32, patch_size=8, tubelet_size=golden["tubelet"].item(),
        dim=24, depth=_DEPTH, num_heads=4, mlp_dim=96, positions="learned", num_classes=10,
    )  # fmt: skip
    return config, _carry_over({key: value.numpy() for key, value in weights.items()}), golden


def _carry_over(weights):
    """Returns parameters, nested, from a state dict."""

    def dense(name):
        return {"kernel": weights[f"{name}.weight"].T, "bias": weights[f"{name}.bias"]}

    def norm(name):
        return {"scale": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]}

    encoder = {}
    for i in range(_DEPTH):
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
