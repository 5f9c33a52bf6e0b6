"""Batches in the CPU's memory: packed and unpacked by kernels where lengths differ."""

from __future__ import annotations

import numpy as np

from nblstm.buffers import memory
from nblstm.buffers.arrays import HostArrays
from nblstm.buffers.batch import Batch, uniform_batch
from nblstm.cpu.kernels.gather import pack_rows


class HostBatch(Batch):
    """A `Batch` of NumPy arrays, of any lengths."""

    def pack(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Rows of a time-major batch (T, B, K), packed: C-contiguous (N, K), in ``out`` if given."""
        if self.uniform:
            return super().pack(x)
        if x.strides[2] != x.itemsize:
            x = np.ascontiguousarray(x)
        packed = memory.empty((self.N, x.shape[2]), x.dtype) if out is None else out
        pack_rows(self, True, x, packed)
        return packed

    def unpack(self, rows: np.ndarray) -> np.ndarray:
        """Packed rows (N, K) as a time-major batch (T, B, K), 0 beyond each sequence's end."""
        if self.uniform:
            return super().unpack(rows)
        padded = memory.empty((self.T, self.B, rows.shape[1]), rows.dtype)
        pack_rows(self, False, padded, rows)
        return padded


class Arrays(HostArrays):
    """NumPy arrays."""

    @staticmethod
    def batch(T: int, B: int, lengths: np.ndarray | None) -> Batch:
        """Arrange a batch of some lengths; all T for None."""
        return uniform_batch(T, B) if lengths is None else HostBatch(T, B, lengths)
