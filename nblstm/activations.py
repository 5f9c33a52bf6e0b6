"""Activation functions of arrays, with Keras's names and defaults, and their gradients.

An activation of single numbers is one equation, from which value and gradient are derived; softmax and log_softmax,
which act on rows, are formulas.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np

from nblstm.arguments import custom, signatures, validate
from nblstm.arguments.missing import explain_missing_names
from nblstm.symbolic import as_text, functions
from nblstm.symbolic.elementwise import Array, ArrayFunctions, array_functions, traced
from nblstm.symbolic.emit import emit_function
from nblstm.symbolic.graph import Value
from nblstm.symbolic.importable import imported, is_found_elsewhere
from nblstm.symbolic.unsupported import CellError

__all__ = [
    "ActivationFunction", "activation", "elu", "exponential", "gelu", "get", "hard_sigmoid", "hard_sigmoid_keras2",
    "hard_silu", "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu",
    "relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)


class ActivationFunction:
    """An activation: ``y = value(x)``, ``dx = pullback(kept, dy)``.

    Parameters
    ----------
    name : str
    value : callable, optional
        From an array of floats to one of the same shape and dtype; if not given, it is derived from ``scalar``, and so
        is all else.
    pullback : callable, optional
        From the kept array and ``dy`` to ``dx``.
    keeps : {"output", "input"}
        The array that the pullback takes.
    overwrite : callable, optional
        As ``value``, with the result in the place of the input.
    scalar : callable, optional
        The same function of one number, by operators and the functions that nblstm exports, as the equations of a cell
        use it; None where a number alone does not determine the result.

    Raises
    ------
    TypeError
        If there is neither a value with its pullback nor an equation, or an argument is something else.

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm import activations
    >>> cube = activations.ActivationFunction("cube", scalar=lambda x: x**3)
    >>> cube(np.array([2.0])), cube.backward(np.array([2.0]), np.array([1.0]))
    (array([8.]), array([12.]))
    """

    #: Module and qualified name of the equation's definition, if the decorator `activation` has made it.
    place: tuple[str, str]

    def __init__(
        self, name: str, value: Callable[[Array], Array] | None = None,
        pullback: Callable[[Array, Array], Array] | None = None, keeps: str = "output",
        overwrite: Callable[[Array], Array] | None = None, scalar: Callable | None = None,
    ):  # fmt: skip
        if not (isinstance(name, str) and name):
            raise TypeError(f"name is {name!r}; give a string that is not empty, as in ActivationFunction('cube', ...)")
        given = {"value": value, "pullback": pullback, "overwrite": overwrite, "scalar": scalar}
        for argument, function in given.items():
            if not (function is None or callable(function)):
                raise TypeError(f"{argument} of the activation {name!r} is {function!r}; give a function, or None")
        validate.choice("keeps", keeps, ("output", "input"))
        if (value is None) != (pullback is None) or (value is None and scalar is None):
            raise TypeError(f"the activation {name!r} needs value and pullback, or scalar alone; give these")
        self.name, self.scalar = name, scalar
        self._given = None if value is None or pullback is None else ArrayFunctions(value, pullback, keeps, overwrite)

    @cached_property
    def _functions(self) -> ArrayFunctions:
        """The given functions, or those derived at the first use, which takes 1 ms."""
        if self._given is not None:
            return self._given
        assert self.scalar is not None
        return array_functions(self.name, self.scalar)

    @np.errstate(under="ignore")
    def __call__(self, x) -> Any:
        """The activation of an array; in the equations of a cell, of a loss or of another activation, of a scalar."""
        if isinstance(x, Value):
            return functions.activation(self)(x)
        x = validate.number_array("x", x)
        return self._functions.value(x if x.dtype.kind == "f" else x.astype(np.float32))

    def forward(self, x: Array, own: bool = False) -> tuple[Array, Array]:
        """The output, and the array that `backward` needs; with ``own``, x may be overwritten.

        Memory that is new costs more than a simple function: relu of 1.6 million numbers takes 3.6 ms in another
        array, 1.4 ms in place (one core).
        """
        value, _, keeps, overwrite = self._functions
        y = overwrite(x) if own and overwrite else value(x)
        return y, y if keeps == "output" else x

    def backward(self, kept: Array, dy: Array) -> Array:
        """The gradient with respect to the input."""
        return self._functions.pullback(kept, dy)

    @cached_property
    def _equations_text(self) -> str | None:
        """The traced equation as the source of a function ``equations``; None if there is none."""
        if self.scalar is None:
            return None
        x, y = traced(self.name, self.scalar)
        return emit_function("equations", ["x"], {x: "x"}, [("new_x", y)], as_text.DIALECT)

    def __repr__(self):
        return f"<activation {self.name}>"

    def __copy__(self) -> ActivationFunction:
        return self

    def __deepcopy__(self, memo) -> ActivationFunction:
        return self

    def __reduce__(self):
        """By the name of a known one; of the user's own by its equation, but given arrays' functions by their names.

        What the decorator `activation` has made goes by the name of its variable, if any process can import it.
        """
        if FUNCTIONS.get(self.name) is self:
            return get, (self.name,)
        place = getattr(self, "place", None)
        if place is not None and is_found_elsewhere(self, place):
            return _by_name, place
        value = self.name, self._given, self._equations_text
        if self._given is None:
            as_text.remember(value, self)
        return _by_value, value

    def record(self) -> str:
        """Its name, by which it is saved, behind ``Custom>`` if it is one of the user's own."""
        if FUNCTIONS.get(self.name) is self:
            return self.name
        try:
            return custom.name_of(self, self.name, _alike)
        except TypeError:
            raise TypeError(
                f"the activation {self.name!r} is your own and cannot be saved; give it a name like that of a function"
            ) from None


def _by_name(module: str, name: str) -> ActivationFunction:
    """Import the activation."""
    return imported(ActivationFunction, "an activation", module, name)


def _by_value(name: str, given: ArrayFunctions | None, text: str | None) -> ActivationFunction:
    """The activation of this process with the same equation; else, or if arrays' functions are given, a new one."""
    key = name, given, text
    same = as_text.known.get(key) if given is None else None
    if same is None:
        scalar = None if text is None else as_text.equations_from(text, name)
        value, pullback, keeps, overwrite = given or (None, None, "output", None)
        same = ActivationFunction(name, value, pullback, keeps, overwrite, scalar)
    if given is None:
        as_text.remember(key, same)
    return same


def _alike(one, other) -> bool:
    """Say if two objects are one, or activations with the same equation."""
    if one is other or not (isinstance(one, ActivationFunction) and isinstance(other, ActivationFunction)):
        return one is other
    return one._given == other._given and one._equations_text == other._equations_text


def activation(equation: Callable | None = None, *, name: str | None = None) -> Any:
    """Make an activation of its equation of one number; the gradient is derived, and recurrent layers compile both.

    The function takes a scalar and returns one, by operators and the functions that `nblstm` exports. It runs on
    symbols, a few times: what it reads from elsewhere, such as a variable, counts as it was then.

    Parameters
    ----------
    equation : callable
    name : str, optional
        That of the function if not given.

    Returns
    -------
    ActivationFunction
        For layers' ``activation=``, for arrays, and for the equations of cells; without an equation, the decorator that
        makes it.

    Raises
    ------
    CellError
        If the function does not take one argument. What it does is checked when it is traced.

    Examples
    --------
    >>> import nblstm
    >>> @nblstm.activation
    ... def bent_identity(x):
    ...     return (nblstm.sqrt(x**2 + 1) - 1) / 2 + x
    >>> nblstm.layers.LSTM(8, activation=bent_identity).activation
    <activation bent_identity>
    """

    def decorate(equation: Callable) -> ActivationFunction:
        if not callable(equation):
            raise CellError(f"activation() decorates {equation!r}; put it above a function of a scalar")
        given = getattr(equation, "__name__", None) if name is None else name
        if not (isinstance(given, str) and given):
            raise CellError(f"name of the activation is {given!r}; give one, as in nblstm.activation(..., name='mine')")
        try:
            arguments = inspect.signature(equation).parameters.values()
        except (TypeError, ValueError):
            raise CellError(f"the activation {given!r} is {equation!r}; write a function of a scalar") from None
        needed = [a.name for a in arguments if a.default is a.empty and a.kind not in (a.VAR_KEYWORD, a.VAR_POSITIONAL)]
        if len(needed) != 1 or not signatures.takes(equation, 1):
            raise CellError(
                f"the activation {given!r} has the arguments {', '.join(needed) or 'none'}; let it take one number, x, "
                "and make it in a function that takes the others"
            )
        made = ActivationFunction(given, scalar=equation)
        made.place = getattr(equation, "__module__", ""), getattr(equation, "__qualname__", given)
        made.__doc__ = equation.__doc__
        return made

    return decorate if equation is None else decorate(equation)


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


linear = ActivationFunction("linear", scalar=functions.linear)
relu = ActivationFunction("relu", scalar=functions.relu)
relu6 = ActivationFunction("relu6", scalar=functions.relu6)
leaky_relu = ActivationFunction("leaky_relu", scalar=partial(functions.leaky_relu, negative_slope=0.2))
elu = ActivationFunction("elu", scalar=functions.elu)
selu = ActivationFunction("selu", scalar=functions.selu)
softplus = ActivationFunction("softplus", scalar=functions.softplus)
softsign = ActivationFunction("softsign", scalar=functions.softsign)
sigmoid = ActivationFunction("sigmoid", scalar=functions.sigmoid)
log_sigmoid = ActivationFunction("log_sigmoid", scalar=functions.log_sigmoid)
hard_sigmoid = ActivationFunction("hard_sigmoid", scalar=functions.hard_sigmoid)
hard_sigmoid_keras2 = ActivationFunction("hard_sigmoid_keras2", scalar=functions.hard_sigmoid_keras2)
tanh = ActivationFunction("tanh", scalar=functions.tanh)
hard_tanh = ActivationFunction("hard_tanh", scalar=functions.hard_tanh)
exponential = ActivationFunction("exponential", scalar=functions.exp)
silu = swish = ActivationFunction("silu", scalar=functions.swish)
hard_silu = hard_swish = ActivationFunction("hard_silu", scalar=functions.hard_swish)
gelu = ActivationFunction("gelu", scalar=functions.gelu)
mish = ActivationFunction("mish", scalar=functions.mish)
softmax = ActivationFunction("softmax", _softmax, _d_softmax)
log_softmax = ActivationFunction("log_softmax", _log_softmax, _d_log_softmax)

#: By name, Keras's second names included.
FUNCTIONS = {name: made for name, made in list(globals().items()) if isinstance(made, ActivationFunction)}


def get(identifier) -> ActivationFunction:
    """The activation of a name.

    Parameters
    ----------
    identifier : str, ActivationFunction or None
        A name such as ``"relu"``; None is linear.
    """
    if identifier is None:
        return linear
    if isinstance(identifier, ActivationFunction):
        return identifier
    if not isinstance(identifier, str):
        raise TypeError(
            f"the activation is {identifier!r}; give a name or an ActivationFunction, such as the decorator "
            "nblstm.activation makes of an equation"
        )
    found = custom.named("activation", identifier, FUNCTIONS)
    if not isinstance(found, ActivationFunction):
        raise TypeError(f"the activation {identifier!r} is {found!r}; let it be an ActivationFunction")
    return found
