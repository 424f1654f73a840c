"""Only regular files that carry their own content are opened: no playlist, no pattern, no pointer, no pipe."""

import os
import signal
import socket

import av
import numpy as np
import pytest
from PIL import Image

from tests.data.making import draw_frame, read_number, write_audio, write_video
from vidtldr_jax.data import Preprocessing, VideoReadError, read_frames
from vidtldr_jax.data.containers import SAFE_OPTIONS
from vidtldr_jax.data.video_paths import hash_content

RECIPE = Preprocessing(num_frames=4, image_size=32)
LISTS = {
    "concat.mp4": "ffconcat version 1.0\nfile secret.mp4\n",
    "concat.txt": "ffconcat version 1.0\nfile secret.mp4\n",
    "marked.mp4": "\ufeffffconcat version 1.0\nfile 'secret.mp4'\nduration 1\n",
    "list.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "dash.mpd": '<?xml version="1.0"?><MPD type="static"><Period><BaseURL>secret.mp4</BaseURL></Period></MPD>',
    "imf.xml": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"/>',
    "mpjpeg.mp4": "--boundary\r\nContent-Type: image/jpeg\r\n\r\n",
    "drawing.mp4": '<svg xmlns="http://www.w3.org/2000/svg"><image href="secret.png"/></svg>',
    "page.png": "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(secret) run\n",
}


@pytest.fixture(autouse=True)
def _fail_instead_of_waiting():
    """A FIFO that is opened waits for ever; this ends a test that does."""

    def fail(*_):
        raise RuntimeError("it waits")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", LISTS)
def test_what_points_at_other_files_is_refused_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "secret.mp4", num_frames=5)
    write_video(tmp_path / "secret.ts", num_frames=5)
    (tmp_path / name).write_text(LISTS[name])
    for path in (tmp_path / name, name):
        with pytest.raises(VideoReadError) as caught:
            read_frames(path, RECIPE)
        message = str(caught.value)
        assert message.isprintable()
        assert name in message


@pytest.mark.parametrize("name", ["concat.mp4", "list.mp4", "session.mp4"])
def test_a_playlist_is_called_one(name, tmp_path):
    (tmp_path / name).write_text(LISTS[name])
    with pytest.raises(VideoReadError, match=rf"one file with its own content; '.*{name}' is a playlist; "):
        read_frames(tmp_path / name, RECIPE)


def test_a_pattern_of_names_is_a_name(tmp_path):
    for number in range(3):
        Image.fromarray(draw_frame(number)).save(tmp_path / f"{number}.tga")
    with pytest.raises(VideoReadError, match=r"must exist; there is no '.*%d\.tga'"):
        read_frames(tmp_path / "%d.tga", RECIPE)
    (tmp_path / "%d.tga").write_bytes((tmp_path / "0.tga").read_bytes())
    with pytest.raises(VideoReadError, match=r"in a format that carries its own content; '.*%d\.tga' is"):
        read_frames(tmp_path / "%d.tga", RECIPE)


def point_at(path, kind, target):
    """Replaces the reference "in this file" of a QuickTime file by one to another file."""
    if kind == b"alis":
        reference = bytes(150) + b"\0\2" + len(target).to_bytes(2, "big") + target + b"\xff\xff\0\0"
    else:
        reference = b"file://" + target + b"\0"
    data = path.read_bytes()
    place = max(data.find(b"url \0\0\0\1"), data.find(b"alis\0\0\0\1")) - 4
    changed = bytearray(data[:place] + (12 + len(reference)).to_bytes(4, "big") + kind + bytes(4) + reference)
    changed += data[place + 12 :]
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = changed.index(name, changed.index(b"moov")) - 4
        changed[at : at + 4] = (int.from_bytes(changed[at : at + 4], "big") + len(reference)).to_bytes(4, "big")
    path.write_bytes(changed)


@pytest.mark.parametrize("kind", [b"alis", b"url "])
def test_a_quicktime_file_whose_frames_are_elsewhere_is_refused(kind, tmp_path):
    secret = write_video(tmp_path / "secret.mov", num_frames=5)
    path = write_video(tmp_path / "a.mov", num_frames=5)  # its index is at the end
    point_at(path, kind, os.fsencode(secret))
    with av.open(str(path), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert len(container.streams.video) == 1  # FFmpeg understands it
    with pytest.raises(VideoReadError, match=r"the frames of '.*a\.mov' are in another file; give the whole video"):
        read_frames(path, RECIPE)


@pytest.mark.parametrize("kind", ["FIFO", "socket", "character device", "link to a FIFO"])
@pytest.mark.parametrize("name", ["a.mp4", "a.png", "a"])
def test_what_is_no_regular_file_is_refused_before_it_is_opened(name, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    if kind == "FIFO":
        os.mkfifo(name)
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(name)
        server.close()
    elif kind == "character device":
        os.symlink("/dev/zero", name)
    else:
        os.mkfifo("pipe")
        os.symlink("pipe", name)
    with pytest.raises(VideoReadError, match=rf"a regular file is needed; '{name}' is a "):
        read_frames(name, RECIPE)
    with pytest.raises(OSError, match="a regular file is needed"):
        hash_content(tmp_path / name)


def test_a_folder_with_a_pipe_among_its_images_does_not_wait(tmp_path):
    for number in range(4):
        Image.fromarray(draw_frame(number)).save(tmp_path / f"{number}.png")
    os.mkfifo(tmp_path / "2a.png")
    with pytest.raises(VideoReadError, match=r"a regular file is needed; '.*2a\.png' is a FIFO; give a file"):
        read_frames(tmp_path, Preprocessing(num_frames=5, image_size=32))
    with pytest.raises(OSError, match=r"a regular file is needed; '.*2a\.png' is a FIFO"):
        hash_content(tmp_path)


KEPT = {
    "a.mp4": {},
    "a.mkv": {},
    "a.mov": {},
    "a.m4v": {},
    "a.ts": {},
    "a.m2ts": {"format": "mpegts"},
    "a.flv": {},
    "a.f4v": {"format": "mp4"},
    "a.nut": {},
    "a.3gp": {},
    "a.h264": {},
    "a.avi": {"codec": "mpeg4"},
    "a.asf": {"codec": "mpeg4"},
    "a.wmv": {"codec": "wmv2"},
    "a.mpg": {"codec": "mpeg2video"},
    "a.vob": {"codec": "mpeg2video"},
    "a.mxf": {"codec": "mpeg2video"},
    "a.m2v": {"codec": "mpeg2video", "format": "mpeg2video"},
    "a.dv": {"codec": "dvvideo", "height": 576, "width": 720},
    "a.ogv": {"codec": "libvpx", "format": "ogg", "options": {"b": "1M"}},
    "a.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "b": "1M"}},
    "a.ivf": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "b": "1M"}},
    "a.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "a.y4m": {"codec": "wrapped_avframe", "format": "yuv4mpegpipe"},
    "a.rm": {"codec": "rv20"},
    "a.swf": {"codec": "flv"},
    "no suffix": {"format": "mp4"},
}


@pytest.mark.parametrize("name", KEPT)
def test_every_usual_format_is_still_read(name, tmp_path):
    settings = {"codec": "libx264", "pix_fmt": "yuv420p", "height": 144, "width": 176} | KEPT[name]
    path = tmp_path / name
    with av.open(str(path), "w", format=settings.get("format")) as container:
        stream = container.add_stream(settings["codec"], rate=25, options=settings.get("options", {}))
        stream.width, stream.height, stream.pix_fmt = settings["width"], settings["height"], settings["pix_fmt"]
        for number in range(12):
            drawn = draw_frame(number, height=settings["height"], width=settings["width"])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(drawn, format="rgb24")))
        container.mux(stream.encode(None))
    numbers = [read_number(frame) for frame in read_frames(path, RECIPE).frames[0]]
    assert numbers == [1, 4, 7, 10]


def test_sound_is_still_called_sound(tmp_path):
    for name, codec in (("a.flac", "flac"), ("a.aac", "aac"), ("a.aiff", "pcm_s16be")):
        with pytest.raises(VideoReadError, match=r"a video stream is needed; .* has none"):
            read_frames(write_audio(tmp_path / name, codec=codec), RECIPE)


def test_formats_that_open_further_files_are_not_on_the_list():
    listed = set(SAFE_OPTIONS["format_whitelist"].split(","))
    assert not listed & {
        *("concat", "hls", "applehttp", "dash", "sdp", "rtsp", "rtp", "sap", "image2", "image2pipe", "imf", "lavfi"),
        *(
            "webm_dash_manifest",
            "vobsub",
            "mlv",
            "vapoursynth",
            "avisynth",
            "dvdvideo",
            "bluray",
            "mpjpeg",
            "svg_pipe",
            "tty",
        ),
        *("x11grab", "fbdev", "kmsgrab", "v4l2", "video4linux2", "alsa", "oss", "data", "rawvideo"),
    }
    names = {name for name in av.formats_available for name in name.split(",")}
    assert len(listed & names) > 100
    np.testing.assert_equal(SAFE_OPTIONS["protocol_whitelist"], "file")
