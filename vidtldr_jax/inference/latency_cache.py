"""Tables of times in a folder: one JSON file for everything that times depend on, named by its hash."""

from __future__ import annotations

import json
import logging
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Final, TypedDict

import jax

from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.architectures import describe_config
from vidtldr_jax.trust.digests import hash_bytes, hash_json
from vidtldr_jax.trust.json_files import read_json
from vidtldr_jax.trust.lines import split_lines
from vidtldr_jax.trust.whole_files import write_whole

log = logging.getLogger("vidtldr_jax")

_FORMAT: Final = 1
_PACKAGES: Final = ("vidtldr-jax", "jax", "jaxlib", "flax")
# Of the environment, what changes the programs or the threads that they run on.
_VARIABLES: Final = ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS", "JAX_DEFAULT_MATMUL_PRECISION", "OMP_NUM_THREADS")


class _Stored(TypedDict):
    """What a file holds: what a table is for, the table, and the table's SHA-256."""

    place: dict[str, Any]
    table: dict[str, Any]
    sha256: str


def describe_place(model: VideoModel, *, batch_size: int, num_frames: int, method: str) -> dict[str, Any]:
    """Says all that times depend on.

    Args:
      model: what runs.
      batch_size: clips of a run.
      num_frames: of a clip.
      method: how tokens are chosen.

    Returns:
      Plain data.
    """
    device = jax.devices()[0]
    return {
        "format": _FORMAT,
        "architecture": describe_config(model.config),
        "batch_size": batch_size,
        "num_frames": num_frames,
        "dtype": str(model.dtype),
        "method": method,
        "device": [device.platform, device.device_kind],
        "processor": _name_processor(),
        "cores": _count_cores(),
        "versions": {name: _find_version(name) for name in _PACKAGES},
        "environment": {name: os.environ.get(name, "") for name in _VARIABLES},
    }


def read_table(folder: Path, place: dict[str, Any]) -> dict[str, Any] | None:
    """Returns what is stored for a place.

    Args:
      folder: where tables are.
      place: what it must be for, see `describe_place`.

    Returns:
      The stored data; None where there is nothing, or it is damaged, or for something else.
    """
    path = _find_path(folder, place)
    try:
        stored: _Stored = read_json(path, _Stored)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.info("%s can't be used (%s); times are measured again", path, error)
        return None
    if stored["place"] != place or stored["sha256"] != hash_json(stored["table"]):
        log.info("%s is damaged or of something else; times are measured again", path)
        return None
    return stored["table"]


def write_table(folder: Path, place: dict[str, Any], table: dict[str, Any]) -> None:
    """Stores a table; where that can't be written, nothing is kept.

    Args:
      folder: where tables are; it is made.
      place: what the table is for.
      table: plain data.
    """
    path = _find_path(folder, place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stored: _Stored = {"place": place, "table": table, "sha256": hash_json(table)}
        write_whole(path, json.dumps(stored, indent=2, allow_nan=False))
    except OSError as error:
        log.info("times are not kept: %s", error)
        return
    log.info("times are kept in %s", path)


def _find_path(folder: Path, place: dict[str, Any]) -> Path:
    text = json.dumps(place, sort_keys=True)
    return folder / f"{hash_bytes(text.encode())[:24]}.json"


def _name_processor() -> str:
    """Names the processor, and so tells machines apart that share a home."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = split_lines(cpuinfo.read_text(errors="replace")) if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _count_cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _find_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"
