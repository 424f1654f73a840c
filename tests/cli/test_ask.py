"""ask: the oracle's answers and probabilities, and whatever is wrong in one line."""

import json
import types

import numpy as np
import pytest

from tests.cli.test_main import assert_one_error
from tests.cli.umt_sets import PLAIN_WORDS, WORDS, make_umt, make_videos, save_again
from tests.models.test_umt import read_params
from tests.reference.bert_oracle import rate_answers, read_question
from vidtldr_jax.data import read_clip
from vidtldr_jax.inference import load_model

SCHEDULE, K = "16,8", 7
QUESTION = "W3, w4-w5 w6?"
END = "[SEP]"


@pytest.fixture(scope="module")
def qa(tmp_path_factory):
    """A model, a clip, answers of one to three words, some with equal first words, and a command that asks."""
    home, rng = tmp_path_factory.mktemp("ask"), np.random.default_rng(4)
    model, (name, _) = make_umt(home, "question_answering"), make_videos(home, 2)
    starts = rng.permutation(PLAIN_WORDS)[:9]
    answers = [
        " ".join([starts[number % 9], *rng.choice(PLAIN_WORDS, (number + number // 9) % 3)]) for number in range(12)
    ]
    (home / "answers.json").write_text(json.dumps(answers))
    options = ("--answers", home / "answers.json", "--model", model, "--schedule", SCHEDULE)
    return types.SimpleNamespace(
        home=home, model=model, clip=home / name, answers=answers, options=options,
        command=("ask", home / name, QUESTION, *options),
    )  # fmt: skip


def answer_exactly(qa, words, *, k, clip=None, schedule=SCHEDULE, most_answer=5):
    """The oracle's (answer, probability), the most probable first; the video's tokens are ours."""
    loaded, params = load_model(qa.model, schedule=schedule), read_params("umt_qa")
    tokens = np.asarray(loaded.encode_video(read_clip(clip or qa.clip, loaded.preprocessing)[None]).tokens)[0]

    def find_ids(text, end, most):
        ids = [WORDS.index(word) for word in ["[CLS]", *text.split(), *end]]
        return ids if len(ids) <= most else [*ids[: most - 1], WORDS.index(END)]

    question = find_ids(words, [END], 20)
    rated = [find_ids(answer, [END, END], most_answer) for answer in qa.answers]
    masks = [[1] * len(ids) for ids in rated]
    seen = [1] * len(question)
    states = read_question(params, tokens, question, seen, num_heads=4, first_layer=2, depth=4)
    numbers, probabilities = rate_answers(params, states, seen, rated, masks, k=k, num_heads=4, depth=2)
    return [(qa.answers[number], probability) for number, probability in zip(numbers, probabilities)]


def assert_answers(found, expected):
    assert [one["answer"] for one in found] == [answer for answer, _ in expected]
    # The models' float32 sums are 1e-5 off, in exponents.
    np.testing.assert_allclose([one["probability"] for one in found], [one[1] for one in expected], rtol=2e-4)


def test_answers_and_probabilities_are_the_oracle_s(call_json, qa):
    result = call_json(*qa.command, "--top-k", 12)
    exact = answer_exactly(qa, "w3 w4 w5 w6", k=12)
    assert len({round(probability, 4) for _, probability in exact}) > 6
    assert_answers(result.pop("answers"), exact)
    assert result.pop("schedule")["r"] == [16, 8, 0]
    assert 0.001 < result.pop("gmacs") < 0.002
    assert result == {
        "video": str(qa.clip), "question": QUESTION, "of": 12, "rated_in_full": 12, "notices": [],
        "model": str(qa.model), "dtype": "float32", "unknown_words": [],
    }  # fmt: skip


def test_those_that_begin_best_are_rated_and_the_best_of_them_shown(call_json, qa):
    result = call_json(*qa.command, "--k-test", K, "--top-k", 3)
    exact, all_of_them = (answer_exactly(qa, "w3 w4 w5 w6", k=k) for k in (K, 12))
    assert [answer for answer, _ in exact] != [answer for answer, _ in all_of_them][:K]
    assert_answers(result["answers"], exact[:3])
    assert (result["rated_in_full"], result["of"]) == (K, 12)
    all_seven = call_json(*qa.command, "--k-test", K, "--top-k", 100)["answers"]
    assert_answers(all_seven, exact)
    assert sum(one["probability"] for one in all_seven) == pytest.approx(1)
    assert len(call_json(*qa.command)["answers"]) == 5


def test_another_video_or_question_has_other_answers(call_json, qa):
    other = qa.home / "1.mp4"
    result = call_json("ask", other, "w70", *qa.options, "--top-k", 12)
    exact = answer_exactly(qa, "w70", k=12, clip=other)
    assert_answers(result["answers"], exact)
    found = [call_json("ask", *words, *qa.options)["answers"] for words in ((qa.clip, "w70"), (other, QUESTION))]
    assert result["answers"][:5] not in found
    assert found[0] != found[1]


def test_people_get_a_table(call, qa):
    result = call(*qa.command, "--k-test", K, "--top-k", 2)
    lines = result.stdout.splitlines()
    assert [line.rsplit(maxsplit=1) for line in lines[:-1]] == [
        ["answer", "probability"],
        *([answer, f"{probability:.2%}"] for answer, probability in answer_exactly(qa, "w3 w4 w5 w6", k=K)[:2]),
    ]
    assert lines[-1] == "(7 of 12 answers rated in full; r = 16,8: 64 -> 40 tokens over 3 layers)"
    assert result.stderr == ""


def test_answers_may_be_lines_of_text(call_json, qa, tmp_path):
    lines = tmp_path / "answers.txt"
    lines.write_text("\n".join([*qa.answers, "", f"  {qa.answers[0]} "]) + "\n")
    found, expected = call_json(*qa.command, "--answers", lines), call_json(*qa.command)
    assert found == expected


def test_what_is_too_long_is_cut_and_said_and_no_schedule_is_the_default(call, call_json, qa):
    words = [f"w{number}" for number in range(30)]
    command = ("ask", qa.clip, " ".join(words), *qa.options[:4], "--max-answer-tokens", 3)
    result = call(*command, "--json")
    note = "note: the question is longer than 20 tokens; its end was cut off"
    assert result.stderr.splitlines() == [note]
    found = json.loads(result.stdout)
    exact = answer_exactly(qa, " ".join(words), k=12, schedule=None, most_answer=3)
    assert_answers(found["answers"], exact[:5])
    assert found["schedule"]["r"] == [0, 0, 0]
    assert found["gmacs"] > call_json(*qa.command)["gmacs"]
    assert call_json(*command, "--schedule", "none") == found


def test_a_tokenizer_of_one_s_own(call, call_json, qa, tmp_path):
    bare = save_again(qa.model, tmp_path / "bare", with_tokenizer=False)
    command = (*qa.command, "--model", bare)
    assert_one_error(call(*command), "this one has none; give --tokenizer, the model's vocab.txt or tokenizer.json")
    given = call_json(*command, "--tokenizer", qa.home / "vocab.txt")
    assert given["answers"] == call_json(*qa.command)["answers"]
    short = tmp_path / "vocab.txt"
    short.write_text("\n".join(WORDS[:-1]))
    assert_one_error(call(*command, "--tokenizer", short), f"as many words as its model, 80; {short} has 79")


@pytest.mark.parametrize("content", ["", "\n \n", "[]", '["w1", 2]', '["w1", " "]', '{"w1": 1}', "[1"])
def test_answers_that_are_none_are_one_error(call, qa, tmp_path, content):
    path = tmp_path / ("a.json" if content.startswith("{") else "a.txt")
    path.write_text(content)
    result = call(*qa.command, "--answers", path)
    assert_one_error(result, "is JSON; " if content == "[1" else "answers are a JSON list of texts, or one a line; ")
    assert str(path) in result.stderr


def test_wrong_uses_are_one_error(call, qa, tmp_path, model):
    def ask(*words, clip=qa.clip, question=QUESTION):
        return call("ask", clip, question, *qa.options, *words)

    assert_one_error(ask(question=" ?"), "a text has words; ' ?' has none; write some")
    assert_one_error(ask(question=""), "a text has words; '' has none")
    assert_one_error(ask(clip="gone.mp4"), "gone.mp4")
    (tmp_path / "bad.mp4").write_text("not a video\n" * 50)
    assert_one_error(ask(clip=tmp_path / "bad.mp4"), "a video is needed; FFmpeg can't read")
    assert_one_error(ask("--answers", "no.txt"), "'no.txt': No such file")
    retrieval = make_umt(tmp_path, "retrieval")
    message = f"a UMT for question_answering is needed; '{retrieval}' is a UMT for retrieval"
    assert_one_error(ask("--model", retrieval), message)
    assert_one_error(ask("--model", model), f"a UMT for question_answering is needed; {model!r} is a video_vit model")
    assert_one_error(ask("--model", "no-model"), "there is no 'no-model'")
    assert_one_error(ask("--schedule", "1,1,1,1"), "error: --schedule: at most 3 entries for 3 layers")
    assert_one_error(ask("--max-answer-tokens", 2), "--max-answer-tokens", exit_code=2)
    assert_one_error(ask("--max-answer-tokens", 99), "error: --max-answer-tokens is 3 to ")
    assert_one_error(ask("--k-test", 0), "--k-test", exit_code=2)
    assert_one_error(ask("--top-k", 0), "--top-k", exit_code=2)
    assert_one_error(call("ask", qa.clip, QUESTION, *qa.options[2:]), "Missing option '--answers'", exit_code=2)
    assert_one_error(call("ask", qa.clip, QUESTION, *qa.options[:2]), "Missing option '--model'", exit_code=2)


def test_answers_longer_than_the_model_s_positions_are_one_error(call, qa, tmp_path):
    (tmp_path / "long.txt").write_text(" ".join(PLAIN_WORDS[:40]))
    result = call(*qa.command, "--answers", tmp_path / "long.txt", "--max-answer-tokens", 30)
    assert_one_error(result, "20")
