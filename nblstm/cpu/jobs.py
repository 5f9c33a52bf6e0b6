"""What kernels are told: records of int64, each field a size, a stride in elements or an address.

A kernel is called with an array of such records and the number of a part; all parts of one record come before those
of the next. Arrays are flat in memory; ``_row`` is the distance between rows, ``_plane`` between states.
"""

from __future__ import annotations

import ctypes
from array import array
from functools import cache
from typing import Any

import numpy as np

from nblstm.codegen.pointers import Records

#: Copies a weight matrix into panels; see `weights.py`.
PACK = (
    "parts",  # panels
    "N", "K",  # columns and inner dimension of the packed matrix
    "block", "order",  # matrix rows come in blocks of this size, the order of which is given
    "transposed",  # 1 where packed[k, n] is matrix[n, k], 0 where it is matrix[k, n]
    "matrix", "matrix_row",
    "packed",
)  # fmt: skip

#: One direction of one layer, forward; see `forward.py`.
FORWARD = (
    "parts", "bounds",  # batch rows, or hidden units, bounds[p] to bounds[p + 1] are part p
    "T", "B", "I", "H",
    "input_columns", "recurrent_columns", "recurrent_start",  # of the pre-activations; see Cell.preactivations
    "second_columns", "operand_start",  # the first recurrent columns belong to the second product; where its operand is
    "reverse",  # 1: from the last step to the first
    "first", "last",  # steps to do, in the order of processing
    "segment",  # steps whose input products are computed at once
    "active", "offset",  # see Batch
    "x", "x_row",
    "sparse",  # rows of x with no more nonzeros than this on average are multiplied without zeros; see sparse.py
    "w_x", "w_h", "bias", "vectors",  # see Weights
    "state", "state_plane",  # S planes of (B, H): initial states in, final states out
    "y", "y_row", "tape", "tape_plane", "tape_row", "saved", "saved_row",  # packed rows; see pointwise.FORWARD
    "z", "z_part", "z_row",  # scratch for each part's pre-activations
    "h", "sync",  # where parts are units: scratch for outputs, two planes (B, H); see barrier.py
    "gemm", "input_products", "pointwise", "pointwise_first",  # kernels; the last where there is a second product
)  # fmt: skip

#: One direction of one layer, backward over some of its steps; see `backward.py`.
BACKWARD = (
    "parts", "bounds",
    "T", "H",
    "recurrent_columns", "recurrent_start", "second_columns", "operand_start",
    "reverse",
    "first", "last",  # steps in the forward order of processing, walked from last - 1 down to first
    "active", "offset",
    "w_h",
    "d_state", "d_state_plane",  # S planes of (B, H): gradient of the states after the steps in, before them out
    "dy", "dy_row", "saved", "saved_row",
    "y", "y_row", "tape", "tape_plane", "tape_row",  # packed rows follow B rows of states before them
    "B",
    "y_all", "tape_all", "previous",  # what the indices of previous states count from
    "vectors", "d_vectors", "d_vectors_row",
    "dz", "dz_row", "dz_start",  # dz holds packed rows from dz_start on
    "sync",
    "gemm", "pointwise", "pointwise_second",  # the last where there is a second product
)  # fmt: skip

#: Gradients of weights and input from the pre-activations' gradients; see `gradients.py`.
GRADIENTS = (
    "parts", "weight_parts",  # the first parts are blocks of weight rows, the others blocks of packed rows
    "rows", "I", "H",
    "gates", "recurrent_start", "second_columns", "operand_start",
    "block", "row_block",  # weight rows, or packed rows, of one part
    "input_order", "recurrent_order",  # the cell's gate for each block of pre-activations
    "dz", "dz_row", "x", "x_row", "h", "h_row",
    "sparse",  # as in FORWARD
    "sparse_block", "asked",  # its kernel, 0 until it was asked for; where a 1 asks for it
    "w_x", "zeros",
    "dx", "dx_row",
    "d_weight_ih", "d_weight_hh", "d_bias_ih", "d_bias_hh",  # biases 0 where there are none
    "accumulate",  # 0: set the weights' and biases' gradients, 1: add to them
    "gemm",
)  # fmt: skip

#: Fields that are addresses of other kernels, which stay for as long as the process.
CODE = frozenset(
    ["gemm", "input_products", "pointwise", "pointwise_first", "pointwise_second", "sparse_block"]
)  # fmt: skip

#: Names of dtypes by their size in bytes; a NumPy dtype takes 3 us to say its name.
DTYPES = {4: "float32", 8: "float64"}


def pointer_type(fields) -> Records:
    """The Numba type of a kernel's first argument."""
    return Records(fields)


@cache
def _places(fields: tuple[str, ...]) -> dict[str, int]:
    return {field: k for k, field in enumerate(fields)}


class Arguments:
    """Records of int64 for a kernel, one after another, and the arrays that their addresses refer to.

    An address gets in only as the array that it belongs to, which is then kept: memory that a kernel is given is alive.

    Parameters
    ----------
    fields : tuple of str
    records : sequence of dict
        For each record the values of some fields, the others are 0: an int, an array for the address of its first
        number, or a `Place`.

    Attributes
    ----------
    fields : tuple of str
    values : array of int64
        To be read, and written where a field is no address.
    at : int
        Address of ``values``: what the kernel is given.
    """

    __slots__ = ("_index", "_kept", "_pointed", "at", "fields", "values")

    def __init__(self, fields: tuple[str, ...], records):
        self._begin(fields, _places(fields), array("q", bytes(8 * len(fields) * len(records))), {})
        self._set(records)

    def _begin(self, fields: tuple[str, ...], index: dict[str, int], values: array, kept: dict[int, Any]) -> None:
        self.fields, self._index, self.values, self._kept = fields, index, values, kept
        self._pointed: dict[int, Any] = {}
        self.at = values.buffer_info()[0]

    def _set(self, records) -> None:
        values, index, kept, start = self.values, self._index, self._kept, 0
        for record in records:
            for field, value in record.items():
                k = start + index[field]
                if type(value) is int:
                    values[k] = value
                elif value is not None:
                    kept[k], values[k] = value if type(value) is tuple else (value, address(value))
            start += len(index)

    @classmethod
    def of(cls, fields: tuple[str, ...], *values: Any) -> Arguments:
        """One record of all its values in order, each as in a dict of the constructor, in half of the time."""
        numbers: list[int] = []
        kept: dict[int, Any] = {}
        for value in values:
            if type(value) is not int:
                kept[len(numbers)], value = value if type(value) is tuple else (value, address(value))
            numbers.append(value)
        made = cls.__new__(cls)
        made._begin(fields, {}, array("q", numbers), kept)
        return made

    def completed(self, records) -> Arguments:
        """A copy in which further fields have values."""
        copy = Arguments.__new__(Arguments)
        copy._begin(self.fields, self._index, self.values[:], self._kept.copy())
        copy._set(records)
        return copy

    def point(self, k: int, own: np.ndarray | None, at: int) -> None:
        """Set value ``k`` to an address within an array, or to 0 with None, and keep the array until `let_go`."""
        self.values[k] = at
        self._pointed[k] = own

    def let_go(self) -> None:
        """Keep none of the arrays from `point`; a launch needs others first."""
        self._pointed.clear()

    def check(self) -> None:
        """See that each address is of an array that is kept; see `memory.CHECKED`.

        Raises
        ------
        RuntimeError
            If one is not.
        """
        for k, value in enumerate(self.values):
            field = self.fields[k % len(self.fields)]
            if value > 0xFFFFFFFF and field not in CODE and k not in self._kept and k not in self._pointed:
                raise RuntimeError(f"the kernel is given an address as {field!r} of memory that nobody holds for it")


#: An array, and an address that counts from it; or None and 0.
Place = tuple[Any, int]


def place(own: np.ndarray | None, delta: int = 0) -> Place:
    """``delta`` bytes behind an array's first number."""
    return (None, 0) if own is None else (own, address(own) + delta)


def address(values: np.ndarray | None) -> int:
    """Where an array's first number is, 0 for none."""
    if values is None:
        return 0
    try:  # a third of the time of the array interface, for what is writable and contiguous
        return ctypes.addressof(ctypes.c_char.from_buffer(values))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return values.__array_interface__["data"][0]
