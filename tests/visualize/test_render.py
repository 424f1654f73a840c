"""Pictures: the right pixels in the right panel, and files that open again."""

import itertools

import av
import numpy as np
import pytest
from PIL import Image

from tests.cli.hostile import LABEL, NAME
from tests.visualize.histories import draw_by_hand
from vidtldr_jax.trust.harmless import make_harmless
from vidtldr_jax.visualize import (
    Answer,
    draw_merge_map,
    draw_overlay_frames,
    draw_saliency,
    draw_strip,
    labels,
    reconstruct_frames,
    write_gif,
    write_image,
    write_video,
)
from vidtldr_jax.visualize.colours import GROUP_COLOURS, colour_groups, map_heat
from vidtldr_jax.visualize.labels import draw_text, fit_text, measure_text
from vidtldr_jax.visualize.summary import describe_answer, draw_summary


def test_heat_covers_its_patch_only_and_a_patch_dropped_before_is_nearly_black():
    frame = np.full((4, 4, 3), 100, np.uint8)
    panel = draw_saliency(frame, np.float32([[0, 1], [np.nan, 0.5]]))
    blend = np.rint(100 * 0.4 + map_heat(np.array(1.0)) * 0.6)
    np.testing.assert_array_equal(panel[:2, 2:], np.broadcast_to(blend, (2, 2, 3)))
    np.testing.assert_array_equal(panel[2:, :2], 12)


def test_patches_alone_keep_their_pixels_dropped_ones_darken_merged_ones_are_tinted():
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 256, (30, 30, 3)).astype(np.uint8)
    group = np.array([[0, 1, 1], [2, -1, 3], [4, 5, 1]])
    colour = colour_groups(group[None])[0]
    panel = draw_merge_map(frame, group, colour)
    for row, column in [(0, 0), (1, 0), (1, 2), (2, 0), (2, 1)]:
        place = np.s_[10 * row : 10 * row + 10, 10 * column : 10 * column + 10]
        np.testing.assert_array_equal(panel[place], frame[place])
    crossed = np.eye(10, dtype=bool)[::-1]
    assert (panel[10:20, 10:20][crossed] == 72).all()
    assert panel[10:20, 10:20][~crossed].max() <= 31
    ink = GROUP_COLOURS[colour[0, 1]]
    np.testing.assert_array_equal(panel[0, 10:30], np.broadcast_to(ink, (20, 3)))  # border at the top
    np.testing.assert_array_equal(panel[29, 20:30], np.broadcast_to(ink, (10, 3)))  # the same colour elsewhere
    inside = panel[3:7, 18:22]  # no border inside the group
    assert not (inside == ink).all(-1).any()
    np.testing.assert_allclose(inside, 0.5 * frame[3:7, 18:22].mean(-1, keepdims=True) + 0.5 * ink, atol=0.51)


def test_overlay_frames_have_even_sides_at_least_the_height_asked_for_and_the_maps_of_their_tubelet():
    history = draw_by_hand()
    pictures = list(draw_overlay_frames(history, height=64))
    assert len(pictures) == 4
    assert len({picture.shape for picture in pictures}) == 1
    rows, columns = pictures[0].shape[:2]
    assert rows % 2 == columns % 2 == 0
    assert rows > 66
    assert columns >= 4 * 66
    still = draw_by_hand()
    still.frames[:] = still.frames[0]
    first, second, third, _ = (picture[40:60, 70:].astype(int) for picture in draw_overlay_frames(still, height=64))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - third).max() > 20


def test_a_strip_has_a_column_per_frame_up_to_the_limit_and_a_row_per_layer():
    one = draw_strip(draw_by_hand(num_layers=1), height=48)
    two = draw_strip(draw_by_hand(num_layers=2), height=48)
    fewer = draw_strip(draw_by_hand(num_layers=2), height=48, max_columns=3)
    assert two.shape[0] - one.shape[0] == 48 + 4
    assert two.shape[1] - fewer.shape[1] == 48 + 4


def test_a_clip_without_merging_can_be_drawn():
    history = draw_by_hand(num_layers=0)
    assert draw_strip(history).ndim == 3
    assert len(list(draw_overlay_frames(history, height=32))) == 4


def test_the_last_row_of_a_strip_shows_the_means_of_groups():
    history = draw_by_hand(num_layers=1, size=48)
    strip = draw_strip(history, height=48).astype(int)
    below = draw_strip(history, height=48)[-40:]
    assert below.std() > 0
    means = reconstruct_frames(history.frames, history.group, history.weight).astype(int)
    is_held = (history.group >= 0).repeat(16, axis=1).repeat(16, axis=2)
    top = 26 + 3 * 52
    for number, frame in enumerate(means):
        left = strip.shape[1] - (4 - number) * 52
        panel = strip[top : top + 48, left : left + 48]
        np.testing.assert_array_equal(panel[is_held[number // 2]], frame[is_held[number // 2]])


def test_what_both_models_say_and_every_layers_tokens_stand_below():
    wide = draw_summary(draw_by_hand(), 900, size=14)
    narrow = draw_summary(draw_by_hand(), 260, size=14)
    assert (wide.shape[1], narrow.shape[1]) == (900, 260)
    assert narrow.shape[0] == 3 * wide.shape[0]
    assert describe_answer("merged", draw_by_hand().merged) == [
        "merged: 18 to 12 tokens, 0.125 GMACs",
        " 75.0 %  left",
        " 25.0 %  up",
    ]
    without = draw_by_hand(merged=Answer(predictions=None, tokens=(18, 14, 12), gmacs=0.125))
    assert (draw_summary(without, 900, size=14) != wide).any()
    bars = wide[:, 600:]
    ink = (bars == GROUP_COLOURS[1]).all(-1).sum(0)
    heights = [len(list(run)) and value for value, run in itertools.groupby(ink) if value]
    assert [round(14 * height / heights[0]) for height in heights] == [14, 12]


def test_a_video_decodes_to_the_pictures_that_went_in(tmp_path):
    pictures = [np.full((32, 48, 3), 40 * number, np.uint8) for number in range(5)]
    path = write_video(tmp_path / "a.mp4", iter(pictures), fps=5.5)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == pytest.approx(5.5)
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == 5
    for picture, back in zip(pictures, decoded):
        np.testing.assert_allclose(back, picture, atol=6)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_a_gif_plays_the_pictures_for_ever(tmp_path):
    pictures = [np.full((20, 30, 3), (60 * number, 10, 200), np.uint8) for number in range(4)]
    with Image.open(write_gif(tmp_path / "a.gif", iter(pictures), fps=8)) as image:
        assert (image.format, image.n_frames, image.info["loop"]) == ("GIF", 4, 0)
        for number, picture in enumerate(pictures):
            image.seek(number)
            assert image.info["duration"] in (120, 130)  # 12.5 hundredths of a second
            np.testing.assert_allclose(np.asarray(image.convert("RGB")), picture, atol=4)
    assert [file.name for file in tmp_path.iterdir()] == ["a.gif"]


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        ([], 5, r"got sizes \[\], fps = 5"),
        ([np.zeros((4, 4, 3), np.uint8)], 0, "fps = 0"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)], 5, r"\(4, 6, 3\)\]"),
    ],
)
def test_pictures_that_make_no_gif_are_refused(tmp_path, frames, fps, message):
    with pytest.raises(ValueError, match=message):
        write_gif(tmp_path / "a.gif", frames, fps=fps)
    assert list(tmp_path.iterdir()) == []


def test_an_image_opens_to_what_went_in(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    with Image.open(write_image(tmp_path / "a.png", picture)) as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), picture)


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        ([], 5, "got no picture"),
        ([np.zeros((4, 4, 3), np.uint8)], 0, "fps = 0"),
        ([np.zeros((5, 4, 3), np.uint8)], 5, "needs even sides; got 5 x 4"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)], 5, r"got \(4, 6, 3\)"),
    ],
)
def test_pictures_that_make_no_video_are_refused_and_leave_no_file(tmp_path, frames, fps, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "a.mp4", frames, fps=fps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("evil", [LABEL, NAME], ids=["label", "name"])
def test_a_hostile_text_is_drawn_as_characters_on_one_line(evil):
    pictures = [Image.new("RGB", (900, 40)) for _ in range(2)]
    for picture, text in zip(pictures, (evil, make_harmless(evil)), strict=True):
        draw_text(picture, (2, 20), text, size=12)
    assert np.array_equal(*map(np.asarray, pictures))
    assert measure_text(evil, 12) == measure_text(make_harmless(evil), 12)
    assert fit_text(evil, 12, 10_000) == make_harmless(evil)


def test_a_very_long_text_is_cut_without_measuring_all_of_it(monkeypatch):
    measured = []
    monkeypatch.setattr(labels, "measure_text", lambda text, size: measured.append(len(text)) or 7 * len(text))
    assert fit_text("x" * 1_000_000, 12, 70) == "xxxxxxx..."
    assert sum(measured) < 10_000
