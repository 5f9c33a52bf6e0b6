"""``activation(rows @ kernel + bias)``: the equation of Dense and of the convolutions, and its derivative."""

from __future__ import annotations

from typing import Any

import numpy as np

from nblstm.layers.base.parameters import Parameter
from nblstm.process import blas


def affine_parameters(layer: Any, kernel: tuple[int, ...]) -> dict[str, Parameter]:
    """A kernel of this shape, whose last dimension is that of the output, and a bias."""
    described = {
        "kernel": Parameter(kernel, layer.kernel_initializer, layer.kernel_regularizer, layer.kernel_constraint)
    }
    if layer.use_bias:
        bias = layer.bias_initializer, layer.bias_regularizer, layer.bias_constraint
        described["bias"] = Parameter(kernel[-1:], *bias)
    return described


def affine(layer: Any, rows: np.ndarray) -> tuple[np.ndarray, Any]:
    """``y = activation(rows @ kernel + bias)`` of rows (N, K); and what `d_affine` needs."""
    z = blas.product(rows, _matrix(layer))
    if layer.use_bias:
        z += layer._own["bias"][None]  # of z's shape where there is one row: 0.3 us instead of 0.8
    y, kept = layer.activation.forward(z, own=True)
    return y, (rows, kept)


def d_affine(
    layer: Any, saved, dy: np.ndarray, gradients: dict[str, np.ndarray], input_gradient: bool
) -> np.ndarray | None:  # fmt: skip
    """Write ``d_kernel = rows.T @ dz`` and ``d_bias = sum(dz)``; return ``d_rows = dz @ kernel.T``, if it is wanted."""
    rows, kept = saved
    dz = layer.activation.backward(kept, dy.reshape(kept.shape))
    blas.product(rows.T, dz, out=gradients["kernel"].reshape(rows.shape[1], dz.shape[1]))
    if layer.use_bias:
        np.add.reduce(dz, axis=0, out=gradients["bias"])
    return blas.product(dz, _matrix(layer).T) if input_gradient else None


def _matrix(layer: Any) -> np.ndarray:
    """The kernel as a matrix (K, units)."""
    kernel = layer._own["kernel"]
    return kernel if kernel.ndim == 2 else kernel.reshape(-1, kernel.shape[-1])
