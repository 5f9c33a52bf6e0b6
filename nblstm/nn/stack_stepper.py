"""A stack of recurrent networks one step at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from nblstm.arguments import validate


class StackStepper:
    """A stack that is given one time step per call and keeps its states. Made by `Stack.stepper`.

    Outputs are the stepper's own buffer, overwritten by the next step. Changes of the parameters are seen at the next
    step. A stepper is for one thread at a time. A step that an exception ends has been taken by all layers or by none.
    """

    def __init__(self, stack: Any, batch_size: int = 1):
        self._stack, self._B = stack, validate.positive_integer("batch_size", batch_size)
        self._steppers = [layer.stepper(batch_size) for layer in stack.layers]
        self._sums = [
            np.empty((self._B, layer.input_size), stack.dtype) if adds and layer._network.on_host else None
            for layer, adds in zip(stack.layers, stack._adds, strict=True)
        ]
        self._layers = list(zip(self._steppers, stack._adds, self._sums, strict=True))

    def __repr__(self):
        return f"<Stepper of {self._stack!r}, batch_size {self._B}>"

    def __reduce__(self):
        return _resumed, (self._stack, self._B, self.state)

    def __call__(self, x_t, signals=None):
        """Advance by one step.

        Parameters
        ----------
        x_t : array_like, shape (B, I), or (I,) where B is 1
        signals : tuple, optional
            For each layer what its stepper takes, or None.

        Returns
        -------
        ndarray, shape (B, H), or (H,) for an input (I,)
            Outputs of the last layer; valid until the next step.
        """
        given = self._stack._by_layer(signals, "signals")
        before = [stepper._pass.states.copy() for stepper in self._steppers]
        try:
            for (step, adds, target), own in zip(self._layers, given, strict=True):
                y = step(x_t, own)
                if not adds:
                    x_t = y
                elif target is None:
                    x_t = y + x_t
                else:
                    x_t = np.add(y, x_t, out=target if y.ndim == 2 else target[0])
        except BaseException:  # of a signal's handler, between two layers
            for stepper, states in zip(self._steppers, before, strict=True):
                stepper._pass.states[...] = states
            raise
        return x_t

    @property
    def state(self) -> tuple:
        """For each layer its states, as its own call returns them: copies. Can be assigned."""
        return tuple([stepper.state for stepper in self._steppers])

    @state.setter
    def state(self, state) -> None:
        self.reset(state)

    def reset(self, state=None, rows=None) -> None:
        """Set the states, to the initial ones, learned, the cells' or zeros, if not given.

        Parameters
        ----------
        state : tuple, optional
            For each layer its states as for calling it, or None.
        rows : array_like of bool, shape (B,), or of int, optional
            Of which rows; all if not given.
        """
        given = self._stack._by_layer(state, "state")
        before = [stepper._pass.states.copy() for stepper in self._steppers]
        try:
            for stepper, own in zip(self._steppers, given, strict=True):
                stepper.reset(own, rows)
        except BaseException:  # where a state does not fit, none is set
            for stepper, states in zip(self._steppers, before, strict=True):
                stepper._pass.states[...] = states
            raise


def _resumed(stack, batch_size: int, state) -> StackStepper:
    """A stepper as another left off: what copies and pickles are made by."""
    stepper = StackStepper(stack, batch_size)
    stepper.reset(state)
    return stepper
