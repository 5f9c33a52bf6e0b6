"""Inference, forward and BPTT of a recurrent layer over a batch of sequences, in one direction or in two.

The layer's ``_modules`` say which networks of the engine run: one, or one for each direction. Outputs of all directions
lie side by side, (B, T, features) or (B, features), as the engine has them; ``_merge`` makes the layer's outputs of
them, and ``_d_merge`` is its gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.arguments import seeds, validate
from nblstm.engine import engine
from nblstm.engine.network import Network
from nblstm.layers.base import building
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
    tapes : list of engine.Tape
        Of each network.
    y : ndarray, shape (B, T, features) or (B, features)
        Outputs of all directions side by side.
    empty : ndarray of bool, shape (B,), or None
        Sequences without a valid step, whose last output is 0.
    """

    tapes: list[engine.Tape]
    y: np.ndarray
    empty: np.ndarray | None


def infer(layer: Recurrent | Bidirectional, x, mask, initial_state) -> Any:
    """Run the layer; see `Recurrent.__call__`."""
    x = checked_input(layer, x)
    mask, empty = _checked_mask(mask, x)
    starts = _by_network(layer, initial_states(layer, len(x), initial_state))
    hold, outputs = not layer.zero_output_for_mask, layer.return_sequences
    done = [
        engine.infer(module, x, start, mask=mask, hold=hold, outputs=outputs)
        for module, start in zip(layer._modules, starts, strict=True)
    ]
    return _result(layer, _side_by_side(layer, done, empty), done)


def forward(
    layer: Recurrent | Bidirectional, x, training: bool, mask, generator: np.random.Generator | None, initial_state
) -> tuple[Any, Tape]:
    """Run the layer with what `backward` needs; see `Recurrent.forward`."""
    x = checked_input(layer, x)
    mask, empty = _checked_mask(mask, x)
    starts = _by_network(layer, initial_states(layer, len(x), initial_state))
    hold, outputs = not layer.zero_output_for_mask, layer.return_sequences
    source = _source(layer, generator) if training else None
    done, tapes = [], []
    for module, start in zip(layer._modules, starts, strict=True):
        y, final, tape = engine.forward(module, x, start, mask=mask, generator=source, hold=hold, outputs=outputs)
        done.append((y, final))
        tapes.append(tape)
    y = _side_by_side(layer, done, empty)
    result = _result(layer, y, done)
    first = result[0] if isinstance(result, list) else result
    return result, Tape(layer, first.shape, Saved(tapes, y, empty))


def backward(
    layer: Recurrent | Bidirectional, tape: Tape, dy, input_gradient: bool, into: Gradients | None
) -> tuple[np.ndarray | None, Gradients]:
    """Run BPTT; see `Recurrent.backward`."""
    check_tape(layer, tape)
    saved: Saved = tape.saved
    d_outputs, d_finals = _checked_gradients(layer, saved.y, dy)
    dy = layer._d_merge(d_outputs, saved.y)
    gradients = gradients_into(layer, into)
    flats = [gradients.flat]
    if len(saved.tapes) > 1:
        flats = [flat for _, flat in building.pieces(layer, gradients.flat)]
    parts = [dy] if len(flats) == 1 else np.split(dy, [saved.tapes[0].network.hidden_size], axis=-1)
    dx: Any = None
    d_starts = []
    for own, flat, part, d_final in zip(saved.tapes, flats, parts, _by_network(layer, d_finals), strict=True):
        if not layer.return_sequences:
            part, d_final = None, _d_last(own.network, part, d_final, saved.empty)
        d_x, d_start = engine.backward_into(own, part, d_final, flat, input_gradient)
        dx = d_x if dx is None else dx + d_x
        d_starts.append(d_start)
    gradients.x, gradients.state = dx, tuple(_by_direction(d_starts))
    return dx, gradients


def output_shape(layer: Recurrent | Bidirectional, shape: Shape) -> Any:
    """Return the shape of the output, or a tuple of those of all outputs and states."""
    steps = shape[:2] if layer.return_sequences else shape[:1]
    shapes = [(*steps, features) for features in layer._features]
    if layer.return_state:
        shapes += [(shape[0], H) for H in layer._state_units.values()]
    return shapes[0] if len(shapes) == 1 else tuple(shapes)


def _checked_mask(mask, x: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The mask of the steps, None if all are valid, and which sequences have none."""
    if mask is None:
        return None, None
    mask = checked_mask(mask, x.shape[:2])
    return (None, None) if mask.all() else (mask, ~mask.any(axis=1))


def _source(layer: Recurrent | Bidirectional, generator: np.random.Generator | None) -> np.random.Generator | None:
    """The generator that draws the dropout; None if there is none."""
    networks = [module._network for module in layer._modules]
    if any(network.input_dropout or network.recurrent_dropout for network in networks):
        return layer.generator or generator or seeds.generator()
    return None


def _side_by_side(layer: Recurrent | Bidirectional, done: list, empty: np.ndarray | None) -> np.ndarray:
    """Outputs of all directions: of each step, or the last ones, which are final states."""
    if layer.return_sequences:
        parts = [y for y, _ in done]
    else:
        parts = [_last(module._network, final) for module, (_, final) in zip(layer._modules, done, strict=True)]
    y = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
    return np.where(empty[:, None], 0, y) if empty is not None and not layer.return_sequences else y


def _last(network: Network, final: tuple) -> np.ndarray:
    """Outputs (B, D H) after the last step, from the final states (D, B, H)."""
    y = final[network.cell.states.index(network.cell.output)]
    D, B, H = y.shape
    return y[0] if D == 1 else y.swapaxes(0, 1).reshape(B, D * H)


def _d_last(network: Network, dy: np.ndarray, d_final: tuple | None, empty: np.ndarray | None) -> tuple:
    """The gradient of `_last`, 0 for sequences without a valid step, added to that of the final states."""
    if empty is not None:
        dy = np.where(empty[:, None], 0, dy)
    d_states = [None] * len(network.cell.states) if d_final is None else list(d_final)
    output = network.cell.states.index(network.cell.output)
    d_last = dy.reshape(len(dy), network.D, network.hidden_size).swapaxes(0, 1)
    before = d_states[output]
    d_states[output] = d_last if before is None else before + d_last
    return tuple(d_states)


def _result(layer: Recurrent | Bidirectional, y: np.ndarray, done: list) -> Any:
    """Make the layer's result of the outputs side by side; final states are carried over if they are to be."""
    outputs = layer._merge(y)
    if layer.stateful or layer.return_state:
        finals = _by_direction([final for _, final in done])
        if layer.stateful:
            layer._carried = [state.copy() for state in finals]
        if layer.return_state:
            return [*outputs, *[state.copy() for state in finals]]  # the last output is a view of one
    return outputs[0] if len(outputs) == 1 else outputs


def _checked_gradients(layer: Recurrent | Bidirectional, y: np.ndarray, dy) -> tuple[list[np.ndarray], list | None]:
    """Gradients of the layer's outputs, and of its final states (B, H), which may be None for zeros."""
    shapes = [(*y.shape[:-1], features) for features in layer._features]
    units = layer._state_units if layer.return_state else {}
    count = len(shapes) + len(units)
    if count == 1:
        dy = [dy]
    elif not isinstance(dy, list | tuple) or len(dy) != count:
        raise ValueError(f"dy is {validate.came(dy)}; give a list of {count} like the output, with None for zeros")
    d_outputs = []
    for shape, d in zip(shapes, dy, strict=False):
        d = np.zeros(shape, layer.dtype) if d is None and count > 1 else d
        d = validate.real_array("dy", d, layer._flat.dtype)
        d_outputs.append(validate.shaped("dy", d, shape, "that of the output"))
    if not units:
        return d_outputs, None
    return d_outputs, [
        None if d is None else state_array(layer, f"dy of the state {name!r}", d, len(y), H)
        for (name, H), d in zip(units.items(), dy[len(shapes) :], strict=True)
    ]


def _by_network(layer: Recurrent | Bidirectional, given: list | None) -> list[tuple | None]:
    """States (B, H) of all directions, or their gradients, as each network takes them: (D, B, H)."""
    modules = layer._modules
    if given is None:
        return [None] * len(modules)
    each: list[tuple | None] = []
    for module in modules:
        D, S = module._network.D, len(module._network.cell.states)
        own, given = given[: D * S], given[D * S :]
        each.append(tuple([_stacked(own[k::S]) for k in range(S)]))
    return each


def _stacked(states: list) -> np.ndarray | None:
    """One state (B, H) of each direction as (D, B, H), zeros for None; None if all are."""
    given = [state for state in states if state is not None]
    if not given:
        return None
    if len(states) == 1:
        return given[0][None]
    return np.stack([np.zeros_like(given[0]) if state is None else state for state in states])


def _by_direction(each: list[tuple]) -> list[np.ndarray]:
    """States (D, B, H) of each network as a list of (B, H), direction by direction."""
    return [state[d] for final in each for d in range(len(final[0])) for state in final]
