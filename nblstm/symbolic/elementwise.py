"""Equations of single numbers and their gradients: compiled for losses, as NumPy functions for activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from nblstm.symbolic.differentiate import gradients
from nblstm.symbolic.emit import OPERATORS, Dialect, Form, emit_function, functions_from
from nblstm.symbolic.graph import ONE, ZERO, Value, compare, neg, topological
from nblstm.symbolic.tracing import trace_function

Array = np.ndarray

#: Numbers of one part of a long array: 64 KB of float32, of a level-2 cache of 1 MB (Zen 4).
BLOCK = 16384

#: Operations of a pullback above which parts pay: that of elu, with 9, takes 4.7 ms instead of 10.8 for 1.6 million
#: numbers, that of relu, with 2, 1.5 instead of 0.6.
FEW = 6


@dataclass(frozen=True, eq=False)
class LossEquation:
    """The loss of one number: ``value(t, p)`` for a target t and a prediction p.

    Attributes
    ----------
    name : str
        Part of the names of its kernels.
    value : callable
    fractions : bool
        Whether targets are numbers from 0 to 1; beside another, the loss is NaN.
    """

    name: str
    value: Callable
    fractions: bool = False

    @cached_property
    def traced(self) -> tuple[list[Value], list[Value]]:
        """The inputs p and t; the value and its derivative by p."""
        inputs, [value] = trace_function(f"the loss {self.name!r}", self.value, ["t", "p"])
        t, p = inputs
        return [p, t], [value, *gradients([value], [ONE], [p])]


def sigmoid(x: Array, out: Array | None = None) -> Array:
    """1 / (1 + e**-x), exact to the last digits for small results too."""
    e = np.negative(x, out=out)
    np.minimum(e, 88 if x.itemsize == 4 else 709, out=e)  # beyond, exp overflows
    np.exp(e, out=e)
    e += 1
    return np.divide(1, e, out=e)


def _erf(x: Array, out: Array | None = None) -> Array:
    from scipy.special import erf  # an import of 0.1 s, which only this needs

    return erf(x, out=out)


#: NumPy's expressions, and the functions in them.
NUMPY = Dialect({**OPERATORS, "not": Form("~{}", 4, (4,))})
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sqrt": np.sqrt, "abs": np.abs,
    "sign": np.sign, "sigmoid": sigmoid, "tanh": np.tanh, "erf": _erf, "minimum": np.minimum, "maximum": np.maximum,
    "clip": np.clip, "where": np.where,
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
    [x], [y] = trace_function(f"the activation {name!r}", equation, ["x"])
    dy = Value("input", "dy")
    [dx] = gradients([y], [dy], [x])
    keeps = "input" if x in {*topological([dx], leaves={y})} - {y} else "output"
    kept = x if keeps == "input" else Value("input", "y")
    dx = without_selects(dx, {x: x} if keeps == "input" else {y: kept})
    source = "\n\n".join([
        emit_function("value", ["x"], {x: "x"}, [("y", without_selects(y, {x: x}))], NUMPY),
        emit_function("pullback", [kept.args[0], "dy"], {kept: kept.args[0], dy: "dy"}, [("dx", dx)], NUMPY),
    ])  # fmt: skip
    names = functions_from(source, f"activation {name}", FUNCTIONS)
    value, pullback = _typed(names["value"]), _typed(names["pullback"])
    if sum(bool(node.operands) for node in topological([dx])) > FEW:
        pullback = _in_blocks(pullback)
    return ArrayFunctions(value, pullback, keeps, _overwriting(x, y))


def _in_blocks(pullback: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """The same function, a part of the arrays at a time, so that its intermediate results stay in the cache."""

    def blocks(kept, dy):
        if dy.size <= BLOCK or not (kept.flags.c_contiguous and dy.flags.c_contiguous):
            return pullback(kept, dy)
        dx = np.empty_like(dy)
        flat_kept, flat_dy, flat_dx = kept.reshape(-1), dy.reshape(-1), dx.reshape(-1)
        for start in range(0, dy.size, BLOCK):
            part = slice(start, start + BLOCK)
            flat_dx[part] = pullback(flat_kept[part], flat_dy[part])
        return dx

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


def without_selects(output: Value, known: dict[Value, Value]) -> Value:
    """The same value in terms of known ones, with products and maxima in place of ``where`` as far as possible.

    `numpy.where` takes 4 ns a number where signs are random, as its branch is mispredicted, a product 0.3 (Zen 4).
    """
    new = dict(known)
    for node in topological([output], leaves=known):
        if node not in new:
            operands = [new[operand] for operand in node.operands]
            rebuilt = _select(*operands) if node.op == "where" else Value(node.op, *operands) if operands else node
            new[node] = rebuilt
    return new[output]


def _select(condition: Value, a: Value, b: Value) -> Value:
    """``a`` where the condition holds, else ``b``; a condition is a number, 1 or 0."""
    x, bound = condition.args
    if condition.op == "gt" and bound is ZERO:
        if a is x and (b is ZERO or _is_fraction(b, x)):
            return Value("maximum", x, b)
        if a is ZERO and b is x:
            return Value("minimum", x, ZERO)
        if a is neg(x) and b is x:
            return Value("neg", Value("abs", x))
        if b is Value("mul", neg(a), compare("lt", x, ZERO)):  # the gradient of abs
            return Value("mul", a, Value("sign", x))
    if b is ZERO:
        return condition if a is ONE else Value("mul", a, condition)
    if a is ZERO:
        return Value("mul", b, Value("not", condition))
    return Value("where", condition, a, b)


def _is_fraction(b: Value, x: Value) -> bool:
    """Whether b is x times a number from 0 to 1."""
    constants = [value for value in b.operands if value.op == "constant"]
    return b.op == "mul" and x in {*b.operands} and all(0 <= k.args[0] <= 1 for k in constants) and len(constants) == 1
