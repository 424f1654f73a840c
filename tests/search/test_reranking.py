"""Texts and videos looked at together in blocks give what the model gives of all at once, and are compiled once."""

import numpy as np
import pytest

from tests.cli.umt_sets import make_umt
from tests.reference import bert_oracle
from vidtldr_jax.inference import text_model
from vidtldr_jax.inference.load import load_model
from vidtldr_jax.models.umt import UMT, TextOutput
from vidtldr_jax.models.video_vit import VideoOutput
from vidtldr_jax.search.reranking import TextFeatures, score_pairs, score_videos

NUM_TEXTS, NUM_VIDEOS, LENGTH, NUM_TOKENS, DIM = 11, 6, 8, 13, 24


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(make_umt(tmp_path_factory.mktemp("umt"), "retrieval"))


@pytest.fixture(scope="module")
def videos():
    """Surviving tokens of videos."""
    return np.random.default_rng(0).normal(size=(NUM_VIDEOS, NUM_TOKENS, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def texts(model):
    """Texts of 3 to 8 tokens, encoded on their own."""
    rng = np.random.default_rng(1)
    mask = (np.arange(LENGTH) < rng.integers(3, LENGTH + 1, (NUM_TEXTS, 1))).astype(np.int32)
    ids = rng.integers(4, 80, (NUM_TEXTS, LENGTH)).astype(np.int32) * mask
    return TextFeatures(np.asarray(model.encode_text(ids, mask).tokens), mask)


@pytest.fixture(scope="module")
def logits(model, videos, texts):
    """What the model says of all pairs at once, [V, S]."""
    video, text = (VideoOutput(videos, *[None] * 5), TextOutput(texts.tokens, None, texts.mask))
    return np.asarray(model.match(video, text))


def score(model, videos, texts, pairs, **options):
    return list(score_pairs(model, videos.__getitem__, texts, pairs, **options))


def check(found, pairs, logits):
    """Scores of the videos that have texts, in the order of the pairs."""
    assert [video for video, _ in found] == [video for video, wanted in pairs.items() if len(wanted)]
    for video, scores in found:
        assert scores.dtype == np.float32
        # Head by head and for the first token alone, sums have another order.
        np.testing.assert_allclose(scores, logits[video, list(pairs[video])], atol=1e-5, rtol=0)


def test_the_model_s_scores_are_those_of_exact_arithmetic(model, videos, texts, logits):
    masks = [mask.tolist() for mask in texts.mask]
    settings = {"num_heads": 4, "first_layer": 2, "depth": 4}
    for v, s in np.ndindex(NUM_VIDEOS, NUM_TEXTS):
        exact = bert_oracle.match(model.params, videos[v], texts.tokens[s], masks[s], **settings)
        assert logits[v, s] == pytest.approx(exact, abs=1e-4)
    assert np.ptp(logits, axis=0).min() > 0.01  # else a pair in another's place would not show
    assert np.ptp(logits, axis=1).min() > 0.01


@pytest.mark.parametrize("block_size", [1, 3, 4, NUM_TEXTS, 16])
def test_blocks_of_any_size_give_the_model_s_scores(model, videos, texts, logits, block_size):
    everything = {video: range(NUM_TEXTS) for video in range(NUM_VIDEOS)}
    check(score(model, videos, texts, everything, block_size=block_size), everything, logits)
    some = {4: [7], 0: [10, 2, 9, 3], 5: [1, 1, 0], 3: [], 1: [*range(NUM_TEXTS)][::-1], 2: [6, 5]}
    check(score(model, videos, texts, some, block_size=block_size), some, logits)


def test_nothing_to_look_at_is_no_score(model, videos, texts):
    assert score(model, videos, texts, {}) == []
    assert list(score_pairs(model, pytest.fail, texts, {0: [], 3: []})) == []  # and no video is read
    assert score_videos(model, [], texts.tokens[0], texts.mask[0]).shape == (0,)


@pytest.mark.parametrize("block_size", [1, 4, NUM_VIDEOS, 8])
def test_one_text_and_some_videos_give_the_model_s_scores(model, videos, texts, logits, block_size):
    for text, wanted in ((3, [5, 0, 2, 1, 4]), (0, [2]), (8, range(NUM_VIDEOS))):
        rows = [videos[video] for video in wanted]
        found = score_videos(model, rows, texts.tokens[text], texts.mask[text], block_size=block_size)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, logits[list(wanted), text], atol=1e-5, rtol=0)


def test_scores_are_the_same_to_the_bit_whatever_came_before(model, videos, texts):
    """So that a run that goes on finds what it would have found."""
    pairs = {0: range(NUM_TEXTS), 1: [4, 5], 2: [0, 8, 9, 10, 3]}
    whole = dict(score(model, videos, texts, pairs, block_size=4))
    for video, wanted in pairs.items():
        ((_, alone),) = score(model, videos, texts, {video: wanted}, block_size=4)
        assert alone.tobytes() == whole[video].tobytes()


def test_there_is_one_compilation_however_many_texts(model, videos, texts, monkeypatch):
    shapes, apply = [], UMT.apply

    def count(module, variables, *arguments, method=None, **kwargs):
        shapes.append((method, arguments[-1].shape))
        return apply(module, variables, *arguments, method=method, **kwargs)

    monkeypatch.setattr(UMT, "apply", count)
    text_model._compiled_method.cache_clear()
    for pairs in ({0: range(NUM_TEXTS), 1: [3]}, {2: range(4)}, {3: [0, 1], 4: range(5), 5: []}):
        score(model, videos, texts, pairs, block_size=4)
    text_model._compiled_method.cache_clear()
    assert shapes == [("project_video", (1, NUM_TOKENS, DIM)), ("match_projected", (4, LENGTH))]


def test_videos_are_read_when_they_are_needed(model, videos, texts):
    read = []

    def read_tokens(video):
        read.append(video)
        return videos[video]

    found = score_pairs(model, read_tokens, texts, {video: [0, 1] for video in range(NUM_VIDEOS)}, block_size=4)
    assert read == []
    assert next(found)[0] == 0
    assert 1 < len(read) < NUM_VIDEOS  # some are on their way while the first is computed
    assert [video for video, _ in found] == [1, 2, 3, 4, 5]
    assert read == [*range(NUM_VIDEOS)]
