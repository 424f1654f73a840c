"""Renders the held-out clips that ship with the package: large, as H.264 MP4, from pictures of the test split.

    python scripts/moving_objects/make_clips.py --out vidtldr_jax/assets/clips
    python scripts/moving_objects/make_clips.py --out vidtldr_jax/assets/gallery --gallery

The first are the three of the demo, the second one of each motion, to search in. Each is the first scene drawn with the
wanted motion over the wanted photo, whatever a model says of it.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from clips import BRIGHTNESS
from jaxtyping import UInt8
from pictures import PHOTOS, Pictures, load_pictures
from scenes import LABELS, Scenes, draw_scenes, render_scenes

# Motion and photo; all photos of the test split are CC0 or in the public domain.
WANTED = (("turning clockwise", "chelsea"), ("coming together", "rocket"), ("left", "camera"))
GALLERY = tuple((label, PHOTOS["test"][number % 3]) for number, label in enumerate(LABELS))
GALLERY_SEED = 8
_IMAGE_SIZE = 240
_NUM_FRAMES = 48
_FRAMES_PER_SECOND = 16
_SEED = 7
_NUM_DRAWN = 600  # scenes to look through
_QUALITY = "24"  # x264's constant rate factor


def find_scene(scenes: Scenes, *, label: str, photo: str, is_panned: bool) -> Scenes:
    """Returns the first scene of a kind, as a batch of one."""
    fits = (scenes.label == LABELS.index(label)) & (scenes.photo == PHOTOS["test"].index(photo))
    fits &= scenes.pan.any(-1) == is_panned
    first = int(np.flatnonzero(fits)[0])
    fields = {field.name: getattr(scenes, field.name)[first : first + 1] for field in dataclasses.fields(scenes)}
    return Scenes(**fields)


def write_video(path: Path, frames: UInt8[np.ndarray, "T Y X 3"]) -> None:
    """Encodes frames as H.264."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(_FRAMES_PER_SECOND))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": _QUALITY, "preset": "veryslow", "threads": "1"}
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def make_clips(
    out: Path, pictures: Pictures, *, wanted: Sequence[tuple[str, str]] = WANTED, seed: int = _SEED
) -> list[Path]:
    """Writes all wanted clips; every other one with a camera pan.

    Args:
      out: the folder to write to.
      pictures: the test split's, photos at full size.
      wanted: motion and photo of each.
      seed: of the scenes.

    Returns:
      The files.
    """
    scenes = draw_scenes(
        np.random.default_rng(seed),
        _NUM_DRAWN,
        num_digits=len(pictures.digits),
        num_photos=len(pictures.photos),
        num_frames=_NUM_FRAMES,
    )
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (label, photo) in enumerate(wanted):
        scene = find_scene(scenes, label=label, photo=photo, is_panned=number % 2 == 0)
        clips = render_scenes(scene, pictures.digits, pictures.photos, image_size=_IMAGE_SIZE, brightness=BRIGHTNESS)
        path = out / f"{label.replace(' ', '_')}.mp4"
        write_video(path, clips[0])
        paths.append(path)
    return paths


def main() -> None:
    """Writes the clips and prints their sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--gallery", action="store_true", help="one clip of each motion, instead of the demo's three")
    arguments = parser.parse_args()
    which = {"wanted": GALLERY, "seed": GALLERY_SEED} if arguments.gallery else {}
    for path in make_clips(arguments.out, load_pictures("test"), **which):
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
