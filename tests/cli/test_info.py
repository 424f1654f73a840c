"""info: what a model is, for people and for machines."""

import sys

import pytest

from tests.cli.conftest import CONFIG, LABELS, save_model
from tests.cli.test_convert import write_vocabulary
from tests.cli.test_main import assert_one_error
from tests.models.test_umt import RETRIEVAL
from vidtldr_jax.data.text import read_tokenizer


def test_a_checkpoint_is_described_in_full(call_json, model):
    facts = call_json("info", model, "--schedule", "20,3")
    assert facts["kind"] == "checkpoint"
    assert facts["family"] == "video_vit"
    assert facts["architecture"] == CONFIG.to_dict()
    assert facts["grid"] == [2, 4, 4]
    assert facts["labels"] == LABELS
    assert facts["source"] == {"name": "x"}
    assert facts["preprocessing"]["num_frames"] == 4
    assert facts["schedule"]["r"] == [16, 3, 0]
    assert facts["schedule"]["tokens"] == [32, 16, 13, 13]
    assert facts["schedule"]["clamps"] == ["layer 0: r = 20 clamped to 16, half of 32 tokens"]
    assert sum(facts["macs_by_part"].values()) == round(facts["gmacs"] * 1e9)


def test_a_preset_has_the_published_cost(call_json):
    facts = call_json("info", "umt-b16", "--schedule", "600,200,100")
    assert (facts["kind"], facts["folder"], facts["preprocessing"]) == ("preset", None, None)
    assert facts["num_parameters"] == pytest.approx(86e6, rel=0.01)
    plain = call_json("info", "umt-b16")
    assert plain["gmacs"] > 1.5 * facts["gmacs"]


def test_people_see_tokens_clamps_and_labels(call, model):
    text = call("info", model, "--schedule", "20,3").stdout
    assert "32 > 16 > 13" in text
    assert "clamped to 16, half of 32 tokens" in text
    assert "3: left, right, turning [fast]" in text
    assert "layer 2" in text


def test_the_tokenizer_of_a_model_that_reads_is_told(call, call_json, model, tmp_path, monkeypatch):
    place = save_model(tmp_path / "reads", config=RETRIEVAL, labels=None, family="umt_retrieval")
    assert call_json("info", place)["tokenizer"] is None
    assert "none; give --tokenizer where texts are read" in find_row(call("info", place), "tokenizer")
    tokenizer = read_tokenizer(write_vocabulary(tmp_path / "words"))
    (place / "tokenizer.json").write_text(tokenizer.to_json())
    assert call_json("info", place)["tokenizer"] == {"vocab_size": 80}
    assert find_row(call("info", place), "tokenizer").endswith("  80 words, tokenizer.json")
    assert find_row(call("info", model), "tokenizer") is None
    assert call_json("info", model)["tokenizer"] is call_json("info", "umt-b16")["tokenizer"] is None

    monkeypatch.setitem(sys.modules, "tokenizers", None)  # as where it is not installed
    assert call_json("info", place)["tokenizer"] == {"vocab_size": None}
    assert "tokenizer.json, not read: install 'vidtldr-jax[retrieval]'" in find_row(call("info", place), "tokenizer")


def test_a_tokenizer_of_another_model_is_one_error(call, tmp_path):
    place = save_model(tmp_path / "reads", config=RETRIEVAL, labels=None, family="umt_retrieval")
    other = read_tokenizer(write_vocabulary(tmp_path / "words", ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]))
    (place / "tokenizer.json").write_text(other.to_json())
    assert_one_error(call("info", place), "tokenizer.json has 4; give the model's own")
    (place / "tokenizer.json").write_text("{}")
    assert_one_error(call("info", place), "tokenizer.json is no tokenizer that the library reads")


def find_row(result, name):
    return next((line for line in result.stdout.splitlines() if line.startswith(f"{name}  ")), None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["umt-b1"], "did you mean 'umt-b16'?"),
        (["nowhere"], "there is no 'nowhere'"),
        (["hf://model"], "a place on a hub is hf://owner/name"),
        (["umt-b16", "--schedule", "1x13"], "error: --schedule: at most 12 entries for 12 layers; got 13"),
        (["."], "config.json"),
    ],
)
def test_what_is_no_model_is_one_error(call, words, message):
    assert_one_error(call("info", *words), message)
