"""Batches in the CPU's memory: packed and unpacked by kernels where lengths differ."""

from __future__ import annotations

import numpy as np

from nblstm.buffers.arrays import HostArrays
from nblstm.buffers.batch import Batch, uniform_batch
from nblstm.cpu.kernels.gather import pack_rows, unpack_rows


class HostBatch(Batch):
    """A `Batch` of NumPy arrays, of any lengths."""

    def pack(self, x: np.ndarray) -> np.ndarray:
        """Rows of a time-major batch (T, B, K), packed: C-contiguous (N, K)."""
        return super().pack(x) if self.uniform else pack_rows(self, x)

    def unpack(self, rows: np.ndarray) -> np.ndarray:
        """Packed rows (N, K) as a time-major batch (T, B, K), 0 beyond each sequence's end."""
        return super().unpack(rows) if self.uniform else unpack_rows(self, rows)


class Arrays(HostArrays):
    """NumPy arrays."""

    @staticmethod
    def batch(T: int, B: int, lengths: np.ndarray | None) -> Batch:
        """Arrange a batch of some lengths; all T for None."""
        return uniform_batch(T, B) if lengths is None else HostBatch(T, B, lengths)
