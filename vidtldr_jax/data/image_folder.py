"""Frames from pictures: a folder of images in the order of their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from vidtldr_jax.data.decoder_faults import raise_read_errors
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.folder_contents import list_contents, list_pictures
from vidtldr_jax.data.pictures import decode_picture, open_picture
from vidtldr_jax.data.suffixes import IMAGE_SUFFIXES
from vidtldr_jax.trust.limits import check_limit

__all__ = ["IMAGE_SUFFIXES", "ImageFolder"]


class ImageFolder:
    """The images of a folder as the frames of a video, frame2 before frame10; or a single image.

    Attributes:
      path: of the folder or the image.
      num_frames: how many images there are.
      times: None: images have no clock.
      fps: None.
      notices: none.
    """

    times: None = None
    fps: None = None
    notices: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        """Lists the images.

        Args:
          path: of an existing folder, or of one image.

        Raises:
          VideoReadError: the folder can't be read, has no images or more than the limit on frames, or stands for videos
            below it.
        """
        self.path = path
        with raise_read_errors(path):
            if path.is_dir():
                _check_one_video(path)
            self._files = sorted(list_pictures(path), key=_natural_order) if path.is_dir() else [path]
            check_limit("frames", len(self._files), f"the folder {str(path)!r}")
        self.num_frames = len(self._files)
        if not self._files:
            raise VideoReadError(
                f"a folder must hold images (.jpg, .png, .webp, ...) or videos; {str(path)!r} holds neither; give "
                "another folder or a file."
            )

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, UInt8[np.ndarray, "Y X 3"]]]:
        """Reads images, one at a time.

        Args:
          indices: which, in the order of names.

        Yields:
          The index and the image, RGB, turned as its EXIF data says; where it is transparent, white shows through.

        Raises:
          VideoReadError: an image can't be read.
        """
        for index in indices:
            with open_picture(self._files[index]) as image:
                frame = decode_picture(image)
            yield index, frame


def _check_one_video(folder: Path) -> None:
    found = list_contents(folder).videos
    if found and found != [folder]:
        raise VideoReadError(
            f"one video is needed; {str(folder)!r} is a folder of videos, such as {str(found[0])!r}; name one of them."
        )


def _natural_order(file: Path) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
