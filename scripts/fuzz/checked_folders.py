"""What `vidtldr info --check` verifies: it must call damage by its name, whatever file it is in."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from scripts.fuzz.fuzz_class import FuzzClass
from scripts.fuzz.writers import PLACES, WRITERS, make_inputs
from vidtldr_jax.trust.digests import hash_file
from vidtldr_jax.trust.verification import Verification

ROOT: Final = Path(__file__).resolve().parent.parent.parent
_ANSWER: Final = "a fault that names the file, unless the content is the same"


def _run_writer(name: str, folder: Path) -> None:
    """Let a command write what is checked."""
    writer = next(one for one in WRITERS if one.name == name)
    with tempfile.TemporaryDirectory(prefix="vidtldr-fuzz-") as inputs:
        make_inputs(Path(inputs))
        command = [sys.executable, "-m", "vidtldr_jax", *writer.words(Path(inputs), folder / PLACES[name])]
        environment = {**os.environ, "XDG_CACHE_HOME": inputs}
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{command} ended with {result.returncode}: {result.stderr}")


def _read_content(path: Path) -> Any:
    """Return what must not change in a file; spaces between the parts of JSON may, and who began a run."""
    try:
        if path.name == "run.json":
            return json.loads(path.read_bytes())["run"]
        if path.suffix == ".json":
            return json.loads(path.read_bytes())
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    except (ValueError, RecursionError, KeyError, TypeError):
        pass
    return hash_file(path)


def _check(name: str, folder: Path) -> tuple[Verification, dict[str, Any], dict[str, str]]:
    from vidtldr_jax.cli.info_check import choose_check

    place, verify = choose_check(str(folder / PLACES[name]))
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    contents = {name: _read_content(path) for name, path in files.items()}
    return verify(place), contents, {name: hash_file(path) for name, path in files.items()}


def _is_noticed(value: tuple[Verification, dict[str, Any], dict[str, str]], expected: Any) -> bool:
    found, contents, digests = value
    if not found.is_sound:
        damaged = [Path(name) for name, digest in digests.items() if digest != expected[2].get(name)]
        # A state whose list of digests is damaged is named as a whole.
        names = {path.parent.name if path.name == "digests.json" else path.name for path in damaged}
        is_named = any(name in fault for name in names for fault in found.faults)
        return is_named and all(len(fault.splitlines()) == 1 for fault in found.faults)
    # Records of steps after the newest state are of no digest yet.
    begun = {name: lines[: len(expected[1][name])] for name, lines in contents.items() if name.endswith(".jsonl")}
    return contents | begun == expected[1]


def _describe(
    title: str, writer: str, structures: Mapping[str, tuple[str, int]], make: Callable[[str, Path], None] = _run_writer
) -> FuzzClass:
    from vidtldr_jax.cli.group import CommandError

    return FuzzClass(
        name=title,
        answer=_ANSWER,
        make=functools.partial(make, writer),
        structures=structures,
        read=functools.partial(_check, writer),
        is_right=_is_noticed,
        documented=(CommandError,),
    )


CHECKED_CLASSES: Final = (
    _describe(
        "check of a checkpoint",
        "convert",
        {"model/config.json": ("json", 2), "model/model.safetensors": ("safetensors", 2)},
    ),
    _describe(
        "check of an index",
        "embed",
        {"index/description.json": ("json", 1), "index/part-*": ("bytes", 2)},
    ),
    _describe(
        "check of an export",
        "export",
        {"*.json": ("json", 2), "*.safetensors": ("safetensors", 2), "model.stablehlo": ("bytes", 2)},
    ),
    _describe(
        "check of a run",
        "finetune",
        {
            "run/run.json": ("json", 4),
            "run/metrics.jsonl": ("lines", 4),
            "run/model/*": ("bytes", 2),
            "run/checkpoints/**/*": ("bytes", 1),
        },
    ),
)
