"""Everything that a model says about given inputs, layer by layer, to compare it with its original.

outputs = collect_outputs(read_checkpoint(folder), {"video": video})
outputs["block_3"]                                            # tokens after the fourth block
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from vidtldr_jax.inference.checkpoint import Checkpoint
from vidtldr_jax.models.architectures import make_module
from vidtldr_jax.models.block import Block
from vidtldr_jax.models.factorized import FactorizedBlock
from vidtldr_jax.models.umt_config import UMTConfig

TEXT_INPUTS = ("input_ids", "attention_mask")
_LATE = (
    *("tokens", "size", "pooled", "embedding", "logits", "text_tokens", "text_embedding", "similarity", "match"),
    *("question_states", "ranked_ids", "ranked_probabilities"),
)
QUESTION_INPUTS = ("question_ids", "question_mask", "answer_ids", "answer_mask", "k")


def collect_outputs(
    stored: Checkpoint, inputs: Mapping[str, np.ndarray], *, r: tuple[int, ...] = ()
) -> dict[str, np.ndarray]:
    """Runs a model in float32 with the highest matmul precision and returns every stage.

    Args:
      stored: the checkpoint.
      inputs: `video` `[B, T, Y, X, C]`; for retrieval `input_ids` and `attention_mask`; for question answering
        `question_ids`, `question_mask`, `answer_ids`, `answer_mask` and `k`.
      r: tokens that each block absorbs; empty is the plain model.

    Returns:
      In the order of computation: `embeddings`, `block_0` and on (those of an encoder over time behind `temporal_`),
      `tokens`, `size`, `pooled`, `embedding`, `logits`; `text_tokens`, `text_embedding`, `similarity`, `match`;
      `question_states`, `ranked_ids`, `ranked_probabilities`. Only what the model and the inputs give.
    """
    module = make_module(stored.config, r=r, dtype=jnp.float32, param_dtype=jnp.float32)
    flat = {path: jnp.asarray(value, jnp.float32) for path, value in stored.params.items()}
    params = traverse_util.unflatten_dict(flat, sep="/")
    arrays = {name: jnp.asarray(value) for name, value in inputs.items() if name != "k"}
    k = int(inputs["k"]) if "k" in inputs else 0
    with jax.default_matmul_precision("highest"):
        found = jax.jit(lambda p, a: _run(module, p, a, stored.config, k))(params, arrays)
    return {name: np.asarray(found[name]) for name in sorted(found, key=_find_place)}


def _run(module: Any, params: Any, inputs: Mapping[str, Any], config: Any, k: int) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def watch(next_call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        result = next_call(*args, **kwargs)
        if isinstance(context.module, Block | FactorizedBlock) and context.method_name == "__call__":
            path = context.module.path
            prefix = "temporal_" if "temporal_encoder" in path else ""
            # A merging block passes a state on, a factorised one the grid of tokens.
            is_state = isinstance(context.module, Block)
            before, after = (args[0].tokens, result[0].tokens) if is_state else (args[0], result)
            for name, tokens in ((f"{prefix}embeddings", before), (f"{prefix}{path[-1]}", after)):
                found.setdefault(name, tokens.reshape(tokens.shape[0], -1, tokens.shape[-1]))
        return result

    def call(*arguments: Any, method: str | None = None, **static: Any) -> Any:
        return module.apply({"params": params}, *arguments, method=method, **static)

    with nn.intercept_methods(watch):
        out = call(inputs["video"])
    fields = {"tokens": out.tokens, "size": out.size, "pooled": out.pooled, "embedding": out.embedding}
    found |= {name: value for name, value in {**fields, "logits": out.logits}.items() if value is not None}
    if not isinstance(config, UMTConfig):
        return found
    if config.task == "retrieval" and inputs.keys() >= set(TEXT_INPUTS):
        mask = inputs["attention_mask"]
        text = call(inputs["input_ids"], mask, method="encode_text")
        found |= {"text_tokens": text.tokens, "text_embedding": text.embedding}
        found["similarity"] = call(out.embedding, text.embedding, method="similarity")
        found["match"] = call(out.tokens, text.tokens, mask, method="match")
    if config.task == "question_answering" and k:
        question = inputs["question_ids"], inputs["question_mask"]
        answers = inputs["answer_ids"], inputs["answer_mask"]
        found["question_states"] = call(out.tokens, *question, method="encode_question")
        ranked = call(found["question_states"], question[1], *answers, k=k, method="rank_answers")
        found |= {"ranked_ids": ranked.ids, "ranked_probabilities": ranked.probabilities}
    return found


def _find_place(name: str) -> tuple[int, int]:
    """Orders names as they are computed; a dict comes back from jit sorted by name."""
    if name in _LATE:
        return 2, _LATE.index(name)
    number = name.rsplit("_", 1)[-1]
    return int(name.startswith("temporal_")), int(number) + 1 if number.isdigit() else 0
