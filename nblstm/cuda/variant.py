"""How persistent kernels are laid out on a GPU, and which layout a shape gets.

A persistent kernel multiplies, at each step, the batch's rows by recurrent weights that it keeps. A *tile* of ``lanes``
threads computes ``outputs`` numbers of ``rows`` rows at a time; each lane has a slice of the inner dimension, and the
sums meet by shuffles. Forward, a tile is a unit and its outputs are the unit's gates; backward, a tile is some units.
Either one block has all units (*alone*: no other block is waited for, blocks are slices of the batch), or the units of
a slice are spread over several blocks, which exchange what they computed through memory and meet at each step.

T time, B batch, H hidden, G gates, P pre-activations, S states, D directions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from nblstm.cuda.gpu import Gpu
from nblstm.cuda.kernels.cell_functions import Sizes

#: Registers that a thread needs beside weights, sums and the cell's own values: addresses and counters.
_RESERVED = 56

#: Estimates in cycles, to be measured: a meeting of all blocks, of one block's threads, and a launch and its product.
_MEETING, _SYNC, _STEP = 2500, 60, 20_000

#: Multiply-adds of a multiprocessor in a cycle, and what a library's product of such a kind reaches of them.
_PER_CYCLE, _OF_PEAK = 128, 0.5

#: Bytes that a multiprocessor gets in a cycle from the cache that all share, while all of them ask.
_FROM_OTHERS = 28


@dataclass(frozen=True)
class Variant:
    """The layout of a persistent kernel.

    Attributes
    ----------
    hidden, directions : int
        H and D, which the compiler is told: distances between numbers are then part of instructions.
    outputs : int
        Numbers that a tile computes of each row.
    lanes : int
        Threads of a tile: a power of 2 up to 32.
    quads : int
        Weights of a lane for each output, in groups of 4 (16 bytes).
    in_registers : int
        How many of them are in registers; the others are in shared memory.
    rows : int
        Rows of the batch that are multiplied at a time: a power of 2.
    chunks : int
        How many times ``rows`` a block does at each step.
    tiles : int
        Of one block.
    blocks : int
        That share a slice of the batch; 1 for alone.
    slices : int
        Of the batch, in each direction.
    states : int
        S; with several chunks they wait in shared memory.
    """

    hidden: int
    directions: int
    outputs: int
    lanes: int
    quads: int
    in_registers: int
    rows: int
    chunks: int
    tiles: int
    blocks: int
    slices: int
    states: int

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.tiles * self.lanes

    @property
    def inner(self) -> int:
        """The inner dimension, filled up with zeros."""
        return 4 * self.lanes * self.quads

    @property
    def shared_weights(self) -> int:
        """Numbers of a block's weights in shared memory."""
        return (self.quads - self.in_registers) * self.outputs * self.threads * 4

    @property
    def shared(self) -> int:
        """Bytes of shared memory of a block: inputs twice, weights, states."""
        slots = self.states * self.chunks * self.threads if self.chunks > 1 else 0
        return 4 * (2 * self.rows * self.inner + self.shared_weights + slots)

    @property
    def compiled(self) -> Variant:
        """What the compiler must know of it: shapes that differ in the rest share a kernel."""
        return replace(self, chunks=min(self.chunks, 2), blocks=min(self.blocks, 2), slices=1)

    @property
    def cycles(self) -> float:
        """An estimate of one step."""
        multiply = self.outputs * self.rows * self.quads * 4 * self.threads / min(_PER_CYCLE, self.threads)
        loads = self.rows * self.quads * self.threads / 32 * 4 + self.shared_weights / 32
        if self.blocks == 1:
            return 2 * _SYNC + max(multiply, loads)
        fetch = 4 * self.rows * self.inner / _FROM_OTHERS  # of all chunks but the first while others are multiplied
        return _MEETING + fetch + self.chunks * (_SYNC + max(multiply, loads, fetch))

    def __str__(self):
        where = "alone" if self.blocks == 1 else f"{self.blocks} blocks together"
        return (
            f"{where}, {self.slices} slices of {self.rows * self.chunks} rows, {self.threads} threads, "
            f"{self.in_registers} of {self.quads} quads of weights in registers, {self.shared / 1024:.0f} KB shared, "
            f"about {self.cycles:.0f} cycles a step"
        )


def _power_of_two(x: int) -> int:
    return 1 << max(0, x - 1).bit_length()


def _fitted(
    gpu: Gpu, n: Sizes, H, D, outputs, lanes, inner, rows, chunks, tiles, blocks, slices
) -> Variant | None:  # fmt: skip
    """The variant with as many weights in registers as there is room for, or None if the others do not fit."""
    quads, threads = -(-inner // (4 * lanes)), tiles * lanes
    if threads > 1024 or threads % 32:
        return None
    # A multiprocessor has four parts, which warps are dealt out to, and gives threads registers in eights.
    registers = min(255, gpu.registers // (-(-threads // 128) * 128) // 8 * 8)
    own = n.P + 2 * n.S + n.V + n.K
    in_registers = min(quads, (registers - _RESERVED - own - (outputs + 2) * rows - 4 * outputs) // (4 * outputs))
    if in_registers < 1:
        return None
    made = Variant(H, D, outputs, lanes, quads, in_registers, rows, chunks, tiles, blocks, slices, n.S)
    return made if made.shared <= gpu.shared_memory else None


def candidates(gpu: Gpu, n: Sizes, H: int, B: int, D: int, backward: bool) -> Iterator[Variant]:
    """Every layout that fits."""
    inner = n.G * H if backward else H
    for lanes in (4, 8, 16, 32):
        for outputs in (1, 2, 4, 8) if backward else (n.G,):
            for rows in (1, 2, 4, 8):
                if rows * (outputs if backward else 1) > lanes or rows >= 2 * _power_of_two(B):
                    continue  # each lane ends with the sums of one row, of one unit
                units = outputs if backward else 1  # of a tile
                whole = max(1, 32 // lanes)  # tiles of a warp
                tiles = -(-H // (units * whole)) * whole
                yield from filter(None, [
                    _fitted(gpu, n, H, D, outputs, lanes, inner, rows, 1, tiles, 1, -(-B // rows))
                ])  # fmt: skip
                if gpu.cooperative:
                    yield from _together(gpu, n, H, B, D, outputs, units, lanes, inner, rows)


def _together(gpu, n, H, B, D, outputs, units, lanes, inner, rows) -> Iterator[Variant]:
    """Layouts in which blocks share the units; all blocks must run at once, one on each multiprocessor."""
    for threads in (32, 64, 128, 256, 512):
        tiles = threads // lanes
        blocks = -(-H // (tiles * units))
        if blocks == 1 or D * blocks > gpu.multiprocessors:
            continue
        slices = min(gpu.multiprocessors // (D * blocks), -(-B // rows))
        chunks = -(-B // (rows * slices))
        slices = -(-B // (rows * chunks))
        made = _fitted(gpu, n, H, D, outputs, lanes, inner, rows, chunks, tiles, blocks, slices)
        if made is not None:
            yield made


def cost(gpu: Gpu, variant: Variant) -> float:
    """Estimated cycles of one step of the whole batch: blocks that find no room run after the others."""
    return variant.cycles * -(-variant.directions * variant.slices * variant.blocks // gpu.multiprocessors)


def cost_of_steps(gpu: Gpu, n: Sizes, H: int, B: int, D: int) -> float:
    """The same for a launch and a library's product at each step, one direction after the other."""
    return D * (_STEP + B * n.G * H * H / (gpu.multiprocessors * _PER_CYCLE * _OF_PEAK))


@lru_cache(maxsize=1024)
def choose(gpu: Gpu, n: Sizes, H: int, B: int, D: int, dtype: str, backward: bool) -> Variant | None:
    """The layout for a shape, or None for a launch and a library's product at each step.

    The estimated cheapest of those that fit. The variable ``NBLSTM_CUDA_KERNELS=steps`` forbids all of them.

    Parameters
    ----------
    gpu : Gpu
    n : Sizes
        Of the cell.
    H, B, D : int
    dtype : {"float32", "float64"}
        Weights of float64 would need twice the room: they go step by step.
    backward : bool

    Returns
    -------
    Variant or None
    """
    if dtype != "float32" or os.environ.get("NBLSTM_CUDA_KERNELS") == "steps":
        return None
    found = list(candidates(gpu, n, H, B, D, backward))
    best = min(found, key=lambda v: (cost(gpu, v), v.threads), default=None)
    return best if best and cost(gpu, best) < cost_of_steps(gpu, n, H, B, D) else None


def described(gpu: Gpu, n: Sizes, H: int, B: int, D: int = 1) -> str:
    """What `choose` gives a float32 layer forward and backward, a line each."""
    lines = []
    for name, backward in (("forward", False), ("backward", True)):
        layout = choose(gpu, n, H, B, D, "float32", backward)
        lines.append(f"H {H:5} B {B:5} {name:8} {layout or 'a launch and a product for each step'}")
    return "\n".join(lines)
