"""What is too large or too long is refused before it takes memory, and a user can allow it."""

import io
import struct
import subprocess
import sys
import warnings
import zlib

import av
import numpy as np
import pytest
from PIL import Image

from tests.data.making import draw_frame, encode_picture, make_bomb, read_number, write_packets, write_video
from vidtldr_jax.data import Preprocessing, VideoReadError, open_video, read_frames, video_file
from vidtldr_jax.data.image_folder import ImageFolder
from vidtldr_jax.data.mp4_boxes import check_mp4_index, walk_boxes
from vidtldr_jax.data.resize import KERNELS, resize_frame
from vidtldr_jax.trust.limits import LimitError

RECIPE = Preprocessing(num_frames=4, image_size=32)
LARGE = {"height": 120, "width": 160, "num_frames": 6}
FILES = {
    "a.avi": {"codec": "ffv1"},
    "b.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "a.mkv": {"codec": "ffv1"},
    "a.mp4": {},
    "a.ts": {},
    "a.h264": {},
    "a.mpg": {"codec": "mpeg2video"},
    "a.webm": {"codec": "libvpx", "options": {"b": "1M"}},
    "b.webm": {"codec": "libvpx-vp9", "options": {"b": "1M", "deadline": "realtime"}},
    "a.gif": {"codec": "gif", "pix_fmt": "rgb8"},
}


@pytest.mark.parametrize("name", FILES)
def test_a_video_of_large_frames_is_refused_with_its_size_and_can_be_allowed(name, tmp_path, monkeypatch):
    path = write_video(tmp_path / name, **LARGE, **FILES[name])
    monkeypatch.setenv("VIDTLDR_MAX_FRAME_PIXELS", "19_199")
    with pytest.raises(VideoReadError, match=rf"a frame of '.*{name}' may have at most 19,199 .*; got 19,200; set"):
        read_frames(path, RECIPE)
    monkeypatch.setenv("VIDTLDR_MAX_FRAME_PIXELS", "19200")
    assert [read_number(frame) for frame in read_frames(path, RECIPE).frames[0]] == [0, 1, 3, 4]


@pytest.mark.parametrize("name", FILES)
def test_ffmpeg_itself_decodes_nothing_that_is_too_large(name, tmp_path, monkeypatch):
    path = write_video(tmp_path / name, num_frames=3, height=480, width=640, **FILES[name])
    monkeypatch.setenv("VIDTLDR_MAX_FRAME_PIXELS", "10000")
    for module in (open_video, video_file):  # what it says is not looked at
        monkeypatch.setattr(module, "check_limit", lambda *_: None)
    # PyAV 19 knows no codec of a stream whose size was refused while the file was opened.
    reason = "may have at most 10,000 pixels; got a larger one|none can be decoded|cannot decode unknown codec"
    with pytest.raises(VideoReadError, match=reason):
        read_frames(path, RECIPE)


@pytest.mark.parametrize("name", ["a.avi", "a.mkv"])
def test_ffmpeg_itself_decodes_nothing_too_large_while_it_opens_a_file(name, tmp_path, monkeypatch):
    path = write_video(tmp_path / name, codec="ffv1", num_frames=2, height=480, width=640)
    for limit, is_looked_at in (("307200", True), ("10000", False)):
        monkeypatch.setenv("VIDTLDR_MAX_FRAME_PIXELS", limit)
        with open_video._open_container(path) as container:
            # The header does not tell the format of the pixels: only a frame that was decoded does.
            assert (container.streams.video[0].codec_context.pix_fmt is not None) == is_looked_at


@pytest.mark.parametrize("place", [0, 2, 5])
def test_a_size_that_grows_in_the_middle_is_refused_too(place, tmp_path, monkeypatch):
    sizes = [(48, 64)] * 6
    sizes[place] = (480, 640)
    path = write_packets(
        tmp_path / "a.avi", [encode_picture(number, height=h, width=w) for number, (h, w) in enumerate(sizes)]
    )
    monkeypatch.setenv("VIDTLDR_MAX_FRAME_PIXELS", "100000")
    with pytest.raises(
        VideoReadError, match=r"a frame of '.*a\.avi' may have at most 100,000 .*VIDTLDR_MAX_FRAME_PIXELS"
    ):
        read_frames(path, Preprocessing(num_frames=6, image_size=32))
    monkeypatch.setenv("VIDTLDR_MAX_FRAME_PIXELS", "307200")
    clip = read_frames(path, Preprocessing(num_frames=6, image_size=32))
    assert [read_number(frame) for frame in clip.frames[0]] == list(range(6))


def test_a_stream_whose_size_grows_is_refused_with_the_size(tmp_path, monkeypatch):
    small = write_video(tmp_path / "a.h264", num_frames=10).read_bytes()
    large = write_video(tmp_path / "b.h264", num_frames=10, height=480, width=640).read_bytes()
    (tmp_path / "c.h264").write_bytes(small + large + small)
    monkeypatch.setenv("VIDTLDR_MAX_FRAME_PIXELS", "100000")
    with pytest.raises(VideoReadError, match=r"a frame of '.*c\.h264' may have at most 100,000 .*; got 307,200; set"):
        read_frames(tmp_path / "c.h264", RECIPE)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.jpg", "a.bmp", "a.ppm"])
def test_a_large_picture_is_refused_alone_and_in_a_folder(name, tmp_path, monkeypatch):
    Image.fromarray(draw_frame(3, height=120, width=160)).save(tmp_path / name, quality=95)
    monkeypatch.setenv("VIDTLDR_MAX_FRAME_PIXELS", "19199")
    text = rf"a frame of '.*{name}' may have at most 19,199 .*; got 19,200; set VIDTLDR_MAX_FRAME_PIXELS to allow more"
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(VideoReadError, match=text):
            read_frames(path, RECIPE)
    monkeypatch.setenv("VIDTLDR_MAX_FRAME_PIXELS", "19200")
    assert [read_number(frame) for frame in read_frames(tmp_path, RECIPE).frames[0]] == [3] * 4


@pytest.mark.parametrize(("width", "height"), [(8193, 8192), (10_000, 9_500), (16_000, 16_000), (60_000, 60_000)])
def test_a_picture_that_only_says_that_it_is_large_is_refused_by_default(width, height, tmp_path):
    (tmp_path / "a.png").write_bytes(make_bomb(width, height))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(VideoReadError, match=r"'.*a\.png' may have at most 37,748,736 .*; got .*; set VIDTLDR_MAX"):
            read_frames(tmp_path / "a.png", RECIPE)


def test_pages_of_a_tiff_that_grow_are_refused(tmp_path, monkeypatch):
    pages = [Image.fromarray(draw_frame(n, height=h, width=64)) for n, h in enumerate((48, 48, 480, 48))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert [read_number(frame) for frame in read_frames(tmp_path / "a.tif", RECIPE).frames[0]] == [0, 1, 2, 3]
    monkeypatch.setenv("VIDTLDR_MAX_FRAME_PIXELS", "10000")
    with pytest.raises(VideoReadError, match=r"a frame of '.*a\.tif' may have at most 10,000 .*; got 30,720"):
        read_frames(tmp_path / "a.tif", RECIPE)


@pytest.mark.parametrize("name", FILES)
def test_too_many_frames_are_refused_and_can_be_allowed(name, tmp_path, monkeypatch):
    path = write_video(tmp_path / name, num_frames=12, **FILES[name])
    monkeypatch.setenv("VIDTLDR_MAX_FRAMES", "11")
    with pytest.raises(VideoReadError, match=rf"the video '.*{name}' may have at most 11 .*; got 12; set V"):
        read_frames(path, RECIPE)
    monkeypatch.setenv("VIDTLDR_MAX_FRAMES", "12")
    assert read_frames(path, RECIPE).indices.max() == 10


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_too_many_frames_of_a_picture_are_refused(name, tmp_path, monkeypatch):
    frames = [Image.fromarray(draw_frame(number)) for number in range(5)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    monkeypatch.setenv("VIDTLDR_MAX_FRAMES", "4")
    with pytest.raises(VideoReadError, match=rf"the video '.*{name}' may have at most 4 .*; got 5; set VIDTLDR_MAX_FR"):
        read_frames(tmp_path / name, RECIPE)


def test_too_many_pictures_of_a_folder_are_refused(tmp_path, monkeypatch):
    for number in range(5):
        (tmp_path / f"{number}.png").touch()
    monkeypatch.setenv("VIDTLDR_MAX_FRAMES", "4")
    with pytest.raises(VideoReadError, match=r"the folder '.*' may have at most 4 .*; got 5; set VIDTLDR"):
        ImageFolder(tmp_path)
    monkeypatch.setenv("VIDTLDR_MAX_FRAMES", "many")
    with pytest.raises(VideoReadError, match=r"VIDTLDR_MAX_FRAMES is a number of at least 1; got 'many'"):
        ImageFolder(tmp_path)


def announce(path, kind, offset, count):
    """Changes a number in a box of an MP4."""
    data = bytearray(path.read_bytes())
    place = data.index(kind) + 4 + offset
    data[place : place + 4] = count.to_bytes(4, "big")
    path.write_bytes(data)


@pytest.mark.parametrize("is_fragmented", [False, True])
def test_an_mp4_that_announces_billions_of_frames_takes_no_memory(is_fragmented, tmp_path):
    options = {"movflags": "frag_keyframe+empty_moov" if is_fragmented else "faststart"}
    path = write_video(tmp_path / "a.mp4", container_options=options)
    if is_fragmented:
        announce(path, b"trun", 4, 400_000_000)
        flags = path.read_bytes().index(b"trun") + 5
        data = bytearray(path.read_bytes())
        data[flags : flags + 3] = bytes(3)  # no bytes for each frame, so that they cost nothing
        path.write_bytes(data)
    else:
        announce(path, b"stsz", 4, 1)  # all have one byte, so that they cost nothing
        announce(path, b"stsz", 8, 400_000_000)
    # In a process of its own, whose memory is limited: without the check it would need 10 GB.
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))\n"
        "from vidtldr_jax.data import Preprocessing, read_frames\n"
        "try: read_frames(sys.argv[1], Preprocessing(num_frames=4, image_size=32))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert run.stdout.startswith(f"VideoReadError the video '{path}' may have at most 4,000,000 ")
    assert "got 400,000,000; set VIDTLDR_MAX_FRAMES to allow more" in run.stdout


def make_box(kind, content):
    return struct.pack(">I", len(content) + 8) + kind + content


def compress_index(index):
    content = struct.pack(">I", len(index)) + zlib.compress(index)
    return make_box(b"moov", make_box(b"cmov", make_box(b"dcom", b"zlib") + make_box(b"cmvd", content)))


HIDDEN = {
    "compressed": lambda rest, index: rest + compress_index(index),
    "compressed twice": lambda rest, index: rest + compress_index(compress_index(index)),
    "inside other boxes": lambda rest, index: rest + make_box(b"udta", make_box(b"tref", index)),
    "behind an unknown box": lambda rest, index: make_box(b"abcd", bytes(8)) + rest + index,
}


@pytest.mark.parametrize("way", HIDDEN)
def test_an_index_is_found_wherever_ffmpeg_looks(way, tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=40)
    for kind, offset, value in ((b"stsz", 4, 1), (b"stsz", 8, 5_000_000), (b"stsc", 12, 5_000_000)):
        announce(path, kind, offset, value)
    data = path.read_bytes()
    begin = data.index(b"moov") - 4  # it is the last box
    path.write_bytes(HIDDEN[way](data[:begin], data[begin:]))
    with pytest.raises(ValueError, match=r"got 5,000,000; set|is compressed twice"):
        check_mp4_index(path)


def test_a_compressed_index_is_read(tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=4)
    data = path.read_bytes()
    begin = data.index(b"moov") - 4
    path.write_bytes(data[:begin] + compress_index(data[begin:]))
    assert [read_number(frame) for frame in read_frames(path, RECIPE).frames[0]] == [0, 1, 2, 3]


def test_edits_that_show_everything_again_and_again_are_refused(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", num_frames=40)  # its index is at the end
    data = path.read_bytes()
    place = data.index(b"elst") - 4
    size = int.from_bytes(data[place : place + 4], "big")
    entries = data[place + 16 : place + size] * 50
    changed = bytearray(data[: place + 12] + (50).to_bytes(4, "big") + entries + data[place + size :])
    for name in (b"moov", b"trak", b"edts", b"elst"):
        at = changed.index(name, changed.index(b"moov")) - 4
        grown = int.from_bytes(changed[at : at + 4], "big") + len(entries) - (size - 16)
        changed[at : at + 4] = grown.to_bytes(4, "big")
    path.write_bytes(changed)
    with av.open(str(path)) as container:
        assert len(container.streams.video[0].index_entries) > 1000  # FFmpeg lists them all
    assert read_frames(path, RECIPE).indices.max() > 0
    monkeypatch.setenv("VIDTLDR_MAX_FRAMES", "400")
    with pytest.raises(
        VideoReadError, match=r"the edits of the video '.*a\.mp4' may have at most 400 .*; got 500; set"
    ):
        read_frames(path, RECIPE)


def test_boxes_are_walked_whatever_they_say(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    data = path.read_bytes()
    kinds = [box.kind for box in walk_boxes(io.BytesIO(data), len(data))]
    assert kinds[0] == b"ftyp"
    assert {b"moov", b"trak", b"stsz", b"dref", b"vmhd", b"mdat"} <= set(kinds)
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), 30):
            damaged[place] = rng.integers(256)
        boxes = list(walk_boxes(io.BytesIO(damaged), len(damaged)))
        assert all(box.begin >= 0 and box.begin + box.size <= len(damaged) + 16 for box in boxes)
    assert [box.kind for box in walk_boxes(io.BytesIO(b"RIFF" * 100), 400)] == [b"RIFF"]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", [(1, 400_000), (400_000, 1)])
def test_a_long_strip_does_not_grow_without_limit(shape, kernel, tmp_path):
    strip = np.zeros((*shape, 3), np.uint8)
    with pytest.raises(
        LimitError, match=r"resized to .*, may have at most 37,748,736 .*; set VIDTLDR_MAX_FRAME_PIXELS"
    ):
        resize_frame(strip, height=224, width=224, kernel=kernel)
    Image.fromarray(strip).save(tmp_path / "a.png")
    recipe = Preprocessing(num_frames=1, image_size=224, resize="shortest_edge", kernel=kernel)
    with pytest.raises(VideoReadError, match=r"^'.*a\.png': a frame of \d+ x \d+, resized to"):
        read_frames(tmp_path / "a.png", recipe)
