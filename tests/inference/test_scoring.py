"""Average precision by its definition, and files of class embeddings that are none."""

import json

import numpy as np
import pytest
import safetensors.numpy

from vidtldr_jax.inference.scoring import compute_mean_average_precision, read_class_embeddings


def average_precision_by_hand(score, label):
    order = np.argsort(-score)
    right = label[order].astype(bool)
    return np.mean([right[: place + 1].mean() for place in np.flatnonzero(right)])


def test_average_precision_is_the_mean_of_precisions_where_a_class_is_found():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(40, 3)), rng.integers(0, 2, (40, 3))
    expected = np.mean([average_precision_by_hand(s, t) for s, t in zip(scores.T, labels.T)])
    assert compute_mean_average_precision(scores, labels) == pytest.approx(expected, rel=1e-12)


def test_videos_of_one_score_count_together_and_classes_without_videos_not_at_all():
    scores = np.array([[1.0, 3.0], [1.0, 2.0], [0.0, 1.0]])
    labels = np.array([[1, 0], [0, 0], [1, 0]])
    # Of the first two videos one is right, of all three two are.
    assert compute_mean_average_precision(scores, labels) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert np.isnan(compute_mean_average_precision(scores, np.zeros((3, 2))))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "a"], "1 names come twice"),
        (["a"], "there are 1 names for 2 embeddings"),
        ([0, 1], "Expected `str`, got `int`"),
        (2, "Expected `array`, got `int`"),
        ({"a": 0, "b": 1}, "Expected `array`, got `object`"),
    ],
)
def test_class_names_that_are_no_list_of_different_texts_are_refused(tmp_path, names, message):
    path = tmp_path / "classes.safetensors"
    embeddings = np.ones((2, 3), np.float32)
    safetensors.numpy.save_file({"embeddings": embeddings}, path, metadata={"names": json.dumps(names)})
    with pytest.raises(ValueError, match="read_class_embeddings: ") as error:
        read_class_embeddings(path, embed_dim=3)
    assert message in str(error.value)
