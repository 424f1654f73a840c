"""What counts as right."""

import numpy as np
import pytest

from vidtldr_jax.train.evaluation import Rows, find_right, score

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
