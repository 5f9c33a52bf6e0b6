"""Layer normalization."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import numpy as np

from nblstm import constraints, initializers, regularizers
from nblstm.arguments import validate
from nblstm.layers.base.layer import Layer, register
from nblstm.layers.base.options import (
    ConstraintLike,
    InitializerLike,
    LayerOptions,
    RegularizerLike,
    Unpack,
)
from nblstm.layers.base.parameters import Parameter
from nblstm.layers.base.shapes import Shape


@register()
class LayerNormalization(Layer):
    """``y = gamma (x - mean) / sqrt(variance + epsilon) + beta``, with mean and variance over ``axis``.

    Parameters
    ----------
    axis : int or list of int, default -1
    epsilon : float, default 1e-3
    center, scale : bool, default True
        Whether there are ``beta`` and ``gamma``.
    beta_initializer, gamma_initializer : str, Initializer, callable or ndarray
    beta_regularizer, gamma_regularizer : str or Regularizer, optional
    beta_constraint, gamma_constraint : str or callable, optional
    **kwargs
        Of `Layer`.

    Notes
    -----
    Parameters are ``gamma`` and ``beta``, in the shape of the axes.

    References
    ----------
    J. Ba, J. Kiros and G. Hinton, "Layer normalization", arXiv:1607.06450, 2016.
    """

    min_ndim = 2
    supports_masking = True

    def __init__(
        self, axis: int | Sequence[int] = -1, epsilon: float = 1e-3, center: bool = True, scale: bool = True,
        beta_initializer: InitializerLike = "zeros", gamma_initializer: InitializerLike = "ones",
        beta_regularizer: RegularizerLike = None, gamma_regularizer: RegularizerLike = None,
        beta_constraint: ConstraintLike = None, gamma_constraint: ConstraintLike = None, **kwargs: Unpack[LayerOptions],
    ):  # fmt: skip
        super().__init__(**kwargs)
        given = tuple(axis) if isinstance(axis, list | tuple) else (axis,)
        if not given or not all(isinstance(a, numbers.Integral) and not isinstance(a, bool) for a in given):
            raise TypeError(f"axis is {axis!r}; give a whole number or a list of them")
        self.fixed_axes = tuple(int(a) for a in given)
        self.axis = self.fixed_axes if isinstance(axis, list | tuple) else self.fixed_axes[0]
        self.epsilon = validate.number("epsilon", epsilon, 0)
        self.keeps_steps_apart = self.fixed_axes == (-1,)
        self.center, self.scale = validate.flag("center", center), validate.flag("scale", scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)

    def _axes(self, ndim: int) -> tuple[int, ...]:
        """The axes from 1 on, in order."""
        axes = sorted({a % ndim if -ndim <= a < ndim else 0 for a in self.fixed_axes})
        if axes[0] == 0 or len(axes) < len(self.fixed_axes):
            raise ValueError(
                f"{self._label} has axis {self.axis} and an input of {ndim} dimensions; give different ones from 1 to "
                f"{ndim - 1}, or negative"
            )
        return tuple(axes)

    def _check_ndim(self, shape: tuple) -> None:
        super()._check_ndim(shape)
        self._axes(len(shape))

    def _parameters_for(self, shape: Shape) -> dict[str, Parameter]:
        sizes = tuple(n for n in (shape[a] for a in self._axes(len(shape))) if n is not None)
        gamma = Parameter(sizes, self.gamma_initializer, self.gamma_regularizer, self.gamma_constraint)
        beta = Parameter(sizes, self.beta_initializer, self.beta_regularizer, self.beta_constraint)
        return ({"gamma": gamma} if self.scale else {}) | ({"beta": beta} if self.center else {})

    def _spread(self, name: str, axes: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
        """A parameter in a shape that broadcasts over the input."""
        return self._own[name].reshape([n if a in axes else 1 for a, n in enumerate(shape)])

    def _forward(self, x, training, mask, generator):
        axes = self._axes(x.ndim)
        centered = x - x.mean(axis=axes, keepdims=True)
        variance = np.square(centered).mean(axis=axes, keepdims=True)
        inverse = 1 / np.sqrt(variance + x.dtype.type(self.epsilon))
        normal = centered * inverse
        y = normal * self._spread("gamma", axes, x.shape) if self.scale else normal
        return y + self._spread("beta", axes, x.shape) if self.center else y, (normal, inverse)

    def _backward(self, saved, dy, gradients, input_gradient):
        """``dx = (d_normal - mean(d_normal) - normal mean(d_normal normal)) / sqrt(variance + epsilon)``."""
        normal, inverse = saved
        axes = self._axes(dy.ndim)
        others = tuple(a for a in range(dy.ndim) if a not in axes)
        if self.scale:
            (dy * normal).sum(axis=others, out=gradients["gamma"])
        if self.center:
            dy.sum(axis=others, out=gradients["beta"])
        if not input_gradient:
            return None
        d_normal = dy * self._spread("gamma", axes, dy.shape) if self.scale else dy
        along = (d_normal * normal).mean(axis=axes, keepdims=True)
        return (d_normal - d_normal.mean(axis=axes, keepdims=True) - normal * along) * inverse
