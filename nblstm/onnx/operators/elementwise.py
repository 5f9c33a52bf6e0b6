"""Operators on each number alone, or on numbers at the same place of several arrays."""

from __future__ import annotations

from functools import reduce
from math import sqrt

import numpy as np

from nblstm.onnx.operators.registry import operator

for _name, _since, _ufunc in (
    ("Add", 7, np.add), ("Sub", 7, np.subtract), ("Mul", 7, np.multiply),
    ("And", 7, np.logical_and), ("Or", 7, np.logical_or), ("Xor", 7, np.logical_xor), ("Not", 1, np.logical_not),
    ("Equal", 7, np.equal), ("Greater", 7, np.greater), ("Less", 7, np.less),
    ("GreaterOrEqual", 12, np.greater_equal), ("LessOrEqual", 12, np.less_equal),
    ("Abs", 6, np.absolute), ("Neg", 6, np.negative), ("Sign", 9, np.sign), ("Floor", 6, np.floor),
    ("Ceil", 6, np.ceil), ("Round", 11, np.rint), ("Exp", 6, np.exp), ("Log", 6, np.log), ("Sqrt", 6, np.sqrt),
    ("Sin", 7, np.sin), ("Cos", 7, np.cos), ("Tanh", 6, np.tanh), ("Reciprocal", 6, np.reciprocal),
    ("IsNaN", 9, np.isnan),
):  # fmt: skip
    operator(_name, _since)(_ufunc)


@operator("Div", 7)
def div(a, b):
    """``a / b``; of integers the whole part, rounded towards 0."""
    return (a - np.fmod(a, b)) // b if a.dtype.kind in "iu" else np.true_divide(a, b)


@operator("Mod", 10)
def mod(a, b, *, fmod=0):
    """Remainder, with the sign of b, or with ``fmod`` of a."""
    return np.fmod(a, b) if fmod else np.mod(a, b)


@operator("Pow", 7)
def power(a, b):
    """``a ** b`` in the dtype of a."""
    if a.dtype.kind in "iu" and b.dtype.kind in "iu" and np.any(b < 0):  # which NumPy refuses
        a, dtype = a.astype(np.float64), a.dtype
        return np.power(a, b).astype(dtype)
    return np.power(a, b).astype(a.dtype)


@operator("Max", 6, views=True)
def maximum(*values):
    """The largest at each place."""
    return reduce(np.maximum, values)


@operator("Min", 6, views=True)
def minimum(*values):
    """The smallest at each place."""
    return reduce(np.minimum, values)


@operator("Sum", 6, views=True)
def total(*values):
    """The sum at each place."""
    return reduce(np.add, values)


@operator("Mean", 6)
def mean(*values):
    """The mean at each place."""
    return reduce(np.add, values) / np.asarray(len(values), values[0].dtype)


@operator("Where", 9)
def where(condition, a, b):
    """``a`` where the condition holds, else ``b``."""
    return np.where(condition, a, b)


@operator("Clip", 6, views=True)
def clip(x, min=None, max=None):
    """min(max(x, min), max)."""
    if min is not None:
        x = np.maximum(x, np.asarray(min, x.dtype))
    return x if max is None else np.minimum(x, np.asarray(max, x.dtype))


@operator("IsInf", 10)
def is_infinite(x, *, detect_negative=1, detect_positive=1):
    """Say of each number if it is infinite, of the signs that are asked for."""
    return np.isinf(x) & ((x > 0) & bool(detect_positive) | (x < 0) & bool(detect_negative))


# --- activations --------------------------------------------------------------------------------------


@operator("Sigmoid", 6)
def sigmoid(x):
    """1 / (1 + e**-x)."""
    return 1 / (1 + np.exp(-x))


@operator("Relu", 6)
def relu(x):
    """max(x, 0)."""
    return np.maximum(x, x.dtype.type(0))


@operator("LeakyRelu", 6)
def leaky_relu(x, *, alpha):
    """``x`` above 0, ``alpha x`` below."""
    return np.where(x < 0, alpha * x, x)


@operator("PRelu", 7)
def parametric_relu(x, slope):
    """``x`` above 0, ``slope x`` below."""
    return np.where(x < 0, slope * x, x)


@operator("ThresholdedRelu", 10)
def relu_above(x, *, alpha):
    """``x`` above alpha, else 0."""
    return np.where(x > alpha, x, x.dtype.type(0))


@operator("Elu", 6)
def elu(x, *, alpha):
    """``x`` above 0, ``alpha (e**x - 1)`` below."""
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


@operator("Celu", 12)
def celu(x, *, alpha):
    """max(x, 0) + min(0, alpha (e**(x / alpha) - 1))."""
    return np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(x / alpha))


@operator("Selu", 6)
def selu(x, *, alpha, gamma):
    """``gamma x`` above 0, ``gamma alpha (e**x - 1)`` below."""
    return gamma * np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


@operator("HardSigmoid", 6)
def hard_sigmoid(x, *, alpha, beta):
    """clip(alpha x + beta, 0, 1)."""
    return np.clip(alpha * x + beta, x.dtype.type(0), x.dtype.type(1))


@operator("HardSwish", 14)
def hard_swish(x):
    """``x clip(x / 6 + 1/2, 0, 1)``."""
    return x * hard_sigmoid(x, alpha=1 / 6, beta=0.5)


@operator("Softplus")
def softplus(x):
    """log(1 + e**x)."""
    return np.logaddexp(x, x.dtype.type(0))


@operator("Softsign")
def softsign(x):
    """x / (1 + |x|)."""
    return x / (1 + np.abs(x))


@operator("Mish", 18)
def mish(x):
    """``x tanh(log(1 + e**x))``."""
    return x * np.tanh(softplus(x))


@operator("Swish", 24)
def swish(x, *, alpha):
    """``x sigmoid(alpha x)``."""
    return x * sigmoid(alpha * x)


@operator("Erf", 9)
def erf(x):
    """Error function."""
    from scipy.special import erf

    return erf(x).astype(x.dtype)


@operator("Gelu", 20)
def gelu(x, *, approximate):
    """``x`` times the normal distribution's function, or its approximation by tanh."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate is {approximate!r}; it needs to be 'none' or 'tanh'")
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(sqrt(2 / np.pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1 + erf(x * sqrt(0.5)))
