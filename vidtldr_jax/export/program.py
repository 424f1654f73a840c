"""A model as one function of arrays that other machines can run: what goes in, what comes out, the weights.

    program = make_program(load_model("moving-objects"), output="logits")
    program.run(program.weights, video)                          # [B, num_classes]

Attention and MLP take forms in plain XLA that suit the platform: nothing is tried on this machine, no kernel is in it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import jax
import numpy as np
from flax import traverse_util
from jaxtyping import Array

from vidtldr_jax.inference.checkpoint import flatten_params
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.pixels import normalise_video
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
    if model.mesh is not None:
        raise ValueError(
            f"a model on one device is needed; this one is spread over {model.mesh.size}; load it without a mesh."
        )
    outputs = _choose_outputs(model, output)
    is_text = outputs == ("text_embedding",)
    _check_input_dtype(model, input_dtype, is_text=is_text)
    if fault := _find_fault(platforms, PLATFORMS):
        raise ValueError(f"platforms are {', '.join(PLATFORMS)}; got {fault}; take of these, each once.")
    weights = _choose_weights(model, is_text=is_text)
    if is_text:
        encode: Callable[..., Any] = functools.partial(_encode_text, model.module.clone(form="auto"))
        return Program(_choose_by_platform(encode, platforms), weights, _describe_text(model), outputs)
    encode = functools.partial(_encode_video, model.module.clone(form="auto"), outputs)
    branches = _choose_by_platform(encode, platforms)
    recipe = model.preprocessing

    def run(weights: dict[str, Array], video: Array) -> Any:
        return branches(weights, normalise_video(video, mean=recipe.mean, std=recipe.std))

    return Program(run, weights, (_describe_video(model, input_dtype),), outputs)


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


def _choose_outputs(model: VideoModel, output: Output | Sequence[Output] | None) -> tuple[str, ...]:
    known = list_outputs(model)
    if output is None:
        return known[:1]
    wanted: tuple[str, ...] = (output,) if isinstance(output, str) else tuple(output)
    if fault := _find_fault(wanted, known):
        raise ValueError(f"this model gives {', '.join(known)}; got {fault}; take of these, each once.")
    if "text_embedding" in wanted and len(wanted) > 1:
        raise ValueError(f"texts and videos are two programs; got {', '.join(wanted)} together; export them apart.")
    return wanted


def _check_input_dtype(model: VideoModel, input_dtype: str, *, is_text: bool) -> None:
    if input_dtype not in get_args(InputDtype):
        raise ValueError(f"the input is float32 or uint8; got {input_dtype!r}; take one of these.")
    if input_dtype == "float32":
        return
    if is_text:
        raise ValueError("uint8 is for pixels; text_embedding reads numbers of words; leave uint8 out.")
    num_colours, num_channels = len(model.preprocessing.mean), model.config.num_channels
    if num_channels != num_colours:
        raise ValueError(
            f"pixels of {num_colours} colours are normalised inside; the model has {num_channels}; export it for "
            "float32."
        )


def _find_fault(names: Sequence[str], known: Collection[str]) -> str | None:
    """Returns what is wrong with names of which there is at least one, each is known, and none stands twice."""
    for name in names:
        if name not in known:
            return repr(name)
    num_different = len(set(names))
    if not names or num_different < len(names):
        return f"{len(names)} with {num_different} names"
    return None


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
