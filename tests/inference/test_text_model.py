"""Retrieval and answering models give the original's numbers through what a user calls."""

import jax.numpy as jnp
import numpy as np
import pytest

from checkpoints_convert import convert_checkpoint
from tests.models.test_umt import find_counts, read_video
from tests.reference.files import find_golden, load_golden
from vidtldr_jax.data.text import TextError, read_tokenizer
from vidtldr_jax.inference import text_model
from vidtldr_jax.inference.checkpoint import read_checkpoint
from vidtldr_jax.inference.load import load_model, make_model
from vidtldr_jax.inference.text_model import AnsweringModel, RetrievalModel
from vidtldr_jax.models.umt import UMT

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "dog", "cat", "##s", *(f"word{number}" for number in range(73))]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Converted checkpoints by task; that for retrieval has a tokenizer."""
    home = tmp_path_factory.mktemp("checkpoints")
    (home / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    settings = {"text_heads": 4}
    convert_checkpoint(
        find_golden("umt_retrieval.pth"), home / "retrieval", settings=settings, tokenizer=home / "vocab.txt"
    )
    convert_checkpoint(find_golden("umt_qa.pth"), home / "qa", settings=settings)
    return home


@pytest.fixture(scope="module")
def golden():
    return load_golden("umt_merge.npz")


@pytest.fixture(scope="module")
def model(folders, golden):
    return load_model(folders / "retrieval", schedule=find_counts(golden))


@pytest.fixture(scope="module")
def video(model, golden):
    return model.encode_video(read_video(golden))


@pytest.fixture(scope="module")
def text(model, golden):
    return model.encode_text(golden["input_ids"], golden["attention_mask"])


def test_a_loaded_model_encodes_as_the_original(model, golden, video, text):
    assert type(model) is RetrievalModel
    assert model.schedule.r == (20, 8, 0)
    found = {
        "tokens": video.tokens, "pooled": video.pooled, "vision_proj": video.embedding, "text_tokens": text.tokens,
        "text_proj": text.embedding,
    }  # fmt: skip
    for key, value in found.items():
        # float32 rounding of both; the original's alone is 1e-5 in normalised tokens.
        np.testing.assert_allclose(value, golden[key], atol=2e-5, rtol=0, err_msg=key)
    np.testing.assert_array_equal(text.mask, golden["attention_mask"])


def test_similarity_and_match_equal_the_original(model, golden, video, text):
    np.testing.assert_allclose(model.similarity(video, text), golden["itc_v2t"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(model.match(video, text), golden["itm_v2t"], atol=1e-4, rtol=0)


def test_a_projected_video_matches_as_an_unprojected_one(model, golden, video, text):
    projected = model.project_video(video.tokens)
    tokens, mask = (np.tile(part, (2, *(1,) * (part.ndim - 1))) for part in (text.tokens, text.mask))
    found = model.match_projected(projected, tokens, mask).reshape(2, 3)  # three texts in a row share a video
    np.testing.assert_allclose(found, golden["itm_v2t"], atol=1e-4, rtol=0)
    # Head by head and for the first token alone, sums have another order.
    np.testing.assert_allclose(found, model.match(video, text), atol=1e-5, rtol=0)


def test_no_videos_and_no_texts_give_results_of_nothing(model, golden, video, text):
    none_seen = model.encode_video(read_video(golden)[:0])
    ids, mask, _ = model.tokenize([], max_tokens=golden["input_ids"].shape[1])
    none_read = model.encode_text(ids, mask)
    assert (none_seen.tokens.shape[0], none_seen.embedding.shape) == (0, (0, video.embedding.shape[1]))
    assert (none_read.tokens.shape[::2], none_read.mask.shape) == ((0, text.tokens.shape[2]), ids.shape)
    count = len(golden["input_ids"])
    for score in (model.similarity, model.match):
        assert score(none_seen, text).shape == (0, count)
        assert score(video, none_read).shape == (2, 0)
        assert score(none_seen, none_read).shape == (0, 0)
    projected = model.project_video(none_seen.tokens)
    assert {leaf.shape[0] for part in projected for leaf in part} == {0}
    assert model.match_projected(projected, none_read.tokens, none_read.mask).shape == (0,)


def test_no_questions_give_no_answers(folders):
    golden = load_golden("umtqa_merge.npz")
    model = load_model(folders / "qa")
    answers = golden["answer_ids"], golden["answer_mask"]
    found = model.answer(read_video(golden)[:0], golden["question_ids"][:0], golden["question_mask"][:0], *answers, k=2)
    assert (found.ids.shape, found.probabilities.shape) == ((0, 2), (0, 2))


def test_answers_equal_the_original(folders):
    golden = load_golden("umtqa_merge.npz")
    model = load_model(folders / "qa", schedule=find_counts(golden))
    assert type(model) is AnsweringModel
    texts = [golden[f"{which}_{part}"] for which in ("question", "answer") for part in ("ids", "mask")]
    clips, k = read_video(golden), golden["k"].item()
    ranked = model.answer(clips, *texts, k=k)
    np.testing.assert_array_equal(ranked.ids, golden["topk_ids"])
    np.testing.assert_allclose(ranked.probabilities, golden["topk_probs"], atol=1e-4, rtol=0)
    again = model.answer_questions(model.encode_video(clips).tokens, *texts, k=k)
    np.testing.assert_array_equal(again.ids, ranked.ids)
    np.testing.assert_array_equal(again.probabilities, ranked.probabilities)


def test_texts_are_cleaned_and_become_ids(model):
    found = model.tokenize(["A <dog>!", "Cats, dogs; (word0)"], max_tokens=20)
    assert found.ids.tolist() == [[2, 1, 1, 4, 1, 3, 0, 0], [2, 5, 6, 4, 6, 7, 3, 0]]
    assert found.mask.tolist() == [[1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1, 0]]
    assert found.num_cut == 0
    cut = model.tokenize(["dog dog dog"], max_tokens=4)
    assert (cut.ids.tolist(), cut.num_cut) == ([[2, 4, 4, 3]], 1)


def test_texts_that_can_not_be_read_are_refused(model):
    with pytest.raises(TextError, match=r"a text has words; '\.\.\. !' has none; write some"):
        model.tokenize(["dog", "... !"], max_tokens=8)
    with pytest.raises(TextError, match="a text has at most 20 tokens in this model; got 21; allow fewer"):
        model.tokenize(["dog"], max_tokens=21)


def test_a_model_without_its_tokenizer_says_how_to_give_one(folders):
    stored = read_checkpoint(folders / "retrieval")
    bare = make_model(stored._replace(tokenizer=None))
    with pytest.raises(TextError, match=r"this one has none; give --tokenizer, the model's vocab\.txt"):
        bare.tokenize(["dog"], max_tokens=8)
    (folders / "short.txt").write_text("\n".join(WORDS[:72]))
    other = make_model(stored._replace(tokenizer=read_tokenizer(folders / "short.txt").to_json()))
    with pytest.raises(TextError, match=r"as many words as its model, 80; the checkpoint's tokenizer.json has 72"):
        other.tokenize(["dog"], max_tokens=8)
    damaged = make_model(stored._replace(tokenizer="{}"))
    with pytest.raises(TextError, match=r"the checkpoint's tokenizer.json is no tokenizer that the library reads"):
        damaged.tokenize(["dog"], max_tokens=8)


def test_another_schedule_keeps_the_class_and_the_tokenizer(model):
    plain = model.with_schedule(None)
    assert type(plain) is RetrievalModel
    assert plain.schedule.is_plain
    assert plain.tokenize(["dog"], max_tokens=8).ids.tolist() == [[2, 4, 3, 0, 0, 0, 0, 0]]


def test_each_shape_of_text_is_compiled_once_for_all_schedules(model, golden, monkeypatch):
    shapes, apply = [], UMT.apply

    def count(module, variables, *arguments, method=None, **kwargs):
        shapes.append((method, arguments[0].shape))
        return apply(module, variables, *arguments, method=method, **kwargs)

    monkeypatch.setattr(UMT, "apply", count)
    text_model._compiled_method.cache_clear()
    for length in (8, 12, 8):
        ids, mask = golden["input_ids"][:2, :length], golden["attention_mask"][:2, :length]
        for one in (model, model.with_schedule(None)):
            one.encode_text(ids, mask)
            one.encode_text(ids + 1, mask)
    assert shapes == [("encode_text", (2, 8)), ("encode_text", (2, 12))]


def test_bfloat16_texts_are_near_float32(folders, golden, text):
    model = load_model(folders / "retrieval", dtype=jnp.bfloat16)
    rounded = model.encode_text(golden["input_ids"], golden["attention_mask"])
    assert (rounded.tokens.dtype, rounded.embedding.dtype) == (jnp.bfloat16, jnp.float32)
    apart = np.abs(np.asarray(rounded.embedding) - text.embedding).max()
    assert 0 < apart < 0.03 * np.abs(text.embedding).max()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, ids, mask: model.encode_video(None), "video is an array; got None; make an array of it"),
        (lambda model, ids, mask: model.encode_text(ids[0], mask[0]), r"the axes of input_ids are \[S, N\]; got shape"),
        (
            lambda model, ids, mask: model.encode_text(ids.tolist(), mask),
            "input_ids is an array; got a list; make ",
        ),
        (
            lambda model, ids, mask: model.encode_text(ids + 0.5, mask),
            "input_ids holds whole numbers; got dtype ",
        ),
        (
            lambda model, ids, mask: model.encode_text(ids, mask[:1]),
            r"\[S, N\] of attention_mask is that of input_",
        ),
        (lambda model, ids, mask: model.similarity(ids, mask), "video is a VideoOutput; got an array of shape "),
        (lambda model, ids, mask: model.match(None, None), "video is a VideoOutput; got None; encode_video makes one"),
    ],
)
def test_a_wrong_value_is_explained_before_anything_is_computed(model, golden, monkeypatch, call, message):
    monkeypatch.setattr(text_model, "_compiled_method", None)
    with pytest.raises(ValueError, match=f"^{message}"):
        call(model, np.asarray(golden["input_ids"]), np.asarray(golden["attention_mask"]))


def test_questions_and_answers_of_other_shapes_are_explained(folders, monkeypatch):
    monkeypatch.setattr(text_model, "_compiled_method", None)
    model, ids = load_model(folders / "qa"), np.ones((2, 4), np.int32)
    for arguments, k, message in (
        ((np.ones((2, 3, 8)), ids, ids[:, :3], ids, ids), 1, r"\[S, N\] of question_mask is that of question_ids, "),
        ((np.ones((2, 3, 8)), ids, ids, ids[0], ids), 1, r"the axes of answer_ids are \[S, N\]; got shape \(4,\)"),
        ((np.ones((2, 3, 8)), ids, ids, ids, ids), "2", "k is a whole number; got '2'"),
        (("x", ids, ids, ids, ids), 1, "video_tokens is an array; got 'x'"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            model.answer_questions(*arguments, k=k)
