"""Activations as layers."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from functools import cache, partial

import numpy as np

from nblstm import activations, constraints, initializers, regularizers
from nblstm.activations import ActivationFunction
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
from nblstm.symbolic import functions


class _Formula(Layer):
    """``y = activation(x)``; a subclass sets it."""

    activation: ActivationFunction
    supports_masking = True
    keeps_steps_apart = True

    def _forward(self, x, training, mask, generator):
        return self.activation.forward(x)

    def _backward(self, saved, dy, gradients, input_gradient):
        return self.activation.backward(saved, dy)


@register()
class Activation(_Formula):
    """``y = activation(x)``.

    Parameters
    ----------
    activation : str or ActivationFunction
    **kwargs
        Of `Layer`.
    """

    def __init__(self, activation: ActivationLike, **kwargs: Unpack[LayerOptions]):
        super().__init__(**kwargs)
        self.activation = activations.get(activation)


@register()
class ReLU(_Formula):
    """``y = min(x, max_value)`` where x is above ``threshold``, else ``negative_slope (x - threshold)``.

    Parameters
    ----------
    max_value : float, optional
        No limit if not given.
    negative_slope : float, default 0
    threshold : float, default 0
    **kwargs
        Of `Layer`.
    """

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0,
        **kwargs: Unpack[LayerOptions],
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.max_value = None if max_value is None else validate.number("max_value", max_value, 0)
        self.negative_slope = validate.number("negative_slope", negative_slope, 0)
        self.threshold = validate.number("threshold", threshold, 0)
        self.activation = _relu(self.max_value, self.negative_slope, self.threshold)


@register()
class LeakyReLU(_Formula):
    """``x`` above 0, ``negative_slope x`` below.

    Parameters
    ----------
    negative_slope : float, default 0.3
    alpha : float, optional
        Keras 2's name of ``negative_slope``.
    **kwargs
        Of `Layer`.

    References
    ----------
    A. Maas, A. Hannun and A. Ng, "Rectifier nonlinearities improve neural network acoustic models", ICML 2013.
    """

    unsaved = (*Layer.unsaved, "alpha")

    def __init__(self, negative_slope: float = 0.3, *, alpha: float | None = None, **kwargs: Unpack[LayerOptions]):
        super().__init__(**kwargs)
        if alpha is not None:
            if negative_slope not in (0.3, alpha):
                raise ValueError(
                    f"negative_slope is {negative_slope} and alpha, its name in Keras 2, {alpha}; give one"
                )
            negative_slope = alpha
        self.negative_slope = validate.number("negative_slope", negative_slope, 0)
        self.activation = _leaky_relu(self.negative_slope)


@register()
class ELU(_Formula):
    """``x`` above 0, ``alpha (e**x - 1)`` below.

    Parameters
    ----------
    alpha : float, default 1
    **kwargs
        Of `Layer`.

    References
    ----------
    D.-A. Clevert, T. Unterthiner and S. Hochreiter, "Fast and accurate deep network learning by exponential linear
    units", ICLR 2016.
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Unpack[LayerOptions]):
        super().__init__(**kwargs)
        self.alpha = validate.number("alpha", alpha)
        self.activation = _elu(self.alpha)


@cache  # to derive value and gradient takes 1 ms
def _relu(max_value: float | None, negative_slope: float, threshold: float) -> ActivationFunction:
    if (max_value, threshold) == (None, 0):
        return activations.relu if not negative_slope else _leaky_relu(negative_slope)

    def equation(x):
        above = functions.relu(x) if max_value is None else functions.clip(x, 0.0, max_value)
        if threshold:
            above = functions.where(x > threshold, above, 0.0)
        return above + negative_slope * functions.minimum(x - threshold, 0.0) if negative_slope else above

    return ActivationFunction("relu_with_limits", scalar=equation)


@cache
def _leaky_relu(negative_slope: float) -> ActivationFunction:
    return ActivationFunction("leaky_relu", scalar=partial(functions.leaky_relu, negative_slope=negative_slope))


@cache
def _elu(alpha: float) -> ActivationFunction:
    return activations.elu if alpha == 1 else ActivationFunction("elu", scalar=partial(functions.elu, alpha=alpha))


@register()
class PReLU(Layer):
    """``x`` above 0, ``alpha x`` below, with a learned ``alpha`` for each entry of a row.

    Parameters
    ----------
    alpha_initializer : str, Initializer, callable or ndarray, default "zeros"
    alpha_regularizer : str or Regularizer, optional
    alpha_constraint : str or callable, optional
    shared_axes : int or list of int, optional
        Dimensions, counted with the batch from 0, along which all entries have the same alpha: 1 for all steps of
        (B, T, C).
    **kwargs
        Of `Layer`.

    Notes
    -----
    The parameter is ``alpha``, in the shape of the input without the batch, and 1 for each of ``shared_axes``.

    References
    ----------
    K. He, X. Zhang, S. Ren and J. Sun, "Delving deep into rectifiers", ICCV 2015.
    """

    min_ndim = 2
    supports_masking = True

    def __init__(
        self, alpha_initializer: InitializerLike = "Zeros", alpha_regularizer: RegularizerLike = None,
        alpha_constraint: ConstraintLike = None, shared_axes: int | Sequence[int] | None = None,
        **kwargs: Unpack[LayerOptions],
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        given = () if shared_axes is None else shared_axes if isinstance(shared_axes, list | tuple) else (shared_axes,)
        self._shared = {validate.positive_integer("an entry of shared_axes", axis) for axis in given}
        self.shared_axes = None if shared_axes is None else sorted(self._shared)
        self.keeps_steps_apart = 1 in self._shared

    def _check_ndim(self, shape: tuple) -> None:
        super()._check_ndim(shape)
        if max(self._shared, default=0) >= len(shape):
            raise ValueError(
                f"{self._label} has shared_axes {self.shared_axes} and an input of {len(shape)} dimensions; give some "
                f"from 1 to {len(shape) - 1}"
            )
        if self.input_shape is not None and len(shape) != len(self.input_shape):
            raise ValueError(f"{self._label} got shape {tuple(shape)}; it was built for {self.input_shape}")

    def _parameters_for(self, shape: Shape) -> dict[str, Parameter]:
        sizes = [1 if axis in self._shared else n for axis, n in enumerate(shape)][1:]
        unknown = [axis for axis, n in enumerate(sizes, 1) if n is None]
        if unknown:
            raise ValueError(
                f"{self._label} has input_shape {shape}, and an alpha for each entry of a row; give the sizes, or "
                f"shared_axes={unknown}"
            )
        alpha = tuple(n for n in sizes if n is not None)
        return {"alpha": Parameter(alpha, self.alpha_initializer, self.alpha_regularizer, self.alpha_constraint)}

    def build(self, input_shape, generator: np.random.Generator | None = None) -> None:
        """Make ``alpha``; see `Layer.build`."""
        super().build(input_shape, generator)
        assert self.input_shape is not None
        self.fixed_axes = tuple(axis for axis in range(1, len(self.input_shape)) if axis not in self._shared)

    def _forward(self, x, training, mask, generator):
        negative = np.minimum(x, 0)
        y = negative * self._own["alpha"]
        y += np.maximum(x, 0)
        return y, (x, negative)

    def _backward(self, saved, dy, gradients, input_gradient):
        """``d_alpha = sum(dy min(x, 0))``; ``dx = dy`` above 0, ``alpha dy`` below, and 0 at 0, as in Keras."""
        x, negative = saved
        alpha = self._own["alpha"]
        summed = (0, *(axis for axis in range(1, x.ndim) if alpha.shape[axis - 1] == 1 != x.shape[axis]))
        gradients["alpha"][...] = np.add.reduce(dy * negative, summed).reshape(alpha.shape)
        if not input_gradient:
            return None
        dx = np.where(x < 0, alpha, (x > 0).astype(x.dtype))
        dx *= dy
        return dx


@register()
class Softmax(Layer):
    """``y = e**x / sum(e**x)``, the sum over ``axis``.

    Parameters
    ----------
    axis : int or list of int, default -1
    **kwargs
        Of `Layer`.

    Notes
    -----
    What a mask leaves out becomes 0, and the other entries have the sum 1: for scores (B, T), the mask (B, T) of their
    steps gives weights of attention.
    """

    min_ndim = 2
    supports_masking = True

    def __init__(self, axis: int | Sequence[int] = -1, **kwargs: Unpack[LayerOptions]):
        super().__init__(**kwargs)
        given = tuple(axis) if isinstance(axis, list | tuple) else (axis,)
        if not given or not all(isinstance(a, numbers.Integral) and not isinstance(a, bool) for a in given):
            raise TypeError(f"axis is {axis!r}; give a whole number or a list of them")
        self._axes = tuple(int(a) for a in given)
        self.axis = self._axes if isinstance(axis, list | tuple) else self._axes[0]
        self.keeps_steps_apart = all(a == -1 or a > 1 for a in self._axes)

    def _check_ndim(self, shape: tuple) -> None:
        super()._check_ndim(shape)
        ndim = len(shape)
        if any(not -ndim <= a < ndim or a % ndim == 0 for a in self._axes):
            raise ValueError(
                f"{self._label} has axis {self.axis} and an input of {ndim} dimensions; give 1 to {ndim - 1}, or "
                "negative"
            )

    def _forward(self, x, training, mask, generator):
        if mask is None and self._axes in ((-1,), (x.ndim - 1,)):
            return activations.softmax.forward(x)
        if mask is not None:
            mask = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
            x = np.where(mask, x, x.dtype.type(-math.inf))
        largest = np.maximum.reduce(x, self._axes, keepdims=True)
        e = np.exp(x - np.where(largest > -math.inf, largest, 0))
        total = np.add.reduce(e, self._axes, keepdims=True)
        e /= np.where(total > 0, total, 1)  # 0 where a mask leaves nothing
        return e, e

    def _backward(self, saved, dy, gradients, input_gradient):
        """``dx = y (dy - sum(dy y))``."""
        return saved * (dy - np.add.reduce(dy * saved, self._axes, keepdims=True))
