"""A recurrent layer one step at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.engine.inputs import set_states
from nblstm.layers.recurrent.states import initial_states
from nblstm.nn import stepper

if TYPE_CHECKING:
    from nblstm.layers.recurrent.recurrent import Recurrent


class Stepper(stepper.Stepper):
    """A layer that is given one time step per call and keeps its states. Made by `Recurrent.stepper`.

    ``stepper(x_t)`` takes (B, I), or (I,) where B is 1, and returns the outputs (B, H) or (H,): the stepper's own
    buffer, which the next step overwrites. Changes of the parameters are seen at the next step. A stepper is for one
    thread at a time.
    """

    def __init__(self, layer: Recurrent, batch_size: int = 1):
        super().__init__(layer, batch_size)
        self._layer = layer
        self.reset()

    @property
    def state(self) -> list[np.ndarray]:
        """The states, (B, H) each: copies. Can be assigned."""
        return [state[0] for state in self._state_copies()]

    @state.setter
    def state(self, state) -> None:
        self.reset(state)

    def reset(self, state=None) -> None:
        """Set the states, to the layer's initial ones if not given.

        Parameters
        ----------
        state : list of array_like, optional
            As ``initial_state`` for calling the layer.
        """
        with self._network.backend.active():
            given: Any = initial_states(self._layer, self._B, state)
            if given is not None:
                given = tuple([state[None] for state in given])
            set_states(self._network, self._layer._flat, self._pass.states, given, self._pass.batch, True)
