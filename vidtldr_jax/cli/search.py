"""`vidtldr search`: a sentence in, the videos of an index that it describes out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from vidtldr_jax.cli.evaluation_files import report_errors
from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.options import ModelType, cache_option, find_model, json_option, verbose_option
from vidtldr_jax.cli.output import print_json, print_note, print_table
from vidtldr_jax.cli.text_models import EVERYDAY, build, open_umt, tokenizer_option
from vidtldr_jax.cli.words import note_unknown_words
from vidtldr_jax.trust.digests import hash_file

if TYPE_CHECKING:
    from vidtldr_jax.inference.text_model import RetrievalModel
    from vidtldr_jax.search.features import FeatureStore

_RERANK: Final = 100
_EPILOG: Final = """\b
Examples:
  vidtldr search index "a dog catches a frisbee"
  vidtldr search index "a dog catches a frisbee" --top-k 5 --rerank 100 --json
"""


@click.command(epilog=_EPILOG)
@click.argument("index", metavar="FOLDER", type=click.Path())
@click.argument("text", metavar="TEXT")
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Videos to show.")
@click.option(
    "--rerank",
    type=click.IntRange(min=0),
    help=f"Number of the most similar videos to re-rank.  [default: {_RERANK} if the index has tokens, else 0]",
)
@click.option(
    "--model",
    type=ModelType(),
    metavar="FOLDER|NAME",
    help="Checkpoint folder of the index's model.  [default: the one it was made with]",
)
@tokenizer_option
@json_option
@cache_option
@verbose_option
def search(
    index: str, text: str, top_k: int, rerank: int | None, model: str | None, tokenizer: str | None, as_json: bool
) -> int:
    """Finds the videos of an index that a sentence describes.

    similarity is the cosine of the two embeddings. With the tokens in the index, the text then looks at the most
    similar videos; match is the logit of "they match", and these videos are ordered by it. A video whose numbers are
    not finite is named and left out; the exit code is then 1.
    """
    from vidtldr_jax.search.features import read_features
    from vidtldr_jax.search.index import MOST_WORDS, list_videos, read_index_run, search_index
    from vidtldr_jax.search.index_prune import is_gone

    try:
        store = read_features(index)
        if len(store) == 0:
            raise CommandError(f"an index has videos; {index} has none; add some with vidtldr embed.")
        loaded = _open_model(store, model, tokenizer)
        again = (_RERANK if store.has_tokens else 0) if rerank is None else rerank
        count = len(list_videos(store))
        longest = min(MOST_WORDS, loaded.config.text.max_positions)
        if loaded.tokenize([text], max_tokens=longest).num_cut:
            print_note(f"the text is longer than {longest} tokens; its end was cut off")
        errors: dict[str, str] = {}
        unknown: list[str] = []
        hits = search_index(
            store,
            loaded,
            text,
            top_k=top_k,
            rerank=again,
            fault=lambda path, error: errors.update({path: str(error)}),
            unknown=unknown.extend,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    if unknown:
        note_unknown_words(unknown)
    report_errors(errors)
    found = [hit._asdict() | {"rank": rank, "exists": not is_gone(hit.path)} for rank, hit in enumerate(hits, 1)]
    if as_json:
        print_json(
            {
                "index": index, "text": text, "videos": count, "reranked": min(again, count),
                "schedule": read_index_run(store)["schedule"], "results": found,
                "errors": errors, "unknown_words": unknown,
            }
        )  # fmt: skip
        return 1 if errors else 0
    num_gone = sum(not hit["exists"] for hit in found)
    if num_gone:
        print_note(f"{num_gone} of these are not there any more; vidtldr embed --prune takes them out of {index}")
    print_table(("video", "similarity", "match"), [_format(hit) for hit in found])
    return 1 if errors else 0


def _format(hit: dict[str, Any]) -> tuple[str, str, str]:
    gone = "" if hit["exists"] else "  (not there any more)"
    return f"{hit['path']}{gone}", f"{hit['similarity']:.4f}", "-" if hit["match"] is None else f"{hit['match']:.3f}"


def _open_model(store: FeatureStore, name: str | None, tokenizer: str | None) -> RetrievalModel:
    """Opens the model that an index was made with, or says that it is another one."""
    from vidtldr_jax.inference.checkpoint import WEIGHTS_NAME
    from vidtldr_jax.inference.text_model import RetrievalModel
    from vidtldr_jax.search.index import read_index_run

    run = read_index_run(store)
    noted = store.about.get("checkpoint")
    place = name or str(noted)
    if name is None and not Path(place).is_dir():
        fault = "it is not noted where that is" if noted is None else f"it is no longer at {place}"
        raise CommandError(f"an index is searched with its own model; {fault}; give --model.")
    folder = find_model(place)
    stored = open_umt(folder, place, task="retrieval", tokenizer=tokenizer, commands=EVERYDAY)
    found = hash_file(folder / WEIGHTS_NAME)
    if found != run["checkpoint_sha256"]:
        raise CommandError(
            f"an index is searched with its own model, SHA-256 {run['checkpoint_sha256'][:12]}...; the weights in "
            f"{place} have {found[:12]}...; give --model, or embed the videos anew."
        )
    loaded = build(stored, stored.preprocessing, None, None, run["dtype"], 1)
    assert isinstance(loaded, RetrievalModel)
    return loaded
