"""Windows of convolution and pooling: sizes, padding, and the elements at each place of the kernel."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np


class Windows:
    """The windows of a kernel that moves over an input.

    Parameters
    ----------
    sizes : tuple of int
        Of the input's dimensions behind batch and channels.
    kernel, strides, dilations : sequence of int
        For each of these; 1 where strides or dilations are None.
    pads : sequence of int or None
        Before each dimension, then behind each.
    auto_pad : str
    ceil_mode : bool, default False
        Whether a window may begin inside and end outside of the padded input.

    Attributes
    ----------
    outputs : tuple of int
        How many windows there are along each dimension.
    """

    def __init__(self, sizes, kernel, strides, pads, dilations, auto_pad: str, ceil_mode: bool = False):
        n = len(sizes)
        self.sizes, self.kernel = tuple(sizes), tuple(kernel)
        self.strides, self.dilations = tuple(strides or (1,) * n), tuple(dilations or (1,) * n)
        pads = tuple(pads or (0,) * 2 * n)
        given = {"kernel_shape": self.kernel, "strides": self.strides, "dilations": self.dilations, "pads": pads}
        for name, values in given.items():
            least = 0 if name == "pads" else 1
            if len(values) != n * (2 if name == "pads" else 1) or min(values, default=1) < least:
                raise ValueError(f"{name} is {values[:20]} for {n} dimensions of an input; these do not fit")
        self.reach = tuple([(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)])
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            self.outputs = tuple([-(-size // s) for size, s in zip(self.sizes, self.strides, strict=True)])
            total = [
                max((out - 1) * s + reach - size, 0)
                for out, s, reach, size in zip(self.outputs, self.strides, self.reach, self.sizes, strict=True)
            ]
            small, large = [t // 2 for t in total], [t - t // 2 for t in total]
            self.before, behind = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
        elif auto_pad in ("NOTSET", "VALID"):
            self.before, behind = list(pads[:n]), list(pads[n:])
            if auto_pad == "VALID":
                self.before = behind = [0] * n
            self.outputs = tuple([self._count(k, self.before[k] + behind[k], ceil_mode) for k in range(n)])
        else:
            raise ValueError(
                f"auto_pad is {auto_pad!r}; it needs to be 'NOTSET', 'VALID', 'SAME_UPPER' or 'SAME_LOWER'"
            )
        self.behind = behind
        if min(self.outputs, default=0) < 1:
            raise ValueError(f"an input of {self.sizes} has no place for a kernel that reaches over {self.reach}")
        #: What the last windows need behind the input, padding or not.
        self.needed = tuple([
            max((out - 1) * s + reach - size - before, 0)
            for out, s, reach, size, before in zip(
                self.outputs, self.strides, self.reach, self.sizes, self.before, strict=True
            )
        ])  # fmt: skip

    def _count(self, k: int, padding: int, ceil_mode: bool) -> int:
        room, stride = self.sizes[k] + padding - self.reach[k], self.strides[k]
        if room < 0:
            return 0
        count = (-(-room // stride) if ceil_mode else room // stride) + 1
        # A window that begins in the padding behind the input is none.
        return count - (ceil_mode and (count - 1) * stride >= self.sizes[k] + self.before[k])

    @property
    def padded_sizes(self) -> tuple[int, ...]:
        """Sizes of the input with its padding."""
        return tuple([a + b + c for a, b, c in zip(self.before, self.sizes, self.needed, strict=True)])

    def padded(self, x: np.ndarray, value) -> np.ndarray:
        """The input with a value around it."""
        if not any(self.before) and not any(self.needed):
            return x
        result = np.full((*x.shape[:2], *self.padded_sizes), value, x.dtype)
        inner = [slice(a, a + size) for a, size in zip(self.before, self.sizes, strict=True)]
        result[(slice(None), slice(None), *inner)] = x
        return result

    def at(self, padded: np.ndarray, place: tuple[int, ...]) -> np.ndarray:
        """Elements that all windows see at a place of the kernel, (..., *outputs)."""
        chosen: list[Any] = [
            slice(p * d, p * d + (out - 1) * s + 1, s)
            for p, d, out, s in zip(place, self.dilations, self.outputs, self.strides, strict=True)
        ]
        return padded[(slice(None), slice(None), *chosen)]


def padded_elements(
    x,
    weights=None,
    *_,
    auto_pad="NOTSET",
    kernel_shape=None,
    strides=None,
    pads=None,
    dilations=None,
    ceil_mode=0,
    **__,
) -> int:
    """The most elements that a convolution or pooling makes."""
    kernel = weights.shape[2:] if kernel_shape is None else kernel_shape
    windows = Windows(x.shape[2:], kernel, strides, pads, dilations, auto_pad, bool(ceil_mode))
    channels = x.shape[1] if weights is None else max(x.shape[1], weights.shape[0])
    return len(x) * channels * max(prod(windows.padded_sizes), prod(windows.outputs))
