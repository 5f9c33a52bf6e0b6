"""One recurrent layer, all directions: what is allocated, and which kernels are launched in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nblstm.batch import Batch
from nblstm.cells.cell import Cell
from nblstm.cpu import threads
from nblstm.cpu.backward import backward_kernel, shared_backward_kernel
from nblstm.cpu.forward import forward_kernel, shared_forward_kernel
from nblstm.cpu.gemm import gemm
from nblstm.cpu.gradients import gradients_kernel
from nblstm.cpu.jobs import BACKWARD, FORWARD, GRADIENTS, Jobs, address
from nblstm.cpu.pointwise import backward_rows, forward_rows
from nblstm.cpu.split import TINY, cut, packed_rows, segments, steps_ahead
from nblstm.cpu.together import sync_size
from nblstm.cpu.weights import Weights, input_order, recurrent_order
from nblstm.layout import suffix


@dataclass(frozen=True)
class LayerTape:
    """What BPTT of one layer needs.

    Attributes
    ----------
    x : ndarray, shape (N, I)
        Packed input rows.
    y : ndarray, shape (B + N, D H)
        Initial, then packed outputs; a direction is H columns.
    states : ndarray, shape (D, S - 1, B + N, H)
        The other states likewise.
    saved : ndarray, shape (D, N, K H)
        The K values that the cell saves.
    weights : list of Weights
        As they were in the forward pass.
    """

    x: np.ndarray
    y: np.ndarray
    states: np.ndarray
    saved: np.ndarray
    weights: list[Weights]


class Sizes(NamedTuple):
    """What a layer's plans depend on besides the batch; letters as everywhere."""

    cell: Cell
    I: int
    H: int
    D: int
    state_plane: int
    dtype: np.dtype

    @property
    def z_row(self) -> int:
        """Pre-activations of one row."""
        return len(self.cell.preactivations) * self.H

    def tiny(self, batch: Batch) -> bool:
        """Whether a pass is too little work for threads."""
        return batch.N * len(self.cell.gates) * self.H * (self.I + self.H) < TINY


class ForwardPlan:
    """A forward pass of some sizes, complete but for addresses."""

    def __init__(self, sizes: Sizes, batch: Batch, training: bool):
        cell, H, D, dtype = sizes.cell, sizes.H, sizes.D, sizes.dtype.name
        self.tiny = sizes.tiny(batch)
        self.cut = cut(batch, H, D, self.tiny)
        rows, parts = self.cut.rows, self.cut.parts
        segment = steps_ahead(batch.T, rows, sizes.z_row)
        z_part = 0 if self.cut.by_units else segment * rows * sizes.z_row
        self.z_size = z_part * parts or segment * rows * sizes.z_row
        self.parts = parts
        self.kernel = shared_forward_kernel(dtype) if self.cut.by_units else forward_kernel(dtype)
        self.jobs = Jobs(FORWARD, [dict(
            parts=parts, bounds=address(self.cut.bounds), T=batch.T, B=batch.B, I=sizes.I, H=H,
            input_columns=len(cell.gates) * H, recurrent_columns=len(cell.gates) * H,
            recurrent_start=len(cell.split) * H, reverse=d, segment=segment,
            active=address(batch.active), offset=address(batch.offset), x_row=sizes.I,
            state_plane=sizes.state_plane, y_row=D * H,
            tape_plane=(batch.B + batch.N) * H, tape_row=H, saved_row=len(cell.graph.saved) * H,
            z_part=z_part, z_row=sizes.z_row,
            gemm=gemm(dtype), pointwise=forward_rows(cell, dtype, training),
        ) for d in range(D)])  # fmt: skip

    def run(self, state: np.ndarray, records: list[dict]) -> None:
        """Launch, with the addresses of each direction; ``state`` (S, D, B, H) for what parts by units share."""
        if self.cut.by_units:
            D, B, H = state.shape[1:]
            h = np.empty((D, 2, B, H), state.dtype)
            h[:] = state[0][:, None]
            sync = np.zeros((D, sync_size(self.parts)), np.int64)
            for d, record in enumerate(records):
                record["h"], record["sync"] = address(h[d]), address(sync[d])
        jobs = self.jobs.completed(records)
        threads.run(self.kernel, address(jobs), self.parts * len(records), tiny=self.tiny)


def forward(
    cell: Cell, weights: list[Weights], batch: Batch, x: np.ndarray, state: np.ndarray, training: bool
) -> tuple[np.ndarray, LayerTape | None]:
    """Run one layer over a packed batch.

    Parameters
    ----------
    cell : Cell
    weights : list of Weights
        One per direction.
    batch : Batch
    x : ndarray, shape (N, I)
        Packed rows, C-contiguous.
    state : ndarray, shape (S, D, B, H)
        Initial states in sorted order; the final ones on return. Each (D, B, H) is contiguous.
    training : bool
        Whether to keep what BPTT needs.

    Returns
    -------
    y : ndarray, shape (N, D H)
    tape : LayerTape or None
    """
    S, D, B, H = state.shape
    N, item = batch.N, x.itemsize
    sizes = Sizes(cell, x.shape[1], H, D, state.strides[0] // item, x.dtype)
    plan = batch.plan((sizes, training, threads.num_threads()), lambda: ForwardPlan(sizes, batch, training))
    z = np.empty((D, plan.z_size), x.dtype)
    prefix = B if training else 0
    y = np.empty((prefix + N, D * H), x.dtype)
    x_at, y_at, z_at, state_at = address(x), address(y) + prefix * D * H * item, address(z), address(state)
    records = [
        {"x": x_at, "y": y_at + d * H * item, "z": z_at + d * plan.z_size * item,
         "state": state_at + d * B * H * item, **w.forward}
        for d, w in enumerate(weights)
    ]  # fmt: skip
    if not training:
        plan.run(state, records)
        return y, None
    states = np.empty((D, S - 1, B + N, H), x.dtype)
    saved = np.empty((D, N, len(cell.graph.saved) * H), x.dtype)
    for d, record in enumerate(records):
        y[:B, d * H : (d + 1) * H] = state[0, d]
        states[d, :, :B] = state[1:, d]
        record["tape"], record["saved"] = address(states[d]) + B * H * item, address(saved[d])
    plan.run(state, records)
    return y[B:], LayerTape(x, y, states, saved, weights)


class BackwardPlan:
    """BPTT of some sizes, complete but for addresses."""

    def __init__(self, sizes: Sizes, batch: Batch, bias: bool):
        cell, I, H, D, dtype = sizes.cell, sizes.I, sizes.H, sizes.D, sizes.dtype.name
        G, split = len(cell.gates), len(cell.split)
        self.tiny = sizes.tiny(batch)
        self.cut = cut(batch, H, D, self.tiny)
        self._orders = input_order(cell), recurrent_order(cell)
        self._zeros = np.zeros(max(I, H), dtype)
        self.parts = self.cut.parts
        self.previous = [batch.previous(d) for d in range(D)]
        self.kernels = (shared_backward_kernel if self.cut.by_units else backward_kernel)(dtype), gradients_kernel(dtype)
        # Rows 64 bytes off a multiple of 4 KB: a power of two would put a whole column into one set of the L1 cache.
        self.dz_row = -(-sizes.z_row // 16) * 16 + 16

        # Direction 0 walks back from the last step, direction 1 from the first.
        cuts = segments(batch)
        self.segments = [[cuts[k] if d else cuts[-1 - k] for d in range(D)] for k in range(len(cuts))]
        self.rows = [[packed_rows(batch, steps) for steps in chosen] for chosen in self.segments]
        self.dz_rows = max((hi - lo for spans in self.rows for lo, hi in spans), default=0)
        self.backward = [Jobs(BACKWARD, [dict(
            parts=self.parts, bounds=address(self.cut.bounds), T=batch.T, B=batch.B, H=H,
            recurrent_columns=G * H, recurrent_start=split * H, reverse=d,
            first=batch.T - t1 if d else t0, last=batch.T - t0 if d else t1,
            active=address(batch.active), offset=address(batch.offset), d_state_plane=sizes.state_plane,
            dy_row=D * H, saved_row=len(cell.graph.saved) * H, y_row=D * H,
            tape_plane=(batch.B + batch.N) * H, tape_row=H, previous=address(self.previous[d]),
            d_vectors_row=len(cell.vectors) * H, dz_row=self.dz_row, dz_start=spans[d][0],
            gemm=gemm(dtype), pointwise=backward_rows(cell, dtype),
        ) for d, (t0, t1) in enumerate(chosen)]) for chosen, spans in zip(self.segments, self.rows, strict=True)]  # fmt: skip

        blocks = -(-H // 96)
        weight_parts = len(cell.preactivations) * blocks
        row_block = max(1, min(128, -(-self.dz_rows // threads.num_threads())))
        self.gradients = [[Jobs(GRADIENTS, [dict(
            parts=weight_parts + -(-(hi - lo) // row_block), weight_parts=weight_parts, rows=hi - lo, I=I, H=H,
            gates=G, recurrent_start=split * H, block=-(-H // blocks), row_block=row_block,
            input_order=address(self._orders[0]), recurrent_order=address(self._orders[1]),
            dz_row=self.dz_row, x_row=I, zeros=address(self._zeros), dx_row=I, accumulate=int(k > 0),
            gemm=gemm(dtype),
        )]) for lo, hi in spans] for k, spans in enumerate(self.rows)]  # fmt: skip


def backward(
    cell: Cell, tape: LayerTape, batch: Batch, dy: np.ndarray, d_state: np.ndarray, d_parameters: dict, layer: int
) -> np.ndarray:
    """BPTT through one layer.

    Parameters
    ----------
    cell : Cell
    tape : LayerTape
    batch : Batch
    dy : ndarray, shape (N, D H)
        Gradient with respect to the packed outputs, C-contiguous.
    d_state : ndarray, shape (S, D, B, H)
        Gradient with respect to the final states, in sorted order; that of the initial states on return.
    d_parameters : dict of str to ndarray
        Gradients with respect to the parameters; this layer's are set.
    layer : int

    Returns
    -------
    dx : ndarray, shape (N, I)
    """
    S, D, B, H = d_state.shape
    x, item = tape.x, dy.itemsize
    N, I = x.shape
    V, bias = len(cell.vectors), f"bias_ih{suffix(layer, 0)}" in d_parameters
    sizes = Sizes(cell, I, H, D, d_state.strides[0] // item, dy.dtype)
    plan = batch.plan((sizes, bias, "backward", threads.num_threads()), lambda: BackwardPlan(sizes, batch, bias))
    dz = np.empty((D, plan.dz_rows, plan.dz_row), dy.dtype)
    dx = np.empty((D, N, I), dy.dtype)
    d_vectors = np.zeros((D, B, V * H), dy.dtype)
    targets = [
        {f"d_{name}": d_parameters.get(f"{name}{suffix(layer, d)}") for name in
         ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        for d in range(D)
    ]  # fmt: skip
    if not plan.segments:  # no kernel will run
        for array in (array for target in targets for array in target.values() if array is not None):
            array[...] = 0
    fixed = [
        {"d_state": address(d_state) + d * B * H * item, "dy": address(dy) + d * H * item,
         "saved": address(tape.saved[d]), "y": address(tape.y) + d * H * item, "tape": address(tape.states[d]),
         "d_vectors": address(d_vectors[d]), "dz": address(dz[d]), **w.backward}
        for d, w in enumerate(tape.weights)
    ]  # fmt: skip
    weights = [{name: address(array) for name, array in target.items()} for target in targets]
    for spans, backward_jobs, gradients_jobs in zip(plan.rows, plan.backward, plan.gradients, strict=True):
        sync = np.zeros((D, sync_size(plan.parts)), np.int64)
        jobs = backward_jobs.completed([record | {"sync": address(sync[d])} for d, record in enumerate(fixed)])
        threads.run(plan.kernels[0], address(jobs), plan.parts * D, tiny=plan.tiny)
        for d, (lo, hi) in enumerate(spans):
            outputs = tape.y[:, d * H : (d + 1) * H]
            h = outputs[lo:hi] if batch.uniform and d == 0 else outputs[plan.previous[d][lo:hi]]
            jobs = gradients_jobs[d].completed([{
                "dz": fixed[d]["dz"], "x": address(x) + lo * I * item, "h": address(h), "h_row": h.strides[0] // item,
                "w_x": address(tape.weights[d].back_x), "dx": address(dx[d]) + lo * I * item, **weights[d],
            }])  # fmt: skip
            threads.run(plan.kernels[1], address(jobs), int(jobs[0, 0]), tiny=plan.tiny)
    for d in range(D):
        for v, vector in enumerate(cell.vectors):
            d_vectors[d, :, v * H : (v + 1) * H].sum(axis=0, out=d_parameters[f"{vector}{suffix(layer, d)}"])
    return dx[0] if D == 1 else dx.sum(axis=0)
