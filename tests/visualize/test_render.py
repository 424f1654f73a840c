"""Pictures: the right pixels in the right panel, and files that open again."""

import av
import numpy as np
import pytest
from PIL import Image

from vidtldr_jax.visualize import (
    Drawing,
    LayerMap,
    draw_merge_map,
    draw_overlay_frames,
    draw_saliency,
    draw_strip,
    write_image,
    write_video,
)
from vidtldr_jax.visualize.colours import GROUP_COLOURS, colour_groups, map_heat

GRID = (2, 3, 3)


def make_drawing(num_layers=2, frames=4, size=24):
    rng = np.random.default_rng(0)
    group = rng.integers(-1, 6, GRID).astype(np.int32)
    saliency = rng.uniform(size=GRID).astype(np.float32)
    pixels = rng.integers(0, 256, (frames, size, size, 3)).astype(np.uint8)
    return Drawing(
        frames=pixels, group=group, layers=tuple(LayerMap(layer, saliency, group) for layer in range(num_layers))
    )


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
    drawing = make_drawing()
    pictures = list(draw_overlay_frames(drawing, height=64))
    assert len(pictures) == 4
    assert len({picture.shape for picture in pictures}) == 1
    rows, columns = pictures[0].shape[:2]
    assert rows % 2 == columns % 2 == 0
    assert rows > 66
    assert columns >= 4 * 66
    still = make_drawing()
    still.frames[:] = still.frames[0]
    first, second, third, _ = (picture[40:60, 70:].astype(int) for picture in draw_overlay_frames(still, height=64))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - third).max() > 20


def test_a_strip_has_a_column_per_frame_up_to_the_limit_and_a_row_per_layer():
    one = draw_strip(make_drawing(num_layers=1), height=48)
    two = draw_strip(make_drawing(num_layers=2), height=48)
    fewer = draw_strip(make_drawing(num_layers=2), height=48, max_columns=3)
    assert two.shape[0] - one.shape[0] == 48 + 4
    assert two.shape[1] - fewer.shape[1] == 48 + 4


def test_a_clip_without_merging_can_be_drawn():
    drawing = Drawing(frames=make_drawing().frames, group=np.arange(18).reshape(GRID))
    assert draw_strip(drawing).ndim == 3
    assert len(list(draw_overlay_frames(drawing, height=32))) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": np.zeros((4, 8, 8, 3), np.float32)}, r"Drawing: frames are \[T, Y, X, 3\] uint8; float32 of shape"),
        ({"frames": np.zeros((3, 8, 8, 3), np.uint8)}, r"t divides 3 frames; shapes \[\(2, 3, 3\)\] came"),
        ({"layers": (LayerMap(0, np.ones((2, 2, 2)), np.ones((2, 2, 2))),)}, r"all alike"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, message):
    drawing = make_drawing()
    with pytest.raises(ValueError, match=message):
        Drawing(**({"frames": drawing.frames, "group": drawing.group} | changes))


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


def test_an_image_opens_to_what_went_in(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    with Image.open(write_image(tmp_path / "a.png", picture)) as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), picture)


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        ([], 5, "no picture came"),
        ([np.zeros((4, 4, 3), np.uint8)], 0, "fps = 0 came"),
        ([np.zeros((5, 4, 3), np.uint8)], 5, "needs even sides; 5 x 4 came"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)], 5, r"\(4, 6, 3\) came"),
    ],
)
def test_pictures_that_make_no_video_are_refused_and_leave_no_file(tmp_path, frames, fps, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "a.mp4", frames, fps=fps)
    assert list(tmp_path.iterdir()) == []
