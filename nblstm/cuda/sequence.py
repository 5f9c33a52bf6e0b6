"""A span of steps in one launch: which kernel, compiled without spills, and its arguments."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from nblstm.cells.cell import Cell
from nblstm.cells.step_parts import is_plain
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
    if not is_plain(cell):
        return None  # a further product, or a sum over units, needs a further exchange in each step
    return choose(gpu, CellSizes.of(cell), H, B, D, state.dtype.name, backward)


@lru_cache(maxsize=TILINGS_KEPT)
def sequence_kernel(cell: Cell, v: Tiling, kind: str) -> Kernel:
    """The kernel of a tiling (`Tiling.compiled`), of the kind "inference", "training" or "backward"."""

    def make(p):
        if kind == "backward":
            return sequence_backward.backward_kernel(p, cell, v)
        return sequence_forward.forward_kernel(p, cell, v, kind == "training")

    text = f"{v!r}\n{cell_source(cell, 'float32')}"
    return Kernel(f"{symbol(cell.name)}_sequence_{kind}", "float32", v.threads, SequenceArguments, text, make)


def without_spills(runtime, cell: Cell, kind: str, v: Tiling) -> tuple[Kernel, Tiling]:
    """Compile the kernel of a tiling, with fewer quads in registers until no register spills, while there is room."""
    while True:
        kernel, fewer = sequence_kernel(cell, v.compiled, kind), replace(v, in_registers=v.in_registers - 1)
        if not runtime.compile(kernel) or not fewer.in_registers or fewer.shared > runtime.gpu.shared_memory:
            return kernel, v
        v = fewer


def forward(runtime, v: Tiling, cell: Cell, weights: DeviceWeights, span: Span, z, state) -> None:
    """Compute the steps of a span; arguments as in `nblstm.cuda.steps.forward`."""
    _launch(runtime, v, cell, span.kind, weights, span, state, z=z, bias=weights.bias)


def backward(runtime, v: Tiling, cell: Cell, weights: DeviceWeights, span: Span, dy, d_state, dz, d_vectors) -> None:
    """Backpropagate through the steps of a span; arguments as in `nblstm.cuda.steps.backward`."""
    previous = [span.previous(d) for d in range(len(span.starts))]
    _launch(
        runtime, v, cell, "backward", weights, span, d_state, dy=dy, previous_0=previous[0],
        previous_1=previous[-1], dz=dz, d_vectors=d_vectors,
    )  # fmt: skip


def _launch(runtime, v: Tiling, cell: Cell, kind: str, weights: DeviceWeights, span: Span, state, **others) -> None:
    """Launch with the arguments that both kernels take, and those of one of them."""
    key = cell, kind, v
    if key not in runtime.sequence_kernels:
        runtime.sequence_kernels[key] = without_spills(runtime, cell, kind, v)
    kernel, v = runtime.sequence_kernels[key]
    _, D, B, _ = state.shape
    xp, batch, groups, together = runtime.xp, span.batch, D * v.slices, v.blocks > 1
    starts = (*span.starts, 0)[:2]
    arguments = SequenceArguments(
        tiles=weights.tiles_for(runtime, v, kind == "backward"), vectors=weights.vectors,
        state=state, state_plane=state.strides[0] // state.itemsize,
        y=span.y, other_states=span.other_states, saved=span.saved,
        lengths=batch.device_lengths, offsets=batch.device_offset, B=B, T=batch.T, n=span.n,
        first=span.first, last=span.last, start_0=starts[0], start_1=starts[1],
        blocks=v.blocks, chunks=v.chunks, quads=v.quads,
        exchange=xp.zeros((groups, 2, v.chunks * v.rows * v.inner) if together else (1,), state.dtype),
        counters=xp.zeros(groups * COUNTER_STRIDE if together else 1, "int32"),
        error=runtime.error, timeout=runtime.timeout, **others,
    )  # fmt: skip
    runtime.launch(kernel, arguments, groups * v.blocks, v.threads, shared=v.shared, cooperative=together)
