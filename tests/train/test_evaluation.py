"""What counts as right."""

import numpy as np
import pytest

from vidtldr_jax.data.manifest import ManifestEntry
from vidtldr_jax.inference.finite import NotFiniteError
from vidtldr_jax.inference.stream import EncodedVideo
from vidtldr_jax.train import evaluation
from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.evaluation import Rows, classify_rows, encode_entries, find_right, score

LABELS = [1, 1, 0, 0]
# Right, wrong, not read (its row is 0, whose first class is the label), not a number where the label is.
VALUES = [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [np.nan, 0.0]]


@pytest.fixture
def logits():
    return Rows(np.array(VALUES, np.float32), np.array([True, True, False, True]))


def test_what_is_not_read_or_not_finite_is_wrong(logits):
    assert find_right(logits, LABELS).tolist() == [True, False, False, False]


def test_a_score_counts_all_videos_and_takes_the_loss_of_those_that_are_known(logits):
    found = score(logits, LABELS)
    assert (found["right"], found["of"], found["accuracy"]) == (1, 4, 0.25)
    right, wrong = np.log1p(np.exp(-1.0)), np.log1p(np.exp(1.0))
    assert found["loss"] == pytest.approx((right + wrong) / 2)


def test_a_classifier_that_gives_no_numbers_is_an_error(logits):
    features = logits._replace(values=np.ones((4, 2), np.float32))
    params = {"head/kernel": np.array([[0, np.inf], [0, 0]], np.float32), "head/bias": np.zeros(2, np.float32)}
    with pytest.raises(NotFiniteError, match=r"^a model's logits must be finite; 4 of 8 values are not; "):
        classify_rows(params, features)


def test_a_video_whose_outputs_are_not_finite_is_named(monkeypatch):
    entries = [ManifestEntry(name, name, (0,)) for name in ("a.mp4", "b.mp4")]
    error = NotFiniteError("a model's logits must be finite")

    def encode(model, paths, **options):
        yield EncodedVideo("a.mp4", np.ones((1, 2), np.float32), (), None)
        yield EncodedVideo("b.mp4", None, (), error)

    monkeypatch.setattr(evaluation, "encode_videos", encode)
    with pytest.raises(TrainError, match=r"^b\.mp4: a model's logits must be finite, or --skip-unreadable"):
        encode_entries(None, entries, output="logits", batch_size=1)
    found: dict[str, str] = {}
    rows = encode_entries(None, entries, output="logits", batch_size=1, skips=True, unreadable=found)
    assert rows.is_read.tolist() == [True, False]
    assert found == {"b.mp4": str(error)}
