"""Runs the original class of a checkpoint, where it can be imported: transformers for Hugging Face's."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy

from checkpoints_convert.errors import ConversionError, show_error, show_value
from checkpoints_convert.sources import Source, read_json
from vidtldr_jax.inference.hub import SCHEME, HubError, parse_place

# Family -> the class with a head, the class without.
_CLASSES: Final = {
    "huggingface_videomae": ("VideoMAEForVideoClassification", "VideoMAEModel"),
    "huggingface_vivit": ("VivitForVideoClassification", "VivitModel"),
    "huggingface_clip": ("CLIPVisionModelWithProjection", "CLIPVisionModel"),
}


def has_original(family: str) -> bool:
    """Tells whether a family's original class is one that can be imported."""
    return family in _CLASSES


def check_original(config: Any, source: str | os.PathLike[str] | None = None) -> None:
    """Checks what can be known of a run of the original without loading anything of it.

    Args:
      config: the architecture that it is compared with.
      source: the checkpoint that was or will be converted; None checks only that the libraries are there.

    Raises:
      ConversionError: torch or transformers is missing, the source is a file, or its config.json is for other clips.
    """
    _import_both()
    if source is None:
        return
    is_hub = str(source).startswith(SCHEME)
    try:
        is_folder = parse_place(str(source)).file is None if is_hub else Path(source).is_dir()
    except HubError as error:
        raise ConversionError(str(error)) from error
    if not is_folder:
        raise ConversionError(
            f"the original is made from a folder with config.json; {source} is a file; name its folder, "
            "or give a .npz of the original's input and output."
        )
    theirs = {} if is_hub else read_json(Path(source) / "config.json") or {}
    _check_clip(theirs, (config.num_frames, config.image_size))


def run_original(
    source: Source, family: str, video: np.ndarray, *, dtype: str, has_head: bool
) -> dict[str, np.ndarray]:
    """Runs the original on a clip, in float32.

    Args:
      source: a Hugging Face folder.
      family: one for which `has_original` holds.
      video: `[B, T, Y, X, C]`, normalised.
      dtype: in which our parameters are stored; the original's are rounded to it, so that only the computation differs.
      has_head: whether the model has a classifier or a projection.

    Returns:
      `embeddings`, `block_0` and on; `logits` or `embedding` where there is such a head, else `tokens` or `pooled`.

    Raises:
      ConversionError: torch or transformers is missing, the class does not load this source, or takes other clips.
    """
    torch, transformers = _import_both()
    _check_clip(source.config or {}, video.shape[1:3])
    name = _CLASSES[family][0 if has_head else 1]
    # Libraries raise errors of any kind for files and inputs that they don't like.
    try:
        model = _load(torch, getattr(transformers, name), source, transformers)
    except Exception as error:
        raise ConversionError(
            f"{name} does not load {source.name} ({show_error(error)}); give a .npz of the original's input and output."
        ) from error
    try:
        return _run(torch, model, family, video, dtype, has_head=has_head)
    except Exception as error:
        raise ConversionError(
            f"{name} takes clips as its config.json says; got one of shape {video.shape} "
            f"({show_error(error)}); convert with its frames and image_size, or give a .npz of the original's input "
            "and output."
        ) from error


def _check_clip(theirs: Mapping[str, Any], ours: tuple[int, ...]) -> None:
    """Compares the clips that a config.json is for with ours; what it does not say is left to the run."""
    inner = theirs.get("vision_config")
    fields = inner if isinstance(inner, dict) else theirs
    faults = [
        f"{name} is {show_value(fields[name])} there and {number} in the conversion"
        for name, number in zip(("num_frames", "image_size"), ours)
        if isinstance(fields.get(name), int) and fields[name] != number
    ]
    if faults:
        raise ConversionError.collect(
            "the original takes clips as its config.json says",
            faults,
            "convert without these settings, or give a .npz of the original's input and output",
        )


def _run(
    torch: Any, model: Any, family: str, video: np.ndarray, dtype: str, *, has_head: bool
) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}

    def keep(name: str, value: Any) -> None:
        found[name] = (value[0] if isinstance(value, tuple) else value).float().numpy()

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(getattr(torch, dtype)).float())
        layers = _find_layers(torch, model)
        layers[0].register_forward_pre_hook(lambda module, args: keep("embeddings", args))
        for number, layer in enumerate(layers):
            layer.register_forward_hook(lambda module, args, value, n=number: keep(f"block_{n}", value))
        frames = np.ascontiguousarray(video.transpose(0, 1, 4, 2, 3))
        if family == "huggingface_clip":  # an image model: every frame is an example
            out = model(pixel_values=torch.from_numpy(frames.reshape(-1, *frames.shape[2:])))
            vector = out.image_embeds if has_head else out.pooler_output
            return found | {"embedding" if has_head else "pooled": vector.reshape(*video.shape[:2], -1).mean(1).numpy()}
        out = model(pixel_values=torch.from_numpy(frames))
    found |= {"logits": out.logits.numpy()} if has_head else {"tokens": out.last_hidden_state.numpy()}
    return found


def _import_both() -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except (ImportError, OSError, RuntimeError) as error:  # the last two where an installation is broken
        raise ConversionError(
            f"the original runs in torch and transformers ({show_error(error)}); pip install "
            "'vidtldr-jax[parity]', or give a .npz of its input and output."
        ) from error
    return torch, transformers


def _load(torch: Any, model_class: Any, source: Source, transformers: Any) -> Any:
    """Loads as the library does; files with the names that the class has in memory are loaded by name."""
    with _quiet(transformers), _name_as_read(source) as place:
        model, info = model_class.from_pretrained(
            place, local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
        if info["missing_keys"]:
            model = model_class(model.config)
            model.load_state_dict({key: _make_tensor(torch, tensor) for key, tensor in source.tensors.items()})
    return model.eval()


@contextlib.contextmanager
def _name_as_read(source: Source) -> Iterator[Path]:
    """Gives a folder with the keys as we read them: of wrapped weights and of one state of several a copy."""
    if not source.stripped and not source.entry:
        yield source.place
        return
    with tempfile.TemporaryDirectory(prefix="vidtldr-") as folder:
        arrays = {key: np.ascontiguousarray(tensor.read(), np.float32) for key, tensor in source.tensors.items()}
        safetensors.numpy.save_file(arrays, Path(folder) / "model.safetensors", metadata={"format": "pt"})
        (Path(folder) / "config.json").write_text(json.dumps(source.config), encoding="utf-8")
        yield Path(folder)


def _make_tensor(torch: Any, tensor: Any) -> Any:
    return torch.from_numpy(np.array(tensor.read(), dtype=np.float32))


def _find_layers(torch: Any, model: Any) -> Any:
    """Finds the stack of blocks: the longest list of modules."""
    stacks = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    return max(stacks, key=len)


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keeps the library's notes and bars off the terminal."""
    logging = transformers.utils.logging
    verbosity, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bar:
            logging.enable_progress_bar()
