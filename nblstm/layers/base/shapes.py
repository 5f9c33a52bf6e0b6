"""Checks of shapes and of numbers that describe them: as in Keras, the batch comes first, None is unknown."""

from __future__ import annotations

import numbers

import numpy as np

from nblstm.arguments import validate

Shape = tuple[int | None, ...]


def batch_shape(name: str, value) -> Shape:
    """``value`` as a shape with its batch dimension."""
    shape = dimensions(name, value)
    if not shape:
        raise ValueError(f"{name} is (); give a shape that begins with the batch, such as (None, 10)")
    return shape


def dimensions(name: str, value) -> Shape:
    """``value`` as a tuple of whole numbers, 0 or more, or None."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        value = (value,)
    if not isinstance(value, tuple | list):
        raise TypeError(f"{name} is {value!r} of type {type(value).__name__}; give a tuple, such as (None, 10)")
    if value and isinstance(value[0], tuple):
        raise ValueError(
            f"{name} is {tuple(value)!r}, the shapes of a list of outputs; make the layer before without return_state, "
            "and a Bidirectional with a merge_mode"
        )
    for d in value:
        if d is not None and (isinstance(d, bool) or not isinstance(d, numbers.Integral) or d < 0):
            raise ValueError(f"{name} is {tuple(value)!r}; each dimension is a whole number, or None where unknown")
    return tuple(None if d is None else int(d) for d in value)


def integers(name: str, value, count: int) -> tuple[int, ...]:
    """``value``, one positive integer for all dimensions or one for each, as a tuple of ``count``."""
    if not isinstance(value, tuple | list):
        return (validate.positive_integer(name, value),) * count
    if len(value) != count:
        raise ValueError(f"{name} has {len(value)} numbers; give {count}, or one for all dimensions")
    return tuple(validate.positive_integer(name, number) for number in value)


def number(name: str, value, minimum: float = -float("inf")) -> float:
    """``value`` as a finite float of ``minimum`` or more."""
    needed = "a finite number" if minimum == -float("inf") else f"a finite number, {minimum:g} or more"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is {value!r} of type {type(value).__name__}; give {needed}")
    if not minimum <= float(value) < float("inf"):
        raise ValueError(f"{name} is {value}; give {needed}")
    return float(value)


def only(name: str, value, supported) -> None:
    """Refuse an option of Keras's that nblstm lacks, unless it has its default."""
    if value is not supported and value != supported:
        raise ValueError(f"{name} is {value!r}, which nblstm does not support; leave it at {supported!r}")


def without_cudnn(value) -> bool | str:
    """Keras's ``use_cudnn``, where "auto" and False both mean what there is."""
    if value is not False and value != "auto":
        raise ValueError(f"use_cudnn is {value!r}, and nblstm does not use cuDNN; leave it at 'auto'")
    return value


def whole_numbers(name: str, value, end: int, limit: str) -> np.ndarray:
    """``value`` as an array of int64 in [0, end); ``limit`` says where the end comes from."""
    array = validate.number_array(name, value)
    with np.errstate(invalid="ignore"):
        whole = array.astype(np.int64, copy=False)
    wrong = (array < 0) | (array >= end) | (whole != array)
    if wrong.any():
        raise ValueError(f"{name} contains {array[wrong][0]}; {limit}, so give whole numbers from 0 to {end - 1}")
    return whole
