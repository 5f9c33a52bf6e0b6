"""A batch of sequences as packed rows: the one form in which kernels see it.

Rows of the batch are sorted by length, longest first, so those that still run at step t are the first
``active[t]``. Step after step, only running rows are stored: row b of step t is packed row ``offset[t] + b``.
Work and memory are then proportional to the sum of the lengths. A batch of equal lengths is packed as it is; batches of
the devices, `cpu.arrays` and `cuda.arrays`, copy the rows of others.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import numpy as np

#: Batches of equal lengths with no more steps and sequences together than this are remembered: 64 of them take 2 MB at
#: most, and to make one takes 5 us.
FEW = 2048


class Batch:
    """Arrangement of a batch in packed rows.

    Parameters
    ----------
    T, B : int
        Steps and sequences of the padded batch.
    lengths : ndarray of int64, shape (B,), optional
        Length of each sequence, 0 to T; all T if not given.

    Attributes
    ----------
    N : int
        Packed rows, the sum of the lengths.
    active, offset : ndarray of int64, shape (T,)
        Sequences that run at each step, and the packed row of the first of them.
    order : ndarray of int64, shape (B,), or None
        The sequence in each sorted place; None where nothing needs sorting or packing.
    """

    order: np.ndarray | None = None
    #: Whether packed rows are gathered by an index, as with a mask; see `GatheredBatch`.
    gathered = False
    #: Whether states are set back to the initial ones within a sequence, see `ResetBatch`.
    restarts = False
    #: Whether the caller's x, y and their gradients are padded, (T, B, K), rather than packed rows (N, K).
    padded = True

    def __init__(self, T: int, B: int, lengths: np.ndarray | None = None):
        self.T, self.B = T, B
        self.N = T * B if lengths is None else int(np.add.reduce(lengths))
        self.uniform = self.N == T * B
        self.derived: dict = {}  # what a device derives from it and keeps with it
        if lengths is None or self.uniform:
            self.lengths = np.full(B, T, np.int64)
            self.active = np.full(T, B, np.int64)
            self.offset = np.arange(T) * B
        else:
            self._arrange(lengths)

    def _arrange(self, lengths: np.ndarray) -> None:
        """Sort by length, longest first; ``active[t] = (lengths > t).sum()``, ``offset[t] = active[:t].sum()``.

        It takes 4 us for T=20, B=8 and 5 for T=100, B=32, as the counts come from bisection in the sorted lengths.
        """
        negative = -lengths
        self.order = negative.argsort(kind="stable")
        negative = negative[self.order]
        self.lengths = -negative
        self.active = negative.searchsorted(np.arange(0, -self.T, -1))
        self.offset = self.active.cumsum() - self.active

    @cached_property
    def rank(self) -> np.ndarray:
        """The sorted place of each sequence (B,)."""
        return np.arange(self.B) if self.order is None else self.order.argsort()

    @cached_property
    def index(self) -> np.ndarray:
        """For each packed row (N,), the row of the padded batch (T B,) that it is."""
        if self.order is None:
            return np.arange(self.N)
        return (np.arange(self.T)[:, None] * self.B + self.order)[np.arange(self.B) < self.active[:, None]]

    @property
    def sequences(self) -> np.ndarray:
        """The caller's sequence in each sorted place (B,)."""
        return np.arange(self.B) if self.order is None else self.order

    @property
    def began(self) -> np.ndarray:
        """The sequence of each row of `d_initial`, where all began."""
        return np.arange(self.B)

    @property
    def direct(self) -> bool:
        """True if packed rows are the rows of the caller's batch as they lie."""
        return self.uniform

    @property
    def packed(self) -> Batch:
        """The batch as kernels see it; see `MaskedBatch`."""
        return self

    @property
    def reordered(self) -> bool:
        """True if kernels have the states in another order than the caller."""
        return self.order is not None

    @property
    def steps(self) -> int:
        """Steps in which any sequence runs."""
        return int(self.lengths[0]) if self.B else 0

    def rows(self, steps: tuple[int, int]) -> tuple[int, int]:
        """The packed rows of some consecutive steps, from the first to before the last."""
        first, last = steps
        if first == last:
            return 0, 0
        return int(self.offset[first]), int(self.offset[last - 1] + self.active[last - 1])

    def previous(self, direction: int, steps: tuple[int, int]) -> np.ndarray:
        """Find the state before each packed row of some steps: that of its sequence one step earlier, or later.

        Returns
        -------
        ndarray of int64
            Index among B rows, the states before these steps, followed by the packed rows of these steps.
        """
        first, last = steps
        B, active = self.B, self.active[first:last]
        row = np.arange(active.sum())
        if direction == 0:
            # Row b of step t - 1 is active[t - 1] rows before row b of step t; before the first step, all B have a row.
            return B + row - np.concatenate([[B], active])[:-1].repeat(active)
        # Row b of step t + 1 is active[t] rows behind, if it runs then; its state before that is row b of the first B.
        b = row - (active.cumsum() - active).repeat(active)
        runs = b < np.append(active, 0)[1:].repeat(active)
        return np.where(runs, B + row + active.repeat(active), b)

    def pack(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Rows of a time-major batch (T, B, K) of equal lengths, packed: C-contiguous (N, K), a view where possible."""
        return np.ascontiguousarray(x).reshape(self.N, x.shape[2])

    def unpack(self, rows: np.ndarray) -> np.ndarray:
        """Packed rows (N, K) of equal lengths as a time-major batch (T, B, K)."""
        return rows.reshape(self.T, self.B, rows.shape[1])

    def d_pack(self, d_rows: np.ndarray) -> np.ndarray:
        """The gradient (T, B, K) of `pack`."""
        return self.unpack(d_rows)

    def d_unpack(self, dy: np.ndarray) -> np.ndarray:
        """The gradient (N, K) of `unpack`."""
        return self.pack(dy)

    def sort(self, state: np.ndarray) -> np.ndarray:
        """States (..., B, H) in sorted order."""
        return state if self.order is None else np.take(state, self.order, axis=-2)

    def unsort(self, state: np.ndarray) -> np.ndarray:
        """States (..., B, H) in the caller's order."""
        return state if self.order is None else np.take(state, self.rank, axis=-2)

    def d_sort(self, d_state: np.ndarray) -> np.ndarray:
        """The gradient of `sort`."""
        return self.unsort(d_state)

    def d_unsort(self, d_state: np.ndarray) -> np.ndarray:
        """The gradient of `unsort`."""
        return self.sort(d_state)

    def d_initial(self, d_state: np.ndarray, all_begin: bool) -> np.ndarray:
        """Gradients (..., n, H) of the initial states of the n sequences that began with them: all or none."""
        return self.unsort(d_state) if all_begin else d_state[..., :0, :]


class PackedBatch(Batch):
    """A batch whose caller has packed rows (N, K) in place of (T, B, K), as torch's PackedSequence is.

    Parameters
    ----------
    active : ndarray of int64, shape (T,)
        Sequences that run at each step.
    order : ndarray of int64, shape (B,)
        The sequence in each sorted place.
    """

    padded = False

    def __init__(self, active: np.ndarray, order: np.ndarray):
        self.T, self.B, self.N = len(active), len(order), int(np.add.reduce(active))
        self.uniform = self.N == self.T * self.B
        self.derived = {}
        self.active, self.order, self.offset = active, order, active.cumsum() - active
        # Row b runs for as many steps as have more than b rows.
        self.lengths = self.T - active[::-1].searchsorted(np.arange(self.B), side="right")

    def pack(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The rows as they are, C-contiguous."""
        return np.ascontiguousarray(x)

    def unpack(self, rows: np.ndarray) -> np.ndarray:
        """The rows as they are."""
        return rows

    @property
    def direct(self) -> bool:
        """True: the caller's rows are packed."""
        return True


def uniform_batch(T: int, B: int) -> Batch:
    """The `Batch` of B sequences of length T."""
    return _uniform_batch(T, B) if T + B <= FEW else Batch(T, B)


@lru_cache(maxsize=64)
def _uniform_batch(T: int, B: int) -> Batch:
    return Batch(T, B)


#: Training passes over batches of different lengths of no more rows than this in all, padded, are arranged anew for
#: each: BPTT does them in one segment, with the same kernels. A pass over T=12, B=8 through three layers is made in 350
#: us and arranged in 150.
ARRANGED_ROWS = 1024


def can_be_arranged(batch: Any, checkpoint: int | None) -> bool:
    """Say whether a training pass has the same kernels for all lengths of this T and B."""
    return checkpoint is None and batch.N > 0 and batch.T * batch.B <= ARRANGED_ROWS
