"""``activation(rows of x @ kernel + bias)``: what Dense and the convolutions have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.layers import activations, constraints, initializers, regularizers
from nblstm.layers.base.layer import Layer
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


class Affine(Layer):
    """A kernel, a bias and an activation; a subclass says which entries of x the kernel meets."""

    fixed_axes = (-1,)

    def __init__(
        self, *, activation: ActivationLike, use_bias: bool, kernel_initializer: InitializerLike,
        bias_initializer: InitializerLike, kernel_regularizer: RegularizerLike, bias_regularizer: RegularizerLike,
        activity_regularizer: None, kernel_constraint: ConstraintLike, bias_constraint: ConstraintLike,
        **kwargs: Unpack[LayerOptions],
    ):  # fmt: skip
        super().__init__(**kwargs)
        validate.only("activity_regularizer", activity_regularizer, None)
        self.activation = activations.get(activation)
        self.use_bias = validate.flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.activity_regularizer = None
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def _kernel_shape(self, channels: int) -> tuple[int, ...]:
        """The kernel's shape; its last dimension is that of the output."""
        raise NotImplementedError(f"{type(self).__name__} has no _kernel_shape; write it")

    def _rows(self, x: np.ndarray) -> np.ndarray:
        """One row for each place of the output, (N, K): what the kernel, as a matrix (K, units), is applied to."""
        raise NotImplementedError(f"{type(self).__name__} has no _rows; write it")

    def _d_input(self, d_rows: np.ndarray, x_shape: tuple[int, ...]) -> np.ndarray:
        """The transpose of `_rows`: every row's entries added where they came from."""
        raise NotImplementedError(f"{type(self).__name__} has no _d_input; write it")

    def _parameters_for(self, shape: Shape) -> dict[str, Parameter]:
        assert shape[-1] is not None
        kernel = self._kernel_shape(shape[-1])
        described = {
            "kernel": Parameter(kernel, self.kernel_initializer, self.kernel_regularizer, self.kernel_constraint)
        }
        if self.use_bias:
            described["bias"] = Parameter(
                kernel[-1:], self.bias_initializer, self.bias_regularizer, self.bias_constraint
            )
        return described

    def _kernel_matrix(self) -> np.ndarray:
        kernel = self._own["kernel"]
        return kernel if kernel.ndim == 2 else kernel.reshape(-1, kernel.shape[-1])

    def _forward(self, x, training, mask, generator):
        y_shape: Any = self._output_shape(x.shape)
        rows = self._rows(x)
        z = blas.product(rows, self._kernel_matrix())
        if self.use_bias:
            z += self._own["bias"][None]  # of z's shape where there is one row: 0.3 us instead of 0.8
        y, kept = self.activation.forward(z, own=True)
        return y if y.shape == y_shape else y.reshape(y_shape), (rows, kept, x.shape)

    def _backward(self, saved, dy, gradients, input_gradient):
        rows, kept, x_shape = saved
        dz = self.activation.backward(kept, dy.reshape(kept.shape))
        blas.product(rows.T, dz, out=gradients["kernel"].reshape(rows.shape[1], dz.shape[1]))
        if self.use_bias:
            np.add.reduce(dz, axis=0, out=gradients["bias"])
        return self._d_input(blas.product(dz, self._kernel_matrix().T), x_shape) if input_gradient else None
