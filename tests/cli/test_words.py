"""Words that a tokenizer does not know are named, a text of nothing else is refused, lengths fit the model."""

import json
import logging
import types

import pytest

from tests.cli.indexes import make_place
from tests.cli.test_main import assert_one_error
from tests.cli.umt_sets import MOST_TOKENS, make_umt, make_videos
from vidtldr_jax.data.text import TextError
from vidtldr_jax.inference import load_model
from vidtldr_jax.search.features import read_features
from vidtldr_jax.search.index import search_index


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("words"), count=3)


@pytest.fixture(scope="module")
def qa(tmp_path_factory):
    home = tmp_path_factory.mktemp("qa")
    model, names = make_umt(home, "question_answering"), make_videos(home, 2)
    (home / "answers.json").write_text(json.dumps(["w1", "w2 frisbee", "\N{DOG}", "w3"]))
    return types.SimpleNamespace(
        home=home, names=names, options=("--model", model, "--answers", home / "answers.json"),
    )  # fmt: skip


def test_a_search_names_words_that_the_tokenizer_does_not_know(call, call_json, place):
    result = call("search", place.index, "W3 Frisbee, dog w4 dog \N{DOG}")
    assert result.exit_code == 0
    assert result.stderr == (
        "note: the model's tokenizer does not know 'frisbee', 'dog', '\N{DOG}'; other words may be found better\n"
    )
    assert call_json("search", place.index, "w3 frisbee")["unknown_words"] == ["frisbee"]
    known = call_json("search", place.index, "w3 w4")
    assert (known["unknown_words"], call("search", place.index, "w3 w4").stderr) == ([], "")


@pytest.mark.parametrize("text", ["frisbee dog", "\N{DOG}", "Frisbee!", "犬", "\N{ZERO WIDTH SPACE}"])
def test_a_text_of_nothing_else_is_refused(call, place, text):
    assert_one_error(call("search", place.index, text), "a text needs a word that the model's tokenizer knows; of ")
    with pytest.raises(TextError, match="a text needs a word that the model's tokenizer knows"):
        search_index(read_features(place.index), load_model(place.model), text, top_k=3, rerank=0)


def test_functions_write_unknown_words_to_the_log(place, caplog):
    told = []
    store, model = read_features(place.index), load_model(place.model)
    with caplog.at_level(logging.WARNING, "vidtldr_jax"):
        first = search_index(store, model, "w3 frisbee", top_k=3, rerank=0)
    assert "does not know 'frisbee'" in caplog.text
    caplog.clear()
    assert search_index(store, model, "w3 frisbee", top_k=3, rerank=0, unknown=told.append) == first
    assert (told, caplog.text) == ([("frisbee",)], "")


def test_a_question_names_them_too_and_its_answers_are_counted(call, call_json, qa):
    clip = qa.home / qa.names[0]
    result = call("ask", clip, "w3 frisbee", *qa.options)
    assert result.stderr.splitlines() == [
        "note: the model's tokenizer does not know 'frisbee'; other words may be found better",
        "note: 2 of 4 answers have words that the model's tokenizer does not know ('frisbee', '\N{DOG}'); answers "
        "without other words, which are alike to the model: 1",
    ]  # fmt: skip
    assert call_json("ask", clip, "w3 frisbee", *qa.options)["unknown_words"] == ["frisbee"]
    assert_one_error(call("ask", clip, "frisbee", *qa.options), "of 'frisbee' it knows none of 'frisbee'; use other")


def test_an_evaluation_of_retrieval_counts_them_and_fits_its_own_default(call, call_json, place, tmp_path):
    captions = ("w1 w2", "w3 frisbee", "frisbee dog")
    entries = [{"video": path.name, "caption": text} for path, text in zip(place.paths, captions, strict=True)]
    (tmp_path / "set.json").write_text(json.dumps(entries))
    words = ("evaluate", "retrieval", "--model", place.model, "--annotation", tmp_path / "set.json")
    words = (*words, "--videos", place.videos, "--no-rerank")
    found = call_json(*words)
    assert (found["counts"]["texts_with_unknown_words"], found["counts"]["texts_of_unknown_words_alone"]) == (2, 1)
    assert found["max_text_tokens"] == MOST_TOKENS < 32
    notes = call(*words).stderr
    assert f"note: texts are cut to {MOST_TOKENS} tokens, the most that this model has positions for; 32 are" in notes
    assert "note: 2 of 3 texts have words that the model's tokenizer does not know ('frisbee', 'dog'); texts" in notes
    # What a user asks for is not changed.
    assert_one_error(call(*words, "--max-text-tokens", 32), f"at most {MOST_TOKENS} tokens in this model; got 32")
    assert call_json(*words, "--max-text-tokens", 8)["max_text_tokens"] == 8


def test_an_evaluation_of_answers_counts_them_and_fits_its_own_default(call, call_json, qa, tmp_path):
    entries = [
        {"video": name, "question": text, "answer": "w1", "question_id": number}
        for number, (name, text) in enumerate(zip(qa.names, ("w1 w2", "w3 frisbee"), strict=True))
    ]
    (tmp_path / "set.json").write_text(json.dumps(entries))
    words = ("evaluate", "qa", "--annotation", tmp_path / "set.json", "--videos", qa.home, *qa.options)
    found = call_json(*words)
    assert found["max_question_tokens"] == MOST_TOKENS < 25
    assert {name: count for name, count in found["counts"].items() if "unknown" in name} == {
        "questions_with_unknown_words": 1, "questions_of_unknown_words_alone": 0, "answers_with_unknown_words": 2,
        "answers_of_unknown_words_alone": 1,
    }  # fmt: skip
    assert f"note: questions are cut to {MOST_TOKENS} tokens" in call(*words).stderr
    assert_one_error(call(*words, "--max-question-tokens", 25), f"at most {MOST_TOKENS} tokens in this model; got 25")
