"""Reads pickles without ever importing or calling what they name.

A pickle is a program. Here its opcodes are interpreted one by one: literals and containers are built, a name is only a
`Global` (a string), and a call happens for a short list of builders that this package wrote itself. An instance of a
class that isn't known becomes a `StandIn` that holds its state as plain data. Everything else is refused with its name.
"""

from __future__ import annotations

import io
import mmap
import pickletools
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from checkpoints_convert.errors import ConversionError, show_error, show_value
from checkpoints_convert.inert import (
    BUILDERS,
    INERT_CLASSES,
    MENTIONED,
    Builder,
    Global,
    StandIn,
    check_key,
    damaged,
    make_dict,
    refused,
)

# A checkpoint of thousands of tensors takes about a hundred thousand; each may cost some hundred bytes of memory.
MAX_OPCODES: Final = 5_000_000
# What calls may copy, all together: a value on the stack takes an opcode, but a call copies whatever the memo holds.
MAX_COPIED: Final = 2**28
_BYTES_PER_ELEMENT: Final = 64
_LONGEST_NAME: Final = 1000
_LARGEST_MEMO: Final = 2**32

# In memory or mapped, so that a declared length never allocates more than the file has.
PickleStream = io.BytesIO | mmap.mmap

_MARK: Final = object()
_PYTHON2_MODULES: Final = {"__builtin__": "builtins", "copy_reg": "copyreg"}


def load_pickle(
    stream: PickleStream,
    *,
    builders: Mapping[str, Builder] | None = None,
    load_persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Interprets one pickle and leaves the stream behind its last byte.

    Args:
      stream: an in-memory or mapped file at the first opcode.
      builders: name -> function that may be called in place of it; functions of this package only.
      load_persistent: turns a persistent id into a value; None refuses them.

    Returns:
      What the pickle describes: plain data, `Global`, `StandIn` and what the builders gave.

    Raises:
      ConversionError: the pickle tries to use a name outside the list (nothing was run), or is damaged.
    """
    return _Machine(builders or {}, load_persistent).run(stream)


class _Machine:
    """The stack machine: one method per group of opcodes."""

    def __init__(self, builders: Mapping[str, Builder], load_persistent: Callable[[Any], Any] | None) -> None:
        self._builders = {**BUILDERS, **builders}
        self._load_persistent = load_persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._num_copied = 0

    def run(self, stream: PickleStream) -> Any:
        """Interprets opcodes until STOP."""
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(io.BytesIO, stream))):
                if count >= MAX_OPCODES:
                    raise damaged(f"more than {MAX_OPCODES} opcodes")
                if opcode.name == "STOP":
                    return self._pop()
                self._step(opcode.name, argument)
        except ConversionError:
            raise
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise damaged(show_error(error)) from error
        raise damaged("no STOP")

    def _step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _MEMO_WRITES:
            place = len(self._memo) if argument is None else argument
            if not 0 <= place < _LARGEST_MEMO:
                raise damaged(f"memo entry {show_value(place)}")
            self._memo[place] = self._top()
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            if argument not in self._memo:
                raise damaged(f"memo entry {show_value(argument)} is used before it is set")
            self._stack.append(self._memo[argument])
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise refused(name, "uses the opcode")

    def _top(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise damaged("the stack is empty")
        return self._stack[-1]

    def _pop(self) -> Any:
        value = self._top()
        self._stack.pop()
        return value

    def _pop_tuple(self) -> tuple[Any, ...]:
        value = self._pop()
        if not isinstance(value, tuple):
            raise damaged(f"arguments of type {type(value).__name__}")
        return value

    def _pop_to_mark(self) -> list[Any]:
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                values = self._stack[place + 1 :]
                del self._stack[place:]
                return values
        raise damaged("no mark on the stack")

    def pop(self, _: Any) -> None:
        if not self._stack:
            raise damaged("the stack is empty")
        self._stack.pop()

    def drop_marked(self, _: Any) -> None:
        self._pop_to_mark()

    def duplicate(self, _: Any) -> None:
        self._stack.append(self._top())

    def make_tuple(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self._stack.append(tuple(reversed(values)))

    def make_marked(self, kind: str) -> None:
        values = self._pop_to_mark()
        if kind == "dict":
            self._stack.append(make_dict(self._pair(values)))
        else:
            makers: dict[str, Callable[[list[Any]], Any]] = {"tuple": tuple, "list": list}
            self._stack.append(makers[kind](values) if kind in makers else frozenset(map(check_key, values)))

    def _pair(self, values: list[Any]) -> list[tuple[Any, Any]]:
        if len(values) % 2:
            raise damaged("a dict with a key and no value")
        return list(zip(values[::2], values[1::2], strict=True))

    def set_items(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict | StandIn):
            raise damaged(f"dict entries for a {type(target).__name__}")
        entries = target.items if isinstance(target, StandIn) else target
        for key, value in self._pair(values):
            entries[check_key(key)] = value

    def append(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list | StandIn):
            raise damaged(f"list entries for a {type(target).__name__}")
        (target.elements if isinstance(target, StandIn) else target).extend(values)

    def add(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, set):
            raise damaged(f"set entries for a {type(target).__name__}")
        target.update(map(check_key, values))

    def name_global(self, argument: str | None) -> None:
        if argument is None:
            attribute, module = self._pop(), self._pop()
        else:
            module, _, attribute = argument.partition(" ")
        if not (isinstance(module, str) and isinstance(attribute, str)):
            raise damaged("a name that is not text")
        if len(module) + len(attribute) > _LONGEST_NAME:
            raise damaged(f"a name of {len(module) + len(attribute)} characters")
        name = f"{_PYTHON2_MODULES.get(module, module)}.{attribute}"
        is_known = name in self._builders or name in INERT_CLASSES or name in MENTIONED
        if not is_known and name.partition(".")[0] in sys.stdlib_module_names:
            raise refused(name, "names")
        self._stack.append(Global(name))

    def call(self, args: tuple[Any, ...]) -> None:
        function = self._pop()
        if not isinstance(function, Global):
            raise refused(type(function).__name__, "calls a value of type")
        if function.name in self._builders:
            self._stack.append(self._build(function.name, args))
        elif function.name in INERT_CLASSES:
            self._stack.append(StandIn(function.name, args))
        else:
            raise refused(function.name, "calls")

    def make_instance(self, args: tuple[Any, ...]) -> None:
        """Describes cls.__new__(cls, *args)."""
        cls = self._pop()
        if not isinstance(cls, Global):
            raise refused(type(cls).__name__, "makes an instance of a value of type")
        is_built = cls.name in self._builders
        self._stack.append(self._build(cls.name, args) if is_built else StandIn(cls.name, args))

    def _build(self, name: str, args: tuple[Any, ...]) -> Any:
        self._count_copied(args)
        for arg in args:
            self._count_copied(arg)
        return self._builders[name](*args)

    def _count_copied(self, value: Any) -> None:
        if isinstance(value, str | bytes | bytearray):
            self._num_copied += len(value)
        elif isinstance(value, list | tuple | dict | set | frozenset):
            self._num_copied += len(value) * _BYTES_PER_ELEMENT
        if self._num_copied > MAX_COPIED:
            raise damaged(f"calls that copy more than {MAX_COPIED} bytes")

    def build(self, _: Any) -> None:
        state = self._pop()
        target = self._top()
        if isinstance(target, Global):
            raise refused(target.name, "sets attributes of")
        if isinstance(target, StandIn):
            target.state = state
        # A state dict carries version numbers and a parameter its flags in this way; neither is needed.

    def call_named(self, argument: str) -> None:
        values = self._pop_to_mark()
        self.name_global(argument)
        self.call(tuple(values))

    def call_marked(self, _: Any) -> None:
        values = self._pop_to_mark()
        if not values:
            raise damaged("an object without a class")
        self._stack.append(values[0])
        self.call(tuple(values[1:]))

    def make_keyword_instance(self, _: Any) -> None:
        keywords, args = self._pop(), self._pop_tuple()
        self._count_copied(args)
        self.make_instance((*args, keywords))

    def load_persistent(self, argument: Any) -> None:
        if self._load_persistent is None:
            raise refused(type(argument).__name__, "asks for an external value by")
        self._stack.append(self._load_persistent(argument))


_LITERALS: Final = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
_CONSTANTS: Final[dict[str, Callable[[], Any]]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "MARK": lambda: _MARK,
}
_MEMO_WRITES: Final = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_STEPS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    "POP": _Machine.pop,
    "POP_MARK": _Machine.drop_marked,
    "DUP": _Machine.duplicate,
    "TUPLE1": lambda machine, _: machine.make_tuple(1),
    "TUPLE2": lambda machine, _: machine.make_tuple(2),
    "TUPLE3": lambda machine, _: machine.make_tuple(3),
    "TUPLE": lambda machine, _: machine.make_marked("tuple"),
    "LIST": lambda machine, _: machine.make_marked("list"),
    "DICT": lambda machine, _: machine.make_marked("dict"),
    "FROZENSET": lambda machine, _: machine.make_marked("frozenset"),
    "SETITEM": lambda machine, _: machine.set_items([machine._pop(), machine._pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine._pop_to_mark()),
    "APPEND": lambda machine, _: machine.append([machine._pop()]),
    "APPENDS": lambda machine, _: machine.append(machine._pop_to_mark()),
    "ADDITEMS": lambda machine, _: machine.add(machine._pop_to_mark()),
    "GLOBAL": _Machine.name_global,
    "STACK_GLOBAL": lambda machine, _: machine.name_global(None),
    "REDUCE": lambda machine, _: machine.call(machine._pop_tuple()),
    "NEWOBJ": lambda machine, _: machine.make_instance(machine._pop_tuple()),
    "NEWOBJ_EX": _Machine.make_keyword_instance,
    "BUILD": _Machine.build,
    "INST": _Machine.call_named,
    "OBJ": _Machine.call_marked,
    "PERSID": _Machine.load_persistent,
    "BINPERSID": lambda machine, _: machine.load_persistent(machine._pop()),
}
