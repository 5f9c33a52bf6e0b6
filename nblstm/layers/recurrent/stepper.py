"""A recurrent layer one step at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.arguments import validate
from nblstm.layers.recurrent.states import initial_states
from nblstm.nn import stepper

if TYPE_CHECKING:
    from nblstm.layers.recurrent.recurrent import Recurrent


class Stepper(stepper.Stepper):
    """A layer that is given one time step per call and keeps its states. Made by `Recurrent.stepper`.

    ``stepper(x_t)`` takes (B, I), or (I,) where B is 1, with signals among the columns as the layer has them, and
    returns the outputs (B, H) or (H,): the stepper's own buffer, which the next step overwrites. Changes of the
    parameters are seen at the next step. A stepper is for one thread at a time.
    """

    def __init__(self, layer: Recurrent, batch_size: int = 1):
        super().__init__(layer, batch_size)
        self._layer = layer
        self.reset()

    def _step_with(self, x_t, signals):
        """Take one step with the signals that are among the columns of x."""
        columns = self._layer._columns
        if columns is None:
            return super()._step_with(x_t, signals)
        if signals is not None:
            raise ValueError(f"signals are columns of x in {self._layer._label}; leave them out")
        x_t = self._arrays.real("x_t", x_t, self._network.dtype)
        single, width = x_t.ndim == 1 and self._B == 1, columns.width
        x_t = validate.shaped("x_t", x_t, (width,) if single else (self._B, width), "(I,)" if single else "(B, I)")
        columns.take(x_t[None] if single else x_t, self._pass.x, self._signals)
        y = self._step(self._pass.x, None)
        return y[0] if single else y

    @property
    def state(self) -> list[np.ndarray]:
        """The states, (B, H) each: copies. Can be assigned."""
        return [state[0] for state in self._state_copies()]

    @state.setter
    def state(self, state) -> None:
        self.reset(state)

    def reset(self, state=None, rows=None) -> None:
        """Set the states, to the layer's initial ones if not given.

        Parameters
        ----------
        state : list of array_like, optional
            As ``initial_state`` for calling the layer.
        rows : array_like of bool, shape (B,), or of int, optional
            Of which rows, such as those whose episode has ended; all if not given.
        """
        with self._network.backend.active():
            given: Any = initial_states(self._layer, self._B, state)
        self._set(None if given is None else tuple([state[None] for state in given]), rows)
