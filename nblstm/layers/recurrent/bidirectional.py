"""A recurrent layer that reads each sequence in both directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.layers.base import parameters
from nblstm.layers.base.layer import LAYERS, Layer, register
from nblstm.layers.base.options import LayerOptions, Unpack
from nblstm.layers.base.passes import Tape, check_tape, checked_input, gradients_into
from nblstm.layers.base.shapes import Shape
from nblstm.layers.recurrent.recurrent import Recurrent
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
        What runs; parameters and states are theirs.

    Notes
    -----
    Outputs of steps, of the layer that reads backwards too, are in the order of the input's; those of masked steps are
    0, as in Keras. Parameters are those of the two layers, with ``forward_`` and ``backward_`` before their names. With
    ``return_state``, the output is a list of the merged output (or the two outputs), the states of the one and of the
    other; ``initial_state`` is a list of the states of both.
    """

    ndim = 3
    fixed_axes = (-1,)
    supports_masking = True
    unsaved = (*Layer.unsaved, "dtype", "weights")

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
        self.merge_mode = None if merge_mode is None else validate.choice("merge_mode", merge_mode, tuple(_MERGED))
        zeros = {"zero_output_for_mask": layer.return_sequences}
        other: Any = layer if backward_layer is None else backward_layer
        backwards = True if backward_layer is None else backward_layer.go_backwards
        self.forward_layer = layer.unbuilt(name=_prefixed("forward_", layer.name), **zeros)
        self.backward_layer = other.unbuilt(name=_prefixed("backward_", other.name), go_backwards=backwards, **zeros)
        _check_pair(self.forward_layer, self.backward_layer, self.merge_mode)
        for each, prefix in zip(self._pair, ("forward_", "backward_"), strict=True):
            self.hold(each, prefix)
        self.trainable = kwargs["trainable"]
        self.stateful, self.return_sequences = layer.stateful, layer.return_sequences
        self.return_state = layer.return_state
        self._initial_weights = weights

    @classmethod
    def from_config(cls, config: dict[str, Any]):
        """The layer that gave this config."""
        made = {name: LAYERS.make(config.get(name)) for name in ("layer", "backward_layer")}
        return super().from_config({**config, **made})

    @property
    def layer(self) -> Recurrent:
        """The layer that reads forwards."""
        return self.forward_layer

    @property
    def _pair(self) -> tuple[Recurrent, Recurrent]:
        return self.forward_layer, self.backward_layer

    def build(self, input_shape, generator: np.random.Generator | None = None) -> None:
        """Make the parameters of both layers; see `Layer.build`."""
        super().build(input_shape, generator)
        weights, self._initial_weights = self._initial_weights, None
        if weights is not None:
            self.set_weights(weights)

    @property
    def states(self) -> list[np.ndarray] | None:
        """With ``stateful``, the states that the next batch starts with, of the one layer, then of the other."""
        forwards, backwards = (layer.states for layer in self._pair)
        return None if forwards is None or backwards is None else forwards + backwards

    @states.setter
    def states(self, states) -> None:
        self.reset_states(states)

    def reset_states(self, states=None) -> None:
        """Set the states that the next batch starts with, to the initial ones if not given; see `Recurrent`."""
        for layer, given in zip(self._pair, self._halves("states", states), strict=True):
            layer.reset_states(given)

    reset_state = reset_states

    def _halves(self, label: str, states) -> list:
        S = len(self.forward_layer.cell.states)
        count = S + len(self.backward_layer.cell.states)
        if states is None:
            return [None, None]
        if not isinstance(states, list | tuple) or len(states) != count:
            raise ValueError(
                f"{label} is {validate.came(states)}; give a list of {count}, the states of both directions"
            )
        return [states[:S], states[S:]]

    def _output_shape(self, shape: Shape) -> Any:
        each = [layer._output_shape(shape) for layer in self._pair]
        states: list = []
        if self.return_state:
            states = [*each[0][1:], *each[1][1:]]
            each = [shapes[0] for shapes in each]
        if self.merge_mode is None:
            return (*each, *states)
        units = self.forward_layer.units + self.backward_layer.units
        merged = (*each[0][:-1], units) if self.merge_mode == "concat" else each[0]
        return (merged, *states) if states else merged

    def compute_mask(self, x, mask=None) -> np.ndarray | None:
        """The mask of the input, if the output has steps; else None."""
        return mask if self.return_sequences else None

    @np.errstate(under="ignore")
    def __call__(self, x, mask=None, initial_state=None) -> np.ndarray:
        """Inference; arguments as for `Recurrent`."""
        x, halves = checked_input(self, x), self._halves("initial_state", initial_state)
        return self._merged([layer(x, mask, given) for layer, given in zip(self._pair, halves, strict=True)])

    @np.errstate(under="ignore")
    def forward(
        self, x, *, training: bool = False, mask=None, generator: np.random.Generator | None = None, initial_state=None
    ) -> tuple[Any, Tape]:
        """As calling the layer, with dropout if ``training``, and with what `backward` needs; see `Recurrent`."""
        x, halves = checked_input(self, x), self._halves("initial_state", initial_state)
        options: Any = {"training": training, "mask": mask, "generator": generator}
        done = [layer.forward(x, **options, initial_state=s) for layer, s in zip(self._pair, halves, strict=True)]
        y = self._merged([output for output, _ in done])
        merged = y[0] if isinstance(y, list) else y
        outputs = [self._separate(d, output)[0] for d, (output, _) in enumerate(done)]
        return y, Tape(self, merged.shape, ([tape for _, tape in done], outputs))

    @np.errstate(under="ignore")
    def backward(
        self, tape: Tape, dy, *, input_gradient: bool = True, into: Gradients | None = None
    ) -> tuple[np.ndarray | None, Gradients]:  # fmt: skip
        """Gradients of both layers; see `Recurrent`. With a list as output, dy is one too, with None for zeros."""
        check_tape(self, tape)
        tapes, outputs = tape.saved
        split = self._separated_gradient(tape, dy, outputs)
        gradients = gradients_into(self, into)
        pieces = parameters.gradients(self, gradients)
        done: Any = [
            layer.backward(own, d, input_gradient=input_gradient, into=pieces[layer])
            for layer, own, d in zip(self._pair, tapes, split, strict=True)
        ]
        (dx_forwards, forwards), (dx_backwards, backwards) = done
        dx: Any = dx_forwards + dx_backwards if input_gradient else None
        gradients.x, gradients.state = dx, forwards.state + backwards.state
        return dx, gradients

    def _separate(self, direction: int, output) -> tuple[np.ndarray, list[np.ndarray]]:
        """The output of a direction, its steps in the input's order, and its states."""
        y, *states = output if self.return_state else [output]
        return self._in_order(direction, y), states

    def _in_order(self, direction: int, y: np.ndarray) -> np.ndarray:
        return y[:, ::-1] if direction and self.return_sequences else y

    def _merged(self, outputs: list):
        (y, states), (y_backwards, states_backwards) = (self._separate(d, output) for d, output in enumerate(outputs))
        merged = [_MERGED[self.merge_mode](y, y_backwards)] if self.merge_mode else [y, y_backwards]
        merged += states + states_backwards
        return merged[0] if len(merged) == 1 else merged

    def _separated_gradient(self, tape: Tape, dy, outputs: list[np.ndarray]) -> list:
        """What each direction's ``backward`` takes."""
        S = [len(layer.cell.states) if self.return_state else 0 for layer in self._pair]
        leading = 1 if self.merge_mode else 2
        count = leading + sum(S)
        if count == 1:
            dy = [dy]
        if not isinstance(dy, list | tuple) or len(dy) != count:
            raise ValueError(f"dy is {validate.came(dy)}; give a list of {count} like the output, with None for zeros")
        d_outputs: list[Any] = list(dy[:leading])
        if self.merge_mode and (d_outputs[0] is not None or not self.return_state):
            d = validate.real_array("dy", d_outputs[0], self.dtype)
            d = validate.shaped("dy", d, tape.y_shape, "that of the output")
            d_outputs = list(_SEPARATED[self.merge_mode](d, *outputs))
        elif self.merge_mode:
            d_outputs = [None, None]
        ordered = [
            np.zeros_like(y) if d is None else self._in_order(k, validate.real_array("dy", d, self.dtype))
            for k, (d, y) in enumerate(zip(d_outputs, outputs, strict=True))
        ]
        if not self.return_state:
            return ordered
        states = dy[leading:]
        return [[ordered[0], *states[: S[0]]], [ordered[1], *states[S[0] :]]]


def _split_features(d, a, b):
    return d[..., : a.shape[-1]], d[..., a.shape[-1] :]


#: The output from those of both directions, and the gradients of these from that of the output.
_MERGED = {
    "concat": lambda a, b: np.concatenate([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
}
_SEPARATED = {
    "concat": _split_features,
    "sum": lambda d, a, b: (d, d),
    "mul": lambda d, a, b: (d * b, d * a),
    "ave": lambda d, a, b: (d / 2, d / 2),
}


def _prefixed(prefix: str, name: str) -> str:
    return prefix + name.removeprefix(prefix)


def _check_pair(forwards: Recurrent, backwards: Recurrent, merge_mode: str | None) -> None:
    if forwards.go_backwards or not backwards.go_backwards:
        raise ValueError(
            f"layer has go_backwards={forwards.go_backwards} and backward_layer {backwards.go_backwards}; give False "
            "and True"
        )
    for name in ("stateful", "return_sequences", "return_state", "dtype"):
        one, other = getattr(forwards, name), getattr(backwards, name)
        if one != other:
            raise ValueError(f"layer has {name}={one!r} and backward_layer {other!r}; give both the same")
    if merge_mode not in ("concat", None) and forwards.units != backwards.units:
        raise ValueError(
            f"layer has {forwards.units} units and backward_layer {backwards.units}; merge_mode {merge_mode!r} needs "
            "as many, 'concat' and None do not"
        )
