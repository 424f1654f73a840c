"""Each patch shows the mean of its group, weighted as merging weighs."""

import numpy as np
import pytest

from vidtldr_jax.visualize import reconstruct_frames

GRID = (2, 2, 3)


def average_with_loops(frames, group, weight):
    """The same, said again patch by patch in float64."""
    sides = [length // count for length, count in zip(frames.shape, group.shape)]
    result = np.zeros(frames.shape)

    def find(place):
        return tuple(slice(at * side, (at + 1) * side) for at, side in zip(place, sides))

    for place in np.ndindex(group.shape):
        if group[place] >= 0:
            members = [other for other in np.ndindex(group.shape) if group[other] == group[place]]
            say = sum(float(weight[other]) for other in members)
            result[find(place)] = (
                sum(float(weight[other]) * frames[find(other)].astype(float) for other in members) / say
            )
    return result


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (4, 8, 9, 3)])
def test_it_is_the_weighted_mean_over_the_group_frame_by_frame_of_a_tubelet(shape):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, shape).astype(np.uint8)
    group = rng.integers(-1, 4, GRID).astype(np.int32)
    group[0, 0] = [-1, 2, 2]
    weight = rng.uniform(0.05, 1, GRID).astype(np.float32)
    found = reconstruct_frames(frames, group, weight)
    expected = average_with_loops(frames, group, weight)
    np.testing.assert_allclose(found, expected, atol=0.51)  # rounded to whole steps
    assert (found[: shape[0] // 2, : shape[1] // 2, : shape[2] // 3] == 0).all()


def test_patches_alone_come_back_as_they_were():
    frames = np.random.default_rng(1).integers(0, 256, (4, 8, 9, 3)).astype(np.uint8)
    group = np.arange(12).reshape(GRID)
    weight = np.full(GRID, 0.3, np.float32)
    np.testing.assert_array_equal(reconstruct_frames(frames, group, weight), frames)


def test_nothing_is_left_of_a_clip_whose_patches_are_all_dropped():
    frames = np.full((2, 4, 6, 3), 9, np.uint8)
    assert (reconstruct_frames(frames, np.full(GRID, -1), np.zeros(GRID, np.float32)) == 0).all()


def test_frames_that_the_grid_does_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"the grid divides .*\(2, 5, 6\) and a grid of \(2, 2, 3\)"):
        reconstruct_frames(np.zeros((2, 5, 6, 3), np.uint8), np.zeros(GRID, int), np.ones(GRID, np.float32))
