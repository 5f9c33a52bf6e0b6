"""The program of a cell's step as kernels read it: a table of instructions, see `nblstm.cells.stages`.

An instruction is seven numbers, by the constants below: what it does, then its arguments, offsets in numbers within a
row of the workspace (z forward, dz backward), and for a product backward that of its rows within a panel of R. Those of
stage s are ``starts[s]`` to ``starts[s + 1]``; backward, one more stage has what follows the last.

    PRODUCT    forward: z[start + first : ... + width] += R[first : first + width] operand;  operand -1 is h[t-1]
               backward: d_operand += dz[start + first : ... + width] R[first : first + width];  -1 is dh
    SUM, MEAN, MAXIMUM    target = the sum, mean or maximum over all units of source, one number
    POINTWISE  a function of scalars for each unit, at the address of a kernel; see `pointwise.py`
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nblstm.cells.cell import Cell
from nblstm.cells.stages import Program, Step, runs
from nblstm.cpu.matrix.blocks import panel_columns
from nblstm.cpu.matrix.products import dtype_of, inner_numbers

OPERATION, SOURCE, TARGET, FIRST, WIDTH, KERNEL, WEIGHTS = range(7)
LENGTH = 7
PRODUCT, SUM, MEAN, MAXIMUM, POINTWISE = range(5)
KINDS = {"product": PRODUCT, "sum": SUM, "mean": MEAN, "maximum": MAXIMUM}


def program_table(
    cell: Cell,
    program: Program,
    H: int,
    kernel: Callable[[int], int],
    backward: bool,
    saving: bool = False,
    precision: str = "float32",
) -> tuple[np.ndarray, np.ndarray]:
    """The instructions of a program and where its stages start.

    Parameters
    ----------
    cell : Cell
    program : Program
    H : int
    kernel : callable
        From the number of a stage to the address of its kernel.
    backward : bool
    saving : bool, default False
        Whether stages are run that compute nothing but what BPTT saves.
    precision : str, default "float32"
        Of products, see `products.py`.

    Returns
    -------
    instructions : ndarray of int64, shape (n, 7)
    starts : ndarray of int64, shape (stages + 1,), backward (stages + 2,)
    """
    rows: list[list[int]] = []
    starts = [0]
    for k, stage in enumerate(program.stages):
        rows += [row for link in stage.links for row in _link(cell, program, link, H, backward, precision)]
        if stage.results or (stage.saved and saving):
            rows.append([POINTWISE, 0, 0, 0, 0, kernel(k), 0])
        starts.append(len(rows))
    if backward:
        rows += [row for link in program.last for row in _link(cell, program, link, H, backward, precision)]
        starts.append(len(rows))
    return np.array(rows, np.int64).reshape(-1, LENGTH), np.array(starts, np.int64)


def _link(cell: Cell, program: Program, link: Step, H: int, backward: bool, precision: str) -> list[list[int]]:
    operand = program.row.place(link.operand, H) if link.operand else -1
    if link.kind != "product":
        [fed] = link.feeds
        place = program.row.place(fed, H)
        source, target = (place, operand) if backward else (operand, place)
        return [[KINDS[link.kind], source, target, 0, 0, 0, 0]]
    places = sorted(program.row.blocks.index(name) - cell.recurrent_start for name in link.feeds)
    source, target = (0, operand) if backward else (operand, 0)
    # Blocks of an odd number of units are pairs of bfloat16 by themselves, so their products are too.
    alone = backward and precision == "bfloat16" and H % 2
    blocks = [(place, 1) for place in places] if alone else runs(places)
    rows = inner_numbers(precision, H) * panel_columns(dtype_of(precision))
    return [[PRODUCT, source, target, first * H, count * H, 0, first * rows] for first, count in blocks]
