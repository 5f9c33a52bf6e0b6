"""Quantiles that users want, and the intervals between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nblstm.arguments import validate


def checked_quantiles(quantiles) -> np.ndarray:
    """Quantiles that a user wants, and the median, in ascending order."""
    if not np.iterable(quantiles) or isinstance(quantiles, str):
        raise TypeError(f"quantiles is {quantiles!r}; give numbers between 0 and 1, such as (0.05, 0.5, 0.95), or None")
    found = [validate.number("a quantile", q, 0, 1, above=True, below=True) for q in quantiles]
    if not found:
        raise ValueError("quantiles is empty; give numbers between 0 and 1, such as (0.05, 0.5, 0.95), or None")
    return np.unique([*found, 0.5])


def intervals(levels: Sequence[float]) -> dict[float, tuple[int, int]]:
    """Places of the quantiles q and 1 - q among ``levels``, by the share between them, the widest first."""
    found = {}
    for low, q in enumerate(levels):
        for high, other in enumerate(levels):
            if q < 0.5 and abs(q + other - 1) < 1e-9:
                found[round(other - q, 9)] = (low, high)
    return found


def interval(levels: Sequence[float], coverage: float) -> list[int]:
    """The places among ``levels`` of the quantiles ``(1 - coverage) / 2`` and ``(1 + coverage) / 2``."""
    coverage = validate.number("coverage", coverage, 0, 1, above=True, below=True)
    pairs = intervals(levels)
    nearest = min(pairs, key=lambda share: abs(share - coverage), default=0.0)
    if abs(nearest - coverage) > 1e-6:
        have = f"have intervals of {list(pairs)}; give one of these, or fit" if pairs else "have no such interval; fit"
        raise ValueError(
            f"coverage is {coverage:g}, and quantiles {tuple(levels)} {have} with the quantiles "
            f"{(1 - coverage) / 2:g} and {(1 + coverage) / 2:g}"
        )
    return list(pairs[nearest])
