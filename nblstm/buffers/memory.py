"""Arrays that begin on a cache line; large ones in memory that has been used before.

When an object goes, no code of Python runs
-------------------------------------------
A ``__del__``, and the callback of a weak reference, run wherever the last reference happens to go: on any thread,
between any two instructions, within whatever they are about to change, and when the interpreter ends. Code of Python
there could wait for a lock that the interrupted code holds, finds globals and attributes gone at the end or after an
``__init__`` that failed, and loses exceptions: that of a signal's handler, which may come at its first instruction as
at any other, is printed and forgotten. So nblstm has no ``__del__``. What is to be used again is lent by a `Spare`: a
weak reference that carries it, whose callback is a function written in C that only puts it back.
"""

from __future__ import annotations

import ctypes
import math
import os
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

_LINE = 64

#: Arrays of more bytes than this are handed on from one that is gone to the next of about its size. The C library gives
#: such memory back to the system, in some processes each time, which then clears every page anew: 18 ms in a training
#: step of 225 (T=50, B=64, I=H=512), 0.5 in one of 2.7 (T=30, B=32, I=1, H=100), and, of less than 1 MB each, 1.7 in
#: one of 8.4 (T=100, B=32, I=64, H=128, different lengths).
LARGE = 100_000

#: Bytes kept for that at most.
KEPT = 256_000_000

#: When memory has to be made, what has waited for more than so many requests goes first. Shapes that change in every
#: step, or models that follow each other, leave sizes that nobody asks for again.
PATIENCE = 64


#: With ``NBLSTM_CHECK_MEMORY=1``, for tests: memory that nobody has, or that nobody has written to, reads as NaN or -1,
#: and no kernel is launched on an address that its arguments do not hold the array of.
CHECKED = os.environ.get("NBLSTM_CHECK_MEMORY", "0") != "0"

_NOTHING = 255  # each byte of such memory


class _Loan(weakref.ref):
    """A borrower, weakly, and what it was lent."""

    __slots__ = ("thing",)
    thing: Any


class Spare:
    """Things that are used again when whoever had them is gone; any thread may lend and take, at any time.

    Parameters
    ----------
    most : int, optional
        How many are kept; beyond that, the one that came back first is let go of.

    Notes
    -----
    There is no lock, as each operation is a single call of a `collections.deque`, which is done or not done, whatever
    other threads and the handlers of signals do.
    """

    __slots__ = ("_back", "_pop", "give")

    def __init__(self, most: int | None = None):
        self._back: deque[Any] = deque(maxlen=most)  # things, or their loans
        self._pop = self._back.pop
        #: ``give(thing)`` has a thing back that `take` gave, or a new one, of which the caller lets go.
        self.give: Callable[[Any], None] = self._back.append

    def __len__(self) -> int:
        return len(self._back)

    def take(self) -> Any:
        """A thing that nobody has, the one that came back last; None if there is none."""
        try:
            thing = self._pop()
        except IndexError:
            return None
        return thing.thing if type(thing) is _Loan else thing

    def lend(self, thing, borrower) -> object:
        """Have a thing back when the borrower is gone.

        Parameters
        ----------
        thing : object
            It must not refer to the borrower, who would then never go.
        borrower : object
            Of a class whose objects can be referred to weakly.

        Returns
        -------
        object
            The loan, which the borrower has to keep as an attribute. If it goes with a cycle of references, which the
            garbage collector ends at once, the thing goes with it.
        """
        loan = _Loan(borrower, self.give)
        loan.thing = thing
        return loan


class _Blocks:
    """Memory of large arrays: what nobody has, by its size.

    No lock, no count of bytes that could miss one: what is taken out of a container is either put into the next, or
    freed if an exception comes in between.
    """

    def __init__(self):
        self._back = Spare()
        self._kept: dict[int, deque[np.ndarray]] = {}  # by size; sizes that came back last come last
        self._since: dict[int, int] = {}  # the request at which a size came back for the last time
        self._requests = 0

    def lent(self, size: int) -> np.ndarray:
        """Memory for ``size`` bytes, of at most an eighth more, back when the last array in it is gone."""
        shift = size.bit_length() - 4
        size = (size + (1 << shift) - 1) >> shift << shift  # few sizes, so that there is one
        self.sort()
        self._requests += 1
        blocks = self._kept.get(size)
        block = _popped(blocks.pop) if blocks else None
        if block is None:
            for other, since in tuple(self._since.items()):
                if since < self._requests - PATIENCE:
                    self._kept.pop(other, None)
                    self._since.pop(other, None)
            block = np.empty(size, np.uint8)
            if CHECKED:
                block.fill(_NOTHING)
        return np.asarray(_Block(block, self._back))

    def forget(self) -> None:
        """Let go of all that is kept."""
        self._kept.clear()

    @property
    def nbytes(self) -> int:
        """Bytes that nobody has."""
        return sum(size * len(blocks) for size, blocks in tuple(self._kept.items()))

    def sort(self) -> None:
        """Put what has come back where it is looked for, and let go of what is too much."""
        came = False
        while (block := self._back.take()) is not None:
            if CHECKED:
                block.fill(_NOTHING)
            blocks = self._kept.pop(block.size, None) or deque()
            blocks.append(block)
            self._kept[block.size] = blocks
            self._since[block.size] = self._requests
            came = True
        if came and (too_many := self.nbytes - KEPT) > 0:
            for size, blocks in tuple(self._kept.items()):
                while too_many > 0 and _popped(blocks.popleft) is not None:
                    too_many -= size


def _popped(pop: Callable[[], np.ndarray]) -> np.ndarray | None:
    """A block; None if there is none, as another thread may have taken it just now."""
    try:
        return pop()
    except IndexError:
        return None


_blocks = _Blocks()


def give_back() -> None:
    """Give memory that nobody has back to the system."""
    _blocks.sort()
    _blocks.forget()


def fill_freed() -> None:
    """Have memory that has come back since the last request filled; see `CHECKED`."""
    _blocks.sort()


class _Block:
    """Memory on loan: alive as long as any array in it is."""

    def __init__(self, memory: np.ndarray, spare: Spare):
        self.__array_interface__ = memory.__array_interface__
        self._loan = spare.lend(memory, self)


def empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """An uninitialised C-contiguous array whose first number is at a multiple of 64 bytes.

    NumPy aligns to 16. Threads that write neighbouring units of one row then write to the same cache line, and pass it
    back and forth: a step of H = 64 on two threads took 3.2 us instead of 0.9.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < 8 * _LINE and not CHECKED:  # too little to be shared, and this function takes 1 us
        return np.empty(shape, dtype)
    raw = _blocks.lent(size + _LINE) if size >= LARGE or CHECKED else np.empty(size + _LINE, np.uint8)
    address = ctypes.addressof(ctypes.c_char.from_buffer(raw))  # type: ignore[arg-type]
    return np.ndarray(shape, dtype, raw, -address % _LINE)


def size_of(shapes: dict[str, tuple[tuple[int, ...], str]]) -> int:
    """Bytes of a block for arrays of these shapes and dtypes, each on a cache line."""
    return sum(_lines(shape, dtype) for shape, dtype in shapes.values())


def cut(block: np.ndarray, shapes: dict[str, tuple[tuple[int, ...], str]]) -> dict[str, np.ndarray]:
    """Arrays of these shapes and dtypes, one behind the other in a block of `size_of` bytes."""
    arrays, start = {}, 0
    for name, (shape, dtype) in shapes.items():
        arrays[name] = np.ndarray(shape, dtype, block, start)
        start += _lines(shape, dtype)
    return arrays


def zero_gaps(block: np.ndarray, shapes: dict[str, tuple[tuple[int, ...], str]]) -> None:
    """Set the bytes of a block that belong to no array to 0: between them, and behind the last."""
    start = 0
    for shape, dtype in shapes.values():
        end = start + _lines(shape, dtype)
        block[start + math.prod(shape) * np.dtype(dtype).itemsize : end] = 0
        start = end
    block[start:] = 0


def _lines(shape: tuple[int, ...], dtype: str) -> int:
    return -(-math.prod(shape) * np.dtype(dtype).itemsize // _LINE) * _LINE


def zeros(shape: tuple[int, ...], dtype) -> np.ndarray:
    """An array as from `empty`, filled with 0."""
    array = empty(shape, dtype)
    array.fill(0)
    return array
