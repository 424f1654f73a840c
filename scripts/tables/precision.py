"""The table of what bfloat16 does to outputs."""

from __future__ import annotations

from typing import Any, Final

from scripts.tables.origin import name_origin

_ANSWERS: Final = ("same_answer", "accuracy_float32", "accuracy_bfloat16")


def make_bfloat16_table(result: dict[str, Any]) -> str:
    """Writes how far outputs move, model by model and schedule by schedule."""
    lines = [
        "| model | schedule | spread of the output | moved by, median | at most | cosine at least | same answer "
        "| accuracy, float32 | bfloat16 | tokens in the same company |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in (("moving-objects, logits", result["trained"]), ("UMT-B/16, pooled token", result["random"])):
        for row in rows:
            answers = [f"{row[key]:.1%}" if key in row else "" for key in _ANSWERS]
            lines.append(
                f"| {name} | {row['schedule']} | {row['spread_of_output']:.2f} | {row['median_apart']:.4f} "
                f"| {row['max_apart']:.3f} | {row['min_cosine']:.5f} | {' | '.join(answers)} "
                f"| {row['same_company']:.1%} |"
            )
    lines += [
        "",
        f"The shipped model on {result['num_clips']} held-out clips; UMT-B/16 with random weights on clips of noise, "
        "whose tokens are nearly alike, so that rounding decides more pairs than on a trained model. *Company*: the "
        f"original tokens that end in one token, or are dropped. {name_origin(result, 'benchmarks/bfloat16.py')}",
    ]
    return "\n".join(lines)
