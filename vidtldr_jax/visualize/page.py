"""A clip's history -> one HTML file with all that it needs in it: sliders for frames and layers, and who is with whom.

Nothing is fetched and nothing is sent: pictures, maps, style and script are in the file, whose own rules (a content
security policy) forbid the rest.
"""

from __future__ import annotations

import base64
import html
import io
import json
import os
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from vidtldr_jax.trust.harmless import make_harmless
from vidtldr_jax.trust.whole_files import write_whole
from vidtldr_jax.visualize.colours import GROUP_COLOURS, HEAT, colour_layers
from vidtldr_jax.visualize.history import Answer, ClipHistory
from vidtldr_jax.visualize.maps import LayerMap
from vidtldr_jax.visualize.panels import CROSS_LIGHT, DROPPED_LIGHT, HEAT_SHARE, TINT_SHARE

_SCRIPTS: Final = ("data.js", "draw.js", "controls.js")
_NO_SALIENCY: Final = 255
_QUALITY: Final = 90  # of the pictures, JPEG's 1 to 95


def write_page(path: str | os.PathLike[str], history: ClipHistory) -> Path:
    """Writes the page.

    Args:
      path: where to; an existing file is replaced.
      history: of the clip.

    Returns:
      The path.

    Raises:
      OSError: the file can't be written.
    """
    write_whole(path, make_page(history))
    return Path(path)


def make_page(history: ClipHistory) -> str:
    """Makes the page.

    Args:
      history: of the clip; saliency is shown of the layers that it has.

    Returns:
      The HTML.
    """
    folder = resources.files("vidtldr_jax.visualize") / "web"
    parts = {
        "title": html.escape(make_harmless(history.title)),
        "subtitle": html.escape(history.schedule.describe()),
        "style": (folder / "style.css").read_text(encoding="utf-8"),
        # A script's text ends at the first "</script", whatever stands around it.
        "history": json.dumps(describe_history(history), allow_nan=False).replace("<", "\\u003c"),
        "script": "\n".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS),
    }
    # In one pass, so that a title like "{{style}}" stays a title.
    first, *rest = (folder / "page.html").read_text(encoding="utf-8").split("{{")
    filled = (parts[name] + text for name, text in (piece.split("}}", 1) for piece in rest))
    return first + "".join(filled)


def describe_history(history: ClipHistory) -> dict[str, Any]:
    """Returns all that the page draws, as plain data; arrays as base64 of their little-endian bytes.

    Args:
      history: of the clip.

    Returns:
      The data.
    """
    return {
        "grid": list(history.grid),
        "tubelet": history.tubelet,
        "fps": history.fps,
        "numSequences": history.num_sequences,
        "frames": [_encode_picture(frame) for frame in history.frames],
        "layers": _describe_layers(history),
        "plain": _describe_answer(history.plain),
        "merged": _describe_answer(history.merged),
        "cosine": history.cosine,
        "palette": GROUP_COLOURS.tolist(),
        "heat": HEAT.tolist(),
        "look": {
            "heatShare": HEAT_SHARE,
            "tintShare": TINT_SHARE,
            "droppedLight": DROPPED_LIGHT,
            "crossLight": CROSS_LIGHT,
        },
    }


def _describe_layers(history: ClipHistory) -> list[dict[str, Any]]:
    """Describes each layer; maps that are those of the layer before are left out."""
    tokens = history.merged.tokens
    if not history.layers:  # nothing was recorded: every patch is its own token
        whole = LayerMap(0, np.ones(history.grid, np.float32), history.group, history.weight)
        return [_describe_layer(whole, np.full(history.grid, -1), tokens, is_scored=False)]
    is_scored = any(bool(np.nanmin(layer.saliency) < 1) for layer in history.layers)
    described = []
    before: LayerMap | None = None
    for layer, colour in zip(history.layers, colour_layers([layer.group for layer in history.layers])):
        found = _describe_layer(layer, colour, tokens, is_scored=is_scored)
        if before is not None and (layer.group == before.group).all() and (layer.weight == before.weight).all():
            found |= {"group": None, "weight": None, "colour": None}
        described.append(found)
        before = layer
    return described


def _describe_layer(layer: LayerMap, colour: np.ndarray, tokens: tuple[int, ...], *, is_scored: bool) -> dict[str, Any]:
    steps = np.rint(np.nan_to_num(layer.saliency) * (_NO_SALIENCY - 1))
    saliency = np.where(np.isnan(layer.saliency), _NO_SALIENCY, steps)
    return {
        "layer": layer.layer,
        "tokensIn": tokens[layer.layer],
        "tokensOut": tokens[layer.layer + 1],
        "saliency": _encode(saliency, "u1") if is_scored else None,
        "group": _encode(layer.group, "<i4"),
        "weight": _encode(layer.weight, "<f4"),
        "colour": _encode(colour, "i1"),
    }


def _describe_answer(answer: Answer) -> dict[str, Any]:
    shown = None
    if answer.predictions is not None:
        shown = [one | {"label": make_harmless(str(one["label"]))} for one in answer.predictions]
    return {"gmacs": float(f"{answer.gmacs:.4g}"), "predictions": shown}


def _encode(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode()


def _encode_picture(frame: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(frame).save(data, format="JPEG", quality=_QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
