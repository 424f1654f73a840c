"""Frames from pictures: a folder of images in the order of their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.folder_contents import list_pictures, look_into
from vidtldr_jax.data.suffixes import IMAGE_SUFFIXES

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
          VideoReadError: the folder has no images, or stands for videos below it.
        """
        self.path = path
        if path.is_dir():
            _check_one_video(path)
        self._files = sorted(list_pictures(path), key=_natural_order) if path.is_dir() else [path]
        self.num_frames = len(self._files)
        if not self._files:
            raise VideoReadError(
                f"read_frames: a folder must hold images ({', '.join(IMAGE_SUFFIXES)}); {str(path)!r} holds none; give "
                "another folder or a video file."
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
            yield index, _read_image(self._files[index])


def _check_one_video(folder: Path) -> None:
    found = look_into(folder).videos
    if found and found != [folder]:
        raise VideoReadError(
            f"one video is needed; {str(folder)!r} is a folder of videos, such as {str(found[0])!r}; name one of them."
        )


def _natural_order(file: Path) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _read_image(file: Path) -> np.ndarray:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
                upright = Image.fromarray((np.asarray(upright) // 257).clip(0, 255).astype(np.uint8))
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
            return np.asarray(upright.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
        raise VideoReadError(
            f"read_frames: every image that is looked at must be readable; {str(file)!r} is not ({reason}); replace or "
            "remove it."
        ) from error
