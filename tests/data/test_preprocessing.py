"""The Preprocessing dataclass: what it refuses, and its way through JSON."""

import dataclasses
import json
import subprocess
import sys

import pytest

from vidtldr_jax.data.preprocessing import Preprocessing

FULL = Preprocessing(
    num_frames=16,
    image_size=224,
    sampling="dense",
    stride=4,
    num_clips=5,
    resize="shortest_edge",
    shortest_edge=256,
    kernel="bilinear_antialias",
    crop="three",
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.4),
    first_seconds=30.0,
)


@pytest.mark.parametrize("preprocessing", [FULL, Preprocessing(num_frames=4, image_size=32)])
def test_json_brings_it_back_equal(preprocessing):
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing


def test_views_are_clips_times_crops():
    assert FULL.num_views == 15
    assert dataclasses.replace(FULL, crop="center").num_views == 5
    assert dataclasses.replace(FULL, crop="three_up").num_views == 15


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"num_frames": 0}, "num_frames = 0 is not a positive int"),
        ({"image_size": 22.5}, "image_size = 22.5 is not a positive int"),
        ({"stride": True}, "stride = True is not a positive int"),
        ({"sampling": "random"}, "sampling = 'random' is none of middle, uniform, dense, windows"),
        (
            {"kernel": "nearest"},
            "kernel = 'nearest' is none of bicubic, bicubic_antialias, bilinear, bil",
        ),
        ({"mean": (0.5, 0.5)}, r"mean = \(0.5, 0.5\) is not three finite numbers"),
        ({"std": (0.5, 0.0, 0.5)}, r"std = \(0.5, 0.0, 0.5\) is not above 0"),
        ({"first_seconds": 0}, "first_seconds = 0 is not a finite number above 0"),
        ({"crop": "three"}, 'crop = "three" needs resize = "shortest_edge"'),
        ({"crop": "three_up"}, 'crop = "three_up" needs resize = "shortest_edge"'),
        ({"shortest_edge": 256}, 'shortest_edge = 256 needs resize = "shortest_edge"'),
        ({"resize": "shortest_edge", "shortest_edge": 200}, "shortest_edge = 200 is below image_size = 224"),
        ({"resize": "shortest_edge", "shortest_edge": -1}, "shortest_edge = -1 is not a positive int"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_value(fields, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        Preprocessing(**{"num_frames": 8, "image_size": 224, **fields})


def test_several_faults_are_named_together():
    with pytest.raises(
        ValueError, match=r"num_frames = 0 .*; crop = 'five' is none of center, three, three_up; change"
    ):
        Preprocessing(num_frames=0, image_size=224, crop="five")


def test_unknown_and_missing_fields_are_named_with_the_nearest_one():
    with pytest.raises(
        ValueError, match=r"unknown field 'strid' \(did you mean 'stride'\?\); missing field 'num_frames'"
    ):
        Preprocessing.from_dict({"strid": 2, "image_size": 224})


def test_importing_it_imports_neither_av_nor_pillow_nor_torch():
    code = (
        "import sys; from vidtldr_jax.data.preprocessing import Preprocessing; import vidtldr_jax.data;"
        "print(sorted({'av', 'PIL', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
