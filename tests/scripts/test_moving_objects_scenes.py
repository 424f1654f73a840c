from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

NUM_FRAMES = 15  # odd: the middle frame is the middle of the clip
PAIRS = (
    ("left", "right"),
    ("up", "down"),
    ("growing", "shrinking"),
    ("turning clockwise", "turning anticlockwise"),
    ("coming together", "moving apart"),
)


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(5)
    digits = np.zeros((6, 28, 28), np.uint8)
    digits[:, 6:22, 9:19] = rng.integers(100, 256, (6, 16, 10))
    photos = [Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)) for _ in range(3)]
    return digits, photos


def draw(num_scenes, seed=0):
    import scenes

    rng = np.random.default_rng(seed)
    return scenes.draw_scenes(rng, num_scenes, num_digits=6, num_photos=3, num_frames=NUM_FRAMES)


def pick(drawn, label):
    import scenes

    return {
        field.name: getattr(drawn, field.name)[drawn.label == scenes.LABELS.index(label)]
        for field in dataclasses.fields(drawn)
    }


def with_label(label, num_scenes=400):
    return pick(draw(num_scenes * 12, seed=3), label)


def test_hard_clips_show_ten_motions_over_wider_pans_and_smaller_objects():
    import scenes

    drawn = scenes.draw_scenes(
        np.random.default_rng(0), 1200, num_digits=6, num_photos=3, num_frames=NUM_FRAMES, look=scenes.HARD
    )
    counts = np.bincount(drawn.label, minlength=12)
    assert {scenes.LABELS[label] for label in np.flatnonzero(counts)} == set(scenes.HARD.labels)
    assert len(scenes.HARD.labels) == 10
    assert counts.max() == 120
    assert 0.7 < drawn.pan.any(-1).mean() < 0.8
    assert drawn.place.shape == (1200, NUM_FRAMES, 3, 2)
    middle = drawn.side[:, NUM_FRAMES // 2]
    assert middle.min() >= 0.32
    assert middle.max() <= 0.44


def test_a_distractor_stands_still_or_drifts_straight_whatever_the_label():
    import scenes

    drawn = scenes.draw_scenes(
        np.random.default_rng(0), 2000, num_digits=6, num_photos=3, num_frames=NUM_FRAMES, look=scenes.HARD
    )
    place, side = drawn.place[:, :, 0], drawn.side[:, :, 0]
    np.testing.assert_array_equal(side, np.repeat(side[:, :1], NUM_FRAMES, 1))
    np.testing.assert_allclose(np.diff(place, 2, axis=1), 0, atol=1e-12)
    way = np.linalg.norm(place[:, -1] - place[:, 0], axis=-1)
    is_still = way < 1e-9
    assert 0.46 < is_still.mean() < 0.54
    assert way[~is_still].min() >= 0.1 - 1e-9
    assert way.max() <= 0.3 + 1e-9
    for label in np.unique(drawn.label):  # the digits that matter are the others
        own = drawn.label == label
        assert np.abs(way[own].mean() - way.mean()) < 4 * way.std() / np.sqrt(own.sum())


def test_a_look_between_two_has_ranges_between_theirs():
    import scenes

    half = scenes.mix_looks(scenes.EASY, scenes.HARD, 0.5)
    np.testing.assert_allclose(half.side, (0.34, 0.46))
    assert half.num_distractors == 0
    assert half.labels == scenes.HARD.labels
    assert scenes.mix_looks(scenes.EASY, scenes.HARD, 0.51).num_distractors == 1
    assert scenes.mix_looks(scenes.EASY, scenes.HARD, 1.0) == scenes.HARD


def test_labels_of_hard_clips_count_the_motions_that_occur(pictures):
    import clips
    import scenes
    from pictures import Pictures

    few = Pictures(*pictures)
    rendered, labels = clips.draw_clips(few, "test", 0, batch_size=20, look=scenes.HARD)
    assert rendered.shape == (20, 16, 48, 48, 3)
    assert sorted(labels) == sorted([*range(10)] * 2)
    _, easy = clips.draw_clips(few, "test", 0, batch_size=24)
    assert sorted(easy) == sorted([*range(12)] * 2)


def test_the_same_seed_gives_the_same_frames_and_another_seed_gives_others(pictures):
    import scenes

    first, again, other = (scenes.render_scenes(draw(12, seed), *pictures, image_size=32) for seed in (1, 1, 2))
    assert first.shape == (12, NUM_FRAMES, 32, 32, 3)
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


@pytest.mark.parametrize("num_scenes", [12, 64, 600])
def test_labels_are_balanced_to_within_one_clip(num_scenes):
    counts = np.bincount(draw(num_scenes).label, minlength=12)
    assert len(counts) == 12
    assert counts.max() - counts.min() <= 1


def test_the_middle_frame_is_drawn_from_one_distribution_for_all_labels():
    import scenes

    drawn = draw(12 * 1500, seed=8)
    middle = NUM_FRAMES // 2
    values = np.concatenate(
        [
            drawn.place[:, middle].reshape(len(drawn.label), -1),
            drawn.side[:, middle],
            drawn.angle[:, middle],
            drawn.gain,
            drawn.window,
        ],
        axis=1,
    )
    spread = values.std(0)
    for index in range(len(scenes.LABELS)):
        own = values[drawn.label == index]
        error = spread * np.sqrt(1 / len(own) + 1 / len(values))
        assert np.abs(own.mean(0) - values.mean(0)).max() <= (4.5 * error).max()
        np.testing.assert_allclose(own.std(0), spread, rtol=0.1)


@pytest.mark.parametrize("num_distractors", [0, 1])
def test_with_the_same_chances_all_labels_show_the_same_middle_frame(pictures, num_distractors):
    import scenes

    look = dataclasses.replace(scenes.EASY, num_distractors=num_distractors)

    class OneLabel:
        """A generator that gives every clip the same chances but the wanted label."""

        def __init__(self, label):
            self._rng, self._label = np.random.default_rng(4), label

        def permutation(self, values):
            return np.full_like(values, self._label)

        def integers(self, *args, **kwargs):
            drawn = self._rng.integers(*args, **kwargs)
            return drawn if kwargs else 0  # no offset to the label

        def __getattr__(self, name):
            return getattr(self._rng, name)

    counts = {"num_digits": 6, "num_photos": 3, "num_frames": NUM_FRAMES}
    clips = []
    for label in range(len(scenes.LABELS)):
        drawn = scenes.draw_scenes(OneLabel(label), 4, **counts, look=look)
        clips.append(scenes.render_scenes(drawn, *pictures, image_size=24))
    middle = NUM_FRAMES // 2
    for clip in clips[1:]:
        np.testing.assert_array_equal(clip[:, middle], clips[0][:, middle])
        assert (clip[:, 0] != clips[0][:, 0]).any()


@pytest.mark.parametrize(("label", "opposite"), PAIRS)
def test_labels_of_a_pair_are_each_others_reversal_in_time(label, opposite):
    one, other = with_label(label), with_label(opposite)
    for name in ("place", "side", "angle"):
        forward, backward = one[name], other[name][:, ::-1]
        error = forward.std(0) * np.sqrt(2 / len(forward)) + 1e-9
        assert (np.abs(forward.mean(0) - backward.mean(0)) / error).max() < 5


def test_each_label_moves_as_its_name_says():
    def change(label, name):
        values = with_label(label, 20)[name]
        return values[:, -1] - values[:, 0]

    def distance_change(label):
        place = with_label(label, 20)["place"]
        apart = np.linalg.norm(place[:, :, 0] - place[:, :, 1], axis=-1)
        return apart[:, -1] - apart[:, 0]

    assert (change("left", "place")[..., 1] < -0.2).all()
    assert (change("right", "place")[..., 1] > 0.2).all()
    assert (change("up", "place")[..., 0] < -0.2).all()
    assert (change("down", "place")[..., 0] > 0.2).all()
    assert (change("growing", "side") > 0.1).all()
    assert (change("shrinking", "side") < -0.1).all()
    assert (change("turning clockwise", "angle") > 1).all()
    assert (change("turning anticlockwise", "angle") < -1).all()
    assert (distance_change("coming together") < -0.1).all()
    assert (distance_change("moving apart") > 0.1).all()
    np.testing.assert_allclose(distance_change("circling each other"), 0, atol=1e-12)
    assert (np.abs(change("circling each other", "place")).max((1, 2)) > 0.1).all()
    for name in ("place", "side", "angle"):
        assert not change("still", name).any()


def test_a_positive_angle_turns_clockwise_on_the_screen():
    import scenes

    picture = np.zeros((28, 28), np.uint8)
    picture[4:10, 12:16] = 255  # ink at twelve o'clock
    frames = np.zeros((2, 28, 28, 3), np.float32)
    scenes._paste_object(
        frames,
        picture,
        centre=np.full((2, 2), 14, np.float32),
        side=np.full(2, 28, np.float32),
        angle=np.array([0, np.pi / 2], np.float32),
        tint=np.full(3, 200, np.float32),
    )
    np.testing.assert_allclose(frames[0, :, :, 0], picture / 255 * 200, atol=1e-2)
    np.testing.assert_allclose(frames[1], np.rot90(frames[0], -1), atol=1e-1)  # at three o'clock


def test_a_scene_is_the_same_at_another_resolution(pictures):
    import scenes

    digits, photos = pictures
    smooth = [photo.resize((12, 9)).resize((120, 90), Image.Resampling.BICUBIC) for photo in photos]
    drawn = draw(6, seed=9)
    small = scenes.render_scenes(drawn, digits, smooth, image_size=32).astype(float)
    large = scenes.render_scenes(drawn, digits, smooth, image_size=128).astype(float)
    squashed = large.reshape(6, NUM_FRAMES, 32, 4, 32, 4, 3).mean((3, 5))
    assert np.abs(squashed - small).mean() < 3
    assert np.abs(squashed[:, ::-1] - small).mean() > 6  # the bound tells a clip from its reversal


def test_objects_that_leave_the_frame_are_cut_off_at_its_edge():
    import scenes

    frames = np.zeros((1, 20, 20, 3), np.float32)
    scenes._paste_object(
        frames,
        np.full((28, 28), 255, np.uint8),
        centre=np.zeros((1, 2), np.float32),
        side=np.full(1, 20, np.float32),
        angle=np.zeros(1, np.float32),
        tint=np.full(3, 255, np.float32),
    )
    assert frames[0, :9, :9].min() > 250
    assert not frames[0, 12:].any()
    assert not frames[0, :, 12:].any()


def test_patches_of_an_object_are_those_near_its_middle_in_a_frame_of_the_tubelet():
    import scenes

    drawn = scenes.draw_scenes(np.random.default_rng(2), 4, num_digits=6, num_photos=3, num_frames=4, look=scenes.HARD)
    found = scenes.find_object_patches(drawn, num_objects=2, image_size=24, patch_size=4, tubelet_size=2)
    assert found.shape == (4, 2 * 6 * 6)
    expected = np.zeros((4, 2, 6, 6), bool)
    for clip, time, row, column in np.ndindex(expected.shape):
        for frame in (2 * time, 2 * time + 1):
            for item in (1, 2):  # number 0 distracts
                y, x = drawn.place[clip, frame, item] * 24 - (4 * row + 2, 4 * column + 2)
                expected[clip, time, row, column] |= y * y + x * x < (drawn.side[clip, frame, item] * 12) ** 2
    np.testing.assert_array_equal(found, expected.reshape(4, -1))
    assert 0.1 < found.mean() < 0.6


def test_half_of_the_clips_are_panned_and_their_windows_stay_inside_the_photo(pictures):
    import scenes

    drawn = draw(1200, seed=2)
    assert 0.44 < drawn.pan.any(-1).mean() < 0.56
    photo = Image.fromarray(np.full((90, 120, 3), 200, np.uint8))
    frames = scenes.render_photos(draw(24, seed=2), [photo] * 3, image_size=16)
    np.testing.assert_allclose(frames, 200)  # nothing from outside the photo, whatever the window


def test_a_photo_at_brightness_0_is_black(pictures):
    import scenes

    frames = scenes.render_scenes(draw(4), *pictures, image_size=24, brightness=0.0)
    assert (frames[:, :, 0, 0] == 0).all()
    assert frames.max() > 100
