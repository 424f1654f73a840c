"""Training-free token reduction for video transformers in JAX and Flax.

    import vidtldr_jax as vt

    model = vt.load_model("moving-objects", schedule="100,40")
    clip = vt.read_clip("clip.mp4", model.preprocessing)
    out = model.encode_video(clip[None], trace=True)

`ops` has the operators for blocks of your own, `models` the Flax modules, `reduction` schedules and their cost.

A name is imported when it is first asked for: the command line's help and completion, and processes that only decode
videos, don't wait for JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
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

_PACKAGES: Final = ("data", "inference", "models", "ops", "reduction")
_HOMES: Final = {
    "Preprocessing": "data.preprocessing",
    "VideoModel": "inference.model",
    "count_macs": "reduction.cost",
    "load_model": "inference.load",
    "make_mesh": "inference.sharding",
    "plan_schedule": "reduction.planner",
    "read_clip": "data.clip",
    "reduce_tokens": "reduction.step",
    "resolve_schedule": "reduction.schedule",
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for the first time."""
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
