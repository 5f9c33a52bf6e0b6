"""Windows that slide over time or space: their number, the padding, and what each of their entries sees.

R is the number of sliding dimensions, 1 for time and 2 for images; C the channels, last.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from nblstm.arguments import validate
from nblstm.layers.base import shapes
from nblstm.layers.base.shapes import Shape


@dataclass(frozen=True)
class Windows:
    """Sizes and steps of sliding windows.

    Attributes
    ----------
    size, strides, dilation : tuple of int, of length R
    padding : {"valid", "same", "causal"}
        "same" pads evenly, with the odd one at the end, so that there are ceil(size / stride) windows; "causal"
        pads the beginning, so that no window sees what comes later.
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: str
    dilation: tuple[int, ...]

    @property
    def spans(self) -> list[int]:
        """Entries from a window's first to its last, both included."""
        return [(k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True)]

    def counts(self, label: str, shape: Shape) -> Shape:
        """Number of windows in each sliding dimension of (B, ..., C); None where the size is unknown."""
        result: list[int | None] = []
        for n, span, stride in zip(shape[1:-1], self.spans, self.strides, strict=True):
            if n is None:
                result.append(None)
                continue
            count = (n - span) // stride + 1 if self.padding == "valid" else -(-n // stride)
            if count < 1:
                raise ValueError(
                    f"{label} got shape {tuple(shape)}, in which no window of {tuple(self.spans)} fits; give a larger "
                    "input, a smaller window, or padding='same'"
                )
            result.append(count)
        return tuple(result)

    def pads(self, sizes: tuple[int, ...]) -> list[tuple[int, int]]:
        """Entries to put before and behind each sliding dimension."""
        result = []
        for n, span, stride in zip(sizes, self.spans, self.strides, strict=True):
            total = max((-(-n // stride) - 1) * stride + span - n, 0)
            before = {"valid": 0, "same": total // 2, "causal": span - 1}[self.padding]
            result.append((before, total - before if self.padding == "same" else 0))
        return result

    def padded(self, x: np.ndarray, value: float) -> np.ndarray:
        """``x`` with ``value`` around it; ``x`` itself if no padding is needed."""
        pads = self.pads(x.shape[1:-1])
        return np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value) if any(map(any, pads)) else x

    def unpadded(self, padded: np.ndarray, x_shape: tuple[int, ...]) -> np.ndarray:
        """The part of ``padded`` that is not padding."""
        inner = (slice(p, p + n) for (p, _), n in zip(self.pads(x_shape[1:-1]), x_shape[1:-1], strict=True))
        return padded[(slice(None), *inner)]

    def places(self, counts: tuple[int, ...]):
        """Per entry of the window: its index, and the slice of a padded array that it meets, for all windows."""
        for entry in product(*map(range, self.size)):
            slices = [
                slice(i * d, i * d + (n - 1) * s + 1, s)
                for i, d, n, s in zip(entry, self.dilation, counts, self.strides, strict=True)
            ]
            yield entry, (slice(None), *slices)


def sliding(rank: int, size, strides, padding, dilation=1, *, name: str, paddings=("valid", "same")) -> Windows:
    """Checked `Windows`; ``name`` is what the size is called."""
    return Windows(
        shapes.integers(name, size, rank),
        shapes.integers("strides", strides, rank),
        validate.choice("padding", padding, paddings),
        shapes.integers("dilation_rate", dilation, rank),
    )
