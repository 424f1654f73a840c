"""Animated pictures are read frame by frame, each with its time; stills stay stills."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageSequence, features
from PIL.TiffImagePlugin import AppendingTiffWriter, ImageFileDirectory_v2

from tests.data.making import draw_frame, read_number
from vidtldr_jax.data import Preprocessing, VideoReadError, read_frames
from vidtldr_jax.data.clip import read_source
from vidtldr_jax.data.pictures import find_picture_format

RECIPE = Preprocessing(num_frames=4, image_size=48)
DURATIONS = [40, 40, 100, 20, 40, 40, 300, 40, 40, 40]  # milliseconds
KINDS = {
    "a.webp": {"lossless": True},
    "lossy.webp": {"quality": 90},
    "a.apng": {"format": "PNG"},
    "a.png": {},
    "film.mp4": {"format": "PNG"},
    "a.tif": {},
    "no suffix": {"format": "WEBP", "lossless": True},
    "a.avif": {"quality": 95},
    "a.avifs": {"quality": 95, "format": "AVIF"},
}


def need_format(path):
    if ".avif" in path.name and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")


def write_film(path, *, num_frames=10, durations=DURATIONS, draw=draw_frame, **options):
    need_format(path)
    frames = [Image.fromarray(draw(number)) for number in range(num_frames)]
    if path.suffix == ".tif":
        options.pop("durations", None)
    else:
        options["duration"] = durations[:num_frames]
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return path


def read_all(path):
    """Returns all frames and times of a source."""

    def read(source):
        frames = [frame for _, frame in source.read(range(source.num_frames))]
        return frames, source.times, source.fps, source.notices

    return read_source(path, read)


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_is_read_with_its_time(name, tmp_path):
    path = write_film(tmp_path / name, **KINDS[name])
    frames, times, fps, notices = read_all(path)
    with Image.open(path) as image:
        expected = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
    assert [read_number(frame) for frame in frames] == list(range(10))
    for frame, other in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame, other)
    assert notices == ()
    if path.suffix == ".tif":
        assert (times, fps) == (None, None)
    else:
        np.testing.assert_allclose(times, np.cumsum([0, *DURATIONS[:-1]]) / 1000, atol=1e-9)
        assert fps == pytest.approx(9 / 0.66)


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.tif"])
def test_any_frames_are_read_in_any_selection(name, tmp_path):
    path = write_film(tmp_path / name, **KINDS[name])
    for indices in ([0], [9], [2, 3, 8], [5, 9]):
        read = read_source(path, lambda source, indices=indices: list(source.read(indices)))
        assert [(index, read_number(frame)) for index, frame in read] == [(index, index) for index in indices]


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.avif"])
def test_a_clip_of_an_animation_is_sampled_as_of_a_video(name, tmp_path):
    path = write_film(tmp_path / name, **KINDS[name])
    clip = read_frames(path, RECIPE)
    assert [read_number(frame) for frame in clip.frames[0]] == clip.indices[0].tolist() == [0, 3, 5, 8]
    within = read_frames(path, Preprocessing(num_frames=4, image_size=48, first_seconds=0.19))
    assert within.indices.max() == 3
    assert within.notices == ()


def test_the_same_film_gives_the_same_frames_in_every_format(tmp_path):
    first = read_all(write_film(tmp_path / "a.png"))
    second = read_all(write_film(tmp_path / "a.webp", quality=95))
    np.testing.assert_allclose(first[1], second[1])
    for frame, other in zip(first[0], second[0], strict=True):
        assert np.abs(frame.astype(int) - other).mean() < 10


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.tif", "a.avif"])
def test_a_still_stays_a_still(name, tmp_path):
    path = tmp_path / name
    need_format(path)
    Image.fromarray(draw_frame(9)).save(path, quality=95)
    frames, times, fps, notices = read_all(path)
    assert [read_number(frame) for frame in frames] == [9]
    assert (times, fps, notices) == (None, None, ())


def test_the_still_for_programs_without_animation_is_not_part_of_it(tmp_path):
    frames = [Image.fromarray(draw_frame(number)) for number in (77, 0, 1, 2)]
    frames[0].save(tmp_path / "a.png", save_all=True, default_image=True, append_images=frames[1:], duration=50)
    read, times, _, _ = read_all(tmp_path / "a.png")
    assert [read_number(frame) for frame in read] == [0, 1, 2]
    np.testing.assert_allclose(times, [0, 0.05, 0.1])


def test_smaller_copies_and_masks_in_a_tiff_are_no_frames(tmp_path):
    large, small = Image.fromarray(draw_frame(9)), Image.fromarray(draw_frame(7)).resize((16, 12))

    def write(*pages):
        path, data = tmp_path / "a.tif", io.BytesIO()
        file = AppendingTiffWriter(data, True)  # one that closes its file fails when Python closes it again
        for image, kind in pages:
            tags = ImageFileDirectory_v2()
            tags[254] = kind
            image.save(file, format="TIFF", tiffinfo=tags)
            file.newFrame()
        path.write_bytes(data.getvalue())
        return path

    assert [read_number(frame) for frame in read_all(write((large, 0), (small, 1)))[0]] == [9]
    assert [read_number(frame) for frame in read_all(write((large, 0), (small, 1), (small, 4), (large, 2)))[0]] == [
        9,
        9,
    ]


def test_zero_durations_are_a_tenth_of_a_second(tmp_path):
    _, times, fps, _ = read_all(write_film(tmp_path / "a.webp", durations=[0] * 10, lossless=True))
    np.testing.assert_allclose(times, np.arange(10) / 10)
    assert fps == pytest.approx(10)


def test_white_shows_through_transparent_frames(tmp_path):
    pixels = np.zeros((3, 8, 8, 4), np.uint8)
    pixels[:, :4] = (10, 20, 30, 255)
    pixels[:, 0, 0, 0] = (1, 2, 3)
    frames = [Image.fromarray(picture) for picture in pixels]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], duration=50)
    for frame in read_all(tmp_path / "a.png")[0]:
        assert frame[2, 2].tolist() == [10, 20, 30]
        assert frame[6, 2].tolist() == [255, 255, 255]


def test_frames_that_are_missing_are_left_out_with_a_notice(tmp_path):
    path = write_film(tmp_path / "a.png")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    frames, times, _, notices = read_all(path)
    assert 3 <= len(frames) == len(times) < 8
    assert [read_number(frame) for frame in frames] == list(range(len(frames)))
    assert notices == (f"{10 - len(frames)} of 10 frames can't be decoded and are left out",)


def write_claim(path, num_frames):
    """Writes an animated PNG that claims more frames than it has."""
    file = io.BytesIO()
    write_film_to(file)
    data = bytearray(file.getvalue())
    place = data.index(b"acTL")
    data[place + 4 : place + 8] = struct.pack(">I", num_frames)
    data[place + 12 : place + 16] = struct.pack(">I", zlib.crc32(data[place : place + 12]))
    path.write_bytes(data)


def write_film_to(file):
    frames = [Image.fromarray(draw_frame(number)) for number in range(3)]
    frames[0].save(file, format="PNG", save_all=True, append_images=frames[1:], duration=40)


def test_a_claim_of_too_many_frames_is_refused_or_noticed(tmp_path):
    write_claim(tmp_path / "a.png", 2**31 - 1)
    with pytest.raises(VideoReadError, match=r"'.*a\.png' may have at most 4,000,000 .*; set VIDTLDR_MAX_FRAMES to"):
        read_frames(tmp_path / "a.png", RECIPE)
    write_claim(tmp_path / "a.png", 1000)
    assert read_frames(tmp_path / "a.png", RECIPE).notices[0].startswith("997 of 1000 frames can't be decoded")


@pytest.mark.parametrize(
    ("begin", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "WEBP"),
        (b"RIFF\x10\0\0\0AVI LIST", None),
        (b"II*\0", "TIFF"),
        (b"MM\0+", "TIFF"),
        (b"GIF89a", "GIF"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x1cftypmsf1\0\0\0\0msf1avis", "AVIF"),
        (b"\0\0\0\x14ftypisom\0\0\0\0mp42avif", None),
        (b"\0\0\0\x1cftypisom\0\0\2\0isomiso2avc1mp41", None),
        (b"", None),
    ],
)
def test_pictures_are_told_by_their_first_bytes(begin, kind, tmp_path):
    (tmp_path / "a").write_bytes(begin)
    assert find_picture_format(tmp_path / "a") == kind


def test_a_gif_is_a_video_whatever_its_name(tmp_path):
    frames = [Image.fromarray(draw_frame(number)) for number in range(6)]
    for name in ("a.gif", "b.png"):
        frames[0].save(tmp_path / name, format="GIF", save_all=True, append_images=frames[1:], duration=40)
        read, times, _, _ = read_all(tmp_path / name)
        assert [read_number(frame) for frame in read] == list(range(6))
        assert times[-1] == pytest.approx(0.2)
