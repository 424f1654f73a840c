"""Videos and pictures: what decoders are fed."""

from __future__ import annotations

import functools
import io
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np

from scripts.fuzz.fuzz_class import FuzzClass
from vidtldr_jax.data.clip import Clip, read_frames
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.preprocessing import Preprocessing

_NUM_FRAMES: Final = 12
_SIZE: Final = 48
_ANSWER: Final = "frames of the right shape, or one line that names the file"
_PREPROCESSING: Final = Preprocessing(num_frames=4, image_size=32)
# File name -> codec, pixel format, structure of the container.
_VIDEOS: Final = {
    "h264.mp4": ("libx264", "yuv420p", "boxes"),
    "mpeg4.avi": ("mpeg4", "yuv420p", "riff"),
    "mjpeg.avi": ("mjpeg", "yuvj420p", "riff"),
    "vp9.webm": ("libvpx-vp9", "yuv420p", "bytes"),
    "h264.mkv": ("libx264", "yuv420p", "bytes"),
    "prores.mov": ("prores_ks", "yuv422p10le", "boxes"),
    "ffv1.mkv": ("ffv1", "yuv420p", "bytes"),
    "h264.ts": ("libx264", "yuv420p", "bytes"),
    "flv1.flv": ("flv", "yuv420p", "bytes"),
    "a.gif": ("gif", "rgb8", "bytes"),
}


def _draw(number: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.roll(rng.integers(0, 255, (_SIZE, _SIZE, 3)).astype(np.uint8), 4 * number, axis=1)


def _make_video(name: str, folder: Path) -> None:
    import av

    codec, pix_fmt, _ = _VIDEOS[name]
    with av.open(str(folder / name), "w") as container:
        stream: Any = container.add_stream(codec, rate=Fraction(25))
        stream.width = stream.height = _SIZE
        stream.pix_fmt = pix_fmt
        for number in range(_NUM_FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(_draw(number), format="rgb24")))
        container.mux(stream.encode(None))


def _make_exif_video(name: str, folder: Path) -> None:
    """Write Motion JPEG whose frames say how they are held, which PyAV once failed on."""
    from PIL import Image

    from tests.data.making import write_packets

    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    packets = []
    for number in range(_NUM_FRAMES):
        file = io.BytesIO()
        Image.fromarray(_draw(number)).save(file, "JPEG", exif=exif)
        packets.append(file.getvalue())
    write_packets(folder / name, packets, width=_SIZE, height=_SIZE)


def _make_picture(name: str, folder: Path) -> None:
    from PIL import Image

    frames = [Image.fromarray(_draw(number)) for number in range(4)]
    several = {"save_all": True, "append_images": frames[1:], "duration": 40}
    options: dict[str, dict[str, Any]] = {
        "still.jpg": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
        "still.png": {},
        "still.bmp": {},
        "moving.webp": several,
        "moving.apng": {"format": "PNG", **several},
        "moving.tiff": several,
    }
    frames[0].save(folder / name, **options[name])


def _make_frames(folder: Path) -> None:
    from PIL import Image

    for number in range(4):
        Image.fromarray(_draw(number)).save(folder / f"{number}.png")


def _read(name: str, folder: Path) -> Clip:
    return read_frames(folder / name, _PREPROCESSING)


def _is_clip(value: Clip, expected: Clip) -> bool:
    is_ordered = bool((value.indices >= 0).all())
    return value.frames.shape == expected.frames.shape and value.frames.dtype == np.uint8 and is_ordered


def _describe(name: str, make: Any, structure: str) -> FuzzClass:
    return FuzzClass(
        name=name,
        answer=_ANSWER,
        make=functools.partial(make, name),
        structures={name: (structure, 1)},
        read=functools.partial(_read, name),
        is_right=_is_clip,
        documented=(VideoReadError, OSError),
    )


PICTURE_CLASSES: Final = (
    *(_describe(name, _make_video, structure) for name, (_, _, structure) in _VIDEOS.items()),
    _describe("exif.avi", _make_exif_video, "riff"),
    _describe("still.jpg", _make_picture, "bytes"),
    _describe("still.png", _make_picture, "png"),
    _describe("still.bmp", _make_picture, "bytes"),
    _describe("moving.webp", _make_picture, "riff"),
    _describe("moving.apng", _make_picture, "png"),
    _describe("moving.tiff", _make_picture, "bytes"),
    FuzzClass(
        name="folder of frames",
        answer=_ANSWER,
        make=_make_frames,
        structures={"*.png": ("png", 1)},
        read=lambda folder: read_frames(folder, _PREPROCESSING),
        is_right=_is_clip,
        documented=(VideoReadError, OSError),
    ),
)
