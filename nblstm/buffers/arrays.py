"""Arrays as the engine handles them, in the CPU's memory: what comes in, what is made, what goes out.

`nblstm.cuda.arrays` offers the same for the GPU's memory, so the engine is written once.
"""

from __future__ import annotations

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers import memory


class Guests:
    """Arrays of one pass, on the device that computes it. Here: they are there.

    Attributes
    ----------
    batch : Batch
    rows : array, shape (N, features), or None
    states : array, shape (S, num_layers D, B, H)
        Changed in place.
    targets : dict of str to array
        Which the pass sets.
    """

    def __init__(self, batch, rows, states, targets: dict):
        self.batch, self.rows, self.states, self.targets = batch, rows, states, targets

    def home(self, rows):
        """A result, where the arrays of the pass came from."""
        return rows

    def __enter__(self) -> Guests:
        return self

    def __exit__(self, *error) -> None:
        """States and targets are where they were."""


class HostArrays:
    """NumPy arrays; the CPU backend adds ``batch``, which says how a batch is packed."""

    @staticmethod
    def real(name: str, value, dtype: str) -> np.ndarray:
        """What a user gave, as an array of ``dtype``; see `validate.real_array`."""
        return validate.real_array(name, value, dtype)

    @staticmethod
    def on_host(value):
        """What a user gave, where NumPy can read it."""
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
    def visiting(batch, rows, *, states, targets: dict | None = None) -> Guests:
        """A context in which the arrays of a pass are on this device."""
        return Guests(batch, rows, states, targets or {})

    @staticmethod
    def kept(array: np.ndarray, given) -> np.ndarray:
        """``array``, or a copy where it may be memory of what a user ``given``, which can change."""
        if not np.may_share_memory(array, given):
            return array
        copy = memory.empty(array.shape, array.dtype)
        np.copyto(copy, array)
        return copy

    @staticmethod
    def dropout_factors(generator: np.random.Generator, rows: np.ndarray, probability: float) -> np.ndarray:
        """For each entry of ``rows`` 0 with that probability, else what keeps the mean (Srivastava et al. 2014)."""
        kept = generator.random(rows.shape, dtype=rows.dtype) >= probability
        return kept.astype(rows.dtype) / rows.dtype.type(1 - probability)

    @staticmethod
    def kind(given) -> None:
        """What kind of array a user gave; here everything comes out as NumPy's, which is None."""

    @staticmethod
    def returned(array: np.ndarray, kind: None) -> np.ndarray:
        """A result, as that kind of array."""
        return array

    @staticmethod
    def returned_from_tape(array: np.ndarray, kind: None) -> np.ndarray:
        """A result that BPTT reads again: the user can't change it."""
        array.flags.writeable = False
        return array
