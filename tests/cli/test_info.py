"""info: what a model is, for people and for machines."""

import pytest

from tests.cli.conftest import CONFIG, LABELS
from tests.cli.test_main import assert_one_error


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["umt-b1"], "did you mean 'umt-b16'?"),
        (["nowhere"], "there is no 'nowhere'"),
        (["hf://model"], "a place on a hub is hf://owner/name"),
        (["umt-b16", "--schedule", "1x13"], "at most 12 entries for 12 layers; 13 came"),
        (["."], "config.json"),
    ],
)
def test_what_is_no_model_is_one_error(call, words, message):
    assert_one_error(call("info", *words), message)
