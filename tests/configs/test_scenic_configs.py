"""The configs in Scenic's format: the published models and protocols, the GMACs they promise, a schedule's share."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from vidtldr_jax.cli.classification_config import load_experiment, match_architecture
from vidtldr_jax.models.presets import get_preset
from vidtldr_jax.reduction import count_macs, parse_schedule, resolve_schedule

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs" / "scenic"
PUBLISHED = json.loads((ROOT / "tests" / "goldens" / "schedules.json").read_text())
# Facts of scenic/projects/vivit/configs and of its README: preset, what differs from it, stride, accuracy and views.
FACTS = {
    "k400_b16x2": ("vivit-b16x2", {}, 2, "79.9 % in 4 x 3 views"),
    "k400_b16x2_fe": ("vivit-b16x2-fe", {}, 2, "78.4 % in 4 x 3 views"),
    "k600_l16x2_fe": ("vivit-l16x2-fe", {"num_classes": 600, "temporal_depth": 24}, 2, "81.6 % in 4 x 3 views"),
    "ssv2_l16x2_fe": ("vivit-l16x2-fe", {"num_classes": 174, "image_size": 256}, 1, "Scenic's README has none"),
    "epic_kitchens_l16x2_fe": ("vivit-l16x2-fe", {"num_classes": 397}, 1, "43.6 % in 4 x 1 views"),
}  # fmt: skip


def read_docstring(name):
    return " ".join((FOLDER / f"{name}.py").read_text().split('"""')[1].split())


def count_gmacs(architecture, schedule):
    resolved = resolve_schedule(
        schedule, num_tokens=architecture.num_tokens, num_layers=architecture.depth, num_protected=1
    )
    assert not resolved.clamps
    return count_macs(architecture, resolved).gmacs


def test_every_config_has_its_facts():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(FACTS)


@pytest.mark.parametrize("name", FACTS)
def test_a_config_describes_the_published_model_and_protocol(name):
    preset, changes, stride, accuracy = FACTS[name]
    experiment = load_experiment(f"{FOLDER / name}.py")
    published = dataclasses.replace(get_preset(preset), **changes)
    assert match_architecture(published, experiment.architecture, place=name) == published
    size = experiment.architecture.image_size
    recipe = experiment.preprocessing
    assert (recipe.num_frames, recipe.stride, recipe.image_size, recipe.shortest_edge) == (32, stride, size, size + 32)
    assert (recipe.sampling, recipe.crop, recipe.num_clips, recipe.num_views) == ("windows", "three_up", 4, 12)
    assert (recipe.mean, recipe.std, recipe.kernel) == ((0.5,) * 3, (0.5,) * 3, "bilinear")
    assert experiment.average == "logits"
    counts = [300, 97] if "epic" in name else [published.num_classes]
    assert [head.num_classes for head in experiment.heads] == counts
    assert accuracy in read_docstring(name)


@pytest.mark.parametrize("name", FACTS)
def test_the_docstring_s_gmacs_are_those_of_the_count(name):
    experiment = load_experiment(f"{FOLDER / name}.py")
    promise = r"Expected: ([\d.]+) GMACs per view without merging, ([\d.]+) with it"
    plain, merged = re.search(promise, read_docstring(name)).groups()
    assert f"{count_gmacs(experiment.architecture, None):.1f}" == plain
    assert f"{count_gmacs(experiment.architecture, experiment.schedule):.1f}" == merged
    assert f"| {plain}, {merged} |" in (ROOT / "docs" / "evaluate.md").read_text()


@pytest.mark.parametrize("name", FACTS)
def test_a_schedule_takes_about_the_share_of_the_published_one_that_the_docstring_names(name):
    experiment = load_experiment(f"{FOLDER / name}.py")
    text = read_docstring(name)
    written, size = re.search(r"vid-TLDR's ([\d,]+) takes with UMT-([BL])/16", text).groups()
    theirs = parse_schedule(written)
    assert list(theirs) in [entry["r"] for entry in PUBLISHED[f"umt_{size.lower()}16"].values()]
    free = experiment.architecture.num_tokens - 1
    shares = [r / free for r in experiment.schedule]
    assert shares == pytest.approx([r / PUBLISHED["tokens_in"] for r in theirs], abs=0.5 / free + 0.002)
    assert "neither tuned nor measured for accuracy" in text


@pytest.mark.parametrize("name", FACTS)
def test_the_argument_is_a_schedule_or_none(name):
    plain = load_experiment(f"{FOLDER / name}.py:none")
    assert plain.schedule == ()
    assert plain.architecture == load_experiment(f"{FOLDER / name}.py").architecture
    assert load_experiment(f"{FOLDER / name}.py:20,0.1").schedule == (20, 0.1)


@pytest.mark.parametrize("name", FACTS)
def test_the_manifest_is_the_data_set_s_and_the_commands_name_the_config(name):
    experiment = load_experiment(f"{FOLDER / name}.py")
    assert experiment.checkpoint is None
    text = read_docstring(name)
    assert f"--manifest {experiment.manifest}" in text
    assert f"--config configs/scenic/{name}.py" in text
    assert f"--config=configs/scenic/{name}.py" in text
