"""Arrays that begin on a cache line; large ones in memory that has been used before."""

from __future__ import annotations

import ctypes
import math
from collections import deque

import numpy as np

from nblstm import locks

_LINE = 64

#: Arrays of more bytes than this are handed on from one that is gone to the next of about its size. The C library gives
#: such memory back to the system, in some processes each time, which then clears every page anew: 18 ms in a training
#: step of 225 (T=50, B=64, I=H=512), 0.5 in one of 2.7 (T=30, B=32, I=1, H=100), and, of less than 1 MB each, 1.7 in
#: one of 8.4 (T=100, B=32, I=64, H=128, different lengths).
LARGE = 100_000

#: Bytes kept for that at most.
KEPT = 256_000_000


class _Spare:
    """Memory of large arrays that are gone.

    `keep` runs wherever the garbage collector does, and so also within `take`: it never waits.
    """

    def __init__(self):
        self._lock = locks.lock()
        self._blocks: dict[int, list[np.ndarray]] = {}  # by size; sizes that were wanted last come last
        self._total = 0
        self._arrived: deque[np.ndarray] = deque()

    def take(self, size: int) -> np.ndarray:
        """At least ``size`` bytes, at most an eighth more."""
        shift = size.bit_length() - 4
        size = (size + (1 << shift) - 1) >> shift << shift  # few sizes, so that there is one
        with self._lock:
            self._settle()
            blocks = self._blocks.get(size)
            if blocks:
                self._total -= size
                return blocks.pop()
        return np.empty(size, np.uint8)

    def keep(self, block: np.ndarray) -> None:
        """For the next who needs it, unless it is too large."""
        self._arrived.append(block)
        if self._lock.acquire(blocking=False):  # otherwise the next does it
            try:
                self._settle()
            finally:
                self._lock.release()

    def _settle(self) -> None:
        while self._arrived:
            block = self._arrived.popleft()
            blocks = self._blocks.pop(block.size, [])
            blocks.append(block)
            self._blocks[block.size] = blocks
            self._total += block.size
        while self._total > KEPT:
            size, blocks = next(iter(self._blocks.items()))
            if blocks:
                blocks.pop(0)
                self._total -= size
            else:
                del self._blocks[size]


_spare = _Spare()


class _Block:
    """Memory on loan: alive as long as any array in it is."""

    def __init__(self, memory: np.ndarray):
        self._memory = memory
        self.__array_interface__ = self._memory.__array_interface__

    def __del__(self, keep=_spare.keep):  # bound here, as globals may be gone when the interpreter ends
        keep(self._memory)


def empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """An uninitialised C-contiguous array whose first number is at a multiple of 64 bytes.

    NumPy aligns to 16. Threads that write neighbouring units of one row then write to the same cache line, and pass it
    back and forth: a step of H = 64 on two threads took 3.2 us instead of 0.9.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < 8 * _LINE:  # too little to be shared, and this function takes 1 us
        return np.empty(shape, dtype)
    raw = np.empty(size + _LINE, np.uint8) if size < LARGE else np.asarray(_Block(_spare.take(size + _LINE)))
    address = ctypes.addressof(ctypes.c_char.from_buffer(raw))  # type: ignore[arg-type]
    return np.ndarray(shape, dtype, raw, -address % _LINE)


def zeros(shape: tuple[int, ...], dtype) -> np.ndarray:
    """As `empty`, filled with 0."""
    array = empty(shape, dtype)
    array.fill(0)
    return array
