"""What every benchmark says about where it ran."""

from __future__ import annotations

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
    """Returns the commit that is checked out, with "+" where files differ from it."""
    here = Path(__file__).parent
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=False
    )
    # What the benchmark itself writes does not make the code another one.
    query = ["git", "status", "--porcelain", "--", "..", ":!results", ":!../README.md"]
    changes = subprocess.run(query, cwd=here, capture_output=True, text=True, check=False)
    return (head.stdout.strip() or "unknown") + ("+" if changes.stdout.strip() else "")


def measure_matmul_rate(repeats: int) -> dict[str, float]:
    """Measures multiply-accumulates per second of one large projection, wall and CPU."""
    import jax
    import jax.numpy as jnp

    tokens, dim, hidden = 2352, 768, 3072
    left = jax.random.normal(jax.random.key(0), (tokens, dim))
    right = jax.random.normal(jax.random.key(1), (dim, hidden))
    loops = 20
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


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Writes one benchmark's result beside the others.

    Args:
      name: of the benchmark.
      result: plain data.

    Returns:
      The file's path.
    """
    RESULTS.mkdir(exist_ok=True)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    record = {"benchmark": name, "date": date, "commit": find_commit(), "machine": describe_machine(), **result}
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")
    return path
