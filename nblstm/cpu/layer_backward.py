"""BPTT through one layer over consecutive steps: what it allocates, and what the kernels are told."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from nblstm.buffers import memory
from nblstm.buffers.batch import Batch
from nblstm.buffers.each_step import EachStep, Samples
from nblstm.buffers.layout import input_order, recurrent_order
from nblstm.cpu import threads, thresholds
from nblstm.cpu.arguments import BackwardArguments, GradientArguments, Launch, address, place
from nblstm.cpu.kernels.backward import backward_by_rows, backward_by_units
from nblstm.cpu.kernels.barrier import sync_size
from nblstm.cpu.kernels.gather import gather_rows
from nblstm.cpu.kernels.gradients import gradients_kernel
from nblstm.cpu.kernels.state_gradients import state_arguments
from nblstm.cpu.layer_forward import History
from nblstm.cpu.matrix.products import panel_numbers, product, product_of_columns
from nblstm.cpu.matrix.sparse import sparse_weight_block
from nblstm.cpu.partition import Sizes, Steps, in_order, partition, row_bounds, whole
from nblstm.cpu.sample_gradients import sample_gradients
from nblstm.cpu.tables import backward_table, operand_places
from nblstm.cpu.weights import PackedWeights

#: Parameters whose gradients are matrix products and sums over rows.
PARAMETERS = "weight_ih", "weight_hh", "bias_ih", "bias_hh"

#: In the place of an array that may be None, before there was any.
_UNSET: Any = object()

_sparse_blocks: dict[str, int] = {}  # by dtype, once they were asked for


class _Segment(NamedTuple):
    """BPTT over some steps: the loop over time of each direction that still has any, then its gradients."""

    directions: list[int]
    rows: list[tuple[int, int]]  # packed rows of each of them
    loop: Launch
    gradients: list[Launch]
    row_parts: list[int]  # of each gradient kernel, for dx


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
        self._sizes, self._histories, self._places, self._before = sizes, histories, places, frozenset(started)
        self._zeros = np.zeros(max(sizes.I, sizes.H), sizes.dtype)
        self._asked = array("q", [0])  # where the gradient kernel asks for `sparse_weight_block`, by a 1
        # Rows 64 bytes off a multiple of 4 KB: a power of two would put a whole column into one set of the L1 cache.
        self._dz_row = -(-sizes.dz_row // 16) * 16 + 16
        self._dz = np.empty((sizes.D, 0, self._dz_row), sizes.dtype)
        self._weight_blocks = -(-sizes.H // thresholds.WEIGHT_GRADIENT_ROWS)  # of each block of pre-activations
        self._weight_parts = len(sizes.cell.preactivations) * self._weight_blocks
        self._segments: list[_Segment] = []
        self._targets: list[tuple[GradientArguments, str, int]] = []
        self._flat: Any = _UNSET
        self._whole_rows = self._joined = self._asking = False
        self.arrange(batch, segments)
        started.update(d for segment in self._segments for d in segment.directions)

    def arrange(self, batch: Batch, segments: list[list[Steps]]) -> None:
        """Set what depends on the lengths of a batch of T steps and B sequences."""
        sizes = self._sizes
        self._batch, self._steps = batch, segments
        if self._joined:
            segments = [[whole(group)] if group else [] for group in segments]
        self._in_place = [batch.uniform and not reverse for reverse in sizes.directions]
        self._serial = sizes.is_serial(batch, thresholds.SERIAL_WORK_GRADIENTS)
        self._cut = partition(batch, sizes.H, sizes.columns, sizes.D, self._serial, self._whole_rows)
        loop = backward_by_units if self._cut.by_units else backward_by_rows
        self._kernels = loop(sizes.dtype), gradients_kernel(sizes.dtype)
        self._previous = [
            batch.previous(int(reverse), whole(group))
            for reverse, group in zip(sizes.directions, segments, strict=True)
        ]
        # Segments from the last that was processed to the first: for who reads backwards that is the order of time.
        walks = [group if reverse else group[::-1] for reverse, group in zip(sizes.directions, segments, strict=True)]
        cuts = [[(d, steps) for d, steps in enumerate(row) if steps is not None] for row in zip_longest(*walks)]
        dz_rows = max((hi - lo for row in cuts for _, steps in row for lo, hi in [batch.rows(steps)]), default=0)
        if self._dz.shape[1] < dz_rows:
            self._dz = memory.empty((sizes.D, dz_rows, self._dz_row), sizes.dtype)
        self._sync = memory.empty((sizes.D, sync_size(self._cut.parts)), np.int64)
        self.nbytes = self._dz.nbytes + self._sync.nbytes
        self._weights: list[PackedWeights] | None = None
        self._x: np.ndarray | None = None
        self._d_state: np.ndarray | None = None
        self._d_vectors: np.ndarray | None = None
        self._dy: Any = _UNSET
        self._dx: Any = _UNSET
        if [segment.directions for segment in self._segments] != [[d for d, _ in row] for row in cuts]:
            started = set(self._before)
            self._segments = [self._new_segment([d for d, _ in row], started) for row in cuts]
            self._flat = _UNSET
            # The field of each parameter's gradient, and how many bytes behind the first of all it begins.
            self._targets = [
                (own, f"d_{name}", start * sizes.item)
                for segment in self._segments
                for d, (own,) in zip(segment.directions, segment.gradients, strict=True)
                for name, start in zip(PARAMETERS, self._places[d], strict=True) if start is not None
            ]  # fmt: skip
        for segment, row in zip(self._segments, cuts, strict=True):
            self._arrange_segment(segment, batch, [steps for _, steps in row])

    def _new_segment(self, directions: list[int], started: set[int]) -> _Segment:
        """The kernel arguments of a segment, with all that no batch changes."""
        sizes = self._sizes
        cell, I, H, dtype, precision = sizes.cell, sizes.I, sizes.H, sizes.dtype, sizes.precision
        instructions, starts = backward_table(cell, precision, H)
        loop, gradients = Launch(BackwardArguments, len(directions)), []
        for record, d in zip(loop, directions, strict=True):
            history = self._histories[d]
            record.numbers(
                B=sizes.B, H=H, recurrent_start=cell.recurrent_start * H,
                d_state_plane=sizes.state_plane, d_vectors_row=(len(cell.vectors) + len(cell.scalars)) * H,
                dz_row=self._dz_row, gemm=product(precision), stages=len(starts) - 2,
                w_h_panel=panel_numbers(precision, sizes.columns, H),
            )  # fmt: skip
            record.set(program=instructions, stage_starts=starts)
            record.set(**history.fields(0), y_all=history.y, tape_all=history.states)
            own = Launch(GradientArguments)
            own[0].numbers(
                I=I, H=H, gates=len(cell.input_gates), recurrent_start=cell.recurrent_start * H,
                dx_start=len(cell.preactivations) * H if cell.takes_x else -1, block=-(-H // self._weight_blocks),
                dz_row=self._dz_row, x_row=I, dx_row=I, accumulate=int(d in started),
                sparse_block=_sparse_blocks.get(dtype, 0), gemm=product(precision),
                columns_gemm=product_of_columns(precision), w_x_panel=panel_numbers(precision, sizes.input_columns),
            )  # fmt: skip
            own[0].set(
                input_order=input_order(cell, sizes.gates), recurrent_order=recurrent_order(cell, sizes.gates),
                zeros=self._zeros, asked=self._asked, operands=operand_places(cell, H),
            )  # fmt: skip
            gradients.append(own)
            started.add(d)
        return _Segment(directions, [], loop, gradients, [])

    def _arrange_segment(self, segment: _Segment, batch: Batch, steps: list[Steps]) -> None:
        sizes, T = self._sizes, batch.T
        segment.rows[:] = [batch.rows(own) for own in steps]
        segment.row_parts.clear()
        # Parts of each segment end together, whatever the lengths; a batch of equal lengths is always cut alike.
        alike = self._cut.by_units or batch.uniform
        # Sums of pairs have other bits than those without zeros, of which only later passes have the kernel.
        worth = batch.N * sizes.columns * sizes.I >= thresholds.SPARSE_GRADIENT_WORK and sizes.precision == sizes.dtype
        for k, d in enumerate(segment.directions):
            (lo, hi), history, told = segment.rows[k], self._histories[d], segment.gradients[k][0]
            segment.loop[k].numbers(
                parts=self._cut.parts, T=T, **in_order(steps[k], T, sizes.directions[d]), dz_start=lo
            )
            segment.loop[k].set(
                bounds=self._cut.bounds if alike else row_bounds(batch, self._cut.parts, steps[k]),
                active=batch.active, offset=batch.offset, previous=place(self._previous[d], -history.start * 8),
                dz=self._dz[d], sync=self._sync[d],
            )  # fmt: skip
            row_block = max(1, min(thresholds.INPUT_GRADIENT_ROWS, -(-(hi - lo) // threads.num_threads())))
            segment.row_parts.append(-(-(hi - lo) // row_block))
            told.numbers(
                rows=hi - lo, row_block=row_block, sparse=thresholds.sparse_limit(sizes.I, told.block) if worth else -1
            )
            told.set(dz=self._dz[d])
            if self._in_place[d]:  # outputs before the steps of consecutive rows lie one after another as well
                h = history.by_state[0][lo - history.start :]
                told.set(h=h, h_row=h.strides[0] // h.itemsize)

    def launch(
        self, weights: list[PackedWeights], x: np.ndarray, dy: np.ndarray | None, d_state: np.ndarray,
        d_vectors: np.ndarray | None, dx: np.ndarray | None, flat: np.ndarray | None,
        d_signals: Sequence[Sequence[np.ndarray]], each: EachStep | None = None, samples: Samples | None = None,
    ) -> None:  # fmt: skip
        """Run the kernels: for each segment the loop over time, then the gradients that follow from it.

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
        flat : ndarray or None
            Gradients of all parameters, which are set; None if they are not wanted.
        d_signals : list of list of ndarray, each (N,) or (N, H)
            For each direction the gradients of the signals, which are added to; empty if they are not wanted.
        each : EachStep, optional
        samples : Samples, optional
            Gradients of all parameters for each sequence, which are added to.
        """
        if each is not None or samples is not None or self._asking:
            self._ask(each, samples is not None, dy)
            if each is not None:
                dy = None  # it is among what is given
        # Arrays are mostly those of the call before; see `LayerForward.forward`.
        if weights is not self._weights:
            self._weights = None
            for segment in self._segments:
                for k, d in enumerate(segment.directions):
                    w_x, w_h, vectors = weights[d].backward  # type: ignore[misc]  # they are for training
                    segment.loop[k].set(w_h=w_h, vectors=vectors)
                    segment.gradients[k][0].set(w_x=w_x)
            self._weights = weights
        if x is not self._x or d_state is not self._d_state or d_vectors is not self._d_vectors:
            self._x = None
            self._point_at(x, d_state, d_vectors)
            self._x, self._d_state, self._d_vectors = x, d_state, d_vectors
        if dy is not self._dy:
            self._dy = _UNSET
            self._point_at_dy(dy)
            self._dy = dy
        if dx is not self._dx or (flat is None) is not (self._flat is None):
            self._dx = _UNSET
            self._point_at_dx(dx, 0 if flat is None else self._weight_parts)
            self._dx = dx
        if flat is not self._flat:
            self._flat, at = _UNSET, address(flat)
            for told, field, start in self._targets:
                setattr(told, field, at + start)
                told.held[field] = flat
            self._flat = flat
        (loop_kernel, gradients_kernel), serial = self._kernels, self._serial
        for segment in self._segments:
            if self._cut.by_units:
                self._sync.fill(0)
            threads.run(loop_kernel, segment.loop, self._cut.parts * len(segment.directions), serial=serial)
            for k, own in enumerate(segment.gradients):
                d = segment.directions[k]
                if not self._in_place[d] and not (flat is None and samples is None):
                    (lo, hi), history = segment.rows[k], self._histories[d]
                    h = gather_rows(history.by_state[0], self._previous[d][lo - history.start : hi - history.start])
                    own[0].set(h=h, h_row=h.shape[1])
                threads.run(gradients_kernel, own, own[0].parts, serial=serial)
                if samples is not None:
                    self._of_samples(segment, k, x if x.ndim == 2 else x[d], samples)
            for k, d in enumerate(segment.directions):
                self._add_signals(segment.rows[k], self._dz[d], d_signals[d])
        if each is not None:
            self._point_at_states(None, None)  # what is asked for refers to the caller's arrays
        if self._asked[0]:
            dtype = self._sizes.dtype
            _sparse_blocks[dtype] = sparse_weight_block(dtype)
            self._asked[0] = 0
            for segment in self._segments:
                for own in segment.gradients:
                    own[0].sparse_block = _sparse_blocks[dtype]

    def _of_samples(self, segment: _Segment, k: int, x: np.ndarray, samples: Samples) -> None:
        """Add the gradients of the parameters for each sequence."""
        (lo, hi), d, [whole] = segment.rows[k], segment.directions[k], segment.gradients[k]
        arrays = {"dz": self._dz[d][: hi - lo], "x": x[lo:hi], "h": whole.held["h"][: hi - lo]}
        places = {f"d_{name}": start for name, start in zip(PARAMETERS, self._places[d], strict=True)}
        made = sample_gradients(whole, self._weight_parts, self._batch, lo, arrays, samples, places)
        threads.run(self._kernels[1], made, self._weight_parts * len(made), serial=self._serial)

    def _add_signals(self, rows: tuple[int, int], dz: np.ndarray, d_signals: Sequence[np.ndarray]) -> None:
        """Add what a segment's rows of dz have for the signals."""
        (lo, hi), H, cell = rows, self._sizes.H, self._sizes.cell
        first = len(cell.preactivations) + len(cell.given) - len(d_signals)
        for k, d_signal in enumerate(d_signals, first):
            own = dz[: hi - lo, k * H : (k + 1) * H]
            d_signal[lo:hi] += own if d_signal.ndim == 2 else own.sum(axis=1)

    def _ask(self, each: EachStep | None, joined: bool, dy: np.ndarray | None) -> None:
        """Have the loop over time do at each step what is asked for, with all steps in one segment if ``joined``."""
        whole_rows = each is not None and each.whole_rows
        self._asking = True
        if whole_rows is not self._whole_rows or joined is not self._joined:
            self._whole_rows, self._joined = whole_rows, joined
            self.arrange(self._batch, self._steps)
        self._point_at_states(each, dy)
        self._asking = each is not None or joined

    def _point_at_states(self, each: EachStep | None, dy: np.ndarray | None) -> None:
        sizes = self._sizes
        for segment in self._segments:
            for told, d in zip(segment.loop, segment.directions, strict=True):
                told.set(**state_arguments(each, sizes.cell, sizes.dtype, sizes.H, self._batch, dy, d))

    def _point_at(self, x: np.ndarray, d_state: np.ndarray, d_vectors: np.ndarray | None) -> None:
        I, item, x_next = self._sizes.I, self._sizes.item, x.strides[0] if x.ndim == 3 else 0
        for segment in self._segments:
            for k, d in enumerate(segment.directions):
                vectors = None if d_vectors is None else place(d_vectors, d * d_vectors.strides[0])
                segment.loop[k].set(d_state=place(d_state, d * d_state.strides[1]), d_vectors=vectors)
                segment.gradients[k][0].set(x=place(x, segment.rows[k][0] * I * item + d * x_next))

    def _point_at_dy(self, dy: np.ndarray | None) -> None:
        own, row, step = self._zeros, 0, 0
        if dy is not None:
            own, row, step = dy, self._sizes.D * self._sizes.H, self._sizes.H * self._sizes.item
        at = address(own)
        for segment in self._segments:
            for k, d in enumerate(segment.directions):
                told = segment.loop[k]
                told.dy, told.dy_row, told.held["dy"] = at + d * step, row, own

    def _point_at_dx(self, dx: np.ndarray | None, weight_parts: int) -> None:
        at, row = address(dx), self._sizes.I * self._sizes.item
        for segment in self._segments:
            for k, d in enumerate(segment.directions):
                told = segment.gradients[k][0]
                told.parts = told.weight_parts = weight_parts
                told.dx, told.held["dx"] = 0, None
                if dx is not None:
                    told.parts, told.held["dx"] = weight_parts + segment.row_parts[k], dx
                    told.dx = at + d * dx.strides[0] + segment.rows[k][0] * row

    def let_go_parameters(self) -> None:
        """Hold the gradients of the parameters no longer; they are the caller's."""
        if self._flat is not None:
            self._flat = _UNSET
        for told, field, _ in self._targets:
            told.let_go(field)

    def let_go(self) -> None:
        """Hold the gradients of the outputs and of the inputs no longer; they are the caller's."""
        if self._dy is not None:
            self._dy = _UNSET
        if self._dx is not None:
            self._dx = _UNSET
        for segment in self._segments:
            for told, own in zip(segment.loop, segment.gradients, strict=True):
                if self._dy is _UNSET:
                    told.let_go("dy")
                if self._dx is _UNSET:
                    own[0].let_go("dx")
