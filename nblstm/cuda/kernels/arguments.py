"""Kernels before they are compiled, and their arguments: the host fills named tuples in, kernels read them as ``a.z``.

To tell a kernel something more, add a field here, and its value where the tuple is made: `nblstm.cuda.steps` for the
kernels of one step, `nblstm.cuda.sequence` for those of a whole sequence.

Letters: T steps, B sequences, H hidden size, D directions, G gates that the input feeds, R those that the recurrence
feeds, P pre-activations (a split gate has two), Q these and x and signals, S states, K saved values, V vectors and
scalars, n packed rows of the span of steps. ``d`` before a name is its gradient. Distances are counted in numbers, not
in bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: On the host, a device array; in a kernel, its address. All other fields are int; a kernel gets each as an int64.
Array = Any


class StepForward(NamedTuple):
    """One step of one direction, forward: pre-activations in, states out."""

    rows: int  # sequences that run at this step
    first: int  # its first row, among the n of the span
    row: int  # and among the N of the whole batch
    t: int  # the step, as the batch counts them
    B: int  # rows of arrays that have room for all sequences
    H: int
    z: Array  # (n, G H): W_ih x
    r: Array  # R planes of (B, H), for a product of n gates (B, n H): W_hh h_{t-1}, W_hh operand
    bias: Array  # (P H,)
    vectors: Array  # (V H,)
    state: Array  # S planes of (B, H): states before the step in, after it out
    state_plane: int  # distance between two states
    x: Array  # (N, I): the input itself
    signals: Array  # a plane of (N, H) for each signal
    signals_plane: int
    seed: int  # of this direction's noise
    lengths: Array  # (B,) of int64
    reversed: int  # 1 if sequences are reversed, so that step t of one is lengths[b] - 1 - t of the batch
    y: Array  # out: outputs; B rows before the span, then its n packed rows
    y_row: int  # distance between two rows of y
    other_states: Array  # out, when training: S - 1 planes of (B + n, H), the states that are not the output
    other_states_plane: int
    saved: Array  # out, when training: (n, K H), behind the K H numbers of a row those that all units share
    work: Array  # what passes between the step's kernels, see `nblstm.cells.cuda_source.work_planes`


class StepBackward(NamedTuple):
    """One step of one direction, backward: gradients of the new states in, of pre-activations and old states out."""

    rows: int
    first: int
    row: int
    B: int
    H: int
    d_state: Array  # S planes of (B, H): in, gradient of the new states; out, of the old, but for W_hh^T dz
    d_state_plane: int
    dy: Array  # (N, H): the gradient of outputs
    dy_row: int
    saved: Array  # (n, K H), likewise
    previous: Array  # (n,) of int64: for each packed row, where in y and other_states its state before the step is
    y: Array  # as in `StepForward`
    y_row: int
    other_states: Array
    other_states_plane: int
    vectors: Array  # (V H,)
    d_vectors: Array  # (B, V H): added to
    dz: Array  # out: (n, Q H)
    d_operands: Array  # a plane of (B, H) for each operand of called gates: W_hh^T dz
    operands: Array  # out, a plane of (n, H) for each: what their weights multiplied
    operands_plane: int
    work: Array


class SequenceArguments(NamedTuple):
    """A span of steps in one launch, all directions; forward and backward."""

    # The layer.
    tiles: Array  # recurrent weights (backward, transposed) in the order in which threads read them
    vectors: Array  # (D, V H)
    state: Array  # S planes of (D, B, H): forward, the states; backward, their gradient. In and out.
    state_plane: int  # distance between two states
    # What forward leaves behind and backward reads.
    y: Array  # (B + n, D H): outputs, B rows before the span and then its packed rows
    other_states: Array  # (D, S - 1, B + n, H), when training: the states that are not the output
    saved: Array  # (D, n, K H), when training
    # The packed batch and the span of steps.
    lengths: Array  # (B,) of int64
    offsets: Array  # (T,) of int64: the packed row of each step's first sequence
    B: int
    T: int
    n: int
    first: int  # the span's first step, as each direction counts them
    last: int  # the step behind its last
    start_0: int  # the packed row that is row 0 of the span, in direction 0
    start_1: int  # in direction 1
    # The tiling, as far as it is not compiled in; see `nblstm.cuda.tiling.Tiling`.
    blocks: int
    chunks: int
    quads: int
    # What the blocks of a group exchange.
    exchange: Array  # zeros: for each group two copies of chunks * rows * inner numbers, written and read in turn
    counters: Array  # zeros of int32: for each group, how many blocks have arrived
    error: Array  # one int32, set by blocks that waited in vain
    timeout: int  # how often a counter is looked at before that
    # Forward only.
    z: Array = 0  # (D, n, G H): W_ih x
    bias: Array = 0  # (D, P H)
    # Backward only.
    dy: Array = 0  # (N, D H), of all packed rows of the batch
    previous_0: Array = 0  # (n,) of int64: for each packed row, where its state before the step is, in direction 0
    previous_1: Array = 0  # in direction 1
    dz: Array = 0  # out: (D, n, P H); these cells have no Q beyond P
    d_vectors: Array = 0  # (D, B, V H): added to


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be compiled and launched.

    Attributes
    ----------
    name : str
        For profiles and the names of cache files.
    dtype : {"float32", "float64"}
    threads : int
        The most threads of a block; the compiler divides a multiprocessor's registers by it.
    arguments : type
        The named tuple that the kernel takes.
    text : str
        Identity in the cache, together with the name: all that differs between kernels of one version of nblstm.
    make : callable
        ``make(primitives) -> function``: the kernel as a Python function of one argument.
    """

    name: str
    dtype: str
    threads: int
    arguments: type[StepForward | StepBackward | SequenceArguments]
    text: str
    make: Callable = field(compare=False)
