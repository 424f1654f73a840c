"""Position tables against loops and against PyTorch's interpolation."""

import numpy as np
import pytest

from tests.reference import oracle
from tests.reference.files import require_torch
from vidtldr_jax.models.positions import interpolate_positions, sincos_positions


@pytest.mark.parametrize(("grid", "dim"), [((2, 3, 4), 8), ((1, 5, 5), 10), ((12, 14, 14), 4)])
def test_the_sincos_table_equals_a_loop(grid, dim):
    table = sincos_positions(grid, dim)
    assert table.dtype == np.float32
    np.testing.assert_allclose(table, oracle.sincos(int(np.prod(grid)), dim), atol=1e-7)


@pytest.mark.parametrize(
    ("grid_from", "grid_to"),
    [
        ((4, 6, 6), (8, 6, 6)),
        ((4, 6, 6), (3, 6, 6)),
        ((4, 6, 6), (1, 6, 6)),
        ((1, 6, 6), (3, 6, 6)),
        ((2, 6, 6), (2, 9, 9)),
        ((2, 6, 6), (2, 4, 7)),
        ((4, 7, 7), (6, 14, 14)),
        ((1, 2, 2), (1, 5, 5)),
    ],
)
def test_interpolation_equals_torch(grid_from, grid_to):
    torch = require_torch()
    table = np.random.default_rng(0).normal(size=(int(np.prod(grid_from)), 5)).astype(np.float32)
    volume = torch.tensor(table).reshape(*grid_from, 5)
    t, y, x = grid_from
    along_time = volume.permute(1, 2, 3, 0).reshape(y * x, 5, t)
    along_time = torch.nn.functional.interpolate(along_time, size=grid_to[0], mode="linear", align_corners=False)
    frames = along_time.reshape(y, x, 5, grid_to[0]).permute(3, 2, 0, 1)  # [T, D, Y, X]
    frames = torch.nn.functional.interpolate(frames, size=grid_to[1:], mode="bicubic", align_corners=False)
    expected = frames.permute(0, 2, 3, 1).reshape(-1, 5).numpy()
    np.testing.assert_allclose(interpolate_positions(table, grid_from, grid_to), expected, atol=2e-6)


def test_cubic_weights_have_a_of_minus_three_quarters():
    # Doubling a unit impulse far from the edges: the kernel at distances 1/4, 3/4, 5/4 and 7/4.
    table = np.zeros((8, 1), np.float32)
    table[4] = 1
    column = np.tile(table, (1, 1))
    doubled = interpolate_positions(column, (1, 8, 1), (1, 16, 1))[:, 0]
    a, expected = -0.75, []
    for d in (1.75, 1.25, 0.75, 0.25, 0.25, 0.75, 1.25, 1.75):
        near, far = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * (d**3 - 5 * d**2 + 8 * d - 4)
        expected.append(near if d <= 1 else far)
    np.testing.assert_allclose(doubled[5:13], expected, atol=1e-6)


def test_the_same_grid_returns_the_table_as_it_is():
    table = sincos_positions((2, 3, 3), 4)
    assert interpolate_positions(table, (2, 3, 3), (2, 3, 3)) is table


def test_a_table_of_another_grid_is_refused():
    with pytest.raises(ValueError) as error:
        interpolate_positions(np.zeros((7, 2), np.float32), (2, 2, 2), (1, 2, 2))
    assert str(error.value) == (
        "a grid (2, 2, 2) has 8 positions; got a table of 7; set position_grid to the grid that the table was made for."
    )
