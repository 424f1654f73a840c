"""Animated pictures as videos: WebP, PNG and AVIF with their times, and the pages of a TIFF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Float64, UInt8

from vidtldr_jax.data.animation import NEW_SUBFILE_TYPE, SUBFILE_TYPE, is_copy_or_mask
from vidtldr_jax.data.pictures import check_picture_size, decode_picture, open_picture
from vidtldr_jax.trust.limits import check_limit

if TYPE_CHECKING:
    from PIL.Image import Image

_USUAL_SECONDS: Final = 0.1  # that browsers show a frame whose duration is 0


class PictureFilm:
    """The frames of an animated picture, numbered in the order of showing.

    Each frame is decoded once to count them and read their durations, but the pages of a TIFF, which have none. Nothing
    stays open between calls.

    Attributes:
      path: of the file.
      num_frames: how many there are; 1 for a still.
      times: [F] float64, seconds since the first frame; None where frames have no duration.
      fps: frames per second on average; None if unknown.
      notices: what a user should know about the file.
    """

    def __init__(self, path: Path) -> None:
        """Lists the frames.

        Args:
          path: of an existing PNG, WebP, AVIF or TIFF.

        Raises:
          VideoReadError: it can't be read, or is above a limit.
        """
        self.path = path
        self.times: Float64[np.ndarray, " F"] | None = None
        self.fps: float | None = None
        self.notices: tuple[str, ...] = ()
        with open_picture(path) as image:
            if image.format == "TIFF":
                self._pages = self._list_pages(image)
            else:
                self._pages = self._list_animation(image)
        self.num_frames = len(self._pages)

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, UInt8[np.ndarray, "Y X 3"]]]:
        """Decodes frames, one at a time.

        Args:
          indices: which, in strictly ascending order, below `num_frames`.

        Yields:
          The index and the frame, RGB, turned as EXIF data says; where it is transparent, white shows through.

        Raises:
          VideoReadError: a frame can't be read.
        """
        with open_picture(self.path) as image:
            for index in indices:
                image.seek(self._pages[index])
                check_picture_size(image, self.path)
                yield index, decode_picture(image)

    def _list_animation(self, image: Image) -> list[int]:
        """Lists the frames that are shown, and when."""
        # The first picture of an animated PNG may be one for programs that know no animation.
        first = int(getattr(image, "default_image", False))
        num_announced = getattr(image, "n_frames", 1)
        check_limit("frames", num_announced, f"the video {str(self.path)!r}")
        if num_announced == 1:
            return [0]
        pages: list[int] = []
        seconds: list[float] = []
        for page in range(first, num_announced):
            try:
                image.seek(page)
                image.load()
            except MemoryError:
                raise
            except Exception:
                if not pages:
                    raise
                lost = num_announced - page
                self.notices = (f"{lost} of {num_announced - first} frames can't be decoded and are left out",)
                break
            pages.append(page)
            seconds.append(float(image.info.get("duration") or 0) / 1000 or _USUAL_SECONDS)
        self.times = np.concatenate([[0.0], np.cumsum(seconds[:-1])])
        span = float(self.times[-1])
        self.fps = (len(pages) - 1) / span if span > 0 else 1 / seconds[0]
        return pages

    def _list_pages(self, image: Image) -> list[int]:
        """Lists the pages of a TIFF that are pictures, not smaller copies of one or masks."""
        pages: list[int] = []
        page = 0
        while True:
            try:
                image.seek(page)
            except EOFError:
                break
            except MemoryError:
                raise
            except Exception:
                if page == 0:
                    raise
                self.notices = (f"pages after number {page} can't be read and are left out",)
                break
            tags = getattr(image, "tag_v2", {})
            if not is_copy_or_mask(tags.get(NEW_SUBFILE_TYPE, 0), tags.get(SUBFILE_TYPE, 0)):
                pages.append(page)
            page += 1
            check_limit("frames", page, f"the video {str(self.path)!r}")
        return pages or [0]
