"""Pictures opened with Pillow: formats that are pictures only, within the limit on pixels, the right way up."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import UInt8

from vidtldr_jax.data.decoder_faults import raise_read_errors
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.trust.limits import LimitError, check_limit, get_limit, name_variable
from vidtldr_jax.trust.regular import check_regular

if TYPE_CHECKING:
    from PIL.Image import Image

# No EPS, for which Pillow starts Ghostscript, and nothing that few programs write and nobody tries.
_FORMATS: Final = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
_ENOUGH_TO_TELL: Final = 64
_ORIENTATION: Final = 0x0112  # tag of EXIF
_STRIP_PIXELS: Final = 2**20
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})


def find_picture_format(path: Path) -> str | None:
    """Return what picture a file is by its first bytes, whatever it is called.

    Args:
      path: of a regular file.

    Returns:
      "PNG", "WEBP", "TIFF" and "AVIF", which may have several frames; "GIF"; None for anything else.

    Raises:
      OSError: it can't be read.
    """
    with path.open("rb") as file:
        begin = file.read(_ENOUGH_TO_TELL)
    if begin.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if begin.startswith(b"RIFF") and begin[8:12] == b"WEBP":
        return "WEBP"
    if begin[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if begin.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return "AVIF" if read_brands(begin) & _AVIF_BRANDS else None


def read_brands(begin: bytes) -> set[bytes]:
    """Return the brands that a file of ISO's media format names, by its first bytes; none of another file."""
    if begin[4:8] != b"ftyp":
        return set()
    length = min(int.from_bytes(begin[:4], "big"), len(begin))
    return {begin[8:12], *(begin[place : place + 4] for place in range(16, length, 4))}


def can_read_avif() -> bool:
    """Return whether this Pillow reads AVIF; FFmpeg does where it doesn't."""
    from PIL import features

    return "avif" in features.modules and bool(features.check("avif"))


@contextlib.contextmanager
def open_picture(file: Path) -> Iterator[Image]:
    """Open a picture without decoding it.

    Args:
      file: path of it.

    Yields:
      The picture at its first frame, no larger than the limit.

    Raises:
      VideoReadError: it is no regular file, no picture, too large or damaged, or anything was raised inside.
    """
    from PIL import Image, UnidentifiedImageError

    with raise_read_errors(file, rule="every image that is looked at must be readable", remedy="replace or remove it."):
        check_regular(file)
        Image.init()
        # Pillow's own limit knows no other for this user; it would stop what they allow.
        if Image.MAX_IMAGE_PIXELS is not None:
            Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, get_limit("frame_pixels"))
        # What Pillow warns of is either checked here or an error later. Filters are of the whole process: taking them
        # back again, as `catch_warnings` does, would take back what another thread has changed meanwhile.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            image = Image.open(file, formats=[name for name in _FORMATS if name in Image.OPEN])
        except Image.DecompressionBombError as error:  # Pillow's own limit, above ours
            raise LimitError(
                f"a frame of {str(file)!r} may have at most {get_limit('frame_pixels'):,} pixels; got a larger one; "
                f"set {name_variable('frame_pixels')} to allow more"
            ) from error
        except UnidentifiedImageError as error:
            raise VideoReadError(
                f"every image that is looked at must be readable; {str(file)!r} is not (not an image); "
                "replace or remove it."
            ) from error
        with image:
            check_picture_size(image, file)
            yield image


def check_picture_size(image: Image, file: Path) -> None:
    """Refuse a picture, or a frame of it, that is larger than the limit; nothing is decoded for that.

    Raises:
      LimitError: it is larger.
    """
    check_limit("frame_pixels", image.width * image.height, f"a frame of {str(file)!r}")


def decode_picture(image: Image) -> UInt8[np.ndarray, "Y X 3"]:
    """Decode the frame at which a picture stands.

    Args:
      image: opened; it can go on to another frame afterwards.

    Returns:
      The frame, RGB, turned as its EXIF data says; where it is transparent, white shows through.
    """
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    # In strips: whole copies in other colours would take several times the memory of the picture.
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        rgb[top:bottom] = _convert_strip(image.crop((0, top, image.width, bottom)))
    return _turn_upright(rgb, image.getexif().get(_ORIENTATION, 1))


def _convert_strip(strip: Image) -> np.ndarray:
    from PIL import Image

    if strip.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        strip = Image.fromarray((np.asarray(strip) // 257).clip(0, 255).astype(np.uint8))
    if strip.has_transparency_data:
        strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip.convert("RGBA"))
    return np.asarray(strip.convert("RGB"))


def _turn_upright(frame: np.ndarray, orientation: int) -> np.ndarray:
    """Returns a view of a frame as EXIF's eight orientations say; others change nothing."""
    if orientation in (5, 6, 7, 8):
        frame = frame.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        frame = frame[:, ::-1]
    return frame[::-1] if orientation in (3, 4, 7, 8) else frame
