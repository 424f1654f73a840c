"""Files with several video streams: the one that FFmpeg takes is read, and said."""

from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.stream import Disposition

from tests.data.making import draw_frame, mux_streams, read_number, write_video
from vidtldr_jax.data import Preprocessing, VideoReadError, read_frames
from vidtldr_jax.data.video_file import VideoFile
from vidtldr_jax.data.video_streams import choose_stream

DEFAULT, NONE = Disposition.default, Disposition(0)
RECIPE = Preprocessing(num_frames=4, image_size=32)


def write_pair(folder, name, *, small_first, dispositions):
    """Writes a file with a small video of 10 frames and a large one of 30 whose numbers begin at 100."""
    small = write_video(folder / "small.mp4", num_frames=10, height=32, width=48)
    large = write_video(folder / "large.mp4", num_frames=30, height=96, width=128, first_number=100)
    sources = (small, large) if small_first else (large, small)
    return mux_streams(folder / name, *sources, dispositions=dispositions)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.ts", "a.nut"])
@pytest.mark.parametrize("small_first", [True, False])
def test_the_default_stream_is_read_wherever_it_stands(name, small_first, tmp_path):
    path = write_pair(
        tmp_path, name, small_first=small_first, dispositions=[NONE, DEFAULT][:: 1 if small_first else -1]
    )
    file = VideoFile(path)
    assert file.num_frames == 30
    assert [read_number(frame) for _, frame in file.read([0, 7, 29])] == [100, 107, 129]
    assert len(file.notices) == 1
    place = 2 if small_first else 1
    assert file.notices[0].startswith(f"there are 2 video streams: number {place} is read (128 x 96")
    if not name.endswith(".ts"):
        with av.open(str(path)) as container:
            assert container.streams.best("video").width == 128


def test_a_default_stream_wins_over_a_larger_one(tmp_path):
    path = write_pair(tmp_path, "a.mkv", small_first=True, dispositions=[DEFAULT, NONE])
    file = VideoFile(path)
    assert file.num_frames == 10
    assert file.notices == ("there are 2 video streams: number 1 is read (48 x 32, the default)",)


def test_where_no_stream_is_the_default_the_largest_is_read(tmp_path):
    path = write_pair(tmp_path, "a.nut", small_first=True, dispositions=[NONE, NONE])
    assert VideoFile(path).num_frames == 30


@pytest.mark.parametrize(
    ("name", "num_missing"), [("a.mkv", 12), ("a.nut", 12), ("a.avi", 12), ("a.asf", 12), ("a.mkv", 10), ("a.nut", 10)]
)
def test_a_default_stream_that_has_nothing_where_ffmpeg_looks_is_not_read(name, num_missing, tmp_path):
    small = write_video(tmp_path / "small.mp4", num_frames=200, height=32, width=48, codec="mpeg4")
    large = write_video(
        tmp_path / "large.mp4", num_frames=12, height=96, width=128, codec="mpeg4", ticks=range(0, 2400, 200)
    )
    path = mux_streams(
        *(tmp_path / name, large, small),
        dispositions=[DEFAULT, NONE],
        skip=lambda place, number: place == 0 and number < num_missing,
    )
    file = VideoFile(path)
    assert file.num_frames == 200
    assert file.notices[0].startswith("there are 2 video streams: number 2 is read (48 x 32")


class Streams(list):
    """As PyAV lists them."""

    @property
    def video(self):
        return self


def fake_stream(index, disposition, width):
    context = SimpleNamespace(width=width, height=10)
    return SimpleNamespace(index=index, disposition=disposition, codec_context=context, type="video")


@pytest.mark.parametrize("kind", [Disposition.attached_pic, Disposition.timed_thumbnails])
def test_covers_and_timed_thumbnails_are_no_videos(kind):
    cover, video = fake_stream(0, kind | DEFAULT, 400), fake_stream(1, NONE, 48)
    chosen = choose_stream(SimpleNamespace(streams=Streams([cover, video])), Path("a.mp4"), pytest.fail)
    assert chosen == (video, None)
    with pytest.raises(VideoReadError, match=r"a video stream is needed; 'a\.mp4' has none \(only cover pictures\)"):
        choose_stream(SimpleNamespace(streams=Streams([cover])), Path("a.mp4"), pytest.fail)


def test_the_notice_reaches_whoever_reads_a_clip(tmp_path):
    path = write_pair(tmp_path, "a.mp4", small_first=True, dispositions=[NONE, DEFAULT])
    clip = read_frames(path, RECIPE)
    assert [read_number(frame) for frame in clip.frames[0]] == [103, 110, 118, 125]
    assert clip.notices == ("there are 2 video streams: number 2 is read (128 x 96, the default)",)
    single = read_frames(write_video(tmp_path / "b.mp4", num_frames=4), RECIPE)
    assert single.notices == ()
    np.testing.assert_allclose(single.frames[0, 0].mean(), draw_frame(0).mean(), atol=12)
