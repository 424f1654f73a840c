"""What someone writes who uses the package; a type checker reads it, nothing runs it."""

from pathlib import Path

import flax.linen as nn
import jax
import numpy as np

import vidtldr_jax as vt


def classify(path: Path) -> str:
    model: vt.VideoModel = vt.load_model("moving-objects", schedule="100,40")
    clip: np.ndarray = vt.read_clip(path, model.preprocessing)
    out: vt.VideoOutput = model(clip[None], trace=True)
    assert out.trace is not None
    assert model.labels is not None
    logits: jax.Array = model.with_schedule(None).classify(clip[None])
    return model.labels[int(logits.argmax())]


def loss(model: vt.VideoModel, video: jax.Array) -> jax.Array:
    return (model(video).pooled ** 2).mean()


def load(name: str) -> tuple[nn.Module, dict[str, object]]:
    module, variables = vt.load_module(name, schedule="100,40")
    return module, variables


def list_answers(model: vt.VideoModel, paths: list[Path]) -> list[object]:
    return [video.outputs for video in vt.encode_videos(model, paths, output="logits", batch_size=8)]


def find_training_loss(variables: dict[str, object], video: jax.Array, key: jax.Array) -> jax.Array:
    rates = vt.DropRates(path=0.1, head=0.5)
    module = vt.VideoViT(vt.get_preset("umt-b16"), r=(600, 200, 100) + (0,) * 9, drop_rates=rates, remat=True)
    out: vt.VideoOutput = module.apply(variables, video, deterministic=False, rngs={"dropout": key})
    return out.pooled.sum()


class Block(nn.Module):
    """A block with merging."""

    config: vt.VideoViTConfig
    r: int = 0

    @nn.compact
    def __call__(self, state: vt.ops.MergeState, saliency: jax.Array) -> vt.ops.MergeState:
        return vt.reduce_tokens(state, state.tokens, saliency, r=self.r)


sample: Path = vt.find_sample_clip("left")
config: vt.VideoViTConfig | vt.ViViTConfig = vt.get_preset("umt-b16")
macs: int = vt.count_macs(config, "600,200,100").total
schedule: str = vt.resolve_schedule("16,8", num_tokens=64, num_layers=4).text
recipe: vt.train.Recipe = vt.train.Recipe()


def measure(model: vt.VideoModel, params: dict[str, object]) -> float:
    result = vt.evaluation.evaluate_classification(model.with_params(params), "val.csv", compare_plain=True)
    right: float = result["ways"]["merged"]["accuracy"]["label"]["top_1"]["value"]
    return right


def measure_retrieval(model: vt.RetrievalModel) -> vt.evaluation.RetrievalResult:
    return vt.evaluation.evaluate_retrieval(model, "annotation.json", "videos", k_test=16, out="result.json")
