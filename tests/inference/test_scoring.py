"""Averages of views, ranks, accuracies and intervals against loops that say the same step by step."""

import json
import math

import numpy as np
import pytest
import safetensors.numpy

from vidtldr_jax.inference.scoring import (
    Answer,
    ClassEmbeddings,
    Head,
    answer,
    compare_with_classes,
    count_accuracies,
    count_right,
    find_interval,
    read_class_embeddings,
)

HEADS = (Head("noun", 7), Head("verb", 3))


def answer_by_loops(logits, heads, labels, average):
    """The same as `answer`, number by number."""
    found, first = [], 0
    for head, label in zip(heads, labels):
        scores = [0.0] * head.num_classes
        for view in logits:
            part = [float(value) for value in view[first : first + head.num_classes]]
            if average == "probabilities":
                total = sum(math.exp(value - max(part)) for value in part)
                part = [math.exp(value - max(part)) / total for value in part]
            scores = [score + value / len(logits) for score, value in zip(scores, part)]
        order = sorted(range(head.num_classes), key=lambda index: (-scores[index], index))
        found.append((order.index(label), order[:5], [scores[index] for index in order[:5]]))
        first += head.num_classes
    return found


@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("heads", [(Head("label", 10),), HEADS])
def test_answers_are_those_of_loops(average, heads):
    rng = np.random.default_rng(0)
    for _ in range(20):
        logits = 3 * rng.normal(size=(4, 10))
        labels = [int(rng.integers(head.num_classes)) for head in heads]
        ours = answer(logits, heads, labels, average=average)
        for one, (rank, top, scores) in zip(ours, answer_by_loops(logits, heads, labels, average), strict=True):
            assert (one.rank, list(one.top)) == (rank, top)
            np.testing.assert_allclose(one.scores, scores, rtol=1e-5)


def test_the_two_averages_can_disagree():
    logits = np.array([[9.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 3.0, 0.0]])
    tops = {
        name: answer(logits, [Head("label", 3)], [0], average=name)[0].top[0] for name in ("logits", "probabilities")
    }
    assert tops == {"logits": 0, "probabilities": 1}


def test_of_equal_scores_the_first_class_wins():
    logits = np.array([[1.0, 5.0, 5.0, 0.0]])
    ranks = [answer(logits, [Head("label", 4)], [label], average="logits")[0].rank for label in range(4)]
    assert ranks == [2, 0, 1, 3]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_no_answer(value):
    assert answer(np.array([[0.0, value], [0.0, 1.0]]), [Head("label", 2)], [0], average="logits") is None


def test_accuracies_count_every_head_and_all_together():
    ranks = [(0, 0), (0, 2), (4, 0), (5, 1), None]
    answers = [pair and tuple(Answer(rank, (), ()) for rank in pair) for pair in ranks]
    found = count_accuracies(answers, HEADS)
    shares = {name: {top: part["right"] for top, part in tops.items()} for name, tops in found.items()}
    assert shares == {"noun": {"top_1": 2, "top_5": 3}, "verb": {"top_1": 2}, "joint": {"top_1": 1}}
    assert {part["of"] for tops in found.values() for part in tops.values()} == {5}
    assert "joint" not in count_accuracies([answers[0][:1]], HEADS[:1])


@pytest.mark.parametrize(("right", "total"), [(0, 3), (3, 3), (7, 10), (15981, 20000)])
def test_the_interval_s_ends_are_where_a_share_is_two_deviations_off(right, total):
    low, high = find_interval(right, total)
    assert 0 <= low <= right / total <= high <= 1
    for end, is_open in ((low, right > 0), (high, right < total)):
        if is_open:  # Wilson: |share - p| = z sqrt(p (1 - p) / n)
            off = abs(right / total - end) / math.sqrt(end * (1 - end) / total)
            assert off == pytest.approx(1.959964, abs=1e-5)
    assert count_right(right, total)["interval_95"] == [low, high]


def test_of_no_videos_there_is_no_accuracy():
    assert count_right(0, 0) == {"value": None, "right": 0, "of": 0, "interval_95": None}


VECTORS = np.array([[3.0, 4.0], [0.0, -2.0], [1.0, 0.0]])
NAMES = ["high jump", "ski", "Übung"]


def write_embeddings(path, vectors=VECTORS, names=NAMES, **more):
    if path.suffix == ".npz":
        np.savez(path, embeddings=vectors, names=np.array(names), **more)
    else:
        notes = {"names": json.dumps(names)} | {name: str(value) for name, value in more.items()}
        safetensors.numpy.save_file({"embeddings": np.asarray(vectors)}, path, notes)
    return path


@pytest.mark.parametrize("name", ["classes.npz", "classes.safetensors"])
def test_class_embeddings_are_read_and_made_length_1(tmp_path, name):
    classes = read_class_embeddings(write_embeddings(tmp_path / name), embed_dim=2)
    assert (classes.names, classes.scale) == (tuple(NAMES), 100.0)
    np.testing.assert_allclose(classes.vectors, [[0.6, 0.8], [0, -1], [1, 0]])
    assert read_class_embeddings(write_embeddings(tmp_path / name, scale=20), embed_dim=2).scale == 20.0


def test_cosines_are_scaled_and_a_zero_vector_is_similar_to_nothing():
    classes = ClassEmbeddings(("a", "b"), np.array([[1.0, 0.0], [0.6, 0.8]]), 10.0)
    found = compare_with_classes(np.array([[0.0, 5.0], [0.0, 0.0]], np.float32), classes)
    np.testing.assert_allclose(found, [[0, 8], [0, 0]], atol=1e-12)


@pytest.mark.parametrize("name", ["classes.npz", "classes.safetensors"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vectors": np.ones((3, 4))}, r"embeddings are \(3, 4\), not \[classes, 2\]"),
        ({"vectors": np.array([[1.0, 0], [0, 0], [1, 1]])}, "an embedding is zero or not finite"),
        ({"names": ["a", "b"]}, "there are 2 names for 3 embeddings"),
        ({"names": ["a", "a", "b"], "scale": -1}, "1 names come twice; scale = -1.0 is not above 0"),
    ],
)
def test_class_embeddings_that_do_not_fit_are_refused(tmp_path, name, changes, message):
    with pytest.raises(ValueError, match=message):
        read_class_embeddings(write_embeddings(tmp_path / name, **changes), embed_dim=2)


@pytest.mark.parametrize("name", ["classes.npz", "classes.safetensors"])
def test_what_is_no_file_of_class_embeddings_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"with embeddings .* and names is needed; .* is none"):
        read_class_embeddings(path, embed_dim=2)
    if path.suffix == ".npz":
        np.savez(path, vectors=VECTORS)
    else:
        safetensors.numpy.save_file({"embeddings": VECTORS}, path)
    with pytest.raises(ValueError, match=r"embeddings|names"):
        read_class_embeddings(path, embed_dim=2)
