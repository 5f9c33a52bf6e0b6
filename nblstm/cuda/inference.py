"""Inference through a stack, and the same with its arrays bound, as a stepper uses it."""

from __future__ import annotations

from nblstm.cells.cell import Cell
from nblstm.cuda import layer
from nblstm.cuda.batch import DeviceBatch
from nblstm.cuda.weights import LayerWeights


def infer(runtime, cell: Cell, weights: list[LayerWeights], batch: DeviceBatch, x, states):
    """Run a stack over a packed batch.

    Parameters
    ----------
    runtime : Runtime
    cell : Cell
    weights : list of LayerWeights
    batch : DeviceBatch
    x : device array, shape (N, I)
        Packed rows.
    states : device array, shape (S, L D, B, H)
        Initial states in sorted order; the final ones on return.

    Returns
    -------
    device array, shape (N, D H)
        Outputs of the last layer.
    """
    D = states.shape[1] // len(weights)
    for k, layer_weights in enumerate(weights):
        x = layer.infer(runtime, cell, layer_weights, batch, x, states[:, k * D : (k + 1) * D])
    return x


class Inference:
    """A pass through all layers over the same arrays each time; for one thread at a time.

    Attributes
    ----------
    current : bool
        Nothing makes it stale but other weights.
    """

    current = True

    def __init__(self, runtime, cell: Cell, weights: list[LayerWeights], batch: DeviceBatch):
        self._runtime, self._cell, self._weights, self._batch = runtime, cell, weights, batch

    def bind(self, x, y, states) -> None:
        """Set where packed inputs (N, I) are, where outputs (N, D H) go, and the states that are advanced."""
        self._x, self._y = x, y

    def launch(self, states) -> None:
        """Run on what was bound."""
        with self._runtime.active():
            self._y[...] = infer(self._runtime, self._cell, self._weights, self._batch, self._x, states)
            self._runtime.check()
