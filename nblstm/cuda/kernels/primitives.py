"""Primitives that kernels are written against: memory, shuffles, synchronisation, as numba-cuda compiles them.

A kernel is a Python function of a ``p`` with these names, so the same kernel can be run thread by thread in Python by
a simulator with primitives of its own. A pointer is indexed with no bounds check and no wrap-around of negative
indices, which would keep dozens of 64-bit addresses in registers. A thread's numbers are in tuples, which live in
registers; an array with a loop around it would go to memory as soon as the loop is not unrolled.
"""

from __future__ import annotations

from functools import cached_property

from numba import cuda, types

from nblstm.codegen.scalar import functions_for
from nblstm.cuda.kernels import intrinsics, tuples


def inlined(function):
    """Decorate a device function: it is put in place of each call before types are inferred, so no call remains."""
    return cuda.jit(device=True, inline="always")(function)


class Primitives:
    """Primitives for one dtype; see `intrinsics` and `tuples` for what each does."""

    inlined = staticmethod(inlined)
    offset = staticmethod(intrinsics.offset)
    thread = staticmethod(intrinsics.special_register("tid"))
    block = staticmethod(intrinsics.special_register("ctaid"))
    block_size = staticmethod(intrinsics.special_register("ntid"))
    sync_block = staticmethod(intrinsics.sync_block)
    shuffle = staticmethod(intrinsics.shuffle)
    add_release = staticmethod(intrinsics.add_release)
    load_acquire = staticmethod(intrinsics.load_acquire)
    begin_copy = staticmethod(intrinsics.begin_copy)
    end_copies = staticmethod(intrinsics.end_copies)
    load_quads = staticmethod(tuples.load_quads)
    store_quad = staticmethod(tuples.store_quad)
    multiply = staticmethod(tuples.multiply)

    def __init__(self, dtype: str):
        self.dtype = dtype
        self.real = getattr(types, dtype)

    @cached_property
    def functions(self) -> dict:
        """Scalar functions of the emitted equations, by name."""
        return functions_for(self.dtype, inlined, intrinsics.power_of_two)

    @cached_property
    def numbers(self):
        """``numbers(address)``: pointer to numbers of this dtype in global memory."""
        return intrinsics.pointer(self.real)

    @cached_property
    def integers(self):
        """``integers(address)``: pointer to int64."""
        return intrinsics.pointer(types.int64)

    @cached_property
    def words(self):
        """``words(address)``: pointer to int32, as counters are."""
        return intrinsics.pointer(types.int32)

    @cached_property
    def shared(self):
        """``shared()``: pointer to the block's shared memory, whose size the launch gives."""
        return intrinsics.shared_memory(self.real)

    def load(self, count: int):
        """``load(count)(pointer, stride)``: a tuple of numbers, ``stride`` apart."""
        return tuples.load(self.real, count)

    def store(self, count: int):
        """``store(count)(pointer, stride, values)``."""
        return tuples.store(self.real, count)

    def zeros(self, count: int):
        """``zeros(count)()``: a tuple of zeros."""
        return tuples.zeros(self.real, count)

    def choose(self, count: int):
        """``choose(count)(condition, a, b)``: one tuple or the other."""
        return tuples.choose(self.real, count)
