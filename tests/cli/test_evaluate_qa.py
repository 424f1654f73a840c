"""evaluate qa: every answer is the oracle's, runs that are broken off go on, and whatever is wrong is one line."""

import hashlib
import json
import random
import shutil
import types

import numpy as np
import pytest

from tests.cli.test_main import assert_one_error
from tests.cli.umt_sets import PLAIN_WORDS, WORDS, make_umt, make_videos, save_again
from tests.models.test_umt import read_params
from tests.reference.bert_oracle import rate_answers, read_question
from vidtldr_jax.data import read_clips
from vidtldr_jax.inference import load_model

NUM_VIDEOS, NUM_ANSWERS, SCHEDULE = 12, 20, "20,8"
NOT_LISTED = "w0 w0 w0"
SIZES = ("--batch-size", 4, "--questions-per-run", 2)
SETTINGS = (*SIZES, "--max-question-tokens", 16, "--k-test", 10, "--schedule", SCHEDULE)
# What differs from start to start.
TIMES = {"seconds_of_this_start": None}
CONFIG = """
import ml_collections

def get_config(arg=""):
    config = ml_collections.ConfigDict({fields!r})
    if arg == "plain":
        config.schedule = "none"
    return config.lock()
"""


@pytest.fixture(scope="module")
def qa(tmp_path_factory):
    """A model, videos with one to three questions each, and what the oracle answers to them."""
    home, rng = tmp_path_factory.mktemp("qa"), np.random.default_rng(9)
    model, names = str(make_umt(home, "question_answering")), make_videos(home, NUM_VIDEOS)
    starts = rng.permutation(PLAIN_WORDS)[:14]  # the last six answers start as the first six
    answers = [" ".join([starts[number % 14], *rng.choice(PLAIN_WORDS, number % 3)]) for number in range(NUM_ANSWERS)]
    # The questions of a video don't follow each other; the last of all loses a word.
    asked = [name for turn in range(3) for number, name in enumerate(names) if turn <= number % 3]
    words = [[str(word) for word in rng.choice(PLAIN_WORDS, rng.integers(7, 15))] for _ in asked]
    words[-1] = [str(word) for word in rng.choice(PLAIN_WORDS, 15)]
    found = answer_exactly(model, [home / name for name in asked], words, answers)
    entries = []
    for number, (name, question, (top, _)) in enumerate(zip(asked, words, found)):
        # Right; another one of the list; none of the list, once because of its capital letter.
        right = (answers[top[0]], answers[top[1]], NOT_LISTED, answers[top[0]].upper())[number % 4]
        text = f"{question[0].upper()}, {'-'.join(question[1:])}?"  # with what is cleaned away
        entries.append({"video": name, "question": text, "answer": right, "question_id": 100 + number})
    annotation, answer_list = write(home, "qa.json", entries), write(home, "answers.json", answers)
    files = ("--annotation", annotation, "--answers", answer_list)
    return types.SimpleNamespace(
        home=home, model=model, answers=answers, names=names, words=words, entries=entries, found=found,
        annotation=annotation, answer_list=answer_list, command=("evaluate", "qa", "--model", model, *files, *SETTINGS),
    )  # fmt: skip


def write(folder, name, content):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def find_ids(words, end):
    return [WORDS.index(word) for word in ["[CLS]", *words, *end]]


def answer_exactly(model, paths, questions, answers, *, k=10, most_question=16, most_answer=5, end="[SEP]"):
    """The oracle's (numbers, probabilities) for each question; the video tokens are ours, of one clip at a time."""
    loaded, params = load_model(model, schedule=SCHEDULE), read_params("umt_qa")
    tokens = {}
    for path in dict.fromkeys(paths):
        (clip,) = read_clips(path, loaded.preprocessing)
        tokens[path] = np.asarray(loaded.encode_video(clip[None]).tokens)[0]
    rated = [find_ids([*answer.split(), end][: most_answer - 2], ["[SEP]"]) for answer in answers]
    found = []
    for path, words in zip(paths, questions, strict=True):
        ids = find_ids(words[: most_question - 2], ["[SEP]"])
        states = read_question(params, tokens[path], ids, [1] * len(ids), num_heads=4, first_layer=2, depth=4)
        masks = [[1] * len(answer) for answer in rated]
        found.append(rate_answers(params, states, [1] * len(ids), rated, masks, k=k, num_heads=4, depth=2))
    return found


def read_records(path):
    """The records of a file in their order, by key; the first line is of the run."""
    return {line.pop("key"): line for line in map(json.loads, path.read_text().splitlines()[1:])}


def assert_exact(record, exact):
    numbers, probabilities = exact
    assert record["top"] == numbers[:5]
    # Sums of logits, some 20, are exponents: float32 rounds them by 1e-5 and more over a few layers; measured 4e-5.
    np.testing.assert_allclose(record["probabilities"], probabilities[:5], rtol=1e-4)


def hash_bytes(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_answer_and_probability_is_the_oracle_s(call_json, qa, tmp_path):
    assert len({numbers[0] for numbers, _ in qa.found}) >= 3  # they depend on the video
    assert [entry["video"] for entry in qa.entries].count("2.mp4") == 3  # more than questions in a run
    result = call_json(*qa.command, "--out", tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == result
    records = read_records(tmp_path / "r.records.jsonl")
    assert sorted(records) == [str(entry["question_id"]) for entry in qa.entries]
    for entry, exact in zip(qa.entries, qa.found, strict=True):
        assert_exact(records[str(entry["question_id"])], exact)
    right = [entry["answer"] == qa.answers[top[0]] for entry, (top, _) in zip(qa.entries, qa.found)]
    assert sum(right) == 6
    assert (result["accuracy"]["right"], result["accuracy"]["of"]) == (6, 24)
    assert result["accuracy"]["value"] == 0.25
    assert result["counts"] == {
        "questions_listed": 24, "questions": 24, "videos": 12, "skipped_missing_videos": 0, "videos_without_answer": 0,
        "answers": 20, "answerable": 12, "questions_cut": 1, "answers_cut": 6,
        "questions_with_unknown_words": 0, "questions_of_unknown_words_alone": 0, "answers_with_unknown_words": 0,
        "answers_of_unknown_words_alone": 0,
    }  # fmt: skip
    assert result["seconds_of_this_start"]["questions"]["done"] == 24
    assert (result["errors"], result["skipped"]) == ({}, [])


def test_the_result_says_what_was_done(call, call_json, qa):
    result = call_json(*qa.command, "--limit", 1)
    assert result["task"] == "question_answering"
    assert result["protocol"] == (
        "4 frames (middle), squashed to 32 x 32, bicubic; questions of at most 16 tokens, answers of at most 5 with "
        "[SEP] behind them; of 20 answers 10 are rated in full; exact match"
    )
    assert (result["schedule"]["r"], result["schedule"]["tokens"]) == ([20, 8, 0], [64, 44, 36, 36])
    # Patches of 8 x 8 x 3, layers of width 24 and 96; norms are 5 per element.
    macs = 64 * 192 * 24 + 5 * 36 * 24
    for before, after, pairs in ((64, 44, 32 * 32), (44, 36, 22 * 22), (36, 36, 0)):
        macs += 4 * before * 24 * 24 + 2 * before * before * 24 + pairs * 24 + 2 * after * 24 * 96
        macs += 5 * (before + after) * 24
    assert result["gmacs_per_video"] == pytest.approx(macs / 1e9, rel=1e-12)
    files = {"checkpoint": "model.safetensors", "tokenizer": "tokenizer.json"}
    for name, file in files.items():
        assert result[f"{name}_sha256"] == hash_bytes(qa.home / "umt-question_answering" / file)
    assert result["annotation_sha256"] == hash_bytes(qa.annotation)
    assert result["answers_sha256"] == hash_bytes(qa.answer_list)
    named = ("model", "annotation", "answers", "videos", "k_test", "dtype", "config", "dataset", "published")
    assert [result[name] for name in named] == [
        qa.model, str(qa.annotation), str(qa.answer_list), str(qa.home), 10, "float32", None, None, None
    ]  # fmt: skip
    lines = call(*qa.command, "--limit", 5).stdout.splitlines()
    assert lines[1].split()[:4] == ["questions", "44.44%", "4", "9"]
    assert f"protocol    {result['protocol']}" in lines
    assert "answers     20; questions whose right one is not among them: 3" in lines


def test_answers_one_a_line_and_videos_named_image_are_read(call_json, qa, tmp_path):
    answer_list = write(tmp_path, "answers.txt", "\n".join([*qa.answers, "", qa.answers[0]]) + "\n")
    entries = [{("image" if name == "video" else name): value for name, value in entry.items()} for entry in qa.entries]
    files = ("--annotation", write(tmp_path, "a.json", entries), "--answers", answer_list, "--videos", qa.home)
    result = call_json("evaluate", "qa", "--model", qa.model, *files, *SETTINGS)
    assert (result["accuracy"]["right"], result["counts"]["answers"]) == (6, 20)


def test_a_run_that_was_cut_anywhere_ends_as_one_that_was_not(call, call_json, qa, tmp_path):
    records, words = tmp_path / "r.records.jsonl", (*qa.command, "--out", tmp_path / "r.json")
    whole = call_json(*words)
    lines, wanted = records.read_bytes().splitlines(keepends=True), read_records(records)
    rng = random.Random(4)
    for cut, is_torn in ((rng.randint(2, 24), False), (rng.randint(2, 24), True), (1, True), (0, True)):
        torn = lines[cut][: rng.randint(1, len(lines[cut]) - 1)] if is_torn else b""
        records.write_bytes(b"".join(lines[:cut]) + torn)
        resumed = call_json(*words)
        known = max(cut - 1, 0)
        spent = resumed["seconds_of_this_start"]["questions"]
        assert (spent["done"], spent["known_before"]) == (24 - known, known)
        assert resumed | TIMES == whole | TIMES
        found = read_records(records)
        assert found.keys() == wanted.keys()
        for key in wanted:
            assert found[key]["top"] == wanted[key]["top"]
            # A question may have another neighbour in its run, which may round the seventh digit otherwise.
            np.testing.assert_allclose(found[key]["probabilities"], wanted[key]["probabilities"], rtol=3e-6)
    again = call(*words)
    assert f"24 of 24 questions are answered in {records}." in again.stderr
    assert "nothing was left to do" in again.stdout
    with records.open("ab") as file:
        file.write(b"{}\n")
    assert_one_error(
        call(*words), f"line 26 of {records} is damaged (Object missing required field `key`); take it out"
    )


def test_another_run_is_refused_and_restart_begins_anew(call, call_json, qa, tmp_path):
    records, words = tmp_path / "r.records.jsonl", (*qa.command, "--out", tmp_path / "r.json")
    first = call_json(*words, "--limit", 5)
    assert (first["counts"]["questions_listed"], first["counts"]["questions"], first["counts"]["videos"]) == (24, 9, 5)
    assert sorted(read_records(records)) == sorted(
        str(entry["question_id"]) for entry in qa.entries if entry["video"] in qa.names[:5]
    )
    whole = call_json(*words)  # more videos of the same run
    assert whole["seconds_of_this_start"]["questions"]["known_before"] == 9
    assert whole["accuracy"]["right"] == 6
    other = write(tmp_path, "answers.json", [*qa.answers[1:], qa.answers[0]])
    for option, value, message in (
        ("--k-test", 9, "k_test was 10, now 9"),
        ("--schedule", "none", 'schedule was "20,8", now "none"'),
        ("--max-question-tokens", 12, "max_question_tokens was 16, now 12"),
        ("--answers", other, f'answers_sha256 was "{hash_bytes(qa.answer_list)[:20]}'),
        ("--first-seconds", 0.2, "preprocessing.first_seconds was null, now 0.2"),
    ):
        assert_one_error(call(*words, option, value), message)
    assert len(read_records(records)) == 24
    fresh = call_json(*words, "--answers", other, "--limit", 1, "--restart")
    assert fresh["seconds_of_this_start"]["questions"]["known_before"] == 0
    assert list(read_records(records)) == ["100"]


def test_missing_videos_are_listed_before_anything_is_run(call, call_json, qa, tmp_path):
    gone = [{**entry, "video": f"gone-{entry['video']}"} for entry in qa.entries if entry["video"] in qa.names[1:3]]
    annotation = write(tmp_path, "a.json", [qa.entries[0], *gone])
    words = (*qa.command, "--annotation", annotation, "--videos", qa.home, "--out", tmp_path / "r.json")
    named = ", ".join(str(qa.home / f"gone-{number}.mp4") for number in (1, 2))
    message = f"videos must exist; 2 of 3 don't: {named}; give --videos, or leave them out with --skip-missing"
    assert_one_error(call(*words), message)
    assert not (tmp_path / "r.records.jsonl").exists()
    found = call_json(*words, "--skip-missing")
    assert found["skipped"] == ["gone-1.mp4", "gone-2.mp4"]
    counts = found["counts"]
    assert (counts["questions_listed"], counts["questions"], counts["skipped_missing_videos"]) == (6, 1, 2)
    assert found["accuracy"]["of"] == 1
    text = call(*words, "--skip-missing").stdout
    assert "videos      1; 2 that don't exist left out, with their questions" in text
    assert_one_error(call(*words, "--videos", tmp_path, "--skip-missing"), "3 of 3 don't")


def test_questions_about_an_unreadable_video_are_wrong_until_it_can_be_read(call, call_json, qa, tmp_path):
    for name in qa.names[:5]:
        shutil.copy(qa.home / name, tmp_path / name)
    bad = tmp_path / "2.mp4"  # three questions
    bad.write_text("not a video\n" * 50)
    words = (*qa.command, "--videos", tmp_path, "--limit", 5, "--out", tmp_path / "r.json")
    found = call_json(*words, exit_code=1)
    assert list(found["errors"]) == ["2.mp4"]
    assert found["counts"]["videos_without_answer"] == 1
    exact = [(entry, top) for entry, (top, _) in zip(qa.entries, qa.found) if entry["video"] in qa.names[:5]]
    right = [entry["video"] for entry, top in exact if entry["answer"] == qa.answers[top[0]]]
    assert right.count("2.mp4") == 1
    assert (found["accuracy"]["right"], found["accuracy"]["of"]) == (len(right) - 1, 9)
    errors = {key: record for key, record in read_records(tmp_path / "r.records.jsonl").items() if "error" in record}
    assert len(errors) == 3
    again = call(*words)
    # Here stderr also says what is known.
    assert [line[:14] for line in again.stderr.splitlines()] == ["note: 6 of 9 q", "error: 2.mp4: "]
    assert again.exit_code == 1
    assert "videos      5; 1 give no answer, their questions count as wrong" in again.stdout
    shutil.copy(qa.home / "2.mp4", bad)
    repaired = call_json(*words)
    assert (repaired["accuracy"]["right"], repaired["errors"]) == (len(right), {})
    assert repaired["seconds_of_this_start"]["questions"]["done"] == 3


def make_config(qa, **changes):
    """The fields of configs/qa.py for the tiny model."""
    fields = {
        "task": "question_answering", "dataset": "made-up", "annotation": str(qa.annotation),
        "answers": str(qa.answer_list), "split": "test", "max_question_tokens": 12, "max_answer_tokens": 4,
        "end_of_answer": "w3", "num_frames": 4, "image_size": 32, "k_test": 6, "schedule": SCHEDULE,
        "checkpoint": qa.model, "videos": str(qa.home),
        "architecture": {
            "dim": 24, "depth": 3, "num_heads": 4, "text_dim": 24, "text_depth": 4, "fusion_from_layer": 2,
            "embed_dim": None,
        },
        "expected": {"gmacs_per_video": 1.0, "tokens_out": 36},
        "published": {"unit": "accuracy in percent", "plain": 44.9, "merged": 44.8},
    }  # fmt: skip
    return CONFIG.format(fields=fields | changes)


def test_a_config_says_it_all_and_options_win(call, call_json, qa, tmp_path):
    config = write(tmp_path, "config.py", make_config(qa))
    out = tmp_path / "r.json"
    result = call_json("evaluate", "qa", "--config", config, *SIZES, "--limit", 3, "--out", out)
    records = read_records(tmp_path / "r.records.jsonl")
    asked = [number for number, entry in enumerate(qa.entries) if entry["video"] in qa.names[:3]]
    exact = answer_exactly(
        qa.model, [qa.home / qa.entries[number]["video"] for number in asked], [qa.words[number] for number in asked],
        qa.answers, k=6, most_question=12, most_answer=4, end="w3",
    )  # fmt: skip
    for number, one in zip(asked, exact, strict=True):
        assert_exact(records[str(qa.entries[number]["question_id"])], one)
    assert "at most 12 tokens, answers of at most 4 with w3 behind them; of 20 answers 6" in result["protocol"]
    assert (result["dataset"], result["split"], result["published"]["merged"]) == ("made-up", "test", 44.8)
    assert result["schedule"]["r"] == [20, 8, 0]
    text = call("evaluate", "qa", "--config", config, *SIZES, "--limit", 3, "--out", out).stdout
    assert "published   plain 44.9, merged 44.8: accuracy in percent" in text
    assert "data set    made-up, split test" in text
    # Other answers than those of the config: every option is there, the end of an answer has none.
    config.write_text(make_config(qa, end_of_answer="[SEP]", max_answer_tokens=5, schedule="none"))
    won = call_json("evaluate", "qa", "--config", config, *SETTINGS)
    assert (won["k_test"], won["schedule"]["text"], won["accuracy"]["right"]) == (10, "20,8", 6)


def test_a_config_that_does_not_do_is_one_error(call, qa, tmp_path):
    def run(**changes):
        return call("evaluate", "qa", "--config", write(tmp_path, "config.py", make_config(qa, **changes)), *SIZES)

    assert_one_error(run(task="retrieval"), "has 'retrieval'; take evaluate retrieval")
    assert_one_error(run(architecture={"dim": 768, "text_depth": 12}), "dim = 24, not 768; text_depth = 4, not 12")
    assert_one_error(run(image_size=64), "config.py has image_size = 64, the checkpoint 32; take another")
    assert_one_error(run(checkpoint=""), "--model is needed", exit_code=2)
    assert_one_error(run(answers=""), "--annotation and --answers are needed", exit_code=2)
    assert_one_error(run(max_answer_tokens=2), "--max-answer-tokens is 3 to 20 in this model; got 2; change it")
    least = "--max-question-tokens is a whole number, at least 2; got 1; pass another"
    assert_one_error(run(max_question_tokens=1), least)
    assert_one_error(run(max_question_tokens=25), "a text has at most 20 tokens in this model; got 25")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "an annotation is JSON; "),
        ([{"video": "0.mp4", "question": "w1", "answer": "w2"}], "entry 0: no question_id; fix these entries"),
        ([{"video": "0.mp4", "question": "w1", "answer": "w2", "question_id": 1}] * 2, "question_id 1 is there twice"),
        ([{"video": "0.mp4", "question": " ?", "answer": "w2", "question_id": 1}], "the question ' ?' has no words"),
        ([], "it lists no video"),
    ],
)
def test_an_annotation_that_does_not_do_is_one_error(call, qa, tmp_path, content, message):
    annotation = write(tmp_path, "wrong.json", content)
    result = call(*qa.command, "--annotation", annotation, "--videos", qa.home, "--out", tmp_path / "r.json")
    assert_one_error(result, message)
    assert str(annotation) in result.stderr
    assert not (tmp_path / "r.records.jsonl").exists()


def test_wrong_uses_are_one_error(call, qa, tmp_path):
    def ask(*words):
        return call(*qa.command, "--out", tmp_path / "r.json", *words)

    none = write(tmp_path, "none.json", [])
    assert_one_error(ask("--answers", none), f"answers are a JSON list of texts, or one a line; {none} has")
    assert_one_error(ask("--k-test", 21), "--k-test is at most the number of answers, 20; got 21; take fewer")
    assert_one_error(ask("--answers", "no.json"), "'no.json': No such file")
    assert_one_error(ask("--schedule", "1,1,1,1"), "error: --schedule: at most 3 entries for 3 layers")
    assert_one_error(ask("--out", "r.txt"), "--out is a file that ends in .json")
    assert_one_error(ask("--max-question-tokens", 21), "a text has at most 20 tokens in this model; got 21")
    assert_one_error(ask("--max-answer-tokens", 2), "--max-answer-tokens", exit_code=2)
    short = write(tmp_path, "vocab.txt", "\n".join(WORDS[:-1]))
    assert_one_error(ask("--tokenizer", short), f"as many words as its model, 80; {short} has 79; give the model's own")
    retrieval = make_umt(tmp_path, "retrieval")
    message = f"a UMT for question_answering is needed; '{retrieval}' is a UMT for retrieval; take vidtldr"
    assert_one_error(ask("--model", retrieval), message)
    bare = save_again(qa.model, tmp_path / "bare", with_tokenizer=False)
    assert_one_error(ask("--model", bare), "this one has none; give --tokenizer, the model's vocab.txt")
    assert not (tmp_path / "r.records.jsonl").exists()
    assert ask("--model", bare, "--tokenizer", qa.home / "vocab.txt", "--limit", 1).exit_code == 0
    words = ("evaluate", "qa", "--model", qa.model, "--annotation", qa.annotation)
    assert_one_error(call(*words), "--annotation and --answers are needed", exit_code=2)
    assert_one_error(call("evaluate", "qa", *words[4:]), "--model is needed", exit_code=2)
