"""A layer in one launch: which kernel, what it is given, and recurrent weights in the order in which it reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from nblstm.cells.cell import Cell
from nblstm.cells.source import tuple_source
from nblstm.cuda.kernels.cell_functions import Sizes
from nblstm.cuda.kernels.kernel import Kernel
from nblstm.cuda.kernels.meeting import COUNTER_STRIDE
from nblstm.cuda.kernels.persistent_backward import backward_kernel
from nblstm.cuda.kernels.persistent_forward import forward_kernel
from nblstm.cuda.record import Record
from nblstm.cuda.variant import Variant, choose
from nblstm.cuda.weights import LayerWeights
from nblstm.symbolic.emit import symbol


def variant_for(gpu, cell: Cell, state, backward: bool) -> Variant | None:
    """The layout for states (S, D, B, H), or None where steps are launched one by one."""
    _, D, B, H = state.shape
    if cell.stages > 1:
        return None  # a second product needs a second exchange in each step
    return choose(gpu, Sizes.of(cell), H, B, D, state.dtype.name, backward)


@lru_cache(maxsize=1024)
def forward_sequence(cell: Cell, variant: Variant, training: bool) -> Kernel:
    """The forward kernel of a layout (`Variant.compiled`)."""
    kind = "training" if training else "inference"
    return Kernel(
        f"{symbol(cell.name)}_sequence_{kind}", "float32", variant.threads,
        f"{variant!r}\n{tuple_source(cell, 'float32')}",
        lambda p: forward_kernel(p, cell, variant, training),
    )  # fmt: skip


@lru_cache(maxsize=1024)
def backward_sequence(cell: Cell, variant: Variant) -> Kernel:
    """The kernel of BPTT of a layout (`Variant.compiled`)."""
    return Kernel(
        f"{symbol(cell.name)}_sequence_backward", "float32", variant.threads,
        f"{variant!r}\n{tuple_source(cell, 'float32')}",
        lambda p: backward_kernel(p, cell, variant),
    )  # fmt: skip


def tiled(xp, w_hh, v: Variant, backward: bool):
    """Recurrent weights (D, G H, H) as ``(D, blocks, quads, outputs, threads, 4)``, filled up with zeros.

    Forward, output o of tile j is gate o of unit j. Backward it is unit ``j * outputs + o``, and the inner dimension
    are the columns of all gates.
    """
    D, columns, H = w_hh.shape
    tiles = v.blocks * v.tiles
    if backward:
        rows, inner = w_hh.transpose(0, 2, 1)[:, None], columns  # (D, 1, H, G H)
        filled = xp.zeros((D, 1, tiles * v.outputs, v.inner), w_hh.dtype)
    else:
        rows, inner = w_hh.reshape(D, v.outputs, H, H), H
        filled = xp.zeros((D, v.outputs, tiles, v.inner), w_hh.dtype)
    filled[:, :, :H, :inner] = rows
    if backward:
        split = filled.reshape(D, v.blocks, v.tiles, v.outputs, v.quads, v.lanes, 4).transpose(0, 1, 4, 3, 2, 5, 6)
    else:
        split = filled.reshape(D, v.outputs, v.blocks, v.tiles, v.quads, v.lanes, 4).transpose(0, 2, 4, 1, 3, 5, 6)
    return xp.ascontiguousarray(split)


def _tiles(runtime, weights: LayerWeights, v: Variant, backward: bool):
    """`tiled`, kept with the weights it was made from."""
    key = (v, backward)
    if key not in weights.tiles:
        weights.tiles[key] = runtime.made(tiled(runtime.xp, weights.w_hh, v, backward))
    return weights.tiles[key]


def settled(runtime, make: Callable[[Variant], Kernel], v: Variant) -> tuple[Kernel, Variant]:
    """The compiled kernel of a layout, with fewer weights in registers if the compiler found too few of those."""
    while True:
        kernel, fewer = make(v.compiled), replace(v, in_registers=v.in_registers - 1)
        if not runtime.compile(kernel) or not fewer.in_registers or fewer.shared > runtime.gpu.shared_memory:
            return kernel, v
        v = fewer


def _settled(runtime, kind, make, v: Variant) -> tuple[Kernel, Variant]:
    if (kind, v) not in runtime.settled:
        runtime.settled[kind, v] = settled(runtime, make, v)
    return runtime.settled[kind, v]


def _launch(runtime, kernel: Kernel, v: Variant, record: Record, state, before: list, after: list) -> None:
    """Launch with the arguments that both kernels end with."""
    _, D, B, _ = state.shape
    xp, batch = runtime.xp, record.batch
    groups = D * v.slices
    together = v.blocks > 1
    mail = xp.zeros((groups, 2, v.chunks * v.rows * v.inner) if together else (1,), state.dtype)
    counters = xp.zeros(groups * COUNTER_STRIDE if together else 1, "int32")
    starts = (*record.starts, 0)[:2]
    if together:
        runtime.watch()
    runtime.launch(kernel, groups * v.blocks, v.threads, [
        *before, batch.device_lengths, batch.device_offset, *after, mail, counters, runtime.error, runtime.patience,
        B, batch.T, max(record.counts), *record.span, *starts, v.blocks, v.chunks, v.quads,
    ], shared=v.shared, cooperative=together)  # fmt: skip


def forward(runtime, v: Variant, cell: Cell, weights: LayerWeights, record: Record, z, state) -> None:
    """Run the steps of a record; arguments as in `steps.forward`."""
    training = record.training
    kernel, v = _settled(runtime, (cell, training), lambda layout: forward_sequence(cell, layout, training), v)
    _launch(runtime, kernel, v, record, state, [
        z, _tiles(runtime, weights, v, False), weights.bias, weights.vectors,
        state, state.strides[0] // state.itemsize, record.y, record.tape, record.saved,
    ], [])  # fmt: skip


def backward(runtime, v: Variant, cell: Cell, weights: LayerWeights, record: Record, dy, d_state, dz, d_vectors):
    """BPTT through the steps of a record; arguments as in `steps.backward`."""
    previous = [record.previous(d) for d in range(len(record.starts))]
    kernel, v = _settled(runtime, (cell, "backward"), lambda layout: backward_sequence(cell, layout), v)
    _launch(runtime, kernel, v, record, d_state, [
        _tiles(runtime, weights, v, True), weights.vectors, d_state, d_state.strides[0] // d_state.itemsize,
        dy, record.y, record.tape, record.saved, previous[0], previous[-1],
    ], [dz, d_vectors])  # fmt: skip
