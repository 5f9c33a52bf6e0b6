"""Tiling of the kernels that compute a whole sequence: which threads have which weights, and which tiling a shape gets.

Such a kernel multiplies, at each step, rows of the batch by recurrent weights that it keeps on the chip. A *tile* of
``lanes`` threads computes ``outputs`` numbers of ``rows`` rows at a time; each lane has a slice of the inner dimension,
in *quads* of 4 numbers, and lanes add up their sums by shuffles. Forward, a tile is one unit and its outputs are the
unit's R gates; backward, a tile is M units, its outputs. A *group* of blocks has all units of a *slice* of the batch,
in *chunks* of rows. Either one block is a group (*alone*: no other block is waited for), or several are (*together*:
they exchange what they computed through memory, with a barrier at each step).

T steps, B sequences, H hidden size, R gates that the recurrence feeds, P pre-activations, S states, K saved values, V
vectors and scalars, D directions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from nblstm.cuda.gpu import Gpu
from nblstm.cuda.kernels.cell_functions import CellSizes
from nblstm.cuda.thresholds import (
    BLOCK_BARRIER_CYCLES,
    COOPERATIVE_THREADS,
    GROUP_BARRIER_CYCLES,
    L2_BYTES_PER_CYCLE,
    LANES,
    LIBRARY_EFFICIENCY,
    MOST_REGISTERS,
    MOST_THREADS,
    MULTIPLY_ADDS_PER_CYCLE,
    RESERVED_REGISTERS,
    ROWS,
    STEP_CYCLES,
    TILINGS_KEPT,
    UNITS,
)


@dataclass(frozen=True)
class Tiling:
    """Division of a sequence kernel's work among threads, blocks and memories.

    Attributes
    ----------
    hidden, directions : int
        H and D, which are compiled in: distances between numbers are then part of instructions.
    outputs : int
        Numbers that a tile computes of each row: R forward, M units backward.
    lanes : int
        Threads of a tile: a power of 2 up to 32.
    quads : int
        Weights of a lane for each output, in groups of 4 (16 bytes).
    in_registers : int
        Quads that are in registers; the others are in shared memory.
    rows : int
        Rows of the batch that are multiplied at a time: a power of 2.
    chunks : int
        Times ``rows`` that a block has at each step.
    tiles : int
        Tiles of a block.
    blocks : int
        Blocks of a group; 1 for alone.
    slices : int
        Slices of the batch, in each direction; each is a group.
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
        """Threads of a block."""
        return self.tiles * self.lanes

    @property
    def inner(self) -> int:
        """The inner dimension, filled up with zeros: H forward, R H backward."""
        return 4 * self.lanes * self.quads

    @property
    def block_weights(self) -> int:
        """Numbers of a block's weights."""
        return self.quads * self.outputs * self.threads * 4

    @property
    def shared_weights(self) -> int:
        """Numbers of a block's weights in shared memory."""
        return (self.quads - self.in_registers) * self.outputs * self.threads * 4

    @property
    def shared(self) -> int:
        """Bytes of shared memory of a block: rows that are multiplied, twice; weights; states of several chunks."""
        states = self.states * self.chunks * self.threads if self.chunks > 1 else 0
        return 4 * (2 * self.rows * self.inner + self.shared_weights + states)

    @property
    def compiled(self) -> Tiling:
        """The tiling of the compiled kernel: chunks, blocks and slices are arguments, but for whether they are 1."""
        return replace(self, chunks=min(self.chunks, 2), blocks=min(self.blocks, 2), slices=1)

    @property
    def cycles(self) -> float:
        """Estimated cycles of one step."""
        # A block's product of one chunk: multiply-adds, or loads from shared memory of rows and of weights.
        per_cycle = min(MULTIPLY_ADDS_PER_CYCLE, self.threads)
        multiply = self.outputs * self.rows * self.quads * 4 * self.threads / per_cycle
        loads = self.rows * self.quads * self.threads / 32 * 4 + self.shared_weights / 32
        product = max(multiply, loads)
        if self.blocks == 1:
            return 2 * BLOCK_BARRIER_CYCLES + product
        # The first chunk's rows are waited for; those of each other one come while the chunk before is multiplied.
        fetch = 4 * self.rows * self.inner / L2_BYTES_PER_CYCLE
        return GROUP_BARRIER_CYCLES + fetch + self.chunks * (BLOCK_BARRIER_CYCLES + max(product, fetch))

    def __str__(self):
        where = "alone" if self.blocks == 1 else f"{self.blocks} blocks together"
        return (
            f"{where}, {self.slices} slices of {self.rows * self.chunks} rows, {self.threads} threads, "
            f"{self.in_registers} of {self.quads} quads of weights in registers, {self.shared / 1024:.0f} KB shared, "
            f"about {self.cycles:.0f} cycles a step"
        )


@lru_cache(maxsize=TILINGS_KEPT)
def choose(gpu: Gpu, n: CellSizes, H: int, B: int, D: int, dtype: str, backward: bool) -> Tiling | None:
    """Choose the tiling for a shape: the estimated cheapest of those that fit; None for kernels of one step.

    The variable ``NBLSTM_CUDA_KERNELS=steps`` forbids all tilings.

    Parameters
    ----------
    gpu : Gpu
    n : CellSizes
    H, B, D : int
    dtype : {"float32", "float64"}
        Weights of float64 would need twice the room: they go step by step.
    backward : bool

    Returns
    -------
    Tiling or None
    """
    if dtype != "float32" or os.environ.get("NBLSTM_CUDA_KERNELS") == "steps":
        return None
    found = list(candidates(gpu, n, H, B, D, backward))
    best = min(found, key=lambda v: (cost(gpu, v), v.threads), default=None)
    return best if best and cost(gpu, best) < cost_of_steps(gpu, n, H, B, D) else None


def cost(gpu: Gpu, v: Tiling) -> float:
    """Estimated cycles of one step of the whole batch: blocks that find no room run after the others."""
    return v.cycles * -(-v.directions * v.slices * v.blocks // gpu.multiprocessors)


def cost_of_steps(gpu: Gpu, n: CellSizes, H: int, B: int, D: int) -> float:
    """Estimated cycles of one step in launches of its own and a library's product, one direction after the other."""
    multiply_adds = gpu.multiprocessors * MULTIPLY_ADDS_PER_CYCLE * LIBRARY_EFFICIENCY
    return D * (STEP_CYCLES + B * n.R * H * H / multiply_adds)


def candidates(gpu: Gpu, n: CellSizes, H: int, B: int, D: int, backward: bool) -> Iterator[Tiling]:
    """Every tiling that fits."""
    inner = n.R * H if backward else H
    for lanes in LANES:
        quads = -(-inner // (4 * lanes))
        for units in UNITS if backward else (1,):
            outputs = units if backward else n.R
            for rows in ROWS:
                if rows * units > lanes or rows >= 2 * _power_of_two(B):
                    continue  # each lane ends with the sums of one row, of one unit
                made = Tiling(H, D, outputs, lanes, quads, 0, rows, 0, 0, 0, 0, n.S)
                for divided in _divisions(gpu, made, units, B):
                    fitted = _fitted(gpu, n, divided)
                    if fitted is not None:
                        yield fitted


def _divisions(gpu: Gpu, v: Tiling, units: int, B: int) -> Iterator[Tiling]:
    """The tiling with one block for all units, then with several blocks, which all run at once."""
    whole = max(1, 32 // v.lanes)  # tiles of a warp
    tiles = -(-v.hidden // (units * whole)) * whole
    yield replace(v, tiles=tiles, blocks=1, chunks=1, slices=-(-B // v.rows))
    for threads in COOPERATIVE_THREADS if gpu.cooperative else ():
        tiles = threads // v.lanes
        blocks = -(-v.hidden // (tiles * units))
        if blocks == 1 or v.directions * blocks > gpu.multiprocessors:
            continue  # one block on each multiprocessor
        slices = min(gpu.multiprocessors // (v.directions * blocks), -(-B // v.rows))
        chunks = -(-B // (v.rows * slices))
        yield replace(v, tiles=tiles, blocks=blocks, chunks=chunks, slices=-(-B // (v.rows * chunks)))


def _fitted(gpu: Gpu, n: CellSizes, v: Tiling) -> Tiling | None:
    """The tiling with as many quads in registers as there is room for; None if the others do not fit."""
    if v.threads > MOST_THREADS or v.threads % 32:
        return None
    # A multiprocessor has four parts, which warps are dealt out to, and gives threads registers in eights.
    registers = min(MOST_REGISTERS, gpu.registers // (-(-v.threads // 128) * 128) // 8 * 8)
    own = n.P + 2 * n.S + n.V + n.K
    free = registers - RESERVED_REGISTERS - own - (v.outputs + 2) * v.rows - 4 * v.outputs
    fitted = replace(v, in_registers=min(v.quads, free // (4 * v.outputs)))
    return fitted if fitted.in_registers >= 1 and fitted.shared <= gpu.shared_memory else None


def _power_of_two(x: int) -> int:
    return 1 << max(0, x - 1).bit_length()


def described(gpu: Gpu, n: CellSizes, H: int, B: int, D: int = 1) -> str:
    """The choice for a float32 layer, forward and backward, a line each."""
    lines = []
    for name, backward in (("forward", False), ("backward", True)):
        chosen = choose(gpu, n, H, B, D, "float32", backward)
        lines.append(f"H {H:5} B {B:5} {name:8} {chosen or 'a launch and a product for each step'}")
    return "\n".join(lines)
