"""UMT: a video encoder that merges tokens, a text encoder that can look at what is left, and heads.

    model = UMT(config, r=(600, 200, 100) + (0,) * 9)
    out = model.apply({"params": params}, video)                                              # a VideoOutput
    text = model.apply({"params": params}, input_ids, attention_mask, method="encode_text")   # a TextOutput
    scores = model.apply({"params": params}, out.tokens, text.tokens, attention_mask, method="match")

`video` is as for `VideoViT`; ids and masks are `[B, N]`. `apply` jits as it is; `k` is static.

Reference:
  UMT, arXiv 2303.16058; merged tokens of all sizes count alike in the cross-attention, as in the official vid-TLDR.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from vidtldr_jax import ops
from vidtldr_jax.models.bert import Bert, LanguageModelHead, ProjectedContext
from vidtldr_jax.models.dropout import DropRates
from vidtldr_jax.models.encoder import Tracing
from vidtldr_jax.models.question_answering import RankedAnswers, find_candidates, rank_candidates
from vidtldr_jax.models.remat import Remat
from vidtldr_jax.models.umt_config import UMTConfig
from vidtldr_jax.models.video_vit import VideoOutput, VideoViT
from vidtldr_jax.reduction.methods import DEFAULT_METHOD, Method


class TextOutput(NamedTuple):
    """What the text encoder returns.

    Attributes:
      tokens: `[S, N, D]`, the tokens before the first fusion layer.
      embedding: `[S, E]` float32, the projection of the first token.
      mask: `[S, N]`, 1 for a token, 0 for padding.
    """

    tokens: Float[Array, "S N D"]
    embedding: Float[Array, "S E"]
    mask: Shaped[Array, "S N"]


class UMT(nn.Module):
    """Video and text encoders with the heads of one task.

    Attributes:
      config: the model's description.
      r: tokens that each block of the video encoder loses, one per block; empty is the plain model.
      method: how they are chosen, see `reduction.methods`.
      form: how the video encoder's attention is computed, see `ops.attend`.
      dtype: computation dtype; softmax, norms, saliency and merging are float32 in any case.
      param_dtype: parameter dtype.
      is_stacked: the parameters of the blocks are stacked, see `Encoder`.
      drop_rates: what the video encoder drops in training, see `DropRates`; the text encoder drops nothing.
      remat: compute the video encoder's blocks again in the backward pass, see `VideoViT`.
      merging: how absorbed tokens are summed, see `ops.merge_tokens`.
    """

    config: UMTConfig
    r: tuple[int, ...] = ()
    method: Method = DEFAULT_METHOD
    form: ops.AttentionForm = "auto"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    is_stacked: bool = False
    drop_rates: DropRates = DropRates()
    remat: Remat = False
    merging: ops.MergeForm = "auto"

    def setup(self) -> None:
        """Declares the parts; a task has only those that it needs."""
        config = self.config
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        blocks = {"is_stacked": self.is_stacked, "drop_rates": self.drop_rates, "remat": self.remat, **dtypes}
        blocks |= {"merging": self.merging}
        self.vision = VideoViT(config.vision, self.r, self.method, self.form, **blocks)
        self.text = Bert(config.text, **dtypes)
        if config.task == "retrieval":
            self.text_projection = nn.Dense(config.vision.embed_dim, **dtypes)
            self.match_head = nn.Dense(2, **dtypes)
            self.temperature = self.param("temperature", nn.initializers.constant(0.07), (), self.param_dtype)
        else:
            self.decoder = Bert(config.decoder, **dtypes)
            self.lm_head = LanguageModelHead(config.decoder, **dtypes)

    def __call__(
        self, video: Float[Array, "B T Y X C"], *, trace: Tracing = False, deterministic: bool = True
    ) -> VideoOutput:
        """Encodes a batch of videos.

        Args:
          video: normalised frames, channels last.
          trace: also return where every original token went, see `Encoder`. Static.
          deterministic: drop nothing; False draws from the stream "dropout" of `rngs`. Static.

        Returns:
          A `VideoOutput`; `embedding` is None for question answering.

        Raises:
          ValueError: the video does not fit, r is not one number per block, or there is no key to draw from.
        """
        return self.vision(video, trace=trace, deterministic=deterministic)

    def encode_text(self, input_ids: Int[Array, "S N"], attention_mask: Shaped[Array, "S N"]) -> TextOutput:
        """Encodes texts on their own.

        Args:
          input_ids: the texts' tokens.
          attention_mask: 1 for a token, 0 for padding.

        Returns:
          A `TextOutput`.

        Raises:
          ValueError: the model is not for retrieval, or a text is too long.
        """
        self._require("retrieval", "encode_text")
        tokens = self.text.encode_text(input_ids, attention_mask)
        return TextOutput(tokens, self.text_projection(tokens[:, 0]).astype(jnp.float32), attention_mask)

    def similarity(self, video: Float[Array, "V E"], text: Float[Array, "S E"]) -> Float[Array, "V S"]:
        """Compares embeddings of videos and texts (ITC).

        Args:
          video: embeddings of videos.
          text: embeddings of texts.

        Returns:
          Cosines, float32.
        """
        return jnp.einsum("ve,se->vs", _normalise(video), _normalise(text))

    def match(
        self,
        video_tokens: Float[Array, "V M C"],
        text_tokens: Float[Array, "S N D"],
        attention_mask: Shaped[Array, "S N"],
    ) -> Float[Array, "V S"]:
        """Lets every text look at every video (ITM).

        Args:
          video_tokens: the surviving tokens of videos.
          text_tokens: of texts, as `encode_text` returned them.
          attention_mask: 1 for a token, 0 for padding.

        Returns:
          The logit of "they match", float32, for each pair.

        Raises:
          ValueError: the model is not for retrieval.
        """
        videos, texts = video_tokens.shape[0], text_tokens.shape[0]
        pairs = jnp.tile(text_tokens, (videos, 1, 1))  # [V S, N, D]
        return self.match_pairs(video_tokens, pairs, jnp.tile(attention_mask, (videos, 1))).reshape(videos, texts)

    def match_pairs(
        self,
        video_tokens: Float[Array, "V M C"],
        text_tokens: Float[Array, "P N D"],
        attention_mask: Shaped[Array, "P N"],
    ) -> Float[Array, " P"]:
        """Lets texts look at one video each (ITM).

        Args:
          video_tokens: the surviving tokens of videos.
          text_tokens: of texts, as `encode_text` returned them; P is a multiple of V, and P/V in a row share a video.
          attention_mask: 1 for a token, 0 for padding.

        Returns:
          The logit of "they match", float32.

        Raises:
          ValueError: the model is not for retrieval, or the numbers of videos and texts don't fit.
        """
        self._require("retrieval", "match")
        tokens = self.text.fuse(text_tokens, attention_mask, video_tokens)
        return self.match_head(tokens[:, 0]).astype(jnp.float32)[:, 1]

    def project_video(self, video_tokens: Float[Array, "V M C"]) -> tuple[ProjectedContext, ...]:
        """Computes once what every text needs of a video to look at it.

        Args:
          video_tokens: the surviving tokens of videos.

        Returns:
          Keys and values of each fusion layer.

        Raises:
          ValueError: the tokens don't fit the model.
        """
        return self.text.project_context(video_tokens)

    def match_projected(
        self,
        projected: tuple[ProjectedContext, ...],
        text_tokens: Float[Array, "P N D"],
        attention_mask: Shaped[Array, "P N"],
    ) -> Float[Array, " P"]:
        """Lets texts look at one video each (ITM), as `match_pairs` does, for less.

        Args:
          projected: what `project_video` returned of V videos; P is a multiple of V, and P/V texts in a row share one.
          text_tokens: of texts, as `encode_text` returned them.
          attention_mask: 1 for a token, 0 for padding.

        Returns:
          The logit of "they match", float32.

        Raises:
          ValueError: the model is not for retrieval.
        """
        self._require("retrieval", "match_projected")
        first = self.text.fuse_first(text_tokens, attention_mask, projected)
        return self.match_head(first).astype(jnp.float32)[:, 1]

    def encode_question(
        self,
        video_tokens: Float[Array, "G M C"],
        question_ids: Int[Array, "P N"],
        question_mask: Shaped[Array, "P N"],
    ) -> Float[Array, "P N D"]:
        """Reads questions while looking at videos.

        Args:
          video_tokens: the surviving tokens of videos; P is a multiple of G, and P/G questions in a row share one.
          question_ids: the questions' tokens.
          question_mask: 1 for a token, 0 for padding.

        Returns:
          The questions' tokens after the last layer.

        Raises:
          ValueError: a question is too long, or the numbers of videos and questions don't fit.
        """
        return self.text(question_ids, question_mask, video_tokens)

    def rank_answers(
        self,
        question_states: Float[Array, "B N D"],
        question_mask: Shaped[Array, "B N"],
        answer_ids: Int[Array, "A L"],
        answer_mask: Shaped[Array, "A L"],
        *,
        k: int,
    ) -> RankedAnswers:
        """Finds the most probable of a list of answers to each question.

        The first words of all answers are rated at once; the k best answers are then rated in full.

        Args:
          question_states: what `encode_question` returned.
          question_mask: 1 for a token, 0 for padding.
          answer_ids: the answers' tokens, each with the same start token in front.
          answer_mask: 1 for a token, 0 for padding.
          k: how many answers to rate in full, 1 to A. Static.

        Returns:
          `RankedAnswers`, the most probable first.

        Raises:
          ValueError: the model is not for question answering, or k does not fit.
        """
        self._require("question_answering", "rank_answers")
        if not 1 <= k <= answer_ids.shape[0]:
            raise ValueError(f"k is 1 to {answer_ids.shape[0]}, the number of answers; got {k}; change it.")
        batch, length = question_states.shape[0], answer_ids.shape[1]
        answer_ids, answer_mask = jnp.asarray(answer_ids), jnp.asarray(answer_mask)
        start_ids = jnp.broadcast_to(answer_ids[:1, :1], (batch, 1))
        first = self._predict(start_ids, jnp.ones_like(start_ids), question_states, question_mask)[:, 0]  # [B, vocab]
        candidates = find_candidates(first, answer_ids, k=k)  # [B, k]
        ids = answer_ids[candidates].reshape(batch * k, length)
        mask = answer_mask[candidates].reshape(batch * k, length)
        # What follows the start token is known from `first`, and what follows the last token is not asked for.
        tokens = self.decoder(ids[:, :-1], mask[:, :-1], question_states, question_mask)
        logits = self.lm_head(tokens[:, 1:])  # [B k, L - 2, vocab]
        return rank_candidates(first, logits, ids, mask, candidates)

    def answer(
        self,
        video: Float[Array, "B T Y X C"],
        question_ids: Int[Array, "B N"],
        question_mask: Shaped[Array, "B N"],
        answer_ids: Int[Array, "A L"],
        answer_mask: Shaped[Array, "A L"],
        *,
        k: int,
    ) -> RankedAnswers:
        """Answers one question about each video out of a list.

        Args:
          video: normalised frames, channels last.
          question_ids: the questions' tokens.
          question_mask: 1 for a token, 0 for padding.
          answer_ids: the answers' tokens, each with the same start token in front.
          answer_mask: 1 for a token, 0 for padding.
          k: how many answers to rate in full. Static.

        Returns:
          `RankedAnswers`, the most probable first.

        Raises:
          ValueError: the model is not for question answering, or something does not fit.
        """
        return self.answer_questions(self(video).tokens, question_ids, question_mask, answer_ids, answer_mask, k=k)

    def answer_questions(
        self,
        video_tokens: Float[Array, "G M C"],
        question_ids: Int[Array, "P N"],
        question_mask: Shaped[Array, "P N"],
        answer_ids: Int[Array, "A L"],
        answer_mask: Shaped[Array, "A L"],
        *,
        k: int,
    ) -> RankedAnswers:
        """Answers questions about videos that are encoded already, see `encode_question` and `rank_answers`."""
        states = self.encode_question(video_tokens, question_ids, question_mask)
        return self.rank_answers(states, question_mask, answer_ids, answer_mask, k=k)

    def _predict(self, ids: Array, mask: Array, question_states: Array, question_mask: Array) -> Array:
        return self.lm_head(self.decoder(ids, mask, question_states, question_mask))

    def _require(self, task: str, name: str) -> None:
        if self.config.task != task:
            raise ValueError(
                f"UMT.{name}: a model for {task} is needed; this one is for {self.config.task}; load another one."
            )


def _normalise(embedding: Float[Array, "B E"]) -> Float[Array, "B E"]:
    values = embedding.astype(jnp.float32)
    length = jnp.linalg.norm(values, axis=-1, keepdims=True)
    return values / jnp.maximum(length, 1e-12)  # a zero vector stays zero


def init_variables(config: UMTConfig, key: Any) -> Any:
    """Makes the variables of a `UMT`; use it under `jax.eval_shape` where only shapes are wanted."""
    vision = config.vision
    video = jnp.zeros((1, vision.num_frames, vision.image_size, vision.image_size, vision.num_channels), jnp.float32)
    ids = jnp.zeros((1, 2), jnp.int32)

    def use_every_part(model: UMT) -> Array:
        if config.task == "question_answering":
            return model.answer(video, ids, ids + 1, ids, ids + 1, k=1).probabilities
        text = model.encode_text(ids, ids + 1)
        return model.match(model(video).tokens, text.tokens, ids + 1)

    return UMT(config).init(key, method=use_every_part)
