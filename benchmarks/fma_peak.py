"""The most multiply-adds that this machine's cores can do, to hold kernels against.

Independent chains of vector FMAs in registers, with no memory access at all: no matrix product can be faster.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nblstm.cpu.matrix.blocks import vector_unit

# Two FMA units of four cycles' latency need eight chains; 12 leave registers to spare on any machine.
CHAINS = 12
LANES = vector_unit().lanes("float32")


@intrinsic
def _chains(typingctx, rounds):
    """``rounds`` times one FMA in each of the chains; their sum's first lane, so that nothing is optimised away."""

    def codegen(context, builder, signature, arguments):
        (rounds,) = arguments
        size, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)

        def constant(value):
            return ir.Constant(vector, [value] * LANES)

        name = f"llvm.fma.v{LANES}f32"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        entry = builder.block
        loop, done = builder.append_basic_block("rounds"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        counter = builder.phi(size)
        sums = [builder.phi(vector) for _ in range(CHAINS)]
        following = builder.add(counter, ir.Constant(size, 1))
        counter.add_incoming(ir.Constant(size, 0), entry)
        counter.add_incoming(following, loop)
        for k, chain in enumerate(sums):
            chain.add_incoming(constant(float(k)), entry)
            # x -> 0.5 x + 1 stays near 2: no overflow, no denormal numbers.
            chain.add_incoming(builder.call(fma, [chain, constant(0.5), constant(1.0)]), loop)
        builder.cbranch(builder.icmp_signed("<", following, rounds), loop, done)
        builder.position_at_end(done)
        total = sums[0]
        for chain in sums[1:]:
            total = builder.fadd(total, chain)
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return types.float32(types.int64), codegen


@numba.njit("float32(int64)", nogil=True)
def _rounds(rounds):
    return _chains(rounds)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def multiply_add(count: int, threads: int) -> None:
    """Do ``count`` float32 multiply-adds on ``threads`` threads as fast as the cores can."""
    rounds = max(1, count // (threads * CHAINS * LANES))
    waiting = [_pool(threads).submit(_rounds, rounds) for _ in range(threads - 1)]
    _rounds(rounds)
    for part in waiting:
        part.result()
