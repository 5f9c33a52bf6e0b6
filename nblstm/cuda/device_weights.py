"""Weights in the GPU's memory, in the order in which kernels read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nblstm.buffers.layout import add_biases, input_order, recurrent_order, suffix
from nblstm.cuda.tiling import Tiling


@dataclass(frozen=True, eq=False)
class DeviceWeights:
    """Weights of one layer, all directions (D), as they were when they were packed.

    Attributes
    ----------
    w_ih : device array, shape (D, G H, I)
        Rows by `input_order`.
    w_hh : device array, shape (D, R H, H)
        Rows by `recurrent_order`.
    bias : device array, shape (D, P H)
        The constant of every pre-activation, ``bias_ih + bias_hh`` where both reach one.
    vectors : device array, shape (D, V H)
        Vectors, then scalars, H times each.
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

    def __init__(self, runtime, network):
        self._runtime, self._network = runtime, network

    def pack(self, parameters: dict[str, np.ndarray]) -> None:
        """Take the parameters as they are now."""
        with self._runtime.active():
            self.layers = [self._packed(layer, parameters) for layer in range(self._network.num_layers)]

    def _packed(self, layer: int, parameters: dict[str, np.ndarray]) -> DeviceWeights:
        cell, gates, H, dtype = self._network.cell, self._network.gates, self._network.hidden_size, self._network.dtype
        G, R = len(cell.input_gates), len(cell.recurrent_gates)
        I = H * self._network.D if layer else self._network.input_size
        w_ih, w_hh, biases, vectors = [], [], [], []
        for direction in range(self._network.D):
            end = suffix(layer, direction)
            w_x = parameters[f"weight_ih{end}"] if G else np.empty(0, dtype)
            w_h = parameters[f"weight_hh{end}"] if R else np.empty(0, dtype)
            w_ih.append(w_x.reshape(G, H, I)[input_order(cell, gates)].reshape(G * H, I))
            w_hh.append(w_h.reshape(R, H, H)[recurrent_order(cell, gates)].reshape(R * H, H))
            bias = np.empty((len(cell.preactivations), H), dtype)
            add_biases(cell, gates, parameters.get(f"bias_ih{end}"), parameters.get(f"bias_hh{end}"), bias)
            biases.append(bias.reshape(-1))
            own = [np.broadcast_to(parameters[f"{name}{end}"], H) for name in (*cell.vectors, *cell.scalars)]
            vectors.append(np.concatenate([*own, np.empty(0, dtype)]))
        arrays = map(np.stack, (w_ih, w_hh, biases, vectors))
        return DeviceWeights(*map(self._runtime.device_array, arrays))


def tile(xp, w_hh, v: Tiling, backward: bool):
    """Recurrent weights (D, R H, H) as ``(D, blocks, quads, outputs, tiles, lanes, 4)``, filled up with zeros.

    Neighbouring threads then read neighbouring quads. Forward, output o of tile j is gate o of unit j. Backward it is
    unit ``j * outputs + o``, and the inner dimension are the columns of all gates.
    """
    D, columns, H = w_hh.shape
    tiles = v.blocks * v.tiles
    if backward:
        rows, inner = w_hh.transpose(0, 2, 1)[:, None], columns  # (D, 1, H, R H)
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
