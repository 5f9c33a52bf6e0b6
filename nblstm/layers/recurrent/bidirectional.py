"""A recurrent layer that reads each sequence in both directions."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers.layout import Layout
from nblstm.engine.network import Network
from nblstm.layers.base.layer import LAYERS, Layer, register
from nblstm.layers.base.options import LayerOptions, Unpack
from nblstm.layers.base.passes import Tape
from nblstm.layers.base.shapes import Shape
from nblstm.layers.recurrent import sequences
from nblstm.layers.recurrent.columns import Columns
from nblstm.layers.recurrent.directions import Directions, network_of
from nblstm.layers.recurrent.recurrent import Recurrent
from nblstm.layers.recurrent.states import carried_states, set_carried_states
from nblstm.nn import Gradients


@register()
class Bidirectional(Layer):
    """Reads each sequence from its first step and from its last, as `keras.layers.Bidirectional`.

    Parameters
    ----------
    layer : Recurrent
        LSTM, GRU, SimpleRNN or RNN: what reads forwards. The layer's arguments are taken, not the layer itself.
    merge_mode : {"concat", "sum", "mul", "ave", None}
        How outputs become one; None leaves them two, in a list.
    weights : list of ndarray, optional
        Initial values of the parameters, as `set_weights` takes them.
    backward_layer : Recurrent, optional
        What reads backwards, with ``go_backwards=True``; like ``layer`` if not given.
    **kwargs
        Of `Layer`, but for ``dtype``.

    Attributes
    ----------
    forward_layer, backward_layer : Recurrent
        The layer of each direction, which has its parameters.
    states : list of ndarray or None
        As of a `Recurrent`: those of the one direction, then those of the other.

    Notes
    -----
    Where both layers have the same cell, units and options, they are the two directions of one network, which run at
    once; otherwise each is a network of its own.

    Outputs of steps, of the layer that reads backwards too, are in the order of the input's; those of masked steps are
    0, as in Keras. Parameters are those of the two layers, with ``forward_`` and ``backward_`` before their names. With
    ``return_state``, the output is a list of the merged output (or the two outputs), the states of the one and of the
    other; ``initial_state`` is a list of the states of both.
    """

    ndim = 3
    fixed_axes = (-1,)
    supports_masking = True
    unsaved = (*Layer.unsaved, "dtype", "weights")
    zero_output_for_mask = True

    def __init__(
        self, layer: Recurrent, merge_mode: str | None = "concat", weights=None,
        backward_layer: Recurrent | None = None, **kwargs: Unpack[LayerOptions],
    ):  # fmt: skip
        for name, value in (("layer", layer), ("backward_layer", backward_layer)):
            if not isinstance(value, Recurrent) and not (name == "backward_layer" and value is None):
                raise TypeError(f"{name} is {value!r}; give a recurrent layer, such as LSTM(10)")
        if {"input_shape", "batch_input_shape", "input_dim"}.isdisjoint(kwargs):
            kwargs["batch_input_shape"] = layer.batch_input_shape
        kwargs.setdefault("trainable", layer.trainable)
        kwargs.setdefault("dtype", layer.dtype)
        super().__init__(**kwargs)
        if merge_mode is not None and merge_mode not in MERGE_MODES:
            raise ValueError(f"merge_mode is {validate.unknown(merge_mode, MERGE_MODES)}, or None for both outputs")
        self.merge_mode = merge_mode
        zeros = {"zero_output_for_mask": layer.return_sequences}
        other: Any = layer if backward_layer is None else backward_layer
        backwards = True if backward_layer is None else backward_layer.go_backwards
        self.forward_layer = layer.unbuilt(name=_prefixed("forward_", layer.name), **zeros)
        self.backward_layer = other.unbuilt(name=_prefixed("backward_", other.name), go_backwards=backwards, **zeros)
        _check_pair(self.forward_layer, self.backward_layer, self.merge_mode)
        self.hold(self.forward_layer, "forward_")
        self.hold(self.backward_layer, "backward_")
        self.trainable = kwargs["trainable"]
        self.stateful, self.return_sequences = layer.stateful, layer.return_sequences
        self.return_state = layer.return_state
        both = [self.forward_layer.units, self.backward_layer.units]
        self._features = both if self.merge_mode is None else [sum(both)] if self.merge_mode == "concat" else both[:1]
        self._directions = Directions.of_two(self.forward_layer, self.backward_layer)
        self._carried: list[np.ndarray] | None = None
        self._initial_weights = weights

    @classmethod
    def from_config(cls, config: dict[str, Any]):
        """The layer that gave this config."""
        given = ("layer", "backward_layer") if config.get("backward_layer") is not None else ("layer",)
        return super().from_config({**config, **{name: LAYERS.make(config.get(name)) for name in given}})

    @property
    def layer(self) -> Recurrent:
        """The layer that reads forwards."""
        return self.forward_layer

    def build(self, input_shape, generator: np.random.Generator | None = None) -> None:
        """Make the parameters of both layers; see `Layer.build`."""
        super().build(input_shape, generator)
        weights, self._initial_weights = self._initial_weights, None
        if weights is not None:
            self.set_weights(weights)

    def _output_shape(self, shape: Shape) -> Any:
        return sequences.output_shape(self, shape)

    @cached_property
    def _network(self) -> Network:
        """The engine's network whose directions are the two layers, where they can be."""
        return network_of(self, [self.forward_layer, self.backward_layer])

    @cached_property
    def _columns(self) -> Columns | None:
        """The features and signals of the input, which are the same for both layers."""
        return self.forward_layer._columns

    def _set_buffer(self, layout: Layout, flat: np.ndarray, buffer=None) -> None:
        super()._set_buffer(layout, flat, buffer)
        vars(self).pop("_network", None)  # its passes have the parameters from before
        vars(self).pop("_columns", None)

    def _halves(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The outputs of each direction, which lie side by side."""
        H = self.forward_layer.units
        return y[..., :H], y[..., H:]

    @np.errstate(under="ignore")
    def _merge(self, y: np.ndarray) -> Any:
        """The layer's output, or both outputs in a list."""
        if self.merge_mode == "concat":
            return y
        a, b = self._halves(y)
        return [a, b] if self.merge_mode is None else _MERGED[self.merge_mode](a, b)

    @np.errstate(under="ignore")
    def _d_merge(self, dy: list[np.ndarray], y: np.ndarray) -> np.ndarray:
        """The gradient of `_merge`."""
        if self.merge_mode in ("concat", None):
            return dy[0] if len(dy) == 1 else np.concatenate(dy, axis=-1)
        return np.concatenate(_D_MERGED[self.merge_mode](dy[0], *self._halves(y)), axis=-1)

    def compute_mask(self, x, mask=None) -> np.ndarray | None:
        """The mask of the input, if the output has steps; else None."""
        return mask if self.return_sequences else None

    def __call__(self, x, mask=None, initial_state=None, *, training: bool = False) -> np.ndarray:
        """Inference; arguments as for `Recurrent`."""
        if training:
            return sequences.forward(self, x, training, mask, None, initial_state)[0]
        return sequences.infer(self, x, mask, initial_state)

    def forward(
        self, x, *, training: bool = False, mask=None, generator: np.random.Generator | None = None, initial_state=None
    ) -> tuple[Any, Tape]:
        """Run the layer with dropout if ``training``, and with what `backward` needs; see `Recurrent`."""
        return sequences.forward(self, x, training, mask, generator, initial_state)

    def backward(
        self, tape: Tape, dy, *, input_gradient: bool = True, into: Gradients | None = None
    ) -> tuple[np.ndarray | None, Gradients]:  # fmt: skip
        """Gradients of both layers; see `Recurrent`. With a list as output, dy is one too, with None for zeros."""
        return sequences.backward(self, tape, dy, input_gradient, into)

    @property
    def states(self) -> list[np.ndarray] | None:
        """With ``stateful``, the states that the next batch starts with, of the one layer, then of the other."""
        return carried_states(self)

    @states.setter
    def states(self, given) -> None:
        self.reset_states(given)

    def reset_states(self, states=None) -> None:
        """Set the states that the next batch starts with, to the initial ones if not given; see `Recurrent`."""
        set_carried_states(self, states)

    reset_state = reset_states


#: One output of those of both directions, where they do not stand side by side; and the gradients of both.
_MERGED = {
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
}
_D_MERGED = {
    "sum": lambda d, a, b: (d, d),
    "mul": lambda d, a, b: (d * b, d * a),
    "ave": lambda d, a, b: (d / 2, d / 2),
}
MERGE_MODES = "concat", *_MERGED


def _prefixed(prefix: str, name: str) -> str:
    return prefix + name.removeprefix(prefix)


def _check_pair(forwards: Recurrent, backwards: Recurrent, merge_mode: str | None) -> None:
    if forwards.go_backwards or not backwards.go_backwards:
        raise ValueError(
            f"layer has go_backwards={forwards.go_backwards} and backward_layer {backwards.go_backwards}; give False "
            "and True"
        )
    for name in ("stateful", "return_sequences", "return_state", "dtype", "signals"):
        one, other = getattr(forwards, name), getattr(backwards, name)
        if one != other:
            raise ValueError(f"layer has {name}={one!r} and backward_layer {other!r}; give both the same")
    if merge_mode not in ("concat", None) and forwards.units != backwards.units:
        raise ValueError(
            f"layer has {forwards.units} units and backward_layer {backwards.units}; merge_mode {merge_mode!r} needs "
            "as many, 'concat' and None do not"
        )
