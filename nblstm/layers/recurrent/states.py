"""The states that a batch of sequences starts with: zeros, given, learned, or those where the batch before ended."""

from __future__ import annotations

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers import memory
from nblstm.engine import stack
from nblstm.layers.recurrent.cell_layer import CellLayer


class CellStates(CellLayer):
    """A cell with parameters, and the states between its passes."""

    _carried: np.ndarray | None = None  # (S, 1, B, H)

    @property
    def states(self) -> list[np.ndarray] | None:
        """With ``stateful``, copies of the states (B, H) that the next batch starts with; None for the initial ones.

        Can be assigned, as `reset_states` takes them; they belong into a checkpoint.
        """
        return None if self._carried is None else list(self._carried[:, 0].copy())

    @states.setter
    def states(self, states) -> None:
        self.reset_states(states)

    def reset_states(self, states=None) -> None:
        """Set the states that the next batch starts with, to the initial ones if not given.

        Parameters
        ----------
        states : list of array_like, optional
            (B, H) each, in the cell's order; bare, if it has only one.

        Raises
        ------
        TypeError, ValueError
            If the layer is not stateful, or they do not fit.
        """
        if not self.stateful:
            raise ValueError(f"{self._label} keeps no states; make it with stateful=True")
        if states is None:
            self._carried = None
            return
        first = states[0] if isinstance(states, list | tuple) and states else states
        B = self._fixed_batch_size() or len(np.atleast_1d(validate.number_array("states", first)))
        self._carried = np.stack(self._checked_states("states", states, B))[:, None]

    reset_state = reset_states

    def _carry(self, states: np.ndarray) -> None:
        self._carried = states.copy()

    def _fixed_batch_size(self) -> int | None:
        """The batch size that a stateful layer was built or declared with."""
        for shape in (self.input_shape, self.batch_input_shape):
            if shape is not None and shape[0] is not None:
                return shape[0]
        return None

    def _starts_from_zero(self, given) -> bool:
        """Whether a batch starts with states of 0, as every other would."""
        zero = self.cell.starts_at_zero and not self.learn_initial_state
        return zero and given is None and not self.stateful

    def _initial_states(self, B: int, given=None) -> np.ndarray:
        """The states that a batch starts with, as a new array (S, 1, B, H)."""
        if self.stateful:
            fixed = self._fixed_batch_size() if self._carried is None else self._carried.shape[2]
            if fixed not in (None, B):
                reset = "" if self._fixed_batch_size() else ", or call reset_states() first"
                raise ValueError(
                    f"{self._label} is stateful with a batch size of {fixed} and got {B} sequences; give batches of "
                    f"that size{reset}"
                )
        names = self.cell.states
        states = memory.zeros((len(names), 1, B, self.units), self.dtype)
        if given is not None:
            states[:, 0] = self._checked_states("initial_state", given, B)
        elif self._carried is not None:
            states[...] = self._carried
        elif self.learn_initial_state:
            for k, name in enumerate(names):
                states[k] = self._own[f"initial_{name}"]
        elif not self.cell.starts_at_zero:
            stack.set_initial(self.cell, states)
        return states

    def _checked_states(self, label: str, states, B: int) -> list[np.ndarray]:
        """States (B, H) in the cell's order."""
        names = self.cell.states
        if len(names) == 1 and not (isinstance(states, list | tuple) and len(states) == 1):
            states = [states]
        if not isinstance(states, list | tuple) or len(states) != len(names):
            raise ValueError(
                f"{label} is {validate.came(states)}; give a list of {len(names)} ({', '.join(names)}), each (B, H)"
            )
        return [self._state_array(f"{label} {name!r}", state, B) for name, state in zip(names, states, strict=True)]

    def _state_array(self, label: str, value, B: int) -> np.ndarray:
        return validate.shaped(label, validate.real_array(label, value, self.dtype), (B, self.units), "(B, H)")
