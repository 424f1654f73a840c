"""Imports run one way, and the package's own import stays light."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("vidtldr_jax", "checkpoints_convert")

EVERYONES = "vidtldr_jax.trust"
# What each part may import of ours, itself and what is everyone's aside.
ALLOWED = {
    "vidtldr_jax.trust": (),
    "vidtldr_jax.ops": (),
    "vidtldr_jax.reduction": ("vidtldr_jax.ops",),
    "vidtldr_jax.models": ("vidtldr_jax.ops", "vidtldr_jax.reduction"),
    "vidtldr_jax.data": (),
    "vidtldr_jax.inference": ("vidtldr_jax.ops", "vidtldr_jax.reduction", "vidtldr_jax.models", "vidtldr_jax.data"),
    "vidtldr_jax.search": (
        "vidtldr_jax.ops", "vidtldr_jax.reduction", "vidtldr_jax.models", "vidtldr_jax.data", "vidtldr_jax.inference",
    ),
    "vidtldr_jax.evaluation": (
        "vidtldr_jax.ops", "vidtldr_jax.reduction", "vidtldr_jax.models", "vidtldr_jax.data", "vidtldr_jax.inference",
        "vidtldr_jax.search", "vidtldr_jax.__version__",
    ),
    "vidtldr_jax.export": (
        "vidtldr_jax.ops", "vidtldr_jax.reduction", "vidtldr_jax.models", "vidtldr_jax.data", "vidtldr_jax.inference",
    ),
    "vidtldr_jax.train": (
        "vidtldr_jax.ops", "vidtldr_jax.reduction", "vidtldr_jax.models", "vidtldr_jax.data", "vidtldr_jax.inference",
        "vidtldr_jax.evaluation",
    ),
    "vidtldr_jax.visualize": (
        "vidtldr_jax.ops", "vidtldr_jax.reduction", "vidtldr_jax.models", "vidtldr_jax.data", "vidtldr_jax.inference",
    ),
    "vidtldr_jax.scenic_adapter": (
        "vidtldr_jax.ops", "vidtldr_jax.reduction", "vidtldr_jax.models", "vidtldr_jax.data",
        "vidtldr_jax.evaluation.heads", "vidtldr_jax.evaluation.metrics",
    ),
    "checkpoints_convert": (
        "vidtldr_jax.models.config", "vidtldr_jax.models.bert_config", "vidtldr_jax.models.clip_config",
        "vidtldr_jax.models.umt_config",
        "vidtldr_jax.models.vivit_config", "vidtldr_jax.models.presets", "vidtldr_jax.models.VideoViTConfig",
        "vidtldr_jax.models.PRESETS", "vidtldr_jax.models.get_preset", "vidtldr_jax.inference.checkpoint",
        "vidtldr_jax.inference.finite_weights",
        "vidtldr_jax.inference.hub", "vidtldr_jax.inference.outputs", "vidtldr_jax.inference.weights",
        "vidtldr_jax.reduction.schedule",
        "vidtldr_jax.data.preprocessing", "vidtldr_jax.data.text", "vidtldr_jax.__version__",
    ),
}  # fmt: skip
# Who may import what others may not.
ONLY_IN = {
    "torch": "checkpoints_convert",
    "transformers": "checkpoints_convert",
    "scenic": "vidtldr_jax.scenic_adapter",
}


def find_modules():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def find_imports(source):
    """Returns dotted names of everything imported, wherever in the file; `from a import b` is a.b."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def is_within(name, package):
    return name == package or name.startswith(package + ".")


def find_faults(module, names):
    faults = []
    for name in names:
        for owner, home in ONLY_IN.items():
            if is_within(name, owner) and not is_within(module, home):
                faults.append(f"{module} imports {name}; only {home} may")
        parts = [part for part in ALLOWED if is_within(module, part)]
        if parts and any(is_within(name, package) for package in PACKAGES):
            allowed = (parts[0], EVERYONES, *ALLOWED[parts[0]])
            # `from vidtldr_jax import ops` is the package ops.
            if not any(is_within(name, package) for package in allowed):
                faults.append(f"{module} imports {name}; it may import {', '.join(allowed)}")
    return faults


def test_imports_run_one_way():
    modules = list(find_modules())
    assert {"vidtldr_jax.ops.saliency", "vidtldr_jax.models.video_vit"} <= {module for module, _ in modules}
    faults = [fault for module, path in modules for fault in find_faults(module, find_imports(path.read_text()))]
    assert faults == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("vidtldr_jax.ops.saliency", "from vidtldr_jax.reduction import cost"),
        ("vidtldr_jax.models.block", "def f():\n    import vidtldr_jax.inference"),
        ("vidtldr_jax.data.video", "from vidtldr_jax import ops"),
        ("vidtldr_jax.models.block", "import torch.nn"),
        ("vidtldr_jax.cli.main", "from scenic import projects"),
        ("checkpoints_convert.rules", "from vidtldr_jax.ops import attend"),
    ],
)
def test_an_import_the_wrong_way_is_found(module, source):
    assert find_faults(module, find_imports(source)) != []


def test_every_part_has_its_rule():
    parts = {path.parent.name for path in (ROOT / "vidtldr_jax").glob("*/__init__.py")} - {"cli"}
    assert parts <= {name.split(".")[1] for name in ALLOWED if "." in name}


def find_loaded(statement, extra=()):
    code = f"import sys\n{statement}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    command = [sys.executable, "-W", "error", *extra, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_importing_the_package_touches_only_its_own_few_dependencies():
    loaded = find_loaded("from vidtldr_jax import *")
    assert "vidtldr_jax" in loaded
    heavy = {
        "av",
        "PIL",
        "click",
        "torch",
        "transformers",
        "scenic",
        "optax",
        "matplotlib",
        "mlxtend",
        "skimage",
        "scipy_",
    }
    # Flax itself loads rich and optax; only what is loaded beyond Flax counts.
    beyond = loaded - find_loaded("import flax.linen, jax, numpy, jaxtyping, safetensors.numpy")
    assert beyond & (heavy | {"rich"}) == set()
    third_party = {name for name in beyond - sys.stdlib_module_names if not name.startswith("_")}
    assert third_party == {"vidtldr_jax"}


def test_the_door_itself_imports_nothing_until_a_name_is_asked_for():
    loaded = find_loaded("import vidtldr_jax") - find_loaded("pass")
    assert loaded - sys.stdlib_module_names == {"vidtldr_jax"}
    assert "flax" in find_loaded("import vidtldr_jax; vidtldr_jax.ops; vidtldr_jax.load_model")


def test_the_door_gives_what_it_declares_and_says_that_it_has_nothing_else():
    import vidtldr_jax

    tree = ast.parse((ROOT / "vidtldr_jax" / "__init__.py").read_text())
    declared = next(node for node in tree.body if isinstance(node, ast.If))
    homes = {alias.name: node.module for node in declared.body for alias in node.names}
    rooms = {"evaluation", "export", "search", "train", "visualize"}  # some need extras, which `import *` must not
    assert set(homes) == {*vidtldr_jax.__all__, *rooms}
    for name, home in homes.items():
        assert getattr(vidtldr_jax, name) is getattr(importlib.import_module(home), name)
    assert vidtldr_jax.inference.load_model is vidtldr_jax.load_model
    assert set(dir(vidtldr_jax)) == {*vidtldr_jax.__all__, *rooms, "__version__"}
    with pytest.raises(AttributeError, match="module 'vidtldr_jax' has no attribute 'load_modle'"):
        vidtldr_jax.load_modle  # noqa: B018


@pytest.mark.parametrize("module", ["metrics", "heads"])
def test_metrics_work_without_jax(module):
    loaded = find_loaded(f"import vidtldr_jax.evaluation.{module}")
    assert loaded & {"jax", "jaxlib", "flax", "av", "click"} == set()
