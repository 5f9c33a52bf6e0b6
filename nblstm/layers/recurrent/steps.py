"""Which steps of a batch of sequences a cell sees, and where its outputs go: batches (B, T, features) as packed rows.

The kernels know sequences of different lengths, but no gaps. Steps that a mask leaves out never reach them:
a row's valid steps move together, to its front, and the outputs move back to where the steps were.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from nblstm.buffers.batch import Batch, uniform_batch


class AllSteps:
    """Every step of every sequence.

    Parameters
    ----------
    B, T : int
        Sequences and steps.
    """

    all = True

    def __init__(self, B: int, T: int):
        self.batch = uniform_batch(T, B)

    def rows(self, x: np.ndarray) -> np.ndarray:
        """Inputs (B, T, I) as packed rows (N, I); a view where the memory allows it."""
        return self.batch.pack(x.swapaxes(0, 1))

    def outputs(self, rows: np.ndarray) -> np.ndarray:
        """Outputs (B, T, H) from packed rows (N, H)."""
        return self.batch.unpack(rows).swapaxes(0, 1)

    def last(self, state: np.ndarray) -> np.ndarray:
        """The last outputs (B, H) from the final state that is the output."""
        return state

    #: The gradients of `outputs`, `rows` and `last`.
    d_outputs, d_rows, d_last = rows, outputs, last


class MaskedSteps:
    """The steps for which a mask holds; at the others the state stays, and so does the output.

    Parameters
    ----------
    mask : ndarray of bool, shape (B, T)
    zero_output : bool
        Whether outputs of masked steps are 0, rather than those of the steps before them.
    """

    all = False

    def __init__(self, mask: np.ndarray, zero_output: bool):
        self._mask, self._zero_output = mask, zero_output
        B = len(mask)
        lengths = np.count_nonzero(mask, axis=1)
        self._empty = lengths == 0
        T = int(lengths.max(initial=0))
        self.batch = batch = Batch(T, B, lengths)
        step, self._b = np.divmod(batch.index, B)
        # The valid steps, sequence by sequence; step k of sequence b is the k-th of its own.
        _, valid = np.nonzero(mask)
        self._t = valid[(np.cumsum(lengths) - lengths)[self._b] + step]

    def rows(self, x: np.ndarray) -> np.ndarray:
        """Inputs (B, T, I) as packed rows (N, I)."""
        return x[self._b, self._t]

    def d_rows(self, d_rows: np.ndarray) -> np.ndarray:
        """The gradient (B, T, I) of `rows`: 0 at masked steps."""
        dx = np.zeros((*self._mask.shape, d_rows.shape[1]), d_rows.dtype)
        dx[self._b, self._t] = d_rows
        return dx

    @cached_property
    def _source(self) -> np.ndarray:
        """For each sequence and step (B, T), the packed row whose output stands there; N for 0."""
        batch = self.batch
        done = np.cumsum(self._mask, axis=1)
        nothing = (done == 0) | ~self._mask if self._zero_output else done == 0
        return np.where(nothing, batch.N, np.append(batch.offset, 0)[done - 1] + batch.rank[:, None])

    def outputs(self, rows: np.ndarray) -> np.ndarray:
        """Outputs (B, T, H) from packed rows (N, H): masked steps repeat the output before them, 0 at first."""
        return np.concatenate([rows, np.zeros((1, rows.shape[1]), rows.dtype)])[self._source]

    def d_outputs(self, dy: np.ndarray) -> np.ndarray:
        """The gradient (N, H) of `outputs`: each row's is the sum over the steps where it stands.

        ``np.add.at(d_rows, source, dy)``, as a product with a sparse matrix: for 128 x 40 steps of 128 it takes 0.14
        ms, `numpy.add.reduceat` 2.4 ms (one core).
        """
        from scipy.sparse import csc_matrix  # an import of 0.1 s, which only this needs

        N, places = self.batch.N, self._mask.size
        stands = csc_matrix((np.ones(places, dy.dtype), self._source.ravel(), np.arange(places + 1)), (N + 1, places))
        return (stands @ dy.reshape(places, -1))[:N]

    def last(self, state: np.ndarray) -> np.ndarray:
        """The last outputs (B, H) from the final state that is the output: 0 for a sequence without a valid step."""
        return np.where(self._empty[:, None], 0, state)

    d_last = last


def steps_of(mask: np.ndarray | None, B: int, T: int, zero_output: bool) -> AllSteps | MaskedSteps:
    """The steps that a mask (B, T) leaves, all without one."""
    if mask is None or mask.all():
        return AllSteps(B, T)
    return MaskedSteps(mask, zero_output)
