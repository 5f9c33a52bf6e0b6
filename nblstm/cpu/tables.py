"""Tables of a cell that kernels read: its programs, what is given with each step, where operands are."""

from __future__ import annotations

from functools import cache

import numpy as np

from nblstm.cells.cell import Cell
from nblstm.cells.stages import backward_program, forward_program
from nblstm.cpu.kernels.inputs import BERNOULLI, GIVEN, NORMAL, SIGNAL, UNIFORM, X
from nblstm.cpu.kernels.pointwise import backward_rows, forward_rows
from nblstm.cpu.kernels.program import program_table
from nblstm.cpu.matrix.products import dtype_of


@cache
def forward_table(
    cell: Cell, dtype: str, H: int, training: bool, taping: bool = False
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The program of a step, see `program_table`."""
    return program_table(
        cell,
        forward_program(cell),
        H,
        lambda stage: forward_rows(cell, dtype, training, stage, taping),
        False,
        training,
    )


@cache
def backward_table(cell: Cell, precision: str, H: int) -> tuple[np.ndarray, np.ndarray]:
    """The program of a step's gradient, see `program_table`."""
    dtype = dtype_of(precision)
    return program_table(
        cell, backward_program(cell), H, lambda stage: backward_rows(cell, dtype, stage), True, precision=precision
    )


@cache
def operand_places(cell: Cell, H: int) -> np.ndarray:
    """Where in a row of dz the operand of each block of the recurrence is; -1 where it is the first state."""
    row = backward_program(cell).row
    operands = {target: link.name for link in cell.graph.links if link.kind == "product" for target in link.targets}
    fed = cell.preactivations[cell.recurrent_start :]
    return np.array([row.place(operands[name], H) if operands[name] else -1 for name in fed], np.int64)


#: Kinds of noise in the table.
NOISE = {"bernoulli": BERNOULLI, "normal": NORMAL, "uniform": UNIFORM}


def given_table(cell: Cell) -> np.ndarray:
    """The table of what the input kernel copies or draws, see `kernels/inputs.py`; signals without their arrays."""
    rows = [[X if name == "x" else SIGNAL, 0, 0, 0] for name in cell.given]
    for own in cell.graph.noise:
        rows.append([NOISE[own.kind], min(round(own.p * 2**32), 2**32 - 1), int(own.per == "step"), 0])
    return np.array(rows, np.int64).reshape(-1, GIVEN)
