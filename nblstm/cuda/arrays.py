"""Arrays and batches as the engine handles them, in the GPU's memory: any kind of array in, the same kind out.

NumPy arrays and what NumPy understands are copied to the GPU and back. CuPy's arrays, torch's tensors and whatever
else offers DLPack or ``__cuda_array_interface__`` are used where they lie if their dtype and layout fit, each
producer's stream being waited for as those protocols say.
"""

from __future__ import annotations

import sys
from functools import lru_cache

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers.batch import Batch
from nblstm.cuda.thresholds import BATCHES_KEPT


def _is_torch(value) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _on_device(value) -> bool:
    """True if a user's array lies in a GPU's memory."""
    if _is_torch(value):
        return value.is_cuda
    if isinstance(value, np.ndarray):
        return False
    if hasattr(value, "__cuda_array_interface__"):
        return True
    device = getattr(value, "__dlpack_device__", None)
    return device is not None and int(device()[0]) in (2, 13)  # DLPack's numbers of CUDA and managed memory


class DeviceBatch(Batch):
    """A `Batch` of device arrays: packed in the same way, with what kernels read of it in the GPU's memory.

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

    def device_previous(self, direction: int, steps: tuple[int, int]):
        """`Batch.previous` as a device array, kept."""
        key = ("previous", direction, steps)
        if key not in self.derived:
            self.derived[key] = self._runtime.device_array(self.previous(direction, steps))
        return self.derived[key]

    def reversed_rows(self):
        """For each packed row the one of the same sequence that comes as long before its end, as a device array."""
        step = np.repeat(np.arange(self.T), self.active)
        b = np.arange(self.N) - self.offset[step]
        return self._runtime.device_array(self.offset[self.lengths[b] - 1 - step] + b)

    def pack(self, x, out=None):
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


class DeviceArrays:
    """Arrays of one GPU.

    Parameters
    ----------
    runtime : Runtime
    """

    def __init__(self, runtime):
        self._runtime, self._xp = runtime, runtime.xp
        self._uniform_batch = lru_cache(maxsize=BATCHES_KEPT)(lambda T, B: DeviceBatch(T, B, None, runtime))

    def real(self, name: str, value, dtype: str):
        """A user's array as one of ``dtype`` on this GPU; see `validate.real_array`."""
        if isinstance(value, self._xp.ndarray) and self._xp is not np:
            array = value
        elif _is_torch(value):
            array = self._from_torch(name, value)
        elif _on_device(value):
            array = self._foreign(value)
        else:
            return self._runtime.device_array(validate.real_array(name, value, dtype))
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name} has dtype {array.dtype}; give real numbers, such as an array of {dtype}")
        return self._runtime.on_this_gpu(array).astype(dtype, copy=False)

    def _from_torch(self, name: str, tensor):
        if tensor.requires_grad:
            raise TypeError(
                f"{name} is a torch tensor that requires a gradient, which torch would not get from nblstm; "
                "give tensor.detach() and pass on what backward() returns"
            )
        return self._foreign(tensor) if tensor.is_cuda else self._runtime.device_array(tensor.numpy())

    def _foreign(self, value):
        if hasattr(value, "__dlpack__"):
            return self._xp.from_dlpack(value)
        return self._xp.asarray(value)

    def on_host(self, value):
        """A user's array, copied to where NumPy can read it if it lies on a GPU."""
        if _is_torch(value):
            return value.detach().cpu().numpy()
        return self._runtime.to_host(self._foreign(value)) if _on_device(value) else value

    def empty(self, shape: tuple[int, ...], dtype):
        """An uninitialised array."""
        return self._xp.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype):
        """An array of zeros."""
        return self._xp.zeros(shape, dtype)

    @staticmethod
    def copied(array):
        """A copy for the caller."""
        return array.copy()

    def copy(self, target, values) -> None:
        """Fill an array, from one of this GPU or of NumPy."""
        with self._runtime.active():
            target[...] = self._runtime.device_array(values) if isinstance(values, np.ndarray) else values

    def batch(self, T: int, B: int, lengths: np.ndarray | None) -> DeviceBatch:
        """A packed batch; of equal lengths, kept."""
        return self._uniform_batch(T, B) if lengths is None else DeviceBatch(T, B, lengths, self._runtime)

    def from_host(self, array: np.ndarray):
        """An array of NumPy's, on this GPU."""
        return self._runtime.device_array(array)

    def index(self, array: np.ndarray):
        """Integers of NumPy's, to index arrays of this GPU with."""
        return self._runtime.device_array(array)

    def stacked(self, parts: list):
        """Arrays of one shape as one, along a new first dimension."""
        return self._xp.stack(parts)

    def concatenated(self, parts: list):
        """Arrays one behind the other."""
        return self._xp.concatenate(parts)

    def kind(self, given):
        """The kind of a user's array: a function that makes one from an array of this GPU; None for NumPy's."""
        if _is_torch(given):
            torch = sys.modules["torch"]
            return torch.from_dlpack if given.is_cuda else lambda array: torch.from_numpy(self._runtime.to_host(array))
        if not _on_device(given):
            return None
        if isinstance(given, self._xp.ndarray) or not hasattr(given, "__array_namespace__"):
            return _as_it_is
        return given.__array_namespace__().from_dlpack

    def returned(self, array, kind):
        """A result, as that kind of array."""
        return self._runtime.to_host(array) if kind is None else kind(array)


def _as_it_is(array):
    return array
