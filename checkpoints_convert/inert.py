"""What a pickle may build: plain data, names that stay names, stand-ins for classes that aren't known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from checkpoints_convert.errors import ConversionError, show_value

# Python hashes text with a secret; of numbers anybody can make thousands with one hash, which a dict takes hours for.
# Whole numbers below these bounds, alone or in a short tuple, have hashes of their own.
_LARGEST_KEY: Final = 2**60
_LARGEST_PART: Final = 2**31
_MOST_PARTS: Final = 4
_HASHED_WITH_SECRET: Final = (str, bytes, type(None))

# Classes that are only ever described, never built: a call of one gives a StandIn with the arguments.
INERT_CLASSES: Final = frozenset(
    {
        "argparse.Namespace",
        "builtins.object",
        "builtins.range",
        "builtins.slice",
        "collections.Counter",
        "collections.defaultdict",
        "collections.deque",
        "datetime.date",
        "datetime.datetime",
        "datetime.timedelta",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
        "numpy.dtype",
        "numpy.ndarray",
        "pathlib.Path",
        "pathlib.PosixPath",
        "pathlib.PurePosixPath",
        "pathlib.PureWindowsPath",
        "pathlib.WindowsPath",
        "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",
        "torch.Size",
        "torch.device",
        "types.SimpleNamespace",
    }
)


@dataclasses.dataclass(frozen=True)
class Global:
    """A name that a pickle mentions; nothing is imported.

    Attributes:
      name: module and attribute, "torch.FloatStorage".
    """

    name: str


@dataclasses.dataclass(eq=False, repr=False)
class StandIn:
    """An instance of a class that is not built: its state as plain data.

    Attributes:
      name: the class.
      args: what it was called with.
      state: what BUILD gave it.
      items: dict entries, for a subclass of dict.
      elements: list entries, for a subclass of list.
    """

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = dataclasses.field(default_factory=dict)
    elements: list[Any] = dataclasses.field(default_factory=list)


Builder = Callable[..., Any]


def read_fields(value: Any) -> dict[Any, Any] | None:
    """Returns the entries of a dict, or the fields of a StandIn, one level deep; None for anything else."""
    if isinstance(value, StandIn):
        state = value.state
        if isinstance(state, tuple) and len(state) == 2 and all(isinstance(part, dict | None) for part in state):
            state = {**(state[0] or {}), **(state[1] or {})}  # what a class with __slots__ leaves
        return {**value.items, **(state if isinstance(state, dict) else {})}
    return value if isinstance(value, dict) else None


def damaged(what: str) -> ConversionError:
    """Returns the error for a pickle that is no sound program."""
    return ConversionError(f"a pickle is read to its end; this one is damaged ({what}); get it again.")


def refused(name: str, what: str) -> ConversionError:
    """Returns the error for a pickle that tries to use what it may not."""
    return ConversionError(
        f"a checkpoint may only build tensors and plain data; this one {what} {show_value(name)}; it was "
        "refused and nothing was run; don't trust this file, or save its state dict as safetensors where you trust it."
    )


def check_key(key: Any) -> Any:
    """Lets through what hashes in no time: deep tuples that share their parts can take for ever."""
    if isinstance(key, (*_HASHED_WITH_SECRET, float, Global, StandIn)) or _is_below(key, _LARGEST_KEY):
        return key
    is_short = isinstance(key, tuple) and len(key) <= _MOST_PARTS
    if is_short and all(isinstance(part, _HASHED_WITH_SECRET) or _is_below(part, _LARGEST_PART) for part in key):
        return key
    raise damaged(f"a dict key that is {show_value(key)}")


def _is_below(value: Any, bound: int) -> bool:
    return isinstance(value, int) and -bound < value < bound


def _encode_latin1(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise damaged("_codecs.encode of something else than Latin-1 text")
    return text.encode("latin1")


def _make_bytes(*args: Any) -> bytes:
    if not args:
        return b""
    return bytes(args[0]) if isinstance(args[0], bytes | bytearray) else _encode_latin1(*args)


def make_dict(pairs: Any = ()) -> dict[Any, Any]:
    """Returns a dict of pairs whose keys are simple."""
    entries = pairs.items() if isinstance(pairs, dict) else pairs
    made = {}
    for key, value in entries:
        made[check_key(key)] = value
    return made


def _make_object(cls: Any, base: Any = None, state: Any = None) -> StandIn:
    if not isinstance(cls, Global):
        raise damaged("copyreg._reconstructor without a class")
    return StandIn(cls.name, state=state)


BUILDERS: Final[dict[str, Builder]] = {
    "_codecs.encode": _encode_latin1,
    "builtins.bytearray": _make_bytes,
    "builtins.bytes": _make_bytes,
    "builtins.complex": lambda real=0.0, imag=0.0: complex(real, imag),
    "builtins.dict": make_dict,
    "builtins.frozenset": lambda values=(): frozenset(map(check_key, values)),
    "builtins.list": lambda values=(): list(values),
    "builtins.set": lambda values=(): set(map(check_key, values)),
    "builtins.tuple": lambda values=(): tuple(values),
    "collections.OrderedDict": make_dict,
    "copyreg._reconstructor": _make_object,
}
# Types that are mentioned (as the factory of a defaultdict, say), never called.
MENTIONED: Final = frozenset(f"builtins.{name}" for name in ("int", "float", "bool", "str", "type", "NoneType"))
