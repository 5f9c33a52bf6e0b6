"""Forward and backward of a network on arrays as users have them.

A call begins with the look-up of a pass for an input of this shape, see `lookup`. Where there is one, the input fits,
and the pass runs; else the input is checked, and a pass is made. From the second call of a shape on, the pool has one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers.each_step import Samples
from nblstm.engine.asked import Asked, states_at_each_step
from nblstm.engine.inputs import checked_signals, output_gradient, set_gradients
from nblstm.engine.lookup import INFERENCE, TRAINING, Form, pass_for, pass_in, with_every_state
from nblstm.engine.network import Network
from nblstm.engine.passes import SMALL
from nblstm.engine.projection import of_outputs, to_outputs
from nblstm.engine.tape import Gradients, Tape
from nblstm.engine.weights import weights_of


def infer(
    module: Any, x, state, lengths=None, mask=None, resets=None, *, hold: bool = False, outputs: bool = True,
    signals=None, all_states: bool = False,
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
    resets : array_like of bool, in the layout of ``x``, optional
        True where a step begins with the initial states; see `ResetBatch`.
    hold : bool, default False
        Whether the output of a masked step is that of the step before it, rather than 0.
    outputs : bool, default True
        Whether those of all steps are wanted; otherwise None stands for them.
    signals : dict of str to array_like, optional
        What the cell takes with each step beside x: (T, B) or (T, B, H), in the layout of ``x``.
    all_states : bool, default False
        Whether ``y`` is a tuple: each state of the last layer at each step.

    Returns
    -------
    y : array, in the layout of ``x`` with D H features
    states : tuple of array, each (num_layers D, B, H)
    """
    network = module._network
    context = None if network.on_host else network.enter()
    try:
        form = INFERENCE if not all_states else with_every_state(network, INFERENCE, all_states)
        x, kind, made, free = pass_for(network, x, lengths, mask, resets, hold, form)
        zero = made.start(network, module._flat, state)
        if signals is not None or made.is_given:
            signals = checked_signals(network, signals, made.batch, made.batched)
        made.forward(weights_of(module, False), x, zero, None, signals)
        y: Any = states_at_each_step(made, network.cell) if all_states else made.outputs() if outputs else None
        states = made.in_order(made.states)
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
    module: Any, x, state, lengths=None, mask=None, resets=None, *, generator=None, checkpoint: int | None = None,
    hold: bool = False, outputs: bool = True, reserve=None, signals=None, all_states: bool = False,
):  # fmt: skip
    """Run a network as `infer` does, in training: with what `backward` needs.

    Parameters
    ----------
    module, x, state, lengths, mask, resets, hold, outputs, signals, all_states
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
    if all_states:
        form = with_every_state(network, form, all_states)
    context = None if network.on_host else network.enter()
    try:
        if reserve is None:
            x, kind, made, free = pass_for(network, x, lengths, mask, resets, hold, form)
        else:
            x, kind, made, free = pass_in(network, reserve, x, lengths, mask, resets, hold, form)
        zero = made.start(network, module._flat, state)
        if signals is not None or made.is_given:
            signals = checked_signals(network, signals, made.batch, made.batched)
        weights = weights_of(module, True, generator)
        made.forward(weights, x, zero, generator, signals)
        y: Any = states_at_each_step(made, network.cell) if all_states else made.outputs() if outputs else None
        states = made.in_order(made.states)
        if network.proj_size:
            y, states = _projected(network, y, states)
        tape = Tape(network, made, weights, free)
        if reserve is not None:
            made.seal(network, generator is not None, weights.seed)
        if context is not None:
            tape.kind = kind
            return *_returned(network, kind, y if y is None or kind is None else y.copy(), states), tape
        if y is not None and not all_states:
            y.flags.writeable = False  # large ones are read by BPTT again
        return y, states, tape
    finally:
        if context is not None:
            context.close()


def backward(tape: Tape, dy, d_state, asked: Asked | None = None) -> Gradients:
    """Run BPTT, after `forward`; the gradients are in arrays of their own.

    Parameters
    ----------
    tape : Tape
    dy : array_like or None
        Gradient with respect to the outputs, in their shape; None for zeros.
    d_state : tuple of array_like or None
        Gradient with respect to the final states; None for zeros, also within the tuple.
    asked : Asked, optional
        What is to be done with the gradients of each step's states.
    """
    network = tape.network
    context = None if network.on_host else network.enter()
    try:
        arrays = network.backend.arrays
        flat = arrays.empty((network.layout.size,), network.numpy_dtype)
        signals, each = tape.made.d_signals() if tape.made.is_given else (), None
        if asked is not None:
            dy, each = asked.of_layers(network, tape.made, dy)
        kind, dx, d_states = _backward(tape, dy, d_state, flat, True, signals, each)
        d_signals = _named_signals(tape, signals) if signals else {}
        if network.on_host and flat.nbytes > SMALL:  # what is smaller may wait for the next call
            for layer in tape.made.layers:
                layer.let_go_parameters()
        params = network.layout.views(flat)
        if context is not None:
            dx, d_states = _returned(network, kind, dx, d_states)
            d_signals = {name: arrays.returned(own, kind) for name, own in d_signals.items()}
            own, flat = params, arrays.returned(flat, kind)
            params = network.layout.views(flat) if kind is None else {k: arrays.returned(own[k], kind) for k in own}
        gradients = Gradients(params, flat, dx, d_states, d_signals)
        if each is not None and each[0].norms is not None:
            gradients.steps = tape.made.layout.norms(each)
        return gradients
    finally:
        if context is not None:
            context.close()


def backward_into(
    tape: Tape, dy, d_state, flat: np.ndarray | None, input_gradient: bool, d_signals: dict[str, Any] | None = None
) -> tuple[Any, tuple]:
    """Run BPTT as `backward` does; the gradients of the parameters go to ``flat`` of NumPy's, or nowhere for None.

    Those of the signals are put into ``d_signals``, unless it is None.

    Returns
    -------
    dx : array or None
        None if it is not wanted.
    d_states : tuple of array
        Gradients with respect to the initial states.
    """
    network = tape.network
    if network.on_host:
        if d_signals is None:
            return _backward(tape, dy, d_state, flat, input_gradient)[1:]
        rows = tape.made.d_signals()
        _, dx, d_states = _backward(tape, dy, d_state, flat, input_gradient, rows)
        d_signals.update(_named_signals(tape, rows))
        return dx, d_states
    with network.enter():
        arrays = network.backend.arrays
        target = arrays.empty((network.layout.size,), network.numpy_dtype)
        rows = [] if d_signals is None else tape.made.d_signals()
        kind, dx, d_states = _backward(tape, dy, d_state, target, input_gradient, rows)
        if flat is not None:
            flat[...] = arrays.on_host(target)
        if d_signals is not None:
            d_signals.update({name: arrays.returned(own, kind) for name, own in _named_signals(tape, rows).items()})
        return _returned(network, kind, dx, d_states)


def _named_signals(tape: Tape, d_signals: list[Any]) -> dict[str, Any]:
    """Gradients of the signals by name, in their layouts."""
    return dict(zip(tape.network.cell.signals, tape.made.layout.signals(d_signals), strict=True))


def per_sample_gradients(tape: Tape, dy, d_state) -> Gradients:
    """Run BPTT as `backward` does; gradients of the parameters are those of each sequence, (B, ...)."""
    network, made = tape.network, tape.made
    B, layout = made.batch.B, network.layout
    if not network.on_host:
        raise ValueError(
            f"per-sample gradients are for networks on the CPU, and this one is on {network.device!r}; run backward() "
            "for each sequence"
        )
    own = np.zeros((B, network.kernel_layout.size), network.numpy_dtype)
    to, d_signals = Samples(own, made.batch.sequences, not made.batch.restarts), made.d_signals()
    _, dx, d_states = _backward(tape, dy, d_state, None, True, d_signals, None, to)
    samples = own
    if network.kernel_layout is not layout:
        samples = np.empty((B, layout.size), network.numpy_dtype)
        for b in range(B):
            network.gradients_of(tape.weights, own[b], samples[b])
    return Gradients(
        layout.views_by_sequence(samples), samples, dx, d_states, _named_signals(tape, d_signals) if d_signals else {}
    )


def _backward(
    tape: Tape, dy, d_state, flat, input_gradient: bool, d_signals=(), each=None, samples=None
) -> tuple[Any, Any, tuple]:  # fmt: skip
    network, made, kind = tape.network, tape.made, tape.kind
    if made.seal_of_reserve is not None:
        made.seal_of_reserve.check()
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
            dx = made.backward(dy, flat, input_gradient, d_signals, each, samples)
        else:
            arrays = network.backend.arrays
            own = arrays.empty((network.kernel_layout.size,), network.numpy_dtype)
            dx = made.backward(dy, own, input_gradient, d_signals, each)
            if network.on_host:
                network.gradients_of(tape.weights, own, flat)
            else:
                found = np.empty(flat.shape, network.numpy_dtype)
                network.gradients_of(tape.weights, arrays.on_host(own), found)
                arrays.copy(flat, found)
        return kind, dx, _sliced(network, made.in_order(d_states, True))


def _projected(network: Network, y, states: tuple) -> tuple[Any, tuple]:
    """Outputs, or every state at each step, and states of P features, from those of H."""
    if isinstance(y, tuple):
        y = (of_outputs(y[0], network), *y[1:])
    elif y is not None:
        y = of_outputs(y, network)
    return y, _sliced(network, states)


def _sliced(network: Network, states: tuple) -> tuple:
    """States, the first of P features."""
    return (states[0][..., : network.proj_size].copy(), *states[1:]) if network.proj_size else states


def _returned(network: Network, kind, array, states: tuple) -> tuple[Any, tuple]:
    """Results of a device, as that kind of arrays."""
    network.backend.finish()
    returned = network.backend.arrays.returned
    return None if array is None else returned(array, kind), tuple([returned(state, kind) for state in states])
