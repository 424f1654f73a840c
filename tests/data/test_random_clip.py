"""Random clips: windows, squares and mirrors are random, repeatable, and the same for all frames of a clip."""

import numpy as np
import pytest

from tests.data.making import read_number, write_video
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.random_clip import read_random_clip

RECIPE = Preprocessing(num_frames=5, image_size=48, stride=3, sampling="dense", resize="shortest_edge")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    # Twice as wide as high: the bars that say a frame's number are in the left half.
    return write_video(tmp_path_factory.mktemp("clips") / "bars.mp4", num_frames=40, height=48, width=96)


def read(video, seed, use_mirror=False, recipe=RECIPE):
    return read_random_clip(video, recipe, np.random.default_rng(seed), use_mirror=use_mirror)


def find_numbers(clip):
    """Returns the frames' numbers; bars reach to the left edge unless the square lies right of them."""
    return [read_number(np.concatenate([frame[:, :4]] * 16, axis=1)) for frame in clip]


def test_windows_keep_the_stride_and_reach_all_of_the_video(video):
    begins = set()
    for seed in range(60):
        clip = read(video, seed)
        corner = np.random.default_rng(seed)
        corner.random()
        left = int(corner.random(2)[1] * 49)
        if left > 40:
            continue
        numbers = find_numbers(clip)
        assert np.diff(numbers).tolist() == [3, 3, 3, 3]
        begins.add(numbers[0])
    assert min(begins) <= 3
    assert 24 <= max(begins) <= 40 - 13


def test_the_same_generator_gives_the_same_clip_and_another_another(video):
    np.testing.assert_array_equal(read(video, 3), read(video, 3))
    assert np.any(read(video, 3) != read(video, 4))


def test_half_of_the_clips_are_mirrored_whole(video):
    pairs = [(read(video, seed), read(video, seed, use_mirror=True)) for seed in range(16)]
    mirrored = [np.array_equal(plain[:, :, ::-1], other) for plain, other in pairs]
    same = [np.array_equal(plain, other) for plain, other in pairs]
    assert all(a != b for a, b in zip(mirrored, same))
    assert 3 <= sum(mirrored) <= 13


def test_a_short_video_repeats_its_last_frame(tmp_path):
    video = write_video(tmp_path / "short.mp4", num_frames=4, height=48, width=48)
    recipe = Preprocessing(num_frames=5, image_size=48, stride=2, sampling="dense", resize="shortest_edge")
    assert [read_number(frame) for frame in read(video, 0, recipe=recipe)] == [0, 2, 3, 3, 3]
    with pytest.raises(VideoReadError, match="there is no"):
        read(tmp_path / "none.mp4", 0)
