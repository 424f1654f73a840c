"""Runs the original class of a checkpoint, where it can be imported: transformers for Hugging Face's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from checkpoints_convert.errors import ConversionError
from checkpoints_convert.sources import Source

# Family -> the class with a head, the class without.
_CLASSES: Final = {
    "huggingface_videomae": ("VideoMAEForVideoClassification", "VideoMAEModel"),
    "huggingface_vivit": ("VivitForVideoClassification", "VivitModel"),
    "huggingface_clip": ("CLIPVisionModelWithProjection", "CLIPVisionModel"),
}


def has_original(family: str) -> bool:
    """Tells whether a family's original class is one that can be imported."""
    return family in _CLASSES


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
      ConversionError: torch or transformers is missing, or the class does not load this source.
    """
    torch, transformers = _import_both()
    model = _load(torch, getattr(transformers, _CLASSES[family][0 if has_head else 1]), source, transformers)
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
    except ImportError as error:
        raise ConversionError(
            f"run_original: the original runs in torch and transformers ({error}); pip install 'vidtldr-jax[parity]', "
            "or give a .npz of its input and output."
        ) from error
    return torch, transformers


def _load(torch: Any, model_class: Any, source: Source, transformers: Any) -> Any:
    """Loads as the library does; files with the names that the class has in memory are loaded by name."""
    if not source.place.is_dir():
        raise ConversionError(
            f"run_original: the original is made from a folder with config.json; {source.place} is a file; name its "
            "folder, or give a .npz of the original's input and output."
        )
    try:
        with _quiet(transformers):
            model, info = model_class.from_pretrained(
                source.place, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
            if info["missing_keys"]:
                model = model_class(model.config)
                model.load_state_dict({key: _make_tensor(torch, tensor) for key, tensor in source.tensors.items()})
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ConversionError(
            f"run_original: {model_class.__name__} does not load {source.name} ({' '.join(str(error).split())[:300]}); "
            "give a .npz of the original's input and output."
        ) from error
    return model.eval()


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
