"""Layers within layers: which can be held, and their pieces of the buffers that parameters and gradients lie in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.arguments import validate
from nblstm.layers.base.shapes import Shape
from nblstm.nn import Gradients
from nblstm.process.show import warn

if TYPE_CHECKING:
    from nblstm.layers.base.layer import Layer
    from nblstm.layers.base.parameters import Parameter


def no_layer(given) -> str:
    """Say of what `Layer.hold` was given that it is no layer."""
    if isinstance(given, type):
        return f"hold got the class {given.__name__}; give a layer, as {given.__name__}(...) makes one"
    came = repr(given) if isinstance(given, str) else f"an object of {type(given).__name__}"
    return f"hold got {came}; give a layer of nblstm's, such as Dense(10), and no model"


def check_hold(holder: Layer, layer: Layer, prefix: str) -> None:
    """Refuse a layer that ``holder`` cannot hold, or not under this prefix."""
    if "held_layers" not in vars(holder):
        raise RuntimeError(
            f"{type(holder).__name__} calls hold before super().__init__(), which makes the layer; call that first"
        )
    if not isinstance(prefix, str):
        raise TypeError(f"prefix is {prefix!r} of type {type(prefix).__name__}; give a string, such as 'first_'")
    if holder.built:
        raise RuntimeError(f"{holder._label} is built and can hold no more; call hold in the constructor")
    new = set(with_all_held(layer))
    if holder in new:
        raise ValueError(f"{holder._label} would hold itself by {layer._label}; give another layer")
    for each in with_all_held(holder):
        if each in new:
            raise ValueError(
                f"{each._label} is held by {holder._label} already; hold it once and call it as often as you like, or "
                "make another layer"
            )
    if layer.dtype != holder.dtype:
        raise ValueError(f"dtype is {holder.dtype} and that of {layer.name!r} {layer.dtype}; give it to the latter")
    if prefix in holder.held_layers:
        raise ValueError(f"{holder._label} holds a layer with the prefix {prefix!r} already; give each its own")


def with_all_held(layer: Layer) -> Iterator[Layer]:
    """The layer, those that it holds, those that these hold, and so on."""
    yield layer
    for each in layer.held_layers.values():
        yield from with_all_held(each)


def with_held_parameters(holder: Layer, shape: Shape, own: dict[str, Parameter]) -> dict[str, Parameter]:
    """Describe the holder's ``own`` parameters and those of all held layers, for the checked shape of its input."""
    described = dict(own)
    for prefix, layer in holder.held_layers.items():
        for name, parameter in _described(holder._held_shape(layer, shape), layer).items():
            if prefix + name in described:
                raise ValueError(
                    f"{holder._label} has two parameters {prefix + name!r}, one of them {layer._label}'s; hold that "
                    "with another prefix"
                )
            described[prefix + name] = parameter
    return described


def _described(shape: Shape, layer: Layer) -> dict[str, Parameter]:
    try:
        return layer.describe(shape)
    except ValueError as error:
        if not layer._held_by or "_held_shape" in str(error):
            raise
        raise ValueError(f"{error}{hint_of_held_shape(layer)}") from None


def hint_of_held_shape(layer: Layer) -> str:
    """Name the remedy where a held layer was made for another shape than it gets; empty if no user's layer holds it."""
    if not layer._held_by:
        return ""
    return f"; in {layer._held_by}, which holds it, let _held_shape(layer, shape) return the shape of what it gets"


def pieces(holder: Layer, flat: np.ndarray) -> Iterator[tuple[Layer, np.ndarray]]:
    """Each held layer, the last one first, and its piece of a buffer in the holder's layout."""
    end = flat.size
    for layer in reversed(holder.held_layers.values()):
        start = end - layer._layout.size
        yield layer, flat[start:end]
        end = start


def reset_states(holder: Layer, states) -> None:
    """Set the states of the held layers that keep some; see `Layer.reset_states`."""
    stateful = [layer for layer in holder.held_layers.values() if layer.stateful]
    if not stateful:
        raise ValueError(f"{holder._label} keeps no states; make it with stateful=True")
    if states is not None and len(states) != len(stateful):
        raise ValueError(f"{holder._label} got the states of {len(states)} layers; give those of {len(stateful)}")
    for layer, own in zip(stateful, states or [None] * len(stateful), strict=True):
        layer.reset_states(own)


@dataclass(slots=True, eq=False)
class Piece(Gradients):
    """A held layer's gradients, a piece of its holder's, which one call of its `backward` can write."""

    layer: Layer | None = None
    written: bool = False

    def begin(self, layer: Layer) -> None:
        """Take note that ``layer`` writes it now; refuse another layer, and what would overwrite the first."""
        if layer is not self.layer:
            raise ValueError(f"into is another layer's, and came to {layer._label}; give that gradients[layer]")
        if self.written:
            raise ValueError(
                f"into has gradients of {layer._label} from an earlier call of its backward; leave into out, and add "
                "what this call returns: gradients[layer].flat += returned.flat"
            )
        self.written = True


class PiecesByLayer(dict[Any, Any]):
    """Gradients of a user's layer by name, and those of a held layer by the layer, made when asked for."""

    __slots__ = ("_flat", "_holder")

    def __init__(self, holder: Layer, whole: Gradients):
        self.update(whole.params)
        self._holder, self._flat = holder, whole.flat

    def __missing__(self, key) -> Piece:
        for layer, flat in pieces(self._holder, self._flat):
            if layer is key:
                self[key] = piece = Piece(layer._layout.views(flat), flat, layer=layer)
                return piece
        if hasattr(key, "held_layers"):
            raise ValueError(
                f"{self._holder._label} does not hold {key._label}; let the constructor call self.hold(layer, prefix)"
            )
        raise ValueError(f"gradients has no parameter {validate.unknown(key, self._holder._layout.shapes)}")

    def warn_of_unused(self) -> None:
        """Warn of a held layer whose gradients nobody has asked for, so that training does not change it."""
        for layer in self._holder.held_layers.values():
            if layer._layout.size and layer not in self and self._holder.trainable:
                warn(
                    f"{self._holder._label} leaves the gradients of {layer._label} at 0, so that it is not trained; "
                    "let _backward call its backward with into=gradients[layer]"
                )


def gradients(holder: Layer, whole: Gradients) -> dict[Any, Any]:
    """The holder's gradients by name, and those of each held layer by the layer, for `Layer._backward`."""
    if holder._users:
        return PiecesByLayer(holder, whole)
    return whole.params | {
        layer: Gradients(layer._layout.views(flat), flat) for layer, flat in pieces(holder, whole.flat)
    }
