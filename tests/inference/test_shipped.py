"""The model and the clips that ship with the package."""

import numpy as np
import pytest

from vidtldr_jax.data.clip import read_clip
from vidtldr_jax.inference import load_model
from vidtldr_jax.inference.load import find_asset

CLIPS = sorted(find_asset("clips").glob("*.mp4"))


@pytest.fixture(scope="module")
def model():
    return load_model("moving-objects")


def test_every_shipped_clip_is_named_rightly_by_the_plain_model(model):
    video = np.stack([read_clip(path, model.preprocessing) for path in CLIPS])
    answers = [model.labels[index] for index in np.asarray(model.classify(video)).argmax(-1)]
    assert answers == [path.stem.replace("_", " ") for path in CLIPS]
    assert len(set(answers)) == 3


def test_the_clip_of_the_demo_survives_merging(model):
    clip = read_clip(CLIPS[0], model.preprocessing)
    assert model.labels[int(model.with_schedule("100,40").classify(clip[None]).argmax())] == "coming together"


def test_shipped_clips_and_weights_are_small():
    assert all(path.stat().st_size < 200_000 for path in CLIPS)
    assert (find_asset("moving_objects") / "model.safetensors").stat().st_size <= 4_000_000


def test_the_middle_frame_alone_does_not_tell_the_motion(model):
    told = []
    for path in CLIPS:
        clip = read_clip(path, model.preprocessing)
        frozen = np.repeat(clip[8:9], len(clip), axis=0)
        told.append(model.labels[int(np.asarray(model.classify(frozen[None])).argmax())] == path.stem.replace("_", " "))
    assert not all(told)
