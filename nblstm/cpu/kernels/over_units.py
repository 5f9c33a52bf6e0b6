"""Sums, means and maxima over the units of a row, one number for all of them.

A sum has 16 partial sums, of the units u with the same u % 16, which are then added in one order: so its bits depend on
neither threads nor vectors. Where threads share the units of a row, each computes it for itself: H reads, beside H
times as many of a product.
"""

from __future__ import annotations

from functools import cache

from llvmlite import ir
from numba import types
from numba.core import cgutils

from nblstm.codegen.intrinsics import in_llvm, larger, offset
from nblstm.codegen.target import inlined
from nblstm.cpu.kernels.program import MAXIMUM, MEAN

PARTIAL = 16


@cache
def partial_sums(dtype: str):
    """The intrinsic ``partial_sums(H, source)``: the sum of ``source[:H]``, of 16 partial sums.

    As LLVM code, because LLVM keeps 16 sums of a loop in 16 registers, one lane of each in use.
    """
    real, lane, integer = getattr(types, dtype), ir.IntType(32), ir.IntType(64)
    number = ir.FloatType() if dtype == "float32" else ir.DoubleType()
    vector, mask = ir.VectorType(number, PARTIAL), ir.VectorType(ir.IntType(1), PARTIAL)
    wide, align = ir.VectorType(integer, PARTIAL), ir.Constant(lane, real.bitwidth // 8)
    zeros = ir.Constant(vector, [0.0] * PARTIAL)

    def masked(builder, place, first):
        """``place[:16]`` where the mask is 1, else 0, without a look at other memory."""
        of_type = ir.FunctionType(vector, [place.type, lane, mask, vector])
        load = cgutils.get_or_insert_function(
            builder.module, of_type, f"llvm.masked.load.v{PARTIAL}f{real.bitwidth}.p0"
        )
        return builder.call(load, [place, align, first, zeros])

    @in_llvm(real(types.int64, types.CPointer(real)))
    def summed(builder, H, source):
        # sums += source[u:u + 16] for u = 0, 16, ...; behind them what is left, and zeros.
        at = cgutils.alloca_once_value(builder, ir.Constant(integer, 0))
        sums = cgutils.alloca_once_value(builder, zeros)
        size, numbers = ir.Constant(integer, PARTIAL), ir.Constant(wide, list(range(PARTIAL)))
        check, body, after = map(builder.append_basic_block, ("more", "sixteen", "rest"))
        builder.branch(check)
        builder.position_at_end(check)
        left = builder.sub(H, builder.load(at))
        builder.cbranch(builder.icmp_signed(">=", left, size), body, after)
        builder.position_at_end(body)
        place = builder.bitcast(builder.gep(source, [builder.load(at)]), vector.as_pointer())
        values = builder.load(place)
        values.align = real.bitwidth // 8
        builder.store(builder.fadd(builder.load(sums), values), sums)
        builder.store(builder.add(builder.load(at), size), at)
        builder.branch(check)
        builder.position_at_end(after)
        nothing, none = ir.Constant(wide, ir.Undefined), ir.Constant(ir.VectorType(lane, PARTIAL), [0] * PARTIAL)
        repeated = builder.insert_element(nothing, left, ir.Constant(lane, 0))
        first = builder.icmp_signed("<", numbers, builder.shuffle_vector(repeated, nothing, none))
        place = builder.bitcast(builder.gep(source, [builder.load(at)]), vector.as_pointer())
        total = builder.fadd(builder.load(sums), masked(builder, place, first))
        # 8, 4, 2, 1 sums.
        width = PARTIAL // 2
        while width:
            lanes = ir.VectorType(lane, width)
            low, high = (ir.Constant(lanes, list(range(k, k + width))) for k in (0, width))
            total = builder.fadd(builder.shuffle_vector(total, total, low), builder.shuffle_vector(total, total, high))
            width //= 2
        return builder.extract_element(total, ir.Constant(lane, 0))

    return summed


@cache
def over_units_function(dtype: str):
    """The function ``over_units(operation, H, rows, source, target, row)``.

    ``target[b, 0]`` becomes the result over ``source[b, :H]`` for each of ``rows`` rows b, ``row`` numbers apart.
    Threads that share a row write the same number.
    """
    real, total = getattr(types, dtype), partial_sums(dtype)

    @inlined
    def greatest(H, source):
        found = source[0]
        for u in range(1, H):
            found = larger(found, source[u])
        return found

    @inlined
    def over_units(operation, H, rows, source, target, row):
        for b in range(rows):
            own = offset(source, b * row)
            value = greatest(H, own) if operation == MAXIMUM else total(H, own)
            if operation == MEAN:
                value = value / real(H)
            target[b * row] = value

    return over_units
