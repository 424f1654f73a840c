"""`vidtldr ask`: a video and a question in, the most probable answers out."""

from __future__ import annotations

from typing import Final

import click

from vidtldr_jax.cli.choices import FILE
from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.options import (
    ModelType,
    cache_option,
    dtype_option,
    find_model,
    json_option,
    method_option,
    schedule_option,
    verbose_option,
)
from vidtldr_jax.cli.output import print_json, print_line, print_note, print_table
from vidtldr_jax.cli.text_models import EVERYDAY, build, open_umt, tokenizer_option
from vidtldr_jax.cli.words import note_unknown_words

_K_TEST: Final = 128
_MAX_QUESTION_TOKENS: Final = 64
_EPILOG: Final = """\b
Examples:
  vidtldr ask clip.mp4 "what is the man holding?" --answers answers.txt --model checkpoints/umt-b16-msvd-qa
  vidtldr ask clip.mp4 "who is singing?" --answers msvd_qa_answer_list.json --model checkpoints/umt-b16-msvd-qa \\
      --schedule 600,200 --json
"""


@click.command(epilog=_EPILOG)
@click.argument("video", metavar="VIDEO", type=click.Path())
@click.argument("question", metavar="QUESTION")
@click.option("--answers", required=True, type=FILE, help="Answers to choose from: a JSON list, or one per line.")
@click.option(
    "--model", required=True, type=ModelType(), metavar="FOLDER|NAME", help="Checkpoint folder of a UMT for questions."
)
@schedule_option("Without it: no merging.")
@method_option
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Answers to show.")
@click.option(
    "--k-test", type=click.IntRange(min=1), default=_K_TEST, show_default=True, help="Answers to rate in full."
)
@click.option("--max-answer-tokens", type=click.IntRange(min=3), default=5, show_default=True)
@tokenizer_option
@dtype_option
@json_option
@cache_option
@verbose_option
def ask(
    video: str,
    question: str,
    answers: str,
    model: str,
    schedule: str | None,
    method: str | None,
    top_k: int,
    k_test: int,
    max_answer_tokens: int,
    tokenizer: str | None,
    dtype: str,
    as_json: bool,
) -> int:
    """Answers a question about a video out of a list.

    The probabilities are among the --k-test answers that begin most probably.
    """
    import numpy as np

    from vidtldr_jax.data.annotations import read_answers
    from vidtldr_jax.data.clip import read_frames
    from vidtldr_jax.evaluation.answers import answer_block, encode_answers
    from vidtldr_jax.evaluation.arguments import ArgumentError
    from vidtldr_jax.evaluation.texts import count_unknown
    from vidtldr_jax.inference.finite import check_finite
    from vidtldr_jax.inference.text_model import AnsweringModel
    from vidtldr_jax.reduction.cost import count_macs

    stored = open_umt(find_model(model), model, task="question_answering", tokenizer=tokenizer, commands=EVERYDAY)
    recipe = stored.preprocessing.take_one_view()
    loaded = build(stored, recipe, schedule, method, dtype, 1)
    assert isinstance(loaded, AnsweringModel)
    choices = read_answers(answers)
    try:
        longest = min(_MAX_QUESTION_TOKENS, loaded.config.text.max_positions)
        words = loaded.tokenize([question], max_tokens=longest)
        if unknown := loaded.check_words(question):
            note_unknown_words(unknown)
        count_unknown(loaded, choices, what="answers")
        encoded = encode_answers(loaded, choices, max_tokens=max_answer_tokens)
        clip = read_frames(video, recipe)
        tokens = np.asarray(loaded.encode_video(clip.frames).tokens)[0]
        check_finite(tokens, "tokens", of=video)
        (ranked,) = answer_block(loaded, tokens, words, encoded, k=min(k_test, len(choices)), block_size=1)
        check_finite(ranked.probabilities, "probabilities", of=video)
    except ArgumentError as error:
        raise CommandError(f"--max-answer-tokens {error.rule}") from error
    except ValueError as error:
        raise CommandError(str(error)) from error
    found = [
        {"answer": choices[number], "probability": float(probability)}
        for number, probability in zip(ranked.ids[:top_k], ranked.probabilities[:top_k])
    ]
    if words.num_cut:
        print_note(f"the question is longer than {longest} tokens; its end was cut off")
    if as_json:
        print_json(
            {
                "video": video, "question": question, "answers": found, "of": len(choices),
                "rated_in_full": len(ranked.ids), "notices": list(clip.notices), "unknown_words": list(unknown),
                "model": model,
                "schedule": loaded.schedule.to_dict(),
                "gmacs": count_macs(loaded.config, loaded.schedule).gmacs, "dtype": str(loaded.dtype),
            }
        )  # fmt: skip
        return 0
    for notice in clip.notices:
        print_note(notice, about=video)
    print_table(("answer", "probability"), [(one["answer"], f"{one['probability']:.2%}") for one in found])
    print_line(f"({len(ranked.ids)} of {len(choices)} answers rated in full; {loaded.schedule.describe()})")
    return 0
