"""A span of steps in one launch: which kernel, compiled without spills, and what it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from nblstm.cells.cell import Cell
from nblstm.cuda.device_weights import DeviceWeights
from nblstm.cuda.kernels import sequence_backward, sequence_forward
from nblstm.cuda.kernels.arguments import Kernel, SequenceArguments
from nblstm.cuda.kernels.cell_functions import CellSizes, cell_source
from nblstm.cuda.span import Span
from nblstm.cuda.thresholds import COUNTER_STRIDE, TILINGS_KEPT
from nblstm.cuda.tiling import Tiling, choose
from nblstm.symbolic.emit import symbol


def tiling_for(gpu, cell: Cell, state, backward: bool) -> Tiling | None:
    """Choose the tiling for states (S, D, B, H); None where steps are launched one by one."""
    _, D, B, H = state.shape
    if cell.stages > 1:
        return None  # a second product needs a second exchange in each step
    return choose(gpu, CellSizes.of(cell), H, B, D, state.dtype.name, backward)


@lru_cache(maxsize=TILINGS_KEPT)
def forward_kernel(cell: Cell, v: Tiling, training: bool) -> Kernel:
    """The forward kernel of a tiling (`Tiling.compiled`)."""
    kind = "training" if training else "inference"
    return _kernel(cell, v, kind, lambda p: sequence_forward.forward_kernel(p, cell, v, training))


@lru_cache(maxsize=TILINGS_KEPT)
def backward_kernel(cell: Cell, v: Tiling) -> Kernel:
    """The backward kernel of a tiling (`Tiling.compiled`)."""
    return _kernel(cell, v, "backward", lambda p: sequence_backward.backward_kernel(p, cell, v))


def _kernel(cell: Cell, v: Tiling, kind: str, make: Callable) -> Kernel:
    text = f"{v!r}\n{cell_source(cell, 'float32')}"
    return Kernel(f"{symbol(cell.name)}_sequence_{kind}", "float32", v.threads, SequenceArguments, text, make)


def without_spills(runtime, make: Callable[[Tiling], Kernel], v: Tiling) -> tuple[Kernel, Tiling]:
    """Compile the kernel of a tiling, with fewer quads in registers until no register spills, while there is room."""
    while True:
        kernel, fewer = make(v.compiled), replace(v, in_registers=v.in_registers - 1)
        if not runtime.compile(kernel) or not fewer.in_registers or fewer.shared > runtime.gpu.shared_memory:
            return kernel, v
        v = fewer


def forward(runtime, v: Tiling, cell: Cell, weights: DeviceWeights, span: Span, z, state) -> None:
    """Compute the steps of a span; arguments as in `nblstm.cuda.steps.forward`."""
    kind = "training" if span.training else "inference"
    kernel, v = _compiled(runtime, cell, kind, lambda tiling: forward_kernel(cell, tiling, span.training), v)
    _launch(runtime, kernel, v, weights, span, state, backward=False, z=z, bias=weights.bias)


def backward(runtime, v: Tiling, cell: Cell, weights: DeviceWeights, span: Span, dy, d_state, dz, d_vectors) -> None:
    """Backpropagate through the steps of a span; arguments as in `nblstm.cuda.steps.backward`."""
    previous = [span.previous(d) for d in range(len(span.starts))]
    kernel, v = _compiled(runtime, cell, "backward", lambda tiling: backward_kernel(cell, tiling), v)
    _launch(
        runtime, kernel, v, weights, span, d_state, backward=True, dy=dy, previous_0=previous[0],
        previous_1=previous[-1], dz=dz, d_vectors=d_vectors,
    )  # fmt: skip


def _compiled(runtime, cell: Cell, kind: str, make: Callable[[Tiling], Kernel], v: Tiling) -> tuple[Kernel, Tiling]:
    """`without_spills`, remembered by the runtime."""
    key = (cell, kind, v)
    if key not in runtime.sequence_kernels:
        runtime.sequence_kernels[key] = without_spills(runtime, make, v)
    return runtime.sequence_kernels[key]


def _launch(
    runtime, kernel: Kernel, v: Tiling, weights: DeviceWeights, span: Span, state, *, backward: bool, **others
) -> None:
    """Launch with the arguments that both kernels take, and those of one of them."""
    _, D, B, _ = state.shape
    xp, batch, groups, together = runtime.xp, span.batch, D * v.slices, v.blocks > 1
    starts = (*span.starts, 0)[:2]
    arguments = SequenceArguments(
        tiles=weights.tiles_for(runtime, v, backward), vectors=weights.vectors,
        state=state, state_plane=state.strides[0] // state.itemsize,
        y=span.y, other_states=span.other_states, saved=span.saved,
        lengths=batch.device_lengths, offsets=batch.device_offset, B=B, T=batch.T, n=span.n,
        first=span.first, last=span.last, start_0=starts[0], start_1=starts[1],
        blocks=v.blocks, chunks=v.chunks, quads=v.quads,
        exchange=xp.zeros((groups, 2, v.chunks * v.rows * v.inner) if together else (1,), state.dtype),
        counters=xp.zeros(groups * COUNTER_STRIDE if together else 1, "int32"),
        error=runtime.error, patience=runtime.patience, **others,
    )  # fmt: skip
    runtime.launch(kernel, arguments, groups * v.blocks, v.threads, shared=v.shared, cooperative=together)
