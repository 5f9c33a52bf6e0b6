"""Kernels of a compiled network's Jacobian: the stages that have no states, see `row_kernels`.

Each is ``jacobian(arguments, x, s, t, work)``, see `jacobian_kernels`. X and Y are the rows of J for its input and its
outputs, which are its own; behind these it has two more rows as workspace.
"""

from __future__ import annotations

from functools import cache

from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import offset, pointer_to, square_root
from nblstm.codegen.scalar import scalar_functions
from nblstm.codegen.target import inlined
from nblstm.numba_extension.implementation import implementation
from nblstm.numba_extension.jacobian_kernels import STAGE, row_addition
from nblstm.numba_extension.row_kernels import RowArguments
from nblstm.symbolic.emit import functions_from, symbol

_K, _N, _WEIGHT, _EPSILON = map(
    [field for field, *_ in RowArguments._fields_].index, ("K", "N", "weight", "epsilon")
)  # fmt: skip

#: Rows of workspace behind those of the outputs.
ROWS = 2


def _stage(name: str, dtype: str, rows, text: str = "") -> int:
    """Compile a stage from ``rows(own, args, x, y, X, Y)`` on pointers; ``text`` tells it from others of its name."""

    def make():
        real, integer, work_of = getattr(types, dtype), types.int64, inlined(rows())

        def stage(own, x, s, t, work):
            J, columns = pointer_to(work, real), own.columns
            X, Y = offset(J, own.x * columns), offset(J, own.y * columns)
            args = pointer_to(own.step, integer)
            for c in range((args[_N] + ROWS) * columns):
                Y[c] = 0
            work_of(own, args, pointer_to(x, real), pointer_to(t + own.outputs, real), X, Y)

        return stage, types.void(*STAGE)

    return compiled(f"{name}_jacobian_{dtype}", f"{implementation()}\n{text}", make)


@cache
def dense_jacobian(dtype: str) -> int:
    """Address of ``Y = weight^T X``."""

    def rows():
        real, add_row = getattr(types, dtype), row_addition()

        def dense(own, args, x, y, X, Y):
            K, N, columns, weight = args[_K], args[_N], own.columns, pointer_to(args[_WEIGHT], real)
            for k in range(K):
                for j in range(N):
                    add_row(columns, weight[k * N + j], offset(X, k * columns), offset(Y, j * columns))

        return dense

    return _stage("compiled_dense", dtype, rows)


@cache
def columns_jacobian(dtype: str) -> int:
    """Address of ``Y = X[weight]``."""

    def rows():
        real, integer, add_row = getattr(types, dtype), types.int64, row_addition()

        def columns(own, args, x, y, X, Y):
            chosen = pointer_to(args[_WEIGHT], integer)
            for k in range(args[_N]):
                add_row(own.columns, real(1), offset(X, chosen[k] * own.columns), offset(Y, k * own.columns))

        return columns

    return _stage("compiled_columns", dtype, rows)


@cache
def activation_jacobian(dtype: str, name: str, text: str) -> int:
    """Address of ``Y = f'(x) X``, row by row; ``text`` is the source of f' under the name ``slope``."""

    def rows():
        scope, add_row = {**scalar_functions(dtype), "real": getattr(types, dtype)}, row_addition()
        slope = inlined(functions_from(text, f"slope of {name}", scope)["slope"])

        def activation(own, args, x, y, X, Y):
            columns = own.columns
            for j in range(args[_N]):
                add_row(columns, slope(x[j])[0], offset(X, j * columns), offset(Y, j * columns))

        return activation

    return _stage(f"compiled_{symbol(name)}", dtype, rows, text)


@cache
def softmax_jacobian(dtype: str, logarithms: bool) -> int:
    """Address of ``Y[j] = y[j] (X[j] - sum_k y[k] X[k])``; for the logarithm ``Y[j] = X[j] - sum_k e**y[k] X[k]``."""

    def rows():
        real, exp, add_row = getattr(types, dtype), scalar_functions(dtype)["exp"], row_addition()

        def softmax(own, args, x, y, X, Y):
            N, columns = args[_N], own.columns
            mean = offset(Y, N * columns)
            for k in range(N):
                add_row(columns, exp(y[k]) if logarithms else y[k], offset(X, k * columns), mean)
            for j in range(N):
                share = real(1.0) if logarithms else y[j]
                add_row(columns, share, offset(X, j * columns), offset(Y, j * columns))
                add_row(columns, -share, mean, offset(Y, j * columns))

        return softmax

    return _stage("compiled_log_softmax" if logarithms else "compiled_softmax", dtype, rows)


@cache
def embedding_jacobian(dtype: str) -> int:
    """Address of ``Y = 0``: an index has no derivative."""

    def rows():
        def embedding(own, args, x, y, X, Y):
            pass

        return embedding

    return _stage("compiled_embedding", dtype, rows)


@cache
def normalization_jacobian(dtype: str) -> int:
    """Address of ``Y[j] = weight[j] / deviation (X[j] - mean_k X[k] - x'[j] mean_k x'[k] X[k])``.

    Here ``x' = (x - mean) / deviation``, with ``deviation = sqrt(variance + epsilon)``.
    """

    def rows():
        real, add_row = getattr(types, dtype), row_addition()

        def normalization(own, args, x, y, X, Y):
            N, columns, weight = args[_N], own.columns, pointer_to(args[_WEIGHT], real)
            epsilon, total, squares = types.float64(pointer_to(args[_EPSILON], real)[0]), 0.0, 0.0
            for k in range(N):
                total += x[k]
            mean = total / N
            for k in range(N):
                squares += (x[k] - mean) * (x[k] - mean)
            inverse = 1.0 / square_root(squares / N + epsilon)
            # Rows of the means.
            first, second = offset(Y, N * columns), offset(Y, (N + 1) * columns)
            for k in range(N):
                add_row(columns, real(1.0 / N), offset(X, k * columns), first)
                add_row(columns, real((x[k] - mean) * inverse / N), offset(X, k * columns), second)
            for j in range(N):
                scale, target = weight[j] * inverse, offset(Y, j * columns)
                add_row(columns, real(scale), offset(X, j * columns), target)
                add_row(columns, real(-scale), first, target)
                add_row(columns, real(-scale * (x[j] - mean) * inverse), second, target)

        return normalization

    return _stage("compiled_normalization", dtype, rows)


@cache
def scaling_jacobian(dtype: str) -> int:
    """Address of ``Y[j] = weight[j] X[j]``."""

    def rows():
        real, add_row = getattr(types, dtype), row_addition()

        def scaling(own, args, x, y, X, Y):
            columns, weight = own.columns, pointer_to(args[_WEIGHT], real)
            for j in range(args[_N]):
                add_row(columns, weight[j], offset(X, j * columns), offset(Y, j * columns))

        return scaling

    return _stage("compiled_scaling", dtype, rows)


@cache
def rectifier_jacobian(dtype: str) -> int:
    """Address of ``Y[j] = X[j]`` where x[j] is above 0, ``weight[j] X[j]`` where it is below, else 0."""

    def rows():
        real, add_row = getattr(types, dtype), row_addition()

        def rectifier(own, args, x, y, X, Y):
            columns, weight = own.columns, pointer_to(args[_WEIGHT], real)
            for j in range(args[_N]):
                slope = real(1.0) if x[j] > 0 else weight[j] if x[j] < 0 else real(0.0)
                add_row(columns, slope, offset(X, j * columns), offset(Y, j * columns))

        return rectifier

    return _stage("compiled_rectifier", dtype, rows)
