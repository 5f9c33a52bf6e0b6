"""Requests to BPTT: to do something at each step with the gradients of its states, to measure them, to keep apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


class Clip(NamedTuple):
    """A clip of the gradient of a state.

    Attributes
    ----------
    by_norm : bool
        Whether by the norm over the units of a sequence, rather than unit by unit.
    limits : ndarray, shape (H,)
        Of each unit; a norm's is the first.
    """

    by_norm: bool
    limits: np.ndarray


class Samples(NamedTuple):
    """Gradients of all parameters for each sequence of a batch.

    Attributes
    ----------
    flat : ndarray, shape (B, P)
        Zeros at first, which are added to.
    sequence : ndarray of int64, shape (n,)
        The row of ``flat`` of each sequence of the packed batch, in sorted order; pieces of one sequence have the same.
    apart : bool
        Whether no two have the same.
    """

    flat: np.ndarray
    sequence: np.ndarray
    apart: bool

    def add(self, place: slice, rows: np.ndarray, sequence: np.ndarray) -> None:
        """Add ``rows`` (n, K) to ``flat[sequence, place]``; where they are apart, these are 0 and are set."""
        if self.apart:
            self.flat[sequence, place] = rows
        else:
            np.add.at(self.flat[:, place], sequence, rows)


@dataclass
class EachStep:
    """Requests to BPTT through one layer for each step; see `cpu.kernels.state_gradients`.

    Attributes
    ----------
    clips : list of Clip or None
        Of each state, in the cell's order.
    truncate : int
        Gradients flow back through no more steps than this; 0 for no such limit.
    given : list of ndarray, shape (N, D H), or None
        Gradients of each state at each step, beside dy, as packed rows.
    norms : ndarray, shape (S, D, N), or None
        Where the norms of each state's gradients go.
    mask : ndarray, shape (D, B, H), or None
        The factors of recurrent dropout, whose cell has a state more before these, and one behind them.
    """

    clips: list[Clip | None]
    truncate: int = 0
    given: list[np.ndarray | None] = field(default_factory=list)
    norms: np.ndarray | None = None
    mask: Any = None

    @property
    def whole_rows(self) -> bool:
        """True if a norm over all units is needed."""
        return self.norms is not None or any(clip is not None and clip.by_norm for clip in self.clips)
