"""What does it bring to send pixels as uint8 and to normalise them on the device, instead of float32 from the host?

    python benchmarks/pixels.py          # writes results/pixels.json

Views that are in memory, as reading leaves them, are put into a batch, sent and normalised, in both ways and in turn.
"input" ends when the normalised batch is on the device; "model" when the result of a small model is on the host. On a
CPU the device's memory is the host's: nothing crosses a bus there, and both ways compute on the same cores. How many
float32 numbers lie between a pixel normalised on the host and on the device is counted for all 256 values, for the form
that is used and for a plain division by 255, which compilers replace.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import record
from benchmarks.models import choose_config
from vidtldr_jax.data.transforms import normalize_frames
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.pixels import Colour, normalise_pixels
from vidtldr_jax.inference.timing import Times, make_random_model, time_in_turn

WAYS: Final = ("float32 from the host", "uint8, normalised on the device")
RECIPES: Final = {
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CLIP": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "0.5": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def divide_pixels(clips: jax.Array, *, mean: Colour, std: Colour) -> jax.Array:
    """Normalises as the formula is written."""
    return (clips.astype(jnp.float32) / 255 - jnp.array(mean, ndmin=5)) / jnp.array(std, ndmin=5)


def count_steps(normalise: Callable[..., jax.Array], mean: Colour, std: Colour) -> int:
    """Returns how many float32 numbers a compiled form is away from the host's, at most, over all values of a pixel."""
    values = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16, 1), 3, axis=-1)
    found = np.asarray(jax.jit(functools.partial(normalise, mean=mean, std=std))(values))
    bits = [one.view(np.int32).astype(np.int64) for one in (found, normalize_frames(values, mean=mean, std=std))]
    ordered = [np.where(one < 0, -(2**31) - one, one) for one in bits]  # neighbours differ by 1, across 0 too
    return int(np.abs(ordered[0] - ordered[1]).max())


def make_views(model: VideoModel, count: int) -> list[np.ndarray]:
    """Makes views of noise, `[T, Y, X, 3]` uint8 each."""
    recipe = model.preprocessing
    shape = (count, recipe.num_frames, recipe.image_size, recipe.image_size, 3)
    return list(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def normalise_on_host(model: VideoModel, views: Sequence[np.ndarray]) -> np.ndarray:
    """Returns a batch as float32, as it was sent before."""
    return normalize_frames(np.stack(views), mean=model.preprocessing.mean, std=model.preprocessing.std)


def list_jobs(model: VideoModel, views: Sequence[np.ndarray]) -> dict[tuple[str, str], Callable[[], Any]]:
    """Lists what is timed, by part and way."""
    recipe = model.preprocessing
    normalise = jax.jit(functools.partial(normalise_pixels, mean=recipe.mean, std=recipe.std))

    def encode(batch: np.ndarray) -> np.ndarray:
        return np.asarray(model.encode_video(batch).pooled)

    host, device = WAYS
    return {
        ("input", host): lambda: model.place_video(normalise_on_host(model, views)),
        ("input", device): lambda: normalise(model.place_video(np.stack(views))),
        ("model", host): lambda: encode(normalise_on_host(model, views)),
        ("model", device): lambda: encode(np.stack(views)),
    }


def summarise(times: Times) -> dict[str, Any]:
    """Returns medians and every run."""
    return {
        "median_seconds": round(statistics.median(times.seconds), 5),
        "median_cpu_seconds": round(statistics.median(times.cpu_seconds), 5),
        "seconds": [round(value, 5) for value in times.seconds],
        "cpu_seconds": [round(value, 5) for value in times.cpu_seconds],
    }


def run(model: VideoModel, *, batch_size: int, repeats: int) -> dict[str, Any]:
    """Measures both parts in both ways and returns plain data.

    Args:
      model: on one device.
      batch_size: views of a batch.
      repeats: counted runs of each.

    Returns:
      The result, without where it ran.
    """
    views = make_views(model, batch_size)
    jobs = list_jobs(model, views)
    sent = dict(zip(WAYS, (normalise_on_host(model, views).nbytes, np.stack(views).nbytes), strict=True))
    times = time_in_turn(jobs, repeats=repeats)
    rows = [{"part": part, "way": way, "bytes": sent[way], **summarise(times[part, way])} for part, way in jobs]
    recipe = model.preprocessing
    return {
        "platform": jax.default_backend(),
        "shape": [batch_size, recipe.num_frames, recipe.image_size, recipe.image_size, 3],
        "schedule": model.schedule.text,
        "dtype": str(model.dtype),
        "repeats": repeats,
        "steps": {
            name: {"used": count_steps(normalise_pixels, *recipe), "divided": count_steps(divide_pixels, *recipe)}
            for name, recipe in RECIPES.items()
        },
        "rows": rows,
    }


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__, repeats=9)
    parser.add_argument("--preset", default="videomae-s16", help="the model [default: %(default)s]")
    parser.add_argument("--schedule", default="0.25,0.11,0.06", help="of the model [default: %(default)s]")
    parser.add_argument("--frames", type=int, default=12, help="of a view [default: %(default)s]")
    parser.add_argument("--batch-size", type=int, default=8, help="views of a batch [default: %(default)s]")
    arguments = parser.parse_args(words)
    if arguments.smoke:
        arguments.frames, arguments.batch_size, arguments.repeats = 4, 2, 1
    config = dataclasses.replace(choose_config(arguments.preset, is_smoke=arguments.smoke), num_frames=arguments.frames)
    model = make_random_model(config, arguments.schedule)
    result = run(model, batch_size=arguments.batch_size, repeats=arguments.repeats)
    record.finish("pixels", {"model": arguments.preset, **result}, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
