"""Training-free token reduction for video transformers in JAX and Flax.

    import vidtldr_jax as vt

    model = vt.load_model("moving-objects", schedule="100,40")
    clip = vt.read_clip("clip.mp4", model.preprocessing)
    out = model.encode_video(clip[None], trace=True)

`ops` has the operators for blocks of your own, `models` the Flax modules, `reduction` schedules and their cost.
"""

from vidtldr_jax import models, ops, reduction
from vidtldr_jax.data.clip import read_clip
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.load import load_model
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.sharding import make_mesh
from vidtldr_jax.reduction.cost import count_macs
from vidtldr_jax.reduction.planner import plan_schedule
from vidtldr_jax.reduction.schedule import resolve_schedule
from vidtldr_jax.reduction.step import reduce_tokens

__version__ = "0.1.0"

__all__ = [
    "Preprocessing",
    "VideoModel",
    "count_macs",
    "load_model",
    "make_mesh",
    "models",
    "ops",
    "plan_schedule",
    "read_clip",
    "reduce_tokens",
    "reduction",
    "resolve_schedule",
]
