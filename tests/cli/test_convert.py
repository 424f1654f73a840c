"""convert: weights in, a checkpoint folder out, and back; what is wrong is one line and nothing is left behind."""

import json

import numpy as np
import pytest
import safetensors.numpy

from tests.cli.test_main import assert_one_error
from tests.reference.files import find_golden, load_golden, require_module
from vidtldr_jax.cli.convert import describe_parts
from vidtldr_jax.inference.load import load_model

CLASSIFIER = ("--set", "heads=4", "--set", "frames=4", "--set", "image_size=32")
RETRIEVAL = ("--set", "text_heads=4")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "dog", "##s", *(f"word{number}" for number in range(74))]


@pytest.fixture
def classifier():
    return find_golden("cls_umt.pth")


@pytest.fixture
def retrieval():
    return find_golden("umt_retrieval.pth")


def write_vocabulary(folder, words=WORDS):
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return folder / "vocab.txt"


def test_a_checkpoint_becomes_a_folder_that_every_command_reads(call, call_json, classifier, tmp_path):
    report = call_json("convert", classifier, tmp_path / "model", *CLASSIFIER)
    assert report["family"] == "single_modality"
    assert report["dtype"] == "float32"
    assert report["origins"]["num_heads"] == "settings"
    assert report["origins"]["dim"] == "the weights"
    assert report["assignments"]["head.weight"] == ["head/kernel"]
    assert (report["ignored"], report["missing"], report["verification"]) == ([], [], None)
    golden = load_golden("cls_umt.npz")
    video = golden["video"].transpose(0, 1, 3, 4, 2)
    np.testing.assert_allclose(load_model(tmp_path / "model").classify(video), golden["logits_plain"], atol=1e-4)
    facts = call_json("info", tmp_path / "model", "--schedule", "8,4")
    assert facts["num_parameters"] == report["num_parameters"]
    assert facts["source"]["name"] == "cls_umt.pth"


def test_people_read_what_was_done_and_where_facts_come_from(call, classifier, retrieval, tmp_path):
    text = call("convert", classifier, tmp_path / "model", *CLASSIFIER).stdout
    assert "28,066 parameters in float32" in text
    assert "family single_modality; 46 keys used, 0 left out\n" in text
    assert "the weights are 'module' in the file\n" in text
    assert "from settings: num_heads, num_frames, image_size" in text
    result = call("convert", retrieval, tmp_path / "model", *RETRIEVAL, "--dtype", "bfloat16")
    assert "54,059 parameters in bfloat16" in result.stdout
    assert (
        "4 left out: vision_encoder.clip_decoder (2), text_encoder.embeddings.position_ids, clip_teacher\n"
        in result.stdout
    )


def test_parts_of_a_model_that_are_left_out_are_named():
    keys = ["logit_scale", *(f"text.transformer.resblocks.{n}.ln_1.weight" for n in range(12)), "text.ln_final.bias"]
    assert describe_parts(keys, ["visual.proj"]) == ": text (13), logit_scale"
    assert describe_parts(["encoder.decoder.a", "encoder.decoder.b"], ["encoder.a"]) == ": encoder.decoder (2)"
    assert describe_parts([f"a{n}/b" for n in range(12)], []).endswith(", a8, a9 and 2 more")
    assert describe_parts([], []) == ""


def test_classes_of_one_name_are_told_and_are_given_by_number(call, classifier, tmp_path):
    names = [f"class {number}" for number in range(load_golden("cls_umt.npz")["logits_plain"].shape[-1])]
    names[2] = names[0] = "crane"
    words = ("convert", classifier, tmp_path / "model", *CLASSIFIER, "--set", f"labels={json.dumps(names)}")
    told = call(*words).stderr
    assert "note: names of several classes, which a list of videos gives by number: 'crane' (0, 2)" in told
    assert load_model(tmp_path / "model").labels == names
    assert "by number: 'crane' (0, 2)" in call("info", tmp_path / "model").stderr
    (tmp_path / "list.csv").write_text("path,label\na.mp4,crane\n")
    result = call("evaluate", "classification", "--model", tmp_path / "model", "--manifest", tmp_path / "list.csv")
    assert_one_error(result, "line 2: label is 'crane', the name of classes 0, 2; give the number of the one")


def test_samples_prove_it_and_a_wrong_fact_is_caught(call, call_json, retrieval, tmp_path):
    samples = find_golden("umt_merge.npz")
    report = call_json("convert", retrieval, tmp_path / "model", *RETRIEVAL, "--samples", samples)
    check = report["verification"]
    assert check["passed"]
    assert check["first_different"] is None
    assert {row["name"] for row in check["rows"]} >= {"tokens", "embedding", "match"}
    assert "agrees" in call("convert", retrieval, tmp_path / "model", *RETRIEVAL, "--samples", samples).stdout

    result = call("convert", retrieval, tmp_path / "model", "--set", "text_heads=2", "--samples", samples)
    assert result.exit_code == 1
    assert "differs from umt_merge.npz, first in text_tokens" in result.stderr
    assert "NO" in result.stdout


def test_transformers_proves_it(call_json, tmp_path):
    require_module("transformers")
    from tests.reference.huggingface import make_vivit, save_vivit

    source = save_vivit(make_vivit(num_attention_heads=4), tmp_path / "hub", "hub")
    report = call_json("convert", source, tmp_path / "model", "--verify")
    assert report["verification"]["compared_with"] == "transformers"
    assert [row["name"] for row in report["verification"]["rows"]] == ["embeddings", "block_0", "block_1", "logits"]


def test_what_can_not_be_verified_is_said_before_anything_is_written(call, retrieval, tmp_path):
    words = ("convert", retrieval, tmp_path / "model", "--set", "text_heads=4")
    result = call(*words, "--verify")
    assert result.exit_code == 1
    assert "the original of family umt_retrieval can't be imported; give a .npz" in result.stderr
    result = call(*words, "--samples", tmp_path / "nowhere.npz")
    assert result.exit_code == 1
    assert "nowhere.npz" in result.stderr
    assert not (tmp_path / "model").exists()


def test_what_patterns_let_through_is_said_and_recorded(call, call_json, classifier, tmp_path):
    state = {"extra.weight": np.zeros(3, np.float32)}
    call("convert", classifier, tmp_path / "model", *CLASSIFIER)
    call("convert", tmp_path / "model", tmp_path / "back.safetensors", "--to", "torch")
    state |= safetensors.numpy.load_file(tmp_path / "back.safetensors")
    del state["head.bias"]
    safetensors.numpy.save_file(state, tmp_path / "changed.safetensors")
    plain = call("convert", tmp_path / "changed.safetensors", tmp_path / "second", *CLASSIFIER)
    assert_one_error(plain, "unknown key extra.weight")
    assert "nothing fills head/bias; it comes from head.bias" in plain.stderr
    assert not (tmp_path / "second").exists()
    ways = ("--ignore", "extra.*", "--allow-missing", "head.bias")
    result = call("convert", tmp_path / "changed.safetensors", tmp_path / "second", *CLASSIFIER, *ways)
    assert result.exit_code == 0
    assert "--ignore left out 1 keys: extra.weight" in result.stderr
    assert "--allow-missing gave initial values to 1 parameters: head/bias" in result.stderr
    source = json.loads((tmp_path / "second" / "config.json").read_text())["source"]
    assert (source["ignored"], source["missing"]) == (["extra.weight"], ["head/bias"])


def test_of_several_weights_the_one_that_was_taken_is_said_and_names_are_unwrapped(
    call, call_json, classifier, tmp_path
):
    call("convert", classifier, tmp_path / "model", *CLASSIFIER)
    call("convert", tmp_path / "model", tmp_path / "back.safetensors", "--to", "torch")
    state = safetensors.numpy.load_file(tmp_path / "back.safetensors")
    both = {f"{name}.module.{key}": value for name in ("model", "model_ema") for key, value in state.items()}
    both["model_ema.module.head.bias"] = both["model_ema.module.head.bias"] + 1
    safetensors.numpy.save_file(both, tmp_path / "both.safetensors")
    words = (tmp_path / "both.safetensors", *CLASSIFIER)
    facts = call_json("info", *words)
    assert (facts["entry"], facts["other_entries"], facts["stripped"]) == ("model", ["model_ema"], "module.")
    assert "--weights model_ema takes 'model_ema'" in call("info", *words).stdout
    plain = call("convert", words[0], tmp_path / "plain", *CLASSIFIER)
    assert "the weights are 'model' in the file, which also holds model_ema; take it with --weights" in plain.stderr
    assert "names are read without 'module.', which wrappers had added" in plain.stdout
    report = call_json("convert", words[0], tmp_path / "average", *CLASSIFIER, "--weights", "model_ema")
    assert (report["entry"], report["other_entries"], report["stripped"]) == ("model_ema", ["model"], "module.")
    bias = [
        safetensors.numpy.load_file(tmp_path / name / "model.safetensors")["head/bias"] for name in ("plain", "average")
    ]
    np.testing.assert_allclose(bias[0] + 1, bias[1])
    wrong = call("convert", words[0], tmp_path / "wrong", *CLASSIFIER, "--weights", "best")
    assert_one_error(wrong, "has model, model_ema, and got 'best'; say which with --weights NAME")


def test_the_way_back_gives_the_same_bytes(call, call_json, classifier, tmp_path):
    call("convert", classifier, tmp_path / "model", *CLASSIFIER)
    report = call_json("convert", tmp_path / "model", tmp_path / "back.safetensors", "--to", "torch")
    assert report["keys"]["head.weight"] == ["head/kernel"]
    assert_one_error(call("convert", tmp_path / "model", tmp_path / "back.safetensors", "--to", "torch"), "--overwrite")
    again = ("--to", "torch", "--overwrite")
    assert call_json("convert", tmp_path / "model", tmp_path / "back.safetensors", *again) == report
    call("convert", tmp_path / "back.safetensors", tmp_path / "again", *CLASSIFIER)
    first, second = (tmp_path / name / "model.safetensors" for name in ("model", "again"))
    assert safetensors.numpy.load_file(first).keys() == safetensors.numpy.load_file(second).keys()
    for name, values in safetensors.numpy.load_file(first).items():
        np.testing.assert_array_equal(values, safetensors.numpy.load_file(second)[name], err_msg=name)


def test_a_tokenizer_is_kept_beside_the_weights(call, call_json, retrieval, tmp_path):
    vocabulary, there = write_vocabulary(tmp_path / "words"), tmp_path / "model"
    report = call_json("convert", retrieval, there, *RETRIEVAL, "--tokenizer", vocabulary)
    assert report["tokenizer"] == str(vocabulary)
    model = load_model(there)
    assert model.tokenize(["The dogs, word0."], max_tokens=8).ids.tolist() == [[2, 1, 4, 5, 6, 3, 0, 0]]

    stored = (there / "tokenizer.json").read_text()
    (tmp_path / "words" / "tokenizer.json").write_text(stored)
    for given in (tmp_path / "words" / "tokenizer.json", tmp_path / "words"):
        result = call("convert", retrieval, tmp_path / "again", *RETRIEVAL, "--tokenizer", given)
        assert f"texts are read with {tmp_path / 'words' / 'tokenizer.json'}" in result.stdout
        assert result.stderr == ""
        assert (tmp_path / "again" / "tokenizer.json").read_text() == stored


def test_a_folder_with_a_tokenizer_is_replaced_and_one_with_other_files_is_not(call, retrieval, tmp_path):
    there, given = tmp_path / "model", ("--tokenizer", write_vocabulary(tmp_path / "words"))
    assert call("convert", retrieval, there, *RETRIEVAL, *given).exit_code == 0
    assert call("convert", retrieval, there, *RETRIEVAL, *given).exit_code == 0
    assert len(list(there.iterdir())) == 3
    (there / "notes.txt").write_text("years of work")
    assert_one_error(call("convert", retrieval, there, *RETRIEVAL, *given), "or has other files in it; nothing was")
    assert (there / "notes.txt").read_text() == "years of work"
    (there / "notes.txt").unlink()
    result = call("convert", retrieval, there, *RETRIEVAL)
    assert "no --tokenizer was given; commands that need one will ask for it" in result.stderr
    assert sorted(path.name for path in there.iterdir()) == ["config.json", "model.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "words"]


def test_a_tokenizer_that_does_not_fit_is_one_error_and_nothing_is_written(call, classifier, retrieval, tmp_path):
    short = write_vocabulary(tmp_path / "words", WORDS[:72])
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no words")
    (tmp_path / "other.json").write_text('{"model": 1}')

    def refuse(source, given, message, *settings):
        there = tmp_path / "models" / "model"
        assert_one_error(call("convert", source, there, *settings, "--tokenizer", given), message)
        assert not (tmp_path / "models").exists()

    refuse(retrieval, short, f"as many words as its model, 80; {short} has 72; give the model's own", *RETRIEVAL)
    refuse(retrieval, tmp_path / "none.txt", "none.txt can't be read (No such file or directory)", *RETRIEVAL)
    refuse(retrieval, tmp_path / "empty", "has neither; give another", *RETRIEVAL)
    refuse(retrieval, tmp_path / "text.txt", "it lacks [PAD], [UNK], [CLS], [SEP]", *RETRIEVAL)
    refuse(retrieval, tmp_path / "other.json", "other.json is no tokenizer that the library reads", *RETRIEVAL)
    refuse(retrieval, classifier, "it is not UTF-8 text", *RETRIEVAL)
    refuse(classifier, short, "a tokenizer is for a model that reads texts; this one is a video_vit", *CLASSIFIER)


def test_wrong_usage_is_exit_code_2(call, classifier, tmp_path):
    there = tmp_path / "model"
    assert_one_error(call("convert", classifier), "DESTINATION", exit_code=2)
    assert_one_error(call("convert", classifier, there, "--set", "heads"), "name=value", exit_code=2)
    twice = call("convert", classifier, there, "--set", "heads=4", "--set", "heads=3")
    assert_one_error(twice, "a setting is given once; got heads twice", exit_code=2)
    assert_one_error(call("convert", classifier, there, "--family", "vit"), "huggingface_vivit", exit_code=2)
    back = call("convert", there, tmp_path / "x.pth", "--to", "torch", "--set", "heads=4")
    assert_one_error(back, "--set belong to the way in", exit_code=2)
    into = call("convert", classifier, there, *CLASSIFIER, "--overwrite")
    assert_one_error(into, "--overwrite belongs to --to torch", exit_code=2)
    back = call("convert", there, tmp_path / "x.pth", "--to", "torch", "--tokenizer", "vocab.txt")
    assert_one_error(back, "--tokenizer belong to the way in", exit_code=2)
    assert_one_error(call("info", "umt-b16", "--set", "heads=4"), "belong to a source, not to a model", exit_code=2)
    assert_one_error(call("info", classifier, "--schedule", "3"), "convert the source first", exit_code=2)


def test_what_can_not_be_converted_is_one_error(call, classifier, retrieval, tmp_path):
    there = tmp_path / "model"
    assert_one_error(call("convert", tmp_path / "nowhere", there), "there is no")
    (tmp_path / "text.pth").write_text("no weights")
    assert_one_error(call("convert", tmp_path / "text.pth", there), "starts with b'no weigh'")
    unknown = "num_frames (give frames=16); image_size (give image_size=224); num_heads"
    assert_one_error(call("convert", classifier, there), unknown)
    assert_one_error(call("convert", classifier, there, *CLASSIFIER, "--set", "haeds=3"), "(nearest: heads)")
    assert_one_error(call("convert", retrieval, there, *RETRIEVAL, "--ignore", "nothing.*"), "fits no key")
    assert_one_error(call("convert", retrieval, there, *RETRIEVAL, "--verify"), "give a .npz of its input and output")
    assert_one_error(call("convert", tmp_path, tmp_path / "x.txt", "--to", "torch"), "ends in .pth, .pt, .bin")


def test_info_on_a_source_says_what_a_conversion_would_do_and_writes_nothing(call, call_json, classifier, tmp_path):
    facts = call_json("info", classifier, *CLASSIFIER)
    assert (facts["kind"], facts["family"], facts["is_convertible"]) == ("source", "single_modality", True)
    assert (facts["num_keys"], facts["dtypes"]) == (46, {"float32": 46})
    assert facts["bytes"] == 4 * facts["num_numbers"]
    assert facts["keys"]["blocks.0.attn.qkv.weight"]["shape"] == [72, 24]
    assert facts["architecture"]["num_heads"] == 4
    assert facts["facts"]["num_heads"] == {"value": 4, "origin": "settings"}

    text = call("info", classifier).stdout
    assert "num_heads (give heads=12)" in text
    assert "blocks.{i}.attn.qkv.weight -> encoder/block_{i}/attn/{query,key,value}/kernel" in text
    missing = call_json("info", classifier)
    assert (missing["is_convertible"], missing["architecture"]) == (False, None)
    assert [fault.split()[0] for fault in missing["missing"]] == ["num_frames", "image_size", "num_heads"]
    assert not list(tmp_path.iterdir())


def test_info_on_a_source_of_no_family_still_says_what_is_in_it(call):
    result = call("info", find_golden("ops_even.npz"))
    assert result.exit_code == 1
    assert "9 (8 float32, 1 int64)" in result.stdout
    assert "error: the family is told by the keys" in result.stderr


def test_info_names_every_fault_of_a_source(call, call_json, classifier, tmp_path):
    call("convert", classifier, tmp_path / "model", *CLASSIFIER)
    call("convert", tmp_path / "model", tmp_path / "back.safetensors", "--to", "torch")
    state = safetensors.numpy.load_file(tmp_path / "back.safetensors")
    state["haed.bias"] = state.pop("head.bias")
    safetensors.numpy.save_file(state, tmp_path / "changed.safetensors")
    facts = call_json("info", tmp_path / "changed.safetensors", *CLASSIFIER)
    assert not facts["is_convertible"]
    assert any("unknown key haed.bias (nearest: head.bias)" in fault for fault in facts["faults"])
    assert "fault" in call("info", tmp_path / "changed.safetensors", *CLASSIFIER).stdout
