"""Which frames of a video a model looks at.

All samplers count frames, not seconds, as the originals do: in a video of variable frame rate equal steps are equal
numbers of frames. A result is `[V, T]`: V clips of T frame indices, ascending in a clip. A video with too few frames
has its last one repeated; only "windows" begins it anew.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from jaxtyping import Int64

Sampling = Literal["middle", "starts", "uniform", "dense", "windows"]
SAMPLINGS: Final = ("middle", "uniform", "dense", "windows", "starts")


def sample_frames(
    num_available: int, *, num_frames: int, sampling: Sampling, stride: int = 1, num_clips: int = 1
) -> Int64[np.ndarray, "V T"]:
    """Picks the frames of one or several clips.

    Args:
      num_available: frames of the video, at least 1.
      num_frames: T, frames of a clip.
      sampling: "middle", "starts", "uniform", "dense" or "windows"; see the functions of these names.
      stride: distance of a clip's frames; "dense" and "windows" only.
      num_clips: V.

    Returns:
      Frame indices.

    Raises:
      ValueError: a count is below 1, or the sampling is unknown.
    """
    counts = {"num_available": num_available, "num_frames": num_frames, "stride": stride, "num_clips": num_clips}
    faults = [f"{name} = {value}" for name, value in counts.items() if value < 1]
    if sampling not in SAMPLINGS:
        faults.append(f"sampling = {sampling!r}")
    if faults:
        raise ValueError(
            f"counts are at least 1 and sampling is one of {', '.join(SAMPLINGS)}; got "
            f"{', '.join(faults)}; change these."
        )
    if sampling == "middle":
        return sample_middle(num_available, num_frames=num_frames, num_clips=num_clips)
    if sampling == "starts":
        return sample_starts(num_available, num_frames=num_frames, num_clips=num_clips)
    if sampling == "uniform":
        return sample_uniform(num_available, num_frames=num_frames, num_clips=num_clips)
    if sampling == "dense":
        return sample_dense(num_available, num_frames=num_frames, stride=stride, num_clips=num_clips)
    return sample_windows(num_available, num_frames=num_frames, stride=stride, num_clips=num_clips)


def sample_middle(num_available: int, *, num_frames: int, num_clips: int = 1) -> Int64[np.ndarray, "V T"]:
    """Cuts the video into equal segments and takes the middle frame of each.

    Args:
      num_available: frames of the video.
      num_frames: segments.
      num_clips: with V clips, clip v takes the frame at (v + 1) / (V + 1) of each segment.

    Returns:
      Frame indices.

    Reference:
      UMT's evaluation: edges = linspace(0, n, k + 1) truncated, index = (edge[i] + edge[i + 1] - 1) // 2.
    """
    edges = np.linspace(0, num_available, min(num_frames, num_available) + 1).astype(np.int64)
    begin, last = edges[:-1], edges[1:] - 1
    clip = np.arange(1, num_clips + 1)[:, None]
    return _pad(begin + (last - begin) * clip // (num_clips + 1), num_frames)


def sample_starts(num_available: int, *, num_frames: int, num_clips: int = 1) -> Int64[np.ndarray, "V T"]:
    """Cuts the video into equal segments and takes the first frame of each.

    Args:
      num_available: frames of the video.
      num_frames: segments.
      num_clips: with V clips, clip v takes the frame at v / V of each segment.

    Returns:
      Frame indices.

    Reference:
      transformers' `default_sample_indices_fn`: arange(k) * n // k; it refuses videos of fewer than k frames.
    """
    segments = min(num_frames, num_available)
    step = np.arange(segments) * num_clips + np.arange(num_clips)[:, None]  # [V, T]
    return _pad(step * num_available // (segments * num_clips), num_frames)


def sample_uniform(num_available: int, *, num_frames: int, num_clips: int = 1) -> Int64[np.ndarray, "V T"]:
    """Spreads frames evenly from the first to the last one of the video.

    Args:
      num_available: frames of the video.
      num_frames: frames of a clip.
      num_clips: with V clips, V * num_frames are spread and dealt out in turn, so that each clip spans the video.

    Returns:
      Frame indices, rounded to the nearest frame; the middle one where one frame is asked for.
    """
    per_clip = min(num_frames, num_available)
    steps = per_clip * num_clips - 1
    if steps == 0:
        return _pad(np.full((1, 1), (num_available - 1) // 2), num_frames)
    spread = (2 * np.arange(steps + 1) * (num_available - 1) + steps) // (2 * steps)  # halves round up
    return _pad(spread.reshape(per_clip, num_clips).T, num_frames)


def sample_dense(num_available: int, *, num_frames: int, stride: int, num_clips: int = 1) -> Int64[np.ndarray, "V T"]:
    """Takes frames a stride apart: a window into the video.

    Args:
      num_available: frames of the video.
      num_frames: frames of a clip.
      stride: distance of two frames.
      num_clips: windows, spread evenly from the video's beginning to its end; a single one is in the middle.

    Returns:
      Frame indices.

    Reference:
      VideoMAE's Kinetics evaluation: every stride-th frame of the video, and windows of them at int(v * step) with
      step = (count - num_frames) / (V - 1).
    """
    strided = np.arange(0, num_available, stride)
    spare = max(len(strided) - num_frames, 0)
    if num_clips == 1:
        begin = np.array([spare // 2])
    else:
        begin = np.arange(num_clips) * spare // (num_clips - 1)
    window = np.arange(num_frames).clip(max=len(strided) - 1)
    return strided[begin[:, None] + window]


def sample_windows(num_available: int, *, num_frames: int, stride: int, num_clips: int = 1) -> Int64[np.ndarray, "V T"]:
    """Takes frames a stride apart, from anywhere in the video and not only from every stride-th frame.

    Args:
      num_available: frames of the video.
      num_frames: frames of a clip.
      stride: distance of two frames. A window is num_frames * stride frames long, so that stride - 1 frames follow its
        last one.
      num_clips: windows, spread evenly from the video's beginning to its end; a single one is in the middle.

    Returns:
      Frame indices. A video shorter than a window begins anew after its end, so that indices may fall.

    Reference:
      Scenic's video pipeline (DMVR): windows begin at linspace(0, spare, V), in float32, with fractions cut off.
    """
    spare = max(num_available - num_frames * stride, 0)
    if num_clips == 1:
        begin = np.array([spare // 2])
    else:
        step = np.float32(spare) / np.float32(num_clips - 1)
        begin = (np.arange(num_clips, dtype=np.float32) * step).astype(np.int64)
        begin[-1] = spare
    return (begin[:, None] + stride * np.arange(num_frames)) % num_available


def _pad(indices: np.ndarray, num_frames: int) -> np.ndarray:
    return np.pad(indices, ((0, 0), (0, num_frames - indices.shape[1])), mode="edge")
