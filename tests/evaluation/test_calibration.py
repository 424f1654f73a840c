"""Calibration: cosines and agreement as NumPy has them, one reading and one compilation each, the choice, the front."""

import numpy as np
import pytest

from tests.data.making import write_video
from vidtldr_jax.data import Preprocessing, read_frames
from vidtldr_jax.evaluation.calibration import (
    Score,
    calibrate_schedules,
    choose_best,
    compare_answers,
    compare_vectors,
    find_front,
)
from vidtldr_jax.inference import VideoModel, stream
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.models import VideoViTConfig

CONFIG = VideoViTConfig(
    num_frames=4,
    image_size=16,
    patch_size=4,
    tubelet_size=2,
    dim=8,
    depth=3,
    num_heads=2,
    mlp_dim=16,
    num_classes=3,
    embed_dim=5,
)  # 32 tokens
SCHEDULES = ("4", "12,8,4")


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    params = {path: rng.normal(size=shape).astype(np.float32) for path, shape in find_param_shapes(CONFIG).items()}
    return VideoModel(params, CONFIG, preprocessing=Preprocessing(num_frames=4, image_size=16))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [str(write_video(folder / f"{n}.mp4", num_frames=8, first_number=30 * n)) for n in range(3)]


def cosine(a, b):
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_scores_are_those_of_the_models_one_by_one(model, videos, traced_shapes):
    schedules = [model.with_schedule(text).schedule for text in SCHEDULES]
    steps = []
    found = calibrate_schedules(model, schedules, videos, batch_size=3, progress=steps.append)
    # The plain model and each schedule once, for the one size of batches.
    assert traced_shapes == [(3, 4, 16, 16, 3)] * 3
    assert steps == [1, 1, 1]
    assert (found.num_videos, found.compared, found.errors) == (3, "embedding", {})

    clips = np.concatenate([read_frames(path, model.preprocessing).frames for path in videos])
    plain = model.encode_video(clips)
    for schedule, score in zip(SCHEDULES, found.scores, strict=True):
        merged = model.with_schedule(schedule).encode_video(clips)
        cosines = [cosine(np.float64(a), np.float64(b)) for a, b in zip(plain.embedding, merged.embedding)]
        np.testing.assert_allclose(score.cosine, np.mean(cosines), rtol=1e-12)
        np.testing.assert_allclose(score.least_cosine, np.min(cosines), rtol=1e-12)
        assert score.agreement == np.mean(np.argmax(plain.logits, 1) == np.argmax(merged.logits, 1))
    assert 0.9999 > found.scores[0].cosine > found.scores[1].cosine


def test_videos_are_read_once_and_one_that_is_none_is_named(model, videos, tmp_path, monkeypatch):
    reads = []
    read = stream.read_videos
    monkeypatch.setattr(
        stream, "read_videos", lambda paths, *rest, **more: reads.append(paths) or read(paths, *rest, **more)
    )
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    plain = model.with_schedule(None).schedule
    found = calibrate_schedules(model, [plain], [videos[0], str(bad)])
    assert len(reads) == 1
    assert found.num_videos == 1
    assert list(found.errors) == [str(bad)]
    np.testing.assert_allclose(found.scores[0], (1.0, 1.0, 1.0), atol=1e-12)
    with pytest.raises(ValueError, match=r"^at least one video must be readable; none is \("):
        calibrate_schedules(model, [plain], [str(bad)])
    with pytest.raises(ValueError, match="at least one schedule is compared; got none"):
        calibrate_schedules(model, [], videos)


def test_outputs_that_are_not_finite_do_not_count(model, videos, monkeypatch):
    broken = VideoModel(
        {"head/bias": np.full(3, np.nan, np.float32)}
        | {p: v for p, v in flat(model.params).items() if p != "head/bias"},
        CONFIG,
        preprocessing=model.preprocessing,
    )
    with pytest.raises(ValueError, match=r"none is .*0.mp4: a model's logits must be finite"):
        calibrate_schedules(broken, [model.with_schedule("4").schedule], videos[:1])


def flat(params, prefix=""):
    found = {}
    for name, value in params.items():
        found |= flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def test_vectors_are_compared_with_the_first_way():
    vectors = np.array(
        [[[3.0, 4.0], [6.0, 8.0], [-4.0, 3.0], [0.0, 0.0]], [[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0], [2.0, 0.0]]]
    )
    np.testing.assert_allclose(compare_vectors(vectors), [[1.0, 0.5**0.5], [0.0, -1.0], [0.0, 1.0]], atol=1e-15)


def test_answers_are_those_of_the_views_probabilities_together():
    # By probability both views together say class 0 for the first two ways; by logits the second would say class 1.
    first = [[2.0, 0.0], [2.0, 0.0]]
    second = [[3.0, 0.0], [0.0, 2.0]]
    third = [[0.0, 1.0], [0.0, 1.0]]
    views = np.array([[first[v], second[v], third[v]] for v in range(2)])
    assert compare_answers(views).tolist() == [1.0, 0.0]


def test_the_nearest_is_chosen_and_the_first_of_equal_ones():
    scores = [Score(0.9, 0.5, 1.0), Score(0.97, 0.1, 0.2), Score(0.97, 0.9, 1.0), Score(0.3, 0.3, None)]
    assert choose_best(scores) == 1


def test_the_front_has_what_no_other_point_beats():
    costs = [3.0, 1.0, 2.0, 2.0, 4.0, 1.0]
    cosines = [0.9, 0.5, 0.8, 0.7, 0.9, 0.4]
    assert find_front(costs, cosines) == [1, 2, 0]
    assert find_front([], []) == []
