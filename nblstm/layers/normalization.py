"""Normalization of rows by their own mean and variance, and of features by those of a data set."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

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
        return _checked_axes(self, self.fixed_axes, ndim)

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


@register()
class Normalization(Layer):
    """``y = (x - mean) / sqrt(variance)``, with the mean and variance that each feature has in a data set.

    They are given, or `adapt` measures them; before that they are 0 and 1. Training does not change them.

    Parameters
    ----------
    axis : int or list of int or None, default -1
        Dimensions whose entries are kept apart: features. With None, all numbers have one mean and variance.
    mean, variance : float or array_like, optional
        Both or none of them; they are broadcast over the sizes of ``axis``.
    invert : bool, default False
        Whether to undo it, ``y = mean + x sqrt(variance)``.
    **kwargs
        Of `Layer`.

    Notes
    -----
    Parameters are ``mean`` and ``variance``, in the shape of the axes, and ``count``, which Keras has beside them and
    does not use either; there are none where mean and variance are given. A standard deviation below 1e-7 counts as
    1e-7.

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm.layers import Normalization
    >>> layer = Normalization()
    >>> layer.adapt(np.array([[0.0, 7.0], [2.0, 9.0]]))
    >>> layer(np.array([[0.0, 9.0]]))
    array([[-1.,  1.]], dtype=float32)
    """

    supports_masking = True

    def __init__(
        self, axis: int | Sequence[int] | None = -1, mean: ArrayLike | None = None, variance: ArrayLike | None = None,
        invert: bool = False,
        **kwargs: Unpack[LayerOptions],
    ):  # fmt: skip
        super().__init__(**kwargs)
        given = () if axis is None else tuple(axis) if isinstance(axis, list | tuple) else (axis,)
        if not all(isinstance(a, numbers.Integral) and not isinstance(a, bool) for a in given):
            raise TypeError(f"axis is {axis!r}; give a whole number, a list of them, or None")
        self.axis = self.fixed_axes = tuple(int(a) for a in given)
        self.keeps_steps_apart = all(a == -1 or a > 1 for a in self.axis)
        if (mean is None) != (variance is None):
            raise ValueError(f"mean is {mean!r} and variance {variance!r}; give both, or leave them to adapt()")
        self.input_mean, self.input_variance = _plain("mean", mean), _plain("variance", variance)
        shapes = np.shape(self.input_mean), np.shape(self.input_variance)
        if shapes[0] != shapes[1]:
            raise ValueError(f"mean has shape {shapes[0]} and variance {shapes[1]}; give both the same")
        if variance is not None and np.less(self.input_variance, 0).any():
            raise ValueError(f"variance is {variance!r}; give numbers of 0 or more")
        self.invert = validate.flag("invert", invert)

    def _argument(self, name: str):
        return getattr(self, f"input_{name}" if name in ("mean", "variance") else name)

    @property
    def mean(self) -> np.ndarray | None:
        """The mean in a shape that broadcasts over the input; None before `build`."""
        return None if self.input_shape is None else self._moments(self._own, len(self.input_shape))[0]

    @property
    def variance(self) -> np.ndarray | None:
        """The variance in a shape that broadcasts over the input; None before `build`."""
        return None if self.input_shape is None else self._moments(self._own, len(self.input_shape))[1]

    def _check_ndim(self, shape: tuple) -> None:
        super()._check_ndim(shape)
        _checked_axes(self, self.axis, len(shape))

    def _sizes(self, shape: Shape) -> tuple[int, ...]:
        return tuple(n for n in (shape[a] for a in _checked_axes(self, self.axis, len(shape))) if n is not None)

    def _parameters_for(self, shape: Shape) -> dict[str, Parameter]:
        sizes = self._sizes(shape)
        if self.input_mean is None:
            zeros, ones = initializers.Zeros(), initializers.Ones()
            kept = {"mean": ((*sizes,), zeros), "variance": ((*sizes,), ones), "count": ((), zeros)}
            return {name: Parameter(*described, trainable=False) for name, described in kept.items()}
        try:
            np.broadcast_to(self.input_mean, sizes)
        except ValueError:
            raise ValueError(
                f"{self._label} has a mean of shape {np.shape(self.input_mean)} and its axes {self.axis} the sizes "
                f"{sizes}; give one that broadcasts over these"
            ) from None
        return {}

    def _moments(self, own: dict[str, np.ndarray], ndim: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance in a shape that broadcasts over an input of ``ndim`` dimensions."""
        assert self.input_shape is not None
        sizes, axes = self._sizes(self.input_shape), _checked_axes(self, self.axis, ndim)
        at = iter(sizes)
        spread = [next(at) if axis in axes else 1 for axis in range(ndim)]
        found = (self.input_mean, self.input_variance) if "mean" not in own else (own["mean"], own["variance"])
        mean, variance = (np.broadcast_to(np.array(value, self.dtype), sizes).reshape(spread) for value in found)
        return mean, variance

    def _used(self, own: dict[str, np.ndarray], ndim: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, which is at least 1e-7."""
        mean, variance = self._moments(own, ndim)
        return mean, np.maximum(np.sqrt(variance), variance.dtype.type(1e-7))

    def _forward(self, x, training, mask, generator):
        mean, deviation = self._derived(("used", x.ndim), lambda own: self._used(own, x.ndim))
        if self.invert:
            y = x * deviation
            y += mean
            return y, deviation
        y = x - mean
        y /= deviation
        return y, deviation

    def _backward(self, saved, dy, gradients, input_gradient):
        return dy * saved if self.invert else dy / saved

    @np.errstate(under="ignore")
    def adapt(self, data) -> None:
        """Measure mean and variance; builds the layer if it is not.

        Parameters
        ----------
        data : array_like, shape (N, ...), or iterable
            Samples; or a list, a generator, a `PyDataset` or another iterable of batches of them, x or (x, ...).

        Raises
        ------
        TypeError, ValueError
            If there are no numbers, some are not finite, or they do not fit the layer; or if it was made with a mean.
        """
        if self.input_mean is not None:
            raise ValueError(f"{self._label} was made with its mean and variance; leave these out, to adapt it")
        count, mean, squares = 0, np.float64(0), np.float64(0)
        for batch in _batches(data):
            x = np.asarray(self._converted(batch), np.float64)
            self._check_ndim(x.shape)
            if not self.built:
                self.build((None, *x.shape[1:]))
            elif self._sizes(x.shape) != self._sizes(self.input_shape or ()):
                raise ValueError(
                    f"{self._label} got data of shape {x.shape}; it was built for {self.input_shape}, so give the same "
                    f"size in each dimension of axis {self.axis}"
                )
            others = tuple(a for a in range(x.ndim) if a not in _checked_axes(self, self.axis, x.ndim))
            n = math.prod(x.shape[a] for a in others)
            if not n:
                continue
            own = x.mean(axis=others)
            squares = squares + x.var(axis=others) * n + np.square(own - mean) * (count * n / (count + n))
            mean, count = mean + (own - mean) * (n / (count + n)), count + n
        if not count:
            raise ValueError("adapt got no data; give an array of samples, or batches of them")
        if not np.isfinite(squares).all():
            raise ValueError("the data of adapt has NaN or infinite numbers; leave these out")
        self.load_state_dict({"mean": mean, "variance": squares / count, "count": 0})


def _checked_axes(layer: Layer, axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """The axes from 1 on, in order."""
    found = sorted({a % ndim if -ndim <= a < ndim else 0 for a in axes})
    if 0 in found or len(found) < len(axes):
        axis = getattr(layer, "axis", axes)
        if ndim == 1:
            raise ValueError(
                f"{layer._label} has axis {axis} and an input of 1 dimension, that of the samples; give x[:, None], "
                "samples of one feature, or make the layer with axis=None"
            )
        raise ValueError(
            f"{layer._label} has axis {axis} and an input of {ndim} dimensions; give different ones from 1 to "
            f"{ndim - 1}, or negative"
        )
    return tuple(found)


def _plain(name: str, value) -> Any:
    """Numbers as a float or nested lists of them, which a config can hold."""
    return None if value is None else validate.real_array(name, value, "float64").tolist()


def _batches(data) -> Iterator[Any]:
    """Samples of each batch; an array, or a list of numbers, is one batch."""
    listed = isinstance(data, list | tuple)
    first = data[0] if listed and data else data
    if hasattr(data, "__array__") or (listed and data and not hasattr(_samples(first), "__array__")):
        return iter([data])
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not listed:  # a PyDataset, which has no end
        return (_samples(data[k]) for k in range(len(data)))
    if not isinstance(data, Iterable):
        raise TypeError(f"data is {data!r} of type {type(data).__name__}; give an array of samples, or batches of them")
    return (_samples(batch) for batch in data)


def _samples(batch) -> Any:
    """x of a batch x or (x, ...)."""
    return batch[0] if isinstance(batch, tuple) and batch else batch
