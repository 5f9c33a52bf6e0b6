"""Weights in the order in which kernels read them.

The microkernel reads a matrix panel by panel: ``P`` columns of every row k side by side. Torch's matrices (G H, K) are
transposed and cut into such panels before a pass.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import types

from nblstm.buffers import memory
from nblstm.buffers.layout import add_biases, input_order, recurrent_order, suffix
from nblstm.cells.cell import Cell
from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import distinct, larger, offset, pointer_to, record, smaller
from nblstm.codegen.target import inlined
from nblstm.cpu import threads, thresholds
from nblstm.cpu.arguments import DTYPES, Launch, PackArguments, Place, place, pointer_type
from nblstm.cpu.matrix.bfloat16 import pair
from nblstm.cpu.matrix.blocks import padded, panel_columns
from nblstm.cpu.matrix.products import dtype_of, inner_numbers


class PackedWeights:
    """One direction of one layer, packed from the parameters again and again into the same memory.

    Parameters
    ----------
    cell : Cell
    parameters : dict of str to ndarray
        All of the network's, under torch's names; here their shapes and dtype count.
    H, layer, direction : int
    gates : tuple of str
        The order of the gates in the parameters; the cell's own if empty.
    training : bool
        Whether BPTT will follow.

    Attributes
    ----------
    forward : dict of str to Place
        Kernel arguments of a forward pass: panels of ``weight_ih`` transposed (I, input columns) and ``weight_hh``
        transposed (H, recurrent columns), the constant of every pre-activation (P, H), which is ``bias_ih + bias_hh``
        where both reach one, and the cell's vectors and scalars (V, H), these repeated.
    backward : tuple of Place
        Those of BPTT: panels of the matrices, (input columns, I) and (recurrent columns, H), and ``vectors``.
    nbytes : int
    """

    def __init__(
        self, cell: Cell, parameters: dict[str, np.ndarray], H: int, layer: int, direction: int,
        gates: tuple[str, ...], training: bool, precision: str,
    ):  # fmt: skip
        end = suffix(layer, direction)
        dtype = next(iter(parameters.values()), np.empty(0, np.float32)).dtype  # with no parameters, all here is empty
        item, none = dtype.itemsize, np.empty((0, 0), dtype)
        w_ih, w_hh = (parameters.get(f"weight_{which}{end}", none) for which in ("ih", "hh"))
        self._cell, self._gates = cell, gates
        self._bias_names = [f"bias_{which}{end}" for which in ("ih", "hh")]
        self._vector_names = [f"{name}{end}" for name in (*cell.vectors, *cell.scalars)]
        self._bias = np.zeros((len(cell.preactivations), H), dtype)
        self._vectors = np.empty((len(self._vector_names), H), dtype) if self._vector_names else None
        # To be packed: rows in blocks of H, the gate of each, columns, whether it is transposed, and its runs of pairs.
        matrices = []
        for transposed in (1, 0)[: 1 + training]:
            matrices += [
                (w_ih, input_order(cell, gates), transposed, 0),
                (w_hh, recurrent_order(cell, gates), transposed, 0 if transposed else H),
            ]
        sizes = [_numbers(matrix, transposed, run, precision) for matrix, _, transposed, run in matrices]
        packed = memory.empty((sum(sizes),), dtype)
        places: list[Place] = [place(packed, item * sum(sizes[:k])) for k in range(len(sizes))]
        self._arguments = Launch(PackArguments, len(matrices))
        for arguments, (matrix, order, transposed, run), target in zip(self._arguments, matrices, places, strict=True):
            N, K = matrix.shape if transposed else matrix.shape[::-1]
            arguments.set(
                parts=padded(N, DTYPES[item]) // panel_columns(DTYPES[item]), N=N, K=K, block=H, order=order,
                transposed=transposed, matrix_row=matrix.shape[1], packed=target, run=run or K,
            )  # fmt: skip
        self._matrix_names = [f"weight_{which}{end}" for which in ("ih", "hh")] * (1 + training)
        self._parameters: dict[str, np.ndarray] | None = None
        self._parts = sum(arguments.parts for arguments in self._arguments)
        self._serial, self.nbytes = sum(sizes) < thresholds.SERIAL_PACKING * threads.patience(), packed.nbytes
        self._kernel = packing(precision)
        vectors = place(self._vectors)
        self.forward = {"w_x": places[0], "w_h": places[1], "bias": place(self._bias), "vectors": vectors}
        self.backward = (*places[2:], vectors) if training else None

    def pack(self, parameters: dict[str, np.ndarray]) -> None:
        """Take the parameters as they are now."""
        if parameters is not self._parameters:
            self._parameters = None
            for arguments, name in zip(self._arguments, self._matrix_names, strict=True):
                arguments.set(matrix=parameters.get(name))
            self._parameters = parameters
        b_ih, b_hh = (parameters.get(name) for name in self._bias_names)
        add_biases(self._cell, self._gates, b_ih, b_hh, self._bias)
        if self._vectors is not None:
            for own, name in zip(self._vectors, self._vector_names, strict=True):
                own[:] = parameters[name]
        threads.run(self._kernel, self._arguments, self._parts, serial=self._serial)


class PackedNetwork:
    """Weights of all layers.

    Parameters
    ----------
    cell : Cell
    parameters : dict of str to ndarray
        See `PackedWeights`.
    H, num_layers, directions : int
    gates : tuple of str
    training : bool

    Attributes
    ----------
    layers : list of list of PackedWeights
        By layer and direction.
    """

    def __init__(
        self, cell: Cell, parameters: dict[str, np.ndarray], H: int, num_layers: int, directions: int,
        gates: tuple[str, ...], training: bool, precision: str,
    ):  # fmt: skip
        self.layers = [
            [PackedWeights(cell, parameters, H, layer, d, gates, training, precision) for d in range(directions)]
            for layer in range(num_layers)
        ]

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(own.nbytes for layer in self.layers for own in layer)

    def pack(self, parameters: dict[str, np.ndarray]) -> None:
        """Take the parameters as they are now."""
        for layer in self.layers:
            for own in layer:
                own.pack(parameters)


def _numbers(matrix: np.ndarray, transposed: int, run: int, precision: str) -> int:
    """Numbers of a matrix's panels, the last of which is filled up."""
    N, K = matrix.shape if transposed else matrix.shape[::-1]
    return padded(N, dtype_of(precision)) * inner_numbers(precision, K, run)


def packing(precision: str) -> int:
    """Address of the kernel that fills one panel, in a precision; see `products.py`."""
    return pack_pairs_kernel() if precision == "bfloat16" else pack_kernel(precision)


@cache
def pack_kernel(dtype: str) -> int:
    """Address of the kernel that fills one panel; it is given `PackArguments`, each with parts of its own."""

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

        return pack, types.void(pointer_type(PackArguments), integer)

    return compiled(f"pack_{dtype}", "", make)


@cache
def pack_pairs_kernel() -> int:
    """Address of the kernel that fills one panel with pairs, see `bfloat16.py`; it is given `PackArguments`."""

    def make():
        real, PANEL = types.float32, panel_columns("float32")
        integer = types.int64

        @inlined
        def column(pairs, source, target):
            """Pairs of a row of the matrix, one below the other."""
            distinct()
            for p in range(pairs):
                target[p * PANEL] = pair(source[2 * p], source[2 * p + 1])

        @inlined
        def two_rows(columns, first, second, target):
            """Pairs of two rows of the matrix, side by side."""
            distinct()
            for c in range(columns):
                target[c] = pair(first[c], second[c])

        def pack(jobs, part):
            which = 0
            while part >= record(jobs, which).parts:
                part -= record(jobs, which).parts
                which += 1
            job = record(jobs, which)
            order = pointer_to(job.order, integer)
            matrix, N, K, block, run = pointer_to(job.matrix, real), job.N, job.K, job.block, job.run
            columns = smaller(PANEL, N - part * PANEL)
            run_pairs = (run + 1) // 2
            pairs = K // larger(run, 1) * run_pairs
            panel = offset(pointer_to(job.packed, real), part * PANEL * pairs)
            if job.transposed:
                for c in range(columns):
                    n = part * PANEL + c
                    source = offset(matrix, (order[n // block] * block + n % block) * job.matrix_row)
                    column(K // 2, source, offset(panel, c))
                    if K % 2:
                        panel[(pairs - 1) * PANEL + c] = pair(source[K - 1], real(0))
            else:
                for p in range(pairs):
                    k = p // run_pairs * run + p % run_pairs * 2
                    first = offset(matrix, (order[k // block] * block + k % block) * job.matrix_row + part * PANEL)
                    target = offset(panel, p * PANEL)
                    if p % run_pairs * 2 + 1 < run:
                        k += 1
                        second = offset(matrix, (order[k // block] * block + k % block) * job.matrix_row + part * PANEL)
                        two_rows(columns, first, second, target)
                    else:
                        for c in range(columns):
                            target[c] = pair(first[c], real(0))
            for p in range(pairs):
                for c in range(columns, PANEL):
                    panel[p * PANEL + c] = 0

        return pack, types.void(pointer_type(PackArguments), integer)

    return compiled("pack_bfloat16", "", make)
