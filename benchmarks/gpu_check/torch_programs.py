"""torch's side on the same weights: the plain model with fused attention, and the official algorithm.

Both are eager, as the official release is. They run on the GPU that JAX runs on, or on the CPU in a rehearsal.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import jax
import numpy as np

from benchmarks.gpu_check.programs import Program
from vidtldr_jax.inference.model import VideoModel

# Variant -> whether tokens are merged.
VARIANTS: Final = {"torch SDPA plain": False, "torch official merged": True}


def find_reason_to_leave_out() -> str | None:
    """Return why torch is not measured, or None."""
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    import torch

    platform = jax.default_backend()
    if platform == "tpu" or (platform == "gpu" and not torch.cuda.is_available()):
        return f"torch has no {platform}"
    return None


def make_tensors(model: VideoModel) -> dict[str, Any]:
    """Put a model's weights on torch's device, in the model's dtype."""
    import torch

    from benchmarks import rivals

    # As fast as JAX is by itself: products of float32 in TF32.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    dtype = getattr(torch, model.dtype.name)
    return {name: tensor.to(device, dtype) for name, tensor in rivals.make_tensors(model).items()}


def make_program(
    tensors: Mapping[str, Any], model: VideoModel, video: np.ndarray, r: Sequence[int], facts: Mapping[str, Any]
) -> Program:
    """Make the plain model with fused attention, or the official algorithm where tokens are merged.

    Args:
      tensors: from `make_tensors`.
      model: whose config counts.
      video: `[B, T, Y, X, C]` float32.
      r: tokens absorbed per layer; none at all is the plain model.
      facts: about the program.

    Returns:
      The program.
    """
    import torch

    from benchmarks import rivals

    forward = rivals.make_run(tensors, model.config, video, r, "official" if any(r) else "fused")
    on_gpu = next(iter(tensors.values())).is_cuda

    def run(count: int) -> None:
        for _ in range(count):
            forward()
        if on_gpu:
            torch.cuda.synchronize()

    def find_result() -> np.ndarray:
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        return forward().float().cpu().numpy()

    # Read right after the first run: the peak counts from the last reset.
    return Program(run, find_result, facts, _peak_reader(on_gpu))


def _peak_reader(on_gpu: bool) -> Callable[[], Mapping[str, Any]]:
    def read() -> Mapping[str, Any]:
        import torch

        return {"memory_bytes": torch.cuda.max_memory_allocated()} if on_gpu else {}

    return read
