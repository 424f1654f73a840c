"""A model as one function of arrays that other machines can run: what goes in, what comes out, the weights.

    program = make_program(load_model("moving-objects"), output="logits")
    program.run(program.weights, video)                          # [B, num_classes]

Attention and MLP take forms in plain XLA that suit the platform: nothing is tried on this machine, no kernel is in it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float, UInt8

from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.checkpoint import flatten_params
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.models.umt_config import UMTConfig
from vidtldr_jax.ops.platform import Platform, lower_for

Output = Literal["logits", "embedding", "pooled", "tokens", "size", "text_embedding"]
OUTPUTS: Final = get_args(Output)
InputDtype = Literal["float32", "uint8"]
# As JAX names what it lowers for -> as it names backends.
PLATFORMS: Final[dict[str, Platform]] = {"cpu": "cpu", "cuda": "gpu", "rocm": "gpu", "tpu": "tpu"}


class Input(NamedTuple):
    """What goes in.

    Attributes:
      name: of the argument.
      shape: numbers, and letters for what is not known yet.
      dtype: its name.
      meaning: for people.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    meaning: str


class Program(NamedTuple):
    """A function with its weights.

    Attributes:
      run: from the weights and then the inputs to one array, or to a dict of them where several outputs were asked for.
      weights: flat parameter path -> array of the host.
      inputs: in the order of the arguments.
      outputs: their names.
    """

    run: Callable[..., Any]
    weights: dict[str, np.ndarray]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]


def list_outputs(model: VideoModel) -> tuple[str, ...]:
    """Returns what a model can give, the most telling first."""
    config = model.config
    has = {
        "logits": config.num_classes is not None,
        "embedding": config.embed_dim is not None,
        "text_embedding": isinstance(config, UMTConfig) and config.task == "retrieval",
    }
    return tuple(name for name in OUTPUTS if has.get(name, True))


def make_program(
    model: VideoModel,
    *,
    output: Output | Sequence[Output] | None = None,
    input_dtype: InputDtype = "float32",
    platforms: Sequence[str] = ("cpu",),
) -> Program:
    """Makes a function of a model that can be lowered for other machines.

    Args:
      model: on one device; its own form of attention is not asked for.
      output: a name in `OUTPUTS` that the model has, or several; None is the first that it has.
      input_dtype: of the video: "float32" for normalised values, "uint8" for pixels, which are normalised inside.
      platforms: names in `PLATFORMS`. CPUs run attention head by head, others by blocks of rows; where both are asked
        for the function has two branches, and lowering chooses.

    Returns:
      A `Program` for clips of the config's size and any batch size.

    Raises:
      ValueError: the model has no such output or is spread over devices, or a name is unknown.
    """
    outputs = _check(model, output, input_dtype, platforms)
    is_text = outputs == ("text_embedding",)
    weights = _choose_weights(model, is_text=is_text)
    if is_text:
        encode: Callable[..., Any] = functools.partial(_encode_text, model.module.clone(form="auto"))
        return Program(_choose_by_platform(encode, platforms), weights, _describe_text(model), outputs)
    encode = functools.partial(_encode_video, model.module.clone(form="auto"), outputs)
    branches = _choose_by_platform(encode, platforms)
    recipe = model.preprocessing

    def run(weights: dict[str, Array], video: Array) -> Any:
        return branches(weights, normalise_pixels(video, recipe) if input_dtype == "uint8" else video)

    return Program(run, weights, (_describe_video(model, input_dtype),), outputs)


def normalise_pixels(video: UInt8[Array, "B T Y X C"], recipe: Preprocessing) -> Float[Array, "B T Y X C"]:
    """Returns (video / 255 - mean) / std, per colour, in float32."""
    scaled = video.astype(jnp.float32) / np.float32(255)
    return (scaled - np.array(recipe.mean, np.float32)) / np.array(recipe.std, np.float32)


def _choose_weights(model: VideoModel, *, is_text: bool) -> dict[str, np.ndarray]:
    """Returns what one of the encoders needs, on the host."""
    flat = flatten_params(model.weights)
    if isinstance(model.config, UMTConfig):
        flat = {path: v for path, v in flat.items() if path.startswith("vision/") != is_text or path == "temperature"}
    return {path: np.asarray(value) for path, value in flat.items()}


def _encode_video(module: Any, outputs: tuple[str, ...], weights: dict[str, Array], video: Array) -> Any:
    found = module.apply({"params": traverse_util.unflatten_dict(weights, sep="/")}, video)
    if len(outputs) == 1:
        return getattr(found, outputs[0])
    return {name: getattr(found, name) for name in outputs}


def _encode_text(module: Any, weights: dict[str, Array], input_ids: Array, attention_mask: Array) -> Array:
    params = {"params": traverse_util.unflatten_dict(weights, sep="/")}
    return module.apply(params, input_ids, attention_mask, method="encode_text").embedding


def _choose_by_platform(encode: Callable[..., Any], platforms: Sequence[str]) -> Callable[..., Any]:
    def trace_for(platform: Platform) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            with lower_for(platform):
                return encode(*arguments)

        return run

    others = [PLATFORMS[name] for name in platforms if name != "cpu"]
    if not others:
        return trace_for("cpu")
    if len(others) == len(platforms):
        return trace_for(others[0])  # GPUs and TPUs take the same forms
    return functools.partial(jax.lax.platform_dependent, cpu=trace_for("cpu"), default=trace_for(others[0]))


def _check(
    model: VideoModel, output: Output | Sequence[Output] | None, input_dtype: str, platforms: Sequence[str]
) -> tuple[str, ...]:
    if model.mesh is not None:
        raise ValueError(
            f"make_program: a model on one device is needed; this one is spread over {model.mesh.size}; load it "
            "without a mesh."
        )
    there = list_outputs(model)
    wanted = there[:1] if output is None else (output,) if isinstance(output, str) else tuple(output)
    missing = [name for name in wanted if name not in there]
    if missing or not wanted or len(set(wanted)) < len(wanted):
        got = f"{missing[0]!r}" if missing else f"{len(wanted)} with {len(set(wanted))} names"
        raise ValueError(f"make_program: this model gives {', '.join(there)}; got {got}; take of these, each once.")
    if "text_embedding" in wanted and len(wanted) > 1:
        raise ValueError(
            f"make_program: texts and videos are two programs; got {', '.join(wanted)} together; export them apart."
        )
    if input_dtype not in get_args(InputDtype):
        raise ValueError(f"make_program: the input is float32 or uint8; got {input_dtype!r}; take one of these.")
    if input_dtype == "uint8" and wanted == ("text_embedding",):
        raise ValueError("make_program: uint8 is for pixels; text_embedding reads numbers of words; leave uint8 out.")
    if input_dtype == "uint8" and model.config.num_channels != len(model.preprocessing.mean):
        raise ValueError(
            f"make_program: pixels of {len(model.preprocessing.mean)} colours are normalised inside; the model has "
            f"{model.config.num_channels}; export it for float32."
        )
    unknown = [name for name in platforms if name not in PLATFORMS]
    if unknown or not platforms or len(set(platforms)) < len(platforms):
        got = f"{unknown[0]!r}" if unknown else f"{len(platforms)} with {len(set(platforms))} names"
        raise ValueError(f"make_program: platforms are {', '.join(PLATFORMS)}; got {got}; take of these, each once.")
    return wanted


def _describe_video(model: VideoModel, input_dtype: InputDtype) -> Input:
    config = model.config
    shape = ("b", config.num_frames, config.image_size, config.image_size, config.num_channels)
    meaning = {
        "float32": "frames in RGB, normalised: (pixels / 255 - mean) / std",
        "uint8": "pixels of frames in RGB",
    }[input_dtype]
    return Input("video", shape, input_dtype, meaning)


def _describe_text(model: VideoModel) -> tuple[Input, ...]:
    return (
        Input("input_ids", ("b", "n"), "int32", "tokens of texts, from the checkpoint's tokenizer.json"),
        Input("attention_mask", ("b", "n"), "int32", "1 for a token, 0 for padding"),
    )
