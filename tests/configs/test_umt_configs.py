"""The configs of retrieval and question answering: protocols, the GMACs they promise, published schedules, errors."""

import dataclasses
import importlib.util
import itertools
import json
import re
from pathlib import Path

import pytest

from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.models.presets import get_preset
from vidtldr_jax.reduction import count_macs, format_schedule, resolve_schedule

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = json.loads((ROOT / "tests" / "goldens" / "schedules.json").read_text())
# The protocols of the official release: annotation, split, text tokens, paragraph, captions, videos, first seconds.
RETRIEVAL = {
    "msrvtt": ("msrvtt_ret_test1k.json", "test1k", 32, False, "one", "one", None),
    "msvd": ("msvd_ret_test.json", "test", 64, False, "many", "one", None),
    "activitynet": ("anet_ret_val.json", "val", 150, True, "one", "one", None),
    "didemo": ("didemo_ret_test.json", "test", 64, True, "one", "one", 30.0),
    "lsmdc": ("lsmdc_ret_test_1000.json", "test_1000", 96, False, "one", "one", None),
    "ssv2_label": ("ssv2_ret_label_val_small.json", "val_small", 25, False, "one", "many", None),
    "ssv2_template": ("ssv2_ret_template_val_small.json", "val_small", 25, False, "one", "many", None),
}
QA = ("msrvtt", "msvd")
SIZES = ("b16", "l16")
# Of the text encoder: width, layers, first layer that looks at the video.
TEXT = {"b16": (768, 12, 9), "l16": (1024, 24, 19)}
OPTIONS = {"retrieval": ("", ",zero_shot", ",plain", ",zero_shot,plain", ",plain,zero_shot"), "qa": ("", ",plain")}
CASES = [
    (task, dataset, size, option)
    for task, datasets in (("retrieval", RETRIEVAL), ("qa", QA))
    for dataset, size, option in itertools.product(datasets, SIZES, OPTIONS[task])
]
every_case = pytest.mark.parametrize(("task", "dataset", "size", "option"), CASES)


def load(task):
    spec = importlib.util.spec_from_file_location("a_config", ROOT / "configs" / f"{task}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GET_CONFIG = {task: load(task).get_config for task in OPTIONS}


def read_docstring(task):
    return (ROOT / "configs" / f"{task}.py").read_text().split('"""')[1]


def name_published(task, dataset):
    return dataset if task == "retrieval" else f"{dataset}_qa"


def find_published_accuracies(task, dataset, size):
    table = PUBLISHED[f"published_accuracy_umt_{size}"]
    return table["base"][name_published(task, dataset)], table["vid_tldr"][name_published(task, dataset)]


def count(size, num_frames, schedule):
    preset = dataclasses.replace(get_preset(f"umt-{size}"), num_frames=num_frames)
    resolved = resolve_schedule(schedule, num_tokens=preset.num_tokens, num_layers=preset.depth)
    assert not resolved.clamps
    return count_macs(preset, resolved).gmacs, resolved.tokens[-1]


@every_case
def test_expected_is_what_the_model_costs_with_the_schedule(task, dataset, size, option):
    config = GET_CONFIG[task](f"{dataset},{size}{option}")
    gmacs, tokens_out = count(size, config.num_frames, config.schedule)
    assert config.expected.gmacs_per_video == pytest.approx(gmacs, abs=0.05)
    assert config.expected.tokens_out == tokens_out


@every_case
def test_the_schedule_is_the_published_one_or_its_third(task, dataset, size, option):
    config = GET_CONFIG[task](f"{dataset},{size}{option}")
    published = PUBLISHED[f"umt_{size}"]["none" if "plain" in option else name_published(task, dataset)]
    accuracies = config.published.plain, config.published.merged
    if "zero_shot" in option:
        assert config.num_frames == 4
        assert config.schedule == format_schedule([r * 784 // 2352 for r in published["r"]])
        assert accuracies == (None, None)
    else:
        assert config.num_frames == 12
        assert config.schedule == format_schedule(published["r"])
        assert (config.expected.gmacs_per_video, config.expected.tokens_out) == (
            published["gmacs"],
            published["tokens_out"],
        )
        assert accuracies == find_published_accuracies(task, dataset, size)
    quantity = {"retrieval": "mean of text-to-video and video-to-text R@1", "qa": "accuracy"}[task]
    assert config.published.unit == f"{quantity} in percent, measured by vid-TLDR's authors, not here"


@every_case
def test_the_architecture_is_the_preset_s(task, dataset, size, option):
    config, preset = GET_CONFIG[task](f"{dataset},{size}{option}"), get_preset(f"umt-{size}")
    assert config.image_size == preset.image_size
    assert config.architecture.to_dict() == {
        "dim": preset.dim,
        "depth": preset.depth,
        "num_heads": preset.num_heads,
        **dict(zip(("text_dim", "text_depth", "fusion_from_layer"), TEXT[size], strict=True)),
        "embed_dim": preset.embed_dim if task == "retrieval" else None,
    }


@every_case
def test_every_field_is_there_and_what_is_not_there_is_refused(task, dataset, size, option):
    config = GET_CONFIG[task](f"{dataset},{size}{option}")
    common = {"task", "dataset", "split", "num_frames", "image_size", "k_test", "schedule", "annotation"}
    common |= {"checkpoint", "videos", "architecture", "expected", "published"}
    own = {
        "retrieval": {"max_text_tokens", "paragraph", "captions_per_video", "videos_per_caption", "first_seconds"},
        "qa": {"max_question_tokens", "max_answer_tokens", "end_of_answer", "answers"},
    }
    assert set(config) == common | own[task]
    assert (config.checkpoint, config.videos, config.k_test) == ("", "", 128)
    config.videos = "msrvtt/videos"
    with pytest.raises(AttributeError, match="video_folder"):
        config.video_folder = "msrvtt/videos"
    json.dumps(config.to_dict())


@pytest.mark.parametrize("dataset", RETRIEVAL)
@pytest.mark.parametrize("option", ["b16", "l16", "l16,zero_shot", "b16,plain"])
def test_retrieval_follows_the_data_set_s_protocol(dataset, option):
    config = GET_CONFIG["retrieval"](f"{dataset},{option}")
    assert (config.task, config.dataset) == ("retrieval", dataset)
    names = ("annotation", "split", "max_text_tokens", "paragraph", "captions_per_video", "videos_per_caption")
    assert tuple(config[name] for name in (*names, "first_seconds")) == RETRIEVAL[dataset]
    assert config.annotation.endswith(f"{config.split}.json")
    Preprocessing(num_frames=config.num_frames, image_size=config.image_size, first_seconds=config.first_seconds)
    config.first_seconds = 10.0


@pytest.mark.parametrize("dataset", QA)
@pytest.mark.parametrize("option", ["b16", "l16", "b16,plain"])
def test_question_answering_follows_the_data_set_s_protocol(dataset, option):
    config = GET_CONFIG["qa"](f"{dataset},{option}")
    assert (config.task, config.dataset, config.split) == ("question_answering", dataset, "test")
    assert (config.annotation, config.answers) == (f"{dataset}_qa_test.json", f"{dataset}_qa_answer_list.json")
    assert (config.max_question_tokens, config.max_answer_tokens, config.end_of_answer) == (25, 5, "[SEP]")


@pytest.mark.parametrize("task", OPTIONS)
def test_the_docstring_s_table_says_what_the_configs_say(task):
    rows = [line.split() for line in read_docstring(task).splitlines() if re.search(r" [bl]16 +\d", line)]
    datasets = RETRIEVAL if task == "retrieval" else QA
    assert [(row[0], row[1]) for row in rows] == [(dataset, size) for size in SIZES for dataset in datasets]
    for dataset, size, *cells in rows:
        config = GET_CONFIG[task](f"{dataset},{size}")
        published = config.published
        wanted = [config.schedule, *map(str, (config.expected.gmacs_per_video, published.plain, published.merged))]
        if task == "retrieval":
            scaled = GET_CONFIG[task](f"{dataset},{size},zero_shot")
            wanted += [scaled.schedule, str(scaled.expected.gmacs_per_video)]
        assert cells == wanted


@pytest.mark.parametrize("task", OPTIONS)
def test_the_docstring_says_what_is_published_and_what_is_not(task):
    text = " ".join(read_docstring(task).split())
    assert "as published by vid-TLDR's authors and not measured here" in text
    plain = [GET_CONFIG[task](f"msvd,{size},plain").expected.gmacs_per_video for size in SIZES]
    assert "Without merging they are {} (b16) and {} (l16)".format(*plain) in text
    if task == "retrieval":
        scaled = [GET_CONFIG[task](f"msvd,{size},plain,zero_shot").expected.gmacs_per_video for size in SIZES]
        assert "with zero_shot {} and {}".format(*scaled) in text
        assert "this project's scaling of them, a third of each count rounded down, neither published" in text
        entries = [PUBLISHED["umt_b16"][dataset] for dataset in ("didemo", "msvd")]
        figures = [entry["note"].removeprefix("the paper's figure says ") for entry in entries]
        assert "For didemo and msvd with b16 the paper's figure names {} and {} GMACs".format(*figures) in text
        assert "counts {} and {}.".format(*(entry["gmacs"] for entry in entries)) in text


@pytest.mark.parametrize("task", OPTIONS)
def test_the_docstring_s_commands_name_the_config_and_its_files(task):
    text = read_docstring(task)
    argument = re.search(rf"vidtldr evaluate {task} --config configs/{task}\.py:(\S+) ", text)[1]
    config = GET_CONFIG[task](argument)
    assert f"--annotation {config.annotation} " in text
    assert ("--answers" in text) == (task == "qa") == (f"--answers {config.get('answers')} " in text)
    folder = re.search(r"--model (\S+)", text)[1]
    assert f"vidtldr convert FILE.pth {folder} --tokenizer vocab.txt" in text


FORM = {
    "retrieval": (
        "an argument is DATASET,SIZE[,OPTION...] (DATASET: msrvtt, msvd, activitynet, didemo, lsmdc, "
        "ssv2_label, ssv2_template; SIZE: b16, l16; OPTION: zero_shot, plain); "
    ),
    "qa": "an argument is DATASET,SIZE[,OPTION] (DATASET: msrvtt, msvd; SIZE: b16, l16; OPTION: plain); ",
}


@pytest.mark.parametrize("task", OPTIONS)
@pytest.mark.parametrize(
    ("arg", "faults"),
    [
        ("", "DATASET is missing, add it; SIZE is missing, add it"),
        ("msvd", "SIZE is missing, add it"),
        ("msvd,b16,", "OPTION is missing, add it"),
        ("msrvvt,b16", "'msrvvt' is no DATASET (did you mean 'msrvtt'?)"),
        ("MSVD2,b16", "'MSVD2' is no DATASET (choose one of these)"),
        ("msvd,b61", "'b61' is no SIZE (did you mean 'b16'?)"),
        ("msvd,b16,plane", "'plane' is no OPTION (did you mean 'plain'?)"),
        ("msvd,b16,plain,plain", "'plain' is there twice, leave one out"),
        (
            "msrvt,l61,plan",
            "'msrvt' is no DATASET (did you mean 'msrvtt'?); 'l61' is no SIZE (did you mean 'l16'?); "
            "'plan' is no OPTION (did you mean 'plain'?)",
        ),
    ],
)
def test_wrong_words_are_named_together_with_the_nearest(task, arg, faults):
    with pytest.raises(ValueError) as raised:
        GET_CONFIG[task](arg)
    assert str(raised.value) == f"{FORM[task]}got {arg!r}; {faults}."


@pytest.mark.parametrize("task", OPTIONS)
def test_spaces_between_words_do_not_matter(task):
    assert GET_CONFIG[task]("msvd, l16 , plain") == GET_CONFIG[task]("msvd,l16,plain")


@pytest.mark.parametrize("task", OPTIONS)
def test_no_argument_is_an_empty_one(task):
    with pytest.raises(ValueError, match=r"got ''; DATASET is missing"):
        GET_CONFIG[task]()


def test_only_retrieval_has_other_data_sets_and_zero_shot():
    assert GET_CONFIG["retrieval"]("didemo,l16,zero_shot").first_seconds == 30.0
    with pytest.raises(ValueError, match=r"'didemo' is no DATASET .*; 'zero_shot' is no OPTION \(choose one"):
        GET_CONFIG["qa"]("didemo,l16,zero_shot")
