"""Every class of input."""

from __future__ import annotations

from scripts.fuzz.checked_folders import CHECKED_CLASSES
from scripts.fuzz.foreign_weights import FOREIGN_CLASSES
from scripts.fuzz.fuzz_class import FuzzClass
from scripts.fuzz.own_files import OWN_CLASSES
from scripts.fuzz.pictures import PICTURE_CLASSES
from scripts.fuzz.texts import TEXT_CLASSES


def load_classes() -> dict[str, FuzzClass]:
    """Return all classes by name."""
    groups = (PICTURE_CLASSES, OWN_CLASSES, TEXT_CLASSES, FOREIGN_CLASSES, CHECKED_CLASSES)
    return {one.name: one for group in groups for one in group}
