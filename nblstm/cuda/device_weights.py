"""Weights in the GPU's memory, in the order in which kernels read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from nblstm.buffers.layout import suffix
from nblstm.cells.cell import Cell
from nblstm.cuda.tiling import Tiling


@dataclass(frozen=True, eq=False)
class DeviceWeights:
    """Weights of one layer, all directions (D), as they were when they were packed.

    Attributes
    ----------
    w_ih : device array, shape (D, G H, I)
        Rows by `input_order`.
    w_hh : device array, shape (D, G H, H)
        Rows by `recurrent_order`.
    bias : device array, shape (D, P H)
        The constant of every pre-activation, ``bias_ih + bias_hh`` where both reach one.
    vectors : device array, shape (D, V H)
    tiles : dict
        ``w_hh`` once more for each tiling that has used it, see `tile`.
    """

    w_ih: Any
    w_hh: Any
    bias: Any
    vectors: Any
    tiles: dict = field(default_factory=dict)

    def tiles_for(self, runtime, v: Tiling, backward: bool):
        """``w_hh`` for a tiling, made at its first use."""
        key = (v, backward)
        if key not in self.tiles:
            self.tiles[key] = runtime.finished(tile(runtime.xp, self.w_hh, v, backward))
        return self.tiles[key]


def _order(cell: Cell, names, gates: tuple[str, ...]) -> tuple[int, ...]:
    halves = {f"{g}_{half}": g for g in cell.split for half in "xh"}
    return tuple((gates or cell.gates).index(halves.get(name, name)) for name in names)


@cache
def input_order(cell: Cell, gates: tuple[str, ...]) -> tuple[int, ...]:
    """The gate, in the parameters' order, of each block of pre-activations that the input feeds."""
    return _order(cell, cell.preactivations[: len(cell.gates)], gates)


@cache
def recurrent_order(cell: Cell, gates: tuple[str, ...]) -> tuple[int, ...]:
    """The gate, in the parameters' order, of each block of pre-activations that the recurrence feeds."""
    return _order(cell, cell.preactivations[len(cell.split) :], gates)


class DeviceNetwork:
    """Weights of all layers on a GPU, the same for inference and training.

    Parameters
    ----------
    runtime : Runtime
    network : Network
    parameters : dict of str to ndarray
        By torch's names; the arrays stay where they are.

    Attributes
    ----------
    layers : list of DeviceWeights
    """

    nbytes = 0  # not kept

    def __init__(self, runtime, network, parameters: dict[str, np.ndarray]):
        self._runtime, self._network, self._parameters = runtime, network, parameters

    def pack(self) -> None:
        """Take the parameters as they are now."""
        network = self._network
        with self._runtime.active():
            self.layers = [
                pack_layer(self._runtime, network.cell, network.gates, self._parameters, k, network.D)
                for k in range(network.num_layers)
            ]


def pack_layer(
    runtime, cell: Cell, gates: tuple[str, ...], parameters: dict[str, np.ndarray], layer: int, directions: int
) -> DeviceWeights:
    """Copy the parameters of a layer to the GPU.

    Parameters
    ----------
    runtime : Runtime
    cell : Cell
    gates : tuple of str
        Their order in the parameters; the cell's own if empty.
    parameters : dict of str to ndarray
        All parameters of the network, under torch's names.
    layer, directions : int

    Returns
    -------
    DeviceWeights
    """
    G, split = len(cell.gates), len(cell.split)
    w_ih, w_hh, biases, vectors = [], [], [], []
    for direction in range(directions):
        end = suffix(layer, direction)
        w_x, w_h = parameters[f"weight_ih{end}"], parameters[f"weight_hh{end}"]
        H = w_h.shape[1]
        w_ih.append(w_x.reshape(G, H, -1)[list(input_order(cell, gates))].reshape(w_x.shape))
        w_hh.append(w_h.reshape(G, H, H)[list(recurrent_order(cell, gates))].reshape(w_h.shape))
        bias = np.zeros((len(cell.preactivations), H), w_h.dtype)
        if f"bias_ih{end}" in parameters:
            bias[:G] = parameters[f"bias_ih{end}"].reshape(G, H)[list(input_order(cell, gates))]
        if f"bias_hh{end}" in parameters:
            bias[split:] += parameters[f"bias_hh{end}"].reshape(G, H)[list(recurrent_order(cell, gates))]
        biases.append(bias.reshape(-1))
        vectors.append(np.concatenate([*(parameters[f"{name}{end}"] for name in cell.vectors), np.empty(0, w_h.dtype)]))
    return DeviceWeights(*(runtime.device_array(np.stack(arrays)) for arrays in (w_ih, w_hh, biases, vectors)))


def tile(xp, w_hh, v: Tiling, backward: bool):
    """Recurrent weights (D, G H, H) as ``(D, blocks, quads, outputs, tiles, lanes, 4)``, filled up with zeros.

    Neighbouring threads then read neighbouring quads. Forward, output o of tile j is gate o of unit j. Backward it is
    unit ``j * outputs + o``, and the inner dimension are the columns of all gates.
    """
    D, columns, H = w_hh.shape
    tiles = v.blocks * v.tiles
    if backward:
        rows, inner = w_hh.transpose(0, 2, 1)[:, None], columns  # (D, 1, H, G H)
        filled = xp.zeros((D, 1, tiles * v.outputs, v.inner), w_hh.dtype)
    else:
        rows, inner = w_hh.reshape(D, v.outputs, H, H), H
        filled = xp.zeros((D, v.outputs, tiles, v.inner), w_hh.dtype)
    filled[:, :, :H, :inner] = rows
    if backward:
        split = filled.reshape(D, v.blocks, v.tiles, v.outputs, v.quads, v.lanes, 4).transpose(0, 1, 4, 3, 2, 5, 6)
    else:
        split = filled.reshape(D, v.outputs, v.blocks, v.tiles, v.quads, v.lanes, 4).transpose(0, 2, 4, 1, 3, 5, 6)
    return xp.ascontiguousarray(split)
