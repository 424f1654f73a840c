"""`vidtldr evaluate retrieval`: how well texts find their videos and videos their texts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from vidtldr_jax.cli.evaluation_files import check_result_place, name_options, report_errors
from vidtldr_jax.cli.names import K_TEST, MAX_TEXT_TOKENS, PAIRS_PER_RUN
from vidtldr_jax.cli.output import print_json, watch_progress
from vidtldr_jax.cli.text_models import prepare, umt_options

_EPILOG: Final = """\b
Examples:
  vidtldr evaluate retrieval --model checkpoints/umt-b16-msrvtt --annotation msrvtt_ret_test1k.json \\
      --videos MSRVTT/videos --frames 12 --schedule 600,200,100 --out results/msrvtt.json
  vidtldr evaluate retrieval --config configs/retrieval.py:didemo,l16 --model checkpoints/umt-l16-didemo \\
      --annotation didemo_ret_test.json --videos didemo --dtype bfloat16 --out results/didemo.json
"""


@click.command(epilog=_EPILOG)
@umt_options
@click.option(
    "--k-test", type=click.IntRange(min=1), help=f"Candidates to re-rank.  [default: the config's, or {K_TEST}]"
)
@click.option("--no-rerank", is_flag=True, help="Rank by similarity (ITC) alone.")
@click.option(
    "--max-text-tokens",
    type=click.IntRange(min=3),
    help="Number of tokens at which a text is cut.  "
    f"[default: the config's, or {MAX_TEXT_TOKENS}, or as many as the model takes]",
)
@click.option("--paragraph/--no-paragraph", default=None, help="A video's captions are one text.")
@click.option(
    "--pairs-per-run",
    type=click.IntRange(min=1),
    default=PAIRS_PER_RUN,
    show_default=True,
    help="Texts per run, matched with one video.",
)
@click.option("--keep-features", is_flag=True, help="Keep what was encoded beside --out once the result is there.")
def retrieval(
    config: str | None,
    model: str | None,
    annotation: str | None,
    videos: str | None,
    tokenizer: str | None,
    schedule: str | None,
    method: str | None,
    frames: int | None,
    first_seconds: float | None,
    limit: int | None,
    out: str | None,
    restart: bool,
    skip_missing: bool,
    batch_size: int,
    workers: int,
    devices: int,
    dtype: str,
    as_json: bool,
    k_test: int | None,
    no_rerank: bool,
    max_text_tokens: int | None,
    paragraph: bool | None,
    pairs_per_run: int,
    keep_features: bool,
) -> int:
    """Measures recall and ranks of video-text retrieval, by similarity (ITC) and re-ranked (ITM).

    The annotation is JSON as UMT's and vid-TLDR's: [{"video": "a.mp4", "caption": "a dog runs"}, ...], either perhaps a
    list. With --out everything is kept as it comes and the same command goes on where it was broken off. A video that
    can't be read is named, finds nothing and is not found; the exit code is then 1.
    """
    from vidtldr_jax.cli.retrieval_report import print_result
    from vidtldr_jax.evaluation.retrieval import evaluate_retrieval
    from vidtldr_jax.inference.text_model import RetrievalModel

    setup = prepare(
        config, model, task="retrieval", schedule=schedule, method=method, frames=frames, first_seconds=first_seconds,
        tokenizer=tokenizer, dtype=dtype, devices=devices,
    )  # fmt: skip
    assert isinstance(setup.model, RetrievalModel)
    fields = setup.config
    place = annotation or fields.get("annotation")
    if not place:
        raise click.UsageError("--annotation is needed: a JSON file of videos and captions.")
    with name_options(videos="--videos"):
        result = evaluate_retrieval(
            setup.model,
            place,
            videos or fields.get("videos"),
            rerank=not no_rerank,
            k_test=k_test,
            usual_k_test=fields.get("k_test") or K_TEST,
            max_text_tokens=max_text_tokens or fields.get("max_text_tokens"),
            is_paragraph=bool(fields.get("paragraph")) if paragraph is None else paragraph,
            limit=limit,
            skip_missing=skip_missing,
            out=None if out is None else check_result_place(Path(out), [place, setup.folder]),
            restart=restart,
            keep_features=keep_features,
            checkpoint=setup.folder,
            batch_size=batch_size,
            pairs_per_run=pairs_per_run,
            num_workers=workers,
            watch=watch_progress,
            about=setup.describe(config, devices),
        )
    report_errors(result["errors"])
    if as_json:
        print_json(result)
    else:
        print_result(result)
    return 1 if result["errors"] else 0
