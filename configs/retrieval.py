"""UMT on the seven data sets of vid-TLDR's video-text retrieval, evaluated with and without merging.

    vidtldr convert FILE.pth checkpoints/umt-b16-msrvtt --tokenizer vocab.txt
    vidtldr evaluate retrieval --config configs/retrieval.py:msrvtt,b16 --model checkpoints/umt-b16-msrvtt \
        --annotation msrvtt_ret_test1k.json --videos FOLDER --out results/msrvtt.json

The argument is DATASET,SIZE[,OPTION...], sizes being UMT-B/16 and UMT-L/16: `plain` leaves the merging out, `zero_shot`
is for a pre-trained checkpoint and takes 4 frames in place of 12.

Expected: GMACs of the video encoder per video. Without merging they are 303.3 (b16) and 984.6 (l16), with zero_shot
78.5 and 267.8.
Accuracies are as published by vid-TLDR's authors and not measured here: the mean of text-to-video and video-to-text R@1
in percent, with 12 frames, plain and merged.

    data set       size   schedule          GMACs   plain   merged   zero_shot      GMACs
    msrvtt         b16    600,200,100       178.0    50.0     50.8   200,66,33       48.7
    msvd           b16    450,250,200       181.3    62.1     62.7   150,83,66       49.5
    activitynet    b16    500               227.6    57.2     56.6   166             60.9
    didemo         b16    250,150,150,150   212.8    62.1     62.4   83,50,50,50     57.0
    lsmdc          b16    400,150,150       206.2    32.7     32.4   133,50,50       55.5
    ssv2_label     b16    200,200,200,100   212.9    64.0     63.8   66,66,66,33     57.2
    ssv2_template  b16    400,300           203.7    74.6     74.0   133,100         55.0
    msrvtt         l16    550,400           543.4    58.7     58.5   183,133        157.2
    msvd           l16    600,200,100,100   528.6    70.3     70.4   200,66,33,33   153.3
    activitynet    l16    600,300           563.1    65.6     65.2   200,100        162.2
    didemo         l16    800,100           559.0    70.8     70.4   266,33         161.5
    lsmdc          l16    250,250,200,200   583.7    42.2     41.9   83,83,66,66    167.8
    ssv2_label     l16    450,250,100       610.9    72.4     72.1   150,83,33      174.8
    ssv2_template  l16    350,300,100,50    615.7    78.4     78.1   116,100,33,16  176.2

The schedules for 12 frames are the published ones. Those of zero_shot are this project's scaling of them, a third of
each count rounded down, neither published nor tuned nor measured for accuracy.

For didemo and msvd with b16 the paper's figure names 183.6 and 182.2 GMACs; the official code with the published
schedules counts 212.8 and 181.3.
"""

from typing import NamedTuple

import ml_collections

from vidtldr_jax.reduction.published import PLAIN_GMACS, find_published
from vidtldr_jax.trust.nearest import suggest

UNIT = "mean of text-to-video and video-to-text R@1 in percent, measured by vid-TLDR's authors, not here"
NUM_FRAMES, NUM_FRAMES_ZERO_SHOT = 12, 4
TOKENS_PER_FRAME = 196  # 14 x 14 patches of 16 x 16 pixels


class Protocol(NamedTuple):
    """How a data set is evaluated."""

    annotation: str
    split: str
    max_text_tokens: int
    paragraph: bool = False
    captions_per_video: str = "one"
    videos_per_caption: str = "one"
    first_seconds: float | None = None


class Run(NamedTuple):
    """Accuracies of a model on a data set as published, GMACs of the scaled schedule."""

    plain: float
    merged: float
    zero_shot_gmacs: float


PROTOCOLS = {
    "msrvtt": Protocol("msrvtt_ret_test1k.json", "test1k", 32),
    "msvd": Protocol("msvd_ret_test.json", "test", 64, captions_per_video="many"),
    "activitynet": Protocol("anet_ret_val.json", "val", 150, paragraph=True),
    "didemo": Protocol("didemo_ret_test.json", "test", 64, paragraph=True, first_seconds=30.0),
    "lsmdc": Protocol("lsmdc_ret_test_1000.json", "test_1000", 96),
    "ssv2_label": Protocol("ssv2_ret_label_val_small.json", "val_small", 25, videos_per_caption="many"),
    "ssv2_template": Protocol("ssv2_ret_template_val_small.json", "val_small", 25, videos_per_caption="many"),
}
ARCHITECTURES = {
    "b16": {"dim": 768, "depth": 12, "num_heads": 12,
            "text_dim": 768, "text_depth": 12, "fusion_from_layer": 9, "embed_dim": 512},
    "l16": {"dim": 1024, "depth": 24, "num_heads": 16,
            "text_dim": 1024, "text_depth": 24, "fusion_from_layer": 19, "embed_dim": 768},
}  # fmt: skip
PLAIN_GMACS_ZERO_SHOT = {"b16": 78.5, "l16": 267.8}
RUNS = {
    ("msrvtt", "b16"): Run(50.0, 50.8, 48.7),
    ("msvd", "b16"): Run(62.1, 62.7, 49.5),
    ("activitynet", "b16"): Run(57.2, 56.6, 60.9),
    ("didemo", "b16"): Run(62.1, 62.4, 57.0),
    ("lsmdc", "b16"): Run(32.7, 32.4, 55.5),
    ("ssv2_label", "b16"): Run(64.0, 63.8, 57.2),
    ("ssv2_template", "b16"): Run(74.6, 74.0, 55.0),
    ("msrvtt", "l16"): Run(58.7, 58.5, 157.2),
    ("msvd", "l16"): Run(70.3, 70.4, 153.3),
    ("activitynet", "l16"): Run(65.6, 65.2, 162.2),
    ("didemo", "l16"): Run(70.8, 70.4, 161.5),
    ("lsmdc", "l16"): Run(42.2, 41.9, 167.8),
    ("ssv2_label", "l16"): Run(72.4, 72.1, 174.8),
    ("ssv2_template", "l16"): Run(78.4, 78.1, 176.2),
}
# What the argument is made of, in this order; options may be left out.
WORDS = {
    "DATASET": ("msrvtt", "msvd", "activitynet", "didemo", "lsmdc", "ssv2_label", "ssv2_template"),
    "SIZE": ("b16", "l16"),
    "OPTION": ("zero_shot", "plain"),
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config of one evaluation.

    Args:
      arg: `DATASET,SIZE[,OPTION...]`, for instance "msrvtt,b16" or "didemo,l16,zero_shot,plain"; never empty.

    Returns:
      The config, locked. checkpoint and videos are empty: whoever evaluates gives them.

    Raises:
      ValueError: a word is missing, unknown or there twice; all of them are named, with the nearest that there is.
    """
    dataset, size, options = _read_words(arg)
    run, is_zero_shot, is_plain = RUNS[dataset, size], "zero_shot" in options, "plain" in options
    merged = find_published(dataset, size)
    if is_zero_shot:
        num_frames, gmacs, gmacs_plain = NUM_FRAMES_ZERO_SHOT, run.zero_shot_gmacs, PLAIN_GMACS_ZERO_SHOT[size]
    else:
        num_frames, gmacs, gmacs_plain = NUM_FRAMES, merged.gmacs, PLAIN_GMACS[size]
    counts = () if is_plain else tuple(count * num_frames // NUM_FRAMES for count in merged.r)
    config = ml_collections.ConfigDict(
        {
            "task": "retrieval",
            "dataset": dataset,
            **PROTOCOLS[dataset]._asdict(),
            "num_frames": num_frames,
            "image_size": 224,
            "k_test": 128,
            "schedule": ",".join(map(str, counts)) or "none",
            "checkpoint": "",
            "videos": "",
            "architecture": ARCHITECTURES[size],
            "expected": {
                "gmacs_per_video": gmacs_plain if is_plain else gmacs,
                "tokens_out": TOKENS_PER_FRAME * num_frames - sum(counts),
            },
            "published": {
                "unit": UNIT,
                "plain": None if is_zero_shot else run.plain,
                "merged": None if is_zero_shot else run.merged,
            },
        }
    )
    return config.lock()


def _read_words(arg: str) -> tuple[str, str, list[str]]:
    """Splits an argument into data set, size and options."""
    words = [word.strip() for word in arg.split(",")]
    kinds = ["DATASET", "SIZE", *["OPTION"] * (len(words) - 2)]
    words += [""] * (len(kinds) - len(words))
    faults = [_explain(word, kind) for word, kind in zip(words, kinds, strict=True) if word not in WORDS[kind]]
    faults += [f"{word!r} is there twice, leave one out" for word in WORDS["OPTION"] if words[2:].count(word) > 1]
    if faults:
        known = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in WORDS.items())
        raise ValueError(f"an argument is DATASET,SIZE[,OPTION...] ({known}); got {arg!r}; {'; '.join(faults)}.")
    return words[0], words[1], words[2:]


def _explain(word: str, kind: str) -> str:
    if not word:
        return f"{kind} is missing, add it"
    return f"{word!r} is no {kind} ({suggest(word, WORDS[kind], otherwise='choose one of these')})"
