"""A span of steps one by one: a library's matrix product and a launch for each. Any shape, any GPU, any dtype."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from nblstm.cells.cell import Cell
from nblstm.cuda.device_weights import DeviceWeights
from nblstm.cuda.kernels import step
from nblstm.cuda.kernels.arguments import Kernel, StepBackward, StepForward
from nblstm.cuda.kernels.cell_functions import CellSizes, cell_source
from nblstm.cuda.span import Span
from nblstm.cuda.thresholds import STEP_THREADS
from nblstm.symbolic.emit import symbol


@cache
def step_kernels(cell: Cell, dtype: str, kind: str) -> list[Kernel]:
    """The kernels of one step, of the kind "inference", "training" or "backward": the last, behind all products.

    With a second product there is one before that too.
    """
    training = kind == "training"
    makers: dict[str, Callable] = {
        f"operand_{kind}": lambda p: step.operand_kernel(p, cell, training),
        f"step_{kind}": lambda p: step.forward_kernel(p, cell, training),
    }
    if kind == "backward":
        makers = {
            "second_backward": lambda p: step.second_backward_kernel(p, cell),
            "step_backward": lambda p: step.backward_kernel(p, cell),
        }
    arguments = StepBackward if kind == "backward" else StepForward
    return [
        Kernel(f"{symbol(cell.name)}_{name}", dtype, STEP_THREADS, arguments, cell_source(cell, dtype), make)
        for name, make in list(makers.items())[0 if cell.called else 1 :]
    ]


def forward(runtime, cell: Cell, weights: DeviceWeights, span: Span, z, state) -> None:
    """Compute the steps of a span.

    Parameters
    ----------
    runtime : Runtime
    cell : Cell
    weights : DeviceWeights
    span : Span
        Filled.
    z : device array, shape (D, n, G H)
        The input's part of the pre-activations, W_ih x.
    state : device array, shape (S, D, B, H)
        Advanced. Each (B, H) is contiguous.
    """
    _, D, B, H = state.shape
    n, empty = CellSizes.of(cell), runtime.xp.empty
    *before, last = step_kernels(cell, state.dtype.name, span.kind)
    r = empty((B, (n.G - n.C) * H), state.dtype)
    operand, r_second = empty((B, H if n.C else 0), state.dtype), empty((B, n.C * H), state.dtype)
    for d in range(D):
        second, others = weights.w_hh[d, : n.C * H].T, weights.w_hh[d, n.C * H :].T
        for row, rows in _rows_of_steps(span, d):
            here = row - span.starts[d]
            runtime.matmul(state[0, d, :rows], others, r[:rows])
            arguments = StepForward(
                rows=rows, H=H, z=z[d, here:], r=r, r_second=r_second, bias=weights.bias[d],
                vectors=weights.vectors[d], state=state[:, d], state_plane=state.strides[0] // state.itemsize,
                operand=operand, y=span.y[B + here :, d * H :], y_row=D * H,
                other_states=span.other_states[d, :, B + here :], other_states_plane=span.other_states_plane,
                saved=span.saved[d, here:],
            )  # fmt: skip
            for kernel in before:
                _launch(runtime, kernel, arguments)
                runtime.matmul(operand[:rows], second, r_second[:rows])
            _launch(runtime, last, arguments)


def backward(runtime, cell: Cell, weights: DeviceWeights, span: Span, dy, d_state, dz, d_vectors, operand) -> None:
    """Backpropagate through the steps of a span.

    Parameters
    ----------
    runtime : Runtime
    cell : Cell
    weights : DeviceWeights
    span : Span
    dy : device array, shape (N, D H)
    d_state : device array, shape (S, D, B, H)
        Gradient with respect to the states after the span; on return, before it.
    dz : device array, shape (D, n, P H)
        Set: the gradient of the pre-activations.
    d_vectors : device array, shape (D, B, V H)
        Added to.
    operand : device array, shape (D, n, H)
        Set, if the cell has a second product: what that multiplied.
    """
    _, D, B, H = d_state.shape
    n = CellSizes.of(cell)
    *before, last = step_kernels(cell, d_state.dtype.name, "backward")
    dh, d_operand = (runtime.xp.empty((B, H), d_state.dtype) for _ in range(2))
    first, middle = n.split * H, (n.split + n.C) * H
    for d in range(D):
        second, others = weights.w_hh[d, : n.C * H], weights.w_hh[d, n.C * H :]
        for row, rows in reversed(_rows_of_steps(span, d)):
            here = row - span.starts[d]
            now = slice(here, here + rows)
            arguments = StepBackward(
                rows=rows, H=H, d_state=d_state[:, d], d_state_plane=d_state.strides[0] // d_state.itemsize,
                dy=dy[row:, d * H :], dy_row=D * H, saved=span.saved[d, here:], first=here,
                previous=span.previous(d), y=span.y[:, d * H :], y_row=D * H, other_states=span.other_states[d],
                other_states_plane=span.other_states_plane, B=B, vectors=weights.vectors[d],
                d_vectors=d_vectors[d], dz=dz[d, here:], d_operand=d_operand, operand=operand[d, here:],
            )  # fmt: skip
            for kernel in before:
                _launch(runtime, kernel, arguments)
                runtime.matmul(dz[d, now, first:middle], second, d_operand[:rows])
            _launch(runtime, last, arguments)
            runtime.matmul(dz[d, now, middle:], others, dh[:rows])
            d_state[0, d, :rows] += dh[:rows]


def _rows_of_steps(span: Span, direction: int) -> list[tuple[int, int]]:
    """(first packed row, rows) of each step of a direction that has any, in the order of processing."""
    batch = span.batch
    steps = range(span.first, span.last)
    in_batch = [batch.T - 1 - k if direction else k for k in steps]
    return [(int(batch.offset[t]), int(batch.active[t])) for t in in_batch if batch.active[t]]


def _launch(runtime, kernel: Kernel, arguments: StepForward | StepBackward) -> None:
    """Launch with a thread for each row and unit."""
    runtime.launch(kernel, arguments, -(-arguments.rows * arguments.H // STEP_THREADS), STEP_THREADS)
