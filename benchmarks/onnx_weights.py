"""The weights of an ONNX file under the names of the PyTorch modules that it was exported from; needs onnx.

The graph is never run. An exporter keeps the names of most parameters, but turns the matrices of linear layers and
calls them by a number; which module one belongs to is told by the node that multiplies with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

_NAMELESS: Final = "onnx::"
_QUANTIZED: Final = "_quantized"


def read_onnx_weights(content: bytes) -> dict[str, np.ndarray]:
    """Reads the parameters of an exported model.

    Args:
      content: of the .onnx file.

    Returns:
      Name -> float32 array, shaped as PyTorch has it: matrices are `[out, in]`. Matrices of int8 with a scale and a
      zero point per output are float32 again, `(values - zero point) * scale`. What has no name and is no matrix of a
      linear layer is called by its node, as in "backbone.embeddings.Concat_6".

    Raises:
      ImportError: onnx is not installed.
      ValueError: a matrix of integers has no scale, or nothing uses what has no name.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError("onnx reads the file; it is not installed; pip install onnx") from error

    graph = onnx.load_model_from_string(content).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = {name: values for name, values in arrays.items() if not name.startswith(_NAMELESS)}
    nameless = {name for name in arrays if name.startswith(_NAMELESS)}
    for node in graph.node:
        path = node.name.strip("/").replace("/", ".")
        module = path.rpartition(".")[0]
        for name in nameless & set(node.input):
            if node.op_type == "MatMul":
                weights[f"{module}.weight"] = arrays[name].T
            elif node.op_type == "MatMulInteger" and name.endswith(_QUANTIZED):
                weights[f"{module}.weight"] = _dequantize(arrays, name).T
            elif not _is_part_of_quantized(name, arrays):
                weights[path] = arrays[name]
            nameless.discard(name)
    if nameless:
        raise ValueError(
            f"a node tells where each matrix belongs; none uses {', '.join(sorted(nameless)[:4])}; "
            "check that the file is whole."
        )
    return {name: np.asarray(values, np.float32) for name, values in weights.items() if values.dtype.kind == "f"}


def _is_part_of_quantized(name: str, arrays: Mapping[str, Any]) -> bool:
    """Whether an array is the scale or the zero point of a matrix of integers."""
    return any(name.removesuffix(part) + _QUANTIZED in arrays for part in ("_scale", "_zero_point"))


def _dequantize(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Returns an `[in, out]` matrix of integers as float32."""
    stem = name.removesuffix(_QUANTIZED)
    scale, zero_point = (arrays.get(f"{stem}_{part}") for part in ("scale", "zero_point"))
    if scale is None or zero_point is None:
        raise ValueError(
            f"a matrix of integers has a scale and a zero point per output; {name} has not; export the model again."
        )
    return (arrays[name].astype(np.float32) - zero_point.astype(np.float32)) * scale
