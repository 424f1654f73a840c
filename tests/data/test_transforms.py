"""Shortest edge, crops, normalisation and orientation."""

import itertools

import numpy as np
import pytest

from tests.reference.files import require_torch
from vidtldr_jax.data.orientation import orient_frame
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.transforms import crop_frame, fit_shortest_edge, normalize_frames, transform_frame


def number_pixels(height, width):
    return np.arange(height * width * 3, dtype=np.uint16).astype(np.uint8).reshape(height, width, 3)


def test_the_shorter_side_becomes_the_edge_and_the_longer_one_is_cut():
    assert fit_shortest_edge(240, 320, edge=224) == (224, 298)
    assert fit_shortest_edge(320, 240, edge=224) == (298, 224)
    assert fit_shortest_edge(7, 7, edge=10) == (10, 10)


def test_centre_crop_is_nearer_to_the_top_left_where_the_middle_is_between_pixels():
    frame = number_pixels(7, 10)
    np.testing.assert_array_equal(crop_frame(frame, size=4, crop="center"), frame[None, 1:5, 3:7])


def test_three_crops_go_along_the_longer_side():
    wide = number_pixels(5, 11)
    np.testing.assert_array_equal(
        crop_frame(wide, size=4, crop="three"), [wide[0:4, 0:4], wide[0:4, 3:7], wide[0:4, 7:11]]
    )
    tall = wide.transpose(1, 0, 2)
    np.testing.assert_array_equal(
        crop_frame(tall, size=4, crop="three"), crop_frame(wide, size=4, crop="three").transpose(0, 2, 1, 3)
    )


def test_three_up_is_nearer_to_the_bottom_right_where_a_middle_is_between_pixels():
    wide = number_pixels(5, 11)
    np.testing.assert_array_equal(
        crop_frame(wide, size=4, crop="three_up"), [wide[1:5, 0:4], wide[1:5, 4:8], wide[1:5, 7:11]]
    )
    even = number_pixels(6, 12)
    np.testing.assert_array_equal(crop_frame(even, size=4, crop="three_up"), crop_frame(even, size=4, crop="three"))


def test_a_frame_below_the_crop_is_refused():
    with pytest.raises(ValueError, match="at least 8 x 8; got 7 x 9"):
        crop_frame(number_pixels(7, 9), size=8, crop="center")


def test_squash_ignores_the_aspect_ratio_and_shortest_edge_keeps_it():
    frame = np.zeros((32, 64, 3), np.uint8)
    frame[:, :12] = 255  # a white stripe at the left
    squash = Preprocessing(num_frames=1, image_size=16, resize="squash", kernel="bilinear_antialias")
    keep = Preprocessing(num_frames=1, image_size=16, resize="shortest_edge", kernel="bilinear_antialias")
    assert transform_frame(frame, squash)[0, 8, 1, 0] == 255
    assert transform_frame(frame, keep).max() == 0  # outside of the centre crop
    larger = Preprocessing(num_frames=1, image_size=16, resize="shortest_edge", shortest_edge=20, crop="three")
    assert transform_frame(frame, larger).shape == (3, 16, 16, 3)


def test_normalisation_equals_torch():
    torch = require_torch()
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3)).astype(np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    ours = normalize_frames(frames, mean=mean, std=std)
    theirs = (torch.from_numpy(frames).float().div(255) - torch.tensor(mean)) / torch.tensor(std)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-6)


def turn_by_pixels(frame, a, b, c, d):
    """Moves each pixel to (a x + c y, b x + d y), and the result to the origin."""
    places = {(a * x + c * y, b * x + d * y): frame[y, x] for y, x in np.ndindex(*frame.shape[:2])}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    width, height = max(x for x, _ in places) - left + 1, max(y for _, y in places) - top + 1
    shown = np.zeros((height, width, 3), np.uint8)
    for (x, y), value in places.items():
        shown[y - top, x - left] = value
    return shown


@pytest.mark.parametrize(("first", "second", "is_swapped"), list(itertools.product([1, -1], [1, -1], [False, True])))
def test_all_eight_display_matrices_move_pixels_as_they_say(first, second, is_swapped):
    a, b, c, d = (0, first, second, 0) if is_swapped else (first, 0, 0, second)
    frame = number_pixels(3, 5)
    one = 1 << 16
    matrix = np.array([a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30], np.int32).tobytes()
    np.testing.assert_array_equal(orient_frame(frame, matrix), turn_by_pixels(frame, a, b, c, d))


def test_no_matrix_and_an_empty_one_change_nothing():
    frame = number_pixels(3, 5)
    np.testing.assert_array_equal(orient_frame(frame, None), frame)
    np.testing.assert_array_equal(orient_frame(frame, bytes(36)), frame)
