"""Networks within CUDA kernels that users write."""

from __future__ import annotations

from typing import Any

import numpy as np


def device_function(self) -> tuple[Any, np.ndarray]:
    """A step of the network for kernels of numba-cuda, in which each thread steps an instance of its own.

    Returns
    -------
    step : device function
        ``y = step(params, x, state)`` advances a state by an input (I,) and returns the outputs of the last layer, (H,)
        or with ``proj_size`` (P,), a view of the state. It is compiled into the kernel, and is the same object for all
        networks with this cell, these sizes and this dtype. Its attribute ``state_size`` is the length of a state.
    params : ndarray
        The parameters as they are now, in the network's dtype. Its first ``state_size`` numbers are the state before
        the first step.

    Raises
    ------
    ValueError
        If the network has more than 32 units, is bidirectional, reads in reverse, or its cell takes signals.
    RuntimeError
        If numba-cuda is not installed. `numba.cuda`'s simulator needs no more than Numba.

    Notes
    -----
    A state is a one-dimensional array of this dtype, mostly of the thread's own memory: the states (S, num_layers, H),
    in the cell's order. No GPU has run this yet: it is tested in the simulator, and compiled for real GPUs.

    Examples
    --------
    ::

        step, params = lstm.device_function()
        size = step.state_size                  # a constant in the kernel

        @cuda.jit
        def roll(params, x, y):                 # x (N, T, I), y (N, T)
            n = cuda.grid(1)
            if n < x.shape[0]:
                state = cuda.local.array(size, float32)
                for k in range(size):
                    state[k] = params[k]
                for t in range(x.shape[1]):
                    y[n, t] = step(params, x[n, t], state)[0]

        roll.forall(len(x))(cuda.to_device(params), x, y)
    """
    from nblstm.cuda.device_function import device_function

    with self._lock:
        return device_function(self._network, self._flat)
