"""Resizing against torch's interpolate, and its edges."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from tests.reference.files import require_torch
from vidtldr_jax.data.resize import KERNELS, cubic_taps, resize_frame

SIZES = [
    ((48, 64), (32, 32)),
    ((37, 53), (24, 31)),
    ((31, 17), (64, 45)),
    ((240, 321), (56, 56)),
    ((20, 90), (50, 20)),
    ((1, 7), (5, 3)),
    ((16, 16), (16, 24)),
]
TORCH = {
    "bicubic": {"mode": "bicubic", "antialias": False},
    "bilinear": {"mode": "bilinear", "antialias": False},
    "bicubic_antialias": {"mode": "bicubic", "antialias": True},
    "bilinear_antialias": {"mode": "bilinear", "antialias": True},
}


def draw_noise(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def resize_with_torch(frame, size, *, on_float=True, **options):
    """Resizes in float32, rounds and clamps; or leaves uint8 to torch, which then rounds and clamps after each axis."""
    torch = require_torch()
    image = torch.from_numpy(frame).permute(2, 0, 1)[None]
    image = image.float() if on_float else image
    out = torch.nn.functional.interpolate(image, size=size, align_corners=False, **options)
    return out.round().clamp(0, 255)[0].permute(1, 2, 0).numpy().astype(np.uint8)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("size", "new_size"), SIZES)
def test_every_kernel_is_within_one_step_of_torch(kernel, size, new_size):
    frame = draw_noise(size)
    ours = resize_frame(frame, height=new_size[0], width=new_size[1], kernel=kernel).astype(int)
    theirs = resize_with_torch(frame, new_size, on_float="antialias" not in kernel, **TORCH[kernel]).astype(int)
    assert ours.shape == (*new_size, 3)
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("size", "new_size"), SIZES)
def test_every_kernel_is_within_one_step_of_torch_in_float_where_nothing_overshoots(kernel, size, new_size):
    frame = draw_noise(size) // 3 + 85
    ours = resize_frame(frame, height=new_size[0], width=new_size[1], kernel=kernel).astype(int)
    theirs = resize_with_torch(frame, new_size, **TORCH[kernel]).astype(int)
    assert ours.shape == (*new_size, 3)
    assert np.abs(ours - theirs).max() <= 1


def test_bicubic_equals_torch_in_nearly_every_pixel():
    frame = draw_noise((120, 90), seed=3)
    ours = resize_frame(frame, height=56, width=56, kernel="bicubic")
    assert np.mean(ours != resize_with_torch(frame, (56, 56), **TORCH["bicubic"])) < 1e-3


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_step_of_one_tells_the_kernels_apart(kernel):
    frame = draw_noise((120, 90), seed=4)
    ours = resize_frame(frame, height=56, width=56, kernel=kernel).astype(int)
    for other in set(KERNELS) - {kernel}:
        assert np.abs(ours - resize_with_torch(frame, (56, 56), **TORCH[other]).astype(int)).max() > 20


@pytest.mark.parametrize("num_out", [1, 5, 9, 20])
def test_cubic_weights_sum_to_one_and_stay_inside(num_out):
    taps = cubic_taps(9, num_out)
    np.testing.assert_allclose(taps.weights.sum(axis=1), 1, atol=1e-6)
    assert taps.positions.min() >= 0
    assert taps.positions.max() <= 8


def test_cubic_weights_half_way_are_those_of_sharpness_three_quarters():
    np.testing.assert_allclose(cubic_taps(8, 4).weights, [[-0.09375, 0.59375, 0.59375, -0.09375]] * 4, atol=1e-7)


def interpolate_pixel(frame, row, column, height, width):
    """One pixel of TensorFlow's bilinear resize in exact arithmetic: a mean of four weighted by the opposite areas."""
    y = min(max(Fraction(2 * row + 1, 2) * frame.shape[0] / height - Fraction(1, 2), 0), frame.shape[0] - 1)
    x = min(max(Fraction(2 * column + 1, 2) * frame.shape[1] / width - Fraction(1, 2), 0), frame.shape[1] - 1)
    total = [Fraction(0)] * 3
    for near_y, near_x in itertools.product((math.floor(y), math.ceil(y)), (math.floor(x), math.ceil(x))):
        weight = (1 - abs(y - near_y)) * (1 - abs(x - near_x))
        weight /= (2 if y == near_y else 1) * (2 if x == near_x else 1)  # floor and ceil are one pixel there
        total = [t + weight * int(v) for t, v in zip(total, frame[near_y, near_x])]
    return total


@pytest.mark.parametrize(("size", "new_size"), [((24, 32), (17, 23)), ((9, 7), (20, 15)), ((12, 16), (16, 16))])
def test_bilinear_cuts_the_exact_value_off_to_within_rounding(size, new_size):
    frame = draw_noise(size, seed=5)
    ours = resize_frame(frame, height=new_size[0], width=new_size[1], kernel="bilinear")
    for row, column in np.ndindex(*new_size):
        for value, exact in zip(ours[row, column], interpolate_pixel(frame, row, column, *new_size), strict=True):
            assert exact - 1 - 1e-3 < value < exact + 1e-3


@pytest.mark.parametrize("value", [1, 100, 137, 255])
def test_bilinear_leaves_flat_areas_as_they_are(value):
    frame = np.full((36, 64, 3), value, np.uint8)
    resized = resize_frame(frame, height=25, width=45, kernel="bilinear")
    np.testing.assert_array_equal(resized, np.full((25, 45, 3), value))


def test_overshoot_is_clamped_and_does_not_wrap_around():
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[:, 4:] = 255
    row = resize_frame(frame, height=8, width=32, kernel="bicubic")[0, :, 0]
    assert row[:12].max() == 0
    assert row[20:].min() == 255


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_same_size_changes_nothing(kernel):
    frame = draw_noise((9, 12))
    np.testing.assert_array_equal(resize_frame(frame, height=9, width=12, kernel=kernel), frame)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_turned_view_is_resized_like_its_copy(kernel):
    turned = draw_noise((20, 30))[:, ::-1].transpose(1, 0, 2)
    ours = resize_frame(turned, height=8, width=8, kernel=kernel)
    np.testing.assert_array_equal(ours, resize_frame(turned.copy(), height=8, width=8, kernel=kernel))


def test_sizes_and_kernels_that_do_not_exist_are_refused():
    frame = draw_noise((4, 4))
    with pytest.raises(ValueError, match=r"sizes are at least 1 .* got 0 x 4 and 'bicubic'"):
        resize_frame(frame, height=0, width=4, kernel="bicubic")
    with pytest.raises(ValueError, match=r"one of bicubic, .* 'nearest'"):
        resize_frame(frame, height=4, width=4, kernel="nearest")
