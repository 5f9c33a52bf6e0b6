"""A module one step at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nblstm.torch.tensors import COMPUTED


class Stepper:
    """A module that is given one time step per call and keeps its states; made by `Recurrent.stepper`.

    It has the parameters as they were when it was made. It computes no gradients, and is for one thread at a time.
    """

    def __init__(self, module: Any, batch_size: int = 1):
        self._stepper = module.to_nn().stepper(batch_size)
        self._dtype = COMPUTED[module._tensors()[0].dtype]

    def __call__(self, x_t: Tensor) -> Tensor:
        """Advance by one step.

        Parameters
        ----------
        x_t : Tensor, shape (B, I), or (I,) where B is 1

        Returns
        -------
        Tensor, shape (B, H), or (H,) for an input (I,)
            Outputs of the last layer.
        """
        if not isinstance(x_t, Tensor):
            raise TypeError(f"x_t is {type(x_t).__name__}; give a tensor of torch")
        return torch.from_numpy(self._stepper(x_t.detach().to(self._dtype).numpy()).copy())

    @property
    def state(self):
        """The states, as the module returns them, each (num_layers, B, H): copies. Can be assigned."""
        found = self._stepper.state
        return tuple(map(torch.from_numpy, found)) if isinstance(found, tuple) else torch.from_numpy(found)

    @state.setter
    def state(self, state) -> None:
        self.reset(state)

    def reset(self, state=None) -> None:
        """Set the states, to the cell's initial ones, mostly zeros, if not given."""
        if isinstance(state, Tensor):
            state = state.detach().numpy()
        elif state is not None:
            state = tuple([each.detach().numpy() for each in state])
        self._stepper.reset(state)
