"""Losses that are a mean over numbers: their values, sum and gradient, from an equation that is compiled."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from functools import cache

import numpy as np
from numba import types

from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import added, distinct
from nblstm.codegen.scalar import scalar_functions
from nblstm.codegen.target import inlined
from nblstm.cpu.arguments import DTYPES, address
from nblstm.symbolic.differentiate import gradients
from nblstm.symbolic.elementwise import LossEquation
from nblstm.symbolic.emit import emit_function, functions_from, symbol
from nblstm.symbolic.graph import ONE
from nblstm.symbolic.tracing import trace_function

_CALL = ctypes.CFUNCTYPE(ctypes.c_double, *[ctypes.c_int64] * 5, ctypes.c_double)


def loss_of_numbers(
    equation: LossEquation, p: np.ndarray, t: np.ndarray, factor: float, values: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """The equation at each target, in one pass over memory.

    Parameters
    ----------
    equation : LossEquation
    p, t : ndarray
        Of one dtype; p has the predictions of a target side by side.
    factor : float
        Of the gradient.
    values : ndarray, optional
        Contiguous, of the shape and dtype of t: takes the values.

    Returns
    -------
    total : float
        Sum of the values, in float64.
    gradient : ndarray
        Derivatives of the values by p, times the factor.
    """
    p, t, gradient = np.ascontiguousarray(p), np.ascontiguousarray(t), np.empty(p.shape, p.dtype)
    kernel = loss_kernel(equation, p.itemsize, values is not None)
    return kernel(t.size, address(p), address(t), address(values), address(gradient), factor), gradient


@cache
def loss_kernel(equation: LossEquation, itemsize: int, kept: bool) -> Callable:
    """The kernel for an equation: of a number of targets, four addresses and the factor, and it returns the total.

    The third address is that of the values, unused if they are not ``kept``.
    """
    names = ["p"] if equation.outputs == 1 else [f"p_{j}" for j in range(equation.outputs)]
    (t, *p), [value] = trace_function(f"the loss {equation.name!r}", equation.value, ["t", *names])
    slopes, dtype = gradients([value], [ONE], p), DTYPES[itemsize]
    results = [("value", value), *((f"d{name}", slope) for name, slope in zip(names, slopes, strict=True))]
    text = emit_function("equation", [*names, "t"], {**dict(zip(p, names, strict=True)), t: "t"}, results)

    def make():
        number = np.dtype(dtype).type
        # As variables: the conversion of each constant takes Numba 3 ms.
        constants: dict[str, object] = {}
        source = re.sub(r"real\(([^()]*)\)", lambda match: constants.setdefault(match[1], f"c{len(constants)}"), text)
        scope = {**scalar_functions(dtype), **{name: number(value) for value, name in constants.items()}}
        scope = functions_from(source, f"loss {symbol(equation.name)}", scope)
        return _loop(inlined(scope["equation"]), equation, kept, dtype)

    name = f"loss_{symbol(equation.name)}{'_values' * kept}_{dtype}"
    return _CALL(compiled(name, f"{equation.fractions}\n{text}", make))


def _loop(value_and_slopes: Callable, equation: LossEquation, kept: bool, dtype: str):
    """The loop over targets, and its signature."""
    real, number, n = getattr(types, dtype), np.dtype(dtype).type, equation.outputs
    low, high, nan = map(number, (0, 1, np.nan) if equation.fractions else (-np.inf, np.inf, np.nan))
    columns = ["k"] if n == 1 else [f"{n} * k + {j}" for j in range(n)]
    source = "\n".join([
        "def found(p, t, k):",
        f"    return value_and_slopes({', '.join(f'p[{column}]' for column in columns)}, t[k])\n",
        "def put(gradient, k, factor, result):",
        *(f"    gradient[{column}] = factor * result[{j}]" for j, column in enumerate(columns, 1)),
    ])  # fmt: skip
    scope = functions_from(source, f"{n} predictions of a target", {"value_and_slopes": value_and_slopes})
    found, put = inlined(scope["found"]), inlined(scope["put"])

    def loss(size, p, t, values, gradient, factor):
        distinct()
        total, factor = 0.0, real(factor)
        for k in range(size):
            # value = l(t, p_0, p_1, ...), and gradient_j = factor dl / dp_j.
            result = found(p, t, k)
            value = result[0] if t[k] >= low and t[k] <= high else nan
            if kept:
                values[k] = value
            put(gradient, k, factor, result)
            total = added(total, value)
        return total

    pointer = types.CPointer(real)
    return loss, types.float64(types.int64, *[pointer] * 4, types.float64)
