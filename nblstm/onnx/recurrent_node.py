"""Execution of an LSTM, GRU or RNN node on nblstm's engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from nblstm.engine import engine
from nblstm.nn.recurrent import Recurrent
from nblstm.onnx.recurrent_form import Form


class RecurrentNode:
    """A function from X, lengths and initial states, and where they are not constant weights, to a node's outputs.

    Parameters
    ----------
    form : Form
    networks : tuple of Recurrent or None
        None if the weights are inputs of each call.
    wants_y : bool
        Whether anyone reads Y.
    count : int
        How many of Y, Y_h and Y_c to return.
    keeps_states : bool
        Whether the states after a sequence of no steps are its initial ones; else they are 0.
    """

    def __init__(
        self, form: Form, networks: tuple[Recurrent, ...] | None, wants_y: bool, count: int, keeps_states: bool
    ):  # fmt: skip
        self.form, self.networks, self.keeps_states = form, networks, keeps_states
        self.wants_y, self.count = wants_y, count
        self._time_axis = int(form.batch_first)

    def __call__(self, x, lengths=None, h=None, c=None, *weights) -> tuple:
        """Compute Y, Y_h and Y_c, as many as the node has; None for a Y that nobody uses."""
        networks = self.form.networks(*weights) if self.networks is None else self.networks
        if x.ndim != 3:
            raise ValueError(f"X has shape {x.shape}; it needs three dimensions, of time, batch and features")
        dtype = x.dtype
        if dtype.char == "e":  # float16; comparing dtypes takes longer
            x = x.astype(np.float32)
        given = None
        if h is not None or c is not None:
            given = self._initial(x, networks[0], h, c)
        if len(networks) == 1:
            y, states = engine.infer(networks[0], x, given, lengths, outputs=self.wants_y)
            if y is not None:
                y = self._with_directions(y)
        else:
            y, states = self._both(networks, x, given, lengths)
        if not self.keeps_states and (lengths is not None or not x.shape[self._time_axis]):
            states = self._without_steps(states, lengths)
        if self._time_axis:
            states = [state.transpose(1, 0, 2) for state in states]
        if dtype.char == "e":
            y, states = (None if y is None else y.astype(dtype)), [state.astype(dtype) for state in states]
        return (y, *states)[: self.count]

    def _initial(self, x, network: Recurrent, h, c) -> tuple[np.ndarray, ...]:
        """Initial states (D, B, H), 0 where one is not given."""
        D, B, H = self.form.D, x.shape[1 - self._time_axis], network.hidden_size
        shape = (B, D, H) if self._time_axis else (D, B, H)
        states = []
        for name, value in (("initial_h", h), ("initial_c", c))[: len(network.cell.states)]:
            if value is None:
                value = np.zeros(shape, network.dtype)
            if value.shape != shape:
                raise ValueError(f"{name} has shape {value.shape}; it needs {shape}")
            states.append(value.transpose(1, 0, 2) if self._time_axis else value)
        return tuple(states)

    def _with_directions(self, y) -> np.ndarray:
        """Outputs (T, B, D H) as (T, D, B, H), or (B, T, D H) as (B, T, D, H): views."""
        D = self.form.D
        if self._time_axis:
            return y.reshape(*y.shape[:2], D, y.shape[2] // D)
        return y[:, None] if D == 1 else y.reshape(*y.shape[:2], D, y.shape[2] // D).transpose(0, 2, 1, 3)

    def _both(self, networks, x, given, lengths) -> tuple[Any, list]:
        """Two networks, one for each direction, over the same input."""
        outputs, states = [], []
        for d, network in enumerate(networks):
            own = None if given is None else tuple([state[d : d + 1] for state in given])
            y, after = engine.infer(network, x, own, lengths, outputs=self.wants_y)
            outputs.append(y)
            states.append(after)
        y = np.stack(outputs, 2 if self._time_axis else 1) if self.wants_y else None
        return y, [np.concatenate(pair) for pair in zip(*states, strict=True)]

    def _without_steps(self, states, lengths) -> list:
        """States (D, B, H) that are 0 for sequences of no steps, as onnxruntime's."""
        if lengths is None:
            return [np.zeros_like(state) for state in states]
        empty = np.flatnonzero(np.equal(lengths, 0))
        if not len(empty):
            return list(states)
        states = [np.array(state) for state in states]
        for state in states:
            state[:, empty] = 0
        return states
