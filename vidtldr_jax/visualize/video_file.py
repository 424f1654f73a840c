"""Pictures into files: H.264 in MP4 through PyAV, GIF and PNG through Pillow. A file appears when it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8

from vidtldr_jax.trust.whole_files import write_aside

_MOST_FOR_PALETTE: Final = 8


def write_video(
    path: str | os.PathLike[str], frames: Iterable[UInt8[np.ndarray, "Y X 3"]], *, fps: float, quality: int = 18
) -> Path:
    """Writes pictures as an H.264 MP4 that browsers play.

    Args:
      path: where to; an existing file is replaced.
      frames: the pictures, all of one size, with even sides.
      fps: pictures per second.
      quality: the encoder's constant rate factor, 0 (lossless) to 51.

    Returns:
      The path.

    Raises:
      ValueError: there is no picture, sizes are odd or differ, or fps is not above 0.
      OSError: the file can't be written.
    """
    import av

    pictures = iter(frames)
    first = next(pictures, None)
    if first is None or not fps > 0:
        got = "no picture" if first is None else f"fps = {fps}"
        raise ValueError(f"at least one picture and fps above 0 are needed; got {got}; pass others.")
    rows, columns = first.shape[:2]
    if rows % 2 or columns % 2:
        raise ValueError(f"H.264 needs even sides; got {rows} x {columns}; pad the pictures.")
    with write_aside(Path(path)) as aside, av.open(str(aside), "w", options={"movflags": "faststart"}) as container:
        rate = Fraction(fps).limit_denominator(1000)
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(quality), "preset": "medium"})
        stream.width, stream.height, stream.pix_fmt = columns, rows, "yuv420p"
        for picture in _chain(first, pictures):
            if picture.shape != first.shape:
                raise ValueError(f"all pictures have one size, here {first.shape}; got {picture.shape}; resize it.")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode(None))
    return Path(path)


def write_gif(path: str | os.PathLike[str], frames: Iterable[UInt8[np.ndarray, "Y X 3"]], *, fps: float) -> Path:
    """Writes pictures as a GIF that plays again and again, where a video can't be shown.

    Args:
      path: where to; an existing file is replaced.
      frames: the pictures, all of one size; their 256 colours are chosen from all of them together.
      fps: pictures per second; a GIF counts in hundredths of a second.

    Returns:
      The path.

    Raises:
      ValueError: there is no picture, sizes differ, or fps is not above 0.
      OSError: the file can't be written.
    """
    from PIL import Image

    pictures = list(frames)
    sizes = sorted({picture.shape for picture in pictures})
    if len(sizes) != 1 or not fps > 0:
        raise ValueError(
            f"at least one picture, all of one size, and fps above 0 are needed; got sizes {sizes}, "
            f"fps = {fps}; pass others."
        )
    palette = Image.fromarray(np.concatenate(pictures[:: -(-len(pictures) // _MOST_FOR_PALETTE)])).quantize(256)
    images = [Image.fromarray(picture).quantize(palette=palette) for picture in pictures]
    times = {"duration": max(round(100 / fps), 2) * 10, "loop": 0}  # ms; players slow down below 20
    with write_aside(Path(path)) as aside:
        images[0].save(aside, format="GIF", save_all=True, append_images=images[1:], disposal=1, **times)
    return Path(path)


def write_image(path: str | os.PathLike[str], picture: UInt8[np.ndarray, "Y X 3"]) -> Path:
    """Writes a picture as PNG.

    Args:
      path: where to; an existing file is replaced.
      picture: RGB.

    Returns:
      The path.

    Raises:
      OSError: the file can't be written.
    """
    from PIL import Image

    with write_aside(Path(path)) as aside:
        Image.fromarray(picture).save(aside, format="PNG", optimize=True)
    return Path(path)


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest
