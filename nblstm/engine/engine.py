"""Forward and backward of a stack of recurrent layers on arrays as users have them: validate, pack, then `stack`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers.batch import Batch
from nblstm.engine import stack
from nblstm.engine.stack import Network, Tape, Weights


@dataclass(slots=True, eq=False)
class Gradients:
    """Gradients of a loss.

    Attributes
    ----------
    params : dict of str to ndarray
        By parameter name, each a view of ``flat``.
    flat : ndarray
        All of them in one buffer, in the order of the network's own.
    x : ndarray or None
        With respect to the input, in its shape.
    state : tuple of ndarray
        With respect to the initial states.
    """

    params: dict[str, np.ndarray]
    flat: np.ndarray
    x: np.ndarray | None = None
    state: tuple[np.ndarray, ...] = ()

    def __repr__(self):
        shapes = ", ".join(f"{name} {value.shape}" for name, value in self.params.items())
        return f"<Gradients of {shapes or 'no parameters'}>"


def forward(
    network: Network,
    weights: Weights,
    x,
    state,
    lengths,
    generator: np.random.Generator | None = None,
    checkpoint: int | None = None,
) -> tuple[np.ndarray, tuple[np.ndarray, ...], Tape | None]:
    """Run a stack over a batch of sequences.

    Parameters
    ----------
    network : Network
    weights : Weights
        From `stack.pack`.
    x : array_like, shape (T, B, I), (B, T, I) if ``batch_first``, or (T, I)
    state : tuple of array_like or None
        Initial states, each (num_layers D, B, H), or (num_layers D, H) for an input with no batch dimension.
    lengths : array_like of int, shape (B,), or None
    generator : Generator, optional
        For training: draws the dropout, and a tape is kept.
    checkpoint : int, optional
        For training: steps between the states that the tape keeps.

    Returns
    -------
    y : ndarray, in the layout of ``x`` with D H features
    states : tuple of ndarray, each (num_layers D, B, H)
    tape : Tape or None
    """
    if checkpoint is not None:
        checkpoint = validate.positive_integer("checkpoint", checkpoint)
    with network.backend.active():
        return _forward(network, weights, x, state, lengths, generator, checkpoint)


def _forward(network: Network, weights, given, state, lengths, generator, checkpoint):
    arrays = network.backend.arrays
    kind = arrays.kind(given)
    x, batch, batched = _checked_input(network, given, lengths)
    states = initial_state(network, state, batch.B, batched)
    if state is not None:
        states = batch.sort(states)
    rows = batch.pack(x)
    if generator is None:
        y = stack.infer(network, weights, batch, rows, states)
        y = arrays.returned(_user_layout(network, batch.unpack(y), batched), kind)
        return y, _split(network, batch.unsort(states), batched, kind), None
    rows = arrays.kept(rows, given)  # the caller may overwrite x before BPTT reads it
    rows, tape = stack.forward(network, weights, batch, rows, states, generator, checkpoint, batched, kind)
    y = arrays.returned_from_tape(_user_layout(network, batch.unpack(rows), batched), kind)
    return y, _split(network, batch.unsort(states), batched, kind), tape


def backward(tape: Tape, dy, d_state=None) -> Gradients:
    """BPTT through a stack.

    Parameters
    ----------
    tape : Tape
    dy : array_like or None
        Gradient with respect to the outputs, in their shape; None for zeros.
    d_state : tuple of array_like or None
        Gradient with respect to the final states.

    Returns
    -------
    Gradients
    """
    with tape.network.backend.active():
        return _backward(tape, dy, d_state)


def _backward(tape: Tape, dy, d_state) -> Gradients:
    network, batch, arrays = tape.network, tape.batch, tape.network.backend.arrays
    kind = tape.kind if dy is None else arrays.kind(dy)
    dy = None if dy is None else batch.pack(output_gradient(network, dy, batch.T, batch.B, tape.batched))
    d_states = batch.sort(state_array(network, d_state, batch.B, tape.batched, "dstate"))
    flat = arrays.empty((network.layout.size,), network.dtype)
    params = network.layout.views(flat)
    dx = stack.backward(tape, dy, d_states, params)
    assert dx is not None
    dx = arrays.returned(_user_layout(network, batch.unpack(dx), tape.batched), kind)
    states = _split(network, batch.unsort(d_states), tape.batched, kind)
    returned = arrays.returned(flat, kind)
    if kind is not None:
        params = {name: arrays.returned(view, kind) for name, view in params.items()}
    elif returned is not flat:
        params = network.layout.views(returned)
    return Gradients(params, returned, dx, states)


def _checked_input(network: Network, x, lengths) -> tuple[np.ndarray, Batch, bool]:
    arrays = network.backend.arrays
    x = arrays.real("x", x, network.dtype)
    order = "(B, T, I)" if network.batch_first else "(T, B, I)"
    if x.ndim not in (2, 3):
        raise ValueError(f"x has {x.ndim} dimensions, shape {x.shape}; give {order}, or (T, I) for one sequence")
    if x.shape[-1] != network.input_size:
        raise ValueError(
            f"x has {x.shape[-1]} features, shape {x.shape}; this network was made for input_size="
            f"{network.input_size}, so give {order} with I = {network.input_size}"
        )
    batched = x.ndim == 3
    if not batched:
        x = x[:, None]
    elif network.batch_first:
        x = x.swapaxes(0, 1)
    T, B, _ = x.shape
    lengths = validate.lengths_array(arrays.on_host(lengths), B, T)
    return x, arrays.batch(T, B, lengths), batched


def initial_state(network: Network, state, B: int, batched: bool) -> np.ndarray:
    """States before the first step as one new array (S, num_layers D, B, H); the cell's own for None."""
    if isinstance(state, tuple | list) and state and all(type(part) is int for part in state):
        raise TypeError(f"state is {state!r}, and its parts are arrays; if these are lengths, give lengths={state!r}")
    states = state_array(network, state, B, batched, "state")
    if state is None and not network.cell.starts_at_zero:
        stack.set_initial(network.cell, states)
    return states


def state_array(network: Network, state, B: int, batched: bool, name: str) -> np.ndarray:
    """States, or their gradients, as one new array (S, num_layers D, B, H); zeros for None."""
    names, rows, H = network.cell.states, network.num_layers * network.directions, network.hidden_size
    arrays = network.backend.arrays
    if state is None:
        return arrays.zeros((len(names), rows, B, H), network.dtype)
    if not isinstance(state, tuple | list) or len(state) != len(names):
        raise ValueError(
            f"{name} is {validate.came(state)}; give a tuple of {len(names)} ({', '.join(names)}), or None for zeros"
        )
    result = arrays.empty((len(names), rows, B, H), network.dtype)
    shape = (rows, B, H) if batched else (rows, H)
    for k, value in enumerate(state):
        if type(value) is not type(result) or value.dtype != result.dtype or value.shape != shape:
            label, meaning = f"{name} {names[k]!r}", f"(num_layers * directions, {'B, ' * batched}H)"
            array = arrays.real(label, value, network.dtype)
            if isinstance(value, tuple | list) and array.shape[1:] == shape:
                came = f"a {type(value).__name__} of {len(value)}"
                raise ValueError(f"{label} is {came}; give the array by itself, of shape {shape}, {meaning}")
            value = validate.shaped(label, array, shape, meaning)
        result[k] = value if batched else value[:, None]
    return result


def output_gradient(network: Network, dy, T: int, B: int, batched: bool) -> np.ndarray:
    """The outputs' gradient as a time-major batch."""
    features = network.hidden_size * network.directions
    dy = network.backend.arrays.real("dy", dy, network.dtype)
    if not batched:
        return validate.shaped("dy", dy, (T, features), "that of y, (T, D * H)")[:, None]
    if network.batch_first:
        return validate.shaped("dy", dy, (B, T, features), "that of y, (B, T, D * H)").swapaxes(0, 1)
    return validate.shaped("dy", dy, (T, B, features), "that of y, (T, B, D * H)")


def _user_layout(network: Network, time_major: np.ndarray, batched: bool) -> np.ndarray:
    if not batched:
        return time_major[:, 0]
    return time_major.swapaxes(0, 1) if network.batch_first else time_major


def _split(network: Network, states, batched: bool, kind) -> tuple:
    """States (S, num_layers D, B, H) as the user gets them."""
    returned = network.backend.arrays.returned
    return tuple([returned(states[k] if batched else states[k, :, 0], kind) for k in range(len(states))])
