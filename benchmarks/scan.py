"""What does running blocks under one scan cost or bring at run time?

    python benchmarks/scan.py          # writes results/scan.json

UMT-B/16 without merging on clips of 1, 2, 4 and 12 frames of 224 x 224, and merged 600,200,100 on 12; float32, batch 1.
Blocks one by one and under one scan run in turn. `compile.py` says what the scan does to compile time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from benchmarks import record
from benchmarks.models import MSRVTT, choose_config, scale_schedule
from vidtldr_jax.inference.timing import make_random_model, make_random_video, measure_models
from vidtldr_jax.models.config import VideoViTConfig

PRESET: Final = "umt-b16"
FRAMES: Final = (1, 2, 4, 12)
LAYERS: Final = {"one by one": False, "scanned": True}


def run(config: VideoViTConfig, frames: Sequence[int], repeats: int) -> dict[str, Any]:
    """Measures both ways at every size and returns plain data."""
    plain = {name: make_random_model(config, scan_layers=is_scanned) for name, is_scanned in LAYERS.items()}
    rows = []
    for count, is_merged in [*((count, False) for count in frames), (frames[-1], True)]:
        video = make_random_video(config, num_frames=count)
        tokens = config.count_tokens(*video.shape[1:4])
        schedule = scale_schedule(MSRVTT, tokens) if is_merged else "none"
        models = {name: model.with_schedule(schedule) for name, model in plain.items()}
        measured = measure_models(models, video, repeats=repeats)
        row: dict[str, Any] = {"frames": count, "tokens": tokens, "schedule": schedule}
        for name, result in measured.items():
            row[name] = {
                "seconds": [round(value, 5) for value in result.seconds],
                "median_seconds": round(result.median, 5),
                "compile_seconds": round(result.compile_seconds, 2),
                "planned_bytes": result.memory_bytes,
            }
        rows.append(row | {"slower": measured["scanned"].median / measured["one by one"].median - 1})
        print(f"{tokens} tokens, {schedule}: scanned takes {rows[-1]['slower']:+.1%}", flush=True)
    return {"preset": PRESET, "dtype": "float32", "repeats": repeats, "rows": rows}


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    arguments = record.make_parser(__doc__, repeats=15).parse_args(words)
    config = choose_config(PRESET, is_smoke=arguments.smoke)
    frames, repeats = ((4,), 1) if arguments.smoke else (FRAMES, arguments.repeats)
    record.finish("scan", run(config, frames, repeats), is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
