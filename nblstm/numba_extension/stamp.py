"""Marks in users' compiled code, by which Numba's cache misses once nblstm computes something else.

Numba keys a cached function by its own text and its arguments' types, and by nothing that it calls. So overloads leave
a `Stamp` among the constants of what they compile. The cache unpickles these as it loads a function, and takes an
OSError, as of a file that has gone, for a miss: the function is compiled anew, and replaces the old one.
"""

from __future__ import annotations

import hashlib
from functools import cache

from numba import types
from numba.extending import intrinsic

from nblstm.cells.cell import Cell
from nblstm.cells.pickling import equations_text, found_at
from nblstm.numba_extension.implementation import implementation


class StaleError(OSError):
    """A function in Numba's cache was compiled with another nblstm, or with another cell of the same name."""


@cache
def hash_of(cell: Cell) -> str:
    """A hash of a cell's equations."""
    return hashlib.sha256(f"{cell.arguments} {equations_text(cell)}".encode()).hexdigest()[:32]


class Stamp:
    """A value that is unpickled only where `implementation` is the same, and so is a cell, if it is of one."""

    def __init__(self, cell: Cell | None = None):
        self.of = () if cell is None else (cell.place, hash_of(cell))

    def __reduce__(self):
        return _checked, (implementation(), *self.of)


def _checked(compiled_with: str, place: tuple[str, str] = ("", ""), equations: str = "") -> None:
    cell = found_at(*place)
    if compiled_with != implementation() or (isinstance(cell, Cell) and hash_of(cell) != equations):
        raise StaleError("compiled with another version of nblstm, or of a cell")


def stamping(stamp: Stamp):
    """A function for compiled code that does nothing; it leaves a stamp among the constants of its caller."""

    @intrinsic
    def stamped(typingctx):
        def codegen(context, builder, signature, args):
            context.environment.consts.append(stamp)
            return context.get_dummy_value()

        return types.void(), codegen

    return stamped
