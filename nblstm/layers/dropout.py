"""Dropout, of single numbers or of whole features, and noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nblstm.arguments import seeds, validate
from nblstm.engine.dropout import dropout_factors
from nblstm.layers.base.layer import Layer, register
from nblstm.layers.base.options import LayerOptions, Unpack
from nblstm.layers.base.shapes import dimensions


def seeded(seed: int | None) -> np.random.Generator | None:
    """A layer's own source of randomness, if it is given a seed."""
    return None if seed is None else seeds.generator(seed)


class _DropoutLayer(Layer):
    """A subclass says in `_drawn_shape` which numbers are dropped together."""

    supports_masking = True
    keeps_steps_apart = True

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Unpack[LayerOptions]):
        super().__init__(**kwargs)
        self.rate = validate.probability("rate", rate)
        self.seed, self.generator = seed, seeded(seed)

    def _drawn_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what is drawn, broadcast over x."""
        raise NotImplementedError(f"{type(self).__name__} has no _drawn_shape; write it")

    def _factors(self, source: np.random.Generator, x: np.ndarray) -> np.ndarray:
        return dropout_factors(source, self._drawn_shape(x.shape), x.dtype, self.rate)

    def _forward(self, x, training, mask, generator):
        if not training or not self.rate:
            return x, None
        factors = self._factors(self.generator or generator or seeds.generator(), x)
        return x * factors, factors

    def _backward(self, saved, dy, gradients, input_gradient):
        return dy if saved is None else dy * saved


@register()
class Dropout(_DropoutLayer):
    """While training, sets entries to 0 with probability ``rate`` and scales the others up, to keep the mean.

    Parameters
    ----------
    rate : float
        0 or more and below 1.
    noise_shape : tuple of int or None, optional
        Shape of what is drawn, broadcast over the input; None stands for the input's size. (None, 1, None) drops
        the same features of all steps.
    seed : int, optional
        Gives the layer a source of randomness of its own, `generator`; otherwise `forward`'s is used.
    **kwargs
        Of `Layer`.

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.
    """

    def __init__(
        self, rate: float, noise_shape: Sequence[int | None] | None = None, seed: int | None = None,
        **kwargs: Unpack[LayerOptions],
    ):  # fmt: skip
        super().__init__(rate, seed, **kwargs)
        self.noise_shape = None if noise_shape is None else dimensions("noise_shape", noise_shape)

    def _drawn_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.noise_shape is None:
            return x_shape
        drawn = self.noise_shape
        if len(drawn) != len(x_shape) or any(d not in (None, 1, n) for d, n in zip(drawn, x_shape, strict=True)):
            raise ValueError(f"noise_shape is {drawn} and x has shape {x_shape}; give 1, None or x's size for each")
        return tuple(n if d is None else d for d, n in zip(drawn, x_shape, strict=True))


@register()
class SpatialDropout1D(_DropoutLayer):
    """`Dropout` of the same features in all steps of a sequence, (B, T, C).

    Parameters
    ----------
    rate : float
        0 or more and below 1.
    seed : int, optional
        As of `Dropout`.
    **kwargs
        Of `Layer`.

    References
    ----------
    J. Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015.
    """

    ndim = 3

    def _drawn_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        return x_shape[0], 1, x_shape[2]


@register()
class GaussianDropout(_DropoutLayer):
    """While training, multiplies entries by normal numbers of mean 1 and standard deviation sqrt(rate / (1 - rate)).

    Parameters
    ----------
    rate : float
        0 or more and below 1.
    seed : int, optional
        As of `Dropout`.
    **kwargs
        Of `Layer`.

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.
    """

    def _factors(self, source: np.random.Generator, x: np.ndarray) -> np.ndarray:
        return 1 + _normal(source, x, math.sqrt(self.rate / (1 - self.rate)))


@register()
class GaussianNoise(Layer):
    """While training, adds normal numbers of mean 0.

    Parameters
    ----------
    stddev : float
        Their standard deviation, from 0 to 1.
    seed : int, optional
        As of `Dropout`.
    **kwargs
        Of `Layer`.
    """

    supports_masking = True
    keeps_steps_apart = True

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Unpack[LayerOptions]):
        super().__init__(**kwargs)
        self.stddev = validate.number("stddev", stddev, 0, 1)
        self.seed, self.generator = seed, seeded(seed)

    def _forward(self, x, training, mask, generator):
        if not training or not self.stddev:
            return x, None
        return x + _normal(self.generator or generator or seeds.generator(), x, self.stddev), None

    def _backward(self, saved, dy, gradients, input_gradient):
        return dy


def _normal(source: np.random.Generator, x: np.ndarray, stddev: float) -> np.ndarray:
    """Normal numbers of mean 0 for each entry of x."""
    drawn = source.standard_normal(x.shape, dtype=x.dtype)
    drawn *= stddev
    return drawn
