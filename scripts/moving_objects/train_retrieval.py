"""Trains the shipped model that finds clips by a sentence: a small BERT beside the shipped video tower.

    python scripts/moving_objects/train_retrieval.py --out vidtldr_jax/assets/moving_objects_retrieval

The video tower is that of moving-objects and stays as it is: its tokens are computed once for all training clips, so
that a step costs little. Learnt are the text tower, both projections and the head that says whether a sentence and a
clip match, by UMT's two losses: contrast of embeddings, where all clips and sentences of one motion are right for each
other, and matching, against wrong clips and sentences that look right to the embeddings. Minutes on two cores; needs
the extras `pictures` and `retrieval`.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clips import draw_clips, load_small_pictures
from jaxtyping import Array, Float, Int
from pictures import PHOTOS
from scenes import LABELS
from sentences import TRAINED, draw_sentence, list_words
from train import CONFIG as VIDEO_CONFIG
from training import Recipe, make_optimizer, normalise

from vidtldr_jax.data.text import TextTokenizer, read_tokenizer
from vidtldr_jax.inference.checkpoint import save_checkpoint
from vidtldr_jax.inference.load import load_model
from vidtldr_jax.models.bert_config import BertConfig
from vidtldr_jax.models.umt import UMT, init_variables
from vidtldr_jax.models.umt_config import UMTConfig

VIDEO_MODEL = "moving-objects"
MAX_TOKENS = 24
CONFIG = UMTConfig(
    task="retrieval",
    vision=dataclasses.replace(VIDEO_CONFIG, num_classes=None, embed_dim=32),
    text=BertConfig(
        vocab_size=len(list_words()),
        max_positions=MAX_TOKENS,
        dim=64,
        depth=3,
        num_heads=4,
        mlp_dim=192,
        fusion_from_layer=2,
        context_dim=VIDEO_CONFIG.dim,
    ),
)
RECIPE = Recipe(steps=2000, batch_size=48)
_USED = (
    "seed",
    "steps",
    "batch_size",
    "optimizer",
    "learning_rate",
    "warmup_steps",
    "weight_decay",
    "clip_norm",
    "ema",
)
_RENDERED_AT_ONCE = 64
Params = Mapping[str, Any]


class EncodedClips(NamedTuple):
    """What the text's side learns from; `N` is all tokens of a clip.

    Attributes:
      tokens: `[C, N, D]` float16.
      pooled: `[C, D]` float32.
      label: `[C]`, indices into `LABELS`.
    """

    tokens: Float[np.ndarray, "C N D"]
    pooled: Float[np.ndarray, "C D"]
    label: Int[np.ndarray, " C"]


class Batch(NamedTuple):
    """Clips with a sentence each.

    Attributes:
      tokens: `[B, N, D]`.
      pooled: `[B, D]`.
      ids: `[B, S]`, the sentences' tokens.
      mask: `[B, S]`.
      label: `[B]`.
    """

    tokens: Float[Array, "B N D"]
    pooled: Float[Array, "B D"]
    ids: Int[Array, "B S"]
    mask: Int[Array, "B S"]
    label: Int[Array, " B"]


def make_tokenizer() -> TextTokenizer:
    """Makes the tokenizer: one token for each word of the sentences, [UNK] for any other."""
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder) / "vocab.txt"
        vocabulary.write_text("\n".join(list_words()) + "\n", encoding="utf-8")
        return read_tokenizer(vocabulary)


def encode_clips(num_clips: int, seed: int) -> EncodedClips:
    """Renders training clips and encodes them with the shipped model.

    Args:
      num_clips: rounded up to full batches.
      seed: of the clips.

    Returns:
      Their tokens, kept in half precision.
    """
    model, pictures = load_model(VIDEO_MODEL), load_small_pictures("train")
    parts = []
    for number in range(-(-num_clips // _RENDERED_AT_ONCE)):
        clips, label = draw_clips(pictures, "train", number, batch_size=_RENDERED_AT_ONCE, seed=seed)
        out = model.encode_video(normalise(clips))
        parts.append(EncodedClips(np.asarray(out.tokens, np.float16), np.asarray(out.pooled), label))
    return EncodedClips(*map(np.concatenate, zip(*parts)))


def make_params(seed: int) -> dict[str, Any]:
    """Draws the parameters; the video tower is the shipped model's."""
    params = dict(jax.jit(lambda key: init_variables(CONFIG, key)["params"])(jax.random.key(seed)))
    trained = load_model(VIDEO_MODEL).params
    tower = {name: jax.tree.map(jnp.array, trained[name]) for name in params["vision"].keys() - {"projection"}}
    # Only the second logit is trained, as the logarithm of the odds; the first one is 0, so that both agree.
    head = jax.tree.map(lambda leaf: leaf.at[..., 0].set(0.0), params["match_head"])
    return params | {"vision": params["vision"] | tower, "match_head": head}


def find_loss(params: Params, batch: Batch, key: Array) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Computes the sum of UMT's two losses.

    Args:
      params: nested parameters of the UMT.
      batch: clips and sentences.
      key: decides which wrong ones are looked at.

    Returns:
      The loss, and both parts with the share of pairs that the head judges rightly.
    """
    model = UMT(CONFIG)
    text = model.apply({"params": params}, batch.ids, batch.mask, method="encode_text")
    projection = params["vision"]["projection"]
    video = batch.pooled @ projection["kernel"] + projection["bias"]  # [B, E]
    cosines = model.apply({"params": params}, video, text.embedding, method="similarity")
    similarity = cosines / jnp.clip(params["temperature"], 0.01, 0.5)  # [B videos, B texts]
    is_right = batch.label[:, None] == batch.label
    contrast = sum(
        -(jax.nn.log_softmax(scores, -1) * is_right).sum(-1) / is_right.sum(-1) for scores in (similarity, similarity.T)
    )
    wrong = jnp.where(is_right, -jnp.inf, similarity)
    text_key, video_key = jax.random.split(key)
    row = jnp.arange(len(batch.label))
    texts = jnp.concatenate([row, jax.random.categorical(text_key, wrong), row])  # right, wrong text, wrong video
    videos = jnp.concatenate([row, row, jax.random.categorical(video_key, wrong.T)])
    logits = model.apply(
        {"params": params}, batch.tokens[videos], text.tokens[texts], batch.mask[texts], method="match_pairs"
    )
    is_match = jnp.repeat(jnp.array([1.0, 0.0, 0.0]), len(row))
    match = optax.sigmoid_binary_cross_entropy(logits, is_match).mean()
    judged = ((logits > 0) == (is_match > 0)).mean()
    return contrast.mean() / 2 + match, {"contrast": contrast.mean() / 2, "match": match, "judged rightly": judged}


def train(clips: EncodedClips, recipe: Recipe, *, report_every: int = 200) -> Params:
    """Trains all but the video tower, and prints its way.

    Args:
      clips: of training.
      recipe: its steps, batch size, optimiser and seed.
      report_every: steps between reports.

    Returns:
      The averaged parameters.
    """
    tokenizer, rng = make_tokenizer(), np.random.default_rng(recipe.seed)
    params = make_params(recipe.seed)
    tower = {name: part for name, part in params["vision"].items() if name != "projection"}
    learnt = params | {"vision": {"projection": params["vision"]["projection"]}}
    optimizer = make_optimizer(recipe)

    @jax.jit
    def step(learnt: Params, average: Params, moments: Any, batch: Batch, key: Array) -> Any:
        (_, parts), gradients = jax.value_and_grad(find_loss, has_aux=True)(learnt, batch, key)
        updates, moments = optimizer.update(gradients, moments, learnt)
        learnt = optax.apply_updates(learnt, updates)
        average = jax.tree.map(lambda old, new: recipe.ema * old + (1 - recipe.ema) * new, average, learnt)
        return learnt, average, moments, parts

    average, moments, began, reports = learnt, optimizer.init(learnt), time.monotonic(), []
    for number in range(recipe.steps):
        rows = rng.choice(len(clips.label), recipe.batch_size, replace=False)
        texts = [draw_sentence(rng, LABELS[label], TRAINED) for label in clips.label[rows]]
        ids, mask, _ = tokenizer.encode(texts, max_tokens=MAX_TOKENS)
        padding = ((0, 0), (0, MAX_TOKENS - ids.shape[1]))  # one length, one compilation
        ids, mask = np.pad(ids, padding), np.pad(mask, padding)
        batch = Batch(clips.tokens[rows].astype(np.float32), clips.pooled[rows], ids, mask, clips.label[rows])
        learnt, average, moments, parts = step(learnt, average, moments, batch, jax.random.key(number))
        reports.append(parts)
        if (number + 1) % report_every == 0 or number + 1 == recipe.steps:
            means = {name: float(np.mean([report[name] for report in reports])) for name in parts}
            told = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
            print(f"step {number + 1}/{recipe.steps}  {time.monotonic() - began:.0f} s  {told}", flush=True)
            reports = []
    return average | {"vision": average["vision"] | tower}


def main() -> None:
    """Trains and writes the checkpoint folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint folder to write")
    parser.add_argument("--clips", type=int, default=6144, help="training clips [default: %(default)s]")
    parser.add_argument("--steps", type=int, default=RECIPE.steps, help="[default: %(default)s]")
    parser.add_argument("--seed", type=int, default=RECIPE.seed, help="[default: %(default)s]")
    arguments = parser.parse_args()
    recipe = dataclasses.replace(RECIPE, steps=arguments.steps, seed=arguments.seed)
    began, cpu_began = time.monotonic(), time.process_time()
    params = train(encode_clips(arguments.clips, recipe.seed), recipe)
    save_checkpoint(
        arguments.out,
        params=jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), params),
        config=CONFIG,
        family="umt_retrieval",
        preprocessing=load_model(VIDEO_MODEL).preprocessing,
        tokenizer=make_tokenizer().to_json(),
        source={
            "made_by": "scripts/moving_objects/train_retrieval.py",
            "video_tower": f"{VIDEO_MODEL}, not trained further, in float16",
            "clips": arguments.clips,
            "recipe": {name: getattr(recipe, name) for name in _USED},
            "training_seconds": round(time.monotonic() - began),
            "training_cpu_seconds": round(time.process_time() - cpu_began),
            "photos": {"train": list(PHOTOS["train"]), "test": list(PHOTOS["test"])},
            "jax": jax.__version__,
            "machine": platform.machine(),
        },
    )
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
