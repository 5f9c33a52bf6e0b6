"""Table of the operators of ONNX that are read: a function on arrays for each, by the opset that it is as in.

A function has ONNX's inputs as positional arguments, None for one that is left out, and its attributes by their names.
Where an attribute of older opsets became an input, one argument is both.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Operator:
    """An operator as some opsets have it.

    Attributes
    ----------
    function : callable
        From arrays to an array, or to a tuple if ``several``.
    several : bool
        Whether it returns a tuple; it is then told the number of outputs as ``count``.
    elements : callable or None
        From the function's arguments to the most elements that it makes. None: no more than its inputs have together,
        or than they have when they are broadcast.
    by_value : bool
        Whether numbers in a file or an input, not the sizes of arrays, decide how large the result is.
    views : bool
        Whether the result may be the first input or a view of it.
    """

    function: Callable
    several: bool = False
    elements: Callable[..., int] | None = None
    by_value: bool = False
    views: bool = False

    def takes(self, attribute: str) -> bool:
        """Say if the function has an argument of this name."""
        if isinstance(self.function, np.ufunc):
            return False
        return attribute in inspect.signature(self.function).parameters

    def most_elements(self, *inputs, **attributes) -> int:
        """The most elements that a call makes."""
        if self.elements is not None:
            return self.elements(*inputs, **attributes)
        arrays = [np.asarray(value) for value in inputs if value is not None]
        together = sum(array.size for array in arrays)
        try:
            return max(together, prod(np.broadcast_shapes(*[array.shape for array in arrays])))
        except ValueError:
            return together


#: By name, then by the opset from which on it is so.
OPERATORS: dict[str, dict[int, Operator]] = {}


def operator(name: str, since: int = 1, **options: Any) -> Callable[[Callable], Callable]:
    """Put a function into the table; ``options`` are those of `Operator`."""

    def register(function: Callable) -> Callable:
        OPERATORS.setdefault(name, {})[since] = Operator(function, **options)
        return function

    return register


def integers(name: str, values) -> tuple[int, ...]:
    """Whole numbers of an input of one dimension, such as a shape; a number alone counts as one."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape}; it needs to be integers in one dimension")
    return tuple(array.reshape(-1).tolist())


def axis_of(axis: int, ndim: int) -> int:
    """An axis, counted from the front."""
    if not -ndim <= axis < max(ndim, 1):
        raise ValueError(f"axis is {axis} and the array has {ndim} dimensions")
    return axis + ndim if axis < 0 else axis


def axes_of(axes, ndim: int) -> tuple[int, ...]:
    """Several axes, counted from the front, no two the same."""
    found = tuple([axis_of(axis, ndim) for axis in integers("axes", axes)])
    if len(set(found)) < len(found):
        raise ValueError(f"axes are {found}, one of them twice")
    return found
