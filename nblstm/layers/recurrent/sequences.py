"""Inference, forward and BPTT of a recurrent layer over a batch of sequences: masks, states, and outputs.

Outputs of all directions lie side by side, (B, T, features) or (B, features): ``layer._merge`` makes the layer's
outputs of them, and ``layer._d_merge`` is its gradient. States are lists, (B, H) each, of one direction, then of the
other; the engine has them as arrays (D, B, H).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.arguments import seeds, validate
from nblstm.layers.base.passes import Tape, check_tape, checked_input, checked_mask, gradients_into
from nblstm.layers.base.shapes import Shape
from nblstm.layers.recurrent.states import initial_states, state_array
from nblstm.nn import Gradients

if TYPE_CHECKING:
    from nblstm.layers.recurrent.bidirectional import Bidirectional
    from nblstm.layers.recurrent.recurrent import Recurrent


@dataclass(slots=True, eq=False)
class Saved:
    """Values that a forward pass saves for BPTT.

    Attributes
    ----------
    tape : Tape or list of two
    y : ndarray, shape (B, T, features) or (B, features)
        Outputs of all directions side by side.
    empty : ndarray of bool, shape (B,), or None
        Sequences without a valid step, whose last output is 0.
    """

    tape: Any
    y: np.ndarray
    empty: np.ndarray | None


def infer(layer: Recurrent | Bidirectional, x, mask, initial_state) -> Any:
    """Run the layer; see `Recurrent.__call__`."""
    x, signals = _split(layer, checked_input(layer, x))
    mask, empty = (None, None) if mask is None else _checked_mask(mask, x)
    start = _start(layer, len(x), initial_state) if layer.stateful or initial_state is not None else None
    y, final = layer._directions.engine.infer(
        layer, x, start, None, mask, hold=not layer.zero_output_for_mask, outputs=layer.return_sequences,
        signals=signals,
    )  # fmt: skip
    if y is None:
        y = _last(layer, final, empty)
    return _result(layer, y, final)


def forward(
    layer: Recurrent | Bidirectional, x, training: bool, mask, generator: np.random.Generator | None, initial_state
) -> tuple[Any, Tape]:
    """Run the layer with what `backward` needs; see `Recurrent.forward`."""
    x, signals = _split(layer, checked_input(layer, x))
    mask, empty = (None, None) if mask is None else _checked_mask(mask, x)
    start = _start(layer, len(x), initial_state) if layer.stateful or initial_state is not None else None
    source = None
    if training and layer._directions.drops:
        source = layer.generator or generator or seeds.generator()
    y, final, tape = layer._directions.engine.forward(
        layer, x, start, None, mask, generator=source, hold=not layer.zero_output_for_mask,
        outputs=layer.return_sequences, signals=signals,
    )  # fmt: skip
    if y is None:
        y = _last(layer, final, empty)
    result = _result(layer, y, final)
    first = result[0] if type(result) is list else result
    return result, Tape(layer, first.shape, Saved(tape, y, empty))


def backward(
    layer: Recurrent | Bidirectional, tape: Tape, dy, input_gradient: bool, into: Gradients | None
) -> tuple[np.ndarray | None, Gradients]:
    """Run BPTT; see `Recurrent.backward`."""
    check_tape(layer, tape)
    saved: Saved = tape.saved
    d_outputs, d_finals = _checked_gradients(layer, tape, dy)
    dy = layer._d_merge(d_outputs, saved.y)
    if not layer.return_sequences:
        d_finals, dy = _d_last(layer, dy, d_finals, saved.empty), None
    gradients = gradients_into(layer, into)
    d_final = None if d_finals is None else _for_engine(layer, d_finals)
    d_signals: Any = None if layer._columns is None or not input_gradient else {}
    dx, d_start = layer._directions.engine.backward_into(
        saved.tape, dy, d_final, gradients.flat, input_gradient, d_signals
    )
    if d_signals is not None:
        dx = layer._columns.joined(dx, d_signals)  # type: ignore[union-attr]
    gradients.x, gradients.state = dx, tuple(_by_direction(d_start))
    return dx, gradients


def output_shape(layer: Recurrent | Bidirectional, shape: Shape) -> Any:
    """Return the shape of the output, or a tuple of those of all outputs and states."""
    steps = shape[:2] if layer.return_sequences else shape[:1]
    shapes = [(*steps, features) for features in layer._features]
    if layer.return_state:
        shapes += [(shape[0], H) for H in layer._directions.state_units.values()]
    return shapes[0] if len(shapes) == 1 else tuple(shapes)


def _split(layer: Recurrent | Bidirectional, x: np.ndarray) -> tuple[np.ndarray, Any]:
    """The features of x, and the signals of the cell; None if it has none."""
    return (x, None) if layer._columns is None else layer._columns.split(x)


def _start(layer: Recurrent | Bidirectional, B: int, initial_state) -> tuple | None:
    """States given or carried on, as the engine takes them; None for the initial ones."""
    states = initial_states(layer, B, initial_state)
    return None if states is None else _for_engine(layer, states)


def _checked_mask(mask, x: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The mask of the steps, None if all are valid, and which sequences have none."""
    mask = checked_mask(mask, x.shape[:2])
    return (None, None) if mask.all() else (mask, ~mask.any(axis=1))


def _result(layer: Recurrent | Bidirectional, y: np.ndarray, final: tuple) -> Any:
    """Make the layer's result of the outputs and of final states (D, B, H), which a stateful layer keeps."""
    merged = layer._merge(y)
    if not (layer.stateful or layer.return_state):
        return merged
    states = _by_direction(final)
    if layer.stateful:
        layer._carried = [state.copy() for state in states]
    if not layer.return_state:
        return merged
    outputs = merged if type(merged) is list else [merged]
    return [*outputs, *[state.copy() for state in states]]  # of which the last output may be a view


def _last(layer: Recurrent | Bidirectional, final: tuple, empty: np.ndarray | None) -> np.ndarray:
    """Outputs side by side after the last step, from final states (D, B, H): 0 for sequences without a valid step."""
    places = layer._directions.output_columns
    if len(places) == 1:
        ((state, d),) = places
        y = final[state][d]
    else:
        y = np.concatenate([final[state][d] for state, d in places], axis=-1)
    return y if empty is None else np.where(empty[:, None], 0, y)


def _d_last(
    layer: Recurrent | Bidirectional, dy: np.ndarray, d_finals: list | None, empty: np.ndarray | None
) -> list:  # fmt: skip
    """Add the gradient of `_last` to gradients of the final states (B, H), None for zeros."""
    if empty is not None:
        dy = np.where(empty[:, None], 0, dy)
    count = len(layer._directions.state_units)
    d_states = [None] * count if d_finals is None else d_finals
    for (state, d), columns in layer._directions.output_columns.items():
        place = state + d * count // layer._directions.D
        before = d_states[place]
        d_states[place] = dy[:, columns] if before is None else before + dy[:, columns]
    return d_states


def _checked_gradients(layer: Recurrent | Bidirectional, tape: Tape, dy) -> tuple[list[np.ndarray], list | None]:
    """Gradients of the layer's outputs, and of its final states (B, H), None for zeros."""
    features = layer._features
    if len(features) == 1 and not layer.return_state:
        return [_d_output(layer, dy, tape.y_shape)], None
    units = layer._directions.state_units if layer.return_state else {}
    count = len(features) + len(units)
    if not isinstance(dy, list | tuple) or len(dy) != count:
        raise ValueError(f"dy is {validate.came(dy)}; give a list of {count} like the output, with None for zeros")
    B, *steps = tape.y_shape[:-1]
    d_outputs = [
        np.zeros((B, *steps, F), layer.dtype) if d is None else _d_output(layer, d, (B, *steps, F))
        for d, F in zip(dy, features, strict=False)
    ]
    d_states = [
        None if d is None else state_array(layer, f"dy of the state {name!r}", d, B, H)
        for (name, H), d in zip(units.items(), dy[len(features) :], strict=True)
    ]
    return d_outputs, d_states or None


def _d_output(layer: Recurrent | Bidirectional, dy, shape: tuple[int, ...]) -> np.ndarray:
    return validate.shaped("dy", validate.real_array("dy", dy, layer._flat.dtype), shape, "that of the output")


def _for_engine(layer: Recurrent | Bidirectional, states: list) -> tuple:
    """States (B, H), or their gradients, as the engine takes them: (D, B, H)."""
    D = layer._directions.D
    if D == 1:
        return tuple([None if state is None else state[None] for state in states])
    S = len(states) // D
    return tuple([_stacked(states[place::S]) for place in range(S)])


def _stacked(states: list) -> np.ndarray | None:
    """One array of those of all directions; None, where not all are that, is zeros."""
    given = [state for state in states if state is not None]
    return np.stack([np.zeros_like(given[0]) if state is None else state for state in states]) if given else None


def _by_direction(states: tuple) -> list[np.ndarray]:
    """The engine's states (D, B, H) as a list of (B, H)."""
    D = len(states[0])
    return [state[0] for state in states] if D == 1 else [state[d] for d in range(D) for state in states]
