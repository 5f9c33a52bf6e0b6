"""Passes over small inputs, again and again: what does not change from call to call is done once."""

from __future__ import annotations

from typing import Any

import numpy as np

from nblstm.buffers import memory
from nblstm.buffers.batch import uniform_batch
from nblstm.buffers.pool import LARGEST, FreeList
from nblstm.engine.stack import Network, Weights

#: Inputs, outputs and states of more bytes than this are not copied once more to save 5 us.
SMALL = 65_536


class Replay:
    """Passes over batches of equal lengths of one shape, from zero states; for one thread at a time.

    It has arrays of its own, to which the kernels' arguments refer for good: a call copies in, launches, and copies
    out, in 2 us beside the kernels' time, where a pass that is set up anew takes 7.

    Parameters
    ----------
    network : Network
    weights : Weights
        From `stack.pack`, not for training.
    shape : tuple of int
        Of the input, in the network's layout.
    """

    def __init__(self, network: Network, weights: Weights, shape: tuple[int, ...]):
        sequences = (shape[0], 1) if len(shape) == 2 else shape[1::-1] if network.batch_first else shape[:2]
        T, B = sequences
        D, S = network.directions, len(network.cell.states)
        x = memory.empty((T, B, network.input_size), network.dtype)
        y = memory.empty((T, B, D * network.hidden_size), network.dtype)
        states = memory.zeros((S, network.num_layers * D, B, network.hidden_size), network.dtype)
        self._all_states, batch = states, uniform_batch(T, B)
        self._pass = network.backend.prepare(network.cell, weights.layers, batch, network.input_size, states)
        self._pass.bind(x.reshape(T * B, -1), y.reshape(T * B, -1), states)
        if len(shape) == 2:
            self._x, self._y, self._states = x[:, 0], y[:, 0], states[:, :, 0]
        else:
            first, second = (1, 0) if network.batch_first else (0, 1)
            self._x, self._y, self._states = x.transpose(first, second, 2), y.transpose(first, second, 2), states

    @staticmethod
    def fits(network: Network, x: np.ndarray) -> bool:
        """Whether inputs like this one are small enough, and the device computes where they are, from zeros."""
        if not (network.backend.replays and network.cell.starts_at_zero):
            return False
        rows = max(1, x.size // network.input_size)
        numbers = rows * (network.input_size + network.directions * network.hidden_size * network.num_layers)
        return numbers * x.itemsize <= SMALL

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        return self._pass.nbytes + self._x.nbytes + self._y.nbytes + self._states.nbytes

    @property
    def current(self) -> bool:
        """Whether it would be made in the same way now."""
        return self._pass.current

    def __call__(self, x: np.ndarray, outputs: bool) -> tuple[np.ndarray | None, np.ndarray]:
        """Outputs as calling the network gives them, if they are wanted, and all final states in one array."""
        self._x[...] = x
        self._all_states.fill(0)
        self._pass.launch(self._all_states, zero=True)
        return self._y.copy() if outputs else None, self._states.copy()


def replayed(module, x: np.ndarray, outputs: bool = True) -> tuple[Any, np.ndarray] | None:
    """The result of a `Replay`; None where the input is too large for one, or its shape has not come before.

    Any thread may call.

    Parameters
    ----------
    module : Module
        Whose network it is: it has ``_network`` and ``_weights``.
    x : ndarray
        Of the network's dtype, if there is to be a result.
    outputs : bool, default True
        Whether those of all steps are wanted; otherwise None stands for them.
    """
    network, weights, shape = module._network, module._weights(False), x.shape
    free = weights.pool.get(shape)
    if free is None:
        if x.ndim not in (2, 3) or not x.size or shape[-1] != network.input_size or not Replay.fits(network, x):
            return None
        free = weights.pool.second(shape)
        if free is None:
            return None
    if x.dtype != module._flat.dtype:
        return None
    replay = free.take()
    if replay is None or not replay.current:
        replay = Replay(network, weights, shape)
        free.add(replay)
    result = replay(x, outputs)
    free.give(replay)
    return result


class TrainingReplay:
    """A training pass on loan: when this is gone, the next one can have it.

    Attributes
    ----------
    network : Network
    made : Repeated
        Of the device, with arrays of its own.
    """

    def __init__(self, network: Network, made, free: FreeList):
        self.network, self.made = network, made
        self.loan = free.lend(made, self)

    def __reduce__(self):
        raise TypeError("a tape cannot be copied or pickled, as it belongs to one layer; run its forward() again")


def training_replay(module, parameters: dict[str, np.ndarray], T: int, B: int) -> TrainingReplay | None:
    """A training pass of one layer over T steps of B sequences; None where none is kept, or it is the first such.

    Any thread may call.

    Parameters
    ----------
    module : Module
        Whose network it is, of one layer, and whose parameters, which are taken as they are now.
    parameters : dict of str to ndarray
        By torch's names, where they always are.
    """
    network, key = module._network, (T, B)
    free = network.pool.get(key)
    if free is None:
        if not network.backend.replays or not T * B or _training_bytes(network, T, B) > LARGEST:
            return None
        free = network.pool.second(key)
        if free is None:
            return None
    repeated = free.take()
    if repeated is None or not repeated.current:
        repeated = network.backend.repeated(network.cell, parameters, T, B, network.directions)
        free.add(repeated)
    replay = TrainingReplay(network, repeated, free)
    module._pack(repeated)
    return replay


def _training_bytes(network: Network, T: int, B: int) -> int:
    """About what `Repeated` takes, which is no less."""
    kept = len(network.cell.states) + len(network.cell.graph.saved) + 3 * len(network.cell.gates)
    numbers = T * B * (2 * network.input_size + network.directions * network.hidden_size * kept)
    numbers += 3 * network.layout.size  # weights in both orders, and their gradients
    return numbers * np.dtype(network.dtype).itemsize
