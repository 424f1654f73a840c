"""From a path to what a model sees, and a line for every file that can't be read."""

import dataclasses

import av
import numpy as np
import pytest
from PIL import Image

from tests.data.making import draw_frame, read_number, write_audio, write_video
from vidtldr_jax.data import Preprocessing, VideoReadError, read_clip, read_clips, read_frames
from vidtldr_jax.data.sampling import sample_middle
from vidtldr_jax.data.transforms import normalize_frames, transform_frame
from vidtldr_jax.data.video_file import VideoFile

SMALL = Preprocessing(num_frames=4, image_size=32)
FORMATS = {
    "a.mp4": {"options": {"bf": "3"}},
    "a.avi": {"codec": "mpeg4", "options": {"b": "2M"}},
    "a.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "b": "1M"}},
    "a.gif": {"codec": "gif", "pix_fmt": "rgb8"},
}


def write_folder(path, num_frames=40):
    path.mkdir()
    for number in range(num_frames):
        Image.fromarray(draw_frame(number)).save(path / f"{number}.png")
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_the_middle_frames_of_every_format_are_read(name, tmp_path):
    clip = read_frames(write_video(tmp_path / name, **FORMATS[name]), SMALL)
    assert clip.frames.shape == (1, 4, 32, 32, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.indices.tolist() == sample_middle(40, num_frames=4).tolist() == [[4, 14, 24, 34]]
    assert [read_number(frame) for frame in clip.frames[0]] == [4, 14, 24, 34]
    assert clip.fps == pytest.approx(25, rel=0.01)
    assert clip.notices == ()


def test_a_folder_of_images_is_read_like_a_video(tmp_path):
    clip = read_frames(str(write_folder(tmp_path / "frames")), SMALL)
    assert [read_number(frame) for frame in clip.frames[0]] == [4, 14, 24, 34]
    assert clip.fps is None
    assert clip.notices == ()


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_short_video_is_padded_with_its_last_frame_and_a_notice(is_folder, tmp_path):
    path = write_folder(tmp_path / "a", 3) if is_folder else write_video(tmp_path / "a.mp4", num_frames=3)
    clip = read_frames(path, dataclasses.replace(SMALL, num_frames=5))
    assert clip.indices.tolist() == [[0, 1, 2, 2, 2]]
    assert [read_number(frame) for frame in clip.frames[0]] == [0, 1, 2, 2, 2]
    assert clip.notices == ("there are 3 frames, the model looks at 5: the last one is repeated",)


def test_a_single_image_is_a_video_of_one_frame(tmp_path):
    Image.fromarray(draw_frame(9)).save(tmp_path / "a.png")
    clip = read_frames(tmp_path / "a.png", SMALL)
    assert [read_number(frame) for frame in clip.frames[0]] == [9] * 4
    assert clip.notices == ("there is 1 frame, the model looks at 4: the last one is repeated",)


def test_a_dense_clip_that_does_not_fit_names_its_stride(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    dense = dataclasses.replace(SMALL, sampling="dense", stride=16)
    clip = read_frames(path, dense)
    assert clip.indices.tolist() == [[0, 16, 32, 32]]
    assert clip.notices == ("there are 40 frames, the model looks at 4 16 apart: the last one is repeated",)
    assert read_frames(path, dataclasses.replace(dense, stride=10)).notices == ()


def test_windows_of_a_short_video_begin_it_anew(tmp_path):
    windows = dataclasses.replace(SMALL, sampling="windows", stride=2)
    clip = read_frames(write_folder(tmp_path / "a", 5), windows)
    assert clip.indices.tolist() == [[0, 2, 4, 1]]
    assert [read_number(frame) for frame in clip.frames[0]] == [0, 2, 4, 1]
    assert clip.notices == ("there are 5 frames, the model looks at 4 2 apart: the video begins anew",)


def test_views_are_clips_and_the_crops_of_each(tmp_path):
    path = write_video(tmp_path / "a.mp4", height=48, width=96)
    views = Preprocessing(
        num_frames=4, image_size=32, sampling="dense", stride=3, num_clips=2, resize="shortest_edge", crop="three"
    )
    clip = read_frames(path, views)
    assert clip.frames.shape == (6, 4, 32, 32, 3)
    assert clip.indices.tolist() == [[0, 3, 6, 9]] * 3 + [[30, 33, 36, 39]] * 3
    frames = dict(VideoFile(path).read(range(40)))
    for view, indices in enumerate(clip.indices.tolist()):
        for step, index in enumerate(indices):
            expected = transform_frame(frames[index], views)[view % 3]
            np.testing.assert_array_equal(clip.frames[view, step], expected)


def test_clips_are_the_frames_normalised(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    two = dataclasses.replace(SMALL, num_clips=2, mean=(0.1, 0.2, 0.3), std=(0.5, 0.4, 0.3))
    clips = read_clips(path, two)
    assert clips.dtype == np.float32
    np.testing.assert_array_equal(clips, normalize_frames(read_frames(path, two).frames, mean=two.mean, std=two.std))
    one = read_clip(path, two)
    assert one.shape == (4, 32, 32, 3)
    np.testing.assert_array_equal(one, read_clips(path, dataclasses.replace(two, num_clips=1))[0])


def test_only_the_first_seconds_are_sampled_from(tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=8, ticks=[0, 10, 20, 30, 70, 80, 90, 100])
    clip = read_frames(path, dataclasses.replace(SMALL, first_seconds=1.0))
    assert clip.indices.tolist() == [[0, 1, 2, 3]]
    folder = read_frames(write_folder(tmp_path / "b"), dataclasses.replace(SMALL, first_seconds=1.0))
    assert folder.indices.max() == 34
    assert folder.notices == ("images have no clock: first_seconds = 1 is left out",)


def test_the_beginning_of_a_cut_off_mp4_can_still_be_used(tmp_path):
    settings = {"container_options": {"movflags": "faststart"}, "options": {"g": "10"}, "num_frames": 100}
    path = write_video(tmp_path / "a.mp4", **settings)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = read_frames(path, dataclasses.replace(SMALL, first_seconds=0.4))
    assert [read_number(frame) for frame in clip.frames[0]] == clip.indices[0].tolist() == [0, 3, 5, 8]
    with pytest.raises(VideoReadError, match=r"is cut off: \d+ of 100 frames are readable, frame \d+ is needed"):
        read_frames(path, SMALL)


def test_frames_that_can_not_be_decoded_are_left_out_with_a_notice(tmp_path):
    path = write_video(tmp_path / "a.mp4", options={"g": "1"})
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for packet in packets[14:20]:
        data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    clip = read_frames(path, SMALL)
    assert clip.indices.tolist() == sample_middle(34, num_frames=4).tolist()
    assert [read_number(frame) for frame in clip.frames[0]] == [3, 12, 26, 35]
    assert clip.notices == ("6 of 40 frames can't be decoded and are left out",)


def test_metadata_in_a_strange_encoding_does_not_matter(tmp_path):
    path = write_video(tmp_path / "a.mp4", metadata={"title": "cartwheel"})
    path.write_bytes(path.read_bytes().replace(b"cartwheel", b"cart\xff\xfe\xfdel"))
    assert b"cart\xff\xfe\xfdel" in path.read_bytes()
    assert read_number(read_frames(path, SMALL).frames[0, 0]) == 4


@pytest.mark.parametrize("name", ["a:b.mp4", "http:x.mp4", "ü 100%d.mp4", "-i.mp4"])
def test_odd_file_names_are_read_as_files(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain.mp4").rename(tmp_path / name)
    assert read_frames(name, SMALL).indices.max() == 34


def write_cover(path):
    """Writes sound with a cover picture: a video stream that is no video."""
    with av.open(str(path), "w", format="mp3") as container:
        sound = container.add_stream("libmp3lame", rate=16000, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 16, 16, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        container.mux(cover.encode(None))
        for _ in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16p", layout="mono")
            frame.sample_rate = 16000
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


def write_cut_before_index(path):
    write_video(path)
    path.write_bytes(path.read_bytes()[:2000])


BAD = {
    "missing.mp4": (lambda path: None, "the video must exist; there is no "),
    "empty.mp4": (lambda path: path.write_bytes(b""), r"is empty \(0 bytes\)"),
    "text.mp4": (lambda path: path.write_text("hello, this is text\n" * 50), "is a text file"),
    "text.txt": (lambda path: path.write_text("hello, this is text\n" * 50), "is a text file"),
    "zeros.mp4": (lambda path: path.write_bytes(bytes(5000)), "FFmpeg can't read "),
    "cut.mp4": (write_cut_before_index, r"an MP4 needs its index \(moov\); .* has none, so it was cut off"),
    "sound.wav": (lambda path: write_audio(path, codec="pcm_s16le"), r"a video stream is needed; .* \(only audio\)"),
    "sound.m4a": (lambda path: write_audio(path, codec="aac"), r"a video stream is needed; .* \(only audio\)"),
    "cover.mp3": (write_cover, r"a video stream is needed; .* \(only audio, cover pictures\)"),
    "folder": (lambda path: path.mkdir(), "a folder must hold images"),
    "bad.png": (lambda path: path.write_text("no image"), "every image that is looked at must be readable"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_can_not_be_read_gets_one_clear_line(name, tmp_path):
    write, text = BAD[name]
    path = tmp_path / name
    write(path)
    with pytest.raises(VideoReadError, match=text) as caught:
        read_frames(path, SMALL)
    message = str(caught.value)
    assert name in message
    assert len(message.splitlines()) == 1
    assert message.count("; ") >= 2


def test_a_video_without_a_single_good_frame_gets_one_clear_line(tmp_path):
    path = write_video(tmp_path / "a.mp4", options={"g": "1"}, num_frames=5)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for packet in packets:
        data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    with pytest.raises(VideoReadError, match=r"at least 1 frame must be readable; of .* none can be decoded"):
        read_frames(path, SMALL)


@pytest.mark.parametrize("read", [read_clip, read_clips, read_frames])
def test_what_is_no_preprocessing_is_refused_before_the_video_is_opened(read, tmp_path):
    with pytest.raises(ValueError, match=r"^preprocessing is a Preprocessing; got dict; pass model\.preprocessing\.$"):
        read(tmp_path / "missing.mp4", {"num_frames": 4})
