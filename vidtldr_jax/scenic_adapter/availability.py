"""Whether the right `scenic` is there: the package index has another project of that name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Final

from vidtldr_jax.trust.harmless import make_harmless

_COMPANIONS: Final = (
    "absl",
    "clu",
    "immutabledict",
    "ml_collections",
    "tensorboard",
    "tensorflow",
    "tensorflow_datasets",
)
_HOW: Final = (
    "clone https://github.com/google-research/scenic and put the clone on PYTHONPATH; docs/scenic.md has the commands"
)


class ScenicMissingError(ImportError):
    """google-research/scenic, or something that it needs, can't be imported."""


def require_scenic(*, exits: bool = False) -> None:
    """Makes sure that google-research/scenic and what its ViViT imports are there.

    Args:
      exits: end the process with one line and code 1 instead of raising, for modules that are run.

    Raises:
      ScenicMissingError: there is no `scenic`, it is another project, or packages that it needs are missing, all named.
    """
    fault = find_scenic_fault()
    if fault is not None and exits:
        sys.exit(make_harmless(f"error: {fault}"))
    if fault is not None:
        raise ScenicMissingError(fault)


def find_scenic_fault() -> str | None:
    """Says what is wrong with the installed `scenic`; None where nothing is. Imports nothing."""
    spec = importlib.util.find_spec("scenic")
    if spec is None:
        return f"scenic_adapter: google-research/scenic is needed; there is no module scenic; {_HOW}."
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    if not any((place / "model_lib" / "base_models").is_dir() for place in places):
        found = ", ".join(map(str, places)) or str(spec.origin)
        return (
            "scenic_adapter: google-research/scenic is needed; the scenic that is installed is another project of that "
            f"name ({found}); pip uninstall scenic, then {_HOW}."
        )
    missing = [name for name in _COMPANIONS if importlib.util.find_spec(name) is None]
    if missing:
        return (
            f"scenic_adapter: Scenic's ViViT imports {', '.join(_COMPANIONS)}; {', '.join(missing)} can't be found; "
            "pip install 'vidtldr-jax[scenic]'."
        )
    return None
