"""A module one step at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nblstm.torch.tensors import COMPUTED


class Stepper:
    """A module that is given one time step per call and keeps its states; made by `Recurrent.stepper`.

    It has the parameters as they were when it was made. It computes no gradients, is for one thread at a time, and is
    no module of torch's: it cannot be exported.
    """

    def __init__(self, module: Any, batch_size: int = 1):
        self._shown, self._stepper = repr(module), module.to_nn().stepper(batch_size)
        self._batch_size, self._dtype = batch_size, module._tensors()[0].dtype
        self._computed = COMPUTED[self._dtype]

    def __repr__(self):
        return f"<Stepper of {self._shown}>"

    def __call__(self, x_t: Tensor, signals: dict[str, Tensor | float] | None = None) -> Tensor:
        """Advance by one step.

        Parameters
        ----------
        x_t : Tensor, shape (B, I), or (I,) where B is 1
        signals : dict of str to Tensor, optional
            What the cell takes beside x, by its names: (B,), or (B, H) for a number for each unit, (H,) where B is 1;
            or one number for all.

        Returns
        -------
        Tensor, shape (B, H), or (H,) for an input (I,)
            Outputs of the last layer.
        """
        if isinstance(signals, dict):
            signals = {name: self._signal(name, value) for name, value in signals.items()}
        y = torch.from_numpy(self._stepper(self._array("x_t", x_t), signals))
        return y.clone() if self._dtype is self._computed else y.to(self._dtype)

    def _signal(self, name: str, value: Tensor | float):
        """Numbers of a signal."""
        return value if isinstance(value, int | float) else self._array(f"signals[{name!r}]", value)

    def _array(self, name: str, tensor: Tensor) -> np.ndarray:
        """Numbers of a tensor in the dtype that is computed in."""
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} is {type(tensor).__name__}; give a tensor of torch")
        if tensor.dtype is not self._dtype:
            raise TypeError(f"{name} is {tensor.dtype}, and the parameters are {self._dtype}; convert it with .to()")
        return tensor.detach().to(self._computed).cpu().numpy()

    @property
    def state(self):
        """The states, as the module returns them, each (num_layers, B, H): copies. Can be assigned."""
        found = self._stepper.state
        if isinstance(found, tuple):
            return tuple([torch.from_numpy(each).to(self._dtype) for each in found])
        return torch.from_numpy(found).to(self._dtype)

    @state.setter
    def state(self, state) -> None:
        self.reset(state)

    def reset(self, state=None, rows=None) -> None:
        """Set the states, to the cell's initial ones, mostly zeros, if not given.

        Parameters
        ----------
        state : tuple of Tensor, or for a GRU and an RNN Tensor, optional
            As the module returns them: each (num_layers, B, H), or (num_layers, H) where B is 1.
        rows : Tensor or array_like of bool, shape (B,), or of int, optional
            Of which rows; all if not given.
        """
        if isinstance(state, tuple | list):
            state = tuple([self._state("a state", each) for each in state])
        elif state is not None:
            state = self._state("state", state)
        self._stepper.reset(state, rows.cpu().numpy() if isinstance(rows, Tensor) else rows)

    def _state(self, name: str, state: Tensor) -> np.ndarray:
        """Numbers of a state; a module that was called on one sequence returns it without a batch."""
        array = self._array(name, state)
        return array[:, None] if array.ndim == 2 and self._batch_size == 1 else array
