"""Kernel arguments: structures whose fields have the same names here and in the kernels.

A kernel is called with the address of one or more structures of a kind, one after another, and the number of a part;
all parts of one structure come before those of the next. Every field is an int64: a number, the address of an array, or
that of another kernel. Strides count elements: ``_row`` is the distance between rows, ``_plane`` between states.
"""

from __future__ import annotations

import ctypes
from typing import Annotated, Any, ClassVar, TypeVar

import numpy as np

from nblstm.codegen.intrinsics import Records

#: Kinds of fields beside plain numbers.
Array = Annotated[int, "address of an array"]
Kernel = Annotated[int, "address of a kernel"]

#: An array, and an address that counts from it; or None and 0.
Place = tuple[Any, int]

#: Names of dtypes by their size in bytes; a NumPy dtype takes 3 us to say its name.
DTYPES = {4: "float32", 8: "float64"}


class Arguments(ctypes.Structure):
    """One structure, and the arrays that its addresses refer to.

    An address is set together with its array, which is then held: memory that a kernel is given is alive.

    Attributes
    ----------
    held : dict of str to object
        By field.
    """

    arrays: ClassVar[frozenset[str]]
    held: dict[str, Any]

    def set(self, **values: Any) -> None:
        """Set fields: a number, an array for the address of its first element, a `Place`, or None for 0."""
        for field, value in values.items():
            if type(value) is int:
                setattr(self, field, value)
            elif value is None:
                setattr(self, field, 0)
                self.held.pop(field, None)
            else:
                own, at = value if type(value) is tuple else (value, address(value))
                setattr(self, field, at)
                self.held[field] = own

    #: ``numbers(T=5, B=3)`` sets fields that are numbers, in half of the time.
    numbers = ctypes.Structure.__init__

    def let_go(self, *fields: str) -> None:
        """Hold the arrays of these fields no more; they are to be set again before the next launch."""
        for field in fields:
            self.held.pop(field, None)


Kind = TypeVar("Kind", bound=type[Arguments])


def structure(kind: Kind) -> Kind:
    """Give a class of `Arguments` the fields that its annotations name."""
    kind._fields_ = [(field, ctypes.c_int64) for field in kind.__annotations__]
    kind.arrays = frozenset(field for field, what in kind.__annotations__.items() if what in ("Array", Array))
    return kind


def pointer_type(kind: type[Arguments]) -> Records:
    """The Numba type of a kernel's first argument."""
    return Records([field for field, *_ in kind._fields_])


class Launch(list):
    """Arguments of one launch: structures of one kind that lie one after another in memory.

    Parameters
    ----------
    kind : type
    count : int

    Attributes
    ----------
    at : int
        The address of the first.
    """

    __slots__ = ("_memory", "at")

    def __init__(self, kind: type[Arguments], count: int = 1):
        self._memory = (kind * count)()
        self.at = ctypes.addressof(self._memory)
        size = ctypes.sizeof(kind)
        for k in range(count):
            record = kind.from_buffer(self._memory, k * size)
            record.held = {}
            self.append(record)

    def point(self, field: str, array: np.ndarray | None, step: int = 0) -> None:
        """Set a field to an array's address, of each structure ``step`` bytes further on."""
        at = address(array)
        for record in self:
            setattr(record, field, at)
            record.held[field] = array
            at += step

    def columns(self) -> dict[str, np.ndarray]:
        """Each field of all structures, as an array (count,) that may be written to."""
        kind = type(self[0])
        table = np.frombuffer(memoryview(self._memory), np.int64).reshape(len(self), -1)
        return {field: table[:, k] for k, (field, *_) in enumerate(kind._fields_)}

    def check(self) -> None:
        """Check that each address is of an array that is held; see `memory.CHECKED`.

        Raises
        ------
        RuntimeError
            If one is not.
        """
        for record in self:
            for field, *_ in record._fields_:
                if field in record.arrays and getattr(record, field) > 0xFFFFFFFF and field not in record.held:
                    raise RuntimeError(
                        f"the kernel is given an address as {field!r} of memory that nobody holds for it"
                    )


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


@structure
class PackArguments(Arguments):
    """Copy a weight matrix into panels; see `weights.py`."""

    parts: int  # panels
    N: int
    K: int  # columns and inner dimension of the packed matrix
    block: int
    order: Array  # matrix rows come in blocks of this size, the order of which is given
    transposed: int  # 1 where packed[k, n] is matrix[n, k], 0 where it is matrix[k, n]
    matrix: Array
    matrix_row: int
    packed: Array
    run: int  # inner numbers that are pairs of bfloat16 by themselves, see `inner_numbers`


@structure
class ForwardArguments(Arguments):
    """One direction of one layer, forward; see `kernels/forward.py`."""

    parts: int
    bounds: Array  # batch rows, or hidden units, bounds[p] to bounds[p + 1] are part p
    T: int
    B: int
    I: int
    H: int
    input_columns: int
    recurrent_columns: int
    recurrent_start: int  # of the pre-activations; see Cell.preactivations
    program: Array
    stage_starts: Array
    stages: int  # see `kernels/program.py`
    given: Array
    givens: int
    given_start: int
    signals: int  # what the addresses of signals count from
    seed: int  # what is copied into z with each step, or drawn; see `kernels/inputs.py`
    reverse: int  # 1: from the last step to the first
    first: int
    last: int  # steps to do, in the order of processing
    segment: int  # steps whose input products are computed at once
    active: Array
    offset: Array  # see Batch
    x: Array
    x_row: int
    sparse: int  # rows of x with no more nonzeros than this on average are multiplied without their zeros
    w_x: Array
    w_x_panel: int
    w_h: Array
    w_h_panel: int  # numbers from one panel to the next
    bias: Array
    vectors: Array  # see PackedWeights
    state: Array
    state_plane: int  # S planes of (B, H): initial states in, final states out
    y: Array
    y_row: int
    tape: Array
    tape_plane: int
    tape_row: int
    saved: Array
    saved_row: int  # packed rows; see kernels/pointwise.py
    z: Array
    z_part: int
    z_row: int  # workspace of each part's pre-activations
    h: Array
    sync: Array  # where parts are units: workspace of outputs, two planes (B, H), and the barrier's counters
    gemm: Kernel
    input_products: Kernel


@structure
class BackwardArguments(Arguments):
    """One direction of one layer, backward over some of its steps; see `kernels/backward.py`."""

    parts: int
    bounds: Array
    T: int
    H: int
    recurrent_start: int
    program: Array
    stage_starts: Array
    stages: int  # see `kernels/program.py`
    reverse: int
    first: int
    last: int  # steps in the forward order of processing, walked from last - 1 down to first
    active: Array
    offset: Array
    w_h: Array
    w_h_panel: int  # numbers from one panel to the next
    d_state: Array
    d_state_plane: int  # S planes of (B, H): gradient of the states after the steps in, before them out
    dy: Array
    dy_row: int
    saved: Array
    saved_row: int
    y: Array
    y_row: int
    tape: Array
    tape_plane: int
    tape_row: int  # packed rows follow B rows of states before them
    B: int
    y_all: Array
    tape_all: Array
    previous: Array  # what the indices of previous states count from
    vectors: Array
    d_vectors: Array
    d_vectors_row: int
    dz: Array
    dz_row: int
    dz_start: int  # dz holds packed rows from dz_start on
    sync: Array
    gemm: Kernel
    state_gradients: Kernel  # 0 for none
    told: Array
    told_states: int
    lengths: Array
    truncate: int
    mask: Array  # see `kernels/state_gradients.py`


@structure
class GradientArguments(Arguments):
    """Gradients of weights and input from the pre-activations' gradients; see `kernels/gradients.py`."""

    parts: int
    weight_parts: int  # the first parts are blocks of weight rows, the others blocks of packed rows
    rows: int
    I: int
    H: int
    gates: int  # that the input feeds
    recurrent_start: int
    operands: Array  # for each block of the recurrence where in a row of dz its operand is, -1 for h
    block: int
    row_block: int  # weight rows, or packed rows, of one part
    input_order: Array
    recurrent_order: Array  # for each block of pre-activations, its gate's place in the parameters
    dz: Array
    dz_row: int
    x: Array
    x_row: int
    h: Array
    h_row: int
    sparse: int  # as in ForwardArguments
    sparse_block: Kernel
    asked: Array  # set to 1 to have sparse_block compiled, which is 0 until then
    w_x: Array
    w_x_panel: int
    zeros: Array
    dx: Array
    dx_row: int
    dx_start: int  # where in a row of dz what is added to dx is, -1 for nothing
    d_weight_ih: Array
    d_weight_hh: Array
    d_bias_ih: Array
    d_bias_hh: Array  # biases 0 where there are none
    accumulate: int  # 0: set the weights' and biases' gradients, 1: add to them
    gemm: Kernel
    columns_gemm: Kernel  # where both matrices are plain
