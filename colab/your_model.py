# %% [markdown]
# # Your model: the operators in Flax Linen and NNX
#
# The operators are pure functions of arrays, so they go into any JAX model. Here are three ways: a Linen block of your
# own, an NNX model that calls them directly, and this package's Linen encoder inside an NNX model. Each is proved with
# shapes and with one gradient step that lowers a loss. It needs a minute or two on a CPU, most of it for compiling.

# %% {"cellView": "form"}
# @title Install
# @markdown `source` is what pip installs: this version, or a wheel, a folder or `git+https://...`. Empty: use what is
# @markdown there. The runtime's JAX stays as it is.
source = "vidtldr-jax==0.1.0"  # @param {type:"string"}

import importlib
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path


def list_jax_packages():
    """Lists JAX and what it runs on (jaxlib, plug-ins, libtpu, NVIDIA's libraries) with the versions installed."""
    pattern = re.compile(r"(jax|jaxlib|jax[-_](cuda|rocm|tpu).*|libtpu.*|nvidia[-_].*)", re.IGNORECASE)
    names = {
        distribution.name for distribution in metadata.distributions() if pattern.fullmatch(distribution.name or "")
    }
    return sorted(f"{name}=={metadata.version(name)}" for name in names)


if source:
    before = list_jax_packages()
    with tempfile.TemporaryDirectory() as scratch:
        constraints = Path(scratch) / "constraints.txt"
        constraints.write_text("\n".join(before))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(constraints), source]
        pip = subprocess.run(command, capture_output=True, text=True)
    if pip.returncode:
        raise RuntimeError(f"pip could not install {source} beside {', '.join(before) or 'no JAX'}:\n{pip.stderr}")
    if before and list_jax_packages() != before:
        raise RuntimeError(f"JAX changed from {before} to {list_jax_packages()}; restart from a fresh runtime.")
    importlib.invalidate_caches()

import jax

import vidtldr_jax as vt

device = jax.devices()[0]
print(f"vidtldr-jax {vt.__version__}, jax {jax.__version__}")
print(f"{jax.device_count()} device(s): {device.device_kind} ({device.platform})")

# %%
import flax.linen as nn
import jax.numpy as jnp
import optax
from flax import nnx

from vidtldr_jax import ops

tokens = jax.random.normal(jax.random.key(0), (2, 64, 32))  # [B, N, D]
target = jax.random.normal(jax.random.key(1), (2, 32))


# %% [markdown]
# ## A Linen block
#
# Attention gives its update and the saliency in one pass, without ever holding `[B, H, N, N]`. Then each even token is
# paired with its most similar odd one, and the `r` best pairs are merged. `r` is static: it decides shapes.


# %%
class MergingBlock(nn.Module):
    """A transformer block that absorbs r tokens between attention and MLP."""

    num_heads: int
    r: int

    @nn.compact
    def __call__(self, state):
        """Returns the state with r tokens fewer."""
        B, N, D = state.tokens.shape
        qkv = nn.Dense(3 * D)(nn.LayerNorm()(state.tokens)).reshape(B, N, 3, self.num_heads, -1)
        update, saliency = ops.attend(*jnp.moveaxis(qkv, 2, 0), state.size, with_saliency=True)  # each [B, N, H, K]
        state = state._replace(tokens=state.tokens + nn.Dense(D)(update.reshape(B, N, D)))
        plan = ops.match_tokens(state.tokens, r=self.r)  # who is absorbed by whom
        state = ops.merge_tokens(state, plan, saliency)  # [B, N - r, D]
        hidden = nn.gelu(nn.Dense(4 * D)(nn.LayerNorm()(state.tokens)))
        return state._replace(tokens=state.tokens + nn.Dense(D)(hidden))


block = MergingBlock(num_heads=4, r=16)
start = ops.init_merge_state(tokens, trace=True)
params = jax.jit(block.init)(jax.random.key(2), start)
after = jax.jit(block.apply)(params, start)
print("tokens", start.tokens.shape, "->", after.tokens.shape)
print("sizes count the original tokens; dropped ones are gone:", after.size.sum(-1), "of", tokens.shape[1])
print("back over the 64 places:", ops.unmerge_tokens(after.tokens, after.source).shape)
assert after.tokens.shape == (2, 48, 32)


# %%
def find_loss(params):
    """Compares the mean token with a target."""
    return jnp.mean((block.apply(params, ops.init_merge_state(tokens)).tokens.mean(1) - target) ** 2)


loss, gradients = jax.jit(jax.value_and_grad(find_loss))(params)
better = jax.jit(find_loss)(jax.tree.map(lambda leaf, slope: leaf - 0.1 * slope, params, gradients))
print(f"loss {loss:.4f} -> {better:.4f} after one step")
assert better < loss


# %% [markdown]
# ## The same in NNX
#
# Nothing changes for the operators. `reduce_tokens` matches and merges in one call; in an `nnx.jit` function `r` is a
# Python number of the module.


# %%
class NnxMergingBlock(nnx.Module):
    """Attention and MLP as NNX layers around the same operators."""

    def __init__(self, dim, num_heads, r, *, rngs):
        self.num_heads, self.r = num_heads, r
        self.norm1, self.norm2 = nnx.LayerNorm(dim, rngs=rngs), nnx.LayerNorm(dim, rngs=rngs)
        self.qkv, self.proj = nnx.Linear(dim, 3 * dim, rngs=rngs), nnx.Linear(dim, dim, rngs=rngs)
        self.fc1, self.fc2 = nnx.Linear(dim, 4 * dim, rngs=rngs), nnx.Linear(4 * dim, dim, rngs=rngs)

    def __call__(self, state):
        """Returns the state with r tokens fewer."""
        B, N, D = state.tokens.shape
        qkv = self.qkv(self.norm1(state.tokens)).reshape(B, N, 3, self.num_heads, -1)
        update, saliency = ops.attend(*jnp.moveaxis(qkv, 2, 0), state.size, with_saliency=True)
        state = state._replace(tokens=state.tokens + self.proj(update.reshape(B, N, D)))
        state = vt.reduce_tokens(state, state.tokens, saliency, r=self.r)  # [B, N - r, D]
        return state._replace(tokens=state.tokens + self.fc2(nnx.gelu(self.fc1(self.norm2(state.tokens)))))


class NnxModel(nnx.Module):
    """Two such blocks and the mean of what is left."""

    def __init__(self, *, rngs):
        self.first = NnxMergingBlock(32, 4, 16, rngs=rngs)
        self.second = NnxMergingBlock(32, 4, 8, rngs=rngs)

    def __call__(self, tokens):
        """Returns one vector for each example."""
        state = self.second(self.first(ops.init_merge_state(tokens)))
        assert state.tokens.shape == (2, 40, 32)
        return state.tokens.mean(1)


@nnx.jit
def take_step(model, optimizer, inputs):
    """Takes one step towards the target and returns the loss before it."""

    def find_loss(model):
        return jnp.mean((model(inputs) - target) ** 2)

    loss, gradients = nnx.value_and_grad(find_loss)(model)
    optimizer.update(model, gradients)
    return loss


model = NnxModel(rngs=nnx.Rngs(0))
optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
losses = [float(take_step(model, optimizer, tokens)) for _ in range(2)]
print(f"loss {losses[0]:.4f} -> {losses[1]:.4f} after one step")
assert losses[1] < losses[0]

# %% [markdown]
# ## A Linen encoder inside an NNX model
#
# `nnx.bridge.ToNNX` wraps a Linen module; `lazy_init` makes its parameters from an input. Here it is the video tower
# of the shipped model with its trained weights and a new head, `r` per layer as `resolve_schedule` gives it.

# %%
import dataclasses

from vidtldr_jax.models.video_vit import VideoViT

trained = vt.load_model("moving-objects", schedule="100,40")
config = dataclasses.replace(trained.config, num_classes=None)
clips = jax.random.normal(jax.random.key(3), (2, config.num_frames, config.image_size, config.image_size, 3))


class Regressor(nnx.Module):
    """The merged video tower and a new linear head."""

    def __init__(self, clips, *, rngs):
        self.tower = nnx.bridge.ToNNX(VideoViT(config, r=trained.schedule.r), rngs=rngs)
        nnx.bridge.lazy_init(self.tower, clips)
        self.head = nnx.Linear(config.dim, 32, rngs=rngs)

    def __call__(self, clips):
        """Returns one vector for each clip."""
        out = self.tower(clips)
        assert out.tokens.shape == (2, 148, config.dim)
        return self.head(out.pooled)


model = nnx.jit(lambda: Regressor(clips, rngs=nnx.Rngs(0)))()  # jitted: one program instead of hundreds
weights = {name: part for name, part in trained.params.items() if name != "head"}
nnx.update(model.tower, jax.tree.map(nnx.Param, weights))
pooled = nnx.jit(lambda model: model.tower(clips).pooled)(model)
drift = jnp.abs(pooled - trained.encode_video(clips).pooled).max()
print(f"the tower in NNX against the model itself: largest difference {drift:.1e}")
assert drift < 1e-4
optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
losses = [float(take_step(model, optimizer, clips)) for _ in range(2)]
print(f"loss {losses[0]:.4f} -> {losses[1]:.4f} after one step through the encoder")
assert losses[1] < losses[0]
