"""Checkpoint folder + preprocessing + jit = something a user can call."""

from vidtldr_jax.inference.checkpoint import Checkpoint, CheckpointError, read_checkpoint, save_checkpoint
from vidtldr_jax.inference.model import VideoModel, load_model

__all__ = ["Checkpoint", "CheckpointError", "VideoModel", "load_model", "read_checkpoint", "save_checkpoint"]
