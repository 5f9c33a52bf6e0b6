"""Passes through a layer: checked inputs and masks, tapes, and the arrays that gradients are written to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers import memory
from nblstm.layers.base import shapes
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
            shapes.check_built_for(layer._label, x.shape, known, layer.fixed_axes)
    return x


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
    return into
