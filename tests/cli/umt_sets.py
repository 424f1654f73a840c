"""Tiny UMTs with a tokenizer and short videos, made on the spot for evaluations of retrieval and of answers."""

import numpy as np

from checkpoints_convert import convert_checkpoint
from tests.data.making import write_video
from tests.reference.files import find_golden
from vidtldr_jax.inference import save_checkpoint
from vidtldr_jax.inference.checkpoint import read_checkpoint

# The originals' tiny models have a table of 80 words and 20 positions, and take 4 frames of 32 x 32.
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(76)))
PLAIN_WORDS = WORDS[4:]
MOST_TOKENS = 20
_FILES = {"retrieval": "umt_retrieval.pth", "question_answering": "umt_qa.pth"}


def make_vocab(folder, words=WORDS):
    """Writes a vocabulary, one word a line."""
    path = folder / "vocab.txt"
    path.write_text("\n".join(words) + "\n")
    return path


def make_umt(folder, task):
    """Converts the original's model of a task, random weights and all, with its tokenizer; returns the checkpoint."""
    vocab, destination = make_vocab(folder), folder / f"umt-{task}"
    convert_checkpoint(find_golden(_FILES[task]), destination, settings={"text_heads": 4}, tokenizer=vocab)
    return destination


def make_videos(folder, count):
    """Writes short H.264 videos, no two of them alike, of 8 to 12 frames; returns their names."""
    names = []
    for number in range(count):
        path = folder / f"{number}.mp4"
        write_video(path, num_frames=8 + number % 5, first_number=5 * number, height=32, width=32)
        names.append(path.name)
    return names


def save_again(model, folder, *, with_tokenizer=True, is_changed=False):
    """Writes a checkpoint once more, perhaps without its tokenizer, or with the least change of one weight."""
    stored = read_checkpoint(model)
    params = dict(stored.params)
    if is_changed:
        path = max(params)
        params[path] = np.array(params[path])
        params[path].flat[-1] = np.nextafter(params[path].flat[-1], np.float32(np.inf))
    return save_checkpoint(
        folder, params=params, config=stored.config, preprocessing=stored.preprocessing, labels=stored.labels,
        family=stored.family, source=stored.source, tokenizer=stored.tokenizer if with_tokenizer else None,
    )  # fmt: skip
