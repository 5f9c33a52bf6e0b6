"""Weights in the order in which kernels read them.

The microkernel reads a matrix panel by panel: ``P`` columns of every row k side by side. Torch's matrices (G H, K) are
transposed and cut into such panels before a pass. A `Weights` has one state of the parameters until its owner packs it
anew: whoever holds one computes with those parameters, whatever happens to the buffer they came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numba import types

from nblstm.buffers import memory
from nblstm.buffers.layout import suffix
from nblstm.cells.cell import Cell
from nblstm.codegen.compiler import compiled
from nblstm.codegen.instructions import smaller
from nblstm.codegen.pointers import distinct, offset, pointer_to, record
from nblstm.codegen.target import inlined
from nblstm.cpu import threads
from nblstm.cpu.jobs import DTYPES, PACK, Arguments, Place, place, pointer_type
from nblstm.cpu.matrix.gemm import padded, panel_columns


@dataclass(eq=False)
class Weights:
    """One direction of one layer.

    Attributes
    ----------
    packed : ndarray
        Panels of ``weight_ih`` transposed (I, input columns) and ``weight_hh`` transposed (H, recurrent columns); for
        BPTT then those of the matrices themselves, (input columns, I) and (recurrent columns, H).
    bias : ndarray, shape (P, H)
        The constant of every pre-activation, ``bias_ih + bias_hh`` where both reach one.
    vectors : ndarray, shape (V H,), or None
    forward : dict of str to Place
        Arguments of a forward pass.
    backward : tuple of Place
        The two matrices for BPTT, None without it, and ``vectors``.
    """

    packed: np.ndarray
    bias: np.ndarray
    vectors: np.ndarray | None
    forward: dict[str, Place]
    backward: tuple[Place, Place, Place]


@cache
def input_order(cell: Cell) -> np.ndarray:
    """The gate of each block of pre-activations that the input feeds."""
    return _order(cell, cell.preactivations[: len(cell.gates)])


@cache
def recurrent_order(cell: Cell) -> np.ndarray:
    """The gate of each block of pre-activations that the recurrence feeds."""
    return _order(cell, cell.preactivations[len(cell.split) :])


def _order(cell: Cell, names) -> np.ndarray:
    halves = {f"{g}_{half}": g for g in cell.split for half in "xh"}
    return np.array([cell.gates.index(halves.get(name, name)) for name in names], np.int64)


def pack_weights(cell: Cell, parameters: dict[str, np.ndarray], layer: int, direction: int, training: bool) -> Weights:
    """Copy the parameters of one direction of one layer into the form that kernels read.

    Parameters
    ----------
    cell : Cell
    parameters : dict of str to ndarray
        All of the network's, under torch's names.
    layer, direction : int
    training : bool
        Whether BPTT will follow.

    Returns
    -------
    Weights
    """
    packer = Packer(cell, parameters, layer, direction, training)
    packer.pack()
    return packer.weights


class Packer:
    """Packs the parameters of one direction of one layer, again and again, into the same memory.

    Parameters
    ----------
    cell, parameters, layer, direction, training
        As of `pack_weights`; the arrays stay where they are.

    Attributes
    ----------
    weights : Weights
        Undefined before the first `pack`.
    """

    def __init__(self, cell: Cell, parameters: dict[str, np.ndarray], layer: int, direction: int, training: bool):
        end = suffix(layer, direction)
        w_ih, w_hh = parameters[f"weight_ih{end}"], parameters[f"weight_hh{end}"]
        H, item, dtype = w_hh.shape[1], w_hh.itemsize, w_hh.dtype
        self._cell, self._prepared = cell, _packing(cell, w_ih.shape[1], H, item, training)
        self._biases = [parameters.get(f"bias_{which}{end}") for which in ("ih", "hh")]
        self._vectors = [parameters[f"{vector}{end}"] for vector in cell.vectors]
        packed, bias = memory.empty((self._prepared.size,), dtype), np.zeros((len(cell.preactivations), H), dtype)
        vectors = np.empty(len(cell.vectors) * H, dtype) if cell.vectors else None

        places: list[Place] = [place(packed, start) for start in self._prepared.starts]
        self._arguments = self._prepared.arguments.completed([
            {"matrix": (w_ih, w_hh)[k % 2], "packed": packed_place} for k, packed_place in enumerate(places)
        ])  # fmt: skip
        self._kernel = pack_kernel(DTYPES[item])
        forward: dict[str, Place] = {"w_x": places[0], "w_h": places[1], "bias": place(bias), "vectors": place(vectors)}
        back_x, back_h = places[2:] if training else (place(None), place(None))
        backward = back_x, back_h, forward["vectors"]
        self.weights = Weights(packed, bias, vectors, forward, backward)

    def pack(self) -> None:
        """Fill the weights from the parameters as they are now."""
        prepared = self._prepared
        self._add_biases(self.weights.bias)
        if self.weights.vectors is not None:
            np.concatenate(self._vectors, out=self.weights.vectors)
        threads.run(self._kernel, self._arguments, prepared.parts, tiny=prepared.tiny)

    def _add_biases(self, total: np.ndarray) -> None:
        """The constant of every pre-activation, one block of H after another."""
        b_ih, b_hh = self._biases
        cell, (P, H) = self._cell, total.shape
        if self._prepared.in_order and b_ih is not None:
            total[...] = (b_ih if b_hh is None else b_ih + b_hh).reshape(P, H)
            return
        total.fill(0)
        G, split = len(cell.gates), len(cell.split)
        if b_ih is not None:
            total[:G] = b_ih.reshape(G, H)[input_order(cell)]
        if b_hh is not None:
            total[split:] += b_hh.reshape(G, H)[recurrent_order(cell)]


@dataclass(frozen=True)
class _Packing:
    """Kernel arguments for the panels of a `Weights`, a record for each matrix.

    To put them together took longer than to pack the matrices of a small network, and training packs in each step.

    Attributes
    ----------
    arguments : Arguments
    parts : int
        Of all of them.
    starts : list of int
        Where each one's panels begin in an array for all, in bytes.
    size : int
        Numbers of that array.
    tiny : bool
        Whether it is little work.
    in_order : bool
        Whether pre-activations are the gates, in their order.
    """

    arguments: Arguments
    parts: int
    starts: list[int]
    size: int
    tiny: bool
    in_order: bool


@lru_cache(maxsize=256)
def _packing(cell: Cell, I: int, H: int, item: int, training: bool) -> _Packing:
    dtype, G = DTYPES[item], len(cell.gates)
    records: list[dict] = []
    sizes = []
    for transposed in (1, 0)[: 1 + training]:
        for inner, order in ((I, input_order(cell)), (H, recurrent_order(cell))):
            N, K = (G * H, inner) if transposed else (inner, G * H)
            parts = padded(N, dtype) // panel_columns(dtype)
            records.append(dict(
                parts=parts, N=N, K=K, block=H, order=order, transposed=transposed, matrix_row=inner,
            ))  # fmt: skip
            sizes.append(padded(N, dtype) * K)
    parts, starts = sum(record["parts"] for record in records), [item * sum(sizes[:k]) for k in range(len(sizes))]
    in_order = cell.preactivations == cell.gates
    return _Packing(Arguments(PACK, records), parts, starts, sum(sizes), sum(sizes) < 100_000, in_order)


@cache
def pack_kernel(dtype: str) -> int:
    """Address of the kernel that fills one panel; its jobs are `jobs.PACK`, each with parts of its own."""

    def make():
        real, PANEL = getattr(types, dtype), panel_columns(dtype)
        integer = types.int64

        @inlined
        def column(ks, source, target):
            """Numbers of a row of the matrix, one below the other."""
            distinct()
            for k in range(ks):
                target[k * PANEL] = source[k]

        def pack(jobs, part):
            which = 0
            while part >= record(jobs, which).parts:
                part -= record(jobs, which).parts
                which += 1
            job = record(jobs, which)
            order = pointer_to(job.order, integer)
            matrix, N, K, block = pointer_to(job.matrix, real), job.N, job.K, job.block
            panel = offset(pointer_to(job.packed, real), part * PANEL * K)
            columns = smaller(PANEL, N - part * PANEL)
            if job.transposed:
                # 16 inner rows at a time: what is written meanwhile, 16 rows of a panel, stays in the L1 cache.
                for k0 in range(0, K, 16):
                    ks = smaller(16, K - k0)
                    for c in range(columns):
                        n = part * PANEL + c
                        source = offset(matrix, (order[n // block] * block + n % block) * job.matrix_row + k0)
                        target = offset(panel, k0 * PANEL + c)
                        if ks == 16:
                            column(16, source, target)
                        else:
                            column(ks, source, target)
            else:
                for k in range(K):
                    source = offset(matrix, (order[k // block] * block + k % block) * job.matrix_row + part * PANEL)
                    for c in range(columns):
                        panel[k * PANEL + c] = source[c]
            for k in range(K):
                for c in range(columns, PANEL):
                    panel[k * PANEL + c] = 0

        return pack, types.void(pointer_type(PACK), integer)

    return compiled(f"pack_{dtype}", "", make)
