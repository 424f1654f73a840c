"""Feeds damaged and hostile inputs to everything that reads bytes and demands the documented answer of each.

    python -m scripts.fuzz --count 300                      # every class, seeded: the same inputs each time
    python -m scripts.fuzz --class index --seed 7 --count 20000 --keep failures
    python -m scripts.fuzz --count 0 --kills 20             # every command that writes, killed at random moments
    python -m scripts.fuzz --count 500 --kills 20 --write   # the tables of docs/reliability.md, with make_tables.py

Exit code 1 if an input got another answer, ended the process, took over 10 s or over 1 GiB; or if a kill lost something
or left something behind.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, describe_machine, find_commit
from scripts.fuzz.campaign import Report, run_class
from scripts.fuzz.classes import load_classes

_MOST_SHOWN = 5


def _print_report(report: Report) -> None:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(report.counts.items()))
    print(
        f"{report.name}: {report.num_right} of {report.num_tried} right ({counts}), at most "
        f"{report.most_seconds:.1f} s and {report.most_bytes / 2**20:.0f} MiB",
        flush=True,
    )
    for failure in report.failures[:_MOST_SHOWN]:
        print(f"  input {failure.number}: {failure.outcome}: {failure.detail!a}", flush=True)


def _kill_writers(count: int, seed: int) -> list[dict[str, Any]]:
    from scripts.fuzz.kills import kill_writer
    from scripts.fuzz.writers import WRITERS, make_inputs

    rows = []
    with tempfile.TemporaryDirectory(prefix="vidtldr-kill-") as inputs:
        make_inputs(Path(inputs))
        for writer in WRITERS:
            report = kill_writer(writer, Path(inputs), count=count, seed=seed)
            print(
                f"{report.name}: {report.kills} kills, {report.in_writing} of them with something half-written, "
                f"{len(report.faults)} faults {report.faults[:_MOST_SHOWN]!a}",
                flush=True,
            )
            rows.append(report._asdict())
    return rows


def main() -> int:
    """Run from the command line."""
    classes = load_classes()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--class", dest="names", action="append", choices=sorted(classes), help="only this class")
    parser.add_argument("--count", type=int, default=100, help="inputs of each class [default: %(default)s]")
    parser.add_argument("--first", type=int, default=0, help="number of the first input [default: %(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="of the damage [default: %(default)s]")
    parser.add_argument("--kills", type=int, default=0, help="kills of each command that writes [default: %(default)s]")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that fail")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/{reliability,kills}.json")
    options = parser.parse_args()
    start = time.monotonic()
    rows = []
    for name in (options.names or classes) if options.count else ():
        report = run_class(
            classes[name], count=options.count, seed=options.seed, keep=options.keep, first=options.first
        )
        _print_report(report)
        rows.append(
            {
                "name": name,
                "answer": classes[name].answer,
                "tried": report.num_tried,
                "right": report.num_right,
                "counts": report.counts,
                "most_seconds": round(report.most_seconds, 2),
                "most_mib": round(report.most_bytes / 2**20),
            }
        )
    kills = [] if not options.kills else _kill_writers(options.kills, options.seed)
    if options.write:
        origin = {
            "date": datetime.date.today().isoformat(),
            "commit": find_commit(),
            "machine": describe_machine(),
            "seed": options.seed,
            "seconds": round(time.monotonic() - start),
        }
        for name, found in (("reliability", rows), ("kills", kills)):
            if found:
                (RESULTS / f"{name}.json").write_text(json.dumps(origin | {"rows": found}, indent=2) + "\n")
    return int(any(row["right"] < row["tried"] for row in rows) or any(row["faults"] for row in kills))


if __name__ == "__main__":
    sys.exit(main())
