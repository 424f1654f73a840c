"""What every benchmark shares: its options, what it says about where it ran, and where the result goes."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from vidtldr_jax.trust.digests import hash_bytes

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results"


def describe_machine() -> dict[str, Any]:
    """Returns processor, cores, memory and the versions that matter."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = {name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "numpy")}
    return {
        "processor": model or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "python": platform.python_version(),
        **versions,
    }


def find_commit() -> str:
    """Return the commit that is checked out, with "+" where files differ from it; "unknown" in a copy without git."""
    head = _ask_git("rev-parse", "--short", "HEAD")
    # What the benchmark itself writes does not make the code another one.
    changes = _ask_git("status", "--porcelain", "--", "..", ":!results", ":!../README.md")
    return (head or "unknown") + ("+" if changes else "")


def _ask_git(*words: str) -> str:
    """Return what git prints; nothing where it fails or is not installed."""
    try:
        done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def digest_code(*names: str) -> str:
    """Returns a hash of the code that decides a model's outputs: results of other code are not taken over.

    Args:
      *names: of the benchmarks that decide them too.
    """
    folders = [ROOT / "vidtldr_jax" / name for name in ("ops", "models", "reduction")]
    files = sorted(path for folder in folders for path in folder.rglob("*.py"))
    files += [ROOT / "benchmarks" / f"{name}.py" for name in names]
    return hash_bytes(b"".join(path.read_bytes() for path in files))[:12]


def make_parser(description: str, *, repeats: int = 7) -> argparse.ArgumentParser:
    """Makes a command line with --repeats and --smoke.

    Args:
      description: the benchmark's docstring.
      repeats: how many counted runs there are unless others are asked for.

    Returns:
      A parser to add to.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=repeats, help="counted runs of each [default: %(default)s]")
    parser.add_argument("--smoke", action="store_true", help="a tiny model, one run, print and write nothing")
    return parser


def measure_matmul_rate(repeats: int, *, loops: int = 20) -> dict[str, float]:
    """Measures multiply-accumulates per second of one large projection, wall and CPU.

    Args:
      repeats: how many times; the medians count.
      loops: products in each.

    Returns:
      "gmacs_per_second" and "gmacs_per_cpu_second".
    """
    import jax
    import jax.numpy as jnp

    tokens, dim, hidden = 2352, 768, 3072
    left = jax.random.normal(jax.random.key(0), (tokens, dim))
    right = jax.random.normal(jax.random.key(1), (dim, hidden))
    product = jax.jit(jnp.matmul)
    product(left, right).block_until_ready()
    wall, cpu = [], []
    for _ in range(repeats):
        cpu_start, start = time.process_time(), time.perf_counter()
        for _ in range(loops):
            product(left, right).block_until_ready()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - cpu_start)
    macs = tokens * dim * hidden * loops
    return {
        "gmacs_per_second": macs / statistics.median(wall) / 1e9,
        "gmacs_per_cpu_second": macs / statistics.median(cpu) / 1e9,
    }


def pick_faster(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Returns the larger of two measured rates, rounded: the machine can do at least that."""
    return {name: round(max(before[name], after[name]), 1) for name in before}


def finish(name: str, result: dict[str, Any], *, is_smoke: bool) -> None:
    """Writes a result and prints its path; a smoke run prints the record instead, on one line."""
    print(json.dumps(make_record(name, result), allow_nan=False) if is_smoke else write_result(name, result))


def make_record(name: str, result: dict[str, Any]) -> dict[str, Any]:
    """Returns a result with its date, commit and machine in front."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"benchmark": name, "date": date, "commit": find_commit(), "machine": describe_machine(), **result}


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Writes one benchmark's result beside the others.

    Args:
      name: of the benchmark.
      result: plain data.

    Returns:
      The file's path.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(make_record(name, result), indent=2, allow_nan=False) + "\n")
    return path
