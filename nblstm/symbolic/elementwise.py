"""Equations of single numbers and their gradients: compiled for losses, as NumPy functions for activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nblstm.symbolic.differentiate import gradients
from nblstm.symbolic.emit import OPERATORS, Dialect, Form, emit_function, functions_from
from nblstm.symbolic.graph import ONE, Value, select, topological
from nblstm.symbolic.simplify import of_constants, simplified, without_wheres
from nblstm.symbolic.tracing import trace_function

Array = np.ndarray

#: Numbers of one part of a long array: 256 KB of float32, of a level-2 cache of 1 MB (Zen 4).
BLOCK = 65536

#: Operations of a function above which parts pay, and those that are several in NumPy: the gradients of leaky_relu and
#: tanh, with 6 and 3, take 1.7 and 1.2 ms in parts and 5.6 and 0.7 whole, for 1.6 million numbers.
FEW = 5
SEVERAL = {"where": 4, "sigmoid": 4}


class LossEquation(NamedTuple):
    """The loss of one target: ``value(t, p)`` for a target t and a prediction p, or ``value(t, p_0, p_1, ...)``.

    Attributes
    ----------
    name : str
        Part of the names of its kernels.
    value : callable
    fractions : bool
        True if targets are numbers from 0 to 1; beside another, the loss is NaN.
    outputs : int
        Predictions of each target.
    """

    name: str
    value: Callable
    fractions: bool = False
    outputs: int = 1


#: 1, by bytes of a number: as an array it takes NumPy half as long as Python's number.
_ONE = {4: np.array(1, "f4"), 8: np.array(1.0)}


@np.errstate(over="ignore")  # of e**-x to infinity, of which 1 / (1 + e) is 0
def sigmoid(x: Array, out: Array | None = None) -> Array:
    """1 / (1 + e**-x), exact to the last digits for small results too."""
    one = _ONE[x.itemsize]
    e = np.negative(x, out=out)
    np.exp(e, out=e)
    np.add(e, one, out=e)
    return np.divide(one, e, out=e)


def where(condition: Array, a: Any, b: Any) -> Array:
    """`numpy.where`, which takes 4 ns a number where signs are random, by operations on bits: 1 ns (Zen 4)."""
    dtype = next((value.dtype for value in (a, b) if isinstance(value, Array) and value.dtype.kind == "f"), None)
    if dtype is None or condition.size < 4096:
        return np.where(condition, a, b)
    chosen = condition.astype(f"i{dtype.itemsize}")
    np.negative(chosen, out=chosen)  # 1 becomes ones in all bits
    a, b = (np.asarray(value, dtype).view(chosen.dtype) for value in (a, b))
    chosen &= a ^ b
    chosen ^= b
    return chosen.view(dtype)


def _erf(x: Array, out: Array | None = None) -> Array:
    from scipy.special import erf  # an import of 0.1 s, which only this needs

    return erf(x, out=out)


def _rsqrt(x: Array, out: Array | None = None) -> Array:
    return np.reciprocal(np.sqrt(x, out=out), out=out)


#: NumPy's expressions, and the functions in them.
NUMPY = Dialect({**OPERATORS, "not": Form("~{}", 4, (4,))})
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sqrt": np.sqrt, "rsqrt": _rsqrt,
    "abs": np.abs,
    "sign": np.sign, "sigmoid": sigmoid, "tanh": np.tanh, "erf": _erf, "minimum": np.minimum, "maximum": np.maximum,
    "clip": np.clip, "where": where, "sin": np.sin, "cos": np.cos, "exp2": np.exp2, "log2": np.log2, "round": np.rint,
}  # fmt: skip


class ArrayFunctions(NamedTuple):
    """An equation y = f(x) on arrays.

    Attributes
    ----------
    value : callable
        ``value(x) -> y``.
    pullback : callable
        ``pullback(kept, dy) -> dx``.
    keeps : {"output", "input"}
        Which array the pullback needs: y where that suffices, else x.
    overwrite : callable or None
        As ``value``, with y in the place of x, if that is one operation.
    """

    value: Callable[[Array], Array]
    pullback: Callable[[Array, Array], Array]
    keeps: str
    overwrite: Callable[[Array], Array] | None


def traced(name: str, equation: Callable) -> tuple[Value, Value]:
    """The symbol x and the result of an activation's equation."""
    [x], [y] = trace_function(f"the activation {name!r}", equation, ["x"])
    return x, y


def array_functions(name: str, equation: Callable) -> ArrayFunctions:
    """Derive NumPy functions from the equation of one number.

    Parameters
    ----------
    name : str
        Of the equation, in errors and tracebacks.
    equation : callable
        From a scalar to a scalar, by operators and the functions that nblstm exports.

    Raises
    ------
    CellError
        If the equation cannot be traced.
    """
    x, y = traced(name, equation)
    dy = Value("input", "dy")
    [slope] = gradients([y], [ONE], [x])
    keeps = "input" if x in {*topological([slope], leaves={y})} - {y} else "output"
    kept = x if keeps == "input" else Value("input", "y")
    dx = without_wheres(_times(dy, simplified(slope, {x: x} if keeps == "input" else {y: kept})))
    y = without_wheres(simplified(y, {x: x}))
    source = "\n\n".join([
        emit_function("value", ["x"], {x: "x"}, [("y", y)], NUMPY),
        emit_function("pullback", [kept.args[0], "dy"], {kept: kept.args[0], dy: "dy"}, [("dx", dx)], NUMPY),
    ])  # fmt: skip
    names = functions_from(source, f"activation {name}", FUNCTIONS)
    value, pullback = (_in_blocks(_typed(names[f]), v) for f, v in (("value", y), ("pullback", dx)))
    return ArrayFunctions(value, pullback, keeps, _overwriting(x, y))


def _in_blocks(function: Callable[..., Array], result: Value) -> Callable[..., Array]:
    """The same function, a part of long arrays at a time, so that intermediate results stay in the cache."""
    if sum(SEVERAL.get(node.op, 1) for node in topological([result]) if node.operands) <= FEW:
        return function

    def blocks(*arrays):
        first = arrays[0]
        if first.size <= BLOCK or not all(array.flags.c_contiguous for array in arrays):
            return function(*arrays)
        result, flat = np.empty_like(first), [array.reshape(-1) for array in arrays]
        target = result.reshape(-1)
        for start in range(0, first.size, BLOCK):
            target[start : start + BLOCK] = function(*[array[start : start + BLOCK] for array in flat])
        return result

    return blocks


def _typed(function: Callable) -> Callable:
    """The function itself if its results are arrays of its arguments' dtype, else one that converts them.

    A comparison is an array of bool, and with constants alone it makes one of float64.
    """
    sample = np.ones(1, np.float32)
    with np.errstate(all="ignore"):
        result = function(*[sample] * function.__code__.co_argcount)
    if getattr(result, "dtype", None) == sample.dtype:
        return function

    def typed(*arrays):
        result = np.empty_like(arrays[0])
        result[...] = function(*arrays)
        return result

    return typed


def _overwriting(x: Value, y: Value) -> Callable[[Array], Array] | None:
    """The function that puts y in the place of x, if y is one call, of x and constants, such as ``maximum(x, 0)``."""
    function, [first, *others] = FUNCTIONS.get(y.op), y.operands or [y]
    if function is None or first is not x or any(value.op != "constant" for value in others):
        return None
    constants = [value.args[0] for value in others]
    return lambda array: function(array, *constants, out=array)


def _times(dy: Value, slope: Value) -> Value:
    """``dy * slope``; dy is chosen with a number: a condition times 0.2 would be an array of float64."""
    if slope.op == "where" and of_constants(slope):
        return select(slope.args[0], *(_times(dy, branch) for branch in slope.args[1:]))
    return dy * slope
