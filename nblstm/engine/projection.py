"""Networks with projections: the user's arrays of P features, and the kernels' of H, of which the first P count.

The others are 0, as the weights that would make them are: so kernels know nothing of projections, and products with the
columns beyond P add 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


def padded(parameters: Arrays, network: Any) -> Arrays:
    """The parameters as kernels have them, from those of `Network.plain_layout`."""
    H, P, D, made = network.hidden_size, network.proj_size, network.D, {}
    count = len(network.cell.projection)
    for name, shape in network.kernel_layout.shapes.items():
        made[name] = np.zeros(shape, network.dtype)
        kind, _, end = name.partition("_l")
        own = parameters.get(name)
        if kind == "weight_hh":  # the last gates are projections, perhaps the only ones that recur
            made[name][-count * H :].reshape(count, H, H)[:, :P] = parameters[f"weight_hr_l{end}"]
        if own is None:
            continue
        if kind == "weight_ih" and own.shape != shape:  # behind another layer
            made[name].reshape(-1, D, H)[:, :, :P] = own.reshape(-1, D, P)
        elif kind == "weight_hh":
            made[name][: len(own), :P] = own
        else:
            made[name][: len(own)] = own
    return made


def unpadded(gradients: Arrays, network: Any) -> Arrays:
    """Gradients of the parameters of `Network.plain_layout` from those of the kernels'."""
    H, P, D, made = network.hidden_size, network.proj_size, network.D, {}
    count = len(network.cell.projection)
    for name, shape in network.plain_layout.shapes.items():
        kind, _, end = name.partition("_l")
        if kind == "weight_hr":
            made[name] = gradients[f"weight_hh_l{end}"][-count * H :].reshape(count, H, H)[:, :P].sum(axis=0)
        elif kind == "weight_ih" and gradients[name].shape != shape:
            made[name] = gradients[name].reshape(-1, D, H)[:, :, :P]
        elif kind == "weight_hh":
            made[name] = gradients[name][: shape[0], :P]
        else:
            made[name] = gradients[name][: shape[0]]
    return made


def of_outputs(y: np.ndarray, network: Any) -> np.ndarray:
    """Outputs of P features for each direction, from those of H, in memory of their own."""
    D, H, P = network.D, network.hidden_size, network.proj_size
    if D == 1:
        return y[..., :P].copy()
    return y.reshape(*y.shape[:-1], D, H)[..., :P].reshape(*y.shape[:-1], D * P)


def to_outputs(dy: np.ndarray, network: Any) -> np.ndarray:
    """The gradient of outputs of H features for each direction, from that of P."""
    D, H, P = network.D, network.hidden_size, network.proj_size
    made = network.backend.arrays.zeros((*dy.shape[:-1], D, H), dy.dtype)
    made[..., :P] = dy.reshape(*dy.shape[:-1], D, P)
    return made.reshape(*dy.shape[:-1], D * H)
