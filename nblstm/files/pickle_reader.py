"""Reading of a pickle without Python's: a small stack machine that can build plain values, and can call nothing.

Python's own unpickler finds any function by its name and calls it, and reserves as much memory as a length in the file
says. Here a name is looked up in a table that the caller gives. What an instruction may need is bounded by the file.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from nblstm.files.content import SizeLimit

#: Begins a group of values on the stack.
_MARK = object()

#: Bytes of memory that an instruction takes at most, beside the text that it reads: an empty dict and its place.
_COST = 100


class PickleReader:
    """A stack machine for the instructions with which values, lists and dicts are pickled.

    Parameters
    ----------
    file : BinaryIO
        Open at the pickle.
    limit : SizeLimit
    known : dict of str to object
        By ``"module.name"``: the values that a pickle may refer to, and call where they are functions.
    persistent : callable
        Makes the value of a persistent id.
    """

    def __init__(
        self, file: BinaryIO, limit: SizeLimit, known: dict[str, Any], persistent: Callable[[Any], Any]
    ):  # fmt: skip
        self._file, self._limit, self._known, self._persistent = file, limit, known, persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []  # places of marks on the stack
        self._memo: dict[int, Any] = {}

    def read(self) -> Any:
        """The value of the next pickle."""
        self._stack, self._marks, self._memo = [], [], {}
        while True:
            self._limit.add(_COST, "its pickle")
            code = self._bytes(1).decode("latin1")
            if code == ".":
                if len(self._stack) != 1:
                    raise ValueError("its pickle ends before its value is complete")
                return self._stack.pop()
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                name = next((each.name for each in pickletools.opcodes if each.code == code), repr(code))
                raise ValueError(f"its pickle has the instruction {name}, which no tensor needs")
            instruction(self)

    def _bytes(self, count: int) -> bytes:
        found = self._file.read(count)
        if len(found) != count:
            raise ValueError("its pickle is cut off")
        return found

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]

    def _text(self, length: int, encoding: str = "utf-8") -> str:
        self._limit.add(5 * length, "its pickle")  # the bytes, and up to 4 for each letter
        return self._bytes(length).decode(encoding)

    def _line(self) -> str:
        line = self._file.readline(1000)
        if not line.endswith(b"\n"):
            raise ValueError("its pickle is cut off")
        return line[:-1].decode()

    def _push(self, value) -> None:
        self._stack.append(value)

    def _pop(self, kind: type = object) -> Any:
        value = self._stack.pop() if self._stack else _MARK
        if value is _MARK or not isinstance(value, kind):
            raise ValueError("its pickle has a value of another kind, or none, where it needs one")
        return value

    def _top(self, kind: type = object) -> Any:
        value = self._pop(kind)
        self._push(value)
        return value

    def _group(self) -> list[Any]:
        """The values behind the last mark, which are taken from the stack."""
        if not self._marks:
            raise ValueError("its pickle ends a group that it has not begun")
        at = self._marks.pop()
        group = self._stack[at + 1 :]
        del self._stack[at:]
        return group

    def _mark(self) -> None:
        self._marks.append(len(self._stack))
        self._stack.append(_MARK)

    def _tuple(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(values)))

    def _set_items(self, pairs: list[Any]) -> None:
        target = self._top(dict)
        if len(pairs) % 2:
            raise ValueError("its pickle has a key without a value")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            # Others could be compared or hashed at any cost: a tuple of tuples without end, numbers of one hash.
            if not (key is None or isinstance(key, str) or (isinstance(key, int) and abs(key) < 1 << 60)):
                raise ValueError(f"its pickle has a dict with a {type(key).__name__} as a key")
            target[key] = value

    def _append(self, values: list[Any]) -> None:
        self._top(list).extend(values)

    def _pair(self) -> list[Any]:
        value = self._pop()
        return [self._pop(), value]

    def _put(self, place: int) -> None:
        self._memo[place] = self._top()

    def _get(self, place: int) -> None:
        if place not in self._memo:
            raise ValueError("its pickle refers to what it has not read")
        self._push(self._memo[place])

    def _global(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        if full not in self._known:
            raise ValueError(
                f"it has an object of {full}, and only tensors, numbers, texts, lists and dicts are read; save the "
                "parameters alone, by torch.save(model.state_dict(), path)"
            )
        self._push(self._known[full])

    def _global_of_stack(self) -> None:
        name = self._pop(str)
        self._global(self._pop(str), name)

    def _reduce(self) -> None:
        arguments = self._pop(tuple)
        make = self._pop()
        if not callable(make):
            raise ValueError(f"its pickle calls a {type(make).__name__}")
        try:
            self._push(make(*arguments))
        except TypeError:
            raise ValueError("its pickle has an object with arguments that do not fit") from None

    def _skip_attributes(self) -> None:
        """Leave out what is to be set on a value: of torch's dicts the versions of modules, of NumPy's types all."""
        self._pop()
        if not isinstance(self._top(), dict | None):
            raise ValueError("its pickle sets attributes of what has none")

    def _protocol(self) -> None:
        if self._number("B") > 5:
            raise ValueError("its pickle is of a later protocol than 5")


_R = PickleReader
_INSTRUCTIONS: dict[str, Callable[[PickleReader], Any]] = {
    "\x80": _R._protocol,
    "\x95": lambda r: r._number("<Q"),  # the length of a frame, which readers of streams use
    "(": _R._mark,
    "0": lambda r: r._pop(),
    "1": lambda r: r._group(),
    "2": lambda r: r._push(r._top()),
    # Plain values.
    "N": lambda r: r._push(None),
    "\x88": lambda r: r._push(True),
    "\x89": lambda r: r._push(False),
    "K": lambda r: r._push(r._number("<B")),
    "M": lambda r: r._push(r._number("<H")),
    "J": lambda r: r._push(r._number("<i")),
    "\x8a": lambda r: r._push(int.from_bytes(r._bytes(r._number("B")), "little", signed=True)),
    "G": lambda r: r._push(r._number(">d")),
    "X": lambda r: r._push(r._text(r._number("<I"))),
    "\x8c": lambda r: r._push(r._text(r._number("<B"))),
    "\x8d": lambda r: r._push(r._text(r._number("<Q"))),
    "U": lambda r: r._push(r._text(r._number("<B"), "latin1")),
    "T": lambda r: r._push(r._text(r._number("<I"), "latin1")),
    "C": lambda r: r._push(r._bytes(r._number("<B"))),
    "B": lambda r: r._push(r._text(r._number("<I"), "latin1")),
    # Containers; a set is read as a list, as nothing needs its members.
    "]": lambda r: r._push([]),
    "}": lambda r: r._push({}),
    "\x8f": lambda r: r._push([]),
    "\x91": lambda r: r._push(r._group()),
    ")": lambda r: r._push(()),
    "t": lambda r: r._push(tuple(r._group())),
    "\x85": lambda r: r._tuple(1),
    "\x86": lambda r: r._tuple(2),
    "\x87": lambda r: r._tuple(3),
    "a": lambda r: r._append([r._pop()]),
    "e": lambda r: r._append(r._group()),
    "\x90": lambda r: r._append(r._group()),
    "s": lambda r: r._set_items(r._pair()),
    "u": lambda r: r._set_items(r._group()),
    # What was read before.
    "q": lambda r: r._put(r._number("<B")),
    "r": lambda r: r._put(r._number("<I")),
    "\x94": lambda r: r._put(len(r._memo)),
    "h": lambda r: r._get(r._number("<B")),
    "j": lambda r: r._get(r._number("<I")),
    # Names, and what is made of them.
    "c": lambda r: r._global(r._line(), r._line()),
    "\x93": _R._global_of_stack,
    "R": _R._reduce,
    "\x81": _R._reduce,  # of a class, which is known by a function as well
    "b": _R._skip_attributes,
    "Q": lambda r: r._push(r._persistent(r._pop())),
}  # fmt: skip
