"""Passes through a layer: checked inputs and masks, tapes, and the arrays that gradients are written to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers import memory
from nblstm.layers.base import holding
from nblstm.layers.base.shapes import Shape
from nblstm.nn import Gradients, Module

if TYPE_CHECKING:
    from nblstm.layers.base.layer import Layer


@dataclass(slots=True, eq=False)
class Tape:
    """Values that a forward pass saves for `Layer.backward`, any number of times.

    It refers to the input and output of that pass: write to neither before the last use.
    """

    layer: Layer
    y_shape: tuple[int, ...]
    saved: Any
    x_shape: tuple[int, ...] | None = None  # of a user's layer, whose dx is checked


def checked_input(layer: Layer, x) -> np.ndarray:
    """``x`` as an array that fits the layer, which is built for it if it is not."""
    if isinstance(x, Module):
        raise TypeError(
            f"{layer._label} got the layer {getattr(x, 'name', x)!r}, and no data; put both into a Sequential, there "
            "is no functional API"
        )
    x, known = layer._converted(x), layer.input_shape
    if known is None or x.shape[1:] != known[1:]:
        layer._check_ndim(x.shape)
        if known is None:
            layer.build((None, *x.shape[1:]))
        else:
            _check_built_for(layer, x.shape, known)
    return x


def _check_built_for(layer: Layer, shape: tuple[int, ...], built: Shape) -> None:
    """Refuse a shape that has another size, where parameters depend on it, than they were made for."""
    for axis in layer.fixed_axes:
        if shape[axis] != built[axis]:
            raise ValueError(
                f"{layer._label} got x of shape {shape}; it was built for {built}, so give {built[axis]} in dimension "
                f"{axis}{holding.hint_of_held_shape(layer)}"
            )


def checked_mask(mask, x_shape: tuple[int, ...], least: int = 2) -> np.ndarray:
    """``mask`` as an array of bool over the leading dimensions of ``x``, ``least`` of them or more."""
    array = validate.plain_array("mask", mask)
    if array.dtype.kind not in "biu":
        raise TypeError(f"mask has dtype {array.dtype}; give bools, True where a step counts")
    if array.ndim < least or array.shape != x_shape[: array.ndim]:
        needed = "(B, T)" if least == 2 else "(B,)"
        raise ValueError(f"mask has shape {array.shape}; x has {x_shape}, so give its leading dimensions, {needed}")
    return array.astype(bool, copy=False)


def check_tape(layer: Layer, tape: Tape) -> None:
    """Refuse a tape of another layer."""
    if not isinstance(tape, Tape) or tape.layer is not layer:
        raise ValueError(f"tape is not from the forward() of {layer._label}; pass the second of its results")


def gradients_into(layer: Layer, into: Gradients | None) -> Gradients:
    """``into``, if it has the layer's layout; new arrays if it is None."""
    layout, dtype = layer._layout, layer._flat.dtype
    if into is None:
        flat = memory.empty((layout.size,), dtype)
        return Gradients(layout.views(flat), flat)
    if into.flat.shape != (layout.size,) or into.flat.dtype != dtype:
        came = f"{into.flat.size} numbers of {into.flat.dtype}"
        raise ValueError(
            f"into has {came} and {layer._label} has {layout.size} of {dtype}; give what its backward() returned"
        )
    if type(into) is holding.Piece:
        into.begin(layer)
    return into


def checked_result(layer: Layer, result) -> tuple[np.ndarray, Any]:
    """The output and what ``_backward`` needs, if a user's ``_forward`` returned these two."""
    if type(result) is tuple and len(result) == 2:
        if isinstance(result[0], np.ndarray):
            return result
        came = f"a tuple of 2 that begins with {_kind(result[0])}"
    else:
        came = f"a tuple of {len(result)}" if type(result) is tuple else _kind(result)
    raise TypeError(
        f"{type(layer).__name__}._forward returned {came}; let it return two in a tuple, the output as an array, and "
        "what _backward needs or None"
    )


def check_backward(layer: Layer, tape: Tape, dx, gradients: dict[Any, Any]) -> None:
    """Refuse what a user's ``_backward`` returned if it is no dx in the shape of x; warn of held layers left out."""
    name = f"{type(layer).__name__}._backward"
    if dx is not None and not isinstance(dx, np.ndarray):
        raise TypeError(f"{name} returned {_kind(dx)}; let it return dx alone, as a held layer's backward(...)[0] is")
    if dx is not None and dx.shape != tape.x_shape:
        raise ValueError(f"{name} returned dx of shape {dx.shape}; let it return that of x, {tape.x_shape}")
    if isinstance(gradients, holding.PiecesByLayer):
        gradients.warn_of_unused()


def _kind(value) -> str:
    """An array with its shape, or the type of a value."""
    return f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
