"""Models that also read: for retrieval (`RetrievalModel`) and for questions (`AnsweringModel`).

    model = load_model("checkpoints/umt-b16-msrvtt", schedule="600,200,100")
    video = model.encode_video(clips)                                  # a VideoOutput
    ids, mask, _ = model.tokenize(["A dog catches a frisbee."], max_tokens=32)
    text = model.encode_text(ids, mask)                                # .tokens [S, N, D], .embedding [S, E], .mask
    model.similarity(video, text)                                      # cosines (ITC), [V, S]
    model.match(video, text)                                           # logits of "they match" (ITM), [V, S]

Every function is compiled once per shape and dtype.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from vidtldr_jax.data.text import EncodedTexts, TextError, TextTokenizer, clean_text, quote_words
from vidtldr_jax.inference.empty import is_empty, make_empty
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.sharding import place_batch, split_results
from vidtldr_jax.models.architectures import make_module
from vidtldr_jax.models.bert import ProjectedContext
from vidtldr_jax.models.question_answering import RankedAnswers
from vidtldr_jax.models.umt import TextOutput
from vidtldr_jax.models.umt_config import UMTConfig
from vidtldr_jax.models.video_vit import VideoOutput
from vidtldr_jax.ops.checks import check_alike, check_array, check_axes, check_count, check_record


class TextModel(VideoModel):
    """A `VideoModel` with a text encoder.

    Attributes:
      config: the architecture, a `UMTConfig`.
    """

    config: UMTConfig
    task: ClassVar[str] = ""

    @functools.cached_property
    def text_tokenizer(self) -> TextTokenizer:
        """The tokenizer of its texts.

        Raises:
          TextError: the checkpoint has none, it is not the model's, or `tokenizers` is not installed.
        """
        if self.tokenizer is None:
            raise TextError(
                "a model that reads has a tokenizer.json in its folder; this one has none; give "
                "--tokenizer, the model's vocab.txt or tokenizer.json, or convert the weights with it."
            )
        found = TextTokenizer.from_json(self.tokenizer, name="the checkpoint's tokenizer.json")
        found.check_size(self.config.text.vocab_size)
        return found

    def tokenize(self, texts: Sequence[str], *, max_tokens: int) -> EncodedTexts:
        """Cleans texts and turns them into ids.

        Args:
          texts: as people write them.
          max_tokens: the most of a text; what is beyond is cut off.

        Returns:
          `EncodedTexts`.

        Raises:
          TextError: a text has no words, there is no tokenizer, or the model's position table is shorter.
        """
        cleaned = [clean_text(text) for text in texts]
        if not all(cleaned):
            raise TextError(f"a text has words; {texts[cleaned.index('')]!r} has none; write some.")
        if max_tokens > self.config.text.max_positions:
            raise TextError(
                f"a text has at most {self.config.text.max_positions} tokens in this model; got "
                f"{max_tokens}; allow fewer."
            )
        return self.text_tokenizer.encode(cleaned, max_tokens=max_tokens)

    def check_words(self, text: str) -> tuple[str, ...]:
        """Tell the words of a text that the tokenizer does not know, and refuse a text that has no others.

        Args:
          text: as people write it.

        Returns:
          The unknown words.

        Raises:
          TextError: the text has no word that the tokenizer knows, or there is no tokenizer.
        """
        (found,) = self.text_tokenizer.look_up([clean_text(text)])
        if not found.num_known:
            unknown = f"knows none of {quote_words(found.unknown)}" if found.unknown else "finds no word"
            raise TextError(
                f"a text needs a word that the model's tokenizer knows; of {text!r} it {unknown}; use other words."
            )
        return found.unknown

    def _run(self, method: str, *arguments: Any, **static: Any) -> Any:
        """Calls a method of the module, compiled."""
        function = _compiled_method(self.config, self.dtype, self.is_stacked, method, tuple(sorted(static.items())))
        if is_empty(arguments):
            return make_empty(function, self.weights, *arguments)
        return function(self.weights, *arguments)

    def _place(self, batch: Any) -> Any:
        """Splits a batch over the devices of a mesh."""
        return batch if self.mesh is None or is_empty(batch) else place_batch(batch, self.mesh)

    def _split(self, results: Any) -> Any:
        """Splits results over the devices of several processes, so that each has those of its own share."""
        return results if self.mesh is None else split_results(results, self.mesh)


class RetrievalModel(TextModel):
    """Videos and texts in one space, and how well a text describes a video."""

    task = "retrieval"

    def encode_text(
        self, input_ids: Int[Array, "S N"] | np.ndarray, attention_mask: Shaped[Array, "S N"] | np.ndarray
    ) -> TextOutput:
        """Encodes texts on their own.

        Args:
          input_ids: the texts' tokens.
          attention_mask: 1 for a token, 0 for padding.

        Returns:
          A `TextOutput`.

        Raises:
          ValueError: a text is too long, or the two are not `[S, N]`, tokens and their mask.
        """
        _check_texts("input_ids", input_ids, "attention_mask", attention_mask)
        return self._run("encode_text", input_ids, attention_mask)

    def similarity(self, video: VideoOutput, text: TextOutput) -> Float[Array, "V S"]:
        """Compares the embeddings of videos and texts (ITC).

        Args:
          video: what `encode_video` returned.
          text: what `encode_text` returned.

        Returns:
          Cosines, float32.

        Raises:
          ValueError: video or text is something else.
        """
        _check_outputs(video, text)
        return self._split(self._run("similarity", video.embedding, text.embedding))

    def match(self, video: VideoOutput, text: TextOutput) -> Float[Array, "V S"]:
        """Lets every text look at every video (ITM).

        Args:
          video: what `encode_video` returned.
          text: what `encode_text` returned.

        Returns:
          The logit of "they match", float32, for each pair.

        Raises:
          ValueError: video or text is something else.
        """
        _check_outputs(video, text)
        return self._split(self._run("match", video.tokens, text.tokens, text.mask))

    def project_video(self, video_tokens: Float[Array, "V M C"] | np.ndarray) -> tuple[ProjectedContext, ...]:
        """Computes once what every text needs of videos to look at them.

        Args:
          video_tokens: the surviving tokens.

        Returns:
          Keys and values of each fusion layer.
        """
        return self._run("project_video", video_tokens)

    def match_projected(
        self,
        projected: tuple[ProjectedContext, ...],
        text_tokens: Float[Array, "P N D"] | np.ndarray,
        attention_mask: Shaped[Array, "P N"] | np.ndarray,
    ) -> Float[Array, " P"]:
        """Lets texts look at one video each (ITM).

        Args:
          projected: what `project_video` returned of V videos; P is a multiple of V, and P/V texts in a row share one.
          text_tokens: of texts, as `encode_text` returned them. Over a mesh, P is a multiple of its devices.
          attention_mask: 1 for a token, 0 for padding.

        Returns:
          The logit of "they match", float32.
        """
        return self._run("match_projected", projected, self._place(text_tokens), self._place(attention_mask))


class AnsweringModel(TextModel):
    """Answers questions about a video out of a list."""

    task = "question_answering"

    def answer(
        self,
        video: Shaped[Array, "B T Y X C"] | np.ndarray,
        question_ids: Int[Array, "B N"] | np.ndarray,
        question_mask: Shaped[Array, "B N"] | np.ndarray,
        answer_ids: Int[Array, "A L"] | np.ndarray,
        answer_mask: Shaped[Array, "A L"] | np.ndarray,
        *,
        k: int,
    ) -> RankedAnswers:
        """Answers one question about each video.

        Args:
          video: as for `encode_video`.
          question_ids: the questions' tokens.
          question_mask: 1 for a token, 0 for padding.
          answer_ids: the answers' tokens, each with the same start token in front.
          answer_mask: 1 for a token, 0 for padding.
          k: how many answers to rate in full, 1 to A.

        Returns:
          `RankedAnswers`, the most probable first.

        Raises:
          ValueError: something does not fit.
        """
        tokens = self.encode_video(video).tokens
        return self.answer_questions(tokens, question_ids, question_mask, answer_ids, answer_mask, k=k)

    def answer_questions(
        self,
        video_tokens: Float[Array, "G M C"] | np.ndarray,
        question_ids: Int[Array, "P N"] | np.ndarray,
        question_mask: Shaped[Array, "P N"] | np.ndarray,
        answer_ids: Int[Array, "A L"] | np.ndarray,
        answer_mask: Shaped[Array, "A L"] | np.ndarray,
        *,
        k: int,
    ) -> RankedAnswers:
        """Answers questions about videos that are encoded already.

        Args:
          video_tokens: the surviving tokens of videos; P is a multiple of G, and P/G questions in a row share one.
          question_ids: the questions' tokens.
          question_mask: 1 for a token, 0 for padding.
          answer_ids: the answers' tokens, each with the same start token in front.
          answer_mask: 1 for a token, 0 for padding.
          k: how many answers to rate in full, 1 to A.

        Returns:
          `RankedAnswers`, the most probable first.

        Raises:
          ValueError: something does not fit.
        """
        check_array("video_tokens", video_tokens)
        _check_texts("question_ids", question_ids, "question_mask", question_mask)
        _check_texts("answer_ids", answer_ids, "answer_mask", answer_mask)
        k = check_count("k", k)
        questions = self._place(question_ids), self._place(question_mask)
        return self._split(self._run("answer_questions", video_tokens, *questions, answer_ids, answer_mask, k=k))


def _check_outputs(video: VideoOutput, text: TextOutput) -> None:
    check_record("video", video, VideoOutput, "encode_video")
    check_record("text", text, TextOutput, "encode_text")


def _check_texts(name: str, ids: Any, mask_name: str, mask: Any) -> None:
    check_axes(name, ids, "S N")
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(f"{name} holds whole numbers; got dtype {ids.dtype}; model.tokenize makes them.")
    check_alike(mask_name, mask, ids.shape, "S N", name)


@functools.lru_cache(maxsize=24)  # as many as encoders
def _compiled_method(
    config: UMTConfig, dtype: jnp.dtype, is_stacked: bool, method: str, static: tuple[tuple[str, Any], ...]
) -> Any:
    """The one place where the towers of texts are jitted; they don't depend on the schedule."""
    module = make_module(config, dtype=dtype, param_dtype=dtype, is_stacked=is_stacked)

    def run(weights: dict[str, Any], *arguments: Any) -> Any:
        return module.apply({"params": weights}, *arguments, method=method, **dict(static))

    return jax.jit(run)
