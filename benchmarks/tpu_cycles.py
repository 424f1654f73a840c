"""How many cycles do the instructions take that the TPUs' compiler schedules for attention, by form? No TPU is used.

    pip install libtpu && python benchmarks/tpu_cycles.py      # writes results/tpu_cycles.json

libtpu writes a static profile of the instructions that it scheduled for each operation when a debugging flag asks for
it. The flag may go, and it ends the process at operations that the profile can't follow; gathers are such, so merging
is not here. The profile knows the order and latency of instructions, not what waits for memory. In a loop of plain XLA
the operations stand once: those in its body are multiplied by its rounds. A kernel's profile walks its whole grid,
which takes minutes for 16 heads and 2352 tokens; so three small grids give the cycles of a step, of a row's end and of
a tile's end, and their sum over the whole grid is the kernel's, without the padding and transposing around it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from benchmarks import record
from benchmarks.tpu_parts import TOPOLOGIES, make_environment
from benchmarks.tpu_programs import place_on, trace_attention
from vidtldr_jax.ops.attention_blocks import ROWS_OF_ALL_HEADS
from vidtldr_jax.ops.attention_mosaic import divide_tokens
from vidtldr_jax.ops.blocks import balance_blocks

HEADS: Final = 16
CHANNELS: Final = 64
NUM_TOKENS: Final = (2352, 4608)
SMALLER_TILE: Final = 256
# Heads and tiles. Grids of one tile or one head are scheduled otherwise: what starts and ends them is known beforehand.
SMALL_GRIDS: Final = ((2, 2), (2, 4), (4, 2))
_ESTIMATE: Final = re.compile(r'hlo_op_name: "([^"]+)"\s+estimated_cycles: (\d+)\s+num_equivalent_hlos: (\d+)')
_HEAD: Final = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_LOOP: Final = re.compile(r" while\(.*body=%?([\w.\-]+)")


def read_profile(folder: Path) -> dict[str, int]:
    """Returns the cycles of each profiled operation; equal ones stand once and count together."""
    found = (match for path in sorted(folder.glob("*.textproto")) for match in _ESTIMATE.findall(path.read_text()))
    return {name: int(cycles) * int(times) for name, cycles, times in found}


def find_loop_body(text: str) -> set[str]:
    """Returns the names of the operations in the loop's body of a compiled program; empty where there is no loop."""
    bodies: dict[str, set[str]] = {}
    names: set[str] = set()
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            names = bodies.setdefault(head[1], set())
        elif line.startswith("  ") and " = " in line:
            names.add(line.split(" = ")[0].replace("ROOT", "").strip().lstrip("%"))
    loop = _LOOP.search(text)
    return bodies[loop[1]] if loop else set()


def count_blocked(profile: dict[str, int], text: str, rounds: int) -> int:
    """Adds up a program of plain XLA with one loop."""
    body = find_loop_body(text)
    return sum(cycles * (rounds if name in body else 1) for name, cycles in profile.items())


def fit_kernel(small: dict[tuple[int, int], tuple[int, int]], num_heads: int, num_tiles: int) -> tuple[int, int]:
    """Returns the cycles of both kernels for a grid, from those of the small ones in `SMALL_GRIDS`.

    Args:
      small: (heads, tiles) -> cycles of (update, sharpness).
      num_heads: of the grid.
      num_tiles: of the grid, along queries and along keys.

    Returns:
      Cycles of the update, where each row of tiles has an end, and of the sharpness, where each tile has one after all
      heads.
    """
    first, more_tiles, more_heads = (small[grid] for grid in SMALL_GRIDS)
    step = (more_tiles[0] - 2 * first[0]) / 16  # 32 steps and 8 ends less 16 steps and 8 ends
    end = (first[0] - 8 * step) / 4
    update = num_heads * num_tiles * (num_tiles * step + end)
    step = (more_heads[1] - first[1]) / 8  # 16 steps and 4 ends less 8 steps and 4 ends
    end = (first[1] - 8 * step) / 4
    sharpness = num_tiles**2 * (num_heads * step + end)
    return round(update), round(sharpness)


def profile_program(device: str, form: str, heads: int, num_tokens: int, tile: int) -> None:
    """Compiles attention while libtpu writes its profile, and prints the cycles of what it profiled."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LIBTPU_INIT_ARGS"] = f"--xla_jf_dump_static_llo_profile_to={folder}"
        place = place_on(TOPOLOGIES[device])
        traced = trace_attention(form, (1, num_tokens, heads, CHANNELS), place, block_size=tile or None)
        compiled = traced.lower(lowering_platforms=("tpu",)).compile()
        profile = read_profile(Path(folder))
    if form == "blocked":
        rounds, _ = balance_blocks(num_tokens, ROWS_OF_ALL_HEADS)
        found = [count_blocked(profile, compiled.as_text(), rounds)]
    else:
        found = [sum(c for name, c in profile.items() if name.startswith(kernel)) for kernel in ("attend", "sharpness")]
    print(json.dumps(found))


def run_fresh(device: str, form: str, heads: int, num_tokens: int, tile: int = 0) -> list[int]:
    """Profiles in a process of its own; one that the profile ended has no result."""
    command = [sys.executable, __file__, "--only", device, form, *map(str, (heads, num_tokens, tile))]
    done = subprocess.run(command, env=make_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{device}, {form}, {num_tokens} tokens: no profile was written: {done.stderr[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_kernel(device: str, num_tokens: int, tile: int, num_heads: int) -> dict[str, Any]:
    """Counts a kernel of one size of tile."""
    num_tiles, tile = divide_tokens(num_tokens, tile or None)
    small = {}
    for heads, tiles in SMALL_GRIDS:
        update, sharpness = run_fresh(device, "kernel", heads, tiles * tile, tile)
        small[heads, tiles] = (update, sharpness)
    update, sharpness = fit_kernel(small, num_heads, num_tiles)
    return {"form": "kernel", "tile": tile, "update": update, "sharpness": sharpness, "cycles": update + sharpness}


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__)
    parser.add_argument("--only", nargs=5, metavar=("DEVICE", "FORM", "HEADS", "TOKENS", "TILE"), help="profile this")
    arguments = parser.parse_args(words)
    if arguments.only:
        device, form, *numbers = arguments.only
        profile_program(device, form, *map(int, numbers))
        return
    heads = 2 if arguments.smoke else HEADS
    rows: list[dict[str, Any]] = []
    for device in TOPOLOGIES:
        for num_tokens in (150,) if arguments.smoke else NUM_TOKENS:
            found = [{"form": "blocked", "cycles": run_fresh(device, "blocked", heads, num_tokens)[0]}]
            tiles = (128,) if arguments.smoke else (SMALLER_TILE, 0)
            found += [measure_kernel(device, num_tokens, tile, heads) for tile in tiles]
            rows += [{"device": device, "num_tokens": num_tokens, **row} for row in found]
            print(rows[-len(found) :], flush=True)
    result = {"libtpu": metadata.version("libtpu"), "heads": heads, "channels": CHANNELS, "rows": rows}
    record.finish("tpu_cycles", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
