"""A file that ends before its end is noticed, and no other one."""

import av
import pytest

from tests.data.making import mux_streams, read_number, write_audio, write_video
from vidtldr_jax.data.video_file import VideoFile

MPEG4 = {"codec": "mpeg4", "options": {"b": "2M", "g": "12"}}
FILES = {
    "a.mkv": {},
    "a.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "b": "1M"}},
    "vp8.webm": {"codec": "libvpx", "options": {"b": "1M"}},
    "a.avi": MPEG4,
    "a.mp4": {},
    "a.mov": {},
    "front.mp4": {"container_options": {"movflags": "faststart"}},
    "pieces.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "options": {"g": "8"}},
    "a.flv": {},
    "a.ts": {},
}


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_has_no_notice(name, tmp_path):
    assert VideoFile(write_video(tmp_path / name, **FILES[name])).notices == ()


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.mov", "a.nut", "a.ts"])
def test_a_recording_that_begins_late_has_no_notice(name, tmp_path):
    source = write_video(tmp_path / "source.mp4")
    # Without the option Matroska's writer begins at 0, and MP4's leaves out an edit list.
    options = {"avoid_negative_ts": "disabled"}
    file = VideoFile(mux_streams(tmp_path / name, source, delay=1000.0, options=options))
    assert file.notices == ()
    assert file.num_frames == 40
    assert file.times[0] == 0
    assert file.times[-1] == pytest.approx(39 / 25, abs=0.01)
    assert [read_number(frame) for _, frame in file.read([0, 39])] == [0, 39]


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.avi", "a.ts"])
def test_sound_longer_than_the_picture_is_no_cut(name, tmp_path):
    video = write_video(tmp_path / "v.avi", num_frames=10, **MPEG4)
    sound = write_audio(tmp_path / "s.mp3", codec="libmp3lame", num_blocks=320)
    file = VideoFile(mux_streams(tmp_path / name, video, sound))
    with av.open(str(tmp_path / name)) as container:
        assert container.duration > 10e6
    assert file.notices == ()
    assert file.num_frames == 10


def test_frames_that_an_avi_dropped_are_no_cut(tmp_path):
    source = write_video(tmp_path / "source.avi", num_frames=60, codec="mjpeg", pix_fmt="yuvj420p")
    file = VideoFile(mux_streams(tmp_path / "a.avi", source, skip=lambda place, number: 3 < number < 50))
    with av.open(str(tmp_path / "a.avi")) as container:
        assert container.streams.video[0].frames == 60  # the header counts the dropped ones
    assert file.notices == ()
    assert file.num_frames == 14
    assert [read_number(frame) for _, frame in file.read(range(14))] == [0, 1, 2, 3, *range(50, 60)]
    assert file.times[4] == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "vp8.webm", "a.avi", "front.mp4", "pieces.mp4"])
def test_a_file_that_was_cut_off_is_noticed(name, share, tmp_path):
    path = write_video(tmp_path / name, num_frames=80, **FILES[name])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    (notice,) = VideoFile(path).notices
    assert notice.startswith("the header announces ")
    assert notice.endswith(f" bytes, {int(len(data) * share):,} are there: it may be cut off")


def test_a_cut_off_file_with_longer_sound_is_noticed_too(tmp_path):
    video = write_video(tmp_path / "v.avi", num_frames=10, **MPEG4)
    sound = write_audio(tmp_path / "s.mp3", codec="libmp3lame", num_blocks=320)
    path = mux_streams(tmp_path / "a.mkv", video, sound)
    path.write_bytes(path.read_bytes()[:-2000])
    assert len(VideoFile(path).notices) == 1


def test_a_live_recording_that_says_no_length_has_no_notice(tmp_path):
    path = write_video(tmp_path / "a.mkv", container_options={"live": "1"})
    assert VideoFile(path).notices == ()
    path.write_bytes(path.read_bytes()[:-3000])
    assert VideoFile(path).num_frames > 5


@pytest.mark.parametrize("rest", [b"appended text, not a box", bytes(100), b"\xff" * 40])
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_what_follows_the_end_of_a_file_is_no_cut(name, rest, tmp_path):
    path = write_video(tmp_path / name, **FILES[name])
    path.write_bytes(path.read_bytes() + rest)
    file = VideoFile(path)
    assert file.num_frames == 40
    assert file.notices == ()
