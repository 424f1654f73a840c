"""What a Scenic config says, read without Scenic, and what is said of a `scenic` that is another project."""

import importlib
import os
import sys

import ml_collections
import pytest

from vidtldr_jax.scenic_adapter.availability import ScenicMissingError, find_scenic_fault, require_scenic
from vidtldr_jax.scenic_adapter.settings import TokenMerging, read_architecture, read_token_merging


def make_config(**changes):
    """Returns ViViT-B/16x2 in Scenic's format; a change is a dotted path with __ for dots, None takes a field out."""
    config = ml_collections.ConfigDict(
        {
            "dataset_configs": {"num_frames": 32, "crop_size": 224, "num_classes": 400},
            "model": {
                "hidden_size": 768,
                "num_heads": 12,
                "mlp_dim": 3072,
                "num_layers": 12,
                "representation_size": None,
                "classifier": "token",
                "attention_config": {"type": "spacetime"},
                "patches": {"size": (16, 16, 2)},
                "temporal_encoding_config": {"method": "3d_conv", "kernel_init_method": "central_frame_initializer"},
            },
        }
    )
    for path, value in changes.items():
        *parents, name = path.split("__")
        tree = config
        for parent in parents:
            tree = tree[parent]
        if value is None:
            del tree[name]
        else:
            tree[name] = ml_collections.ConfigDict(value) if isinstance(value, dict) else value
    return config


def test_without_the_subtree_nothing_is_merged():
    assert read_token_merging(make_config().model) is None
    assert read_token_merging({}) is None


@pytest.mark.parametrize("schedule", ["800,0.2", (800, 0.2), [800, 0.2]])
def test_every_way_to_write_a_schedule_is_read(schedule):
    merging = read_token_merging({"token_merging": {"schedule": schedule, "pooling": "by_size"}})
    assert merging == TokenMerging(schedule=(800, 0.2), pooling="by_size")
    assert not merging.is_plain
    config = make_config(model__token_merging={"schedule": "none"})
    assert read_token_merging(config.model).is_plain


@pytest.mark.parametrize(
    ("subtree", "message"),
    [
        ({"schedules": "800"}, "there is no field 'schedules' .did you mean 'schedule'?.*there is no schedule"),
        (
            {"schedule": "800", "method": "best", "pooling": "max"},
            r"method = 'best' is none of vidtldr, .*, random_drop; pooling = 'max'",
        ),
        ({"schedule": "eight"}, "entries are numbers; got 'eight'"),
        ("800,270", "write config.model.token_merging.schedule = '800,270'"),
    ],
)
def test_a_faulty_subtree_is_explained(subtree, message):
    with pytest.raises(ValueError, match=message):
        read_token_merging({"token_merging": subtree})


def test_the_architecture_is_read():
    config = read_architecture(make_config())
    assert (config.num_tokens, config.depth, config.num_heads, config.mlp_dim) == (3137, 12, 12, 3072)
    assert (config.attention, config.pooling, config.patch_init) == ("spacetime", "cls", "central_frame")
    assert (config.num_classes, config.temporal_depth, config.representation_dim) == (400, None, None)
    assert read_architecture(make_config(dataset_configs__class_splits=(300, 97))).num_classes == 397
    assert read_architecture(make_config(), num_classes=5).num_classes == 5


@pytest.mark.parametrize(
    ("classifier", "pooling", "by_size"),
    [("token", "cls", "cls"), ("0", "first", "first"), ("gap", "mean", "mean_by_size"), ("gmp", "max", "max"),
     ("gsp", "sum", "sum_by_size")],
)  # fmt: skip
def test_every_classifier_has_its_pooling(classifier, pooling, by_size):
    assert read_architecture(make_config(model__classifier=classifier)).pooling == pooling
    merging = {"schedule": "800", "pooling": "by_size"}
    config = make_config(model__classifier=classifier, model__token_merging=merging)
    assert read_architecture(config).pooling == by_size


def test_the_factorised_encoder_has_two_towers():
    towers = {
        "model__attention_config": {"type": "factorized_encoder"},
        "model__num_layers": None,
        "model__spatial_transformer": {"num_heads": 12, "mlp_dim": 3072, "num_layers": 12},
        "model__temporal_transformer": {"num_heads": 8, "mlp_dim": 1024, "num_layers": 4},
    }
    config = read_architecture(make_config(**towers))
    assert (config.depth, config.temporal_depth, config.temporal.num_heads, config.temporal.mlp_dim) == (12, 4, 8, 1024)
    towers["model__attention_config"] = {"type": "factorized_encoder", "spatial_only_baseline": True}
    assert read_architecture(make_config(**towers)).temporal is None


def test_sampled_frames_and_the_order_of_axes():
    encoding = {"method": "temporal_sampling", "n_sampled_frames": 8}
    config = make_config(model__temporal_encoding_config=encoding, model__patches={"size": (16, 16)})
    assert read_architecture(config).grid == (8, 14, 14)
    attention = {"type": "factorized_self_attention_block", "attention_order": "space_time"}
    config = read_architecture(make_config(model__attention_config=attention, model__classifier="gap"))
    assert (config.attention, config.attention_order) == ("factorized_self_attention", "space_time")


def test_all_that_is_wrong_with_a_config_is_named_at_once():
    config = make_config(
        model__attention_config={"type": "axial"}, model__hidden_size=None, dataset_configs__crop_size=None
    )
    config.model.patches.size = (16, 8, 2)
    with pytest.raises(ValueError, match=r"attention_config\.type = 'axial' is none of spacetime") as error:
        read_architecture(config)
    for part in (r"patches.size = [16, 8, 2] is not rows", "hidden_size is missing", "crop_size is missing"):
        assert part in str(error.value)


@pytest.fixture
def only_modules(tmp_path, monkeypatch):
    """Takes any scenic off the path and out of what is imported, and puts a folder there."""
    for name in [name for name in sys.modules if name.split(".")[0] == "scenic"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if not os.path.isdir(os.path.join(place, "scenic"))])
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_another_project_called_scenic_is_named(only_modules):
    (only_modules / "scenic").mkdir()
    (only_modules / "scenic" / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    with pytest.raises(ScenicMissingError, match=r"another project of that name .*pip uninstall scenic") as error:
        require_scenic()
    assert str(only_modules / "scenic") in str(error.value)
    with pytest.raises(SystemExit, match=r"^error: google-research/scenic is needed"):
        require_scenic(exits=True)


def make_clone(root):
    (root / "scenic" / "model_lib" / "base_models").mkdir(parents=True)
    (root / "scenic" / "__init__.py").touch()
    return root


@pytest.mark.parametrize("place", ["scenic", "../scenic", "..", "."])
def test_a_clone_beside_the_user_is_recognised(tmp_path, monkeypatch, place):
    here = tmp_path / "outer" / "project"
    here.mkdir(parents=True)
    clone = make_clone(here / place)
    monkeypatch.chdir(here)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_scenic_fault() == (
        f"google-research/scenic is needed; a clone lies in {clone.resolve()} and is not on the path; "
        f"run with PYTHONPATH={clone.resolve()}."
    )


def test_a_clone_whose_root_is_found_in_the_place_of_its_package_is_recognised(only_modules, monkeypatch):
    # A clone called scenic in the working folder, which is on the path: Python takes the root for the package.
    clone = make_clone(only_modules / "scenic")
    importlib.invalidate_caches()
    assert find_scenic_fault() == (
        f"google-research/scenic is needed; a clone lies in {clone} and is not on the path; "
        f"run with PYTHONPATH={clone}."
    )


def test_a_clone_is_named_where_another_project_is_installed(only_modules, tmp_path_factory, monkeypatch):
    (only_modules / "scenic").mkdir()
    (only_modules / "scenic" / "__init__.py").touch()
    here = tmp_path_factory.mktemp("a place")
    make_clone(here / "scenic")
    monkeypatch.chdir(here)
    fault = find_scenic_fault()
    assert "another project" in fault
    assert fault.endswith(f"pip uninstall scenic, then run with PYTHONPATH='{here / 'scenic'}'.")


def test_what_the_right_scenic_needs_is_named(only_modules, monkeypatch):
    (only_modules / "scenic" / "model_lib" / "base_models").mkdir(parents=True)
    (only_modules / "scenic" / "__init__.py").touch()
    monkeypatch.setattr("vidtldr_jax.scenic_adapter.availability._COMPANIONS", ("absl", "no_such_module"))
    assert "no_such_module can't be found" in find_scenic_fault()


def test_no_scenic_at_all(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ScenicMissingError, match="there is no module scenic; clone https"):
        require_scenic()
