"""What does it cost to compare a checkpoint with its digests while it is loaded?

    python benchmarks/load.py          # writes results/load.json

UMT-B/16 and UMT-L/16 with random weights, float32, files in the system's cache: reading a checkpoint with and without
the comparison, in turn, and reading its weights by the library safetensors alone. The median of each, in seconds of the
clock and of the processor: a slow disk hides what is computed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy

from benchmarks import record
from benchmarks.models import choose_config
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.checkpoint import WEIGHTS_NAME, find_param_shapes, read_checkpoint, save_checkpoint
from vidtldr_jax.inference.timing import time_in_turn
from vidtldr_jax.models.config import VideoViTConfig

PRESETS: Final = ("umt-b16", "umt-l16")


def save_random(folder: Path, config: VideoViTConfig) -> Path:
    """Saves a checkpoint of random weights."""
    rng = np.random.default_rng(0)
    params = {path: rng.standard_normal(shape, np.float32) for path, shape in find_param_shapes(config).items()}
    recipe = Preprocessing(num_frames=config.num_frames, image_size=config.image_size)
    return save_checkpoint(folder, params=params, config=config, preprocessing=recipe)


def measure(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, float]]:
    """Times ways of reading in turn; the first round is not counted."""
    times = time_in_turn(ways, repeats=repeats)
    return {
        name: {"seconds": round(one.median, 4), "cpu_seconds": round(one.cpu_median, 4)} for name, one in times.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and writes the result."""
    options = record.make_parser(__doc__ or "").parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for preset in PRESETS[: 1 if options.smoke else None]:
            folder = save_random(Path(place) / preset, choose_config(preset, is_smoke=options.smoke))
            weights = folder / WEIGHTS_NAME
            ways: dict[str, Callable[[], Any]] = {
                "compared": lambda folder=folder: read_checkpoint(folder, verify=True),  # type: ignore[misc]
                "not compared": lambda folder=folder: read_checkpoint(folder, verify=False),  # type: ignore[misc]
                "library": lambda weights=weights: safetensors.numpy.load_file(weights),  # type: ignore[misc]
            }
            found = measure(ways, 1 if options.smoke else options.repeats)
            rows.append({"preset": preset, "bytes": weights.stat().st_size, "ways": found})
    record.finish("load", {"repeats": options.repeats, "rows": rows}, is_smoke=options.smoke)


if __name__ == "__main__":
    main()
