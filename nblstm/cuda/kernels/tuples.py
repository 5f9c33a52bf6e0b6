"""Intrinsics on tuples of numbers: loads, stores, products. Tuples live in registers, whatever the number of elements.

Each function here makes one for a count of elements, as straight-line code: a loop over a tuple's elements would be
Python's, at compile time, for seconds.
"""

from __future__ import annotations

from functools import cache

from llvmlite import ir
from numba import types
from numba.cuda import cgutils

from nblstm.cuda.kernels.instructions import LLVM, QUAD, in_cuda

_REAL = types.float32  # of the kernels that move quads
_REALS = types.CPointer(_REAL)


def _tuple(number, count: int):
    """Numba's type of a tuple."""
    return types.UniTuple(number, count) if count else types.Tuple(())


@cache
def load(number, count: int):
    """``load(pointer, stride)``: ``count`` numbers, ``stride`` apart."""

    @in_cuda(_tuple(number, count)(types.CPointer(number), types.int64))
    def write(builder, pointer, stride):
        values = []
        for _ in range(count):
            values.append(builder.load(pointer))
            pointer = builder.gep(pointer, [stride])
        return _packed(builder, values)

    return write


@cache
def store(number, count: int):
    """``store(pointer, stride, values)``: ``count`` numbers, ``stride`` apart."""

    @in_cuda(types.void(types.CPointer(number), types.int64, _tuple(number, count)))
    def write(builder, pointer, stride, values):
        for value in _unpacked(builder, values, count):
            builder.store(value, pointer)
            pointer = builder.gep(pointer, [stride])

    return write


@cache
def zeros(number, count: int):
    """``zeros()``: ``count`` zeros."""

    @in_cuda(_tuple(number, count)())
    def write(builder):
        return _packed(builder, [ir.Constant(LLVM[number], 0.0)] * count)

    return write


@cache
def choose(number, count: int):
    """``choose(condition, a, b)``: one tuple or the other, without a branch."""

    @in_cuda(_tuple(number, count)(types.boolean, _tuple(number, count), _tuple(number, count)))
    def write(builder, condition, a, b):
        pairs = zip(_unpacked(builder, a, count), _unpacked(builder, b, count), strict=True)
        return _packed(builder, [builder.select(condition, x, y) for x, y in pairs])

    return write


@cache
def load_quads(count: int):
    """``load(pointer, stride)``: ``count`` quads, ``stride`` apart; addresses are multiples of 16 bytes."""

    @in_cuda(_tuple(_REAL, QUAD * count)(_REALS, types.int64))
    def write(builder, pointer, stride):
        values = []
        for _ in range(count):
            values += _quad(builder, pointer)
            pointer = builder.gep(pointer, [stride])
        return _packed(builder, values)

    return write


@in_cuda(types.void(_REALS, types.int64, _tuple(_REAL, QUAD)))
def store_quad(builder, pointer, index, values):
    """Store four numbers at ``pointer[index]``, whose address is a multiple of 16 bytes."""
    vector = ir.VectorType(ir.FloatType(), QUAD)
    quad = ir.Constant(vector, ir.Undefined)
    for k, value in enumerate(_unpacked(builder, values, QUAD)):
        quad = builder.insert_element(quad, value, ir.Constant(ir.IntType(32), k))
    builder.store(quad, builder.bitcast(builder.gep(pointer, [index]), vector.as_pointer()), align=16)


@cache
def multiply(outputs: int, rows: int, quads: int):
    """``product(sums, weights, inputs, quad_stride, row_stride)``: sums plus a lane's part of a matrix product.

    ``sums[row, o] += sum over q < quads, e < 4 of weights[q, o, e] * inputs[q * quad_stride + row * row_stride + e]``
    """
    result, taken = _tuple(_REAL, outputs * rows), _tuple(_REAL, QUAD * outputs * quads)

    @in_cuda(result(result, taken, _REALS, types.int64, types.int64))
    def write(builder, sums, weights, inputs, quad_stride, row_stride):
        sums, weights = (_unpacked(builder, sums, result.count), _unpacked(builder, weights, taken.count))
        real = ir.FloatType()
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(real, [real] * 3), "llvm.fma.f32")
        for q in range(quads):
            at_row = inputs
            for row in range(rows):
                values = _quad(builder, at_row)
                for output in range(outputs):
                    k = row * outputs + output
                    for e in range(QUAD):
                        weight = weights[(q * outputs + output) * QUAD + e]
                        sums[k] = builder.call(fma, [weight, values[e], sums[k]])
                at_row = builder.gep(at_row, [row_stride])
            inputs = builder.gep(inputs, [quad_stride])
        return _packed(builder, sums)

    return write


def _quad(builder, pointer):
    """Four numbers, by one load."""
    vector = ir.VectorType(pointer.type.pointee, QUAD)
    loaded = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    loaded.align = 16
    return [builder.extract_element(loaded, ir.Constant(ir.IntType(32), k)) for k in range(QUAD)]


def _packed(builder, values):
    return cgutils.pack_array(builder, values) if values else ir.Constant(ir.LiteralStructType([]), ir.Undefined)


def _unpacked(builder, value, count: int):
    return cgutils.unpack_tuple(builder, value, count) if count else []
