"""A span of steps one by one: a library's products and launches for each. Any cell, any shape, any GPU, any dtype."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from nblstm.cells.cell import Cell
from nblstm.cells.cuda_source import StepSource, backward_sources, forward_sources
from nblstm.cells.step_parts import Part, backward_parts, forward_parts, operands, work_planes
from nblstm.cuda.device_weights import DeviceWeights
from nblstm.cuda.kernels.arguments import Kernel, StepBackward, StepForward
from nblstm.cuda.kernels.step import shared_numbers, step_kernel
from nblstm.cuda.span import Span
from nblstm.cuda.thresholds import STEP_THREADS
from nblstm.symbolic.emit import symbol


class Launch(NamedTuple):
    """A part of a step.

    Attributes
    ----------
    part : Part
    kernel : Kernel or None
        None where there are products alone.
    over_units : int
        Results over units that a block, which has a row, computes at a time; 0 where threads have a row's unit each.
    """

    part: Part
    kernel: Kernel | None
    over_units: int


class Given(NamedTuple):
    """Numbers that a cell is given with each step, beside the input's products.

    Attributes
    ----------
    x : device array, shape (N, I), or (D, N, I)
        Packed rows of the whole batch.
    signals : device array, shape (signals, N, H)
    seeds : list of int
        Of each direction's noise.
    is_reversed : bool
        Whether rows are those of reversed sequences.
    """

    x: Any
    signals: Any
    seeds: list[int]
    is_reversed: bool


@cache
def launches(cell: Cell, dtype: str, kind: str) -> list[Launch]:
    """The parts of a step, of the kind "inference", "training" or "backward"."""
    if kind == "backward":
        parts, sources = backward_parts(cell), backward_sources(cell, dtype)
    else:
        parts, sources = forward_parts(cell), forward_sources(cell, dtype, kind == "training")
    arguments = StepBackward if kind == "backward" else StepForward

    def kernel(nth: int, source: StepSource) -> Kernel | None:
        name = f"{symbol(cell.name)}_step_{nth}_{kind}"
        made = Kernel(name, dtype, STEP_THREADS, arguments, source.text, lambda p: step_kernel(p, cell, source))
        return made if source.text else None

    return [
        Launch(part, kernel(nth, source), source.over_units)
        for nth, (part, source) in enumerate(zip(parts, sources, strict=True))
    ]


def step_kernels(cell: Cell, dtype: str, kind: str) -> list[Kernel]:
    """The kernels of `launches`."""
    return [launch.kernel for launch in launches(cell, dtype, kind) if launch.kernel]


def forward(runtime, cell: Cell, weights: DeviceWeights, span: Span, z, state, given: Given) -> None:
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
    given : Given
    """
    _, D, B, H = state.shape
    work, planes = _workspace(runtime, cell, state, False)
    r = runtime.xp.empty((len(cell.recurrent_gates), B, H), state.dtype)
    of_step = launches(cell, state.dtype.name, span.kind)
    for d in range(D):
        arguments = StepForward(
            rows=0, first=0, row=0, t=0, B=B, H=H, z=z[d], r=r, bias=weights.bias[d], vectors=weights.vectors[d],
            state=state[:, d], state_plane=state.strides[0] // state.itemsize,
            x=given.x[d] if given.x.ndim == 3 else given.x, signals=given.signals,
            signals_plane=given.signals.shape[1] * H, seed=given.seeds[d], lengths=span.batch.device_lengths,
            reversed=int(given.is_reversed), y=span.y[:, d * H :], y_row=D * H, other_states=span.other_states[d],
            other_states_plane=span.other_states_plane, saved=span.saved[d], work=work,
        )  # fmt: skip
        # Of each launch, the products: what is multiplied, by what, and where the result goes.
        products = [
            [(planes[name] if name else state[0, d], weights.w_hh[d, first * H : (first + count) * H].T,
              r[first : first + count].reshape(B, count * H)) for name, first, count, _ in launch.part.products]
            for launch in of_step
        ]  # fmt: skip
        for t, row, rows in _rows_of_steps(span, d):
            told = arguments._replace(rows=rows, first=row - span.starts[d], row=row, t=t)
            for launch, own in zip(of_step, products, strict=True):
                for operand, matrix, result in own:
                    runtime.matmul(operand[:rows], matrix, result[:rows])
                _launch(runtime, launch, told)


def backward(
    runtime, cell: Cell, weights: DeviceWeights, span: Span, dy, d_state, dz, d_vectors, operand
) -> None:  # fmt: skip
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
    dz : device array, shape (D, n, Q H)
        Set: the gradient of the pre-activations, x and signals.
    d_vectors : device array, shape (D, B, V H)
        Added to.
    operand : device array, shape (D, products, n, H)
        Set: what the products of called gates multiplied.
    """
    _, D, B, H = d_state.shape
    work, _ = _workspace(runtime, cell, d_state, True)
    of_step, start = launches(cell, d_state.dtype.name, "backward"), cell.recurrent_start
    names = operands(cell)
    d_operands = runtime.xp.empty((len(names), B, H), d_state.dtype)
    of_name = {f"d{name}": plane for name, plane in zip(names, d_operands, strict=True)}
    more = runtime.xp.empty((B, H), d_state.dtype)
    for d in range(D):
        of_name[""] = d_state[0, d]
        arguments = StepBackward(
            rows=0, first=0, row=0, B=B, H=H, d_state=d_state[:, d],
            d_state_plane=d_state.strides[0] // d_state.itemsize, dy=dy[:, d * H :], dy_row=D * H, saved=span.saved[d],
            previous=span.previous(d), y=span.y[:, d * H :], y_row=D * H, other_states=span.other_states[d],
            other_states_plane=span.other_states_plane, vectors=weights.vectors[d], d_vectors=d_vectors[d],
            dz=dz[d], d_operands=d_operands, operands=operand[d], operands_plane=operand.shape[2] * H, work=work,
        )  # fmt: skip
        # Of each launch, the products: the columns of dz, what they are multiplied by, and where the result goes.
        products = [
            [(dz[d, :, (start + first) * H : (start + first + count) * H],
              weights.w_hh[d, first * H : (first + count) * H], of_name[name], adds or not name)
             for name, first, count, adds in launch.part.products]
            for launch in of_step
        ]  # fmt: skip
        for _, row, rows in reversed(_rows_of_steps(span, d)):
            here = row - span.starts[d]
            told = arguments._replace(rows=rows, first=here, row=row)
            for launch, own in zip(of_step, products, strict=True):
                for from_z, matrix, result, adds in own:
                    if adds:
                        result[:rows] += runtime.matmul(from_z[here : here + rows], matrix, more[:rows])
                    else:
                        runtime.matmul(from_z[here : here + rows], matrix, result[:rows])
                _launch(runtime, launch, told)


def _workspace(runtime, cell: Cell, state, backward: bool) -> tuple[Any, dict[str, Any]]:
    """The workspace of a step, and its planes (B, H) by name."""
    planes, numbers = work_planes(cell, backward)
    _, _, B, H = state.shape
    size = len(planes) * B * H
    work = runtime.xp.empty(max(1, size + len(numbers) * B), state.dtype)
    return work, dict(zip(planes, work[:size].reshape(-1, B, H), strict=True))


def _rows_of_steps(span: Span, direction: int) -> list[tuple[int, int, int]]:
    """(step, first packed row, rows) of each step of a direction that has any, in the order of processing."""
    batch = span.batch
    steps = range(span.first, span.last)
    in_batch = [batch.T - 1 - k if direction else k for k in steps]
    return [(t, int(batch.offset[t]), int(batch.active[t])) for t in in_batch if batch.active[t]]


def _launch(runtime, launch: Launch, arguments: StepForward | StepBackward) -> None:
    """Launch with a thread for each row and unit, or a block for each row."""
    if launch.kernel is None:
        return
    rows, H = arguments.rows, arguments.H
    if not launch.over_units:
        runtime.launch(launch.kernel, arguments, -(-rows * H // STEP_THREADS), STEP_THREADS)
        return
    threads = min(STEP_THREADS, -(-H // 32) * 32)
    shared = shared_numbers(launch.over_units, threads) * (4 if launch.kernel.dtype == "float32" else 8)
    runtime.launch(launch.kernel, arguments, rows, threads, shared=shared)
