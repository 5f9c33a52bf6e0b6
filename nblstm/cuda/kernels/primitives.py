"""Primitives that kernels are written against: memory, shuffles, synchronisation, as numba-cuda compiles them.

A kernel is a Python function of a ``p`` with these names, so the same kernel can be run thread by thread in Python by
a simulator with primitives of its own. A pointer is indexed with no bounds check and no wrap-around of negative
indices, which would keep dozens of 64-bit addresses in registers. A thread's numbers are in tuples, which live in
registers; an array with a loop around it would go to memory as soon as the loop is not unrolled.
"""

from __future__ import annotations

from functools import partial

from numba import cuda, types

from nblstm.codegen.scalar import functions_for
from nblstm.cuda.kernels import instructions, tuples


def inlined(function):
    """Decorate a device function: it is put in place of each call before types are inferred, so no call remains."""
    return cuda.jit(device=True, inline="always")(function)


class Primitives:
    """Primitives for one dtype; see `instructions` and `tuples` for each.

    Attributes
    ----------
    functions : dict
        Scalar functions of the emitted equations, by name.
    real, uint32, uint64, int64 : type of Numba's
        This dtype, and integers; as functions they convert.
    numbers, integers, words : callable
        ``numbers(address)``: pointer into global memory, to this dtype, int64 or int32.
    shared : callable
        ``shared()``: pointer to the block's shared memory, whose size the launch gives.
    """

    inlined = staticmethod(inlined)
    offset, sync_block, shuffle = instructions.offset, instructions.sync_block, instructions.shuffle
    thread, block, block_size = (instructions.special_register(name) for name in ("tid", "ctaid", "ntid"))
    add_release, load_acquire = instructions.add_release, instructions.load_acquire
    begin_copy, end_copies = instructions.begin_copy, instructions.end_copies
    load_quads, store_quad, multiply = staticmethod(tuples.load_quads), tuples.store_quad, staticmethod(tuples.multiply)

    def __init__(self, dtype: str):
        self.dtype, self.real = dtype, getattr(types, dtype)
        self.uint32, self.uint64, self.int64 = types.uint32, types.uint64, types.int64
        self.functions = functions_for(dtype, inlined, instructions.power_of_two, instructions.negative_if_odd)
        self.numbers = instructions.pointer(self.real)
        self.integers, self.words = instructions.pointer(types.int64), instructions.pointer(types.int32)
        self.shared = instructions.shared_memory(self.real)
        # load(count)(pointer, stride): a tuple of numbers, stride apart. choose(count)(condition, a, b): one of two.
        self.load, self.store = partial(tuples.load, self.real), partial(tuples.store, self.real)
        self.zeros, self.choose = partial(tuples.zeros, self.real), partial(tuples.choose, self.real)
