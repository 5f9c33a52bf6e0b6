"""BPTT through one layer over consecutive steps: what it allocates, and what the kernels are told."""

from __future__ import annotations

from array import array
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from nblstm.buffers import memory
from nblstm.buffers.batch import Batch
from nblstm.buffers.layout import input_order, recurrent_order
from nblstm.cpu import threads, thresholds
from nblstm.cpu.arguments import BackwardArguments, GradientArguments, Launch, address, place
from nblstm.cpu.kernels.backward import backward_by_rows, backward_by_units
from nblstm.cpu.kernels.barrier import sync_size
from nblstm.cpu.kernels.gather import gather_rows
from nblstm.cpu.kernels.gradients import gradients_kernel
from nblstm.cpu.kernels.pointwise import backward_rows
from nblstm.cpu.layer_forward import History
from nblstm.cpu.matrix.gemm import gemm
from nblstm.cpu.matrix.sparse import sparse_weight_block
from nblstm.cpu.partition import Sizes, Steps, in_order, partition, row_bounds, whole
from nblstm.cpu.weights import PackedWeights

#: Parameters whose gradients are matrix products and sums over rows.
PARAMETERS = "weight_ih", "weight_hh", "bias_ih", "bias_hh"

_sparse_blocks: dict[str, int] = {}  # by dtype, once they were asked for


class _Segment(NamedTuple):
    """BPTT over some steps: the loop over time of each direction that still has any, then its gradients."""

    directions: list[int]
    rows: list[tuple[int, int]]  # packed rows of each of them
    loop: Launch
    gradients: list[Launch]
    parts: list[int]  # of each gradient kernel, dx among them


class LayerBackward:
    """Workspace and kernel arguments of all directions of a layer.

    Parameters
    ----------
    sizes : Sizes
    batch : Batch
    segments : list of list of (int, int)
        Of each direction, in the order of time.
    histories : list of History
        From the forward pass.
    places : list of list of int
        For each direction, where among the gradients of all parameters those of `PARAMETERS` begin; None for no such.
    started : set of int
        Directions whose gradients have been set by another object already, and are added to; this one's are put in.
    """

    def __init__(
        self, sizes: Sizes, batch: Batch, segments: list[list[Steps]], histories: list[History],
        places: list[list[int | None]], started: set[int],
    ):  # fmt: skip
        self._sizes, self._histories, self._in_place = (
            sizes, histories, [batch.uniform and not reverse for reverse in sizes.directions]
        )  # fmt: skip
        dtype, cell = sizes.dtype, sizes.cell
        self._tiny = sizes.tiny(batch, thresholds.SERIAL_WORK_GRADIENTS)
        self._cut = partition(batch, sizes.H, sizes.columns, sizes.D, self._tiny)
        loop = backward_by_units if self._cut.by_units else backward_by_rows
        self._kernels = loop(dtype, cell.stages), gradients_kernel(dtype)
        self._zeros = np.zeros(max(sizes.I, sizes.H), dtype)
        self._asked = array("q", [0])  # where the gradient kernel asks for `sparse_weight_block`, by a 1
        self._previous = [
            batch.previous(int(reverse), whole(group))
            for reverse, group in zip(sizes.directions, segments, strict=True)
        ]

        # Segments from the last that was processed to the first: for who reads backwards that is the order of time.
        walks = [
            group if reverse else group[::-1] for reverse, group in zip(sizes.directions, segments, strict=True)
        ]
        cuts = [[(d, steps) for d, steps in enumerate(row) if steps is not None] for row in zip_longest(*walks)]
        rows = [batch.rows(steps) for row in cuts for _, steps in row]
        # Rows 64 bytes off a multiple of 4 KB: a power of two would put a whole column into one set of the L1 cache.
        self._dz_row = -(-sizes.z_row // 16) * 16 + 16
        self._dz = memory.empty((sizes.D, max((hi - lo for lo, hi in rows), default=0), self._dz_row), dtype)
        self._sync = memory.empty((sizes.D, sync_size(self._cut.parts)), np.int64)
        self._segments = [self._segment(batch, row, started) for row in cuts]
        self.nbytes = self._dz.nbytes + self._sync.nbytes
        self._weights: list[PackedWeights] | None = None
        self._given: tuple = (self,) * 5  # x, dy, d_state, d_vectors, dx of the call before
        self._flat: np.ndarray | None = None
        # The field of each parameter's gradient, and how many bytes behind the first of all it begins.
        self._targets = [
            (own, f"d_{name}", start * sizes.item)
            for segment in self._segments for d, (own,) in zip(segment.directions, segment.gradients, strict=True)
            for name, start in zip(PARAMETERS, places[d], strict=True) if start is not None
        ]  # fmt: skip

    def _segment(self, batch: Batch, chosen: list[tuple[int, Steps]], started: set[int]) -> _Segment:
        sizes, T = self._sizes, batch.T
        cell, I, H, dtype = sizes.cell, sizes.I, sizes.H, sizes.dtype
        rows = [batch.rows(steps) for _, steps in chosen]
        # Parts of each segment end together, whatever the lengths; a batch of equal lengths is always cut alike.
        alike = self._cut.by_units or batch.uniform
        loop = Launch(BackwardArguments, len(chosen))
        for record, (d, steps), (lo, _) in zip(loop, chosen, rows, strict=True):
            history = self._histories[d]
            record.set(
                parts=self._cut.parts, bounds=self._cut.bounds if alike else row_bounds(batch, self._cut.parts, steps),
                T=T, B=sizes.B, H=H, recurrent_columns=sizes.columns, **sizes.products,
                **in_order(steps, T, sizes.directions[d]), active=batch.active, offset=batch.offset,
                d_state_plane=sizes.state_plane, d_vectors_row=len(cell.vectors) * H,
                **history.fields(0), y_all=history.y, tape_all=history.states,
                previous=place(self._previous[d], -history.start * 8),
                dz=self._dz[d], dz_row=self._dz_row, dz_start=lo, sync=self._sync[d],
                gemm=gemm(dtype), pointwise=backward_rows(cell, dtype, 1),
                pointwise_second=backward_rows(cell, dtype, cell.stages),
            )  # fmt: skip
        blocks = -(-H // thresholds.WEIGHT_GRADIENT_ROWS)
        weight_parts = len(cell.preactivations) * blocks
        worth = batch.N * sizes.columns * I >= thresholds.SPARSE_GRADIENT_WORK
        gradients, parts = [], []
        for (d, _), (lo, hi) in zip(chosen, rows, strict=True):
            row_block = max(1, min(thresholds.INPUT_GRADIENT_ROWS, -(-(hi - lo) // threads.num_threads())))
            parts.append(weight_parts + -(-(hi - lo) // row_block))
            own = Launch(GradientArguments)
            own[0].set(
                weight_parts=weight_parts, rows=hi - lo, I=I, H=H, gates=len(cell.gates), **sizes.products,
                block=-(-H // blocks), row_block=row_block,
                input_order=input_order(cell, sizes.gates),
                recurrent_order=recurrent_order(cell, sizes.gates),
                dz=self._dz[d], dz_row=self._dz_row, x_row=I, zeros=self._zeros, dx_row=I, accumulate=int(d in started),
                sparse=thresholds.sparse_limit(I, -(-H // blocks)) if worth else -1, asked=self._asked,
                sparse_block=_sparse_blocks.get(dtype, 0), gemm=gemm(dtype),
            )  # fmt: skip
            if self._in_place[d]:  # outputs before the steps of consecutive rows lie one after another as well
                h = self._histories[d].by_state[0][lo - self._histories[d].start :]
                own[0].set(h=h, h_row=h.strides[0] // h.itemsize)
            gradients.append(own)
            started.add(d)
        return _Segment([d for d, _ in chosen], rows, loop, gradients, parts)

    def bind(
        self, weights: list[PackedWeights], x: np.ndarray, dy: np.ndarray | None, d_state: np.ndarray,
        d_vectors: np.ndarray | None, dx: np.ndarray | None, flat: np.ndarray,
    ) -> None:  # fmt: skip
        """Point the kernel arguments at the arrays of a call, which mostly are those of the call before.

        Parameters
        ----------
        weights : list of PackedWeights
        x : ndarray, shape (N, I), or (D, N, I)
            Packed rows of the whole pass, as are those of ``dy`` and ``dx``.
        dy : ndarray, shape (N, D H), or None
        d_state : ndarray, shape (S, D, B, H)
        d_vectors : ndarray, shape (D, B, V H), or None
            Gradients of the cell's vectors for each row of the batch, which are added to.
        dx : ndarray, shape (D, N, I), or None
        flat : ndarray
            Gradients of all parameters, which are set.
        """
        if weights is not self._weights:
            self._weights = None
            for segment in self._segments:
                for k, d in enumerate(segment.directions):
                    w_x, w_h, vectors = weights[d].backward  # type: ignore[misc]  # they are for training
                    segment.loop[k].set(w_h=w_h, vectors=vectors)
                    segment.gradients[k][0].set(w_x=w_x)
            self._weights = weights
        before = self._given
        if not (
            x is before[0] and dy is before[1] and d_state is before[2] and d_vectors is before[3] and dx is before[4]
        ):
            self._given = (self,) * 5
            self._point_at(x, dy, d_state, d_vectors, dx)
            self._given = x, dy, d_state, d_vectors, dx
        if flat is not self._flat:
            self._flat, at = None, address(flat)
            for own, field, start in self._targets:
                setattr(own, field, at + start)
                own.held[field] = flat
            self._flat = flat

    def _point_at(self, x, dy, d_state, d_vectors, dx) -> None:
        sizes, item = self._sizes, self._sizes.item
        dy, dy_row, dy_next = (self._zeros, 0, 0) if dy is None else (dy, sizes.D * sizes.H, sizes.H * item)
        for segment in self._segments:
            for k, d in enumerate(segment.directions):
                lo = segment.rows[k][0]
                segment.loop[k].set(
                    dy=place(dy, d * dy_next), dy_row=dy_row, d_state=place(d_state, d * d_state.strides[1]),
                    d_vectors=None if d_vectors is None else place(d_vectors, d * d_vectors.strides[0]),
                )  # fmt: skip
                own = segment.gradients[k][0]
                own.set(
                    parts=own.weight_parts if dx is None else segment.parts[k],
                    x=place(x, lo * sizes.I * item + (d * x.strides[0] if x.ndim == 3 else 0)),
                    dx=None if dx is None else place(dx, d * dx.strides[0] + lo * sizes.I * item),
                )  # fmt: skip

    def launch(self) -> None:
        """Run the kernels: for each segment the loop over time, then the gradients that follow from it."""
        (loop_kernel, gradients_kernel), tiny = self._kernels, self._tiny
        for segment in self._segments:
            if self._cut.by_units:
                self._sync.fill(0)
            threads.run(loop_kernel, segment.loop, self._cut.parts * len(segment.directions), tiny=tiny)
            for k, own in enumerate(segment.gradients):
                d = segment.directions[k]
                if not self._in_place[d]:
                    (lo, hi), history = segment.rows[k], self._histories[d]
                    h = gather_rows(history.by_state[0], self._previous[d][lo - history.start : hi - history.start])
                    own[0].set(h=h, h_row=h.shape[1])
                threads.run(gradients_kernel, own, own[0].parts, tiny=tiny)
        if self._asked[0]:
            dtype = self._sizes.dtype
            _sparse_blocks[dtype] = sparse_weight_block(dtype)
            self._asked[0] = 0
            for segment in self._segments:
                for own in segment.gradients:
                    own[0].sparse_block = _sparse_blocks[dtype]

    @property
    def empty(self) -> bool:
        """Whether there are no steps, so that no kernel runs."""
        return not self._segments
