"""Passes over small inputs, again and again: what does not change from call to call is done once."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from nblstm import locks, memory
from nblstm.batch import uniform_batch
from nblstm.stack import Network

#: Inputs, outputs and states of more bytes than this are not copied once more to save 5 us.
SMALL = 65_536

#: Training passes that take more bytes than this are not kept.
SMALL_TRAINING = 8_000_000

#: Shapes that a network keeps ready, and training passes for each.
SHAPES, THREADS = 8, 4


class Replay:
    """Passes over batches of equal lengths of one shape, from zero states; for one thread at a time.

    It has arrays of its own, to which the kernels' arguments refer for good: a call copies in, launches, and copies
    out, in 2 us beside the kernels' time, where a pass that is set up anew takes 7.

    Parameters
    ----------
    network : Network
    weights : list of list
        From `stack.pack`, not for training.
    shape : tuple of int
        Of the input, in the network's layout.
    """

    def __init__(self, network: Network, weights: list[list], shape: tuple[int, ...]):
        sequences = (shape[0], 1) if len(shape) == 2 else shape[1::-1] if network.batch_first else shape[:2]
        T, B = sequences
        D, S = network.directions, len(network.cell.states)
        x = memory.empty((T, B, network.input_size), network.dtype)
        y = memory.empty((T, B, D * network.hidden_size), network.dtype)
        states = memory.zeros((S, network.num_layers * D, B, network.hidden_size), network.dtype)
        self.weights, self._all_states = weights, states
        self._pass = network.backend.prepare(network.cell, weights, uniform_batch(T, B), network.input_size, states)
        self._pass.bind(x.reshape(T * B, -1), y.reshape(T * B, -1), states)
        if len(shape) == 2:
            self._x, self._y, self._states = x[:, 0], y[:, 0], states[:, :, 0]
        else:
            first, second = (1, 0) if network.batch_first else (0, 1)
            self._x, self._y, self._states = x.transpose(first, second, 2), y.transpose(first, second, 2), states

    @staticmethod
    def fits(network: Network, x: np.ndarray) -> bool:
        """Whether inputs like this one are small enough, and the device computes where they are."""
        if not network.backend.replays:
            return False
        rows = max(1, x.size // network.input_size)
        numbers = rows * (network.input_size + network.directions * network.hidden_size * network.num_layers)
        return numbers * x.itemsize <= SMALL

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


class Replays:
    """Those of a network whose inputs have had the same shape twice; any thread may call.

    Parameters
    ----------
    network : Network
    """

    def __init__(self, network: Network):
        self._network = network
        self._spare: dict[tuple[int, ...], list[Replay]] = {}  # by shape; one for each thread that calls at once
        self._last: tuple[int, ...] = ()

    def __call__(self, module, x: np.ndarray, outputs: bool = True) -> tuple[Any, np.ndarray] | None:
        """The result of a `Replay`; None where the input is too large for one, or its shape has not come twice.

        Parameters
        ----------
        module : Module
            Whose weights these are: it has ``_weights`` and ``_is_current``.
        x : ndarray
            Of the network's dtype, if there is to be a result.
        outputs : bool, default True
            Whether those of all steps are wanted; otherwise None stands for them.
        """
        network, shape = self._network, x.shape
        spare = self._spare.get(shape)
        if spare is None:
            last, self._last = self._last, shape
            if shape == last and x.ndim in (2, 3) and x.size and shape[-1] == network.input_size:
                self._begin(x)
            return None
        if x.dtype != module._flat.dtype:
            return None
        try:
            replay = spare.pop()
        except IndexError:
            replay = None
        if replay is None or not (replay.current and module._is_current(False, replay.weights)):
            replay = Replay(network, module._weights(False), shape)
        result = replay(x, outputs)
        spare.append(replay)
        return result

    def _begin(self, x: np.ndarray) -> None:
        if Replay.fits(self._network, x):
            if len(self._spare) == SHAPES:
                self._spare.clear()
            self._spare[x.shape] = []


class TrainingReplay:
    """A training pass on loan: when this is gone, the next one can have it.

    Attributes
    ----------
    network : Network
    repeated : Repeated
        Of the device, with arrays of its own.
    lock : Lock
        Theirs, for BPTT: the same tape may be used by several threads.
    """

    __slots__ = ("__weakref__", "_loan", "lock", "network", "repeated")

    def __init__(self, network: Network, repeated, lock, spare: memory.Spare):
        self.network, self.repeated, self.lock = network, repeated, lock
        self._loan = spare.lend((repeated, lock), self)

    def __reduce__(self):
        raise TypeError("a tape cannot be copied or pickled, as it belongs to one layer; run its forward() again")


class TrainingReplays:
    """Training passes of a layer over batches of a shape that has come twice; any thread may call.

    Parameters
    ----------
    network : Network
        Of one layer.
    """

    def __init__(self, network: Network):
        self._network = network
        self._spare: dict[tuple[int, int], memory.Spare] = {}  # by steps and sequences
        self._once: deque[tuple[int, int]] = deque(maxlen=SHAPES)

    def __call__(self, module, parameters: dict[str, np.ndarray], T: int, B: int) -> TrainingReplay | None:
        """One for T steps of B sequences, with the parameters as they are now; None where none is to be kept.

        Parameters
        ----------
        module : Module
            Whose parameters they are.
        parameters : dict of str to ndarray
            By torch's names, where they always are.
        """
        spare = self._spare.get((T, B))
        if spare is None:
            if (T, B) in self._once:
                self._begin(T, B)
            else:
                self._once.append((T, B))
            return None
        repeated, lock = spare.take() or (None, None)
        if repeated is None or not repeated.current:
            network = self._network
            repeated = network.backend.repeated(network.cell, parameters, T, B, network.directions)
            lock = locks.lock()

        def packed(_):
            repeated.pack()
            return lock

        # The module remembers the lock in the place of the pass, which would stay for as long as the parameters do.
        if not module._is_current(lock, lock):
            module._derived(lock, packed)
        return TrainingReplay(self._network, repeated, lock, spare)

    def _begin(self, T: int, B: int) -> None:
        network = self._network
        kept = len(network.cell.states) + len(network.cell.graph.saved) + 3 * len(network.cell.gates)
        numbers = T * B * (2 * network.input_size + network.directions * network.hidden_size * kept)
        numbers += 3 * network.layout.size  # weights in both orders, and their gradients
        if network.backend.replays and T * B and numbers * np.dtype(network.dtype).itemsize <= SMALL_TRAINING:
            if len(self._spare) == SHAPES:
                self._spare.clear()
            self._spare[T, B] = memory.Spare(THREADS)
