"""Checks of shapes: as in Keras, the batch comes first, and None is an unknown size."""

from __future__ import annotations

import numbers

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


def declared(kind: str, input_shape, batch_input_shape, input_dim) -> Shape | None:
    """The shape, batch included, that a layer's constructor was given in one of three ways, or None."""
    if sum(given is not None for given in (input_shape, batch_input_shape, input_dim)) > 1:
        raise ValueError(f"{kind} got its input's shape twice; give input_shape, batch_input_shape or input_dim")
    if input_dim is not None:
        input_shape = (validate.positive_integer("input_dim", input_dim),)
    if input_shape is not None:
        return (None, *dimensions("input_shape", input_shape))
    return None if batch_input_shape is None else batch_shape("batch_input_shape", batch_input_shape)


def check_ndim(label: str, shape: tuple, ndim: int | None, least: int) -> None:
    """Refuse a shape that has not ``ndim`` dimensions, or fewer than ``least``."""
    if ndim is not None and len(shape) != ndim:
        raise ValueError(f"{label} got shape {tuple(shape)}; it needs {ndim} dimensions, batch included")
    if len(shape) < least:
        raise ValueError(f"{label} got shape {tuple(shape)}; it needs {least} dimensions or more, batch included")


def check_known(label: str, shape: Shape, axes: tuple[int, ...]) -> None:
    """Refuse a shape of which a size that parameters depend on is unknown or 0."""
    for axis in axes:
        if not shape[axis]:
            raise ValueError(
                f"{label} has input_shape {shape}; give a size of 1 or more in dimension {axis}, which "
                "its parameters depend on"
            )


def agree(known: int | None, came: int | None) -> bool:
    """Return whether two sizes can be one, where None is unknown."""
    return known is None or came is None or known == came
