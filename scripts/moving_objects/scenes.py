"""Clips whose label is how two objects move; arrays of pictures go in, frames come out, at any resolution.

    scenes = draw_scenes(np.random.default_rng(0), 64, num_digits=len(digits), num_photos=len(photos))
    clips = render_scenes(scenes, digits, photos, image_size=48)      # uint8 [B, T, Y, X, 3]

Why a single frame can't tell: every clip shows two objects over a photo, whatever the label; the middle of the clip is
drawn from one distribution for all labels, and the motion leads up to it and away from it. Labels come in pairs that
are each other's reversal in time (left and right, ...), so even all frames without their order don't tell which.
Lengths are fractions of the frame's side, rows before columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

LABELS = (
    "left",
    "right",
    "up",
    "down",
    "growing",
    "shrinking",
    "turning clockwise",
    "turning anticlockwise",
    "coming together",
    "moving apart",
    "circling each other",
    "still",
)
NUM_OBJECTS = 2  # that move as the label says
_DIGIT_SIDE = 28
_SHIFTS = {"left": (0.0, -1.0), "right": (0.0, 1.0), "up": (-1.0, 0.0), "down": (1.0, 0.0)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """How hard clips are to read; ranges are (least, most), lengths are fractions of the frame.

    Attributes:
      side: of an object's square in the middle of the clip.
      reach: from the middle of the frame to each object.
      shift: way of objects that go left, right, up or down, over the whole clip.
      parting: change of `reach` where objects come together or move apart.
      growth: log of the growth.
      turn: radians, of an object and of two that circle each other.
      pan_share: part of the clips in which the camera pans.
      pan_length: of a pan, over the whole clip.
      num_distractors: further objects; they stand still or drift, whatever the label.
      drift: way of a distractor that drifts, over the whole clip.
      labels: which of `LABELS` occur.
    """

    side: tuple[float, float] = (0.36, 0.48)
    reach: tuple[float, float] = (0.17, 0.23)
    shift: tuple[float, float] = (0.24, 0.38)
    parting: tuple[float, float] = (0.14, 0.2)
    growth: tuple[float, float] = (0.55, 0.8)
    turn: tuple[float, float] = (1.2, 1.9)
    pan_share: float = 0.5
    pan_length: tuple[float, float] = (0.1, 0.3)
    num_distractors: int = 0
    drift: tuple[float, float] = (0.1, 0.3)
    labels: tuple[str, ...] = LABELS


EASY = Look()  # of the shipped model
HARD = Look(  # of the accuracy benchmark
    side=(0.32, 0.44),
    pan_share=0.75,
    num_distractors=1,
    labels=tuple(label for label in LABELS if not label.startswith("turning")),
)


def mix_looks(easy: Look, hard: Look, hardness: float) -> Look:
    """Returns a look between two: ranges in proportion, distractors in the harder half, all else as the hard one."""
    ranges = {
        field.name: tuple(
            least + (most - least) * hardness
            for least, most in zip(getattr(easy, field.name), getattr(hard, field.name), strict=True)
        )
        for field in dataclasses.fields(Look)
        if isinstance(field.default, tuple) and field.name != "labels"
    }
    distractors = hard.num_distractors if hardness > 0.5 else easy.num_distractors
    return dataclasses.replace(hard, num_distractors=distractors, **ranges)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenes:
    """What happens in a batch of clips, free of any resolution. `O` is objects, the last axis of a place is (y, x).

    Distractors come first, so that they are drawn behind the objects that move as the label says.

    Attributes:
      label: index into `LABELS`.
      digit: which picture each object is.
      tint: its colour, 0 to 1.
      place: centre of each object in each frame, fractions of the frame.
      side: side of its square, fractions of the frame.
      angle: its turn in radians, clockwise on the screen.
      photo: which photo lies behind.
      window: top, left and side of the part of the photo in the first frame, fractions of the photo's free space
        (top, left) and of its shorter side.
      pan: how far the window moves over the clip, fractions of the window.
      is_mirrored: whether the photo is mirrored.
      gain: brightness of each colour of the photo, 0 to 1.
    """

    label: Int[np.ndarray, " B"]
    digit: Int[np.ndarray, "B O"]
    tint: Float[np.ndarray, "B O 3"]
    place: Float[np.ndarray, "B T O 2"]
    side: Float[np.ndarray, "B T O"]
    angle: Float[np.ndarray, "B T O"]
    photo: Int[np.ndarray, " B"]
    window: Float[np.ndarray, "B 3"]
    pan: Float[np.ndarray, "B 2"]
    is_mirrored: Int[np.ndarray, " B"]
    gain: Float[np.ndarray, "B 3"]


def draw_scenes(
    rng: np.random.Generator,
    num_scenes: int,
    *,
    num_digits: int,
    num_photos: int,
    num_frames: int = 16,
    look: Look = EASY,
) -> Scenes:
    """Draws what happens; labels are as equally frequent as `num_scenes` allows, in random order.

    Args:
      rng: where all chance comes from.
      num_scenes: clips.
      num_digits: pictures of objects to choose from.
      num_photos: photos to choose from.
      num_frames: frames of a clip, evenly over its time.
      look: how hard they are to read.

    Returns:
      The scenes.
    """
    count, objects = num_scenes, (num_scenes, NUM_OBJECTS)
    occurring = np.array([LABELS.index(name) for name in look.labels])
    label = occurring[rng.permutation(np.arange(count) + rng.integers(len(occurring))) % len(occurring)]
    middle = rng.uniform(0.44, 0.56, (count, 2))
    reach = rng.uniform(*look.reach, count)  # from the middle to each object
    heading = rng.uniform(0, 2 * np.pi, count)  # from the middle to the first object
    side = rng.uniform(*look.side, objects)
    angle = rng.uniform(-0.4, 0.4, objects)
    strength = rng.uniform(0.0, 1.0, count)  # slow to fast, within each label's range
    turn_sign = rng.choice((-1.0, 1.0), count)
    shift_by, part_by, grow_by, turn_by = (
        least + (most - least) * strength for least, most in (look.shift, look.parting, look.growth, look.turn)
    )

    time = np.linspace(-0.5, 0.5, num_frames)  # 0 is the middle of the clip
    is_label = {name: (label == index)[:, None] for index, name in enumerate(LABELS)}
    course = shift_by[:, None] * time  # [B, T]
    shift = sum(is_label[name][..., None] * course[..., None] * np.array(way) for name, way in _SHIFTS.items())
    parting = is_label["moving apart"] * 1.0 - is_label["coming together"]
    reach_now = reach[:, None] + parting * part_by[:, None] * time
    circling = is_label["circling each other"] * (turn_sign * turn_by)[:, None] * time
    heading_now = heading[:, None] + circling
    growth = is_label["growing"] * 1.0 - is_label["shrinking"]
    turning = is_label["turning clockwise"] * 1.0 - is_label["turning anticlockwise"]

    arm = reach_now[..., None] * np.stack([np.sin(heading_now), np.cos(heading_now)], -1)  # [B, T, 2]
    arms = np.stack([arm, -arm], 2)  # [B, T, O, 2]
    colour = rng.uniform(0.25, 1.0, (*objects, 3))
    is_panned = rng.random(count) < look.pan_share
    way = rng.uniform(0, 2 * np.pi, count)
    length = is_panned * rng.uniform(*look.pan_length, count)
    scenes = Scenes(
        label=label,
        digit=rng.integers(num_digits, size=objects),
        tint=colour / colour.max(-1, keepdims=True),
        place=(middle[:, None] + shift)[:, :, None] + arms,
        side=side[:, None] * np.exp(growth * grow_by[:, None] * time)[..., None],
        angle=angle[:, None] + (turning * turn_by[:, None] * time)[..., None],
        photo=rng.integers(num_photos, size=count),
        window=np.stack([rng.random(count), rng.random(count), rng.uniform(0.3, 0.65, count)], -1),
        pan=length[:, None] * np.stack([np.sin(way), np.cos(way)], -1),
        is_mirrored=rng.integers(2, size=count),
        gain=rng.uniform(0.6, 1.0, (count, 3)),
    )
    return _add_distractors(scenes, rng, look=look, num_digits=num_digits) if look.num_distractors else scenes


def _add_distractors(scenes: Scenes, rng: np.random.Generator, *, look: Look, num_digits: int) -> Scenes:
    """Puts objects behind the others that keep their size and angle, and drift straight in half of the clips."""
    count, num_frames = scenes.place.shape[:2]
    objects = (count, look.num_distractors)
    time = np.linspace(-0.5, 0.5, num_frames)[:, None]
    way, is_drifting = rng.uniform(0, 2 * np.pi, objects), rng.random(objects) < 0.5
    step = (is_drifting * rng.uniform(*look.drift, objects))[..., None] * np.stack([np.sin(way), np.cos(way)], -1)
    place = rng.uniform(0.15, 0.85, (*objects, 2))
    colour = rng.uniform(0.25, 1.0, (*objects, 3))
    side, angle = rng.uniform(*look.side, objects), rng.uniform(-0.4, 0.4, objects)
    added = {
        "digit": rng.integers(num_digits, size=objects),
        "tint": colour / colour.max(-1, keepdims=True),
        "place": place[:, None] + time[None, ..., None] * step[:, None],
        "side": np.repeat(side[:, None], num_frames, 1),
        "angle": np.repeat(angle[:, None], num_frames, 1),
    }
    axes = {"digit": 1, "tint": 1, "place": 2, "side": 2, "angle": 2}
    both = {name: np.concatenate([new, getattr(scenes, name)], axes[name]) for name, new in added.items()}
    return dataclasses.replace(scenes, **both)


def render_scenes(
    scenes: Scenes,
    digits: UInt8[np.ndarray, "num 28 28"],
    photos: Sequence[Image.Image],
    *,
    image_size: int,
    brightness: float = 0.5,
) -> UInt8[np.ndarray, "B T Y X 3"]:
    """Renders scenes.

    Args:
      scenes: what happens.
      digits: pictures of objects, 0 where there is none.
      photos: RGB.
      image_size: rows and columns of a frame, pixels.
      brightness: of the photos, 0 to 1; the objects stay as bright as they are.

    Returns:
      The clips, values 0 to 255.
    """
    frames = render_photos(scenes, photos, image_size=image_size)  # [B, T, Y, X, 3]
    frames *= brightness * scenes.gain[:, None, None, None].astype(np.float32)
    for clip, pair in enumerate(scenes.digit):
        for item, digit in enumerate(pair):
            _paste_object(
                frames[clip],
                digits[digit],
                centre=scenes.place[clip, :, item].astype(np.float32) * image_size,
                side=scenes.side[clip, :, item].astype(np.float32) * image_size,
                angle=scenes.angle[clip, :, item].astype(np.float32),
                tint=scenes.tint[clip, item].astype(np.float32) * 255,
            )
    return np.rint(frames).astype(np.uint8)


def find_object_patches(
    scenes: Scenes, *, num_objects: int, image_size: int, patch_size: int, tubelet_size: int
) -> Bool[np.ndarray, "B tokens"]:
    """Says which tokens show one of the objects that move as the label says, and so not a distractor.

    Args:
      scenes: what happens.
      num_objects: of a scene, its last ones.
      image_size: rows and columns of a frame, pixels.
      patch_size: of a token, pixels.
      tubelet_size: of a token, frames.

    Returns:
      True where a patch's middle is within half a side of an object's, in one of the tubelet's frames; tokens in the
      models' order: time, rows, columns.
    """
    middle = (np.arange(image_size // patch_size) + 0.5) * patch_size / image_size
    places, sides = scenes.place[:, :, -num_objects:], scenes.side[:, :, -num_objects:]  # [B, T, O, 2], [B, T, O]
    y, x = places[..., 0, None] - middle, places[..., 1, None] - middle  # [B, T, O, side]
    is_near = np.hypot(y[..., :, None], x[..., None, :]) < sides[..., None, None] / 2  # [B, T, O, Y, X]
    is_shown = is_near.any(2)  # [B, T, Y, X]
    batch, num_frames = is_shown.shape[:2]
    return is_shown.reshape(batch, num_frames // tubelet_size, tubelet_size, -1).any(2).reshape(batch, -1)


def render_photos(scenes: Scenes, photos: Sequence[Image.Image], *, image_size: int) -> Float[np.ndarray, "B T Y X 3"]:
    """Renders the moving windows on the photos alone, values 0 to 255."""
    num_scenes, num_frames = scenes.place.shape[:2]
    frames = np.empty((num_scenes, num_frames, image_size, image_size, 3), np.float32)
    for clip, (photo, (top, left, part), pan) in enumerate(zip(scenes.photo, scenes.window, scenes.pan, strict=True)):
        picture = photos[photo]
        width, height = picture.size
        side = part * min(width, height)
        # The window's whole way, pan included, stays inside the photo.
        start = [
            max(0.0, -way * side) + share * (room - side - abs(way) * side)
            for share, room, way in zip((top, left), (height, width), pan, strict=True)
        ]
        steps = np.linspace(0, 1, num_frames) if pan.any() else np.zeros(1)
        for step, moment in enumerate(steps):
            y, x = (begin + moment * way * side for begin, way in zip(start, pan, strict=True))
            box = (max(x, 0.0), max(y, 0.0), min(x + side, width), min(y + side, height))
            view = picture.resize((image_size, image_size), Image.Resampling.BILINEAR, box=box)
            frames[clip, step] = np.asarray(view)
        if len(steps) == 1:
            frames[clip, 1:] = frames[clip, :1]
    mirrored = scenes.is_mirrored.astype(bool)
    frames[mirrored] = frames[mirrored, :, :, ::-1]
    return frames


def shrink_photos(photos: Sequence[Image.Image], *, image_size: int) -> list[Image.Image]:
    """Makes photos as small as frames of this size can show, so that rendering is quick."""
    shorter = round(image_size / 0.3)
    small = []
    for photo in photos:
        scale = min(1.0, shorter / min(photo.size))
        small.append(photo.resize([round(n * scale) for n in photo.size], Image.Resampling.BILINEAR))
    return small


def _paste_object(
    frames: Float[np.ndarray, "T Y X 3"],
    digit: UInt8[np.ndarray, "28 28"],
    *,
    centre: Float[np.ndarray, "T 2"],
    side: Float[np.ndarray, " T"],
    angle: Float[np.ndarray, " T"],
    tint: Float[np.ndarray, " 3"],
) -> None:
    """Blends one object into the frames of one clip, in place; lengths are in pixels."""
    size = frames.shape[1]
    extent = int(np.ceil(side.max())) + 2  # one square for all frames; ink stays inside its circle when it turns
    corner = np.floor(centre - extent / 2).astype(np.int32)  # [T, 2]
    steps = np.arange(extent, dtype=np.int32)
    rows, columns = corner[:, :1] + steps, corner[:, 1:] + steps  # [T, extent]

    scale = _DIGIT_SIDE / side[:, None]
    y, x = (rows + 0.5 - centre[:, :1]) * scale, (columns + 0.5 - centre[:, 1:]) * scale
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    v = (y * cos)[:, :, None] - (x * sin)[:, None, :]
    u = (y * sin)[:, :, None] + (x * cos)[:, None, :]  # [T, extent, extent]
    cover = sample_picture(_prepare_digit(digit, pixels=float(side.mean())), v.astype(np.float32), u.astype(np.float32))
    inside = ((rows >= 0) & (rows < size))[:, :, None] & ((columns >= 0) & (columns < size))[:, None, :]

    seen = np.nonzero(inside & (cover > 0))
    frame = seen[0]
    places = (frame, rows[frame, seen[1]], columns[frame, seen[2]])
    behind = frames[places]  # [pixels, 3]
    frames[places] = behind + cover[seen][:, None] * (tint - behind)


def _prepare_digit(digit: UInt8[np.ndarray, "28 28"], *, pixels: float) -> Float[np.ndarray, "32 32"]:
    """Adds a rim, and smooths what will be drawn smaller than it is, against aliasing."""
    padded = np.pad(digit.astype(np.float32) / 255, 2)
    if pixels < _DIGIT_SIDE:
        for axis in (0, 1):
            padded = (np.roll(padded, 1, axis) + 2 * padded + np.roll(padded, -1, axis)) / 4
    return padded


def sample_picture(
    picture: Float[np.ndarray, "side side *colours"], v: Float[np.ndarray, "*places"], u: Float[np.ndarray, "*places"]
) -> Float[np.ndarray, "*places *colours"]:
    """Reads a picture between its pixels, bilinearly; (0, 0) is its middle, outside is what its rim is."""
    side = picture.shape[0]
    v, u = (np.clip(part + np.float32((side - 1) / 2), 0, np.float32(side - 1.001)) for part in (v, u))
    row, column = v.astype(np.int32), u.astype(np.int32)
    colours = (1,) * (picture.ndim - 2)
    v, u = ((part - whole).astype(np.float32).reshape(*part.shape, *colours) for part, whole in ((v, row), (u, column)))
    flat = picture.reshape(-1, *picture.shape[2:])
    first = row * side + column
    top = flat[first] * (1 - u) + flat[first + 1] * u
    bottom = flat[first + side] * (1 - u) + flat[first + side + 1] * u
    return top * (1 - v) + bottom * v
