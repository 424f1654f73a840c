"""Which frames are picked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtldr_jax.data.sampling import (
    SAMPLINGS,
    sample_dense,
    sample_frames,
    sample_middle,
    sample_uniform,
    sample_windows,
)


@pytest.mark.parametrize(("num_available", "num_frames"), [(300, 12), (31, 4), (13, 12), (12, 12), (5, 8), (1, 4)])
def test_middle_is_the_published_formula(num_available, num_frames):
    segments = min(num_frames, num_available)
    edges = [int(edge) for edge in np.linspace(0, num_available, segments + 1)]
    expected = [(edges[i] + edges[i + 1] - 1) // 2 for i in range(segments)]
    expected += [expected[-1]] * (num_frames - segments)
    np.testing.assert_array_equal(sample_middle(num_available, num_frames=num_frames), [expected])


def test_middle_in_numbers():
    np.testing.assert_array_equal(sample_middle(40, num_frames=4), [[4, 14, 24, 34]])
    np.testing.assert_array_equal(sample_middle(40, num_frames=4, num_clips=2), [[3, 13, 23, 33], [6, 16, 26, 36]])
    np.testing.assert_array_equal(sample_middle(2, num_frames=4), [[0, 1, 1, 1]])


def test_uniform_has_both_ends_and_deals_clips_out_in_turn():
    np.testing.assert_array_equal(sample_uniform(100, num_frames=4), [[0, 33, 66, 99]])
    np.testing.assert_array_equal(sample_uniform(8, num_frames=4, num_clips=2), [[0, 2, 4, 6], [1, 3, 5, 7]])
    np.testing.assert_array_equal(sample_uniform(6, num_frames=3), [[0, 3, 5]])
    np.testing.assert_array_equal(sample_uniform(9, num_frames=1), [[4]])
    np.testing.assert_array_equal(sample_uniform(3, num_frames=5), [[0, 1, 2, 2, 2]])


def videomae_windows(num_available, num_frames, stride, num_clips):
    """VideoMAE's test-time sampling, said step by step."""
    strided = list(range(0, num_available, stride))
    while len(strided) < num_frames:
        strided.append(strided[-1])
    step = max((len(strided) - num_frames) / (num_clips - 1), 0)
    begins = [int(v * step) for v in range(num_clips)]
    return [strided[begin : begin + num_frames] for begin in begins]


@pytest.mark.parametrize(("num_available", "stride"), [(300, 4), (250, 2), (65, 4), (64, 4), (61, 4), (30, 4), (1, 3)])
def test_dense_clips_are_the_windows_of_videomae(num_available, stride):
    ours = sample_dense(num_available, num_frames=16, stride=stride, num_clips=5)
    np.testing.assert_array_equal(ours, videomae_windows(num_available, 16, stride, 5))


def test_a_single_dense_clip_is_in_the_middle():
    np.testing.assert_array_equal(sample_dense(100, num_frames=4, stride=4), [[40, 44, 48, 52]])
    np.testing.assert_array_equal(sample_dense(9, num_frames=4, stride=4), [[0, 4, 8, 8]])


def scenic_windows(num_available, num_frames, stride, num_clips):
    """Scenic's test-time sampling, said step by step: the frames one after the other, again and again."""
    spare = max(num_available - num_frames * stride, 0)
    begins = [int(spare * v / (num_clips - 1)) for v in range(num_clips)] if num_clips > 1 else [spare // 2]
    endless = list(range(num_available)) * (1 + (spare + num_frames * stride) // num_available)
    return [endless[begin : begin + num_frames * stride : stride] for begin in begins]


@pytest.mark.parametrize("num_available", [300, 250, 65, 64, 63, 30, 5, 1])
@pytest.mark.parametrize(("num_frames", "stride", "num_clips"), [(32, 2, 4), (32, 1, 1), (16, 4, 3), (8, 4, 1)])
def test_windows_are_those_of_scenic(num_available, num_frames, stride, num_clips):
    ours = sample_windows(num_available, num_frames=num_frames, stride=stride, num_clips=num_clips)
    np.testing.assert_array_equal(ours, scenic_windows(num_available, num_frames, stride, num_clips))


def test_windows_in_numbers():
    np.testing.assert_array_equal(sample_windows(11, num_frames=2, stride=4, num_clips=3), [[0, 4], [1, 5], [3, 7]])
    np.testing.assert_array_equal(sample_windows(5, num_frames=4, stride=2), [[0, 2, 4, 1]])
    # In float32 a fourteenth of 62, times 7, is a little below 31; TensorFlow says the same.
    assert sample_windows(62 + 64, num_frames=32, stride=2, num_clips=15)[7, 0] == 30


@given(
    num_available=st.integers(1, 400),
    num_frames=st.integers(1, 20),
    stride=st.integers(1, 9),
    num_clips=st.integers(1, 6),
    sampling=st.sampled_from(SAMPLINGS),
)
def test_indices_are_ascending_and_inside_the_video(num_available, num_frames, stride, num_clips, sampling):
    indices = sample_frames(num_available, num_frames=num_frames, sampling=sampling, stride=stride, num_clips=num_clips)
    assert indices.shape == (num_clips, num_frames)
    assert indices.dtype == np.int64
    assert indices.min() >= 0
    assert indices.max() < num_available
    assert np.all(np.diff(indices, axis=1) >= 0) or (sampling == "windows" and num_available < num_frames * stride)


def test_all_impossible_counts_are_named_together():
    with pytest.raises(ValueError, match=r"num_available = 0, stride = -1, sampling = 'random'"):
        sample_frames(0, num_frames=4, sampling="random", stride=-1)
