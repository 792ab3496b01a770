"""A pickle machine for PyTorch files: it builds containers and tensors, and can call nothing.

Python's own unpickler imports and calls whatever the file names, and allocates what it announces.
This one knows the few instructions that `torch.save` writes, compares each global with a table
of names and never imports one, and does constant work for each byte that it reads.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cnn_jax.weights.malformed import Malformed

_MARK = object()
# A checkpoint of 10,000 tensors takes 600,000 instructions.
_MAX_INSTRUCTIONS = 4_000_000
_MAX_NAME = 200


@dataclass(frozen=True)
class Global:
    """A name that a pickle mentions: `torch._utils._rebuild_tensor_v2`, never what it means."""

    name: str


def unpickle(
    data: memoryview,
    start: int,
    *,
    allowed: Callable[[str], bool],
    call: Callable[[str, tuple], Any],
    load_persistent: Callable[[Any], Any],
) -> tuple[Any, int]:
    """Read one pickle.

    Args:
        data: the bytes of the file.
        start: where the pickle begins.
        allowed: whether a global of this dotted name may be mentioned.
        call: gives what a call of a global, with these arguments, stands for.
        load_persistent: gives what a persistent id stands for.

    Returns:
        The object, and the position after the pickle.

    Raises:
        Malformed: the pickle is torn, or mentions or does anything that is not on the list.
    """
    machine = _Machine(data, start, allowed, call, load_persistent)
    return machine.run(), machine.position


class _Machine:
    """The stack, the memo and the position of one pickle (PEP 307, PEP 3154)."""

    def __init__(self, data, start, allowed, call, load_persistent):
        self.data = data
        self.position = start
        self.stack: list = []
        self.memo: dict[int, Any] = {}
        self.allowed = allowed
        self.call = call
        self.load_persistent = load_persistent

    def run(self) -> Any:
        for _ in range(_MAX_INSTRUCTIONS):
            code = self.take(1)[0]
            if code == _STOP:
                return self.pop()
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                raise Malformed(
                    f"its pickle has the instruction 0x{code:02x}, which no weights need"
                )
            instruction(self)
        raise Malformed(f"its pickle has more than {_MAX_INSTRUCTIONS} instructions")

    def take(self, count: int) -> memoryview:
        end = self.position + count
        if end > len(self.data):
            raise Malformed("its pickle ends in the middle of an instruction")
        taken, self.position = self.data[self.position : end], end
        return taken

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def line(self) -> str:
        ahead = bytes(self.data[self.position : self.position + _MAX_NAME])
        length = ahead.find(b"\n")
        if length < 0:
            raise Malformed(f"its pickle has a name of more than {_MAX_NAME} letters, or is torn")
        return _text(self.take(length + 1)[:length])

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise Malformed("its pickle takes an object that it never made")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise Malformed(f"its pickle has no {kind.__name__} where it fills one")
        return self.stack[-1]

    def pop_to_mark(self) -> list:
        items = []
        while self.stack and self.stack[-1] is not _MARK:
            items.append(self.stack.pop())
        if not self.stack:
            raise Malformed("its pickle takes objects up to a mark that it never set")
        self.stack.pop()
        return items[::-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_global(self, module: str, name: str) -> None:
        dotted = f"{module}.{name}"
        if not self.allowed(dotted):
            raise Malformed(
                f"its pickle mentions `{dotted[:100]}`, which is no tensor and no container "
                "(nothing was run)"
            )
        self.push(Global(dotted))

    def remember(self, index: int) -> None:
        value = self.pop()
        self.memo[index] = value
        self.push(value)

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise Malformed("its pickle recalls an object that it never stored")
        self.push(self.memo[index])

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise Malformed("its pickle calls something that is no function")
        self.push(self.call(function.name, arguments))

    def build(self) -> None:
        # `torch.save` hangs `_metadata` on an OrderedDict: versions of modules, not weights.
        state = self.pop()
        self.top(dict)
        if not isinstance(state, dict):
            raise Malformed("its pickle sets the state of a container, which has none")

    def set_items(self, items: list) -> None:
        target = self.top(dict)
        if len(items) % 2:
            raise Malformed("its pickle has a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value

    def append_items(self, items: list) -> None:
        self.top(list).extend(items)

    def push_tuple(self, size: int) -> None:
        items = [self.pop() for _ in range(size)]
        self.push(tuple(reversed(items)))

    def skip_protocol(self) -> None:
        version = self.take(1)[0]
        if not 1 <= version <= 5:
            raise Malformed(f"its pickle is of protocol {version}: from 1 to 5 are known")


def checked_key(key: Any) -> str | int:
    """Return a key of a dictionary that is sure to hash in constant time.

    A tuple of tuples of tuples can take for ever, and large integers can be made to collide.

    Raises:
        Malformed: it is neither text nor a small integer.
    """
    if isinstance(key, str) or (isinstance(key, int) and abs(key) < 2**60):
        return key
    raise Malformed("its pickle has a key that is neither text nor a small number")


def _text(data: memoryview) -> str:
    try:
        return bytes(data).decode()
    except UnicodeDecodeError as error:
        raise Malformed("its pickle has a text that is not UTF-8") from error


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise Malformed("its pickle names a global by something else than text")
    machine.push_global(module, name)


_STOP = ord(".")

# Code -> what it does; named as in Python's `pickletools`. What is not here is refused: INST, OBJ,
# NEWOBJ, EXT1 to EXT4, PERSID, POP and DUP among them.
_INSTRUCTIONS: dict[int, Callable[[_Machine], Any]] = {
    0x80: _Machine.skip_protocol,  # PROTO
    0x95: lambda m: m.take(8),  # FRAME
    ord("("): lambda m: m.push(_MARK),  # MARK
    ord("N"): lambda m: m.push(None),  # NONE
    0x88: lambda m: m.push(True),  # NEWTRUE
    0x89: lambda m: m.push(False),  # NEWFALSE
    ord("K"): lambda m: m.push(m.number("<B")),  # BININT1
    ord("M"): lambda m: m.push(m.number("<H")),  # BININT2
    ord("J"): lambda m: m.push(m.number("<i")),  # BININT
    0x8A: lambda m: m.push(int.from_bytes(m.take(m.number("<B")), "little", signed=True)),  # LONG1
    ord("G"): lambda m: m.push(m.number(">d")),  # BINFLOAT
    ord("X"): lambda m: m.push(_text(m.take(m.number("<I")))),  # BINUNICODE
    0x8C: lambda m: m.push(_text(m.take(m.number("<B")))),  # SHORT_BINUNICODE
    ord("U"): lambda m: m.push(_text(m.take(m.number("<B")))),  # SHORT_BINSTRING, of Python 2
    ord("T"): lambda m: m.push(_text(m.take(m.number("<I")))),  # BINSTRING, of Python 2
    ord("C"): lambda m: m.push(bytes(m.take(m.number("<B")))),  # SHORT_BINBYTES
    ord("B"): lambda m: m.push(bytes(m.take(m.number("<I")))),  # BINBYTES
    ord(")"): lambda m: m.push(()),  # EMPTY_TUPLE
    0x85: lambda m: m.push_tuple(1),  # TUPLE1
    0x86: lambda m: m.push_tuple(2),  # TUPLE2
    0x87: lambda m: m.push_tuple(3),  # TUPLE3
    ord("t"): lambda m: m.push(tuple(m.pop_to_mark())),  # TUPLE
    ord("]"): lambda m: m.push([]),  # EMPTY_LIST
    ord("a"): lambda m: m.append_items([m.pop()]),  # APPEND
    ord("e"): lambda m: m.append_items(m.pop_to_mark()),  # APPENDS
    ord("}"): lambda m: m.push({}),  # EMPTY_DICT
    ord("s"): lambda m: m.set_items([m.pop(), m.pop()][::-1]),  # SETITEM
    ord("u"): lambda m: m.set_items(m.pop_to_mark()),  # SETITEMS
    ord("q"): lambda m: m.remember(m.number("<B")),  # BINPUT
    ord("r"): lambda m: m.remember(m.number("<I")),  # LONG_BINPUT
    0x94: lambda m: m.remember(len(m.memo)),  # MEMOIZE
    ord("h"): lambda m: m.recall(m.number("<B")),  # BINGET
    ord("j"): lambda m: m.recall(m.number("<I")),  # LONG_BINGET
    ord("c"): lambda m: m.push_global(m.line(), m.line()),  # GLOBAL
    0x93: _stack_global,  # STACK_GLOBAL
    ord("Q"): lambda m: m.push(m.load_persistent(m.pop())),  # BINPERSID
    ord("R"): _Machine.reduce,  # REDUCE
    ord("b"): _Machine.build,  # BUILD
}
