"""Arrays as the engine handles them, in the GPU's memory: any kind of array in, the same kind out.

NumPy arrays and what NumPy understands are copied to the GPU and back. CuPy's arrays, torch's tensors and whatever
else offers DLPack or ``__cuda_array_interface__`` are used where they lie if their dtype and layout fit, each
producer's stream being waited for as those protocols say.
"""

from __future__ import annotations

import sys

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers.arrays import Guests
from nblstm.cuda.batch import DeviceBatch


def _is_torch(value) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _on_device(value) -> bool:
    """Whether a user's array lies in a GPU's memory."""
    if _is_torch(value):
        return value.is_cuda
    if isinstance(value, np.ndarray):
        return False
    if hasattr(value, "__cuda_array_interface__"):
        return True
    device = getattr(value, "__dlpack_device__", None)
    return device is not None and int(device()[0]) in (2, 13)  # DLPack's numbers of CUDA and managed memory


class DeviceArrays:
    """Arrays of one GPU.

    Parameters
    ----------
    runtime : Runtime
    """

    def __init__(self, runtime):
        self._runtime, self._xp = runtime, runtime.xp

    def real(self, name: str, value, dtype: str):
        """What a user gave, as an array of ``dtype`` on this GPU; see `validate.real_array`."""
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
        return self._runtime.here(array).astype(dtype, copy=False)

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
        """What a user gave, where NumPy can read it."""
        if _is_torch(value):
            return value.detach().cpu().numpy()
        return self._runtime.to_host(self._foreign(value)) if _on_device(value) else value

    def empty(self, shape: tuple[int, ...], dtype):
        """An uninitialised array."""
        return self._xp.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype):
        """An array of zeros."""
        return self._xp.zeros(shape, dtype)

    def copy(self, target, values) -> None:
        """Fill an array, from one of this GPU or of NumPy."""
        with self._runtime.active():
            target[...] = self._runtime.device_array(values) if isinstance(values, np.ndarray) else values

    def batch(self, T: int, B: int, lengths: np.ndarray | None) -> DeviceBatch:
        """How a batch is packed."""
        return self._runtime.batch(T, B, lengths)

    def visiting(self, batch, rows, *, states, targets: dict | None = None) -> Guests:
        """A context in which the arrays of a pass are on this GPU, copied there and back if they are NumPy's."""
        kind = Guests if isinstance(batch, DeviceBatch) else _Copies
        made = kind(batch, rows, states, targets or {})
        if isinstance(made, _Copies):
            made.copy(self._runtime)
        return made

    def kept(self, array, given):
        """``array``, or a copy where it may be memory of what a user ``given``, which can change."""
        return array.copy() if _on_device(given) else array

    def dropout_factors(self, generator: np.random.Generator, rows, probability: float):
        """As `HostArrays.dropout_factors`, drawn on the GPU: by the same seed, other numbers than the CPU's."""
        seed = int(generator.integers(2**63))
        kept = self._xp.random.default_rng(seed).random(rows.shape, dtype=rows.dtype) >= probability
        return kept.astype(rows.dtype) / rows.dtype.type(1 - probability)

    def kind(self, given):
        """What kind of array a user gave: the function that makes one from an array of this GPU; None for NumPy's."""
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

    def returned_from_tape(self, array, kind):
        """A result that BPTT reads again: the user gets memory of its own."""
        return self.returned(array if kind is None else array.copy(), kind)


class _Copies(Guests):
    """Copies on the GPU of a pass's NumPy arrays."""

    def copy(self, runtime) -> None:
        self._runtime, self._states, self._targets = runtime, self.states, self.targets
        self.batch = DeviceBatch.of(self.batch, runtime)
        self.rows = None if self.rows is None else runtime.device_array(self.rows)
        self.states = runtime.device_array(self.states)
        self.targets = {name: runtime.xp.empty(array.shape, array.dtype) for name, array in self.targets.items()}

    def home(self, rows):
        return self._runtime.to_host(rows)

    def __exit__(self, error, *details) -> None:
        if error is None:
            self._states[...] = self._runtime.to_host(self.states)
            for name, target in self._targets.items():
                target[...] = self._runtime.to_host(self.targets[name])


def _as_it_is(array):
    return array
