"""The measurements of the fidelity benchmark: features and times of every method at every budget."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks import record
from benchmarks.accuracy import NUM_LAYERS, make_schedule, remember
from benchmarks.fidelity_measures import Features, compare_clips, compare_features, find_halves
from benchmarks.pretrained import get_features
from benchmarks.real_clips import Windows, read_windows
from vidtldr_jax.data.transforms import normalize_frames
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import measure_models
from vidtldr_jax.reduction.cost import count_macs
from vidtldr_jax.reduction.methods import METHODS

PLAIN: Final = "plain"
PER_FRAME: Final = "per_frame"
BUDGETS: Final = (90, 70, 50, 30)
SECONDS: Final = 1.5


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
    code = record.digest_code("pretrained", "real_clips", "onnx_weights")
    where = f"{setting.encoder}-{setting.num_frames}-{setting.image_size}-{shown}-{code}"

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
