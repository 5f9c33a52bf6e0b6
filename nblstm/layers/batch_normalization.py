"""Batch normalization."""

from __future__ import annotations

import math

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

#: Added to the number of entries that a mask leaves, as in Keras: with none, mean and variance are 0.
_NONE_LEFT = 1e-7
#: Numbers in a row that NumPy's loops are fast for.
_WIDE = 256


@register()
class BatchNormalization(Layer):
    """``y = gamma (x - mean) / sqrt(variance + epsilon) + beta``, with mean and variance of each entry of ``axis``.

    While training, they are those of the batch, and the optimizer's step is followed by

        moving_mean     = momentum moving_mean     + (1 - momentum) mean
        moving_variance = momentum moving_variance + (1 - momentum) variance

    Inference takes these, and so does training where ``trainable`` is False.

    Parameters
    ----------
    axis : int, default -1
        The dimension that keeps its entries apart: features.
    momentum : float, default 0.99
    epsilon : float, default 1e-3
    center, scale : bool, default True
        Whether there are ``beta`` and ``gamma``.
    beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer : str, Initializer, \
    callable or ndarray
    beta_regularizer, gamma_regularizer : str or Regularizer, optional
    beta_constraint, gamma_constraint : str or callable, optional
    renorm, renorm_clipping, renorm_momentum, synchronized
        Keras's; not supported, and refused unless they have their defaults.
    **kwargs
        Of `Layer`.

    Notes
    -----
    Parameters are ``gamma``, ``beta``, ``moving_mean`` and ``moving_variance``, a number for each entry of the axis.
    Steps that a mask leaves out are normalized too, but do not count in mean and variance of a batch. A pass in
    training mode that no step of an optimizer follows does not change the moving averages; in Keras it does.

    References
    ----------
    S. Ioffe and C. Szegedy, "Batch normalization", ICML 2015.
    """

    min_ndim = 2
    supports_masking = True

    def __init__(
        self, axis: int = -1, momentum: float = 0.99, epsilon: float = 1e-3, center: bool = True, scale: bool = True,
        beta_initializer: InitializerLike = "zeros", gamma_initializer: InitializerLike = "ones",
        moving_mean_initializer: InitializerLike = "zeros", moving_variance_initializer: InitializerLike = "ones",
        beta_regularizer: RegularizerLike = None, gamma_regularizer: RegularizerLike = None,
        beta_constraint: ConstraintLike = None, gamma_constraint: ConstraintLike = None, renorm: bool = False,
        renorm_clipping: None = None, renorm_momentum: float = 0.99, synchronized: bool = False,
        **kwargs: Unpack[LayerOptions],
    ):  # fmt: skip
        super().__init__(**kwargs)
        if not isinstance(axis, int | np.integer) or isinstance(axis, bool):
            raise TypeError(f"axis is {axis!r}; give a whole number")
        self.axis = int(axis)
        self.fixed_axes = (self.axis,)
        self.keeps_steps_apart = self.axis == -1 or self.axis > 1
        self.momentum = validate.number("momentum", momentum, 0, 1)
        self.epsilon = validate.number("epsilon", epsilon, 0)
        self.center, self.scale = validate.flag("center", center), validate.flag("scale", scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        self.renorm = validate.only("renorm", renorm, False)
        self.renorm_clipping = validate.only("renorm_clipping", renorm_clipping, None)
        self.renorm_momentum = validate.only("renorm_momentum", renorm_momentum, 0.99)
        self.synchronized = validate.only("synchronized", synchronized, False)

    def _check_ndim(self, shape: tuple) -> None:
        super()._check_ndim(shape)
        ndim = len(shape)
        if not -ndim <= self.axis < ndim or self.axis % ndim == 0:
            raise ValueError(
                f"{self._label} has axis {self.axis} and an input of {ndim} dimensions; give one from 1 to {ndim - 1}, "
                "or negative"
            )

    def _parameters_for(self, shape: Shape) -> dict[str, Parameter]:
        size = (shape[self.axis] or 0,)
        gamma = Parameter(size, self.gamma_initializer, self.gamma_regularizer, self.gamma_constraint)
        beta = Parameter(size, self.beta_initializer, self.beta_regularizer, self.beta_constraint)
        return ({"gamma": gamma} if self.scale else {}) | ({"beta": beta} if self.center else {}) | {
            "moving_mean": Parameter(size, self.moving_mean_initializer, trainable=False),
            "moving_variance": Parameter(size, self.moving_variance_initializer, trainable=False),
        }  # fmt: skip

    def _rows(self, array: np.ndarray) -> np.ndarray:
        """``array`` as (N, C) where the axis is the last, else as (N, C, entries behind it).

        Rows of few channels lie side by side, (N / k, k C): to sum (100352, 16) takes 2.0 ms, (6272, 256) 0.2.
        """
        if self.axis in (-1, array.ndim - 1):
            C = array.shape[-1]
            N = array.size // C
            k = math.gcd(N, 1 << max(_WIDE // C, 1).bit_length() - 1)
            return array.reshape(N // k, k * C)
        axis = self.axis % array.ndim
        shape = (math.prod(array.shape[:axis]), array.shape[axis], math.prod(array.shape[axis + 1 :]))
        return array.reshape(shape)

    def _forward(self, x, training, mask, generator):
        rows = self._rows(x)
        if not (training and self.trainable and x.size):
            scale, shift = self._derived("affine", self._affine)
            y = rows * _beside(scale, rows)
            y += _beside(shift, rows)
            return y.reshape(x.shape), (rows, None, x.shape)
        weights = None if mask is None else self._weights(mask, x.shape)
        mean, variance, centered, moments = _moments(rows, x.shape[self.axis], weights)
        self._measure(mean, variance)
        inverse = 1 / np.sqrt(variance + x.dtype.type(self.epsilon))
        y = centered * _beside(self._own["gamma"] * inverse if self.scale else inverse, rows)
        if self.center:
            y += _beside(self._own["beta"], rows)
        return y.reshape(x.shape), (centered, (inverse, *moments), x.shape)

    def _backward(self, saved, dy, gradients, input_gradient):
        """``dx = scale dy + weights / n (d_mean + 2 (x - mean) d_variance)``, with ``scale = gamma / deviation``.

        Here ``d_mean = -scale sum(dy)``, ``d_variance = -scale / (2 deviation**2) sum(dy (x - mean))``, and n is the
        sum of the weights, which are 1 but where a mask leaves entries out.
        """
        rows, batch, x_shape = saved
        dy = self._rows(dy)
        own, C = self._own, x_shape[self.axis]
        total, along = _total(dy, C), _total_of_products(dy, rows, C)
        if batch is None:
            inverse = 1 / np.sqrt(own["moving_variance"] + dy.dtype.type(self.epsilon))
            along -= own["moving_mean"] * total
        else:
            inverse, weights, count, off = batch
        if self.scale:
            np.multiply(along, inverse, out=gradients["gamma"])
        if self.center:
            gradients["beta"][...] = total
        if not input_gradient:
            return None
        scale = own["gamma"] * inverse if self.scale else inverse
        dx = dy * _beside(scale, rows)
        if batch is not None:
            slope = -scale * inverse * inverse * along / count
            d_mean = -scale * total / count - slope * off
            part = rows * _beside(slope, rows)
            part += _beside(d_mean, rows)
            if weights is not None:
                part *= weights
            dx += part
        return dx.reshape(x_shape)

    @np.errstate(under="ignore")
    def _affine(self, own: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """``scale`` and ``shift`` of inference, which is ``y = scale x + shift``."""
        variance = own["moving_variance"]
        scale = 1 / np.sqrt(variance + variance.dtype.type(self.epsilon))
        if self.scale:
            scale *= own["gamma"]
        shift = -own["moving_mean"] * scale
        return scale, shift + own["beta"] if self.center else shift

    def _weights(self, mask: np.ndarray, x_shape: tuple[int, ...]) -> np.ndarray:
        """A mask of steps as one of all entries, in the shape of `_rows`."""
        spread = mask.reshape(mask.shape + (1,) * (len(x_shape) - mask.ndim))
        return self._rows(np.broadcast_to(spread, x_shape))

    def _measure(self, mean: np.ndarray, variance: np.ndarray) -> None:
        """Note what `after_step` shall do, as ``moving = keep moving + part``: of all passes since the last step."""
        keep, parts = self.measured or (1.0, None)
        new = [value * (1.0 - self.momentum) for value in (mean, variance)]
        if parts is not None:
            new = [part * self.momentum + value for part, value in zip(parts, new, strict=True)]
        self.measured = keep * self.momentum, new

    @np.errstate(under="ignore")
    def after_step(self) -> None:
        """Move the averages towards what training passes have measured since the last step."""
        if self.measured is None:
            return
        (keep, parts), self.measured = self.measured, None
        with self._lock:
            self.forget()
            for name, part in zip(("moving_mean", "moving_variance"), parts, strict=True):
                self._own[name][...] = self._own[name] * keep + part
            self.forget()


def _beside(channels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A number for each channel in a shape that broadcasts over ``rows``."""
    if rows.ndim == 3:
        return channels[:, None]
    k = rows.shape[1] // channels.size
    return channels if k == 1 else np.concatenate([channels] * k)


def _total(rows: np.ndarray, C: int, **dtype) -> np.ndarray:
    """The sum of each of C channels."""
    if rows.ndim == 3:
        return np.add.reduce(rows, (0, 2), **dtype)
    total = np.add.reduce(rows, 0, **dtype)
    return total if total.size == C else np.add.reduce(total.reshape(-1, C), 0)


def _total_of_products(a: np.ndarray, b: np.ndarray, C: int) -> np.ndarray:
    """The sum of ``a b`` of each of C channels; without an array of the products, 35 us and not 59 for (800, 256)."""
    if a.ndim == 3:
        return np.einsum("nci,nci->c", a, b)
    total = np.einsum("nc,nc->c", a, b)
    return total if total.size == C else np.add.reduce(total.reshape(-1, C), 0)


def _moments(rows: np.ndarray, C: int, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple]:
    """Mean and variance of each channel, ``rows - mean``; and for `_backward` the weights, their sum n and more.

    The last is ``sum(weights (x - mean)) / n``, which is 0 but for `_NONE_LEFT`.
    """
    if weights is None:
        count = rows.size // C
        mean = _total(rows, C) / count
        centered = rows - _beside(mean, rows)
        return mean, _total_of_products(centered, centered, C) / count, centered, (None, count, 0.0)
    counts = _total(weights, C, dtype=rows.dtype) + rows.dtype.type(_NONE_LEFT)
    mean = _total(np.where(weights, rows, 0), C) / counts
    centered = rows - _beside(mean, rows)
    kept = np.where(weights, centered, 0)
    return mean, _total_of_products(kept, kept, C) / counts, centered, (weights, counts, _NONE_LEFT * mean / counts)
