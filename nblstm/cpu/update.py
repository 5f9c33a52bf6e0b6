"""Arrays updated in place, number by number: an equation in scalar Python, in one pass over memory, on all threads."""

from __future__ import annotations

import inspect
import linecache
from array import array
from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit, types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.options import INLINE
from nblstm.codegen.pointers import distinct, offset, pointer_to, record
from nblstm.cpu import threads
from nblstm.cpu.jobs import address, array_address, pointer_type

#: Numbers of one part, a multiple of a cache line's.
BLOCK = 16384

_FIELDS = ("size", "constants", "p", "g")  # then one for each slot


class Update:
    """``p, *slots = equation(keep * p, g, *slots, *constants)``, for each number of the arrays.

    Slots near the smallest normal number become 0: what remains of a gradient that has long been 0, as that of a rare
    word, would else end as a subnormal number that no factor makes smaller, and a step of Adam with 100,000 of them
    takes 39 us instead of 22 (Zen 4; on other processors it is worse).

    Parameters
    ----------
    equation : callable
        Module-level function of floats: it may use operators, `numpy.sqrt` and `numpy.maximum`, and constants that it
        is given, as a literal would be of another type.
    slots : sequence of ndarray
        Contiguous, of one length and dtype; updated with each `run`.
    constants : int
        How many the equation takes.
    """

    def __init__(self, equation: Callable, slots, size: int, dtype: str, constants: int):
        self._kernel = update_kernel(equation, len(slots), constants, dtype)
        self._slots = tuple(slots)  # alive as long as their addresses are in the job
        self._constants = np.empty(2 + constants, dtype)
        self._constants[0] = np.finfo(dtype).tiny / np.finfo(dtype).eps
        self._parts = -(-size // BLOCK)
        self._job = array("q", [size, address(self._constants), 0, 0, *map(address, slots)])

    def run(self, p: np.ndarray, g: np.ndarray, keep: float, constants: tuple[float, ...]) -> None:
        """Update ``p`` and the slots; not from two threads at once."""
        self._constants[1], self._constants[2:] = keep, constants
        self._job[2], self._job[3] = address(p), address(g)
        threads.run(self._kernel, array_address(self._job), self._parts, tiny=self._parts < 3)


@cache
def update_kernel(equation: Callable, slots: int, constants: int, dtype: str) -> int:
    """Address of the kernel that updates one block; its job has `_FIELDS` and the slots."""
    text = _emit(slots, constants)

    def make():
        fields = (*_FIELDS, *(f"slot_{k}" for k in range(slots)))
        names = {
            "inlined": njit(**INLINE), "equation": njit(**INLINE)(equation), "real": getattr(types, dtype),
            "distinct": distinct, "offset": offset, "pointer_to": pointer_to, "record": record, "BLOCK": BLOCK,
        }  # fmt: skip
        file = f"<nblstm update {equation.__name__}>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # for tracebacks
        exec(compile(text, file, "exec"), names)
        return names["update"], types.void(pointer_type(fields), types.int64)

    return compiled(f"update_{equation.__name__}_{dtype}", f"{inspect.getsource(equation)}\n{text}", make)


def _emit(slots: int, constants: int) -> str:
    """Source of the kernel."""
    arrays = ["p", "g", *(f"s{k}" for k in range(slots))]
    given = [f"c{k}" for k in range(constants)]
    values = ", ".join([f"{name}[k]" for name in arrays[1:]] + given)
    results = ", ".join(["p[k]", *(f"n{k}" for k in range(slots))])
    kept = "".join(f"\n        s{k}[k] = n{k} if abs(n{k}) > least else zero" for k in range(slots))
    fields = ["p", "g", *(f"slot_{k}" for k in range(slots))]
    pointers = ", ".join(f"offset(pointer_to(job.{field}, real), start)" for field in fields)
    loaded = ", ".join(f"constants[{k}]" for k in range(2 + constants))
    return f"""
@inlined
def block(n, {", ".join(arrays)}, least, keep, {", ".join(given)}):
    distinct()
    zero = least - least
    for k in range(n):
        ({results},) = equation(keep * p[k], {values}){kept}


def update(jobs, part):
    job = record(jobs, 0)
    start = part * BLOCK
    constants = pointer_to(job.constants, real)
    block(min(BLOCK, job.size - start), {pointers}, {loaded})
"""
