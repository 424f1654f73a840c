"""Video in, arrays out: decoding, frame sampling, resizing, normalisation. NumPy on the host, nothing of JAX."""

from vidtldr_jax.trust.versions import require_version

require_version("av")  # before the imports that another version could break

from vidtldr_jax.data.clip import Clip, read_clip, read_clips, read_frames
from vidtldr_jax.data.errors import VideoReadError, WorkerError
from vidtldr_jax.data.loading import LoadedVideo, read_videos
from vidtldr_jax.data.preprocessing import Preprocessing

__all__ = [
    "Clip",
    "LoadedVideo",
    "Preprocessing",
    "VideoReadError",
    "WorkerError",
    "read_clip",
    "read_clips",
    "read_frames",
    "read_videos",
]
