"""One rule for folders of frames and folders of videos; nothing below a folder is skipped silently or waited for."""

import logging
import os
import socket
import struct

import numpy as np
import pytest
from PIL import Image

from tests.data.making import draw_frame, write_video
from tests.data.test_video_paths import fill
from vidtldr_jax.data import Preprocessing, VideoReadError, read_clip
from vidtldr_jax.data.animation import is_animated
from vidtldr_jax.data.folder_contents import list_contents
from vidtldr_jax.data.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from vidtldr_jax.data.video_paths import find_videos, hash_content, look_for_videos

RECIPE = Preprocessing(num_frames=2, image_size=16)


def name_below(folder):
    return [os.path.relpath(path, folder) for path in list_contents(folder).videos]


def write_pictures(folder, count=3):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(draw_frame(number)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("picture", ["cover.jpg", "videos/cover.png", "videos/deep/x.webp", "frames/1.png"])
def test_a_picture_hides_no_video(picture, tmp_path):
    fill(tmp_path, "videos/a.mp4", "videos/deep/b.mkv", picture)
    assert name_below(tmp_path) == ["videos/a.mp4", "videos/deep/b.mkv"]
    (note,) = list_contents(tmp_path).notes
    place = os.path.dirname(picture) or "the folder itself"
    assert note == (f"{tmp_path}: 1 picture left out, in {place}; to take a folder of pictures as one video, name it")


def test_without_videos_pictures_are_frames_and_those_below_are_named(tmp_path):
    fill(tmp_path, "clip/1.png", "clip/2.png", "clip/depth/1.png", "clip/depth/2.png")
    assert list_contents(tmp_path / "clip").videos == [tmp_path / "clip"]
    assert list_contents(tmp_path / "clip").notes[0].startswith(f"{tmp_path / 'clip'}: 2 pictures left out, in depth; ")
    # Of folders of frames, each is a video.
    fill(tmp_path, "more/other/1.png")
    assert name_below(tmp_path) == ["clip", "more/other"]


def test_every_suffix_of_a_video_is_taken(tmp_path):
    names = sorted(name for suffix in VIDEO_SUFFIXES for name in (f"a{suffix}", f"b{suffix.upper()}"))
    fill(tmp_path, *names, "cover.png")
    assert name_below(tmp_path) == names


def test_suffixes_of_formats_that_decode_are_known():
    wanted = (
        ".asf .vob .mxf .dv .f4v .nut .ogm .rm .rmvb .divx .y4m .mjpg .mjpeg .mj2 .h264 .264 .hevc .265 .ivf .apng "
        ".obu .3g2 .m2v .m1v .mpv .mts .m2t .wtv .qt .ogv .gif .ismv .mk3d"
    )
    assert set(wanted.split()) <= set(VIDEO_SUFFIXES)
    assert not set(VIDEO_SUFFIXES) & set(IMAGE_SUFFIXES)


def test_what_no_suffix_tells_is_counted_by_suffix(tmp_path):
    fill(tmp_path, "a.mp4", "a.json", "sub/b.json", "c.XYZ", "README", ".hidden.xyz", "mp3.mp3")
    (note,) = list_contents(tmp_path).notes
    assert note.startswith(f"{tmp_path}: 5 files left out, by suffix no videos (.json 2, ")
    assert note.endswith("); to take one, name it")
    assert all(kind in note for kind in (".xyz 1", ".mp3 1", "without suffix 1"))


def test_an_ogg_file_is_a_video_where_it_says_so(tmp_path):
    (tmp_path / "film.ogg").write_bytes(b"OggS" + bytes(24) + b"\x80theora" + bytes(30))
    (tmp_path / "song.ogg").write_bytes(b"OggS" + bytes(24) + b"\x01vorbis" + bytes(30))
    contents = list_contents(tmp_path)
    assert contents.videos == [tmp_path / "film.ogg"]
    assert "(.ogg 1)" in contents.notes[0]


ANIMATED = {
    ".webp": {"lossless": True}, ".png": {}, ".avif": {}, ".avifs": {"format": "AVIF"}, ".tiff": {},
    ".tif": {"big_tiff": True}, ".apng": {"format": "PNG"}, ".jpg": {"format": "GIF"},
}  # fmt: skip


@pytest.mark.parametrize("suffix", ANIMATED)
def test_an_animated_picture_is_a_video_and_a_still_is_not(suffix, tmp_path):
    first, *rest = [Image.fromarray(draw_frame(number)) for number in range(3)]
    try:
        first.save(tmp_path / f"film{suffix}", save_all=True, append_images=rest, **ANIMATED[suffix])
        first.save(tmp_path / f"still{suffix}", **ANIMATED[suffix])
    except (KeyError, OSError, ValueError):
        pytest.skip(f"this Pillow writes no {suffix}")
    assert is_animated(tmp_path / f"film{suffix}")
    assert not is_animated(tmp_path / f"still{suffix}")
    if suffix != ".apng":  # of which nobody names a still
        assert name_below(tmp_path) == [f"film{suffix}"]
        assert "1 picture left out, in the folder itself" in list_contents(tmp_path).notes[0]


def test_an_animation_of_one_frame_is_a_still(tmp_path):
    path = tmp_path / "a.webp"
    frames = [Image.fromarray(draw_frame(number)) for number in range(2)]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    assert is_animated(path)
    data = path.read_bytes()
    second = data.rindex(b"ANMF")
    path.write_bytes(b"RIFF" + (second - 8).to_bytes(4, "little") + data[8:second])
    assert not is_animated(path)
    (tmp_path / "b.png").write_bytes(b"")
    assert list_contents(tmp_path).videos == [tmp_path]


DAMAGED = (
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffxxxx",
    b"II*\0\x08\0\0\0",
    b"II*\0\x08\0\0\0\xff\xff",
    b"MM\0*\0\0\0\x08\0\x01" + bytes(12) + b"\0\0\0\x08",  # its next page is itself
    b"II+\0\x08\0\0\0" + b"\xff" * 8,
    b"GIF89a",
    b"GIF89a" + bytes(7) + b"!\xff\xff\xff\xff",
    b"GIF89a" + bytes(7) + b"," + bytes(12) + b"!\xf9",
    b"RIFF\0\0\0\0WEBPVP8X",
    b"RIFF\0\0\0\0WEBPVP8X\xff\xff\xff\xff\x02",
    b"\0\0\0\x20ftyp",
)


def test_a_damaged_picture_ends_the_look_at_it(tmp_path):
    for content in DAMAGED:
        (tmp_path / "a.png").write_bytes(content)
        assert is_animated(tmp_path / "a.png") == content.startswith(b"MM")


@pytest.mark.parametrize("tags", [{254: 1}, {254: 4}, {255: 2}])
def test_pages_that_are_smaller_copies_are_no_film(tags, tmp_path):
    page, copy = Image.fromarray(draw_frame(0)), Image.fromarray(draw_frame(1))
    copy.encoderinfo = {"tiffinfo": tags}
    page.save(tmp_path / "a.tiff", save_all=True, append_images=[copy])
    with Image.open(tmp_path / "a.tiff") as image:
        assert image.n_frames == 2
    assert not is_animated(tmp_path / "a.tiff")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4], ids=["short", "long"])
def test_a_mask_is_one_in_either_order_of_bytes(kind, order, tmp_path):
    value = struct.pack(f"{order}{'HH' if kind == 3 else 'I'}", *((4, 0) if kind == 3 else (4,)))
    last = struct.pack(f"{order}HHHI", 1, 254, kind, 1) + value + bytes(4)
    first = struct.pack(f"{order}HHHII", 1, 254, 4, 1, 0) + struct.pack(f"{order}I", 26)
    begin = b"II*\0" if order == "<" else b"MM\0*"
    (tmp_path / "a.tif").write_bytes(begin + struct.pack(f"{order}I", 8) + first + last)
    assert not is_animated(tmp_path / "a.tif")
    (tmp_path / "a.tif").write_bytes(begin + struct.pack(f"{order}I", 8) + first + last.replace(value, bytes(4)))
    assert is_animated(tmp_path / "a.tif")


def test_links_and_what_is_no_file_never_stop_a_folder(tmp_path):
    fill(tmp_path / "v", "a.mp4")
    folder = tmp_path / "v"
    os.mkfifo(folder / "fifo.mp4")
    os.mkfifo(folder / "fifo")
    (folder / "dangling.mp4").symlink_to("nowhere")
    (folder / "circle.mp4").symlink_to("circle.mp4")
    (folder / "circle").symlink_to("circle")
    (folder / "back").symlink_to(folder)
    (folder / "device.mp4").symlink_to("/dev/zero")
    (folder / "folder.mp4").mkdir()
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(folder / "s.mp4"))
    contents = list_contents(folder)
    assert [path.name for path in contents.videos] == [
        "a.mp4", "circle.mp4", "dangling.mp4", "device.mp4", "fifo.mp4", "s.mp4",
    ]  # fmt: skip
    assert contents.notes == [
        f"{folder}: 1 link to folders not followed (back); to take one, name it",
        f"{folder}: left out are links that lead nowhere, FIFOs or devices: circle, fifo",
    ]
    assert contents.errors == {}
    for name in ("circle.mp4", "dangling.mp4", "device.mp4", "fifo.mp4", "s.mp4"):
        with pytest.raises(OSError, match=r"a regular file|No such file|Too many levels"):
            hash_content(folder / name)
        with pytest.raises((VideoReadError, OSError), match=name):
            read_clip(folder / name, RECIPE)


def test_a_folder_that_cannot_be_looked_at_is_an_error_and_the_others_go_on(tmp_path, monkeypatch):
    fill(tmp_path, "a.mp4", "locked/b.mp4", "open/c.mp4")
    scan = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = look_for_videos([tmp_path, tmp_path / "gone.mp4"])
    assert [path.name for path in found.videos] == ["a.mp4", "c.mp4"]
    assert found.errors == {
        str(tmp_path / "locked"): "Permission denied",
        str(tmp_path / "gone.mp4"): f"a video must exist; there is no {str(tmp_path / 'gone.mp4')!r}; check the path.",
    }
    with pytest.raises(VideoReadError, match="locked: Permission denied"):
        find_videos([tmp_path])


def test_a_frame_that_is_missing_is_an_error_and_not_another_video(tmp_path):
    folder = write_pictures(tmp_path / "frames")
    (folder / "1.png").unlink()
    (folder / "1.png").symlink_to("nowhere")
    assert list_contents(folder).videos == [folder]
    with pytest.raises(OSError, match=r"1\.png"):
        hash_content(folder)
    with pytest.raises((VideoReadError, OSError), match=r"1\.png"):
        read_clip(folder, Preprocessing(num_frames=3, image_size=16))


@pytest.mark.parametrize("place", ["a.mp4", "deep/a.mp4", "deep/b/1.png"])
def test_a_folder_of_videos_is_not_read_as_one_video(place, tmp_path):
    folder = tmp_path / "v"
    if place.endswith("mp4"):
        write_pictures(folder, 1)
        (folder / place).parent.mkdir(exist_ok=True)
        write_video(folder / place, num_frames=3)
    else:
        write_pictures((folder / place).parent)
    with pytest.raises(VideoReadError, match=r"one video is needed; '.*v' is a folder of videos, such as '"):
        read_clip(folder, RECIPE)


def test_frames_are_read_as_before(tmp_path):
    folder = fill(write_pictures(tmp_path / "frames"), "notes.txt")
    clip = read_clip(folder, Preprocessing(num_frames=3, image_size=16))
    assert clip.shape == (3, 16, 16, 3)
    assert np.ptp(clip) > 1


def test_functions_that_return_paths_alone_tell_the_log_what_is_left_out(tmp_path, caplog):
    fill(tmp_path, "a.mp4", "a.json")
    with caplog.at_level(logging.WARNING, "vidtldr_jax"):
        assert find_videos([tmp_path]) == [tmp_path / "a.mp4"]
    assert "1 file left out, by suffix no videos (.json 1)" in caplog.text
