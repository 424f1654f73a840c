"""Answers get the ids of the originals' training; blocks of questions change nothing; each question has a record."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cli.umt_sets import WORDS, make_umt
from vidtldr_jax.data.annotations import Question
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.text import EncodedTexts
from vidtldr_jax.evaluation import answers as answering
from vidtldr_jax.evaluation.answers import answer_block, answer_into, encode_answers, summarise_answers
from vidtldr_jax.inference import text_model
from vidtldr_jax.inference.load import load_model
from vidtldr_jax.inference.stream import EncodedVideo
from vidtldr_jax.models.question_answering import rank_candidates
from vidtldr_jax.models.umt import UMT
from vidtldr_jax.trust.records import Records

ANSWERS = ("w1", "w2 w3", "w1 w4 w5", "w6", "w7 w1", "w8 w9 w10", "w1 w2")
PAD, CLS, SEP = 0, 2, 3


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(make_umt(tmp_path_factory.mktemp("answering"), "question_answering"))


@pytest.fixture(scope="module")
def encoded(model):
    return encode_answers(model, ANSWERS, max_tokens=5)


@pytest.fixture(scope="module")
def video_tokens():
    return np.random.default_rng(0).normal(size=(36, 24)).astype(np.float32)


@pytest.fixture(scope="module")
def questions(model):
    """Five questions of different lengths."""
    rng = np.random.default_rng(1)
    return model.tokenize([" ".join(rng.choice(WORDS[4:], length)) for length in (3, 9, 14, 1, 6)], max_tokens=16)


@pytest.fixture
def traced_questions(monkeypatch):
    """How many questions each program that is compiled takes at once; nothing is compiled before."""
    counts, apply = [], UMT.apply

    def count(module, variables, *arguments, **kwargs):
        counts.append(len(arguments[1]))
        return apply(module, variables, *arguments, **kwargs)

    monkeypatch.setattr(UMT, "apply", count)
    text_model._compiled_method.cache_clear()
    return counts


def take(texts, rows):
    return EncodedTexts(texts.ids[rows], texts.mask[rows], 0)


def test_an_answer_has_two_end_tokens_and_is_cut(model):
    found = encode_answers(model, ["w1", "W1 w2", "w1 w2 w3", "w1 w2 w3 w4", "nowhere w1"], max_tokens=5)
    one, two, three = 5, 6, 7  # the words w1, w2, w3
    unknown = 1
    assert found.ids.tolist() == [
        [CLS, one, SEP, SEP, PAD],
        [CLS, one, two, SEP, SEP],
        [CLS, one, two, three, SEP],
        [CLS, one, two, three, SEP],
        [CLS, unknown, one, SEP, SEP],
    ]
    assert found.mask.tolist() == [[1, 1, 1, 1, 0], *[[1] * 5] * 4]
    assert found.num_cut == 2
    other = encode_answers(model, ["w1"], max_tokens=5, end="w2")
    assert other.ids[0].tolist() == [CLS, one, two, SEP, PAD]
    assert encode_answers(model, ["w1 w2"], max_tokens=3).ids.tolist() == [[CLS, one, SEP]]
    with pytest.raises(ValueError, match="max_tokens is 3 to 20 in this model; got 2; change it"):
        encode_answers(model, ["w1"], max_tokens=2)


def test_blocks_give_what_each_question_gives_alone(model, encoded, video_tokens, questions, traced_questions):
    alone = [
        answer_block(model, video_tokens, take(questions, [row]), encoded, k=6, block_size=1)[0] for row in range(5)
    ]
    assert len({tuple(one.ids.tolist()) for one in alone}) > 1
    for count in (1, 2, 3, 4, 5):
        found = answer_block(model, video_tokens, take(questions, range(count)), encoded, k=6, block_size=3)
        assert len(found) == count
        for one, wanted in zip(found, alone):
            np.testing.assert_array_equal(one.ids, wanted.ids)
            # float32: matrix products of another size are summed in another order.
            np.testing.assert_allclose(one.probabilities, wanted.probabilities, rtol=1e-4)
    assert traced_questions == [1, 3]


def test_answers_far_apart_keep_the_order_of_their_totals():
    totals = -100.0 * np.array([4, 0, 3, 1, 2])  # float32's exponential is 0 from -104 on
    first = jnp.zeros((1, 8))
    logits = np.full((5, 1, 8), -1e4, np.float32)
    logits[:, 0, 0], logits[:, 0, 1] = 0, totals  # word 1 follows word 4, at these log-probabilities
    ids = jnp.asarray([[2, 4, 1]] * 5)
    candidates = jnp.asarray([[50, 10, 40, 20, 30]])
    ranked = jax.jit(rank_candidates)(first, jnp.asarray(logits), ids, jnp.ones_like(ids), candidates)
    assert ranked.ids.tolist() == [[10, 20, 30, 40, 50]]
    assert np.asarray(ranked.probabilities)[0, 2:].tolist() == [0, 0, 0]


def test_every_question_has_a_record_whatever_happens_to_its_video(
    model, encoded, video_tokens, questions, monkeypatch
):
    listed = [
        Question(str(number), video, "w1", ANSWERS[0]) for number, video in enumerate(("a", "b", "a", "gone", "a"))
    ]
    outputs = {"a": video_tokens[None], "b": np.full_like(video_tokens, np.nan)[None]}
    error = VideoReadError("it is\n no video")
    asked, done = [], []

    def encode(model, paths, **options):
        asked.append((paths, options["output"], options["num_videos"]))
        for path in paths:
            yield EncodedVideo(path, outputs.get(path), (), None if path in outputs else error)

    monkeypatch.setattr(answering, "encode_videos", encode)
    records = Records(None, {})
    settings = {"k": 6, "batch_size": 4, "block_size": 3, "progress": done.append}
    paths = {name: name for name in ("a", "b", "gone")}
    answer_into(records, model, listed, questions, paths, encoded, **settings)
    assert done == [3, 1, 1]
    alone = answer_block(model, video_tokens, take(questions, [0, 2, 4]), encoded, k=6, block_size=3)
    for key, wanted in zip("024", alone):
        assert records.found[key]["top"] == wanted.ids[:5].tolist()
        np.testing.assert_allclose(records.found[key]["probabilities"], wanted.probabilities[:5], rtol=1e-5)
    assert records.found["1"]["error"].startswith("a model's probabilities must be finite; ")
    assert records.found["3"] == {"error": "it is no video"}
    # What has an answer is not asked again, what has none is.
    del records.found["2"]
    answer_into(records, model, listed, questions, paths, encoded, **settings)
    assert asked == [(["a", "b", "gone"], "tokens", 3), (["b", "a", "gone"], "tokens", 3)]
    assert done[3:] == [1, 1, 1]
    np.testing.assert_allclose(records.found["2"]["probabilities"], alone[1].probabilities[:5], rtol=1e-4)


def test_an_answer_is_right_where_it_is_the_same_text():
    records = Records(None, {})
    rights = ("w1", "W1", "w2 w3", "w1", "none")
    listed = [Question(str(number), f"{number}.mp4", "w1", right) for number, right in enumerate(rights)]
    for key, record in (
        ("0", {"top": [0, 1], "probabilities": [0.9, 0.1]}),
        ("1", {"top": [0, 1], "probabilities": [0.9, 0.1]}),
        ("2", {"top": [1, 0], "probabilities": [0.9, 0.1]}),
        ("3", {"error": "it is no video"}),
        ("4", {"top": [0, 1], "probabilities": [0.9, 0.1]}),
    ):
        records.append(key, record)
    found = summarise_answers(records, listed, ANSWERS)
    assert (found["accuracy"]["right"], found["accuracy"]["of"], found["accuracy"]["value"]) == (2, 5, 0.4)
    assert (found["answerable"], found["errors"]) == (3, {"3.mp4": "it is no video"})
