"""Folders of images as videos."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.data.making import draw_frame, read_number
from vidtldr_jax.data import pictures
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.image_folder import ImageFolder


def test_images_come_in_the_order_of_their_numbers(tmp_path):
    for number in (0, 1, 2, 10, 11, 100):
        Image.fromarray(draw_frame(number)).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._frame3.png").write_text("left by a file system")
    (tmp_path / "folder.png").mkdir()
    folder = ImageFolder(tmp_path)
    assert folder.num_frames == 6
    assert [read_number(frame) for _, frame in folder.read([0, 2, 3, 5])] == [0, 2, 10, 100]


@pytest.mark.parametrize(
    "suffix", [".png", ".bmp", ".ppm", ".pnm", ".tif", ".webp", ".JPG", ".jfif", ".mpo", ".jp2", ".dib"]
)
def test_every_kind_of_image_is_read(suffix, tmp_path):
    Image.fromarray(draw_frame(5)).save(tmp_path / f"a{suffix}", quality=95)
    ((_, frame),) = ImageFolder(tmp_path).read([0])
    assert frame.shape == (48, 64, 3)
    assert read_number(frame) == 5


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "I;16"])
def test_other_pixel_formats_become_rgb(mode, tmp_path):
    suffix = "tif" if mode == "CMYK" else "png"
    if mode == "I;16":
        Image.fromarray(draw_frame(5)[..., 0].astype(np.uint16) * 257).save(tmp_path / "a.png")
    else:
        Image.fromarray(draw_frame(5)).convert(mode).save(tmp_path / f"a.{suffix}")
    ((_, frame),) = ImageFolder(tmp_path).read([0])
    assert frame.shape == (48, 64, 3)
    assert frame.dtype == np.uint8
    assert read_number(frame) == 5
    if mode == "I;16":
        np.testing.assert_array_equal(frame[..., 0], draw_frame(5)[..., 0])


def test_white_shows_through_transparent_pixels(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    ((_, frame),) = ImageFolder(tmp_path).read([0])
    np.testing.assert_array_equal(frame[0], [[10, 20, 30], [255, 255, 255]])


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_photo_taken_sideways_comes_out_upright(mode, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation  # 6: to be turned clockwise by a quarter
    Image.fromarray(draw_frame(5)).convert(mode).save(tmp_path / "a.png", exif=exif)
    ((_, frame),) = ImageFolder(tmp_path).read([0])
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(frame, expected)
    if mode == "RGB" and orientation == 6:
        np.testing.assert_array_equal(frame, np.rot90(draw_frame(5), -1))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "I;16", "1"])
def test_a_picture_is_the_same_in_strips_as_whole(mode, tmp_path, monkeypatch):
    pixels = draw_frame(5)
    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257 if mode == "I;16" else pixels)
    if mode != "I;16":
        image = image.convert(mode)
    if "A" in mode:
        image.putalpha(Image.fromarray(pixels[..., 1]))
    image.save(tmp_path / "a.png")
    ((_, whole),) = ImageFolder(tmp_path).read([0])
    monkeypatch.setattr(pictures, "_STRIP_PIXELS", 64 * 5)
    ((_, in_strips),) = ImageFolder(tmp_path).read([0])
    np.testing.assert_array_equal(in_strips, whole)
    if "A" in mode:
        alpha = pixels[..., 1:2] / 255
        colour = pixels if mode == "RGBA" else np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
        np.testing.assert_allclose(whole, np.broadcast_to(colour * alpha + 255 * (1 - alpha), (48, 64, 3)), atol=1.01)


@pytest.mark.parametrize("content", [b"no image at all", b"", b"\x89PNG\r\n\x1a\n", None])
def test_an_unreadable_image_is_named(content, tmp_path):
    path = tmp_path / "a.png"
    if content is None:
        Image.fromarray(draw_frame(5)).save(path)
        content = path.read_bytes()[:-400]
    path.write_bytes(content)
    with pytest.raises(VideoReadError, match=r"^every image .* 'a\.png' is not \(.*\); replace".replace("'a", "'.*a")):
        list(ImageFolder(tmp_path).read([0]))


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(
        VideoReadError, match=r"a folder must hold images \(.*\) or videos; '.*' holds neither; give another"
    ):
        ImageFolder(tmp_path)
