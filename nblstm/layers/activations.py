"""Activation functions of arrays, with Keras's names and defaults, and their gradients.

Each is a formula and its pullback: the gradient with respect to the input, from that with respect to the output and
one array that is kept, the output where that suffices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from nblstm.arguments import custom, validate
from nblstm.symbolic import functions

__all__ = [
    "ActivationFunction", "elu", "exponential", "gelu", "get", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh",
    "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu",
    "softmax", "softplus", "softsign", "swish", "tanh",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


Array = np.ndarray


@dataclass(frozen=True)
class ActivationFunction:
    """An activation: ``y = value(x)``, ``dx = pullback(kept, dy)``.

    Attributes
    ----------
    name : str
    value : callable
        From an array of floats to one of the same shape and dtype.
    pullback : callable
        From the kept array and ``dy`` to ``dx``.
    keeps : {"output", "input"}
        What is kept.
    overwrite : callable, optional
        As ``value``, with the result in the place of the input.
    scalar : callable, optional
        The same function of one number in terms of nblstm's functions, as the equations of a cell use it; None where
        a number alone does not determine the result.
    """

    name: str
    value: Callable[[Array], Array]
    pullback: Callable[[Array, Array], Array]
    keeps: str = "output"
    overwrite: Callable[[Array], Array] | None = None
    scalar: Callable | None = None

    @np.errstate(under="ignore")
    def __call__(self, x) -> Array:
        """The activation of an array."""
        x = validate.number_array("x", x)
        return self.value(x if x.dtype.kind == "f" else x.astype(np.float32))

    def forward(self, x: Array, own: bool = False) -> tuple[Array, Array]:
        """The output, and what `backward` needs; with ``own``, x may be overwritten.

        Memory that is new costs more than a simple function: relu of 1.6 million numbers takes 3.6 ms in another
        array, 1.4 ms in place (one core).
        """
        y = self.overwrite(x) if own and self.overwrite else self.value(x)
        return y, y if self.keeps == "output" else x

    def backward(self, kept: Array, dy: Array) -> Array:
        """The gradient with respect to the input."""
        return self.pullback(kept, dy)

    def __copy__(self) -> ActivationFunction:
        return self

    def __deepcopy__(self, memo) -> ActivationFunction:
        return self

    def __reduce__(self):
        """By the name of a known one; pickle finds the functions of one of the user's own, or refuses them."""
        if FUNCTIONS.get(self.name) is self:
            return get, (self.name,)
        return ActivationFunction, (self.name, self.value, self.pullback, self.keeps, self.overwrite, self.scalar)

    def record(self) -> str:
        """How it is saved: by its name, behind ``Custom>`` if it is one of the user's own."""
        if FUNCTIONS.get(self.name) is self:
            return self.name
        try:
            return custom.name_of(self, self.name)
        except TypeError:
            raise TypeError(
                f"the activation {self.name!r} is your own and cannot be saved; give it a name like that of a function"
            ) from None


def _sigmoid(x):
    e = np.negative(x)
    np.minimum(e, 88 if x.itemsize == 4 else 709, out=e)  # beyond, exp overflows; and 1 / (1 + e) keeps small results
    np.exp(e, out=e)
    e += 1
    return np.divide(1, e, out=e)


def _softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _elu(alpha, scale) -> tuple[Callable, Callable]:
    def value(x):
        return np.where(x > 0, scale * x, scale * alpha * np.expm1(np.minimum(x, 0)))

    def pullback(y, dy):
        return dy * np.where(y > 0, scale, y + scale * alpha)

    return value, pullback


def _softmax(x):
    rows = x.size != x.shape[-1]  # else the largest and the sum are numbers, which takes 1 us less
    axis = -1 if rows else None
    e = x - np.maximum.reduce(x, axis, keepdims=rows)
    np.exp(e, out=e)
    e /= np.add.reduce(e, axis, keepdims=rows)
    return e


def _d_softmax(y, dy):
    return y * (dy - np.sum(dy * y, axis=-1, keepdims=True))


def _log_softmax(x):
    x = x - np.max(x, axis=-1, keepdims=True)
    return x - np.log(np.sum(np.exp(x), axis=-1, keepdims=True))


def _d_log_softmax(y, dy):
    return dy - np.exp(y) * np.sum(dy, axis=-1, keepdims=True)


def _normal_cdf(x):
    from scipy.special import erf  # an import of 0.1 s, which only this needs

    return 0.5 * (1 + erf(x * math.sqrt(0.5)))


def _d_gelu(x, dy):
    return dy * (_normal_cdf(x) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def _d_silu(x, dy):
    s = _sigmoid(x)
    return dy * s * (1 + x * (1 - s))


def _d_mish(x, dy):
    t = np.tanh(_softplus(x))
    return dy * (t + x * (1 - t * t) * _sigmoid(x))


def _hard_sigmoid(x):
    return np.clip(x / 6 + 0.5, 0, 1)


def _d_hard_silu(x, dy):
    h = _hard_sigmoid(x)
    return dy * (h + x / 6 * ((h > 0) & (h < 1)))


def _between(low, high, slope=1.0):
    """The pullback of a line that is cut off below ``low`` and above ``high``."""
    return lambda y, dy: dy * (((y > low) & (y < high)) * y.dtype.type(slope))


#: Keras's constants of selu (Klambauer et al. 2017).
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946

linear = ActivationFunction("linear", lambda x: x, lambda y, dy: dy, scalar=functions.linear)
relu = ActivationFunction(
    "relu",
    lambda x: np.maximum(x, 0),
    lambda y, dy: dy * (y > 0),
    overwrite=lambda x: np.maximum(x, 0, out=x),
    scalar=functions.relu,
)
relu6 = ActivationFunction("relu6", lambda x: np.clip(x, 0, 6), _between(0, 6), scalar=functions.relu6)
leaky_relu = ActivationFunction(
    "leaky_relu",
    lambda x: np.maximum(x, 0.2 * x),
    lambda y, dy: np.where(y > 0, dy, 0.2 * dy),
    scalar=partial(functions.leaky_relu, negative_slope=0.2),
)
elu = ActivationFunction("elu", *_elu(1.0, 1.0), scalar=functions.elu)
selu = ActivationFunction("selu", *_elu(SELU_ALPHA, SELU_SCALE), scalar=functions.selu)
softplus = ActivationFunction("softplus", _softplus, lambda y, dy: dy * -np.expm1(-y), scalar=functions.softplus)
softsign = ActivationFunction(
    "softsign", lambda x: x / (1 + np.abs(x)), lambda y, dy: dy * np.square(1 - np.abs(y)), scalar=functions.softsign
)  # fmt: skip
sigmoid = ActivationFunction("sigmoid", _sigmoid, lambda y, dy: dy * y * (1 - y), scalar=functions.sigmoid)
log_sigmoid = ActivationFunction(
    "log_sigmoid", lambda x: -_softplus(-x), lambda y, dy: dy * -np.expm1(y), scalar=functions.log_sigmoid
)
hard_sigmoid = ActivationFunction("hard_sigmoid", _hard_sigmoid, _between(0, 1, 1 / 6), scalar=functions.hard_sigmoid)
tanh = ActivationFunction(
    "tanh", np.tanh, lambda y, dy: dy * (1 - y * y), overwrite=lambda x: np.tanh(x, out=x), scalar=functions.tanh
)
hard_tanh = ActivationFunction("hard_tanh", lambda x: np.clip(x, -1, 1), _between(-1, 1), scalar=functions.hard_tanh)
exponential = ActivationFunction("exponential", np.exp, lambda y, dy: dy * y, scalar=functions.exp)
silu = ActivationFunction("silu", lambda x: x * _sigmoid(x), _d_silu, "input", scalar=functions.swish)
hard_silu = ActivationFunction(
    "hard_silu", lambda x: x * _hard_sigmoid(x), _d_hard_silu, "input", scalar=functions.hard_swish
)
gelu = ActivationFunction("gelu", lambda x: x * _normal_cdf(x), _d_gelu, "input", scalar=functions.gelu)
mish = ActivationFunction("mish", lambda x: x * np.tanh(_softplus(x)), _d_mish, "input", scalar=functions.mish)
softmax = ActivationFunction("softmax", _softmax, _d_softmax)
log_softmax = ActivationFunction("log_softmax", _log_softmax, _d_log_softmax)
swish, hard_swish = silu, hard_silu

#: By name, Keras's second names included.
FUNCTIONS = {
    function.name: function
    for function in (
        linear, relu, relu6, leaky_relu, elu, selu, softplus, softsign, sigmoid, log_sigmoid, hard_sigmoid, tanh,
        hard_tanh, exponential, silu, hard_silu, gelu, mish, softmax, log_softmax,
    )
} | {"swish": silu, "hard_swish": hard_silu}  # fmt: skip


def get(identifier) -> ActivationFunction:
    """The activation that is meant.

    Parameters
    ----------
    identifier : str, ActivationFunction or None
        A name such as ``"relu"``; None is linear.

    Raises
    ------
    TypeError, ValueError
        If it is neither; a function without its gradient is not enough.
    """
    if identifier is None:
        return linear
    if isinstance(identifier, ActivationFunction):
        return identifier
    if not isinstance(identifier, str):
        raise TypeError(
            f"the activation is {identifier!r}; give a name or an ActivationFunction, which has its gradient"
        )
    found = custom.named("activation", identifier, FUNCTIONS)
    if not isinstance(found, ActivationFunction):
        raise TypeError(f"the activation {identifier!r} is {found!r}; let it be an ActivationFunction")
    return found


def scalar(function: ActivationFunction) -> Callable:
    """The function of one number that a cell is compiled with.

    Raises
    ------
    ValueError
        If the activation acts on several numbers at once, or is one of the user's own that does not have it.
    """
    if function.scalar is None:
        raise ValueError(
            f"the activation {function.name!r} does not act on each number alone, as a cell needs; give another, or an "
            "ActivationFunction with scalar="
        )
    return function.scalar
