"""Trains the captioned model: a video tower whose clips and captions find each other.

    python scripts/captioned_objects/train_captioned.py --out benchmarks/trained/captioned_objects_0 --stamps FOLDER

FOLDER is what Debian's tuxpaint-stamps-default was unpacked to; `captions.py` has embedded the captions. With seed 0,
62 % of the validation clips and captions find each other first (R@1, mean of both directions).
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from captioned_clips import BRIGHTNESS, IMAGE_SIZE, NUM_FRAMES, draw_gallery, draw_training_clips, is_held_out
from clips import load_small_pictures
from cutouts import DEBIAN_FOLDER, load_cutouts
from jaxtyping import Float
from motions import SENTENCES
from retrieval import contrast, find_recall, project_captions, scale_to_unit, start_projection
from training import Params, Recipe, Task, add_recipe_arguments, make_video_params, normalise, read_recipe, run

from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.video_vit import VideoViT

CONFIG = VideoViTConfig(
    num_frames=NUM_FRAMES,
    image_size=IMAGE_SIZE,
    patch_size=8,
    tubelet_size=2,
    dim=96,
    depth=4,
    num_heads=3,
    mlp_dim=384,
    embed_dim=64,
)
CAPTIONS = Path(__file__).parents[2] / "benchmarks" / "trained" / "captions.safetensors"
RECIPE = Recipe(
    optimizer="muon",
    batch_size=32,
    steps=1500,
    sparse_steps=0,
    small_steps=1200,
    learning_rate=3e-3,
    ramp_share=0.3,
)


class Captions(NamedTuple):
    """The texts of all captions, embedded.

    Attributes:
      texts: in order, as `write_captions` returns them.
      embeddings: `[P, D]` float32.
    """

    texts: list[str]
    embeddings: Float[np.ndarray, "P D"]


def load_captions(path: Path) -> Captions:
    """Reads what captions.py wrote."""
    with safetensors.safe_open(path, "np") as file:
        return Captions(file.metadata()["captions"].split("\n"), file.get_tensor("captions").astype(np.float32))


def make_task(captions: Captions, stamps: Path, recipe: Recipe) -> Task:
    """Brings pictures, captions and loss together.

    Args:
      captions: of all cut-outs with all motions.
      stamps: where the cut-outs are.
      recipe: of it the seed and the batch size.

    Returns:
      What `train` takes.
    """
    pictures = load_cutouts(stamps).pictures
    photos, watched_photos = (load_small_pictures(split).photos for split in ("train", "validation"))
    gallery = draw_gallery(pictures, watched_photos, "validation")
    row = np.arange(len(captions.texts))
    is_trained = ~is_held_out(row // len(SENTENCES), row % len(SENTENCES))
    embeddings = jnp.asarray(captions.embeddings)

    def make_params(seed: int) -> Params:
        text = start_projection(captions.embeddings[is_trained], CONFIG.embed_dim)
        return {
            "video": make_video_params(CONFIG, seed, start_from=recipe.start_from),
            "text": {name: jnp.asarray(value) for name, value in text.items()},
            "log_scale": jnp.log(10.0),
        }

    def find_loss(params: Params, heads: Any, row: Any) -> Any:
        return contrast(
            scale_to_unit(heads.embedding),
            project_captions(params["text"], embeddings),
            row,
            log_scale=params["log_scale"],
            is_trained=is_trained,
        )

    encode = jax.jit(lambda params, clips: VideoViT(CONFIG).apply({"params": params}, normalise(clips)).embedding)

    def find_score(params: Params) -> float:
        videos = np.concatenate([scale_to_unit(encode(params["video"], part)) for part in np.split(gallery, 4)])
        found = find_recall(videos, np.asarray(project_captions(params["text"], embeddings)))
        return float(np.mean([found.text_to_video[:, 0], found.video_to_text[:, 0]]))

    def draw_batch(step: int, hardness: float) -> tuple[np.ndarray, np.ndarray]:
        return draw_training_clips(
            pictures,
            photos,
            step,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            brightness=BRIGHTNESS * hardness,
        )

    return Task(CONFIG, make_params, lambda params: params["video"], find_loss, draw_batch, find_score)


def name_text_file(folder: Path) -> Path:
    """Returns where the projection of a model's texts lies: beside its checkpoint folder."""
    return folder.with_name(folder.name + "_text.safetensors")


def main() -> None:
    """Trains, and writes the checkpoint folder and the text's projection beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint folder to write")
    parser.add_argument("--captions", type=Path, default=CAPTIONS, help="what captions.py wrote")
    parser.add_argument("--stamps", type=Path, default=DEBIAN_FOLDER, help="the cut-outs [default: %(default)s]")
    add_recipe_arguments(parser, RECIPE)
    arguments = parser.parse_args()
    make = functools.partial(make_task, load_captions(arguments.captions), arguments.stamps)
    made_by = "scripts/captioned_objects/train_captioned.py"
    params = run(arguments.out, make, read_recipe(arguments), made_by=made_by)
    safetensors.numpy.save_file(dict(params["text"]), name_text_file(arguments.out))
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
