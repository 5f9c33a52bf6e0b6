"""A batch whose steps a mask leaves out here and there, as packed rows.

Kernels know sequences of different lengths, but no gaps. Steps that the mask leaves out never reach them: a sequence's
valid steps move together, to its front, and the outputs move back to where the steps were.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from nblstm.buffers.batch import Batch


class GatheredBatch:
    """A padded batch whose packed rows are gathered from it by an index.

    Attributes
    ----------
    mask : ndarray of bool, shape (T, B)
        True where a step is valid.
    hold : bool
        Whether the output of a masked step is that of the valid step read before it, 0 at first; otherwise it is 0.
    T, B, N : int
        Steps and sequences of the padded batch; valid steps in all.
    packed : Batch
        Sequences as kernels see them.
    """

    #: Whether packed rows are the rows of the padded batch as they lie.
    direct = False
    padded = True
    gathered = True
    T: int
    B: int

    def __init__(self, mask: np.ndarray, hold: bool, reverse: bool, packed: Batch, index: np.ndarray, arrays: Any):
        self.mask, self.hold, self._reverse, self._arrays = mask, hold, reverse, arrays
        self.T, self.B = mask.shape
        self.packed, self.N = packed, packed.N
        self._index = index  # for each packed row (N,), the row of the padded batch (T B,) that it is

    @cached_property
    def _row_shown_at(self) -> np.ndarray:
        """For each row of the padded batch (T B,), the packed row whose output stands there; N for 0."""
        source = np.full(self.T * self.B, self.N)
        source[self._index] = np.arange(self.N)
        if not self.hold:
            return source
        t, shown = np.arange(self.T)[:, None], source.reshape(self.T, self.B)
        if self._reverse:  # the valid step read before a masked one is behind it
            read = np.minimum.accumulate(np.where(self.mask, t, self.T)[::-1], axis=0)[::-1]
        else:
            read = np.maximum.accumulate(np.where(self.mask, t, -1), axis=0)
        some = (read >= 0) & (read < self.T)
        return np.where(some, np.take_along_axis(shown, np.where(some, read, 0), axis=0), self.N).reshape(-1)

    def pack(self, x, out=None):
        """Rows of a time-major batch (T, B, K), packed: C-contiguous (N, K), in ``out`` if given."""
        rows = x.reshape(self.T * self.B, x.shape[2])[self._arrays.index(self._index)]
        if out is None:
            return rows
        out[: self.N] = rows
        return out

    def unpack(self, rows):
        """Outputs (T, B, K) from packed rows (N, K)."""
        if self.N < self.T * self.B:
            rows = self._arrays.concatenated([rows, self._arrays.zeros((1, rows.shape[1]), rows.dtype)])
        padded = rows[self._arrays.index(self._row_shown_at)]
        return padded.reshape(self.T, self.B, rows.shape[1])

    def d_pack(self, d_rows):
        """The gradient (T, B, K) of `pack`: 0 at masked steps."""
        dx = self._arrays.zeros((self.T * self.B, d_rows.shape[1]), d_rows.dtype)
        dx[self._arrays.index(self._index)] = d_rows
        return dx.reshape(self.T, self.B, d_rows.shape[1])

    def d_unpack(self, dy):
        """The gradient (N, K) of `unpack`: each row's is the sum over the steps where it stands.

        ``np.add.at(d_rows, source, dy)``, as a product with a sparse matrix: for 128 x 40 steps of 128 it takes 0.14
        ms, `numpy.add.reduceat` 2.4 ms (one core).
        """
        if not self.hold:
            return self.pack(dy)
        from scipy.sparse import csc_matrix  # an import of 0.1 s, which only this needs

        dy = self._arrays.on_host(dy)
        B, T = self.B, self.T
        # Steps in the order in which they are read, sequence by sequence: sums are rounded in this order.
        order = np.arange(T * B).reshape(T, B)[:: -1 if self._reverse else 1].T.reshape(-1)
        ones, rows = np.ones(T * B, dy.dtype), self._row_shown_at[order]
        stands = csc_matrix((ones, rows, np.arange(T * B + 1)), (self.N + 1, T * B))
        return self._arrays.from_host((stands @ dy.reshape(T * B, -1)[order])[: self.N])


class MaskedBatch(GatheredBatch):
    """A batch with masked steps, at which states stay as they are.

    Parameters
    ----------
    mask : ndarray of bool, shape (T, B)
    hold : bool
    reverse : bool
        Whether steps are read from the last to the first.
    arrays : HostArrays or DeviceArrays
        Of the device that computes.
    """

    restarts = False

    def __init__(self, mask: np.ndarray, hold: bool, reverse: bool, arrays: Any):
        lengths = np.count_nonzero(mask, axis=0)
        B = len(lengths)
        packed = arrays.batch(int(lengths.max(initial=0)), B, lengths)
        # Step k of sequence b is its k-th valid one; the index of `packed` counts the rows of those, padded.
        step, b = np.divmod(packed.index, B)
        valid = np.nonzero(mask.T)[1]  # sequence by sequence
        index = valid[(np.cumsum(lengths) - lengths)[b] + step] * B + b
        super().__init__(mask, hold, reverse, packed, index, arrays)

    @property
    def reordered(self) -> bool:
        """True if kernels have the states in another order than the caller."""
        return self.packed.reordered

    @property
    def sequences(self) -> np.ndarray:
        """See `Batch.sequences`."""
        return self.packed.sequences

    @property
    def began(self) -> np.ndarray:
        """See `Batch.began`."""
        return self.packed.began

    def sort(self, state):
        """States (..., B, H) in sorted order."""
        return self.packed.sort(state)

    def unsort(self, state):
        """States (..., B, H) in the caller's order."""
        return self.packed.unsort(state)

    def d_sort(self, d_state):
        """The gradient of `sort`."""
        return self.packed.d_sort(d_state)

    def d_unsort(self, d_state):
        """The gradient of `unsort`."""
        return self.packed.d_unsort(d_state)

    def d_initial(self, d_state, all_begin: bool):
        """Gradients (..., n, H) of the initial states of the n sequences that began with them: all or none."""
        return self.packed.d_initial(d_state, all_begin)
