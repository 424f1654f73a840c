"""Videos of an index whose file is gone, and taking them out.

A disk that is not mounted looks like videos that were deleted. So a video is taken out where other things are left in
its folder; where the folder is gone or empty, or the file was a link, only when that is asked for.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from vidtldr_jax.search.features import FeatureStore


class Pruned(NamedTuple):
    """What became of the videos whose file is gone.

    Attributes:
      removed: paths of those that were taken out.
      kept: paths of those that are still there, because nothing is left in their folder.
    """

    removed: list[str]
    kept: list[str]


def prune_index(store: FeatureStore, *, with_folders: bool = False) -> Pruned:
    """Takes videos whose file is gone out of an index.

    Args:
      store: the index, open to write.
      with_folders: also where nothing is left in the folder of the video.

    Returns:
      A `Pruned`.

    Raises:
      FeaturesError: the store is not open to write, or a part is damaged.
      OSError: something can't be written.
    """
    folders: dict[str, bool] = {}
    removed: dict[str, str] = {}
    kept: dict[str, str] = {}
    for key in store.keys:
        name = store.get_name(key)
        if not is_gone(name):
            continue
        folder = os.path.dirname(name)
        if folder not in folders:
            folders[folder] = _has_something(folder)
        is_sure = folders[folder] and not os.path.lexists(name)  # a link may point to a disk
        (removed if with_folders or is_sure else kept)[key] = name
    store.remove(removed)
    return Pruned(sorted(set(removed.values())), sorted(set(kept.values())))


def is_gone(path: str | Path) -> bool:
    """Returns whether there is nothing at a path; False where that can't be found out."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return True
    except OSError:
        return False
    return False


def _has_something(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(True for _ in entries)
    except OSError:
        return False
