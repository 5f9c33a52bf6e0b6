"""States that a stateful network carries from one call to the next."""

from __future__ import annotations

import copy

import numpy as np


class CarriedStates:
    """The states after the last call, with which the next one starts.

    Parameters
    ----------
    batch_first : bool
        Whether inputs are (B, T, I) rather than (T, B, I).

    Attributes
    ----------
    states : tuple or None
        None before the first call.
    """

    def __init__(self, batch_first: bool):
        self._batch_first = batch_first
        self.states: tuple | None = None

    def start(self, x) -> tuple | None:
        """Return the states for a batch x; None for the initial ones.

        Raises
        ------
        ValueError
            If x has not as many sequences as the last call.
        """
        if self.states is None:
            return None
        shape, before = np.shape(x), self.states[0].shape
        came = (shape[0 if self._batch_first else 1],) if len(shape) == 3 else ()
        if came != before[1:-1] and len(shape) in (2, 3):  # the engine says what other shapes should be
            raise ValueError(
                f"the network is stateful, its last call had {_sequences(before[1:-1])} and x has {_sequences(came)}; "
                "give as many, or call reset_state() first"
            )
        return self.states

    def take(self, states: tuple) -> None:
        """Keep a copy of the states of a call, (num_layers D, B, H) or (num_layers D, H) each, unless B is 0."""
        if states[0].size:
            self.states = copy.deepcopy(states)

    def reset(self) -> None:
        """Have the next call start with the initial states."""
        self.states = None


def _sequences(B: tuple[int, ...]) -> str:
    return f"{B[0]} sequences" if B else "one without a batch dimension"
