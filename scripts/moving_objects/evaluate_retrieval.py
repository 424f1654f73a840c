"""Measures how often a sentence finds its clip among twelve, one of each motion.

    python scripts/moving_objects/evaluate_retrieval.py --out benchmarks/results/moving_objects_retrieval.json

Clips show digits and photos that training never saw, and the held-out sentences have phrases that it never saw. Every
sentence is asked in every gallery. Told is R@1, by similarity alone (ITC) and by looking at all twelve again (ITM),
plain and merged, with all clips of a gallery alike; chance is one in twelve.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from clips import draw_clips, load_small_pictures
from evaluate import describe_machine
from jaxtyping import Float, Int, UInt8
from pictures import PHOTOS
from scenes import LABELS
from sentences import HELD_OUT, TRAINED, Phrases, list_sentences
from train_retrieval import MAX_TOKENS
from training import normalise

from vidtldr_jax.inference.load import load_model
from vidtldr_jax.inference.text_model import RetrievalModel

SCHEDULES = ("none", "100,40", "144,72")


def draw_galleries(num_galleries: int, seed: int) -> tuple[UInt8[np.ndarray, "G 12 T Y X 3"], Int[np.ndarray, "G 12"]]:
    """Renders galleries from the test split: one clip of each motion, in random order, and its label."""
    pictures, size = load_small_pictures("test"), len(LABELS)
    drawn = [draw_clips(pictures, "test", number, batch_size=size, seed=seed) for number in range(num_galleries)]
    clips, labels = (np.stack(side) for side in zip(*drawn, strict=True))
    return clips, labels


def find_hits(scores: Float[np.ndarray, "12 S"], labels: Int[np.ndarray, " 12"], wanted: Int[np.ndarray, " S"]) -> Any:
    """Says of each sentence whether the clip with its motion has the highest score."""
    return labels[np.asarray(scores).argmax(0)] == wanted


def measure(model: RetrievalModel, clips: np.ndarray, labels: np.ndarray, phrases: Phrases) -> Mapping[str, Any]:
    """Measures one model with one kind of sentences.

    Args:
      model: plain or merged.
      clips: galleries, uint8.
      labels: theirs.
      phrases: `TRAINED` or `HELD_OUT`.

    Returns:
      R@1 both ways, of all and by motion.
    """
    asked = [(label, text) for label in LABELS for text in list_sentences(label, phrases)]
    wanted = np.array([LABELS.index(label) for label, _ in asked])
    ids, mask, _ = model.tokenize([text for _, text in asked], max_tokens=MAX_TOKENS)
    texts = model.encode_text(ids, mask)
    hits: dict[str, list[np.ndarray]] = {"similarity": [], "match": []}
    for gallery, shown in zip(clips, labels):
        video = model.encode_video(normalise(gallery))
        hits["similarity"].append(find_hits(model.similarity(video, texts), shown, wanted))
        hits["match"].append(find_hits(model.match(video, texts), shown, wanted))
    found = {name: np.stack(rows) for name, rows in hits.items()}  # [G, S]
    return {
        "sentences": len(asked),
        "r1_similarity": round(float(found["similarity"].mean()), 4),
        "r1_match": round(float(found["match"].mean()), 4),
        "r1_match_by_motion": {
            name: round(float(found["match"][:, wanted == index].mean()), 3) for index, name in enumerate(LABELS)
        },
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="moving-objects-retrieval", help="a checkpoint folder, or a shipped model")
    parser.add_argument("--galleries", type=int, default=64, help="of twelve clips each [default: %(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="of the clips [default: %(default)s]")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    if not isinstance(model, RetrievalModel):
        parser.error(f"--model is a model for retrieval; {arguments.model} is none")
    clips, labels = draw_galleries(arguments.galleries, arguments.seed)
    trained = {label: phrases[: len(HELD_OUT[label])] for label, phrases in TRAINED.items()}  # as many
    rows = []
    for schedule in SCHEDULES:
        merged = model.with_schedule(schedule)
        for name, phrases in (("trained", trained), ("held out", HELD_OUT)):
            found = measure(merged, clips, labels, phrases)
            rows.append({"schedule": merged.schedule.text, "phrases": name, **found})
            print(
                f"{merged.schedule.text:>8}  {name:>8}  {found['r1_similarity']:.1%}  {found['r1_match']:.1%}",
                flush=True,
            )
    result = {
        "question": "How often does a sentence find its clip among twelve, one of each motion?",
        "model": {"name": arguments.model, "source": model.source},
        "clips": {"galleries": len(clips), "in_each": len(LABELS), "seed": arguments.seed, "photos": PHOTOS["test"]},
        "chance": round(1 / len(LABELS), 4),
        **describe_machine(),
        "rows": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
