"""Kernels of one step of one direction, and what their source calls; see `nblstm.cells.cuda_source`.

Neighbouring threads have neighbouring units, so their accesses to memory fall together. Threads wait for each other
only where units are added up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from nblstm.cells.cell import Cell
from nblstm.cells.cuda_source import StepSource
from nblstm.codegen.hashing import hash_functions
from nblstm.symbolic.emit import functions_from, symbol

#: Sums of a block's threads that are left when each thread has added its own units: 16, and then one.
PARTIAL = 16


def step_kernel(p, cell: Cell, source: StepSource) -> Callable:
    """The kernel of a part of a step; its argument is a `StepForward` or a `StepBackward`."""
    functions, most = p.functions, source.over_units
    scope: dict[str, Any] = {
        **functions, "real": p.real, "inlined": p.inlined, "numbers": p.numbers, "integers": p.integers,
        "offset": p.offset, "thread": p.thread, "block": p.block, "block_size": p.block_size,
        "shared_memory": p.shared, "lowest": p.real(-math.inf), **drawing(p),
    }  # fmt: skip
    for count in range(1, most + 1):
        scope[f"sum_over_block_{count}"] = reducing_over_block(p, count, most, False)
        scope[f"maximum_over_block_{count}"] = reducing_over_block(p, count, most, True)
    return functions_from(source.text, f"step of {symbol(cell.name)} {p.dtype} {hash(source.text):x}", scope)["kernel"]


def shared_numbers(most: int, threads: int) -> int:
    """Numbers in shared memory of a block whose threads compute up to ``most`` results over units at a time."""
    return most * (PARTIAL + threads)


def reducing_over_block(p, count: int, most: int, maximum: bool) -> Callable:
    """``reduce(shared, value_0, ...)``: sums, or maxima, of a block's threads, the same for all; ``count`` at a time.

    The order of additions depends on the number of threads alone: 16 sums, of the threads with the same number modulo
    16, and then their sum. So there are two barriers: behind the first, what was read before may be overwritten.
    """
    thread, block_size, sync_block, greater = p.thread, p.block_size, p.sync_block, p.functions["maximum"]

    @p.inlined
    def add(a, b):
        return a + b

    combine = greater if maximum else add
    values = [f"value_{j}" for j in range(count)]
    lines = [
        f"def reduce(shared, {', '.join(values)}):",
        f"    own, threads = {most * PARTIAL} + thread(), block_size()",
        *(f"    shared[own + {j} * threads] = {value}" for j, value in enumerate(values)),
        "    sync_block()",
        f"    for k in range(thread(), {count * PARTIAL}, threads):",
        f"        at = {most * PARTIAL} + k // {PARTIAL} * threads + k % {PARTIAL}",
        "        total = shared[at]",
        f"        for other in range({PARTIAL}, threads, {PARTIAL}):",
        "            total = combine(total, shared[at + other])",
        "        shared[k] = total",
        "    sync_block()",
        *(f"    {value} = shared[{j * PARTIAL}]" for j, value in enumerate(values)),
        f"    for k in range(1, {PARTIAL}):",
        *(f"        {value} = combine({value}, shared[{j * PARTIAL} + k])" for j, value in enumerate(values)),
        f"    return {', '.join(values)},",
    ]
    scope = {"thread": thread, "block_size": block_size, "sync_block": sync_block, "combine": combine}
    source = "\n".join([*lines, ""])
    return p.inlined(functions_from(source, f"reduce {maximum} {hash(source):x}", scope)["reduce"])


def drawing(p) -> dict[str, Callable]:
    """Functions that draw noise, with the CPU's bits: ``row_key``, ``ones``, ``normal``, ``uniform``."""
    real, uint32, uint64, int64 = p.real, p.uint32, p.uint64, p.int64
    row_key, hashed = hash_functions(p.inlined, uint32, uint64)
    log, sqrt, cos = (p.functions[name] for name in ("log", "sqrt", "cos"))
    ONE, ZERO, TWO, STEP, TURN = real(1), real(0), real(-2), real(2.0**-24), real(2 * math.pi)

    @p.inlined
    def ones(key, u, limit):
        """1 with probability ``limit / 2**32``, else 0."""
        return ONE if hashed(key, u) < uint32(limit) else ZERO

    @p.inlined
    def normal(key, u):
        """``sqrt(-2 log(1 - p)) cos(2 pi q)`` for p and q in [0, 1)."""
        p = real(int64(hashed(key, u) >> uint32(8))) * STEP
        q = real(int64(hashed(key >> uint64(32), u) >> uint32(8))) * STEP
        return sqrt(TWO * log(ONE - p)) * cos(TURN * q)

    @p.inlined
    def uniform(key, u):
        """A number in [0, 1), of 24 bits."""
        return real(int64(hashed(key, u) >> uint32(8))) * STEP

    return {"row_key": row_key, "ones": ones, "normal": normal, "uniform": uniform}
