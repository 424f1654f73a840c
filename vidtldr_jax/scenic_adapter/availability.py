"""Whether the right `scenic` is there: the package index has another project of that name."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Sequence
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
        clone = _find_clone(())
        if clone is not None:
            return f"google-research/scenic is needed; {_name_clone(clone)}."
        return f"google-research/scenic is needed; there is no module scenic; {_HOW}."
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    if not any(_is_scenic(place) for place in places):
        clone = _find_clone(places)
        # A folder without __init__.py is no project: a clone that lies in the working folder is found so.
        if clone is not None and spec.origin is None:
            return f"google-research/scenic is needed; {_name_clone(clone)}."
        if clone is not None:
            return (
                "google-research/scenic is needed; the scenic that is installed is another project of "
                f"that name ({', '.join(map(str, places)) or spec.origin}); pip uninstall scenic, then run with "
                f"PYTHONPATH={shlex.quote(str(clone))}."
            )
        found = ", ".join(map(str, places)) or str(spec.origin)
        return (
            "google-research/scenic is needed; the scenic that is installed is another project of that "
            f"name ({found}); pip uninstall scenic, then {_HOW}."
        )
    missing = [name for name in _COMPANIONS if importlib.util.find_spec(name) is None]
    if missing:
        return (
            f"Scenic's ViViT imports {', '.join(_COMPANIONS)}; {', '.join(missing)} can't be found; "
            "pip install 'vidtldr-jax[scenic]'."
        )
    return None


def _is_scenic(package: Path) -> bool:
    return (package / "model_lib" / "base_models").is_dir()


def _find_clone(places: Sequence[Path]) -> Path | None:
    """Returns the root of a clone of Scenic that lies near, though its package is not on the path."""
    here = Path.cwd()
    near = [*places, here, here / "scenic", here.parent, here.parent / "scenic"]
    return next((root.resolve() for root in near if _is_scenic(root / "scenic")), None)


def _name_clone(clone: Path) -> str:
    return f"a clone lies in {clone} and is not on the path; run with PYTHONPATH={shlex.quote(str(clone))}"
