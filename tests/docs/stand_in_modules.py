"""Puts a stand-in where a page imports a package that is in no index, for one test."""

import importlib.util
import sys
import types
from pathlib import Path

# Package -> the module that pages import, and the file beside this one that stands for it.
_MODULES = {
    "big_vision": ("big_vision.models.vit", "big_vision_vit.py"),
    "Scenic": ("scenic.projects.baselines.vit", "scenic_vit.py"),
}


def load_stand_in(package):
    """Returns a fresh copy of the stand-in, which a block may change."""
    name, file = _MODULES[package]
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def put_in_modules(package, monkeypatch):
    """Lets `from big_vision.models import vit` find the stand-in until the test ends."""
    name, _ = _MODULES[package]
    module = load_stand_in(package)
    monkeypatch.setitem(sys.modules, name, module)
    while "." in name:
        name, _, child = name.rpartition(".")
        parent = types.ModuleType(name)
        setattr(parent, child, module)
        monkeypatch.setitem(sys.modules, name, parent)
        module = parent
