"""Limits on the memory and the work that a file can ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nblstm.onnx.operators import OPERATORS

#: Bytes of arrays that constants may make while a file is read: so many times the file's own, or these if it is small.
TIMES, SMALL = 10, 4 << 20

#: Elements that are read and written for that: so many for each byte of the file, and these.
WORK_PER_BYTE, WORK = 100, 50_000_000

#: Elements of an array whose size a number decides, in a call: 1 GB of float32.
MOST_ELEMENTS = 1 << 28

#: Steps of a Scan.
MOST_STEPS = 1 << 24


class Budget:
    """Memory and work that are left for constants while a file is read.

    Parameters
    ----------
    size : int
        Of the file, in bytes.
    """

    def __init__(self, size: int):
        self._bytes_left = max(TIMES * size, SMALL)
        self._work_left = WORK_PER_BYTE * size + WORK

    def check(self, elements: int, arrays) -> None:
        """Refuse to make so many elements of these arrays, if that is vast for a file like this one."""
        self._work_left -= elements + sum(array.size for array in arrays if array is not None)
        if 8 * elements > self._bytes_left or self._work_left < 0:
            raise ValueError(
                f"it would make an array of {elements} elements, so that constants took more than {TIMES} times the "
                "memory or the work that the file's own do"
            )

    def take(self, count: int) -> None:
        """Count bytes of an array that was made."""
        self._bytes_left -= count


class Guarded:
    """An operator whose result is as large as a number says: it is refused before it is made, if it is vast."""

    def __init__(self, kind: str, function: Callable, attributes: dict[str, Any]):
        self.kind, self.function, self.attributes = kind, function, attributes
        self.since = next(since for since, known in OPERATORS[kind].items() if known.function is function)

    def __call__(self, *inputs):
        """Apply the operator."""
        check_elements(OPERATORS[self.kind][self.since].most_elements(*inputs, **self.attributes))
        return self.function(*inputs, **self.attributes)


def check_elements(wanted: int, read: int = 0) -> None:
    """Refuse to make a vast array in a call, unless it is not much larger than the arrays that are read for it."""
    most = max(MOST_ELEMENTS, TIMES * read)
    if wanted > most:
        raise ValueError(f"it would make an array of {wanted} elements, more than {most}")
