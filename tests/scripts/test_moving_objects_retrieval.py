from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.models.bert_config import BertConfig
from vidtldr_jax.models.umt import UMT

pytest.importorskip("optax")


@pytest.fixture
def start(monkeypatch):
    """A tiny UMT, and a batch of four clips of three motions with their sentences."""
    import train_retrieval

    config = dataclasses.replace(
        train_retrieval.CONFIG,
        vision=dataclasses.replace(
            train_retrieval.CONFIG.vision, dim=12, depth=1, num_heads=2, mlp_dim=12, embed_dim=8
        ),
        text=BertConfig(
            vocab_size=train_retrieval.CONFIG.text.vocab_size, max_positions=8, dim=16, depth=2, num_heads=2,
            mlp_dim=16, fusion_from_layer=1, context_dim=12,
        ),
    )  # fmt: skip
    monkeypatch.setattr(train_retrieval, "CONFIG", config)
    rng = np.random.default_rng(0)
    flat = {
        name: (0.2 * rng.normal(size=shape) + name.endswith("scale")).astype(np.float32)
        for name, shape in find_param_shapes(config).items()
    }
    params = traverse_util.unflatten_dict(flat | {"temperature": np.float32(0.07)}, sep="/")
    texts = ["they go up", "it rises", "they grow", "digits are moving left"]
    ids, mask, _ = train_retrieval.make_tokenizer().encode(texts, max_tokens=8)
    tokens = rng.normal(size=(4, 6, 12)).astype(np.float32)
    batch = train_retrieval.Batch(tokens, tokens.mean(1), ids, mask, np.array([2, 2, 4, 0]))
    return params, jax.tree.map(jnp.asarray, batch)


@functools.partial(jax.jit, static_argnums=0)
def match_all(config, params, batch):
    """Logits of every clip with every sentence."""
    model = UMT(config)
    text = model.apply({"params": params}, batch.ids, batch.mask, method="encode_text")
    return model.apply({"params": params}, batch.tokens, text.tokens, text.mask, method="match")


def test_steps_lower_both_losses_of_one_batch_and_leave_the_first_match_logit_alone(start):
    import train_retrieval

    params, batch = start
    optimizer = optax.adam(3e-3)
    moments = optimizer.init(params)

    @jax.jit
    def step(params, moments, key):
        (_, parts), gradients = jax.value_and_grad(train_retrieval.find_loss, has_aux=True)(params, batch, key)
        updates, moments = optimizer.update(gradients, moments)
        return optax.apply_updates(params, updates), moments, parts

    before = np.array(params["match_head"]["kernel"])
    reports = []
    for number in range(30):
        params, moments, parts = step(params, moments, jax.random.key(number))
        reports.append(parts)
    # Two of four clips show one motion: each of them has two right sentences, so that log 2 / 2 is the least.
    assert np.log(2) / 2 < reports[-1]["contrast"] < reports[0]["contrast"]
    assert np.mean([part["match"] for part in reports[-5:]]) < np.mean([part["match"] for part in reports[:5]])
    logits = np.asarray(match_all(train_retrieval.CONFIG, params, batch))
    is_right = np.asarray(batch.label)[:, None] == np.asarray(batch.label)
    assert logits[is_right].mean() > logits[~is_right].mean() + 0.1
    after = np.asarray(params["match_head"]["kernel"])
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    assert np.abs(after[:, 1] - before[:, 1]).max() > 1e-3


def test_the_contrast_takes_every_clip_and_sentence_of_one_motion_for_right(start):
    import train_retrieval

    params, batch = start
    find = jax.jit(lambda batch: train_retrieval.find_loss(params, batch, jax.random.key(0))[1]["contrast"])
    one = find(batch)
    swapped = batch._replace(ids=batch.ids[np.array([1, 0, 2, 3])], mask=batch.mask[np.array([1, 0, 2, 3])])
    np.testing.assert_allclose(find(swapped), one, rtol=1e-5)
    other = batch._replace(ids=batch.ids[np.array([2, 1, 0, 3])], mask=batch.mask[np.array([2, 1, 0, 3])])
    assert abs(find(other) - one) > 1e-4


def test_the_tokenizer_has_a_token_for_each_word_and_one_for_all_others():
    import train_retrieval
    from sentences import SPECIAL, list_words

    words = list_words()
    ids, mask, _ = train_retrieval.make_tokenizer().encode(["penguins are moving left", "[UNK] grow"], max_tokens=8)
    unknown, first, last = (words.index(name) for name in SPECIAL[1:])
    are, moving, left, grow = (words.index(name) for name in ("are", "moving", "left", "grow"))
    assert ids[0, :6].tolist() == [first, unknown, are, moving, left, last]
    assert ids[1, :4].tolist() == [first, unknown, grow, last]
    assert mask.sum(1).tolist() == [6, 4]


def test_a_hit_is_a_clip_of_the_wanted_motion():
    import evaluate_retrieval

    scores = np.array([[0.1, 0.9, 0.3], [0.5, 0.2, 0.8], [0.4, 0.3, 0.9]])  # [clips, sentences]
    labels, wanted = np.array([7, 3, 5]), np.array([3, 7, 3])
    assert evaluate_retrieval.find_hits(scores, labels, wanted).tolist() == [True, True, False]
