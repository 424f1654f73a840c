"""Makes the tables of the README, SECURITY.md and docs/ from the benchmarks' JSON and from the code.

python scripts/make_tables.py           # writes them
python scripts/make_tables.py --check   # exit code 1 if a document is not in step
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from scripts.tables.accelerator import make_gpu_check_tables, make_gpu_line
from scripts.tables.accuracy import make_accuracy_table
from scripts.tables.choices import make_attention_table, make_merging_table, make_rerank_table, make_scan_table
from scripts.tables.compile import make_compile_table
from scripts.tables.conversion import make_conversion_memory_table, make_parity_table
from scripts.tables.devices import make_gpu_compile_table
from scripts.tables.few_labels import make_few_labels_table
from scripts.tables.fidelity import make_fidelity_table
from scripts.tables.floor import make_floor_table
from scripts.tables.growth import make_memory_table, make_scaling_table
from scripts.tables.latency import make_latency_table
from scripts.tables.load import make_load_table
from scripts.tables.pixels import make_pixels_table
from scripts.tables.precision import make_bfloat16_table
from scripts.tables.reliability import make_fuzz_table, make_kills_table
from scripts.tables.remat import make_remat_table
from scripts.tables.schedules import make_schedules_table
from scripts.tables.speed import make_rivals_table, make_speed_table
from scripts.tables.start import make_start_table
from scripts.tables.throughput import make_throughput_table
from scripts.tables.tpu import (
    make_tpu_compile_table,
    make_tpu_cycles_table,
    make_tpu_models_table,
    make_tpu_parts_table,
)
from scripts.tables.trained import make_trained_summary, make_trained_table
from scripts.tables.trust import make_limits_table, make_versions_table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


# Document, marker -> files of benchmarks, what writes the table; a pattern stands for all files that are there.
TABLES = {
    ("README.md", "speed"): (("umt_b16.json",), make_speed_table),
    ("README.md", "gpu"): (("gpu_check_*.json",), make_gpu_line),
    ("README.md", "accuracy"): (("moving_objects_accuracy.json",), make_accuracy_table),
    ("README.md", "versions"): ((), make_versions_table),
    ("SECURITY.md", "limits"): ((), make_limits_table),
    ("README.md", "trained"): (("accuracy.json",), make_trained_summary),
    ("docs/accuracy.md", "trained"): (("accuracy.json",), make_trained_table),
    ("docs/accuracy.md", "fidelity"): (("fidelity.json",), make_fidelity_table),
    ("docs/plan.md", "latency"): (("latency.json",), make_latency_table),
    ("docs/cli.md", "start"): (("start.json",), make_start_table),
    ("docs/parity.md", "parity"): (("parity.json",), make_parity_table),
    ("docs/finetune.md", "remat"): (("remat.json",), make_remat_table),
    ("docs/finetune.md", "few_labels"): (("few_labels.json",), make_few_labels_table),
    ("docs/convert.md", "memory"): (("convert_memory.json",), make_conversion_memory_table),
    ("docs/convert.md", "load"): (("load.json",), make_load_table),
    ("docs/reliability.md", "fuzz"): (("reliability.json",), make_fuzz_table),
    ("docs/reliability.md", "kills"): (("kills.json",), make_kills_table),
    ("docs/performance.md", "rivals"): (
        ("vs_official_umt-b16_2.json", "vs_official_umt-b16_1.json"),
        make_rivals_table,
    ),
    ("docs/performance.md", "gpu_check"): (("gpu_check_*.json",), make_gpu_check_tables),
    ("docs/performance.md", "gpu_compile"): (("gpu_compile.json",), make_gpu_compile_table),
    ("docs/performance.md", "tpu_compile"): (("tpu_compile.json",), make_tpu_compile_table),
    ("docs/performance.md", "tpu_cycles"): (("tpu_cycles.json",), make_tpu_cycles_table),
    ("docs/performance.md", "tpu_models"): (("tpu_parts.json",), make_tpu_models_table),
    ("docs/performance.md", "tpu_parts"): (("tpu_parts.json",), make_tpu_parts_table),
    ("docs/performance.md", "schedules"): (
        ("schedules_umt-b16.json", "schedules_umt-l16.json"),
        make_schedules_table,
    ),
    ("docs/performance.md", "floor"): (("floor.json",), make_floor_table),
    ("docs/performance.md", "memory"): (("memory.json",), make_memory_table),
    ("docs/performance.md", "scaling"): (("scaling.json",), make_scaling_table),
    ("docs/performance.md", "compile"): (("compile.json",), make_compile_table),
    ("docs/performance.md", "throughput"): (("throughput.json",), make_throughput_table),
    ("docs/performance.md", "pixels"): (("pixels.json",), make_pixels_table),
    ("docs/performance.md", "attention"): (("attention.json",), make_attention_table),
    ("docs/performance.md", "merging"): (("merging.json",), make_merging_table),
    ("docs/performance.md", "rerank"): (("rerank.json",), make_rerank_table),
    ("docs/performance.md", "scan"): (("scan.json",), make_scan_table),
    ("docs/performance.md", "bfloat16"): (("bfloat16.json",), make_bfloat16_table),
}


def fill_tables(document: str, text: str) -> str:
    """Replaces what stands between the markers of a document's tables."""
    for (place, name), (files, make) in TABLES.items():
        if place != document:
            continue
        begin, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
        if begin not in text or end not in text:
            raise SystemExit(f"{document} has no markers {begin} and {end}; put them back.")
        head, rest = text.split(begin, 1)
        tail = rest.split(end, 1)[1]
        paths = [path for file in files for path in (sorted(RESULTS.glob(file)) if "*" in file else [RESULTS / file])]
        table = make(*(json.loads(path.read_text()) for path in paths))
        text = f"{head}{begin}\n{table}\n{end}{tail}"
    return text


def main() -> int:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a document is not in step")
    check = parser.parse_args().check
    is_stale = False
    for document in dict.fromkeys(document for document, _ in TABLES):
        path = ROOT / document
        before = path.read_text()
        after = fill_tables(document, before)
        if not check:
            path.write_text(after)
        elif after != before:
            print(f"{document} is not in step; run python scripts/make_tables.py", file=sys.stderr)
            is_stale = True
    return int(is_stale)


if __name__ == "__main__":
    sys.exit(main())
