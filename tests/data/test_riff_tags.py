"""A tag of an AVI that claims gigabytes: refused before FFmpeg makes room for it."""

import struct

import av
import pytest

from tests.data.making import write_video
from vidtldr_jax.data.clip import read_frames
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.riff_tags import check_riff_tags

PREPROCESSING = Preprocessing(num_frames=4, image_size=32)


@pytest.fixture
def tagged(tmp_path):
    path = write_video(tmp_path / "a.avi", codec="mpeg4", num_frames=10, metadata={"title": "a film", "artist": "one"})
    assert path.read_bytes().count(b"INFO") == 1
    return path


def claim(path, tag, size):
    data = path.read_bytes()
    at = data.index(tag, data.index(b"INFO")) + 4
    path.write_bytes(data[:at] + struct.pack("<I", size) + data[at + 4 :])


def test_a_sound_file_passes_with_its_tags(tagged):
    check_riff_tags(tagged)
    assert read_frames(tagged, PREPROCESSING).frames.shape == (1, 4, 32, 32, 3)
    with av.open(str(tagged)) as container:
        assert container.metadata["title"] == "a film"


@pytest.mark.parametrize("size", [2**31 - 16, 2**32 - 1, 10**6])
def test_a_tag_beyond_the_end_of_its_file_is_refused_before_it_is_opened(tagged, size, monkeypatch):
    claim(tagged, b"INAM", size)
    monkeypatch.setattr(av, "open", lambda *args, **options: pytest.fail("FFmpeg was asked"))
    with pytest.raises(
        VideoReadError, match=rf"has one of {size:,} bytes at byte .*a\.avi|a\.avi.* has one of {size:,}"
    ):
        read_frames(tagged, PREPROCESSING)


def test_a_list_of_tags_that_takes_the_frames_in_is_refused_too(tagged, monkeypatch):
    data = tagged.read_bytes()
    at, frames = data.index(b"INFO") - 4, data.index(b"movi") - 4
    data = data[:at] + b"\xff" * 4 + data[at + 4 : frames] + bytes(4) + data[frames + 4 :]
    tagged.write_bytes(data)
    monkeypatch.setattr(av, "open", lambda *args, **options: pytest.fail("FFmpeg was asked"))
    with pytest.raises(VideoReadError, match="a tag of a video lies inside its file"):
        read_frames(tagged, PREPROCESSING)


def test_a_file_that_was_cut_off_in_its_frames_is_read_on(tagged):
    tagged.write_bytes(tagged.read_bytes()[:-2000])
    check_riff_tags(tagged)


@pytest.mark.parametrize("data", [b"", b"RIFF", b"RIFF\0\0\0\0AVI ", b"RIFF\0\0\0\0AVI LIST" + b"\xff" * 60])
def test_what_is_hardly_an_avi_ends(tmp_path, data):
    (tmp_path / "a.avi").write_bytes(data)
    check_riff_tags(tmp_path / "a.avi")
