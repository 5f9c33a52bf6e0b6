"""Arrays as the engine handles them, in the CPU's memory: what comes in, what is made, what goes out.

`nblstm.cuda.arrays` offers the same for the GPU's memory, so the engine is written once.
"""

from __future__ import annotations

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers import memory


class HostArrays:
    """NumPy arrays; the CPU backend adds ``batch``, which says how a batch is packed."""

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
        np.copyto(target, values)

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
    def dropout_factors(
        generator: np.random.Generator, shape: tuple[int, ...], dtype, probability: float
    ) -> np.ndarray:
        """Draw for each entry 0 with that probability, else what keeps the mean (Srivastava et al. 2014)."""
        dtype = np.dtype(dtype)
        kept = generator.random(shape, dtype=dtype) >= probability
        return kept.astype(dtype) / dtype.type(1 - probability)

    @staticmethod
    def kind(given) -> None:
        """Kind of array that a user gave; here everything comes out as NumPy's, which is None."""

    @staticmethod
    def returned(array: np.ndarray, kind: None) -> np.ndarray:
        """A result, as that kind of array."""
        return array

    @staticmethod
    def returned_from_tape(array: np.ndarray, kind: None) -> np.ndarray:
        """A result that BPTT reads again: the user can't change it."""
        array.flags.writeable = False
        return array
