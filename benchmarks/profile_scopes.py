"""Where does the time of a profile go, by named scope and block?

    python benchmarks/profile_scopes.py          # writes results/profile_scopes.json and docs/images/profile.png

UMT-B/16, one clip of 12 x 224 x 224, float32, plain and merged 600,200,100, in turn under `jax.profiler.trace`; the
shortest time of each block and part counts. A CPU's trace names compiled operations but no scopes; the text of the
compiled program has both, and joins them by the operation's name. A fusion has the scope of one of its operations.
Loops and calls are left out, since what runs inside of them is counted; operations of no known scope are "rest".
"""

from __future__ import annotations

import collections
import glob
import gzip
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jax

from benchmarks import record
from benchmarks.models import MSRVTT, choose_config, scale_schedule
from vidtldr_jax.inference.timing import make_random_model, make_random_video

ROOT: Final = Path(__file__).resolve().parent.parent
PRESET: Final = "umt-b16"
# Scope or module -> part; of several in a path the innermost counts.
PARTS: Final = {
    "patch_embed": "patches",
    "norm1": "norms",
    "norm2": "norms",
    "norm": "norms",
    "attn": "projections",
    "attention": "attention",
    "saliency": "saliency",
    "match": "match",
    "merge": "merge",
    "mlp": "MLP",
}
_COLOURS: Final = {
    "projections": "#61a5c2", "attention": "#0353a4", "saliency": "#c1121f", "match": "#f4845f", "merge": "#ffb703",
    "MLP": "#2d6a4f", "norms": "#adb5bd", "patches": "#7f5539", "rest": "#343a40",
}  # fmt: skip
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = .*?(?: |\))([\w\-]+)\(.*$", flags=re.MULTILINE)
_OP_NAME = re.compile(r'metadata=\{[^}]*op_name="([^"]*)"')
_CONTAINERS: Final = ("while", "call", "conditional")


def name_operations(program: str) -> dict[str, str | None]:
    """Reads the scopes of a compiled program's operations.

    Args:
      program: text of the program, from `compiled.as_text()`.

    Returns:
      Operation -> its path of scopes, "" where it has none, None for a loop or a call.
    """
    names: dict[str, str | None] = {}
    for line in _INSTRUCTION.finditer(program):
        path = _OP_NAME.search(line[0])
        names[line[1]] = None if line[2] in _CONTAINERS else path[1] if path else ""
    return names


def read_trace(folder: Path) -> list[tuple[str, float]]:
    """Reads what a trace has of compiled programs.

    Args:
      folder: given to `jax.profiler.trace`.

    Returns:
      (operation, milliseconds), once for every time that it ran.

    Raises:
      RuntimeError: the trace names no operation, as those of jax 0.7 on a CPU.
    """
    (path,) = glob.glob(f"{folder}/plugins/profile/*/*.trace.json.gz")
    with gzip.open(path) as file:
        events = json.load(file)["traceEvents"]
    found = [(event["args"]["hlo_op"], event["dur"] / 1000) for event in events if "hlo_op" in event.get("args", {})]
    if not found:
        raise RuntimeError(f"a trace names the operations that ran; got none in {path}; use a newer jaxlib.")
    return found


def find_place(path: str) -> tuple[str, str]:
    """Returns the block ("" outside of all) and the part that a path of scopes stands for."""
    words = path.split("/")
    block = next((word.removeprefix("block_") for word in words if re.fullmatch(r"block_\d+", word)), "")
    return block, next((PARTS[word] for word in reversed(words) if word in PARTS), "rest")


def sum_places(operations: Iterable[tuple[str, float]], names: Mapping[str, str | None]) -> dict[str, dict[str, float]]:
    """Adds the milliseconds of a trace up: block -> part -> milliseconds; "" is outside of all blocks."""
    sums: dict[str, dict[str, float]] = collections.defaultdict(lambda: collections.defaultdict(float))
    for operation, milliseconds in operations:
        path = names.get(operation, "")
        if path is not None:
            block, part = find_place(path)
            sums[block][part] += milliseconds
    return sums


def profile(run: Callable[[], Any]) -> list[tuple[str, float]]:
    """Runs something once under the profiler, and returns what `read_trace` does."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(run())
        return read_trace(Path(folder))


def prepare(model: Any, video: Any) -> Callable[[], dict[str, dict[str, float]]]:
    """Compiles a model and runs it once; returns a function that profiles it and adds up by block and part."""
    compiled = model.get_encode_function(video.shape).lower(model.weights, video).compile()
    names = name_operations(compiled.as_text())
    jax.block_until_ready(compiled(model.weights, video))
    return lambda: sum_places(profile(lambda: compiled(model.weights, video)), names)


def take_shortest(rounds: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Returns the shortest time of each block and part, which other work on the machine lengthens least."""
    shortest: dict[str, dict[str, float]] = collections.defaultdict(dict)
    for block, part in sorted({(block, part) for found in rounds for block, parts in found.items() for part in parts}):
        shortest[block][part] = round(min(found[block][part] for found in rounds), 3)
    return shortest


def draw(result: Mapping[str, Any], path: Path) -> Path:
    """Draws a bar for every block, plain on the left and merged on the right."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    for axes, (name, model) in zip(panels, result["models"].items(), strict=True):
        columns = ["", *(str(number) for number in range(model["depth"]))]
        heights = dict.fromkeys(columns, 0.0)
        for part, colour in _COLOURS.items():
            values = [model["milliseconds"].get(column, {}).get(part, 0.0) for column in columns]
            axes.bar(range(len(columns)), values, bottom=list(heights.values()), color=colour, label=part, width=0.8)
            heights = {column: heights[column] + value for column, value in zip(columns, values)}
        total = sum(heights.values())
        title = "plain" if name == "plain" else f"merged {model['schedule']}"
        axes.set(title=f"{title}: {total:.0f} ms in operations", xlabel="block")
        axes.set_xticks(range(len(columns)), ["outside", *columns[1:]])
        axes.tick_params(axis="x", labelsize=8)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
    panels[0].set_ylabel("milliseconds")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return path


def run(*, repeats: int, is_smoke: bool) -> dict[str, Any]:
    """Profiles both models; returns plain data."""
    config = choose_config(PRESET, is_smoke=is_smoke)
    plain = make_random_model(config)
    r = MSRVTT[:1] if is_smoke else MSRVTT
    models = {"plain": plain, "merged": plain.with_schedule(scale_schedule(r, config.num_tokens))}
    video = jax.numpy.asarray(make_random_video(config))
    runs = {name: prepare(model, video) for name, model in models.items()}
    rounds = [{name: run() for name, run in runs.items()} for _ in range(repeats)]
    measured = {
        name: {
            "schedule": model.schedule.text,
            "depth": config.depth,
            "milliseconds": take_shortest([found[name] for found in rounds]),
        }
        for name, model in models.items()
    }
    return {"preset": PRESET, "shape": list(video.shape), "dtype": "float32", "repeats": repeats, "models": measured}


def main(arguments: list[str] | None = None) -> None:
    """Runs the benchmark and writes its result and its picture."""
    parser = record.make_parser(__doc__, repeats=7)
    parser.add_argument("--picture", action="store_true", help="only draw the picture again, from the stored result")
    options = parser.parse_args(arguments)
    if not options.picture:
        repeats = 1 if options.smoke else options.repeats
        record.finish("profile_scopes", run(repeats=repeats, is_smoke=options.smoke), is_smoke=options.smoke)
    if not options.smoke:
        result = json.loads((record.RESULTS / "profile_scopes.json").read_text())
        print(draw(result, ROOT / "docs" / "images" / "profile.png"))


if __name__ == "__main__":
    main()
