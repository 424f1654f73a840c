"""UMT on the two data sets of vid-TLDR's video question answering, evaluated with and without merging.

    vidtldr convert FILE.pth checkpoints/umt-l16-msrvtt-qa --tokenizer vocab.txt
    vidtldr evaluate qa --config configs/qa.py:msrvtt,l16 --model checkpoints/umt-l16-msrvtt-qa \
        --annotation msrvtt_qa_test.json --answers msrvtt_qa_answer_list.json --videos FOLDER \
        --out results/msrvtt_qa.json

The argument is DATASET,SIZE[,OPTION], sizes being UMT-B/16 and UMT-L/16: `plain` leaves the merging out.

Expected: GMACs of the video encoder per video. Without merging they are 303.3 (b16) and 984.6 (l16).
Accuracies are as published by vid-TLDR's authors and not measured here: in percent, with 12 frames, plain and merged.

    data set  size   schedule      GMACs   plain   merged
    msrvtt    b16    600,200       188.5    44.9     44.8
    msvd      b16    600,200       188.5    49.5     49.4
    msrvtt    l16    400,400,100   569.8    47.1     47.0
    msvd      l16    400,400,100   569.8    55.2     54.9

The schedules are the published ones.
"""

from typing import NamedTuple

import ml_collections

from vidtldr_jax.reduction.published import PLAIN_GMACS, find_published
from vidtldr_jax.trust.nearest import suggest

UNIT = "accuracy in percent, measured by vid-TLDR's authors, not here"
NUM_FRAMES = 12
TOKENS_PER_FRAME = 196  # 14 x 14 patches of 16 x 16 pixels


class Run(NamedTuple):
    """Accuracies of a model on a data set as published."""

    plain: float
    merged: float


ARCHITECTURES = {
    "b16": {"dim": 768, "depth": 12, "num_heads": 12,
            "text_dim": 768, "text_depth": 12, "fusion_from_layer": 9, "embed_dim": None},
    "l16": {"dim": 1024, "depth": 24, "num_heads": 16,
            "text_dim": 1024, "text_depth": 24, "fusion_from_layer": 19, "embed_dim": None},
}  # fmt: skip
RUNS = {
    ("msrvtt", "b16"): Run(44.9, 44.8),
    ("msvd", "b16"): Run(49.5, 49.4),
    ("msrvtt", "l16"): Run(47.1, 47.0),
    ("msvd", "l16"): Run(55.2, 54.9),
}
# What the argument is made of, in this order; options may be left out.
WORDS = {"DATASET": ("msrvtt", "msvd"), "SIZE": ("b16", "l16"), "OPTION": ("plain",)}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config of one evaluation.

    Args:
      arg: `DATASET,SIZE[,OPTION]`, for instance "msrvtt,l16" or "msvd,b16,plain"; never empty.

    Returns:
      The config, locked. checkpoint and videos are empty: whoever evaluates gives them.

    Raises:
      ValueError: a word is missing, unknown or there twice; all of them are named, with the nearest that there is.
    """
    dataset, size, options = _read_words(arg)
    run, is_plain = RUNS[dataset, size], "plain" in options
    merged = find_published(f"{dataset}_qa", size)
    counts = () if is_plain else merged.r
    config = ml_collections.ConfigDict(
        {
            "task": "question_answering",
            "dataset": dataset,
            "annotation": f"{dataset}_qa_test.json",
            "answers": f"{dataset}_qa_answer_list.json",
            "split": "test",
            "max_question_tokens": 25,
            "max_answer_tokens": 5,
            "end_of_answer": "[SEP]",
            "num_frames": NUM_FRAMES,
            "image_size": 224,
            "k_test": 128,
            "schedule": ",".join(map(str, counts)) or "none",
            "checkpoint": "",
            "videos": "",
            "architecture": ARCHITECTURES[size],
            "expected": {
                "gmacs_per_video": PLAIN_GMACS[size] if is_plain else merged.gmacs,
                "tokens_out": TOKENS_PER_FRAME * NUM_FRAMES - sum(counts),
            },
            "published": {"unit": UNIT, "plain": run.plain, "merged": run.merged},
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
        raise ValueError(f"an argument is DATASET,SIZE[,OPTION] ({known}); got {arg!r}; {'; '.join(faults)}.")
    return words[0], words[1], words[2:]


def _explain(word: str, kind: str) -> str:
    if not word:
        return f"{kind} is missing, add it"
    return f"{word!r} is no {kind} ({suggest(word, WORDS[kind], otherwise='choose one of these')})"
