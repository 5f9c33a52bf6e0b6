"""The caller's arrays and the packed rows of a pass: one as the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nblstm.buffers.each_step import EachStep


class CallerLayout:
    """Layout of the arrays that a pass is given and returns.

    Parameters
    ----------
    batch : Batch or MaskedBatch or ResetBatch
    batched : bool
        Whether they have a batch dimension, (T, B, K) or (B, T, K); else they are (T, K).
    batch_first : bool
    """

    __slots__ = ("batch", "batched", "time_first")

    def __init__(self, batch: Any, batched: bool, batch_first: bool):
        self.batch, self.batched, self.time_first = batch, batched, not (batched and batch_first)

    def time_major(self, x):
        """An array in the caller's layout as (T, B, K); packed rows as they are."""
        if not self.batched:
            return x[:, None]
        return x if self.time_first else x.swapaxes(0, 1)

    def user(self, time_major):
        """An array (T, B, K) in the caller's layout."""
        if not self.batched:
            return time_major[:, 0]
        return time_major if self.time_first else time_major.swapaxes(0, 1)

    def in_layout(self, rows):
        """Packed rows that lie as the caller's do, in the caller's layout, as a view."""
        if not self.batch.padded:
            return rows[: self.batch.N]
        return self.user(rows.reshape(self.batch.T, self.batch.B, rows.shape[1]))

    def rows_of(self, array):
        """Packed rows (N, K) of a gradient in the layout of outputs."""
        return self.batch.d_unpack(self.time_major(array))

    def packed_signals(self, signals: Sequence[Any]) -> list[np.ndarray]:
        """Signals (T, B) or (T, B, H) as packed rows, (N,) or (N, H)."""
        of_units = [own.ndim == 2 + self.batch.padded for own in signals]
        rows = [own if units else own[..., None] for own, units in zip(signals, of_units, strict=True)]
        rows = [np.ascontiguousarray(self.batch.pack(own) if self.batch.padded else own) for own in rows]
        return [own if units else own[:, 0] for own, units in zip(rows, of_units, strict=True)]

    def signals(self, rows: Sequence[np.ndarray]) -> list[Any]:
        """Gradients of signals, in their layouts, from packed rows; 0 beyond each sequence's end."""
        found = []
        for own in rows:
            array = own if own.ndim == 2 else own[:, None]
            if self.batch.padded:
                array = self.in_layout(array) if self.batch.direct else self.user(self.batch.d_pack(array))
            found.append(array if own.ndim == 2 else array[..., 0])
        return found

    def norms(self, each: list[EachStep]) -> tuple[np.ndarray, ...]:
        """Norms of the gradients of each state, (num_layers D, T, B); 0 beyond each sequence's end."""
        found = []
        for k in range(len(each[0].clips)):
            rows = np.concatenate([own.norms[k] for own in each]).T  # type: ignore[index]
            padded = self.batch.d_pack(np.ascontiguousarray(rows)) if self.batch.padded else rows
            found.append(np.ascontiguousarray(np.moveaxis(padded, -1, 0)))
        return tuple(found)
