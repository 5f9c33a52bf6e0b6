"""A layer step by step: for each time step a library's matrix product and one launch. Any shape, any GPU, any dtype."""

from __future__ import annotations

from functools import cache

from nblstm.cells.cell import Cell
from nblstm.cells.source import tuple_source
from nblstm.cuda.kernels import pointwise, two_products
from nblstm.cuda.kernels.cell_functions import Sizes
from nblstm.cuda.kernels.kernel import Kernel
from nblstm.cuda.record import Record
from nblstm.cuda.weights import LayerWeights
from nblstm.symbolic.emit import symbol

THREADS = 256


@cache
def forward_steps(cell: Cell, dtype: str, training: bool) -> list[Kernel]:
    """The kernels of one step, before and behind a second product if there is one."""
    kind = "training" if training else "inference"
    if cell.stages == 1:
        makers = {f"step_{kind}": pointwise.forward_kernel}
    else:
        makers = {f"operand_{kind}": two_products.operand_kernel, f"step_{kind}": two_products.forward_kernel}
    return [_kernel(cell, dtype, name, lambda p, make=make: make(p, cell, training)) for name, make in makers.items()]


@cache
def backward_steps(cell: Cell, dtype: str) -> list[Kernel]:
    """The kernels of one step of BPTT, before and behind the gradient of a second product if there is one."""
    if cell.stages == 1:
        makers = {"step_backward": pointwise.backward_kernel}
    else:
        makers = {
            "second_backward": two_products.second_gradient_kernel, "step_backward": two_products.backward_kernel,
        }  # fmt: skip
    return [_kernel(cell, dtype, name, lambda p, make=make: make(p, cell)) for name, make in makers.items()]


def _kernel(cell: Cell, dtype: str, name: str, make) -> Kernel:
    return Kernel(f"{symbol(cell.name)}_{name}", dtype, THREADS, tuple_source(cell, dtype), make)


def _walk(record: Record, direction: int, backwards: bool):
    """(first packed row, rows) of each step of a direction that has any, in the order of processing or against it."""
    batch = record.batch
    order = range(*record.span)
    for k in reversed(order) if backwards else order:
        t = batch.T - 1 - k if direction else k
        if batch.active[t]:
            yield int(batch.offset[t]), int(batch.active[t])


def forward(runtime, cell: Cell, weights: LayerWeights, record: Record, z, state) -> None:
    """Run the steps of a record.

    Parameters
    ----------
    runtime : Runtime
    cell : Cell
    weights : LayerWeights
    record : Record
        Filled.
    z : device array, shape (D, n, G H)
        The input's part of the pre-activations.
    state : device array, shape (S, D, B, H)
        Advanced. Each (B, H) is contiguous.
    """
    _, D, B, H = state.shape
    n, empty = Sizes.of(cell), runtime.xp.empty
    *before, last = forward_steps(cell, state.dtype.name, record.training)
    r = empty((B, (n.G - n.second) * H), state.dtype)
    operand, r_second = empty((B, H), state.dtype), empty((B, n.second * H), state.dtype)
    for d in range(D):
        second, others = weights.w_hh[d, : n.second * H].T, weights.w_hh[d, n.second * H :].T
        for row, rows in _walk(record, d, False):
            here = row - record.starts[d]
            runtime.matmul(state[0, d, :rows], others, r[:rows])
            arguments = [
                weights.bias[d], weights.vectors[d], state[:, d], state.strides[0] // state.itemsize,
                *([operand] if before else []), record.y[B + here :, d * H :], D * H,
                record.tape[d, :, B + here :], record.tape_plane, record.saved[d, here:],
            ]  # fmt: skip
            arguments = [rows, H, z[d, here:], r, *([r_second] if before else []), *arguments]
            for kernel in before:
                runtime.launch(kernel, -(-rows * H // THREADS), THREADS, arguments)
                runtime.matmul(operand[:rows], second, r_second[:rows])
            runtime.launch(last, -(-rows * H // THREADS), THREADS, arguments)


def backward(runtime, cell: Cell, weights: LayerWeights, record: Record, dy, d_state, dz, d_vectors, operand) -> None:
    """BPTT through the steps of a record.

    Parameters
    ----------
    runtime : Runtime
    cell : Cell
    weights : LayerWeights
    record : Record
    dy : device array, shape (N, D H)
    d_state : device array, shape (S, D, B, H)
        Gradient with respect to the states after the record; on return, before it.
    dz : device array, shape (D, n, P H)
        Set: the gradient of the pre-activations.
    d_vectors : device array, shape (D, B, V H)
        Added to.
    operand : device array, shape (D, n, H)
        Set, if the cell has a second product: what that multiplied.
    """
    _, D, B, H = d_state.shape
    n = Sizes.of(cell)
    *before, last = backward_steps(cell, d_state.dtype.name)
    d_h, d_operand = (runtime.xp.empty((B, H), d_state.dtype) for _ in range(2))
    first, middle = n.split * H, (n.split + n.second) * H
    for d in range(D):
        second, others = weights.w_hh[d, : n.second * H], weights.w_hh[d, n.second * H :]
        for row, rows in _walk(record, d, True):
            here = row - record.starts[d]
            step = slice(here, here + rows)
            arguments = [
                rows, H, d_state[:, d], d_state.strides[0] // d_state.itemsize, dy[row:, d * H :], D * H,
                record.saved[d, here:], here, record.previous(d), record.y[:, d * H :], D * H,
                record.tape[d], record.tape_plane, B, weights.vectors[d], d_vectors[d], dz[d, here:],
                *([d_operand, operand[d, here:]] if before else []),
            ]  # fmt: skip
            for kernel in before:
                runtime.launch(kernel, -(-rows * H // THREADS), THREADS, arguments)
                runtime.matmul(dz[d, step, first:middle], second, d_operand[:rows])
            runtime.launch(last, -(-rows * H // THREADS), THREADS, arguments)
            runtime.matmul(dz[d, step, middle:], others, d_h[:rows])
            d_state[0, d, :rows] += d_h[:rows]
