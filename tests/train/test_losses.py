"""Targets, blending and cross-entropy against float64."""

import numpy as np
import pytest

from vidtldr_jax.train.losses import blend, compute_cross_entropy, make_targets


def test_smoothed_and_blended_targets_and_their_loss_are_those_of_float64():
    rng = np.random.default_rng(0)
    labels, partner, weight = np.array([2, 0, 1, 2]), np.array([3, 2, 1, 0]), np.array([0.25, 0.7, 1.0, 0.5])
    logits = 4 * rng.normal(size=(4, 3))
    expected_targets, losses = np.zeros((4, 3)), []
    for row in range(4):
        for label, share in ((labels[row], weight[row]), (labels[partner[row]], 1 - weight[row])):
            for column in range(3):
                expected_targets[row, column] += share * ((0.9 if column == label else 0.0) + 0.1 / 3)
        losses.append(-sum(expected_targets[row] * (logits[row] - np.log(np.exp(logits[row]).sum()))))
    targets = make_targets(labels, num_classes=3, smoothing=0.1)
    targets = blend(targets, targets[partner], weight)
    np.testing.assert_allclose(targets, expected_targets, rtol=1e-6)
    np.testing.assert_allclose(targets.sum(-1), 1, rtol=1e-6)
    loss = compute_cross_entropy(logits.astype(np.float32), targets)
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)


def test_blending_keeps_the_clips_own_share():
    clips = np.arange(2 * 2 * 3, dtype=np.float32).reshape(2, 2, 3)
    blended = np.asarray(blend(clips, clips[::-1], np.array([1.0, 0.25], np.float32)))
    np.testing.assert_array_equal(blended[0], clips[0])
    np.testing.assert_allclose(blended[1], 0.25 * clips[1] + 0.75 * clips[0], rtol=1e-6)


def test_a_huge_logit_gives_a_finite_loss():
    targets = make_targets(np.array([1]), num_classes=2, smoothing=0.2)
    assert float(compute_cross_entropy(np.array([[3e4, -3e4]], np.float32), targets)) == pytest.approx(5.4e4)
