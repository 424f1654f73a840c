"""Whatever a decoder raises is the one-line error of that file, whoever reads; interruptions are not."""

import io
import os
import struct
import subprocess
import sys

import av
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, ImageOps, TiffImagePlugin

from tests.data.making import draw_frame, encode_picture, make_bomb, read_number, write_packets, write_video
from vidtldr_jax.data import Preprocessing, VideoReadError, clip, read_frames, read_videos, video_file
from vidtldr_jax.data.image_folder import ImageFolder
from vidtldr_jax.data.video_file import VideoFile

RECIPE = Preprocessing(num_frames=4, image_size=32)
ERRORS = [
    ValueError("31 is not a valid Type"),
    SyntaxError("broken PNG file"),
    struct.error("unpack requires a buffer of 8 bytes"),
    Image.DecompressionBombError("Image size (400000000 pixels) exceeds limit"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    OverflowError("two\nlines \x1b[31m"),
    RecursionError("too deep"),
    AssertionError(),
    MemoryError(),
    OSError(5, "Input/output error"),
    av.error.ArgumentError(22, "Invalid argument"),
]


def check_line(error, path):
    assert type(error) is VideoReadError
    assert repr(str(path)) in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize("raised", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", ["list_frames", "decode_frames", "to_rgb", "orient_frame", "transform_frame"])
def test_what_is_raised_while_a_video_is_read_names_the_video(place, raised, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise raised

    path = write_video(tmp_path / "a.mp4", num_frames=5)
    monkeypatch.setattr(clip if place == "transform_frame" else video_file, place, refuse)
    with pytest.raises(VideoReadError) as caught:
        read_frames(path, RECIPE)
    check_line(caught.value, path)
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize("raised", ERRORS, ids=lambda error: type(error).__name__)
def test_what_is_raised_while_an_image_is_read_names_the_image(raised, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise raised

    for number in range(3):
        Image.fromarray(draw_frame(number)).save(tmp_path / f"{number}.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    with pytest.raises(VideoReadError) as caught:
        list(ImageFolder(tmp_path).read([1]))
    check_line(caught.value, tmp_path / "1.png")
    with pytest.raises(VideoReadError) as caught:
        read_frames(tmp_path / "2.png", RECIPE)
    check_line(caught.value, tmp_path / "2.png")


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_an_interruption_stays_one(raised, tmp_path, monkeypatch):
    def interrupt(*_):
        raise raised

    path = write_video(tmp_path / "a.mp4", num_frames=5)
    monkeypatch.setattr(video_file, "to_rgb", interrupt)
    with pytest.raises(raised):
        read_frames(path, RECIPE)


def write_damaged_tiff(path):
    """Writes a TIFF whose tag of the strips says something absurd, which Pillow meets with an error of another kind."""
    Image.fromarray(draw_frame(3)).save(path)
    data = bytearray(path.read_bytes())
    (begin,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[begin : begin + 2])
    for place in range(begin + 2, begin + 2 + 12 * count, 12):
        tag = struct.unpack("<H", data[place : place + 2])[0]
        if tag in (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.PHOTOMETRIC_INTERPRETATION):
            data[place + 2 : place + 8] = struct.pack("<HI", 2, 0)
    path.write_bytes(data)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_one_bad_file_stops_no_other_whoever_reads(num_workers, tmp_path):
    if num_workers:
        pytest.importorskip("grain", reason="worker processes need the extra 'workers'")
    good = write_video(tmp_path / "good.mp4", num_frames=5)
    write_damaged_tiff(tmp_path / "tags.tif")
    (tmp_path / "bomb.png").write_bytes(make_bomb(30_000, 30_000))
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile good.mp4\n")
    names = ["good.mp4", "tags.tif", "bomb.png", "fifo.mp4", "list.mp4", "good.mp4"]
    videos = list(read_videos([tmp_path / name for name in names], RECIPE, num_workers=num_workers))
    assert [video.error is None for video in videos] == [True, False, False, False, False, True]
    for video in videos[1:-1]:
        check_line(video.error, video.path)
        assert video.error.__traceback__ is video.error.__cause__ is None  # they would keep frames alive
    np.testing.assert_array_equal(videos[-1].clip.frames, read_frames(good, RECIPE).frames)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_motion_jpeg_with_exif_data_is_read_the_way_up_that_it_says(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker"  # a second entry stays when FFmpeg has used the first
    jpegs = [encode_picture(number, exif=exif) for number in range(6)]
    path = write_packets(tmp_path / "a.avi", jpegs)
    with av.open(str(path)) as container:
        pixels = next(container.decode(video=0)).to_ndarray(format="rgb24")
    still = io.BytesIO()
    Image.fromarray(pixels).save(still, "PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(still)))
    assert VideoFile(path).num_frames == 6
    ((_, first),) = VideoFile(path).read([0])
    np.testing.assert_array_equal(first, expected)


def test_motion_jpeg_with_exif_data_gives_every_frame_in_order(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    path = write_packets(tmp_path / "a.avi", [encode_picture(number, exif=exif) for number in range(9)])
    assert [read_number(frame) for _, frame in VideoFile(path).read(range(9))] == list(range(9))
    assert VideoFile(path).notices == ()


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_named_colour_profile_ends_no_process(orientation, tmp_path):
    """PyAV frees the name of a profile twice; the process may live on for a while, so it reads many frames."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    packets = [encode_picture(number, kind="PNG", exif=exif, icc_profile=profile) for number in range(30)]
    path = write_packets(tmp_path / "a.mov", packets, codec="png", pix_fmt="rgb24")
    code = (
        "import sys; from pathlib import Path; from vidtldr_jax.data.video_file import VideoFile\n"
        "frames = [frame for _, frame in VideoFile(Path(sys.argv[1])).read(range(30))]\n"
        "print(len(frames), frames[7].shape)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("30 (48, 64, 3)\n" if orientation == 1 else "30 (64, 48, 3)\n")


def test_pillow_warns_of_nothing_beside_the_error(tmp_path):
    Image.fromarray(draw_frame(3)).save(tmp_path / "a.tif")
    data = (tmp_path / "a.tif").read_bytes()
    code = (
        "import sys; from vidtldr_jax.data import Preprocessing, read_frames\n"
        "for path in sys.argv[1:]:\n"
        "    try: read_frames(path, Preprocessing(num_frames=4, image_size=32))\n"
        "    except Exception as error: print(type(error).__name__)"
    )
    paths = []
    for number in range(8, len(data) - 48 * 64 * 3, 8) or [8]:
        paths.append(tmp_path / f"{number}.tif")
        paths[-1].write_bytes(data[:number] + b"\xff\xff" + data[number + 2 :])
    run = subprocess.run(
        [sys.executable, "-W", "always", "-c", code, *map(str, paths)], capture_output=True, text=True, check=True
    )
    assert set(run.stdout.split()) == {"VideoReadError"}
    assert "UserWarning" not in run.stderr
