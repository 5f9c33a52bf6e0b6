"""Arrays and batches as the engine handles them, in the CPU's memory.

`nblstm.cuda.arrays` offers the same for the GPU's memory, so the engine is written once.
"""

from __future__ import annotations

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers import memory
from nblstm.buffers.batch import Batch, uniform_batch
from nblstm.cpu.kernels.gather import copy_numbers, pack_rows


class HostBatch(Batch):
    """A `Batch` of NumPy arrays, of any lengths."""

    def pack(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Rows of a time-major batch (T, B, K), packed: C-contiguous (N, K), in ``out`` if given."""
        if self.uniform:
            return super().pack(x)
        # With one feature, NumPy calls an array contiguous whatever its last stride is.
        if any(stride % x.itemsize for stride in x.strides) or (x.shape[2] > 1 and x.strides[2] != x.itemsize):
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


class HostArrays:
    """NumPy arrays."""

    @staticmethod
    def batch(T: int, B: int, lengths: np.ndarray | None) -> Batch:
        """Arrange a batch of some lengths; all T for None."""
        return uniform_batch(T, B) if lengths is None else HostBatch(T, B, lengths)

    @staticmethod
    def real(name: str, value, dtype: str) -> np.ndarray:
        """Convert what a user gave to an array of ``dtype``; see `validate.real_array`."""
        return validate.real_array(name, value, dtype)

    @staticmethod
    def on_host(value):
        """Copy what a user gave to where NumPy can read it; here it is there already."""
        return value

    @staticmethod
    def empty(shape: tuple[int, ...], dtype) -> np.ndarray:
        """An uninitialised array, on a cache line."""
        return memory.empty(shape, dtype)

    @staticmethod
    def zeros(shape: tuple[int, ...], dtype) -> np.ndarray:
        """An array of zeros."""
        return memory.zeros(shape, dtype)

    @staticmethod
    def copy(target: np.ndarray, values: np.ndarray) -> None:
        """Fill an array."""
        copy_numbers(target, values)

    @staticmethod
    def copied(array: np.ndarray) -> np.ndarray:
        """A C-contiguous copy for the caller."""
        if array.nbytes < memory.LARGE:
            return array.copy()
        own = memory.empty(array.shape, array.dtype)
        copy_numbers(own, array)
        return own

    @staticmethod
    def from_host(array: np.ndarray) -> np.ndarray:
        """An array of NumPy's, on this device."""
        return array

    @staticmethod
    def index(array: np.ndarray) -> np.ndarray:
        """Integers of NumPy's, to index arrays of this device with."""
        return array

    @staticmethod
    def stacked(parts: list) -> np.ndarray:
        """Arrays of one shape as one, along a new first dimension."""
        return np.stack(parts)

    @staticmethod
    def concatenated(parts: list) -> np.ndarray:
        """Arrays one behind the other."""
        return np.concatenate(parts)

    @staticmethod
    def kind(given) -> None:
        """Kind of array that a user gave; here everything comes out as NumPy's, which is None."""

    @staticmethod
    def returned(array: np.ndarray, kind: None) -> np.ndarray:
        """A result, as that kind of array."""
        return array
