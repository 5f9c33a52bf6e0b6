"""Arrays updated in place, number by number: an equation in scalar Python, in one pass over memory, on all threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import distinct, offset, pointer_to, record, smaller
from nblstm.codegen.scalar import scalar_functions
from nblstm.codegen.target import inlined
from nblstm.cpu import threads
from nblstm.cpu.arguments import Arguments, Launch, address, pointer_type, structure
from nblstm.symbolic.emit import emit_function, functions_from, symbol
from nblstm.symbolic.tracing import trace_function

#: Numbers of one part, a multiple of a cache line's.
BLOCK = 16384


@cache
def _arguments_with(slots: int) -> type[Arguments]:
    """The structure of the kernel arguments of one array p, its gradient g and so many slots."""

    class UpdateArguments(Arguments):
        __annotations__ = {
            "parts": "int", "size": "int", "constants": "Array", "p": "Array", "g": "Array",
            **{f"slot_{k}": "Array" for k in range(slots)},
        }  # fmt: skip

    return structure(UpdateArguments)


class Update:
    """``p, *slots = equation(keep * p, g, *slots, *constants)``, for each number of some arrays, in one launch.

    Slots near the smallest normal number become 0: what remains of a gradient that has long been 0, as that of a rare
    word, would else end as a subnormal number that no factor makes smaller, and a step of Adam with 100,000 of them
    takes 39 us instead of 22 (Zen 4; on other processors it is worse).

    Parameters
    ----------
    equation : callable
        Function of scalars, which is traced as those of cells are.
    slots : sequence of sequence of ndarray
        Those of each array p: contiguous, of its length, all of one dtype; updated with each `run`.
    sizes : sequence of int
        Length of each array p.
    constants : int
        How many the equation takes.
    """

    def __init__(self, equation: Callable, slots, sizes, dtype: str, constants: int):
        self._kernel = update_kernel(equation, len(slots[0]), constants, dtype)
        self._constants = np.empty(2 + constants, dtype)
        self._constants[0] = np.finfo(dtype).tiny / np.finfo(dtype).eps
        self._parts = [-(-size // BLOCK) for size in sizes]
        self._arguments = Launch(_arguments_with(len(slots[0])), len(sizes))
        for arguments, size, own in zip(self._arguments, sizes, slots, strict=True):
            named = {f"slot_{k}": slot for k, slot in enumerate(own)}
            arguments.set(size=size, constants=self._constants, **named)

    def run(self, ps, gs, keep: float, constants: tuple[float, ...]) -> None:
        """Update arrays and slots, but for those whose gradient is None; not from two threads at once."""
        self._constants[1], self._constants[2:] = keep, constants
        total = 0
        for arguments, p, g, parts in zip(self._arguments, ps, gs, self._parts, strict=True):
            arguments.parts = 0 if g is None else parts
            if g is not None:
                arguments.p, arguments.g = address(p), address(g)
                arguments.held["p"], arguments.held["g"] = p, g
                total += parts
        threads.run(self._kernel, self._arguments, total, serial=total < 3)
        for arguments in self._arguments:
            arguments.let_go("p", "g")


def update_kernel(equation: Callable, slots: int, constants: int, dtype: str) -> int:
    """Address of the kernel that updates one block; see `_arguments_with`."""
    threads.prepare()  # it is launched on them
    name = symbol(getattr(equation, "__name__", "equation"))
    text = _emit(equation, slots, constants)

    def make():
        scope = {
            **scalar_functions(dtype), "inlined": inlined, "real": getattr(types, dtype),
            "distinct": distinct, "offset": offset, "pointer_to": pointer_to, "record": record,
            "smaller": smaller, "BLOCK": BLOCK,
        }  # fmt: skip
        update = functions_from(text, f"update {name}", scope)["update"]
        return update, types.void(pointer_type(_arguments_with(slots)), types.int64)

    return compiled(f"update_{name}_{dtype}", text, make)


def _emit(equation: Callable, slots: int, constants: int) -> str:
    """Source of the kernel."""
    arrays = ["p", "g", *(f"s{k}" for k in range(slots))]
    given = [f"c{k}" for k in range(constants)]
    inputs, new = trace_function("the optimizer's equation", equation, [*arrays, *given], 1 + slots)
    known = {node: node.args[0] for node in inputs}
    names = [f"new_{name}" for name in arrays if name != "g"]
    traced = emit_function("equation", known.values(), known, zip(names, new, strict=True))
    values = ", ".join([f"{name}[k]" for name in arrays[1:]] + given)
    results = ", ".join(["p[k]", *(f"n{k}" for k in range(slots))])
    kept = "".join(f"\n        s{k}[k] = n{k} if abs(n{k}) > least else zero" for k in range(slots))
    fields = ["p", "g", *(f"slot_{k}" for k in range(slots))]
    pointers = ", ".join(f"offset(pointer_to(job.{field}, real), start)" for field in fields)
    loaded = ", ".join(f"constants[{k}]" for k in range(2 + constants))
    return f"""@inlined
{traced}

@inlined
def block(n, {", ".join(arrays)}, least, keep, {", ".join(given)}):
    distinct()
    zero = least - least
    for k in range(n):
        ({results},) = equation(keep * p[k], {values}){kept}


def update(jobs, part):
    which = 0
    while part >= record(jobs, which).parts:
        part -= record(jobs, which).parts
        which += 1
    job = record(jobs, which)
    start = part * BLOCK
    constants = pointer_to(job.constants, real)
    block(smaller(BLOCK, job.size - start), {pointers}, {loaded})
"""
