"""Stages that act on each row alone: the layers of a Sequential that have no states.

Each is ``stage(arguments, x, s)``: ``x`` is the address of B rows of K numbers, outputs go into the state ``s``.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import added, call, distinct, offset, pointer_to, square_root
from nblstm.codegen.scalar import scalar_functions
from nblstm.codegen.target import inlined
from nblstm.cpu.arguments import Arguments, Array, Kernel, pointer_type, structure
from nblstm.cpu.matrix.blocks import panel_columns
from nblstm.numba_extension.implementation import implementation
from nblstm.symbolic.emit import functions_from, symbol


@structure
class RowArguments(Arguments):
    """A layer without states."""

    B: int
    K: int
    N: int  # features of the input and of the output
    y: int  # outputs, in bytes from the state's beginning
    weight: Array
    shift: Array
    epsilon: Array  # one number
    gemm: Kernel


def _stage(name: str, dtype: str, rows, text: str = "") -> int:
    """Compile a stage from ``rows(arguments, x, y)`` on pointers; ``text`` tells it from others of its name."""

    def make():
        real, work = getattr(types, dtype), inlined(rows())

        def stage(own, x, s):
            work(own, x, pointer_to(s + own.y, real))

        return stage, types.void(pointer_type(RowArguments), types.int64, types.int64)

    return compiled(f"{name}_{dtype}", f"{implementation()}\n{text}", make)


@cache
def dense_stage(dtype: str) -> int:
    """Address of ``y = x weight + shift``."""

    def rows():
        real, PANEL = getattr(types, dtype), panel_columns(dtype)

        def dense(own, x, y):
            call(own.gemm, (
                own.B, 0, own.N, own.K,
                pointer_to(x, real), own.K, 1,
                pointer_to(own.weight, real), PANEL, own.N,
                pointer_to(own.shift, real), 0,
                y, own.N,
                0,
            ))  # fmt: skip

        return dense

    return _stage("compiled_dense", dtype, rows)


@cache
def columns_stage(dtype: str) -> int:
    """Address of ``y = x[weight]``, where weight are int64: columns of the input."""

    def rows():
        real, integer = getattr(types, dtype), types.int64

        def columns(own, x, y):
            x, chosen = pointer_to(x, real), pointer_to(own.weight, integer)
            for b in range(own.B):
                for k in range(own.N):
                    y[b * own.N + k] = x[b * own.K + chosen[k]]

        return columns

    return _stage("compiled_columns", dtype, rows)


@cache
def activation_stage(dtype: str, name: str, text: str) -> int:
    """Address of ``y = f(x)``, number by number; ``text`` is the source of f under the name ``equation``."""

    def rows():
        real, scope = getattr(types, dtype), {**scalar_functions(dtype), "real": getattr(types, dtype)}
        equation = inlined(functions_from(text, f"activation {name}", scope)["equation"])

        @inlined
        def numbers(count, x, y):
            distinct()
            for k in range(count):
                [y[k]] = equation(x[k])

        def activation(own, x, y):
            numbers(own.B * own.N, pointer_to(x, real), y)

        return activation

    return _stage(f"compiled_{symbol(name)}", dtype, rows, text)


@cache
def softmax_stage(dtype: str, logarithms: bool) -> int:
    """Address of ``y = e**x / sum(e**x)`` of each row, or of its logarithm."""

    def rows():
        real, functions = getattr(types, dtype), scalar_functions(dtype)
        exp, log = functions["exp"], functions["log"]

        @inlined
        def row(N, x, y):
            # Both are the same for x - max(x), which e**x is finite for.
            largest = x[0]
            for k in range(N):
                largest = x[k] if x[k] > largest else largest
            total = 0.0
            for k in range(N):
                y[k] = exp(x[k] - largest)
                total = added(total, y[k])
            if logarithms:
                constant = largest + log(real(total))
                for k in range(N):
                    y[k] = x[k] - constant
            else:
                share = real(1.0 / total)
                for k in range(N):
                    y[k] *= share

        def softmax(own, x, y):
            for b in range(own.B):
                row(own.N, offset(pointer_to(x, real), b * own.N), offset(y, b * own.N))

        return softmax

    return _stage("compiled_log_softmax" if logarithms else "compiled_softmax", dtype, rows)


@cache
def embedding_stage(dtype: str) -> int:
    """Address of ``y = weight[x]``, where ``x`` has integers of the dtype's size."""

    def rows():
        real = getattr(types, dtype)
        index = types.int32 if dtype == "float32" else types.int64

        def embedding(own, x, y):
            indices = pointer_to(x, index)
            for b in range(own.B):
                chosen = offset(pointer_to(own.weight, real), types.int64(indices[b]) * own.N)
                for k in range(own.N):
                    y[b * own.N + k] = chosen[k]

        return embedding

    return _stage("compiled_embedding", dtype, rows)


@cache
def normalization_stage(dtype: str) -> int:
    """Address of ``y = weight (x - mean) / sqrt(variance + epsilon) + shift``, mean and variance of each row."""

    def rows():
        real = getattr(types, dtype)

        @inlined
        def row(N, epsilon, weight, shift, x, y):
            total = 0.0
            for k in range(N):
                total = added(total, x[k])
            mean, squares = real(total / N), 0.0
            for k in range(N):
                y[k] = x[k] - mean
                squares = added(squares, y[k] * y[k])
            inverse = real(1.0 / square_root(squares / N + epsilon))
            for k in range(N):
                y[k] = y[k] * inverse * weight[k] + shift[k]

        def normalization(own, x, y):
            epsilon = types.float64(pointer_to(own.epsilon, real)[0])
            weight, shift = pointer_to(own.weight, real), pointer_to(own.shift, real)
            for b in range(own.B):
                row(own.N, epsilon, weight, shift, offset(pointer_to(x, real), b * own.N), offset(y, b * own.N))

        return normalization

    return _stage("compiled_normalization", dtype, rows)


@cache
def scaling_stage(dtype: str) -> int:
    """Address of ``y = weight x + shift``, number by number of a row."""

    def rows():
        real = getattr(types, dtype)

        @inlined
        def row(N, weight, shift, x, y):
            distinct()
            for k in range(N):
                y[k] = weight[k] * x[k] + shift[k]

        def scaling(own, x, y):
            weight, shift = pointer_to(own.weight, real), pointer_to(own.shift, real)
            for b in range(own.B):
                row(own.N, weight, shift, offset(pointer_to(x, real), b * own.N), offset(y, b * own.N))

        return scaling

    return _stage("compiled_scaling", dtype, rows)


@cache
def rectifier_stage(dtype: str) -> int:
    """Address of ``y = x`` above 0, ``weight x`` below, number by number of a row."""

    def rows():
        real = getattr(types, dtype)

        @inlined
        def row(N, weight, x, y):
            distinct()
            for k in range(N):
                y[k] = x[k] if x[k] > 0 else weight[k] * x[k]

        def rectifier(own, x, y):
            weight = pointer_to(own.weight, real)
            for b in range(own.B):
                row(own.N, weight, offset(pointer_to(x, real), b * own.N), offset(y, b * own.N))

        return rectifier

    return _stage("compiled_rectifier", dtype, rows)
