"""The fully connected layer, and its equation for other layers with a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from nblstm import activations, constraints, initializers, regularizers
from nblstm.arguments import validate
from nblstm.layers.base.layer import Layer, register
from nblstm.layers.base.options import (
    ActivationLike,
    ConstraintLike,
    InitializerLike,
    LayerOptions,
    RegularizerLike,
    Unpack,
)
from nblstm.layers.base.parameters import Parameter
from nblstm.layers.base.shapes import Shape
from nblstm.process import blas


@register()
class Dense(Layer):
    """``y = activation(x kernel + bias)`` on the last dimension.

    Parameters
    ----------
    units : int
        Features of the output.
    activation : str or ActivationFunction, optional
        Linear if not given.
    use_bias : bool, default True
    kernel_initializer, bias_initializer : str, Initializer, callable or ndarray
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
    activity_regularizer : None
        Keras's; not supported.
    kernel_constraint, bias_constraint : str or callable, optional
    **kwargs
        Of `Layer`.

    Notes
    -----
    Parameters are ``kernel`` (features of x, units) and ``bias`` (units,).
    """

    min_ndim = 2
    fixed_axes = (-1,)
    supports_masking = True
    keeps_steps_apart = True

    def __init__(
        self, units: int, activation: ActivationLike = None, use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform", bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None, bias_regularizer: RegularizerLike = None,
        activity_regularizer: None = None, kernel_constraint: ConstraintLike = None,
        bias_constraint: ConstraintLike = None, **kwargs: Unpack[LayerOptions],
    ):  # fmt: skip
        self.units = validate.positive_integer("units", units)
        super().__init__(**kwargs)
        self.activity_regularizer = validate.only("activity_regularizer", activity_regularizer, None)
        self.activation = activations.get(activation)
        self.use_bias = validate.flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def _output_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], self.units)

    def _parameters_for(self, shape: Shape) -> dict[str, Parameter]:
        assert shape[-1] is not None
        return affine_parameters(self, (shape[-1], self.units))

    def _forward(self, x, training, mask, generator):
        y, saved = affine(self, x if x.ndim == 2 else x.reshape(-1, x.shape[-1]))
        return y if x.ndim == 2 else y.reshape(*x.shape[:-1], self.units), (saved, x.shape)

    def _backward(self, saved, dy, gradients, input_gradient):
        saved, x_shape = saved
        d_rows = d_affine(self, saved, dy, gradients, input_gradient)
        return None if d_rows is None else d_rows.reshape(x_shape)


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
