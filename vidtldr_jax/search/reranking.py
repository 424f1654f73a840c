"""Texts and videos looked at together (ITM): keys and values once per video, texts in blocks of one size.

    for number, scores in score_pairs(model, read_tokens, texts, {0: [3, 7], 5: [1]}):
        ...                                                      # float32, one score for each text of video 0, then 5

A text's first layers don't depend on the video and come from `TextFeatures`; a video's keys and values don't depend on
the text. What is left for a pair is the text's way through the fusion layers. Video tokens stay where they are, perhaps
in mapped files, and are brought to the device one video at a time while the pairs of the one before are computed.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import jax
import numpy as np
from jaxtyping import Float32, Int32, Shaped

from vidtldr_jax.inference.sharding import round_up_batch
from vidtldr_jax.inference.text_model import RetrievalModel

BLOCK_SIZE: Final = 64  # texts in a run; on two cores 32 to 128 are within a tenth
_MOST_IN_FLIGHT: Final = 4  # blocks that are computed and not yet fetched; each holds its texts' tokens


class TokenRows(Protocol):
    """Text tokens by number, in memory or in files."""

    def __getitem__(self, numbers: np.ndarray) -> Shaped[np.ndarray, "P N D"]:
        """Returns the tokens of some texts."""


class TextFeatures(NamedTuple):
    """Texts, encoded on their own.

    Attributes:
      tokens: [S, N, D], before the first fusion layer.
      mask: [S, N], 1 for a token, 0 for padding.
    """

    tokens: TokenRows
    mask: Int32[np.ndarray, "S N"]


def score_pairs(
    model: RetrievalModel,
    read_tokens: Callable[[int], Shaped[np.ndarray, "M C"]],
    texts: TextFeatures,
    pairs: Mapping[int, Sequence[int]],
    *,
    block_size: int = BLOCK_SIZE,
) -> Iterator[tuple[int, Float32[np.ndarray, " P"]]]:
    """Scores how well texts describe videos.

    Args:
      model: for retrieval.
      read_tokens: from the number of a video to its surviving tokens.
      texts: all texts.
      pairs: number of a video -> numbers of the texts to look at it.
      block_size: texts in a run; the last run of a video is filled up. Over a mesh it is rounded up.

    Yields:
      Number of the video and the logit of "they match" for each of its texts, in the order of `pairs`.
    """
    model = model.with_local_mesh()  # every process has pairs of its own
    blocks = _dispatch_blocks(model, read_tokens, texts, pairs, round_up_batch(block_size, model.mesh))
    in_flight: collections.deque[_Block] = collections.deque()
    found: list[np.ndarray] = []
    for block in itertools.chain(blocks, [None] * _MOST_IN_FLIGHT):
        if block is not None:
            in_flight.append(block)
        if in_flight and (block is None or len(in_flight) == _MOST_IN_FLIGHT):
            first = in_flight.popleft()
            found.append(np.asarray(first.scores)[: first.num_texts])
            if first.is_last:
                yield first.video, np.concatenate(found)
                found = []


def score_videos(
    model: RetrievalModel,
    videos: Sequence[Shaped[np.ndarray, "M C"]],
    text_tokens: Shaped[np.ndarray, "N D"],
    mask: Int32[np.ndarray, " N"],
    *,
    block_size: int = 8,
) -> Float32[np.ndarray, " V"]:
    """Scores how well one text describes some videos.

    Args:
      model: for retrieval.
      videos: the surviving tokens of each.
      text_tokens: of the text, as `encode_text` returned them.
      mask: 1 for a token, 0 for padding.
      block_size: videos in a run; the last run is filled up. Over a mesh it is rounded up.

    Returns:
      The logit of "they match" for each video.
    """
    model = model.with_local_mesh()
    size = round_up_batch(min(block_size, max(len(videos), 1)), model.mesh)
    text, masks = np.stack([text_tokens] * size), np.stack([mask] * size)
    found = []
    for start in range(0, len(videos), size):
        block = list(videos[start : start + size])
        batch = np.stack([*block, *[block[-1]] * (size - len(block))])
        found.append(model.match_projected(model.project_video(batch), text, masks)[: len(block)])
    return np.concatenate([np.asarray(scores) for scores in found]) if found else np.zeros(0, np.float32)


class _Block(NamedTuple):
    """Scores to be of some texts of a video; what fills the block up comes after these."""

    video: int
    num_texts: int
    is_last: bool
    scores: jax.Array


def _dispatch_blocks(
    model: RetrievalModel,
    read_tokens: Callable[[int], np.ndarray],
    texts: TextFeatures,
    pairs: Mapping[int, Sequence[int]],
    size: int,
) -> Iterator[_Block]:
    for video, wanted in pairs.items():
        if not len(wanted):
            continue
        projected = model.project_video(read_tokens(video)[None])
        numbers = np.asarray(wanted, np.int64)
        for start in range(0, len(numbers), size):
            block = numbers[start : start + size]
            filled = np.concatenate([block, np.repeat(block[-1:], size - len(block))])
            scores = model.match_projected(projected, texts.tokens[filled], texts.mask[filled])
            scores.copy_to_host_async()
            yield _Block(video, len(block), start + size >= len(numbers), scores)
