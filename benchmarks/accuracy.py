"""What does each method of having fewer tokens cost in accuracy, at the same number of tokens? On trained models.

    python benchmarks/accuracy.py --stamps FOLDER          # evaluates, times, writes results/accuracy.json and the plot
    python benchmarks/accuracy.py --stage evaluate         # or in parts; the times need a quiet machine
    python benchmarks/accuracy.py --stage causes           # follows tokens of objects and of the background
    python benchmarks/accuracy.py --stage time
    python benchmarks/accuracy.py --retrain                # trains the models anew first
    python benchmarks/accuracy.py --quick                  # few clips, methods and budgets; writes nothing

Two tasks, both made for this: which way do two digits move over a photo (10 classes), and which clip belongs to "A
squirrel. It moves left."? Every method takes out the same tokens in the same layers (the early one: as many, before
the first layer) of the same trained models, without training on. What is evaluated is kept in .cache/accuracy, model by
model, so that a killed run goes on. FOLDER is what Debian's tuxpaint-stamps-default was unpacked to.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import record
from benchmarks.accuracy_causes import find_fate, summarise_fates
from benchmarks.accuracy_statistics import Difference, find_difference, find_spread
from benchmarks.accuracy_tasks import BATCH_SIZE, MAKERS, ROOT, TRAINED, Hits, Options, Task, find_outputs, retrain
from vidtldr_jax.inference.checkpoint import flatten_params
from vidtldr_jax.inference.load import load_model
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import make_random_video, measure_models
from vidtldr_jax.ops.pruning import keep_best
from vidtldr_jax.reduction.cost import count_macs
from vidtldr_jax.reduction.methods import METHODS, Choice, Evidence, Method

NAME = "accuracy"
CACHE = ROOT / ".cache" / "accuracy"
BUDGETS = (100, 85, 70, 60, 50, 40, 30)  # per cent of the tokens that are left after the last layer
NUM_LAYERS = 3  # in which tokens are taken out, of four
FOLLOWED_BUDGETS, NUM_FOLLOWED = (50, 30), 128  # of which tokens are followed, and of how many clips
REFERENCE = "vidtldr"


def make_schedule(num_tokens: int, budget: int) -> tuple[int, ...]:
    """Takes out an equal share in each of the first layers.

    Args:
      num_tokens: of a clip.
      budget: per cent of them to be left.

    Returns:
      Tokens that each layer loses; empty at 100.
    """
    if budget == 100:
        return ()
    left = [round(num_tokens * (budget / 100) ** (layer / NUM_LAYERS)) for layer in range(NUM_LAYERS + 1)]
    return tuple(before - after for before, after in itertools.pairwise(left))


@functools.cache
def choose_method(name: str, seed: int) -> Method:
    """Returns a method; `random_drop` drops other tokens for every seed, so that luck with one draw doesn't count."""
    if name != "random_drop":
        return METHODS[name]

    def choose(evidence: Evidence, *, r: int, num_protected: int) -> Choice:
        batch, num_tokens, _ = evidence.features.shape
        score = np.random.RandomState([seed, num_tokens]).permutation(num_tokens) / num_tokens
        score = jnp.broadcast_to(jnp.asarray(score, jnp.float32), (batch, num_tokens))
        return Choice(keep_best(score, r=r, num_protected=num_protected))

    return dataclasses.replace(METHODS[name], choose=choose)


def digest_model(model: VideoModel, beside: Path) -> str:
    """Returns a hash of a model's parameters and of the file beside its folder, if there is one."""
    digest = hashlib.sha256(beside.read_bytes() if beside.is_file() else b"")
    for name, value in sorted(flatten_params(model.params).items()):
        digest.update(name.encode() + np.asarray(value).tobytes())
    return digest.hexdigest()[:12]


def remember(path: Path, find: Callable[[], Hits]) -> Hits:
    """Reads arrays from a file, or finds them and writes it in one step."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{os.getpid()}-{path.name}")
        np.savez(aside, **find())
        aside.replace(path)
    with np.load(path) as arrays:
        return dict(arrays)


def evaluate(task: Task, methods: Sequence[str], budgets: Sequence[int], cache: Path) -> dict[str, Any]:
    """Evaluates every model under every method and budget.

    Args:
      task: with its models.
      methods: names.
      budgets: per cent, 100 among them.
      cache: where finished cells lie.

    Returns:
      Plain data: the task, its models, and a row for each method and budget.
    """
    seeds = range(task.num_models)
    budgets = budgets if task.budgets is None else [budget for budget in budgets if budget in task.budgets]
    models = [task.read_model(seed) for seed in seeds]
    code, shown = record.digest_code(*_CODE), hashlib.sha256(task.clips.tobytes()).hexdigest()[:12]
    weights = [digest_model(models[seed], TRAINED / f"{task.name}_{seed}_text.safetensors") for seed in seeds]

    def find_cell(method: str, budget: int) -> list[Hits]:
        cells = []
        for seed, model in enumerate(models):
            schedule = make_schedule(model.config.num_tokens, budget)
            used = model.with_schedule(schedule or None, method=choose_method(method, seed))
            path = cache / f"{task.name}-{method}-{budget}-{weights[seed]}-{shown}-{code}.npz"
            cells.append(remember(path, functools.partial(_find_hits, task, seed, used)))
            print(f"{task.name} {method} {budget} % seed {seed}: {cells[-1][task.metric].mean():.4f}", flush=True)
        return cells

    budgets = sorted(set(budgets) - {100}, reverse=True)
    keys = list(dict.fromkeys([(REFERENCE, 100), *itertools.product([REFERENCE, *methods], budgets)]))
    cells = {key: find_cell(*key) for key in keys}
    plain = cells[REFERENCE, 100]
    rows = [describe(task, models, "plain", 100, plain, plain, plain)]
    for budget, method in itertools.product(budgets, methods):
        rows.append(describe(task, models, method, budget, cells[method, budget], plain, cells[REFERENCE, budget]))
    return {
        "name": task.name,
        "metric": task.metric,
        "metric_in_words": task.metric_in_words,
        "num_tokens": models[0].config.num_tokens,
        "about": task.about,
        "models": [
            {"weights": digest, **{key: model.source.get(key) for key in _TOLD}}
            for digest, model in zip(weights, models, strict=True)
        ],
        "controls": measure_controls(task, models),
        "rows": rows,
    }


def _round(difference: Difference) -> dict[str, float]:
    return {name: round(value, 5) for name, value in difference._asdict().items()}


_CODE = ("accuracy", "accuracy_tasks", "accuracy_causes")
_TOLD = ("recipe", "validation_accuracy", "training_seconds", "training_cpu_seconds")


def _find_hits(task: Task, seed: int, model: VideoModel) -> Hits:
    return task.find_hits(seed, find_outputs(model, task.clips))


def describe(
    task: Task,
    models: Sequence[VideoModel],
    method: str,
    budget: int,
    cells: Sequence[Hits],
    plain: Sequence[Hits],
    reference: Sequence[Hits],
) -> dict[str, Any]:
    """Returns one row: scores of all seeds, and differences to the plain model and to vid-TLDR."""
    schedule = make_schedule(models[0].config.num_tokens, budget)
    used = models[0].with_schedule(schedule or None, method=REFERENCE if method == "plain" else method)
    values, to_plain, to_reference = (
        np.stack([cell[task.metric] for cell in group]) for group in (cells, plain, reference)
    )  # [S, N]
    scores = values.mean(1)
    names = [name for name in cells[0] if name != task.metric]
    return {
        "method": method,
        "budget": budget,
        "schedule": used.schedule.text,
        "tokens": used.schedule.tokens[-1],
        "gmacs": round(count_macs(used.config, used.schedule).gmacs, 5),
        "scores": [round(float(score), 5) for score in scores],
        "mean": round(float(scores.mean()), 5),
        "spread": round(find_spread(scores), 5),
        **({"means": {name: round(float(np.mean([c[name] for c in cells])), 5) for name in names}} if names else {}),
        "to_plain": _round(find_difference(values, to_plain)),
        "to_vidtldr": _round(find_difference(values, to_reference)),
    }


def measure_controls(task: Task, models: Sequence[VideoModel]) -> dict[str, list[float]]:
    """Returns, for every seed, what checks the task itself, on the plain model."""
    rng = np.random.default_rng(0)
    middle = task.clips.shape[1] // 2
    changed = {
        "middle_frame_repeated": np.repeat(task.clips[:, middle : middle + 1], task.clips.shape[1], 1),
        "frames_in_random_order": np.stack([clip[rng.permutation(len(clip))] for clip in task.clips]),
    }
    found: dict[str, list[float]] = {}
    for seed, model in enumerate(models):
        numbers = task.find_controls(seed, find_outputs(model, task.clips))
        for name, clips in changed.items():
            numbers[name] = float(task.find_hits(seed, find_outputs(model, clips))[task.metric].mean())
        for name, number in numbers.items():
            found.setdefault(name, []).append(round(number, 5))
    return found


def follow(task: Task, methods: Sequence[str], budgets: Sequence[int], cache: Path) -> dict[str, Any]:
    """Says for every method what becomes of the tokens that show an object and of the others, in the first model.

    Args:
      task: with its models.
      methods: names.
      budgets: per cent.
      cache: where finished cells lie.

    Returns:
      Plain data: a row for each method and budget.
    """
    model = task.read_model(0)
    chosen = np.arange(NUM_FOLLOWED) * len(task.clips) // NUM_FOLLOWED  # evenly, since captions come in order
    clips = task.clips[chosen]
    is_object = task.find_objects(model.config.patch_size, model.config.tubelet_size)[chosen]
    code, shown = record.digest_code(*_CODE), hashlib.sha256(clips.tobytes()).hexdigest()[:12]
    weights = digest_model(model, Path())

    def find(method: str, budget: int) -> Hits:
        used = model.with_schedule(make_schedule(model.config.num_tokens, budget), method=choose_method(method, 0))
        path = cache / f"{task.name}-fate-{method}-{budget}-{weights}-{shown}-{code}.npz"
        fate = remember(path, functools.partial(find_fate, used, clips, is_object))
        print(f"{task.name} {method} {budget} %: objects keep {fate['object_detail'].mean():.1%}", flush=True)
        return fate

    fates = {key: find(*key) for key in itertools.product(methods, budgets)}
    return {
        "clips": len(clips),
        "object_share": round(float(is_object.mean()), 4),
        "rows": summarise_fates(fates),
    }


def measure_times(model: VideoModel, methods: Iterable[str], budgets: Sequence[int], repeats: int) -> dict[str, Any]:
    """Times every method and budget against the plain model, which runs in turn with them.

    Args:
      model: its weights don't matter, its shape does.
      methods: names; each is a group of its own with a plain model.
      budgets: per cent.
      repeats: rounds that count.

    Returns:
      Plain data: a row for each method and budget; "ratio" is the median over rounds of time to plain time.
    """
    video = make_random_video(model.config, batch_size=BATCH_SIZE)
    rows = []
    for method in methods:
        used = {"plain": model.with_schedule(None)}
        used |= {
            str(budget): model.with_schedule(make_schedule(model.config.num_tokens, budget), method=method)
            for budget in budgets
            if budget != 100
        }
        measured = measure_models(used, video, repeats=repeats)
        plain = np.array(measured["plain"].seconds)
        for name, times in measured.items():
            if name == "plain":
                continue
            ratios = np.array(times.seconds) / plain
            rows.append(
                {
                    "method": method,
                    "budget": int(name),
                    "gmacs": round(count_macs(model.config, used[name].schedule).gmacs, 5),
                    "milliseconds_per_clip": round(times.median / BATCH_SIZE * 1e3, 3),
                    "plain_milliseconds_per_clip": round(measured["plain"].median / BATCH_SIZE * 1e3, 3),
                    "ratio": round(float(np.median(ratios)), 4),
                    "ratio_quartiles": [round(float(q), 4) for q in np.quantile(ratios, (0.25, 0.75))],
                }
            )
            print(f"time {method} {name} %: {rows[-1]['ratio']:.3f} of plain", flush=True)
    return record.make_record(
        "accuracy_time", {"batch": BATCH_SIZE, "repeats": repeats, "dtype": "float32", "rows": rows}
    )


def keep_programs() -> None:
    """Keeps compiled programs, since the times and a control run what an evaluation compiled before."""
    jax.config.update("jax_compilation_cache_dir", str(CACHE / "compiled"))


def work(name: str, options: Options, methods: Sequence[str], budgets: Sequence[int], stage: str) -> dict[str, Any]:
    """Computes what is asked for of one task, in a process of its own.

    Args:
      name: of the task.
      options: for its clips.
      methods: names.
      budgets: per cent.
      stage: "evaluate", "causes", or "all" for both.

    Returns:
      What `evaluate` returns, and as "fates" what `follow` does; a control has no fates.
    """
    keep_programs()
    task = MAKERS[name](options)
    found = {} if stage == "causes" else evaluate(task, methods, budgets, CACHE)
    if stage != "evaluate" and task.budgets is None:
        found["fates"] = follow(task, methods, [budget for budget in FOLLOWED_BUDGETS if budget in budgets], CACHE)
    return found


def work_on_all(names: Sequence[str], *about: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields each task's name and what `work` finds, as they are done, several at a time.

    One program leaves cores idle while it compiles.
    """
    where = multiprocessing.get_context("spawn")  # a fork would take over JAX's threads as they are
    with concurrent.futures.ProcessPoolExecutor(min(len(names), os.cpu_count() or 1), mp_context=where) as pool:
        runs = {pool.submit(work, name, *about): name for name in names}
        for run in concurrent.futures.as_completed(runs):
            yield runs[run], run.result()


def read_result() -> dict[str, Any]:
    """Reads what earlier stages wrote; the record's own fields are left out."""
    path = record.RESULTS / f"{NAME}.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    return {name: known[name] for name in ("budgets", "tasks", "times") if name in known}


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__)
    parser.add_argument("--stage", choices=["all", "evaluate", "causes", "time", "plot"], default="all")
    parser.add_argument("--tasks", nargs="+", choices=list(MAKERS), default=list(MAKERS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--stamps", type=Path, help="the cut-outs [default: where Debian installs them]")
    parser.add_argument("--clips", type=int, default=512, help="of the motion task [default: %(default)s]")
    parser.add_argument("--galleries", type=int, default=2, help="of the captioned task [default: %(default)s]")
    parser.add_argument("--retrain", action="store_true", help="train all models first")
    parser.add_argument("--models", type=int, nargs="+", default=[0, 1, 2], help="numbers of those to --retrain")
    parser.add_argument("--quick", action="store_true", help="a part of everything, print and write nothing")
    arguments = parser.parse_args(words)
    is_quick = arguments.quick or arguments.smoke
    budgets = BUDGETS
    if is_quick:
        arguments.clips, arguments.galleries, arguments.repeats, budgets = 64, 1, 1, (100, 50)
        arguments.methods = [name for name in arguments.methods if name in (REFERENCE, "random_drop")]
    if arguments.retrain:
        retrain(arguments.stamps, arguments.models)
    result = {} if is_quick else read_result()
    result["budgets"] = list(budgets)
    options = Options(arguments.clips, arguments.galleries, arguments.stamps)
    if arguments.stage in ("all", "evaluate", "causes"):
        tasks = {task["name"]: task for task in result.get("tasks", [])}
        names = [name for name in arguments.tasks if arguments.stage != "causes" or name in tasks]
        if not names:
            parser.error("--stage causes goes on from what --stage evaluate found; run that first.")
        for name, found in work_on_all(names, options, arguments.methods, budgets, arguments.stage):
            tasks[name] = tasks.get(name, {}) | found
            result["tasks"] = [tasks[name] for name in MAKERS if name in tasks]
            if not is_quick:
                record.write_result(NAME, result)
    if arguments.stage in ("all", "time"):
        keep_programs()
        model = load_model(str(TRAINED / "moving_objects_0"))
        result["times"] = measure_times(model, arguments.methods, budgets, arguments.repeats)
    if arguments.stage != "plot":
        record.finish(NAME, result, is_smoke=is_quick)
    if not is_quick and {"tasks", "times"} <= result.keys():
        from benchmarks.accuracy_plot import draw_plot, tell_losses

        print(draw_plot(result, ROOT / "docs" / "images" / "accuracy.png"))
        print("\n".join(tell_losses(result)))


if __name__ == "__main__":
    main()
