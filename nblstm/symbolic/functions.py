"""The functions that a cell's equations may use, on traced values and on plain numbers.

Each is either one of the compiled primitives or its textbook definition in terms of them; gradients follow.
"""

from __future__ import annotations

import math
from typing import Any

from nblstm.arguments import custom
from nblstm.symbolic import graph
from nblstm.symbolic.graph import COMPARISONS, NUMERIC, Value
from nblstm.symbolic.unsupported import FUNCTIONS


def primitive(name, x) -> Any:
    """A function of `NUMERIC` of one value."""
    _check_number(name, x)
    result = graph.function(name, x)
    return result if isinstance(x, Value) else result.args[0]


def choice(name, *values) -> Any:
    """A function of `NUMERIC` that returns one of its arguments."""
    if any(isinstance(x, Value) for x in values):
        return graph.function(name, *values)
    _check_number(name, *values)
    return NUMERIC[name](*values)


def _check_number(name, *values) -> None:
    for x in values:
        if getattr(x, "ndim", 0):
            raise TypeError(
                f"nblstm.{name} is called on an array of shape {x.shape}, and computes one number at a time; on "
                "arrays, use NumPy's functions or those of nblstm.activations"
            )


def exp(x) -> Any:
    """e**x."""
    return primitive("exp", x)


def log(x) -> Any:
    """Natural logarithm."""
    return primitive("log", x)


def log1p(x) -> Any:
    """log(1 + x), exact for small x."""
    return primitive("log1p", x)


def sqrt(x) -> Any:
    """Square root."""
    return primitive("sqrt", x)


def abs(x) -> Any:
    """|x|; its gradient at 0 is 0."""
    return primitive("abs", x)


def sigmoid(x) -> Any:
    """1 / (1 + e**-x)."""
    return primitive("sigmoid", x)


def tanh(x) -> Any:
    """Hyperbolic tangent."""
    return primitive("tanh", x)


def sin(x) -> Any:
    """Sine; in kernels to 4 units in the last place for |x| up to 1e5 in float32, 3e9 in float64."""
    return primitive("sin", x)


def cos(x) -> Any:
    """Cosine; in kernels to 4 units in the last place for |x| up to 1e5 in float32, 3e9 in float64."""
    return primitive("cos", x)


def erf(x) -> Any:
    """Error function, 2 / sqrt(pi) times the integral of e**-(t**2) from 0 to x."""
    return primitive("erf", x)


def exp2(x) -> Any:
    """2**x."""
    return primitive("exp2", x)


def log2(x) -> Any:
    """Logarithm to the base 2."""
    return primitive("log2", x)


def sign(x) -> Any:
    """-1, 0 or 1, by the sign of x; its gradient is 0."""
    return primitive("sign", x)


def round(x) -> Any:
    """The nearest whole number, of two the even one; its gradient is 1, straight through (Bengio et al. 2013)."""
    return primitive("round", x)


def stop_gradient(x) -> Any:
    """x, and no gradient goes back through it."""
    return primitive("stop_gradient", x)


def where(condition, a, b) -> Any:
    """``a`` where ``condition`` (a comparison such as ``x > 0``, or a product of some) holds, else ``b``."""
    if isinstance(condition, Value):
        if condition.op == "mul" and all(_is_condition(factor) for factor in condition.args):
            condition = condition > 0.5  # comparisons are 1 or 0: this is where all of them hold
        if condition.op not in COMPARISONS:
            raise graph.CellError("gives where() a condition that is no comparison; write one, such as x > 0")
        return graph.select(condition, a, b)
    _check_number("where", condition, a, b)
    return a if condition else b


def _is_condition(value: Value) -> bool:
    if value.op == "where":  # as a factor, a comparison is the number 1 or 0
        return value.args[1:] == (graph.ONE, graph.ZERO)
    return value.op in COMPARISONS or (value.op == "mul" and all(_is_condition(factor) for factor in value.args))


def minimum(a, b) -> Any:
    """The smaller of two values."""
    return choice("minimum", a, b)


def maximum(a, b) -> Any:
    """The larger of two values."""
    return choice("maximum", a, b)


def clip(x, low, high) -> Any:
    """``x``, but not below ``low`` or above ``high``: min(max(x, low), high)."""
    return choice("clip", x, low, high)


def drawn(u, p) -> Any:
    """1 where the random ``u`` from 0 to 1 is below ``p``, else 0; for a number u, in inference, p from 0 to 1."""
    return Value("drawn", u, graph.as_value(p)) if isinstance(u, Value) else clip(p, 0.0, 1.0)


def relu(x) -> Any:
    """max(x, 0); its gradient at 0 is 0."""
    return maximum(x, 0.0)


def relu6(x) -> Any:
    """clip(x, 0, 6)."""
    return clip(x, 0.0, 6.0)


def leaky_relu(x, negative_slope: float = 0.01) -> Any:
    """``x`` above 0, ``negative_slope * x`` below."""
    return where(x > 0, x, negative_slope * x)


def elu(x, alpha: float = 1.0) -> Any:
    """``x`` above 0, ``alpha * (e**x - 1)`` below (Clevert et al. 2015)."""
    return where(x > 0, x, alpha * primitive("expm1", where(x > 0, 0.0, x)))


def selu(x) -> Any:
    """The self-normalising ELU (Klambauer et al. 2017)."""
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def softplus(x) -> Any:
    """log(1 + e**x), with no overflow; not of ``abs`` and ``maximum``, whose gradients at 0 are 0."""
    return where(x > 0, x, 0.0) + primitive("log1p", exp(where(x > 0, -x, x)))


def log_sigmoid(x) -> Any:
    """log(sigmoid(x)), with no overflow."""
    return -softplus(-x)


def softsign(x) -> Any:
    """x / (1 + |x|)."""
    return x / (1 + abs(x))


def hard_sigmoid(x) -> Any:
    """clip(x / 6 + 1/2, 0, 1), as torch and Keras 3 define it."""
    return clip(x / 6 + 0.5, 0.0, 1.0)


def hard_sigmoid_keras2(x) -> Any:
    """clip(x / 5 + 1/2, 0, 1), the hard_sigmoid of Keras 1 and 2."""
    return clip(0.2 * x + 0.5, 0.0, 1.0)


def hard_tanh(x) -> Any:
    """clip(x, -1, 1)."""
    return clip(x, -1.0, 1.0)


def swish(x) -> Any:
    """x * sigmoid(x), also called SiLU."""
    return x * sigmoid(x)


def hard_swish(x) -> Any:
    """x * hard_sigmoid(x) (Howard et al. 2019)."""
    return x * hard_sigmoid(x)


def mish(x) -> Any:
    """x * tanh(softplus(x)) (Misra 2019)."""
    return x * tanh(softplus(x))


def gelu(x) -> Any:
    """x times the normal distribution's function, exact (Hendrycks & Gimpel 2016)."""
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def linear(x) -> Any:
    """``x`` itself: Keras's name for no activation."""
    return x


#: Activations by the names that Keras and torch give them.
ACTIVATIONS = {
    f.__name__: f
    for f in (
        sigmoid, tanh, relu, relu6, leaky_relu, elu, selu, softplus, log_sigmoid, softsign, hard_sigmoid, hard_tanh,
        swish, hard_swish, mish, gelu, exp, linear,
    )
}  # fmt: skip


def activation(name) -> Any:
    """The activation of that name; a function is returned as it is, of an ActivationFunction its ``scalar``."""
    if isinstance(name, str):
        name = custom.named("activation", name, ACTIVATIONS, sorted(ACTIVATIONS))
    if hasattr(name, "scalar"):
        if name.scalar is None:
            raise ValueError(
                f"the activation {name.name!r} does not act on each number alone, as a cell needs; give another, or an "
                "ActivationFunction with scalar="
            )
        return name.scalar
    if callable(name):
        return name
    raise TypeError(f"the activation is {name!r}; give a name, a function of a scalar, or an ActivationFunction")


__all__ = [*FUNCTIONS]
