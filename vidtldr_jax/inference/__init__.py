"""Checkpoint folder + preprocessing + jit = something a user can call."""

from vidtldr_jax.inference.checkpoint import Checkpoint, CheckpointError, read_checkpoint, save_checkpoint
from vidtldr_jax.inference.load import find_sample_clip, load_model, load_module
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.sharding import make_mesh
from vidtldr_jax.inference.stream import EncodedVideo, encode_videos
from vidtldr_jax.inference.text_model import AnsweringModel, RetrievalModel

__all__ = [
    "AnsweringModel",
    "Checkpoint",
    "CheckpointError",
    "EncodedVideo",
    "RetrievalModel",
    "VideoModel",
    "encode_videos",
    "find_sample_clip",
    "load_model",
    "load_module",
    "make_mesh",
    "read_checkpoint",
    "save_checkpoint",
]
