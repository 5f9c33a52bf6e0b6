"""A stack of recurrent layers on packed rows: what it is, and its passes on the device's kernels.

Nothing is checked here. Rows (N, features) come in the order of a `Batch`, C-contiguous and of the network's dtype;
states (S, num_layers D, B, H) are sorted by the batch. Where another device than the CPU computes, arrays and batch are
either all its own, or all NumPy's, which are copied there and back.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from nblstm.buffers.batch import Batch
from nblstm.buffers.layout import Layout, recurrent_layout
from nblstm.buffers.pool import Pool
from nblstm.cells.cell import Cell
from nblstm.engine.device import backend_of


@dataclass(frozen=True)
class Network:
    """What a stack of recurrent layers is, without its parameters.

    Attributes
    ----------
    cell : Cell
    input_size, hidden_size, num_layers : int
    directions : int
        2 if bidirectional, else 1.
    bias, batch_first : bool
    dropout : float
        Probability that training sets an output between layers to 0.
    dtype, device : str
    """

    cell: Cell
    input_size: int
    hidden_size: int
    num_layers: int
    directions: int
    bias: bool
    batch_first: bool
    dropout: float
    dtype: str
    device: str

    @cached_property
    def pool(self) -> Pool:
        """Passes that are kept from call to call."""
        return Pool()

    def __reduce__(self):
        return Network, tuple(getattr(self, field.name) for field in fields(self))

    @cached_property
    def layout(self) -> Layout:
        """Where each parameter lives."""
        return recurrent_layout(
            self.cell, self.input_size, self.hidden_size, self.num_layers, self.directions, self.bias
        )

    @cached_property
    def backend(self):
        """The kernels and arrays of its device."""
        return backend_of(self.device)


@dataclass(slots=True, eq=False)
class Tape:
    """What `backward` needs of a training pass. Opaque; it can be used any number of times.

    Attributes
    ----------
    network : Network
    batch : Batch
    layers : list
        One tape of the device's kernels per layer.
    masks : list of ndarray
        Dropout's factors behind each layer but the last.
    batched : bool
        Whether the input had a batch dimension.
    kind : object
        What kind of array the input was.
    """

    network: Network
    batch: Batch
    layers: list
    masks: list
    batched: bool = True
    kind: object = None

    def __reduce__(self):
        raise TypeError("a tape cannot be copied or pickled, as it belongs to one network; run its forward() again")


def set_initial(cell: Cell, states) -> None:
    """Set states (S, ...) to what the cell's are before the first step."""
    for k, value in enumerate(cell.initial):
        states[k] = value


@dataclass(slots=True, eq=False)
class Weights:
    """One state of a network's parameters, as the device's kernels read them.

    Attributes
    ----------
    layers : list of list
        By layer and direction.
    pool : Pool
        Passes of inference with these weights.
    """

    layers: list[list]
    pool: Pool


def pack(network: Network, parameters: dict[str, np.ndarray], training: bool) -> Weights:
    """The parameters as the device's kernels read them, for training or for inference."""
    layers = [
        network.backend.pack_layer(network.cell, parameters, layer, network.directions, training)
        for layer in range(network.num_layers)
    ]
    return Weights(layers, Pool(network.pool))


def infer(network: Network, weights: Weights, batch: Batch, rows: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Inference on packed rows.

    Parameters
    ----------
    network : Network
    weights : Weights
        From `pack`, not for training.
    batch : Batch
    rows : ndarray, shape (N, I)
        Inputs in the order of the batch's packed rows.
    states : ndarray, shape (S, num_layers D, B, H)
        Initial states, sorted by the batch; the final ones on return.

    Returns
    -------
    ndarray, shape (N, D H)
    """
    return network.backend.infer(network.cell, weights.pool, weights.layers, batch, rows, states)


def forward(
    network: Network,
    weights: Weights,
    batch: Batch,
    rows: np.ndarray,
    states: np.ndarray,
    generator: np.random.Generator | None = None,
    checkpoint: int | None = None,
    batched: bool = True,
    kind: object = None,
) -> tuple[np.ndarray, Tape]:
    """A training pass on packed rows.

    Parameters
    ----------
    network, weights, batch, rows, states
        As for `infer`, with weights for training. The tape refers to ``rows`` and to the result.
    generator : Generator, optional
        Draws the dropout between layers.
    checkpoint : int, optional
    batched, kind
        For the tape.

    Returns
    -------
    y : ndarray, shape (N, D H)
    tape : Tape
    """
    tapes, masks = [], []
    backend, D = network.backend, network.directions
    with backend.active(), backend.arrays.visiting(batch, rows, states=states) as guests:
        rows = guests.rows
        for layer, layer_weights in enumerate(weights.layers):
            here = guests.states[:, layer * D : (layer + 1) * D]
            rows, tape = backend.forward(
                network.cell, network.pool, layer_weights, guests.batch, rows, here, checkpoint
            )
            tapes.append(tape)
            if network.dropout and layer < network.num_layers - 1:
                masks.append(backend.arrays.dropout_factors(generator, rows, network.dropout))
                rows = rows * masks[-1]
        backend.finish()
        return guests.home(rows), Tape(network, batch, tapes, masks, batched, kind)


def backward(
    tape: Tape,
    d_rows: np.ndarray | None,
    d_states: np.ndarray,
    params: dict[str, np.ndarray],
    input_gradient: bool = True,
) -> np.ndarray | None:
    """BPTT on packed rows.

    Parameters
    ----------
    tape : Tape
    d_rows : ndarray, shape (N, D H), or None
        Gradient with respect to the packed outputs; None is 0 everywhere.
    d_states : ndarray, shape (S, num_layers D, B, H)
        That with respect to the final states, sorted by the batch; that of the initial ones on return.
    params : dict of str to ndarray
        By torch's names, C-contiguous: gradients of the parameters, which are set. A bias may be left out.
    input_gradient : bool, default True

    Returns
    -------
    ndarray, shape (N, I), or None
        Gradient with respect to the packed inputs, if wanted.
    """
    network, backend, D = tape.network, tape.network.backend, tape.network.directions
    with backend.active(), backend.arrays.visiting(tape.batch, d_rows, states=d_states, targets=params) as guests:
        d_rows = guests.rows
        for layer in reversed(range(network.num_layers)):
            here = guests.states[:, layer * D : (layer + 1) * D]
            d_rows = backend.backward(
                network.cell, tape.layers[layer], guests.batch, d_rows, here, guests.targets, layer,
                bool(layer) or input_gradient,
            )  # fmt: skip
            if layer and tape.masks:
                d_rows = d_rows * tape.masks[layer - 1]
        backend.finish()
        return None if d_rows is None else guests.home(d_rows)
