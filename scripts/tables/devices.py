"""The table of what Triton's compiler makes of the kernels for GPUs."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


def make_gpu_compile_table(result: dict[str, Any]) -> str:
    """Writes registers and memory of each kernel on each compute capability."""
    lines = [
        "| GPU kernel | heads of | dtype | compute capability | registers a thread | spilled | shared memory "
        "| tensor cores |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['kernel']} | {row['model']} | {row['dtype']} | {row['capability'] / 10:.1f} "
        f"| {row['registers_per_thread']} | {row['spilled_bytes']} bytes | {row['shared_bytes'] / 1024:.0f} KiB "
        f"| {'yes' if row['uses_tensor_cores'] else 'no'} |"
        for row in result["rows"]
    ]
    lines += [
        "",
        f"2352 tokens, tiles of {result['tile']} x {result['tile']}, compiled by Triton {result['triton']} from what "
        f"JAX lowers on {name_origin(result, 'benchmarks/gpu_compile.py')}",
    ]
    return "\n".join(lines)
