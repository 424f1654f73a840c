"""The cut-outs and their captions: pictures with a one-line description each, from Debian's tuxpaint-stamps-default.

Nothing of the package is in this repository. It is read from where Debian installs it, or from a folder that it was
unpacked to: `apt-get download tuxpaint-stamps-default; dpkg -x tuxpaint-stamps-default_*.deb stamps`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

DEBIAN_FOLDER = Path("/usr/share/tuxpaint/stamps")
SIDE = 32  # rows and columns of a cut-out in memory, its empty rim included
_RIM = 1  # empty pixels around it, so that it ends where it ends when it is turned

NAMES = (
    "animals/amphibians/frog",
    "animals/birds/crow",
    "animals/birds/duck",
    "animals/birds/owl",
    "animals/birds/penguin",
    "animals/birds/rooster",
    "animals/birds/tucan",
    "animals/fish/butterflyfish",
    "animals/fish/seahorse",
    "animals/insects/cartoon/butterfly",
    "animals/insects/cartoon/ladybug",
    "animals/mammals/apes/gorilla",
    "animals/mammals/bears/bear",
    "animals/mammals/bovines/cow",
    "animals/mammals/cats/tiger",
    "animals/mammals/dogs/fox",
    "animals/mammals/elephant",
    "animals/mammals/equines/zebra",
    "animals/mammals/hedgehog",
    "animals/mammals/pig",
    "animals/mammals/rodents/squirrel",
    "animals/marsupials/kangaroo",
    "animals/marsupials/koala",
    "clothes/hats/blue_fedora",
    "clothes/hats/sombrero",
    "clothes/hats/tophat",
    "food/dessert/cartoon/birthday_cake",
    "food/fruit/Strawberry2",
    "food/fruit/apple_green",
    "food/fruit/apple_red",
    "food/fruit/banana",
    "food/fruit/cartoon/grapes",
    "food/pizza",
    "hobbies/camera_35mm",
    "hobbies/music/string/violin",
    "household/Lightbulb",
    "household/dishes/mug",
    "household/rubberduck",
    "household/tools/hammer",
    "plants/flowers/daffodil",
    "plants/flowers/iris",
    "plants/flowers/rose",
    "plants/trees/pinecone",
    "sports/basketball",
    "vehicles/auto/beetle",
    "vehicles/cycle/pink_tricycle",
    "vehicles/emergency/firetruck",
    "vehicles/flight/balloon360",
)


class CutOuts(NamedTuple):
    """What the clips show and how it is called.

    Attributes:
      pictures: `[num, SIDE, SIDE, 4]`, red, green, blue (times alpha) and alpha, 0 to 1.
      lines: the package's own line on each, such as "A squirrel."
    """

    pictures: Float[np.ndarray, "num side side 4"]
    lines: tuple[str, ...]


def load_cutouts(folder: Path = DEBIAN_FOLDER) -> CutOuts:
    """Loads the cut-outs of `NAMES`.

    Args:
      folder: the package's `stamps`, or a folder that the package was unpacked to.

    Returns:
      Pictures and lines, in the order of `NAMES`.

    Raises:
      FileNotFoundError: some are not there.
    """
    folder = folder if (folder / "animals").is_dir() else folder / DEBIAN_FOLDER.relative_to("/")
    missing = [name for name in NAMES if not (folder / f"{name}.png").is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(NAMES)} pictures of Debian's tuxpaint-stamps-default are needed; {len(missing)} are "
            f"not in {folder}, such as {missing[0]}.png; install the package, or unpack it and name that folder."
        )
    pictures = np.stack([shrink_cutout(Image.open(folder / f"{name}.png")) for name in NAMES])
    lines = (folder.joinpath(f"{name}.txt").read_text(encoding="utf-8").splitlines()[0].strip() for name in NAMES)
    return CutOuts(pictures, tuple(lines))


def shrink_cutout(picture: Image.Image) -> Float[np.ndarray, "side side 4"]:
    """Cuts off what is empty and makes the rest fit `SIDE`, its proportions kept."""
    picture = picture.convert("RGBA")
    picture = picture.crop(picture.getchannel("A").getbbox())
    values = np.asarray(picture, np.float32) / 255
    values[..., :3] *= values[..., 3:]
    scale = (SIDE - 2 * _RIM) / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    result = np.zeros((SIDE, SIDE, 4), np.float32)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    for channel in range(4):
        small = Image.fromarray(values[..., channel]).resize((width, height), Image.Resampling.BOX)
        result[top : top + height, left : left + width, channel] = np.asarray(small)
    return result
