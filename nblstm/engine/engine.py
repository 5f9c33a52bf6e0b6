"""Forward and backward of a recurrent network on arrays as users have them.

A call begins with the look-up of a pass for an input of this shape. Where there is one, the input fits, and the pass
runs; else the input is checked, and a pass is made. From the second call of a shape on, the pool has one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from nblstm.arguments import validate
from nblstm.buffers import memory
from nblstm.buffers.pool import FreeList
from nblstm.engine.inputs import (
    checked_batch,
    checked_input,
    checked_signals,
    output_gradient,
    set_gradients,
    steps_and_sequences,
)
from nblstm.engine.network import Network, Weights, weights_of
from nblstm.engine.passes import SMALL, Pass
from nblstm.engine.projection import of_outputs, to_outputs
from nblstm.engine.reserve import HEADER_SIZE, batch_of, checked_reserve, header_of, largest_reserve, reserve_shapes


class Form(NamedTuple):
    """Form of a pass: for training or not, steps between checkpoints, with recurrent dropout, with the cell's noise."""

    training: bool
    checkpoint: int | None = None
    recurrent_dropout: bool = False
    noise: bool = False


INFERENCE, TRAINING = Form(False), Form(True)


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
    signals : dict of str to ndarray
        With respect to the signals of the cell, in their shapes.
    """

    params: dict[str, np.ndarray]
    flat: np.ndarray
    x: np.ndarray | None = None
    state: tuple[np.ndarray, ...] = ()
    signals: dict[str, np.ndarray] = field(default_factory=dict)

    def __repr__(self):
        shapes = ", ".join(f"{name} {value.shape}" for name, value in self.params.items())
        return f"<Gradients of {shapes or 'no parameters'}>"


class Tape:
    """A training pass on loan, for `backward`, any number of times; when this is gone, the pass is used again.

    Attributes
    ----------
    network : Network
    made : Pass
    weights : Weights
        Of the forward pass.
    kind : object
        On another device than the CPU, the kind of array that the input was.
    """

    def __init__(self, network: Network, made: Pass, weights: Weights, free: FreeList | None):
        self.network, self.made, self.weights, self.kind = network, made, weights, None
        self._loan = free.lend(made, self) if made.kept and free is not None else None

    def __repr__(self):
        return f"<Tape of {self.network.cell.name}, T={self.made.batch.T}, B={self.made.batch.B}>"

    def __reduce__(self):
        raise TypeError("a tape cannot be copied or pickled, as it belongs to one network; run its forward() again")


def infer(
    module: Any, x, state, lengths=None, mask=None, *, hold: bool = False, outputs: bool = True, signals=None
):  # fmt: skip
    """Run a network over a batch of sequences.

    Parameters
    ----------
    module : Module
        With a ``_network`` and its parameters.
    x : array_like, shape (T, B, I), (B, T, I) if ``batch_first``, or (T, I)
    state : tuple of array_like or None
        Initial states, each (num_layers D, B, H), or (num_layers D, H) for an input with no batch dimension.
    lengths : array_like of int, shape (B,), optional, or PackedBatch with x (N, I) and y (N, D H)
    mask : array_like of bool, in the layout of ``x``, optional
        False where a step is to be skipped: states stay as they are.
    hold : bool, default False
        Whether the output of a masked step is that of the step before it, rather than 0.
    outputs : bool, default True
        Whether those of all steps are wanted; otherwise None stands for them.
    signals : dict of str to array_like, optional
        What the cell takes with each step beside x: (T, B) or (T, B, H), in the layout of ``x``.

    Returns
    -------
    y : array, in the layout of ``x`` with D H features
    states : tuple of array, each (num_layers D, B, H)
    """
    network = module._network
    context = None if network.on_host else network.enter()
    try:
        x, kind, made, free = _pass_for(network, x, lengths, mask, hold, INFERENCE)
        zero = made.start(network, module._flat, state)
        if signals is not None or made.is_given:
            signals = checked_signals(network, signals, made.batch, made.batched)
        made.forward(weights_of(module, False), x, zero, None, signals)
        y, states = made.outputs() if outputs else None, made.in_order(made.states)
        if network.proj_size:
            y, states = _projected(network, y, states)
        if free is not None:
            if not made.copies:
                made.let_go()
            free.give(made)
        return (y, states) if context is None else _returned(network, kind, y, states)
    finally:
        if context is not None:
            context.close()


def forward(
    module: Any, x, state, lengths=None, mask=None, *, generator=None, checkpoint: int | None = None,
    hold: bool = False, outputs: bool = True, reserve=None, signals=None,
):  # fmt: skip
    """Run a network as `infer` does, in training: with what `backward` needs.

    Parameters
    ----------
    module, x, state, lengths, mask, hold, outputs, signals
        As for `infer`.
    generator : Generator, optional
        Draws the dropout; there is none without.
    checkpoint : int, optional
        About so many steps lie between the states that are kept.
    reserve : ndarray, optional
        Memory for what BPTT reads; see `reserve_size`.

    Returns
    -------
    y, states
        As from `infer`.
    tape : Tape
    """
    if checkpoint is not None:
        checkpoint = validate.positive_integer("checkpoint", checkpoint)
    network = module._network
    form = TRAINING
    if checkpoint is not None or generator is not None:
        noise = generator is not None and network.is_noisy
        form = Form(True, checkpoint, generator is not None and network.recurrent_dropout > 0, noise)
    context = None if network.on_host else network.enter()
    try:
        if reserve is None:
            x, kind, made, free = _pass_for(network, x, lengths, mask, hold, form)
        else:
            x, kind, made, free = _pass_in(network, reserve, x, lengths, mask, hold, form)
        zero = made.start(network, module._flat, state)
        if signals is not None or made.is_given:
            signals = checked_signals(network, signals, made.batch, made.batched)
        weights = weights_of(module, True)
        made.forward(weights, x, zero, generator, signals)
        y, states = made.outputs() if outputs else None, made.in_order(made.states)
        if network.proj_size:
            y, states = _projected(network, y, states)
        tape = Tape(network, made, weights, free)
        if reserve is not None:
            made.seal(network, generator is not None)
        if context is not None:
            tape.kind = kind
            return *_returned(network, kind, y if y is None or kind is None else y.copy(), states), tape
        if y is not None:
            y.flags.writeable = False  # large ones are read by BPTT again
        return y, states, tape
    finally:
        if context is not None:
            context.close()


def reserve_size(network: Network, T: int, B: int, lengths=None, mask=None, checkpoint: int | None = None) -> int:
    """Bytes of the reserve of a training pass.

    Parameters
    ----------
    network : Network
    T, B : int
        Steps and sequences of the padded batch.
    lengths, mask, checkpoint
        As for `forward`.
    """
    T, B = validate.whole_number("T", T), validate.whole_number("B", B)
    if checkpoint is not None:
        checkpoint = validate.positive_integer("checkpoint", checkpoint)
    _needs_host(network)
    shape = (T,) if B == 1 and np.ndim(mask) == 1 else (B, T) if network.batch_first else (T, B)  # (T,) without a batch
    batch = checked_batch(network, shape, lengths, mask, False)
    return largest_reserve(network, batch, batch.N, checkpoint)


def _needs_host(network: Network) -> None:
    if not network.on_host:
        raise ValueError(f"a reserve is for networks on the CPU, and this one is on {network.device!r}; do without")


def _pass_in(network: Network, reserve, x, lengths, mask, hold: bool, form: Form) -> tuple[Any, Any, Pass, None]:
    """Make a pass in the caller's memory; results as of `_pass_for`."""
    _needs_host(network)
    if form.checkpoint and (network.cell.signals or form.noise):
        what = "signals" if network.cell.signals else "noise"
        raise ValueError(f"reserve is not for checkpoint= and a cell with {what}; leave one out, and keep the tape")
    x, batch, batched = checked_input(network, x, lengths, mask, hold)
    block = checked_reserve(reserve, memory.size_of(reserve_shapes(network, batch, batch.N, *form[1:])), True)
    return x, None, Pass(network, batch, batched, *form, reserve=block), None


def restored(module: Any, reserve) -> Tape:
    """A tape of what a forward pass has left in a reserve, here or in memory that was copied from there.

    Parameters
    ----------
    module : Module
        Whose parameters are those of the forward pass.
    reserve : ndarray
    """
    network = module._network
    _needs_host(network)
    block = checked_reserve(reserve, HEADER_SIZE, False)
    header = header_of(network, block)
    batch = batch_of(network, header, block)
    form = Form(True, header.checkpoint or None, bool(header.dropped), bool(header.noise))
    checked_reserve(reserve, memory.size_of(reserve_shapes(network, batch, batch.N, *form[1:])), False)
    made = Pass(network, batch, bool(header.batched), *form, reserve=block)
    made.learned = bool(header.learned)
    weights = weights_of(module, True)
    made.attach(weights, bool(header.active), header.wide)
    return Tape(network, made, weights, None)


def backward(tape: Tape, dy, d_state) -> Gradients:
    """Run BPTT, after `forward`.

    Parameters
    ----------
    tape : Tape
    dy : array_like or None
        Gradient with respect to the outputs, in their shape; None for zeros.
    d_state : tuple of array_like or None
        Gradient with respect to the final states; None for zeros, also within the tuple.

    Returns
    -------
    Gradients
        In arrays of their own.
    """
    network = tape.network
    context = None if network.on_host else network.enter()
    try:
        arrays = network.backend.arrays
        flat = arrays.empty((network.layout.size,), network.numpy_dtype)
        signals = tape.made.d_signals() if tape.made.is_given else ()
        kind, dx, d_states = _backward(tape, dy, d_state, flat, True, signals)
        d_signals = tape.made.signals_in_layout(signals) if signals else {}
        if network.on_host and flat.nbytes > SMALL:  # what is smaller may wait for the next call
            for layer in tape.made.layers:
                layer.let_go_parameters()
        params = network.layout.views(flat)
        if context is not None:
            dx, d_states = _returned(network, kind, dx, d_states)
            own, flat = params, arrays.returned(flat, kind)
            params = network.layout.views(flat) if kind is None else {k: arrays.returned(own[k], kind) for k in own}
        return Gradients(params, flat, dx, d_states, d_signals)
    finally:
        if context is not None:
            context.close()


def backward_into(
    tape: Tape, dy, d_state, flat: np.ndarray | None, input_gradient: bool, d_signals: dict[str, Any] | None = None
) -> tuple[Any, tuple]:
    """Run BPTT as `backward` does; the gradients of the parameters go to ``flat`` of NumPy's, or nowhere for None.

    ``d_signals`` is given those of the signals, on the CPU; they are not computed for None.

    Returns
    -------
    dx : array or None
        None if it is not wanted.
    d_states : tuple of array
        Gradients with respect to the initial states.
    """
    network = tape.network
    if network.on_host:
        rows: Any = () if d_signals is None else tape.made.d_signals()
        results = _backward(tape, dy, d_state, flat, input_gradient, rows)[1:]
        if d_signals is not None:
            d_signals |= tape.made.signals_in_layout(rows)
        return results
    with network.enter():
        target = network.backend.arrays.empty((network.layout.size,), network.numpy_dtype)
        kind, dx, d_states = _backward(tape, dy, d_state, target, input_gradient)
        if flat is not None:
            flat[...] = network.backend.arrays.on_host(target)
        return _returned(network, kind, dx, d_states)


def _backward(tape: Tape, dy, d_state, flat, input_gradient: bool, d_signals=()) -> tuple[Any, Any, tuple]:
    network, made, kind = tape.network, tape.made, tape.kind
    made.check_reserve()
    if dy is not None and (network.proj_size or not (network.on_host and made.takes(dy))):
        kind = network.backend.arrays.kind(dy)
        dy = output_gradient(network, dy, made.batch, made.batched)
        if network.proj_size:
            dy = to_outputs(dy, network)
    if made.lock._is_owned():  # type: ignore[attr-defined]  # it would overwrite what is half done
        raise RuntimeError("backward() of this tape is under way on this thread; give a handler a pass of its own")
    with made.lock:
        d_states = made.begin_backward() if made.d_states is None else made.d_states
        if d_state is None:
            d_states.fill(0)
        else:
            set_gradients(network, d_states, d_state, made.batch, made.batched)
        if flat is None or network.kernel_layout is network.layout:
            dx = made.backward(dy, flat, input_gradient, d_signals)
            return kind, dx, _sliced(network, made.in_order(d_states))
        own = np.empty(network.kernel_layout.size, network.numpy_dtype)
        dx = made.backward(dy, own, input_gradient, d_signals)
        network.gradients_of(tape.weights.parameters, own, flat)
        return kind, dx, _sliced(network, made.in_order(d_states))


def _projected(network: Network, y, states: tuple) -> tuple[Any, tuple]:
    """Outputs and states of P features, from those of H."""
    return None if y is None else of_outputs(y, network), _sliced(network, states)


def _sliced(network: Network, states: tuple) -> tuple:
    """States, the first of P features."""
    return (states[0][..., : network.proj_size].copy(), *states[1:]) if network.proj_size else states


def _returned(network: Network, kind, array, states: tuple) -> tuple[Any, tuple]:
    """Results of a device, as that kind of arrays."""
    network.backend.finish()
    returned = network.backend.arrays.returned
    return None if array is None else returned(array, kind), tuple([returned(state, kind) for state in states])


def _pass_for(network: Network, x, lengths, mask, hold: bool, form: Form) -> tuple[Any, Any, Pass, FreeList | None]:
    """A pass for an input: the input as the pass takes it, its kind of array, the pass, and where that came from."""
    if lengths is None and mask is None and type(x) is ndarray and x.dtype == network.numpy_dtype:
        free = network.pool.get((x.shape, form))
        if free is not None:
            made = free.take()
            if made is None:
                batch = network.backend.arrays.batch(*steps_and_sequences(network, x.shape), None)
                made = _made(network, free, batch, x.ndim == 3, form)
            return x, None, made, free
    kind = network.backend.arrays.kind(x)
    x, batch, batched = checked_input(network, x, lengths, mask, hold)
    free, alike = None, batch.direct and batch.padded
    if network.on_host and form.checkpoint is None:
        if alike:
            free = network.pool.second((x.shape, form))
        elif not form.training or Pass.can_be_arranged(batch, form.checkpoint):
            free = network.pool.second((x.shape if batch.padded else (batch.T, batch.B), "lengths", form))
    made = None if free is None else free.take()
    if made is None:
        made = _made(network, free, batch, batched, form)
    elif not alike:
        made.arrange(batch)
    return x, kind, made, free


def _made(network: Network, free: FreeList | None, batch, batched: bool, form: Form) -> Pass:
    made = Pass(network, batch, batched, *form)
    if free is not None:
        free.add(made)
        made.kept = free.keeps
    return made
