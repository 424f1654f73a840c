"""Torch's storages and tensors as descriptions over mapped bytes; bounds are checked before anything is allocated."""

from __future__ import annotations

import dataclasses
import math
import struct
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from checkpoints_convert.errors import ConversionError, show_value
from checkpoints_convert.inert import Builder, Global, StandIn
from checkpoints_convert.tensors import MOST_AXES, MOST_NUMBERS, LazyTensor

STORAGE_DTYPES: Final[dict[str, np.dtype]] = {
    "torch.DoubleStorage": np.dtype(np.float64),
    "torch.FloatStorage": np.dtype(np.float32),
    "torch.HalfStorage": np.dtype(np.float16),
    "torch.BFloat16Storage": np.dtype(jnp.bfloat16),
    "torch.LongStorage": np.dtype(np.int64),
    "torch.IntStorage": np.dtype(np.int32),
    "torch.ShortStorage": np.dtype(np.int16),
    "torch.CharStorage": np.dtype(np.int8),
    "torch.ByteStorage": np.dtype(np.uint8),
    "torch.BoolStorage": np.dtype(np.bool_),
    "torch.ComplexFloatStorage": np.dtype(np.complex64),
    "torch.ComplexDoubleStorage": np.dtype(np.complex128),
    "torch.storage.UntypedStorage": np.dtype(np.uint8),
}
_NUMPY_SCALARS: Final = {
    **{"f2": "e", "f4": "f", "f8": "d", "b1": "?"},
    **{"i1": "b", "i2": "h", "i4": "i", "i8": "q"},
    **{"u1": "B", "u2": "H", "u4": "I", "u8": "Q"},
}


@dataclasses.dataclass(eq=False)
class Storage:
    """A flat run of numbers in a file.

    Attributes:
      key: its name in the file.
      dtype: of one number.
      numel: how many numbers the pickle declares.
      data: the bytes, a view of the mapped file; None until they are found.
    """

    key: str
    dtype: np.dtype
    numel: int
    data: memoryview | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes that the declared numbers take."""
        return self.numel * self.dtype.itemsize

    def attach(self, data: memoryview) -> None:
        """Gives the storage its bytes.

        Args:
          data: at least as many as declared.

        Raises:
          ConversionError: there are fewer.
        """
        if len(data) < self.num_bytes:
            raise ConversionError(
                f"storage {show_value(self.key)} declares {self.num_bytes} bytes; the file "
                f"holds {len(data)}; it is truncated or made up; get it again."
            )
        self.data = data[: self.num_bytes]


def make_storage(kind: Any, key: str, numel: Any) -> Storage:
    """Describes a storage from its persistent id.

    Args:
      kind: the storage class as the pickle names it.
      key: its name in the file.
      numel: how many numbers it declares.

    Returns:
      A `Storage` without bytes.

    Raises:
      ConversionError: the class is unknown or the number is none.
    """
    name = kind.name if isinstance(kind, Global) else type(kind).__name__
    if name not in STORAGE_DTYPES:
        raise ConversionError(
            f"storages are of {', '.join(STORAGE_DTYPES)}; got {show_value(name)}; save it in float32."
        )
    if not _is_length(numel):
        raise ConversionError(
            f"storage {show_value(key)} declares 0 to {MOST_NUMBERS} numbers; got {show_value(numel)}"
            "; get the file again."
        )
    return Storage(key, STORAGE_DTYPES[name], numel)


def _make_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> LazyTensor:
    """Describes a tensor, the counterpart of torch's _rebuild_tensor and _rebuild_tensor_v2."""
    is_sound = isinstance(storage, Storage) and isinstance(shape, tuple | list) and isinstance(strides, tuple | list)
    if (
        not is_sound
        or not len(shape) == len(strides) <= MOST_AXES
        or not all(map(_is_length, (offset, *shape, *strides)))
    ):
        raise ConversionError(
            f"a tensor has a storage, an offset, and sizes and strides of up to {MOST_AXES} axes; get the file again."
        )
    shape, strides = tuple(shape), tuple(0 if n == 1 else step for n, step in zip(shape, strides, strict=True))
    numel = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if numel else offset - 1
    if last >= storage.numel or numel > storage.numel:
        raise ConversionError(
            f"a tensor of shape {show_value(shape)}, strides {show_value(strides)}, offset {offset} "
            f"reaches outside its storage of {storage.numel} numbers; the file is damaged; get it again, "
            "or save expanded tensors whole."
        )

    def read() -> np.ndarray:
        if storage.data is None:
            raise ConversionError(f"storage {show_value(storage.key)} has no bytes in the file; get it again.")
        if not numel:
            return np.zeros(shape, storage.dtype)
        flat = np.frombuffer(storage.data, storage.dtype)
        steps = tuple(step * storage.dtype.itemsize for step in strides)
        return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)

    return LazyTensor(shape=shape, dtype=storage.dtype, read=read)


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value <= MOST_NUMBERS


def _make_parameter(data: Any, *_: Any) -> Any:
    """Describes a parameter as its tensor, the counterpart of torch's _rebuild_parameter."""
    return data


def _make_numpy_scalar(dtype: Any, data: Any = b"") -> int | float | bool:
    kind = dtype.args[0] if isinstance(dtype, StandIn) and dtype.name == "numpy.dtype" and dtype.args else None
    if (
        not isinstance(kind, str)
        or kind not in _NUMPY_SCALARS
        or not isinstance(data, bytes)
        or len(data) != int(kind[1:])
    ):
        raise ConversionError("NumPy scalars are plain numbers; got another dtype; save the file again.")
    return struct.unpack(f"<{_NUMPY_SCALARS[kind]}", data)[0]


TENSOR_BUILDERS: Final[dict[str, Builder]] = {
    "torch._utils._rebuild_tensor": _make_tensor,
    "torch._utils._rebuild_tensor_v2": _make_tensor,
    "torch._utils._rebuild_parameter": _make_parameter,
    "numpy.core.multiarray.scalar": _make_numpy_scalar,
    "numpy._core.multiarray.scalar": _make_numpy_scalar,
}
