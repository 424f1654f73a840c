"""Batches: the same for the same seed and number, wherever a run begins; what is random in clips; bad files."""

import contextlib

import numpy as np
import pytest

from tests.data.making import decode_all, read_number, write_video
from tests.train.squares import LABELS, PREPROCESSING, make_videos
from vidtldr_jax.data.manifest import read_manifest
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.resize import resize_frame
from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.examples import (
    ClipReader,
    find_order,
    find_place,
    make_batch,
    stream_batches,
    stream_feature_batches,
)
from vidtldr_jax.train.random_views import read_training_clip, sample_moments
from vidtldr_jax.train.recipe import Recipe

RANDOM = Recipe(batch_size=6, mirror=True, crop=0.6, mixup=0.4, accumulation=2, seed=3)


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    return read_manifest(make_videos(tmp_path_factory.mktemp("videos"), 2), class_names=[LABELS])


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("numbered") / "clip.mp4", num_frames=40)


def read_all(entries, recipe, **options):
    with contextlib.closing(stream_batches(entries, PREPROCESSING, recipe, **options)) as batches:
        return list(batches)


def test_a_run_that_begins_later_sees_the_same_batches(entries):
    whole = read_all(entries, RANDOM, first=0, num_steps=4)
    rest = read_all(entries, RANDOM, first=2, num_steps=4)
    assert [batch.inputs.shape for batch in whole] == [(2, 3, 4, 16, 16, 3)] * 4
    for one, other in zip(whole[2:], rest, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(one, other))
    assert len({batch.inputs.tobytes() for batch in whole}) == 4
    other_seed = read_all(entries, Recipe(**RANDOM.to_dict() | {"seed": 4}), first=0, num_steps=1)
    assert not np.array_equal(other_seed[0].inputs, whole[0].inputs)


def test_a_video_gives_another_clip_in_the_next_epoch_unless_nothing_is_random(entries):
    count = len(entries)
    draws = [draw for draw in range(2 * count) if find_place(draw, count, seed=3) == 5]
    for recipe, is_same in ((RANDOM, False), (Recipe(random_time=False, seed=3), True)):
        reader = ClipReader(entries, PREPROCESSING, recipe, skips=False)
        clips = [reader(draw).clip for draw in draws]
        assert np.array_equal(*clips) == is_same


@pytest.mark.once
def test_workers_read_the_same_batches(entries):
    pytest.importorskip("grain")
    there = read_all(entries, RANDOM, first=1, num_steps=3, num_workers=2)
    here = read_all(entries, RANDOM, first=1, num_steps=3)
    assert all(np.array_equal(*pair) for one, other in zip(there, here, strict=True) for pair in zip(one, other))


def test_every_video_comes_once_in_an_epoch_in_another_order_each():
    places = [find_place(draw, 8, seed=1) for draw in range(24)]
    epochs = [places[:8], places[8:16], places[16:]]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert find_order(8, seed=1, epoch=0) != find_order(8, seed=2, epoch=0)
    assert find_place(7, 8, seed=1, offset=1) == places[0]  # the one after the last of an epoch is its first


def test_features_come_in_the_order_of_clips(entries):
    recipe = Recipe(batch_size=5, random_time=False, probe=True)
    clips = read_all(entries, recipe, first=1, num_steps=4)
    labels = [entry.labels[0] for entry in entries]
    features = np.arange(len(entries), dtype=np.float32)[:, None]
    found = list(stream_feature_batches(features, labels, recipe, first=1, num_steps=4))
    for one, other in zip(clips, found, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal([labels[int(n)] for n in other.inputs[0, :, 0]], other.labels[0])


def test_mixup_draws_one_share_per_part_and_step():
    clips = np.zeros((8, 1), np.float32)
    batches = [make_batch(clips, range(8), Recipe(mixup=0.3, batch_size=8, accumulation=2), step=n) for n in (0, 0, 1)]
    shares = [batch.weight for batch in batches]
    assert np.array_equal(shares[0], shares[1])
    assert not np.array_equal(shares[0], shares[2])
    assert all(len(set(part)) == 1 and 0 <= part[0] <= 1 for weight in shares for part in weight.tolist())
    assert batches[0].partner.tolist() == [[3, 2, 1, 0]] * 2
    assert (make_batch(clips, range(8), Recipe(), step=0).weight == 1).all()


@pytest.mark.parametrize("sampling", ["middle", "uniform"])
def test_a_random_frame_of_every_segment_is_taken(sampling):
    recipe = Preprocessing(num_frames=4, image_size=16, sampling=sampling)
    assert sample_moments(40, recipe, np.zeros(4)).tolist() == [0, 10, 20, 30]
    assert sample_moments(40, recipe, np.full(4, 0.999)).tolist() == [9, 19, 29, 39]
    assert sample_moments(2, recipe, np.full(4, 0.999)).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("sampling", ["dense", "windows"])
def test_a_window_begins_anywhere_in_the_video(sampling):
    recipe = Preprocessing(num_frames=4, image_size=16, sampling=sampling, stride=3)
    assert sample_moments(40, recipe, np.zeros(4)).tolist() == [0, 3, 6, 9]
    assert sample_moments(40, recipe, np.full(4, 0.999)).tolist() == [30, 33, 36, 39]
    assert sample_moments(5, recipe, np.zeros(4)).tolist() == [0, 3, 4, 4]


def test_random_frames_are_the_right_ones(numbered):
    recipe = Preprocessing(num_frames=8, image_size=48, resize="shortest_edge", kernel="bilinear")
    clip = read_training_clip(numbered, recipe, Recipe(), np.random.default_rng(2)).frames
    numbers = [read_number(np.pad(frame, ((0, 0), (0, 16), (0, 0)))) for frame in clip]
    assert numbers == sample_moments(40, recipe, np.random.default_rng(2).random(8)).tolist()


def test_one_random_part_is_cut_from_all_frames(numbered):
    recipe = Preprocessing(num_frames=4, image_size=24, sampling="uniform", kernel="bilinear")
    wanted, whole = sample_moments(40, recipe, None), decode_all(numbered)
    places = set()
    for seed in range(5):
        random = np.random.default_rng(seed)
        clip = read_training_clip(numbered, recipe, Recipe(crop=0.5, random_time=False), random).frames
        rng = np.random.default_rng(seed)
        rows, columns = (rng.uniform(0.5, 1, 2) * (48, 64)).astype(int)
        top, left = (rng.random(2) * (48 - rows + 1, 64 - columns + 1)).astype(int)
        places.add((rows, columns, top, left))
        for frame, index in zip(clip, wanted, strict=True):
            part = np.ascontiguousarray(whole[index][top : top + rows, left : left + columns])
            expected = resize_frame(part, height=24, width=24, kernel="bilinear")
            np.testing.assert_array_equal(frame, expected)
    assert len(places) == 5


def test_a_part_of_another_shape_is_cut_to_a_square_at_random(numbered):
    recipe = Preprocessing(num_frames=2, image_size=24, resize="shortest_edge", kernel="bilinear")
    cut = [
        read_training_clip(numbered, recipe, Recipe(crop=0.5, random_time=False), np.random.default_rng(seed)).frames
        for seed in range(3)
    ]
    assert all(clip.shape == (2, 24, 24, 3) for clip in cut)
    assert np.abs(cut[0].astype(int) - cut[1]).mean() > 5


def test_mirroring_turns_half_of_the_clips(numbered):
    recipe, plain = Recipe(mirror=True, random_time=False), Recipe(random_time=False)
    as_is = read_training_clip(numbered, PREPROCESSING, plain, np.random.default_rng(0)).frames
    clips = [read_training_clip(numbered, PREPROCESSING, recipe, np.random.default_rng(n)).frames for n in range(20)]
    turned = [np.array_equal(clip, as_is[:, :, ::-1]) for clip in clips]
    assert all(is_turned or np.array_equal(clip, as_is) for is_turned, clip in zip(turned, clips))
    assert 4 <= sum(turned) <= 16


def test_what_is_not_random_is_what_evaluation_sees(numbered):
    from vidtldr_jax.data.clip import read_frames

    clip = read_training_clip(numbered, PREPROCESSING, Recipe(random_time=False), np.random.default_rng(0))
    np.testing.assert_array_equal(clip.frames, read_frames(numbered, PREPROCESSING).frames[0])


def test_a_bad_video_ends_the_run_by_name_or_is_replaced_by_the_next(entries, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    listed = [*entries[:3], entries[3]._replace(name="bad.mp4", path=bad)]
    recipe = Recipe(batch_size=4, seed=1)
    with pytest.raises(TrainError, match=r"every training video must be readable; bad.mp4: .*--skip-unreadable"):
        read_all(listed, recipe, first=0, num_steps=1)
    unreadable = {}
    batches = read_all(listed, recipe, first=0, num_steps=2, skips=True, unreadable=unreadable)
    assert list(unreadable) == ["bad.mp4"]
    order = find_order(4, seed=1, epoch=0)
    expected = [place if place != 3 else order[(number + 1) % 4] for number, place in enumerate(order)]
    assert batches[0].labels[0].tolist() == [listed[place].labels[0] for place in expected]
    with pytest.raises(TrainError, match=r"bad.mp4"):
        read_all(listed[3:], recipe, first=0, num_steps=1, skips=True)
