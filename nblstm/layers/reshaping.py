"""The same entries in another shape or order, and steps that are added, left out or repeated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nblstm.arguments import validate
from nblstm.layers.base.layer import Layer, register
from nblstm.layers.base.options import LayerOptions, Unpack
from nblstm.layers.base.shapes import Shape


@register()
class Flatten(Layer):
    """(B, ...) to (B, their product).

    Parameters
    ----------
    data_format : {None, "channels_last"}
    **kwargs
        Of `Layer`.
    """

    def __init__(self, data_format: str | None = None, **kwargs: Unpack[LayerOptions]):
        super().__init__(**kwargs)
        self.data_format = validate.channels_last(data_format)

    def _output_shape(self, shape: Shape) -> Shape:
        sizes = [n for n in shape[1:] if n is not None]
        return shape[0], math.prod(sizes) if len(sizes) == len(shape) - 1 else None

    def _forward(self, x, training, mask, generator):
        return x.reshape(x.shape[0], math.prod(x.shape[1:])), x.shape

    def _backward(self, saved, dy, gradients, input_gradient):
        return dy.reshape(saved)


@register()
class Reshape(Layer):
    """(B, ...) to (B, *target_shape).

    Parameters
    ----------
    target_shape : tuple of int
        Without the batch; one of them may be -1, which stands for what is left.
    **kwargs
        Of `Layer`.
    """

    def __init__(self, target_shape: int | Sequence[int], **kwargs: Unpack[LayerOptions]):
        super().__init__(**kwargs)
        sizes: tuple = tuple(target_shape) if isinstance(target_shape, list | tuple) else (target_shape,)
        if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in sizes):
            raise TypeError(f"target_shape is {target_shape!r}; give whole numbers, one of which may be -1")
        if sizes.count(-1) > 1 or any(n < -1 for n in sizes):
            raise ValueError(f"target_shape is {sizes}; give sizes of 0 or more, one of which may be -1")
        self.target_shape = tuple(int(n) for n in sizes)

    def _output_shape(self, shape: Shape) -> Shape:
        sizes = [n for n in shape[1:] if n is not None]
        known = math.prod(n for n in self.target_shape if n != -1)
        if len(sizes) < len(shape) - 1:
            return (shape[0], *(None if n == -1 else n for n in self.target_shape))
        entries = math.prod(sizes)
        left = entries // known if -1 in self.target_shape and known else 1
        if known * left != entries:
            raise ValueError(
                f"{self._label} got shape {tuple(shape)}, {entries} entries to a row; its target_shape "
                f"{self.target_shape} needs {known}{' times a whole number' * (-1 in self.target_shape)}"
            )
        return (shape[0], *(left if n == -1 else n for n in self.target_shape))

    def _forward(self, x, training, mask, generator):
        return x.reshape([n or 0 for n in self._output_shape(x.shape)]), x.shape

    def _backward(self, saved, dy, gradients, input_gradient):
        return dy.reshape(saved)


@register()
class RepeatVector(Layer):
    """(B, C) to (B, n, C): the same at each step.

    Parameters
    ----------
    n : int
    **kwargs
        Of `Layer`.
    """

    ndim = 2

    def __init__(self, n: int, **kwargs: Unpack[LayerOptions]):
        super().__init__(**kwargs)
        self.n = validate.positive_integer("n", n)

    def _output_shape(self, shape: Shape) -> Shape:
        return shape[0], self.n, shape[1]

    def _forward(self, x, training, mask, generator):
        return np.repeat(x[:, None], self.n, axis=1), None

    def _backward(self, saved, dy, gradients, input_gradient):
        return dy.sum(axis=1)


@register()
class Permute(Layer):
    """The dimensions in another order.

    Parameters
    ----------
    dims : tuple of int
        For each dimension of the output behind the batch that of the input, counted from 1: (2, 1) turns (B, T, C)
        into (B, C, T).
    **kwargs
        Of `Layer`.
    """

    def __init__(self, dims: Sequence[int], **kwargs: Unpack[LayerOptions]):
        given = tuple(dims) if isinstance(dims, list | tuple) else (dims,)
        whole = all(isinstance(d, int | np.integer) and not isinstance(d, bool) for d in given)
        if not whole or sorted(given) != list(range(1, len(given) + 1)):
            raise ValueError(f"dims is {dims!r}; give each number from 1 to that of the dimensions once, as in (2, 1)")
        self.dims = tuple(int(d) for d in given)
        self.ndim = len(given) + 1
        super().__init__(**kwargs)

    def _output_shape(self, shape: Shape) -> Shape:
        return (shape[0], *(shape[d] for d in self.dims))

    def _forward(self, x, training, mask, generator):
        return x.transpose(0, *self.dims), None

    def _backward(self, saved, dy, gradients, input_gradient):
        return dy.transpose(0, *np.argsort(self.dims) + 1)


@register()
class ZeroPadding1D(Layer):
    """Steps of zeros before and behind a sequence: (B, T, C) to (B, T', C).

    Parameters
    ----------
    padding : int or (int, int), default 1
        Steps at both ends, or at each.
    data_format : {None, "channels_last"}
    **kwargs
        Of `Layer`.
    """

    ndim = 3

    def __init__(
        self, padding: int | Sequence[int] = 1, data_format: str | None = None, **kwargs: Unpack[LayerOptions]
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.padding = _both_ends("padding", padding)
        self.data_format = validate.channels_last(data_format)

    def _output_shape(self, shape: Shape) -> Shape:
        return shape[0], None if shape[1] is None else shape[1] + sum(self.padding), shape[2]

    def _forward(self, x, training, mask, generator):
        return np.pad(x, ((0, 0), self.padding, (0, 0))), x.shape[1]

    def _backward(self, saved, dy, gradients, input_gradient):
        return dy[:, self.padding[0] : self.padding[0] + saved]


@register()
class Cropping1D(Layer):
    """A sequence without its first and last steps: (B, T, C) to (B, T', C).

    Parameters
    ----------
    cropping : int or (int, int), default (1, 1)
        Steps at both ends, or at each.
    **kwargs
        Of `Layer`.
    """

    ndim = 3

    def __init__(self, cropping: int | Sequence[int] = (1, 1), **kwargs: Unpack[LayerOptions]):
        super().__init__(**kwargs)
        self.cropping = _both_ends("cropping", cropping)

    def _output_shape(self, shape: Shape) -> Shape:
        left = None if shape[1] is None else shape[1] - sum(self.cropping)
        if left is not None and left < 1:
            raise ValueError(
                f"{self._label} got shape {tuple(shape)}, of which cropping {self.cropping} leaves no step; give "
                f"{sum(self.cropping) + 1} steps or more"
            )
        return shape[0], left, shape[2]

    def _forward(self, x, training, mask, generator):
        self._output_shape(x.shape)
        return x[:, self.cropping[0] : x.shape[1] - self.cropping[1]], x.shape

    def _backward(self, saved, dy, gradients, input_gradient):
        dx = np.zeros(saved, dy.dtype)
        dx[:, self.cropping[0] : saved[1] - self.cropping[1]] = dy
        return dx


@register()
class UpSampling1D(Layer):
    """Each step ``size`` times: (B, T, C) to (B, size T, C).

    Parameters
    ----------
    size : int, default 2
    **kwargs
        Of `Layer`.
    """

    ndim = 3

    def __init__(self, size: int = 2, **kwargs: Unpack[LayerOptions]):
        super().__init__(**kwargs)
        self.size = validate.positive_integer("size", size)

    def _output_shape(self, shape: Shape) -> Shape:
        return shape[0], None if shape[1] is None else shape[1] * self.size, shape[2]

    def _forward(self, x, training, mask, generator):
        return np.repeat(x, self.size, axis=1), None

    def _backward(self, saved, dy, gradients, input_gradient):
        B, T, C = dy.shape
        return dy.reshape(B, T // self.size, self.size, C).sum(axis=2)


def _both_ends(name: str, value) -> tuple[int, int]:
    """``value``, a number for both ends or one for each."""
    fix = "give a whole number of steps, 0 or more, or one for each end"
    given = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(given) != 2:
        raise ValueError(f"{name} has {len(given)} numbers; {fix}")
    first, last = (validate.whole_number(name, number, fix=fix) for number in given)
    return first, last
