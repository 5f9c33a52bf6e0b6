"""Training passes of a network through a `TrainingReplay`: arrays as users have them, in and out.

Forward and backward of an RNN with T = B = 1 and I = H = 64 take 22 us so, 4.5 of them in kernels, and 45 through
`engine`.
"""

from __future__ import annotations

import numpy as np

from nblstm.buffers import memory
from nblstm.engine import engine, stack
from nblstm.engine.engine import Gradients
from nblstm.engine.replay import TrainingReplay, training_replay
from nblstm.engine.stack import Network


def forward(module, x, state) -> tuple[np.ndarray, tuple[np.ndarray, ...], TrainingReplay] | None:
    """As `Recurrent.forward` of batches of equal lengths.

    Parameters
    ----------
    module : Recurrent
    x : array_like
    state : tuple of array_like or None

    Returns
    -------
    y : ndarray
    states : tuple of ndarray
    replay : TrainingReplay
        For `backward`. None instead of all three, and nothing done, if no pass over such an input is kept ready.
    """
    network = module._network
    if network.num_layers > 1 or type(x) is not np.ndarray or x.ndim != 3 or x.dtype != module._flat.dtype:
        return None
    if network.batch_first:
        x = x.swapaxes(0, 1)
    T, B, I = x.shape
    replay = training_replay(module, module._own, T, B) if network.input_size == I else None
    if replay is None:
        return None
    repeated, zero = replay.made, state is None and network.cell.starts_at_zero
    _set_states(network, repeated.states, state, "state")
    if state is None and not zero:
        stack.set_initial(network.cell, repeated.states)
    repeated.x[...] = x
    repeated.forward(zero)
    y = repeated.y.copy()
    y.flags.writeable = False  # as where a tape reads it
    return y.swapaxes(0, 1) if network.batch_first else y, _planes(repeated.states), replay


def backward(replay: TrainingReplay, dy, d_state) -> Gradients:
    """BPTT after `forward`, any number of times.

    Parameters
    ----------
    replay : TrainingReplay
    dy : array_like or None
    d_state : tuple of array_like or None

    Returns
    -------
    Gradients
        In arrays of their own.
    """
    network, repeated = replay.network, replay.made
    T, B, F = repeated.dy.shape
    dtype = repeated.dy.dtype
    if dy is not None:
        shape = (B, T, F) if network.batch_first else (T, B, F)
        if type(dy) is not np.ndarray or dy.dtype != dtype or dy.shape != shape:
            dy = engine.output_gradient(network, dy, T, B, True)
        elif network.batch_first:
            dy = dy.swapaxes(0, 1)
    flat = memory.empty((network.layout.size,), dtype)
    params = network.layout.views(flat)
    repeated.refuse_if_under_way()
    with repeated.lock:
        _set_states(network, repeated.d_states, d_state, "dstate")
        if dy is not None:
            repeated.dy[...] = dy
        repeated.backward(params, dy is not None, True, alike=True)
        dx, d_states = repeated.dx.copy(), _planes(repeated.d_states)
    return Gradients(params, flat, dx.swapaxes(0, 1) if network.batch_first else dx, d_states)


def _set_states(network: Network, target: np.ndarray, given, name: str) -> None:
    """Set states (S, D, B, H) to what a user gave."""
    if given is None:
        target.fill(0)
        return
    if type(given) is tuple and len(given) == len(target):
        for k, value in enumerate(given):
            own = target[k]  # iterating over an array takes four times as long
            if type(value) is not np.ndarray or value.dtype != own.dtype or value.shape != own.shape:
                break
            own[...] = value
        else:
            return
    target[...] = engine.state_array(network, given, target.shape[2], True, name)


def _planes(states: np.ndarray) -> tuple[np.ndarray, ...]:
    """Copies of states (S, D, B, H), one by one."""
    copy = states.copy()
    return tuple([copy[k] for k in range(len(copy))])
