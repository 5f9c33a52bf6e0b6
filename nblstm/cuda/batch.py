"""A packed batch, with what kernels and index operations need of it in the GPU's memory."""

from __future__ import annotations

import numpy as np

from nblstm.buffers.batch import Batch


class DeviceBatch(Batch):
    """A `Batch` of device arrays: the same packing, the arithmetic of `Batch` on the host.

    Attributes
    ----------
    device_lengths, device_offset : device arrays of int64
        ``lengths`` and ``offset``.
    """

    def __init__(self, T: int, B: int, lengths: np.ndarray | None, runtime):
        super().__init__(T, B, lengths)
        self._xp, self._runtime = runtime.xp, runtime
        self.device_lengths = runtime.device_array(self.lengths)
        self.device_offset = runtime.device_array(self.offset)
        if self.order is not None:
            self._order = runtime.device_array(self.order)
            self._index = runtime.device_array(self.index)

    @classmethod
    def of(cls, batch: Batch, runtime) -> DeviceBatch:
        """A batch that was packed on the host, on the GPU; kept with it."""
        key = ("cuda", runtime.index)
        if key not in batch.derived:
            lengths = np.empty(batch.B, np.int64)
            lengths[slice(None) if batch.order is None else batch.order] = batch.lengths
            batch.derived[key] = runtime.batch(batch.T, batch.B, None if batch.uniform else lengths)
        return batch.derived[key]

    def device_previous(self, direction: int, steps: tuple[int, int]):
        """`previous` as a device array, kept."""
        key = ("previous", direction, steps)
        if key not in self.derived:
            self.derived[key] = self._runtime.device_array(self.previous(direction, steps))
        return self.derived[key]

    def pack(self, x):
        """Rows of a time-major batch (T, B, K), packed: C-contiguous (N, K), a view where possible."""
        flat = self._xp.ascontiguousarray(x).reshape(self.T * self.B, x.shape[2])
        return flat if self.uniform else flat[self._index]

    def unpack(self, rows):
        """Packed rows (N, K) as a time-major batch (T, B, K), 0 beyond each sequence's end."""
        K = rows.shape[1]
        if self.uniform:
            return rows.reshape(self.T, self.B, K)
        padded = self._xp.zeros((self.T * self.B, K), rows.dtype)
        padded[self._index] = rows
        return padded.reshape(self.T, self.B, K)

    def sort(self, state):
        """States (..., B, H) in sorted order."""
        return state if self.order is None else self._xp.take(state, self._order, axis=-2)

    def unsort(self, state):
        """States (..., B, H) in the caller's order."""
        if self.order is None:
            return state
        result = self._xp.empty_like(state)
        result[..., self._order, :] = state
        return result
