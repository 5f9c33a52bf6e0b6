"""Intrinsics on tuples of numbers: loads, stores, products. Tuples live in registers, whatever the number of elements.

Each function here makes one for a count of elements, as straight-line code: a loop over a tuple's elements would be
Python's, at compile time, for seconds.
"""

from __future__ import annotations

from functools import cache

from llvmlite import ir
from numba import types
from numba.cuda import cgutils
from numba.cuda.extending import intrinsic

#: Numbers of 32 bits that one instruction moves.
QUAD = 4


def _quad_load(builder, pointer, index):
    """Four numbers at ``pointer[index]``, as one instruction; the address is a multiple of 16 bytes."""
    vector = ir.VectorType(pointer.type.pointee, QUAD)
    place = builder.bitcast(builder.gep(pointer, [index]), vector.as_pointer())
    loaded = builder.load(place)
    loaded.align = 16
    return [builder.extract_element(loaded, ir.Constant(ir.IntType(32), k)) for k in range(QUAD)]


@cache
def load_quads(count: int):
    """``load(pointer, stride)``: ``count`` quads, ``stride`` apart; addresses are multiples of 16 bytes."""

    @intrinsic
    def made(typingctx, pointer, stride):
        def codegen(context, builder, signature, args):
            values, place = [], args[0]
            for _ in range(count):
                values += _quad_load(builder, place, ir.Constant(ir.IntType(64), 0))
                place = builder.gep(place, [args[1]])
            return cgutils.pack_array(builder, values)

        return types.UniTuple(types.float32, QUAD * count)(types.CPointer(types.float32), types.int64), codegen

    return made


@intrinsic
def store_quad(typingctx, pointer, index, values):
    """Store four numbers at ``pointer[index]``, whose address is a multiple of 16 bytes."""

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(ir.FloatType(), QUAD)
        value = ir.Constant(vector, ir.Undefined)
        for k, item in enumerate(cgutils.unpack_tuple(builder, args[2], QUAD)):
            value = builder.insert_element(value, item, ir.Constant(ir.IntType(32), k))
        place = builder.bitcast(builder.gep(args[0], [args[1]]), vector.as_pointer())
        builder.store(value, place, align=16)
        return context.get_dummy_value()

    four = types.UniTuple(types.float32, QUAD)
    return types.void(types.CPointer(types.float32), types.int64, four), codegen


@cache
def multiply(outputs: int, rows: int, quads: int):
    """``product(sums, weights, inputs, quad_stride, row_stride)``: sums plus a lane's part of a matrix product.

    ``sums[row, o] += sum over q < quads, e < 4 of weights[q, o, e] * inputs[q * quad_stride + row * row_stride + e]``
    """

    @intrinsic
    def made(typingctx, sums, weights, inputs, quad_stride, row_stride):
        def codegen(context, builder, signature, args):
            totals = cgutils.unpack_tuple(builder, args[0], outputs * rows)
            factors = cgutils.unpack_tuple(builder, args[1], QUAD * outputs * quads)
            real = ir.FloatType()
            fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(real, [real] * 3), "llvm.fma.f32")
            at_quad = args[2]
            for q in range(quads):
                at_row = at_quad
                for row in range(rows):
                    values = _quad_load(builder, at_row, ir.Constant(ir.IntType(64), 0))
                    for output in range(outputs):
                        k = row * outputs + output
                        for e in range(QUAD):
                            factor = factors[(q * outputs + output) * QUAD + e]
                            totals[k] = builder.call(fma, [factor, values[e], totals[k]])
                    at_row = builder.gep(at_row, [args[4]])
                at_quad = builder.gep(at_quad, [args[3]])
            return cgutils.pack_array(builder, totals)

        result = types.UniTuple(types.float32, outputs * rows)
        taken = types.UniTuple(types.float32, QUAD * outputs * quads)
        return result(result, taken, types.CPointer(types.float32), types.int64, types.int64), codegen

    return made


@cache
def load(real, count: int):
    """``load(pointer, stride)``: ``count`` numbers, ``stride`` apart."""
    pointer_type = types.CPointer(real)

    @intrinsic
    def made(typingctx, pointer, stride):
        def codegen(context, builder, signature, args):
            values, place = [], args[0]
            for _ in range(count):
                values.append(builder.load(place))
                place = builder.gep(place, [args[1]])
            return _packed(context, builder, signature.return_type, values)

        return _tuple(real, count)(pointer_type, types.int64), codegen

    return made


@cache
def store(real, count: int):
    """``store(pointer, stride, values)``: ``count`` numbers, ``stride`` apart."""
    pointer_type = types.CPointer(real)

    @intrinsic
    def made(typingctx, pointer, stride, values):
        def codegen(context, builder, signature, args):
            place = args[0]
            for value in _unpacked(builder, args[2], count):
                builder.store(value, place)
                place = builder.gep(place, [args[1]])
            return context.get_dummy_value()

        return types.void(pointer_type, types.int64, _tuple(real, count)), codegen

    return made


@cache
def zeros(real, count: int):
    """``zeros()``: ``count`` zeros."""

    @intrinsic
    def made(typingctx):
        def codegen(context, builder, signature, args):
            zero = ir.Constant(context.get_value_type(real), 0.0)
            return _packed(context, builder, signature.return_type, [zero] * count)

        return _tuple(real, count)(), codegen

    return made


@cache
def choose(real, count: int):
    """``choose(condition, a, b)``: one tuple or the other, without a branch."""

    @intrinsic
    def made(typingctx, condition, a, b):
        def codegen(context, builder, signature, args):
            pairs = zip(_unpacked(builder, args[1], count), _unpacked(builder, args[2], count), strict=True)
            values = [builder.select(args[0], x, y) for x, y in pairs]
            return _packed(context, builder, signature.return_type, values)

        both = _tuple(real, count)
        return both(types.boolean, both, both), codegen

    return made


def _tuple(real, count: int):
    return types.UniTuple(real, count) if count else types.Tuple(())


def _packed(context, builder, kind, values):
    return cgutils.pack_array(builder, values) if values else context.make_tuple(builder, kind, ())


def _unpacked(builder, value, count: int):
    return cgutils.unpack_tuple(builder, value, count) if count else []
