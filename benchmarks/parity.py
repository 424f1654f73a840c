"""How far are converted models from their originals, family by family?

    python benchmarks/parity.py              # all, writes benchmarks/results/parity.json
    python benchmarks/parity.py --no-full    # without the two full-size models
    python scripts/make_tables.py            # docs/parity.md from it

Every row is a conversion that is run: stored numbers of the original code, or transformers' own class on random input.
Where there is a way back, the state dict that comes back is compared with the source bit for bit.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.record import write_result
from checkpoints_convert import FAMILIES, convert_checkpoint, open_source
from checkpoints_convert.export import make_state_dict
from checkpoints_convert.rules import assign_key
from checkpoints_convert.verify import VerificationReport, verify_checkpoint
from tests.reference import huggingface
from tests.reference.files import find_golden
from tests.reference.golden_checkpoints import GOLDEN_CHECKPOINTS
from vidtldr_jax.inference.checkpoint import read_checkpoint

_CONTAINERS = {".pth": "torch, zip", ".npz": ".npz", "": "msgpack of 2023"}


class Case(NamedTuple):
    """One comparison.

    Attributes:
      name: of the model.
      source: file or folder.
      container: what the weights lie in.
      settings: what the weights can't tell.
      samples: the original's numbers, or None to run the original.
    """

    name: str
    source: Path
    container: str
    settings: Mapping[str, Any]
    samples: Path | None


def list_goldens() -> Iterator[Case]:
    """Yields the checkpoints of the original codes, each with the numbers stored beside it."""
    for name, (checkpoint, settings) in GOLDEN_CHECKPOINTS.items():
        is_scenic = checkpoint.endswith(".npz") or "2023" in checkpoint
        folder = "scenic/" if is_scenic else ""
        source = find_golden(folder + checkpoint)
        yield Case(name, source, _CONTAINERS[source.suffix], settings, find_golden(f"{folder}{name}.npz"))


def make_twins(folder: Path) -> Iterator[Case]:
    """Makes tiny random models of transformers' classes in every layout that people have."""
    kinds = (
        ("ViViT", huggingface.VIVIT_SHAPES, huggingface.make_vivit, huggingface.save_vivit),
        ("VideoMAE", huggingface.VIDEOMAE_SHAPES, huggingface.make_videomae, huggingface.save_videomae),
    )
    layouts = {"today": "safetensors, as saved", "memory": "safetensors, names in memory", "hub": "torch, hub's names"}
    for kind, shapes, make, save in kinds:
        for shape, fields in shapes.items():
            for layout, container in layouts.items():
                place = folder / f"{kind} {shape} {layout}".replace(" ", "-")
                yield Case(f"{kind}, {shape}", save(make(**fields), place, layout), container, {}, None)
    for shape, fields in huggingface.CLIP_SHAPES.items():
        place = huggingface.save_clip(huggingface.make_clip(**fields), folder / f"CLIP {shape}".replace(" ", "-"))
        settings = {"frames": 3, "encoding": "per_frame"}
        yield Case(f"CLIP tower per frame, {shape}", place, "safetensors, as saved", settings, None)


def make_full_sizes(folder: Path) -> Iterator[Case]:
    """Makes models of published shapes."""
    for name in huggingface.FULL_SIZES:
        source = huggingface.save_full_size(name, folder / name.replace("/", "-"))
        yield Case(f"{name}, full size", source, "torch, hub's names", {}, None)


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """Converts, compares and goes back."""
    report = convert_checkpoint(case.source, folder, settings=case.settings)
    check = verify_checkpoint(case.source, folder, samples=case.samples)
    return {
        "name": case.name,
        "family": report.family,
        "container": case.container,
        "compared_with": "the original code's numbers" if case.samples else "transformers",
        **summarise(check),
        "way_back": go_back(case.source, folder, report.family),
    }


def summarise(check: VerificationReport) -> dict[str, Any]:
    """Returns the output that is furthest away, and every output."""
    worst = max(check.rows, key=lambda row: row.max_abs)
    rows = [
        {"name": row.name, "max_abs": row.max_abs, "max_rel": row.max_rel, "tolerance": row.tolerance}
        for row in check.rows
    ]
    return {
        "passed": check.passed,
        "num_outputs": len(check.rows),
        "worst": worst.name,
        "max_abs": worst.max_abs,
        "max_rel": worst.max_rel,
        "tolerance": worst.tolerance,
        "outputs": rows,
    }


def go_back(source: Path, folder: Path, family: str) -> str:
    """Says whether the state dict that comes back has the source's numbers, bit for bit."""
    if FAMILIES[family].why_no_way_back:
        return "none"
    stored = read_checkpoint(folder)
    state, keys = make_state_dict(stored.params, stored.config, FAMILIES[family])
    assigned = list_keys(source, family)
    before = {targets: np.asarray(open_source(source).tensors[key].read()) for key, targets in assigned.items()}
    after = {targets: state[key] for key, targets in keys.items() if targets in before}
    is_same = before.keys() == after.keys() and all(np.array_equal(before[t], after[t]) for t in before)
    return "bit for bit" if is_same else "DIFFERENT"


def list_keys(source: Path, family: str) -> dict[str, tuple[str, ...]]:
    """Returns key -> parameters of a source."""
    chosen = FAMILIES[family]
    found = (assign_key(key, chosen.rules, chosen.prefixes) for key in open_source(source).tensors)
    return {assignment.key: assignment.targets for assignment in found if assignment is not None}


def main() -> None:
    """Runs all comparisons and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-full", action="store_true", help="leave out the two full-size models")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "twins").mkdir()
        cases = [list_goldens(), make_twins(folder / "twins")]
        cases += [] if arguments.no_full else [make_full_sizes(folder)]
        for case in (case for group in cases for case in group):
            rows.append(measure(case, folder / "model"))
            print({key: value for key, value in rows[-1].items() if key != "outputs"}, flush=True)
    versions = {name: metadata.version(name) for name in ("torch", "transformers")}
    print(write_result("parity", {"versions": versions, "precision": "float32, highest", "rows": rows}))
    if not all(row["passed"] and row["way_back"] != "DIFFERENT" for row in rows):
        raise SystemExit("a converted model differs from its original; see the rows above.")


if __name__ == "__main__":
    main()
