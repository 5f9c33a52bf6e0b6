"""A batch of sequences as packed rows: the one form in which kernels see it.

Rows of the batch are sorted by length, longest first, so those that still run at step t are the first
``active[t]``. Step after step, only running rows are stored: row b of step t is packed row ``offset[t] + b``.
Work and memory are then proportional to the sum of the lengths. A batch of equal lengths is packed as it is.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np


class Batch:
    """How a batch is packed.

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

    def __init__(self, T: int, B: int, lengths: np.ndarray | None = None):
        self.T, self.B = T, B
        self.uniform = lengths is None or bool((lengths == T).all())
        if self.uniform:
            self.N = T * B
            self.lengths = np.full(B, T, np.int64)
            self.active = np.full(T, B, np.int64)
            self.order = None
        else:
            self.order = np.argsort(-lengths, kind="stable")
            self.lengths = np.ascontiguousarray(lengths[self.order], dtype=np.int64)
            self.N = int(self.lengths.sum())
            # How many lengths exceed t: B less the place where t would go among the ascending lengths.
            self.active = (B - np.searchsorted(self.lengths[::-1], np.arange(T), side="right")).astype(np.int64)
            steps = np.repeat(np.arange(T), self.active)
            self.index = steps * B + self.order[np.arange(self.N) - np.repeat(self._offsets(), self.active)]
        self.offset = self._offsets()
        self._plans: dict = {}

    def plan(self, key, make):
        """What ``make()`` returns, made once for each key: how a kernel walks this batch."""
        if key not in self._plans:
            self._plans[key] = make()
        return self._plans[key]

    def _offsets(self) -> np.ndarray:
        return np.concatenate(([0], np.cumsum(self.active)[:-1])).astype(np.int64)[: self.T]

    def previous(self, direction: int) -> np.ndarray:
        """For each packed row, where its previous state lies among B initial rows followed by the N packed ones.

        Returns
        -------
        ndarray of int64, shape (N,)
        """
        rows = np.arange(self.N)
        if self.uniform:
            return rows if direction == 0 else _reversed_previous(rows, self.N, self.B)
        step = np.repeat(np.arange(self.T), self.active)
        b = rows - self.offset[step]
        if direction == 0:
            return np.where(step == 0, b, self.B + self.offset[step - 1] + b)
        following = np.minimum(step + 1, self.T - 1)
        last = (step == self.T - 1) | (b >= self.active[following])
        return np.where(last, b, self.B + self.offset[following] + b)

    def pack(self, x: np.ndarray) -> np.ndarray:
        """Rows of a time-major batch (T, B, K), packed: C-contiguous (N, K), a view where possible."""
        flat = np.ascontiguousarray(x).reshape(self.T * self.B, x.shape[2])
        return flat if self.uniform else flat[self.index]

    def unpack(self, rows: np.ndarray) -> np.ndarray:
        """Packed rows (N, K) as a time-major batch (T, B, K), 0 beyond each sequence's end."""
        K = rows.shape[1]
        if self.uniform:
            return rows.reshape(self.T, self.B, K)
        padded = np.zeros((self.T * self.B, K), rows.dtype)
        padded[self.index] = rows
        return padded.reshape(self.T, self.B, K)

    def sort(self, state: np.ndarray) -> np.ndarray:
        """States (..., B, H) in sorted order."""
        return state if self.order is None else np.take(state, self.order, axis=-2)

    def unsort(self, state: np.ndarray) -> np.ndarray:
        """States (..., B, H) in the caller's order."""
        if self.order is None:
            return state
        result = np.empty_like(state)
        result[..., self.order, :] = state
        return result


def _reversed_previous(rows, N, B):
    return np.where(rows >= N - B, rows - (N - B), rows + 2 * B)


@lru_cache(maxsize=64)
def uniform_batch(T: int, B: int) -> Batch:
    """The `Batch` of B sequences of length T."""
    return Batch(T, B)
