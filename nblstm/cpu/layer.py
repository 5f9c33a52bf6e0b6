"""One recurrent layer, all directions: what to allocate, how to split it, which kernels to launch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nblstm.batch import Batch
from nblstm.cells.cell import Cell
from nblstm.cpu import threads
from nblstm.cpu.backward import backward_kernel
from nblstm.cpu.forward import forward_kernel
from nblstm.cpu.gemm import gemm
from nblstm.cpu.gradients import gradients_kernel
from nblstm.cpu.jobs import BACKWARD, FORWARD, GRADIENTS, address, dtype_of, job
from nblstm.cpu.pointwise import backward_rows, forward_rows
from nblstm.cpu.weights import Weights, input_order, recurrent_order
from nblstm.layout import suffix

#: Fewer multiply-adds than this are done on the calling thread: about 10 us.
TINY = 500_000

#: Pre-activations (numbers) that a part computes ahead; 512 KB of float32 stay in a 1 MB L2 cache.
AHEAD = 131_072

#: Packed rows whose gradients are held at once in BPTT; with 4 H = 2048 they are 8 MB, within the L3 cache.
SEGMENT_ROWS = 1024


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


def row_bounds(batch: Batch, parts: int) -> np.ndarray:
    """Batch rows split so that every part has about as many packed rows."""
    work = np.concatenate(([0], np.cumsum(batch.lengths)))
    bounds = np.searchsorted(work, np.arange(parts + 1) * batch.N / parts).astype(np.int64)
    bounds[0], bounds[-1] = 0, batch.B
    return bounds


def _parts(batch: Batch, directions: int, tiny: bool) -> int:
    return 1 if tiny else max(1, min(batch.B, -(-threads.num_threads() // directions)))


def _launch(kernel: int, fields, jobs: list[tuple], tiny: bool) -> None:
    records = np.array(jobs, dtype_of(fields))
    parts = jobs[0][0]
    threads.run(kernel, address(records), parts * len(jobs), tiny=tiny)


def forward(
    cell: Cell, weights: list[Weights], batch: Batch, x: np.ndarray, initial: np.ndarray, training: bool
) -> tuple[np.ndarray, np.ndarray, LayerTape | None]:
    """Run one layer over a packed batch.

    Parameters
    ----------
    cell : Cell
    weights : list of Weights
        One per direction.
    batch : Batch
    x : ndarray, shape (N, I)
        Packed rows, C-contiguous.
    initial : ndarray, shape (D, S, B, H)
        Initial states in sorted order; not changed.
    training : bool
        Whether to keep what BPTT needs.

    Returns
    -------
    y : ndarray, shape (N, D H)
    final : ndarray, shape (D, S, B, H)
    tape : LayerTape or None
    """
    D, S, B, H = initial.shape
    N, I = x.shape  # noqa: E741
    K = len(cell.graph.saved)
    tiny = N * len(cell.gates) * H * (I + H) < TINY
    bounds = row_bounds(batch, _parts(batch, D, tiny))
    state = initial.copy()
    prefix = B if training else 0
    y = np.empty((prefix + N, D * H), x.dtype)
    states = np.empty((D, S - 1, B + N, H) if training else (D, 0, 0, 0), x.dtype)
    saved = np.empty((D, N, K * H) if training else (D, 0, 0), x.dtype)
    jobs, scratch = [], []
    for d, w in enumerate(weights):
        values, z = forward_job(cell, batch, x, state[d], y[prefix:, d * H :], bounds, D, w, reverse=d)
        if training:
            y[:B, d * H : (d + 1) * H] = initial[d, 0]
            states[d, :, :B] = initial[d, 1:]
            values |= dict(
                tape=address(states[d, :, B:]), tape_plane=(B + N) * H, tape_row=H,
                saved=address(saved[d]), saved_row=K * H, pointwise=forward_rows(cell, x.dtype.name, True),
            )  # fmt: skip
        jobs.append(job(FORWARD, **values))
        scratch.append(z)
    _launch(forward_kernel(x.dtype.name), FORWARD, jobs, tiny)
    return y[prefix:], state, LayerTape(x, y, states, saved, weights) if training else None


def forward_job(
    cell: Cell, batch: Batch, x: np.ndarray, state: np.ndarray, y: np.ndarray, bounds: np.ndarray, directions: int,
    w: Weights, reverse: int = 0,
) -> tuple[dict, np.ndarray]:  # fmt: skip
    """One direction's job for inference, and the scratch memory that it refers to."""
    _, B, H = state.shape
    dtype, z_row = x.dtype.name, len(cell.preactivations) * H
    rows = int(np.diff(bounds).max())
    segment = max(1, min(batch.T, max(AHEAD // max(1, rows * z_row), -(-128 // max(1, rows)))))
    z = np.empty((len(bounds) - 1, segment * rows * z_row), x.dtype)
    return dict(
        parts=len(bounds) - 1, bounds=address(bounds), T=batch.T, B=B, I=x.shape[1], H=H,
        input_columns=len(cell.gates) * H, recurrent_columns=len(cell.gates) * H,
        recurrent_start=len(cell.split) * H, reverse=reverse, segment=segment,
        active=address(batch.active), offset=address(batch.offset), x=address(x), x_row=x.shape[1],
        w_x=address(w.w_x), w_h=address(w.w_h), bias=address(w.bias), vectors=address(w.vectors),
        state=address(state), state_plane=B * H, y=address(y), y_row=directions * H,
        tape=0, tape_plane=0, tape_row=0, saved=0, saved_row=0,
        z=address(z), z_part=z.shape[1], z_row=z_row,
        gemm=gemm(dtype), pointwise=forward_rows(cell, dtype, False),
    ), z  # fmt: skip


def backward(
    cell: Cell, tape: LayerTape, batch: Batch, dy: np.ndarray, d_final: np.ndarray, d_parameters: dict, layer: int
) -> tuple[np.ndarray, np.ndarray]:
    """BPTT through one layer.

    Parameters
    ----------
    cell : Cell
    tape : LayerTape
    batch : Batch
    dy : ndarray, shape (N, D H)
        Gradient with respect to the packed outputs, C-contiguous.
    d_final : ndarray, shape (D, S, B, H)
        Gradient with respect to the final states, in sorted order; not changed.
    d_parameters : dict of str to ndarray
        Gradients with respect to the parameters, zeros on entry; this layer's are filled.
    layer : int

    Returns
    -------
    dx : ndarray, shape (N, I)
    d_initial : ndarray, shape (D, S, B, H)
    """
    D, S, B, H = d_final.shape
    N, I = tape.x.shape  # noqa: E741
    dtype, columns = tape.x.dtype.name, len(cell.preactivations) * H
    G, split, V, K = len(cell.gates), len(cell.split), len(cell.vectors), len(cell.graph.saved)
    tiny = N * G * H * (I + H) < TINY
    parts = _parts(batch, D, tiny)
    bounds = row_bounds(batch, parts)
    segments = _segments(batch)
    # Rows 64 bytes off a multiple of 4 KB: a power of two would put a whole column into one set of the L1 cache.
    dz_row = -(-columns // 16) * 16 + 16
    rows = max((_packed_rows(batch, s) for s in segments), default=(0, 0), key=lambda r: r[1] - r[0])
    dz = np.empty((D, rows[1] - rows[0], dz_row), dy.dtype)
    d_state, d_vectors = d_final.copy(), np.zeros((D, B, V * H), dy.dtype)
    dx = [np.empty((N, I), dy.dtype) for _ in range(D)]
    previous = [batch.previous(d) for d in range(D)]
    zeros, orders = np.zeros(I, dy.dtype), (input_order(cell), recurrent_order(cell))
    blocks = -(-H // 96)
    block = -(-H // blocks)
    weight_parts = len(cell.preactivations) * blocks

    for k in range(len(segments)):
        # Direction 0 walks back from the last step, direction 1 from the first.
        chosen = [segments[k] if d else segments[-1 - k] for d in range(D)]
        spans = [_packed_rows(batch, segment) for segment in chosen]
        _launch(backward_kernel(dtype), BACKWARD, [job(
            BACKWARD, parts=parts, bounds=address(bounds), T=batch.T, B=B, H=H,
            recurrent_columns=G * H, recurrent_start=split * H, reverse=d,
            first=batch.T - chosen[d][1] if d else chosen[d][0], last=batch.T - chosen[d][0] if d else chosen[d][1],
            active=address(batch.active), offset=address(batch.offset), w_h=address(w.back_h),
            d_state=address(d_state[d]), d_state_plane=B * H, dy=address(dy[:, d * H :]), dy_row=D * H,
            saved=address(tape.saved[d]), saved_row=K * H, y=address(tape.y[:, d * H :]), y_row=D * H,
            tape=address(tape.states[d]), tape_plane=(B + N) * H, tape_row=H, previous=address(previous[d]),
            vectors=address(w.vectors), d_vectors=address(d_vectors[d]), d_vectors_row=V * H,
            dz=address(dz[d]), dz_row=dz_row, dz_start=spans[d][0],
            gemm=gemm(dtype), pointwise=backward_rows(cell, dtype),
        ) for d, w in enumerate(tape.weights)], tiny)  # fmt: skip
        for d, w in enumerate(tape.weights):
            lo, hi = spans[d]
            outputs = tape.y[:, d * H : (d + 1) * H]
            h = outputs[lo:hi] if batch.uniform and d == 0 else outputs[previous[d][lo:hi]]
            end = suffix(layer, d)
            row_block = max(1, min(128, -(-(hi - lo) // threads.num_threads())))
            _launch(gradients_kernel(dtype), GRADIENTS, [job(
                GRADIENTS, parts=weight_parts + -(-(hi - lo) // row_block), weight_parts=weight_parts, rows=hi - lo,
                I=I, H=H, gates=G, recurrent_start=split * H, block=block, row_block=row_block,
                input_order=address(orders[0]), recurrent_order=address(orders[1]),
                dz=address(dz[d]), dz_row=dz_row, x=address(tape.x[lo:]), x_row=I,
                h=address(h), h_row=h.strides[0] // h.itemsize, w_x=address(w.back_x), zeros=address(zeros),
                dx=address(dx[d][lo:]), dx_row=I,
                d_weight_ih=address(d_parameters[f"weight_ih{end}"]),
                d_weight_hh=address(d_parameters[f"weight_hh{end}"]),
                d_bias_ih=address(d_parameters.get(f"bias_ih{end}")),
                d_bias_hh=address(d_parameters.get(f"bias_hh{end}")), gemm=gemm(dtype),
            )], tiny)  # fmt: skip
    for d in range(D):
        for v, vector in enumerate(cell.vectors):
            d_parameters[f"{vector}{suffix(layer, d)}"] += d_vectors[d, :, v * H : (v + 1) * H].sum(axis=0)
    return dx[0] if D == 1 else dx[0] + dx[1], d_state


def _segments(batch: Batch) -> list[tuple[int, int]]:
    """Consecutive steps, cut so that each run has about `SEGMENT_ROWS` packed rows."""
    if batch.N == 0:
        return []
    cuts = np.searchsorted(batch.offset, np.arange(SEGMENT_ROWS, batch.N, SEGMENT_ROWS))
    steps = int((batch.active > 0).sum())
    edges = [0, *sorted({int(c) for c in cuts if 0 < c < steps}), steps]
    return list(zip(edges[:-1], edges[1:], strict=True))


def _packed_rows(batch: Batch, steps: tuple[int, int]) -> tuple[int, int]:
    """The packed rows of some consecutive steps."""
    return int(batch.offset[steps[0]]), int(batch.offset[steps[1] - 1] + batch.active[steps[1] - 1])
