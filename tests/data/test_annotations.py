"""Annotations become videos, texts and what belongs together; whatever is wrong in one is said on one line."""

import json

import pytest

from vidtldr_jax.data.annotations import Question, RetrievalSet, read_answers, read_questions, read_retrieval_set
from vidtldr_jax.data.text import TextError
from vidtldr_jax.trust.limits import LimitError
from vidtldr_jax.trust.regular import NotRegularError

QUESTION = {"video": "a.mp4", "question": "What is he doing?", "answer": "sing", "question_id": 7}


def write(folder, content, name="a.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_one_caption_each(tmp_path):
    entries = [{"video": "b.mp4", "caption": "A dog."}, {"video": "a.mp4", "caption": "a dog", "extra": 1}]
    assert read_retrieval_set(write(tmp_path, entries)) == RetrievalSet(
        ("b.mp4", "a.mp4"), ("a dog", "a dog"), ((0, 0), (1, 1))
    )


def test_several_captions_and_paragraphs(tmp_path):
    entries = [{"video": "a.mp4", "caption": ["One.", "Two,"]}, {"image": "b.mp4", "caption": "Three"}]
    path = write(tmp_path, entries)
    assert read_retrieval_set(path) == RetrievalSet(
        ("a.mp4", "b.mp4"), ("one", "two", "three"), ((0, 0), (0, 1), (1, 2))
    )
    assert read_retrieval_set(path, is_paragraph=True) == RetrievalSet(
        ("a.mp4", "b.mp4"), ("one two", "three"), ((0, 0), (1, 1))
    )


def test_several_videos_of_a_caption_and_entries_of_a_video(tmp_path):
    entries = [
        {"video": ["a.mp4", "b.mp4"], "caption": "one"},
        {"video": "a.mp4", "caption": "two"},
        {"video": ["c.mp4", "c.mp4"], "caption": ["three", "four"]},
    ]
    found = read_retrieval_set(write(tmp_path, entries))
    assert found.videos == ("a.mp4", "b.mp4", "c.mp4")
    assert found.pairs == ((0, 0), (1, 0), (0, 1), (2, 2), (2, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{not json", r"an annotation is JSON; .*a.json is not"),
        ("{}", "it is dict, not a list"),
        ("[]", "it lists no video"),
        ([{"video": "a.mp4"}, 3], "entry 0: no caption; entry 1: no object"),
        ([{"caption": "x"}], "entry 0: no video"),
        ([{"video": "a.mp4", "caption": " ?!"}], r"entry 0: the caption ' \?!' has no words"),
        ([{"video": "a.mp4", "caption": ["x", ""]}], "entry 0: the caption '' has no words"),
        ([{"video": "a.mp4", "caption": []}], "entry 0: caption is neither a text nor a list of texts"),
        ([{"video": 3, "caption": "x"}], "entry 0: video is neither a text nor a list of texts"),
    ],
)
def test_captions_that_do_not_do(tmp_path, content, message):
    with pytest.raises(TextError, match=message) as caught:
        read_retrieval_set(write(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_many_faults_are_counted_and_the_message_is_short(tmp_path):
    with pytest.raises(TextError, match=r"entry 19: no object; ... and 9,980 more; fix"):
        read_retrieval_set(write(tmp_path, [1] * 10_000))
    long = "?" * 10**6
    for read, entry in (
        (read_retrieval_set, {"video": "a.mp4", "caption": long}),
        (read_questions, QUESTION | {"question": long}),
    ):
        with pytest.raises(TextError, match="has no words") as caught:
            read(write(tmp_path, [entry]))
        assert len(str(caught.value)) < 500
    with pytest.raises(TextError, match="is there twice") as caught:
        read_questions(write(tmp_path, [QUESTION | {"question_id": long}] * 2))
    assert len(str(caught.value)) < 500


def test_a_small_file_asks_for_no_memory_by_many_videos_of_many_captions(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDTLDR_MAX_PAIRS", "100")
    entry = {"video": [f"{n}.mp4" for n in range(20)], "caption": ["a dog"] * 20}
    with pytest.raises(LimitError, match=r"may have at most 100 .*; got 400; set VIDTLDR_MAX_PAIRS to allow more"):
        read_retrieval_set(write(tmp_path, [entry]))
    monkeypatch.setenv("VIDTLDR_MAX_PAIRS", "400")
    assert len(read_retrieval_set(write(tmp_path, [entry])).pairs) == 400


def test_what_is_no_regular_file_is_refused(tmp_path):
    for read in (read_retrieval_set, read_questions, read_answers):
        with pytest.raises(NotRegularError, match="is a folder; give a file"):
            read(tmp_path)


def test_questions(tmp_path):
    assert read_questions(write(tmp_path, [QUESTION])) == [Question("7", "a.mp4", "what is he doing", "sing")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([QUESTION, QUESTION], "entry 1: question_id 7 is there twice"),
        ([QUESTION | {"answer": None}], "entry 0: no answer"),
        ([QUESTION | {"answer": ["a"], "video": ""}], "entry 0: video, answer is no text"),
        ([QUESTION | {"question": "?"}], r"entry 0: the question '\?' has no words"),
        ([], "it lists no video"),
    ],
)
def test_questions_that_do_not_do(tmp_path, content, message):
    with pytest.raises(TextError, match=message):
        read_questions(write(tmp_path, content))


def test_answers_as_json_and_as_lines(tmp_path):
    assert read_answers(write(tmp_path, ["Sing", "dance", "Sing"])) == ("Sing", "dance")
    assert read_answers(write(tmp_path, "sing\n\n dance \n", "a.txt")) == ("sing", "dance")
    for content, name in (("[]", "a.json"), ('["a", ""]', "a.json"), ("\n", "a.txt"), ('{"a": 1}', "a.json")):
        with pytest.raises(TextError, match="answers are a JSON list of texts, or one a line"):
            read_answers(write(tmp_path, content, name))
    (tmp_path / "b.txt").write_bytes(b"\xff")
    with pytest.raises(TextError, match=r"is not .*at byte 0"):
        read_answers(tmp_path / "b.txt")
