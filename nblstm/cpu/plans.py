"""Passes of some sizes, prepared: everything a kernel is told that does not differ from call to call.

A pass over a short sequence takes microseconds; putting its jobs together took ten times as long.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import lru_cache
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from nblstm.buffers import memory
from nblstm.buffers.batch import Batch, uniform_batch
from nblstm.buffers.pool import FreeList, Pool
from nblstm.cells.cell import Cell
from nblstm.cpu import threads, thresholds
from nblstm.cpu.jobs import BACKWARD, DTYPES, FORWARD, GRADIENTS, Arguments
from nblstm.cpu.kernels.backward import backward_by_rows, backward_by_units
from nblstm.cpu.kernels.barrier import sync_size
from nblstm.cpu.kernels.forward import forward_by_rows, forward_by_units
from nblstm.cpu.kernels.gradients import gradients_kernel
from nblstm.cpu.kernels.inputs import input_products
from nblstm.cpu.kernels.pointwise import backward_rows, forward_rows
from nblstm.cpu.matrix.gemm import gemm
from nblstm.cpu.matrix.sparse import sparse_weight_block
from nblstm.cpu.partition import partition, row_bounds, segment_groups, steps_ahead
from nblstm.cpu.thresholds import sparse_limit
from nblstm.cpu.weights import input_order, recurrent_order


class Sizes(NamedTuple):
    """What a layer's plans depend on besides the batch; letters as everywhere."""

    cell: Cell
    I: int
    H: int
    D: int
    state_plane: int
    dtype: str

    @property
    def z_row(self) -> int:
        """Pre-activations of one row, and the operand of a second product."""
        return (len(self.cell.preactivations) + len(self.cell.second[:1])) * self.H

    @property
    def products(self) -> dict[str, int]:
        """For jobs: where among the pre-activations the recurrent products' results and the second's operand are."""
        cell, H = self.cell, self.H
        return {
            "recurrent_start": len(cell.split) * H, "second_columns": len(cell.second) * H,
            "operand_start": len(cell.preactivations) * H,
        }  # fmt: skip

    def tiny(self, batch: Batch, few_rows: int) -> bool:
        """Whether a pass is too little work for threads; fewer multiply-adds than ``few_rows`` are, of a few rows."""
        limit = thresholds.SERIAL_WORK if batch.N >= 2 * thresholds.ROWS_PER_THREAD else few_rows
        return batch.N * len(self.cell.gates) * self.H * (self.I + self.H) < limit


def _directions(groups: list, D: int) -> list[list]:
    """What each direction does in each turn: direction 1 goes through the groups from the last."""
    return [[groups[-1 - k] if d else groups[k] for d in range(D)] for k in range(len(groups))]


def _in_order(steps: tuple[int, int], T: int, d: int) -> dict[str, int]:
    """Steps as direction d counts them."""
    return {"first": T - steps[1], "last": T - steps[0]} if d else {"first": steps[0], "last": steps[1]}


@lru_cache(maxsize=256)
def _forward_arguments(sizes: Sizes, training: bool) -> Arguments:
    """Of each direction, what the batch has no part in: lengths differ in every call, and these are most fields."""
    cell, I, H, D, dtype = sizes.cell, sizes.I, sizes.H, sizes.D, sizes.dtype
    return Arguments(FORWARD, [dict(
        I=I, H=H, input_columns=len(cell.gates) * H, recurrent_columns=len(cell.gates) * H, **sizes.products,
        reverse=d, x_row=I, state_plane=sizes.state_plane, tape_row=H, saved_row=len(cell.graph.saved) * H,
        z_row=sizes.z_row, pointwise=forward_rows(cell, dtype, training, cell.stages),
        pointwise_first=forward_rows(cell, dtype, training, 1),
        input_products=input_products(dtype), gemm=gemm(dtype),
    ) for d in range(D)])  # fmt: skip


class ForwardPlan:
    """A forward pass, in one turn or, with checkpoints, in several.

    Attributes
    ----------
    turns : list of list of (int, int)
        The packed rows of each direction in each turn.
    z_size : int
        Pre-activations that one direction computes ahead.
    parts : int
        Of the kernel, all directions together.
    """

    def __init__(self, sizes: Sizes, batch: Batch, training: bool, checkpoint: int | None):
        cell, H, D, dtype = sizes.cell, sizes.H, sizes.D, sizes.dtype
        self.tiny = sizes.tiny(batch, thresholds.SERIAL_WORK_FEW_ROWS)
        self.cut = partition(batch, H, len(cell.gates) * H, D, self.tiny)
        rows, parts = self.cut.rows, self.cut.parts
        segment = steps_ahead(batch.T, rows, sizes.z_row)
        z_part = 0 if self.cut.by_units else segment * rows * sizes.z_row
        self.z_size = z_part * parts or segment * rows * sizes.z_row
        self.kernel = (forward_by_units if self.cut.by_units else forward_by_rows)(dtype, cell.stages)
        groups = [(0, batch.steps)]
        if checkpoint is not None:
            groups = [(group[0][0], group[-1][1]) if group else (0, 0) for group in segment_groups(batch, checkpoint)]
        turns = _directions(groups, D)
        self.turns = [[batch.rows(steps) for steps in turn] for turn in turns]
        self.parts = parts * D
        of_batch = dict(
            parts=parts, bounds=self.cut.bounds, T=batch.T, B=batch.B, segment=segment,
            active=batch.active, offset=batch.offset, z_part=z_part,
            sparse=sparse_limit(sizes.I, len(cell.gates) * H // (parts if self.cut.by_units else 1)),
        )  # fmt: skip
        self.nbytes = self.cut.bounds.nbytes + batch.active.nbytes + batch.offset.nbytes
        self._arguments = [
            _forward_arguments(sizes, training).completed([
                of_batch | _in_order(steps, batch.T, d) for d, steps in enumerate(turn)
            ]) for turn in turns
        ]  # fmt: skip

    def prepared(self, turn: int, state: np.ndarray, records: list[dict]):
        """Scratch memory for states (S, D, B, H), and the arguments of the kernel, with it and the records in them."""
        scratch = Scratch(self, state)
        records = [record | own for record, own in zip(records, scratch.fields, strict=True)]
        return scratch, self._arguments[turn].completed(records)


class Scratch:
    """Memory of a forward pass: pre-activations and, where parts are units, what they share, on cache lines."""

    def __init__(self, plan: ForwardPlan, state: np.ndarray):
        _, D, B, H = state.shape
        self.z = memory.empty((D, plan.z_size), state.dtype)
        self.fields = [{"z": z} for z in self.z]
        self.nbytes = self.z.nbytes
        self.shared = plan.cut.by_units
        if self.shared:
            self.h = memory.empty((D, 2, B, H), state.dtype)
            self.sync = memory.empty((D, sync_size(plan.cut.parts)), np.int64)
            for own, h, sync in zip(self.fields, self.h, self.sync, strict=True):
                own |= {"h": h, "sync": sync}

    def prepare(self, state: np.ndarray | None) -> None:
        """Before each run from the states (S, D, B, H), None for zeros: both planes of outputs from them, counters."""
        if self.shared:
            if state is None:
                self.h.fill(0)
            else:
                self.h[:] = state[0][:, None]
            self.sync.fill(0)


def _sizes(cell: Cell, I: int, state: np.ndarray) -> Sizes:
    _, D, _, H = state.shape
    return Sizes(cell, I, H, D, state.strides[0] // state.itemsize, DTYPES[state.itemsize])


def free_list(pool: Pool, batch: Batch, kind: str, I: int, state: np.ndarray) -> FreeList | None:
    """Passes that a network keeps for batches like this one; None where it keeps none, or not yet.

    Parameters
    ----------
    pool : Pool
        The network's.
    batch : Batch
    kind : {"infer", "forward"}
    I : int
        Features of the layer's input.
    state : ndarray, shape (S, D, B, H)
        A slice of the states of all layers.
    """
    if not batch.uniform:  # lengths are others in the next call
        return None
    return pool.second((kind, batch.T, batch.B, I, state.strides[0], threads.num_threads()))


#: Plans for no more rows than this are kept, with arrays of 16 MB at most; what is larger takes milliseconds anyway.
KEPT_ROWS = 32_768


@lru_cache(maxsize=64)
def _kept(kind: Callable, sizes: Sizes, T: int, B: int, options: tuple, number_of_threads: int) -> Any:
    return kind(sizes, uniform_batch(T, B), *options)


def _plan(kind: Callable, sizes: Sizes, batch: Batch, *options) -> Any:
    """``kind(sizes, batch, *options)``, kept for networks of one cell and of the same sizes.

    That of a ragged batch is kept with the batch, for other layers.
    """
    if batch.uniform:
        if batch.N > KEPT_ROWS:
            return kind(sizes, batch, *options)
        return _kept(kind, sizes, batch.T, batch.B, options, threads.num_threads())
    key = kind, sizes, options, threads.num_threads()
    if key not in batch.derived:
        batch.derived[key] = kind(sizes, batch, *options)
    return batch.derived[key]


def forward_plan(
    cell: Cell, batch: Batch, I: int, state: np.ndarray, training: bool, checkpoint: int | None
) -> ForwardPlan:
    """The plan for passes from states (S, D, B, H), a slice of those of all layers."""
    return _plan(ForwardPlan, _sizes(cell, I, state), batch, training, checkpoint)


#: dW_ih of fewer multiply-adds in a pass than this stays dense, whatever the inputs: to skip zeros could save 0.2 ms on
#: two threads, and the kernel takes 0.3 s to compile.
SPARSE_WORK = 20_000_000

_sparse_blocks: dict[str, int] = {}  # by dtype, once they were asked for


class Segment(NamedTuple):
    """BPTT over some steps: of each direction that still has any, the loop over time, then its gradients in parts."""

    directions: list[int]
    rows: list[tuple[int, int]]
    backward: Arguments
    gradients: list[Arguments]
    parts: list[int]


class BackwardPlan:
    """BPTT, segment by segment, in the turns of the forward pass.

    Attributes
    ----------
    previous : list of list of ndarray
        For each turn and direction, see `Batch.previous`.
    segments : list of list of Segment
        For each turn, in the order in which they are done.
    dz_rows, dz_row : int
        Shape of the scratch memory of one direction.
    weight_parts : int
        The parts of `gradients.py` that are not about the input's gradient: the first ones.
    zeros : ndarray, shape (max(I, H),)
    sparse_block : int
        Address of `sparse_weight_block`, 0 before anybody asked for it.
    asked : array of one int64
        Where kernels ask for it, by a 1.
    """

    def __init__(self, sizes: Sizes, batch: Batch, checkpoint: int | None):
        self._sizes, self._uniform = sizes, batch.uniform
        dtype = sizes.dtype
        self.tiny = sizes.tiny(batch, thresholds.SERIAL_WORK_GRADIENTS)
        self.cut = partition(batch, sizes.H, len(sizes.cell.gates) * sizes.H, sizes.D, self.tiny)
        self.asked, self.sparse_block = array("q", [0]), _sparse_blocks.get(dtype, 0)
        self._orders = input_order(sizes.cell), recurrent_order(sizes.cell)
        self.zeros = np.zeros(max(sizes.I, sizes.H), dtype)
        self._blocks = -(-sizes.H // thresholds.WEIGHT_GRADIENT_ROWS)
        self.weight_parts = len(sizes.cell.preactivations) * self._blocks
        by_units = self.cut.by_units
        stages = sizes.cell.stages
        self._pointwise = {"pointwise": backward_rows(sizes.cell, dtype, 1),
                           "pointwise_second": backward_rows(sizes.cell, dtype, stages)}  # fmt: skip
        loop = (backward_by_units if by_units else backward_by_rows)(dtype, stages)
        self.kernels = loop, gradients_kernel(dtype)
        # Rows 64 bytes off a multiple of 4 KB: a power of two would put a whole column into one set of the L1 cache.
        self.dz_row = -(-sizes.z_row // 16) * 16 + 16

        self.sync_size = sync_size(self.cut.parts)
        turns = _directions([group for group in segment_groups(batch, checkpoint) if group], sizes.D)
        self.previous = [
            [batch.previous(d, (group[0][0], group[-1][1])) for d, group in enumerate(turn)] for turn in turns
        ]
        started: set[int] = set()
        self.segments: list[list[Segment]] = [[] for _ in turns]
        for k in reversed(range(len(turns))):
            walks = [group if d else group[::-1] for d, group in enumerate(turns[k])]
            for cuts in zip_longest(*walks):
                chosen = [(d, steps) for d, steps in enumerate(cuts) if steps is not None]
                self.segments[k].append(self._segment(batch, chosen, started))
        everything = [span for turn in self.segments for segment in turn for span in segment.rows]
        self.dz_rows = max((hi - lo for lo, hi in everything), default=0)

    def answer(self) -> None:
        """Compile the kernel that was asked for; the jobs that follow are to know of it."""
        dtype = self._sizes.dtype
        self.sparse_block = _sparse_blocks[dtype] = sparse_weight_block(dtype)
        self.asked[0] = 0

    def in_place(self, d: int) -> bool:
        """Whether the outputs before the steps of consecutive rows lie one after another as well."""
        return self._uniform and d == 0

    def _segment(self, batch: Batch, chosen: list[tuple[int, tuple[int, int]]], started: set[int]) -> Segment:
        sizes = self._sizes
        cell, I, H, D, dtype = sizes.cell, sizes.I, sizes.H, sizes.D, sizes.dtype
        rows = [batch.rows(steps) for _, steps in chosen]
        # Parts of each segment end together, whatever the lengths; a batch of equal lengths is always cut alike.
        alike = self.cut.by_units or batch.uniform
        bounds = [self.cut.bounds if alike else row_bounds(batch, self.cut.parts, steps) for _, steps in chosen]
        backward = Arguments(BACKWARD, [dict(
            parts=self.cut.parts, bounds=own, T=batch.T, B=batch.B, H=H,
            recurrent_columns=len(cell.gates) * H, **sizes.products, reverse=d, **_in_order(steps, batch.T, d),
            active=batch.active, offset=batch.offset, d_state_plane=sizes.state_plane,
            dy_row=D * H, saved_row=len(cell.graph.saved) * H, tape_row=H,
            d_vectors_row=len(cell.vectors) * H, dz_row=self.dz_row, dz_start=lo,
            gemm=gemm(dtype), **self._pointwise,
        ) for (d, steps), (lo, _), own in zip(chosen, rows, bounds, strict=True)])  # fmt: skip
        gradients, gradient_parts = [], []
        worth = batch.N * len(cell.gates) * H * I >= SPARSE_WORK
        sparse = sparse_limit(I, -(-H // self._blocks)) if worth else -1
        for (d, _), (lo, hi) in zip(chosen, rows, strict=True):
            row_block = max(1, min(128, -(-(hi - lo) // threads.num_threads())))
            gradient_parts.append(self.weight_parts + -(-(hi - lo) // row_block))
            gradients.append(Arguments(GRADIENTS, [dict(
                weight_parts=self.weight_parts,
                rows=hi - lo, I=I, H=H, gates=len(cell.gates), **sizes.products,
                block=-(-H // self._blocks), row_block=row_block,
                input_order=self._orders[0], recurrent_order=self._orders[1],
                dz_row=self.dz_row, x_row=I, zeros=self.zeros, dx_row=I, accumulate=int(d in started),
                sparse=sparse, asked=self.asked, gemm=gemm(dtype),
            )]))  # fmt: skip
            started.add(d)
        return Segment([d for d, _ in chosen], rows, backward, gradients, gradient_parts)


def backward_plan(cell: Cell, batch: Batch, I: int, d_state: np.ndarray, checkpoint: int | None) -> BackwardPlan:
    """The plan for BPTT from gradients of the states (S, D, B, H)."""
    return _plan(BackwardPlan, _sizes(cell, I, d_state), batch, checkpoint)
