"""Tensors as the arrays that the engine takes, and back, in the same memory."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nblstm.engine.network import Network

#: The engine's dtypes.
DTYPES = {torch.float32: "float32", torch.float64: "float64"}

#: What each dtype of parameters is computed in.
COMPUTED = {torch.float32: torch.float32, torch.float64: torch.float64} | dict.fromkeys(
    (torch.bfloat16, torch.float16), torch.float32
)

#: NumPy's name of each dtype, and its bytes.
_NUMBERS = {
    dtype: (np.dtype(name).str, np.dtype(name).itemsize)
    for dtype, name in {**DTYPES, torch.int64: "int64", torch.uint8: "uint8"}.items()
}


class _Memory:
    """A tensor's memory as NumPy asks for it.

    Not ``tensor.numpy()``, after which torch never lets the tensor change its size, as FSDP does with parameters.
    """

    __slots__ = ("__array_interface__", "tensor")

    def __init__(self, tensor: Tensor):
        self.tensor, (typestr, item) = tensor, _NUMBERS[tensor.dtype]
        self.__array_interface__ = {
            "version": 3, "data": (tensor.data_ptr(), False), "shape": tuple(tensor.shape), "typestr": typestr,
            "strides": tuple([item * stride for stride in tensor.stride()]),
        }  # fmt: skip


def array_of(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor on the CPU, not copied."""
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    if not tensor.numel():
        return np.empty(tuple(tensor.shape), _NUMBERS[tensor.dtype][0])
    return np.asarray(_Memory(tensor))


def arrays_of(tensors: Sequence[Tensor | None]) -> tuple | None:
    """Arrays of some tensors, None where there is none; None if there are none at all."""
    if all(tensor is None for tensor in tensors):
        return None
    return tuple([None if tensor is None else array_of(tensor) for tensor in tensors])


class Weights:
    """A module's parameters, as the engine asks for them.

    Parameters
    ----------
    network : Network
    tensors : sequence of Tensor
        In the order of the network's own.
    lasting : bool
        Whether they stay as they are, so that they are packed once; otherwise each pass packs them.

    Raises
    ------
    ValueError
        If one has not the shape of this network's.
    """

    _flat: Any = None  # no learned states are among them

    def __init__(self, network: Network, tensors: Sequence[Tensor], lasting: bool = False):
        self._network, self._lent = network, not lasting
        self._cache: dict[bool, Any] = {}
        self._named: dict[str, np.ndarray] = {}
        self._addresses: list[int] = []
        self._settled: Weights | None = None
        for (name, shape), tensor in zip(network.layout.shapes.items(), tensors, strict=True):
            if tensor.shape != shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}; it is {shape} in this module")
            if DTYPES.get(tensor.dtype) != network.dtype or not tensor.is_cpu:
                came, first = f"{tensor.dtype} on {tensor.device}", f"torch.{network.dtype} on cpu"
                raise TypeError(f"{name} is {came}, and other parameters are {first}; convert the module with .to()")
            self._named[name] = np.ascontiguousarray(array_of(tensor))
            self._addresses.append(tensor.data_ptr() if tensor.is_contiguous() else 0)

    def signals(self, tensors: Sequence[Tensor]) -> dict[str, np.ndarray] | None:
        """The signals of the cell, the first of some tensors, by name; None if it has none."""
        names = self._network.cell.signals
        return dict(zip(names, map(array_of, tensors), strict=False)) if names else None

    def are(self, network: Network, tensors: Sequence[Tensor]) -> bool:
        """Say if these are the parameters of those tensors, whatever their numbers are now.

        They are where the address and the shape are, as the arrays here keep the memory at the address alive.
        """
        if network is not self._network:
            return False
        if not self._lent:
            return True
        for tensor, at, shape in zip(tensors, self._addresses, network.layout.shapes.values(), strict=True):
            if tensor.data_ptr() != at or tensor.shape != shape or not tensor.is_contiguous():
                return False
        return True

    def settled(self) -> Weights:
        """Weights with these numbers that last, for passes of few rows: they are packed anew only if one has changed.

        Packing writes as many bytes as it reads, and takes longer than a step of one row: with H = 512 1.2 ms of 1.3.
        To compare the numbers with those that were packed takes a quarter of that.
        """
        if not self._lent:
            return self
        known = self._settled
        if known is None or not all(map(_same_bytes, known._named.values(), self._named.values())):
            known = copy(self)
            known._named, known._lent, known._cache = {name: own.copy() for name, own in self._named.items()}, False, {}
            self._settled = known
        return known

    def _derived(self, training: bool, make):
        """Call ``make(parameters)``, once if they stay as they are."""
        made = make(self._named)
        if not self._lent:
            self._cache[training] = made
        return made


_memcmp = (ctypes.CDLL("msvcrt") if os.name == "nt" else ctypes.CDLL(None)).memcmp
_memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]


def _same_bytes(one: np.ndarray, other: np.ndarray) -> bool:
    """Say if two contiguous arrays of one size have the same bytes."""
    return not _memcmp(one.ctypes.data, other.ctypes.data, one.nbytes)


def gradients_of(flat: np.ndarray, network: Network) -> list[Tensor]:
    """The parameters' gradients, parts of one buffer."""
    return [torch.from_numpy(view) for view in network.layout.views(flat).values()]


def split(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The parameters' gradients, each a view of one buffer and of the shape of its parameter."""
    parts = flat.split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]
