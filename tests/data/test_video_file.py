"""Frames by number: the same by seeking as by decoding everything, in every container and codec."""

from types import SimpleNamespace

import av
import numpy as np
import pytest

from tests.data.making import decode_all, draw_frame, read_number, write_audio, write_video
from vidtldr_jax.data import video_file
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.frame_table import FrameTable
from vidtldr_jax.data.video_file import FrameCountError, VideoFile

X264 = "scenecut=0:keyint={}:min-keyint={}:bframes=3:open-gop={}"
FILES = {
    "h264, one keyframe": ("a.mp4", {"options": {"bf": "3", "g": "250"}}),
    "h264, GOP of 12": ("a.mp4", {"options": {"x264-params": X264.format(12, 12, 0)}}),
    "h264, GOP of 5": ("a.mp4", {"options": {"x264-params": X264.format(5, 5, 0)}}),
    "h264, all keyframes": ("a.mp4", {"options": {"g": "1"}}),
    "h264, open GOP": ("a.mp4", {"options": {"x264-params": X264.format(10, 10, 1)}}),
    "h264, open GOP, Matroska": ("a.mkv", {"options": {"x264-params": X264.format(10, 10, 1)}}),
    "h264, transport stream": ("a.ts", {"options": {"x264-params": X264.format(10, 10, 0)}}),
    "h264, fragmented": (
        "a.mp4",
        {"options": {"g": "8"}, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    ),
    "h264, 4:4:4, odd sizes": ("a.mp4", {"options": {"g": "8"}, "pix_fmt": "yuv444p", "height": 49, "width": 67}),
    "h264, variable rate": ("a.mp4", {"options": {"g": "8"}, "ticks": np.arange(40).cumsum().tolist()}),
    "hevc": ("a.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=9:min-keyint=9"}}),
    "mpeg4": ("a.avi", {"codec": "mpeg4", "options": {"g": "6", "b": "2M"}}),
    "mpeg4, B-frames, odd sizes": (
        "a.avi",
        {"codec": "mpeg4", "options": {"bf": "2", "g": "6", "b": "2M"}, "width": 65},
    ),
    "mpeg2": ("a.mpg", {"codec": "mpeg2video", "options": {"g": "6", "b": "2M"}}),
    "vp9": ("a.webm", {"codec": "libvpx-vp9", "options": {"g": "9", "deadline": "realtime", "b": "1M"}}),
    "vp8": ("a.webm", {"codec": "libvpx", "options": {"g": "9", "auto-alt-ref": "1", "lag-in-frames": "9", "b": "1M"}}),
    "gif": ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
}


@pytest.mark.parametrize("name", FILES)
def test_frames_by_number_are_those_of_decoding_everything(name, tmp_path):
    file_name, settings = FILES[name]
    path = write_video(tmp_path / file_name, **settings)
    everything = decode_all(path)
    file = VideoFile(path)
    assert file.num_frames == len(everything) == 40
    assert file.notices == ()
    for indices in ([0], [39], [3, 21, 22, 38], [11, 29], list(range(40))):
        read = list(file.read(indices))
        assert [index for index, _ in read] == indices
        for index, frame in read:
            np.testing.assert_array_equal(frame, everything[index])
            assert read_number(frame) == index


@pytest.mark.parametrize(
    "name", ["h264, GOP of 5", "h264, open GOP, Matroska", "h264, transport stream", "mpeg4", "vp9", "hevc"]
)
def test_a_seek_leaves_most_frames_undecoded(name, tmp_path, monkeypatch):
    file_name, settings = FILES[name]
    file = VideoFile(write_video(tmp_path / file_name, **settings))
    num_decoded = 0

    def count(container, stream, decode=video_file.decode_frames):
        nonlocal num_decoded
        for frame in decode(container, stream):
            num_decoded += 1
            yield frame

    monkeypatch.setattr(video_file, "decode_frames", count)
    assert [read_number(frame) for _, frame in file.read([37])] == [37]
    assert 0 < num_decoded <= 20


def write_trimmed(tmp_path, num_hidden):
    """Writes a video whose first frames are there but hidden: what a phone's trimming does."""
    whole = write_video(tmp_path / "whole.mp4", options={"x264-params": X264.format(40, 40, 0)})
    trimmed = tmp_path / "trimmed.mp4"
    with av.open(str(whole)) as source, av.open(str(trimmed), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                shift = round(num_hidden / 25 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                target.mux(packet)
    return trimmed


def test_frames_that_an_edit_list_hides_are_not_counted(tmp_path):
    file = VideoFile(write_trimmed(tmp_path, 10))
    assert file.num_frames == 30
    assert [read_number(frame) for _, frame in file.read([0, 7, 29])] == [10, 17, 39]
    assert file.times[0] == 0


def test_hidden_frames_are_not_counted_either_where_the_file_was_cut_off(tmp_path):
    path = write_trimmed(tmp_path, 10)
    path.write_bytes(path.read_bytes()[:-300])
    file = VideoFile(path)
    assert file.num_frames == 30
    assert len(file.times) < 30
    assert [read_number(frame) for _, frame in file.read([0, 7])] == [10, 17]


def test_times_and_rate_follow_a_variable_frame_rate(tmp_path):
    ticks = [0, 1, 3, 6, 10, 60, 61, 90]
    file = VideoFile(write_video(tmp_path / "a.mp4", num_frames=8, ticks=ticks))
    np.testing.assert_allclose(file.times, np.array(ticks) / 60, atol=1e-3)
    assert file.fps == pytest.approx(7 / 1.5, rel=1e-3)


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_a_rotated_video_comes_out_upright(rotation, turns, tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=2, rotation=rotation, options={"crf": "10"})
    with av.open(str(path)) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="rgb24")
    ((_, frame),) = VideoFile(path).read([0])
    assert decoded.shape == (48, 64, 3)
    np.testing.assert_array_equal(frame, np.rot90(decoded, turns))


def test_colours_come_out_as_they_went_in(tmp_path):
    def draw(number, *, height, width):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[:, : width // 2], frame[:, width // 2 :] = (200, 40, 90), (30, 160, 220)
        return frame

    settings = {"pix_fmt": "yuv444p", "height": 33, "width": 47, "options": {"crf": "1"}}
    path = write_video(tmp_path / "a.mp4", num_frames=2, draw=draw, **settings)
    ((_, frame),) = VideoFile(path).read([1])
    expected = draw(1, height=33, width=47)
    error = np.abs(frame.astype(int) - expected)
    assert np.delete(error, [22, 23, 24], axis=1).max() <= 4


def test_the_drawn_numbers_can_be_read_and_differ():
    assert [read_number(draw_frame(number)) for number in range(200)] == list(range(200))


def test_packets_that_promise_too_much_are_noticed_and_mended(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", options={"g": "10"})
    table = VideoFile(path)._table
    doubled = FrameTable(*(np.repeat(column, 2) for column in table[:3]), num_announced=80)
    doubled = doubled._replace(pts=doubled.pts + np.tile([0, 1], 40))
    monkeypatch.setattr(video_file, "list_frames", lambda *_: doubled)
    file = VideoFile(path)
    assert file.num_frames == 80
    with pytest.raises(FrameCountError):
        list(file.read([20, 60]))
    file.count_by_decoding()
    assert file.num_frames == 40
    assert [read_number(frame) for _, frame in file.read([20, 30])] == [20, 30]
    assert file.notices == ("40 of 80 frames can't be decoded and are left out",)


@pytest.mark.parametrize("seek_by", ["too late", "refused"])
def test_a_container_that_can_not_seek_is_decoded_from_its_beginning(seek_by, tmp_path, monkeypatch):
    file = VideoFile(write_video(tmp_path / "a.mp4", options={"x264-params": X264.format(10, 10, 0)}))
    if seek_by == "too late":
        monkeypatch.setattr(file, "_table", file._table._replace(seek_times=np.full(40, file._table.seek_times[30])))
    else:

        def refuse(*_):
            raise video_file.SeekError

        monkeypatch.setattr(video_file, "_seek", refuse)
    assert [read_number(frame) for _, frame in file.read([2, 14, 25])] == [2, 14, 25]


def test_what_comes_before_the_keyframe_that_was_sought_is_not_used(monkeypatch):
    frames = [SimpleNamespace(key_frame=is_key, number=i) for i, is_key in enumerate([False, False, True, False])]
    monkeypatch.setattr(video_file, "decode_frames", lambda *_: iter(frames))
    container = SimpleNamespace(seek=lambda *_, **__: None)
    assert [frame.number for frame in video_file._seek(container, None, 0)] == [2, 3]


def test_damage_in_the_middle_costs_only_frames_that_are_named(tmp_path):
    path = write_video(tmp_path / "a.mp4", options={"g": "1"}, container_options={"movflags": "faststart"})
    with av.open(str(path)) as container:
        packet = next(packet for packet in container.demux(video=0) if packet.pts == 512 * 20)
        begin, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    data[begin : begin + size] = bytes(size)
    path.write_bytes(data)
    file = VideoFile(path)
    with pytest.raises(FrameCountError):
        list(file.read(range(40)))
    file.count_by_decoding()
    assert [read_number(frame) for _, frame in file.read([19, 20])] == [19, 21]
    assert file.notices == ("1 of 40 frames can't be decoded and are left out",)


def write_cut(tmp_path, name, share, **settings):
    path = write_video(tmp_path / name, **settings)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def test_a_cut_off_mp4_gives_what_is_there_and_says_what_is_not(tmp_path):
    settings = {"options": {"g": "250", "bf": "3"}, "container_options": {"movflags": "faststart"}}
    path = write_cut(tmp_path, "a.mp4", 0.6, **settings)
    file = VideoFile(path)
    num_readable = len(file.times)
    assert file.num_frames == 40
    assert 3 < num_readable < 39
    assert [read_number(frame) for _, frame in file.read(range(num_readable))] == list(range(num_readable))
    with pytest.raises(
        VideoReadError, match=f"is cut off: {num_readable} of 40 frames are readable, frame 38 is needed"
    ):
        list(file.read([0, 38]))


@pytest.mark.parametrize("num_packets", range(9, 15))
def test_wherever_an_mp4_is_cut_off_the_readable_frames_have_no_gap(num_packets, tmp_path):
    settings = {"options": {"x264-params": X264.format(40, 40, 0)}, "container_options": {"movflags": "faststart"}}
    path = write_video(tmp_path / "a.mp4", **settings)
    with av.open(str(path)) as container:
        begins = [packet.pos for packet in container.demux(video=0) if packet.size]
    path.write_bytes(path.read_bytes()[: begins[num_packets]])
    file = VideoFile(path)
    num_readable = len(file.times)
    assert num_packets - 4 <= num_readable <= num_packets
    assert [read_number(frame) for _, frame in file.read(range(num_readable))] == list(range(num_readable))


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9")])
def test_other_containers_cut_off_are_read_to_the_cut_with_a_notice(name, codec, tmp_path):
    file = VideoFile(write_cut(tmp_path, name, 0.4, codec=codec, options={"b": "2M", "g": "100"}, num_frames=80))
    assert 3 < file.num_frames < 60
    assert [read_number(frame) for _, frame in file.read([0, 3])] == [0, 3]
    assert len(file.notices) == 1
    assert file.notices[0].startswith("the header announces ")
    assert file.notices[0].endswith(": it may be cut off")


def test_sound_beside_the_picture_does_not_matter(tmp_path):
    silent, sound = write_video(tmp_path / "v.mp4"), write_audio(tmp_path / "a.m4a", codec="aac")
    both = tmp_path / "both.mp4"
    with av.open(str(silent)) as video, av.open(str(sound)) as audio, av.open(str(both), "w") as target:
        streams = [target.add_stream_from_template(s) for s in (audio.streams.audio[0], video.streams.video[0])]
        packets = [(p, streams[0]) for p in audio.demux() if p.size] + [
            (p, streams[1]) for p in video.demux() if p.size
        ]
        for packet, stream in packets:
            packet.stream = stream
            target.mux(packet)
    file = VideoFile(both)
    assert file.num_frames == 40
    assert [read_number(frame) for _, frame in file.read([5, 39])] == [5, 39]
