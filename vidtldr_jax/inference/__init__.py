"""Load and run one model: checkpoint folder + preprocessing + jit = something a user can call."""

from vidtldr_jax.inference.checkpoint import Checkpoint, CheckpointError, read_checkpoint, save_checkpoint
from vidtldr_jax.inference.finite import NotFiniteError
from vidtldr_jax.inference.load import find_sample_clip, find_sample_gallery, load_model, load_module
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.sharding import fetch_share, make_mesh
from vidtldr_jax.inference.stream import EncodedVideo, encode_videos
from vidtldr_jax.inference.text_model import AnsweringModel, RetrievalModel

__all__ = [
    "AnsweringModel",
    "Checkpoint",
    "CheckpointError",
    "EncodedVideo",
    "NotFiniteError",
    "RetrievalModel",
    "VideoModel",
    "encode_videos",
    "fetch_share",
    "find_sample_clip",
    "find_sample_gallery",
    "load_model",
    "load_module",
    "make_mesh",
    "read_checkpoint",
    "save_checkpoint",
]
