"""Arguments of the kernels of a compiled network's Jacobian, and its matrix.

``J`` has derivatives: a row for each number that depends on the ``n`` states and on the input, with ``columns`` for the
states and then for the input.

    rows 0 to n          the new states
    the next I rows      the input itself: (0 | 1)
    the next rows        of each stage its own: outputs where these are no states, operands, sums, workspace
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from nblstm.cells.cell import Cell
from nblstm.cells.local_jacobian import computed
from nblstm.cpu.arguments import Arguments, Array, Kernel, structure


@structure
class JacobianArguments(Arguments):
    """Arguments of a stage. Places in J count rows; ``scratch`` counts numbers from its beginning."""

    kernel: Kernel
    step: Array  # arguments of the stage's own kernel
    outputs: int  # where they are after the step, in bytes from the state's beginning
    n: int
    columns: int
    x: int  # the first row of its input, and of its outputs
    y: int
    own: int  # the first row that it has for itself
    scratch: int
    first: int  # 1 if its input is the network's
    signals: int  # the first row of the cell's signals, H for each; -1 where these are constants
    # Of a recurrent layer alone:
    local: Kernel
    states: int  # the first row of its states, and from one state to the next
    plane: int
    count: int  # of its states
    preactivations: int
    fed: int  # pre-activations that the input feeds
    takes_x: int
    num_signals: int
    variables: int
    computed: Array  # for each of `local_jacobian.computed` its kind, see below, and its first row
    num_computed: int
    products: Array  # for each product of W_hh: its first block and the one after its last, and its operand's first row
    num_products: int


#: Kinds in the table ``computed``. The rows of a state count states, others count from ``own``.
PRODUCT, SUM, MEAN, STATE = range(4)


def tables(cell: Cell, H: int) -> tuple[np.ndarray, np.ndarray, int]:
    """The tables ``computed`` and ``products`` of a layer, and how many rows of J it has for itself.

    The operand of a product has a row for each unit, or is the first state, where the table has -1; a sum has one row.
    """
    kinds = {"product": PRODUCT, "sum": SUM, "mean": MEAN, "state": STATE}
    rows, free, operands = [], 0, dict.fromkeys(cell.preactivations[cell.recurrent_start :], -1)
    for kind, _, feeds in computed(cell):
        rows.append((kinds[kind], cell.states.index(feeds[0]) if kind == "state" else free))
        if kind == "product":
            operands |= dict.fromkeys(feeds, free)
        free += 0 if kind == "state" else H if kind == "product" else 1
    products: list[list[int]] = []
    for k, operand in enumerate(operands.values()):
        if products and products[-1][2] == operand:
            products[-1][1] = k + 1
        else:
            products.append([k, k + 1, operand])
    return np.array(rows, np.int64), np.array(products, np.int64).reshape(-1, 3), free


class StageJacobian(NamedTuple):
    """Derivatives of a stage.

    Attributes
    ----------
    kernel : int
        Address of ``jacobian(arguments, x, s, t, work)``.
    rows, scratch : int
        Rows of J that it has for itself, and numbers of workspace.
    y : int
        Where outputs are states, the first's row; else -1: they are its own rows.
    fields : mapping
        Those of `JacobianArguments` that not every stage has.
    signals : int
        Where among its outputs the signals of the layers behind it begin; -1 if there are none.
    """

    kernel: int
    rows: int
    scratch: int
    y: int = -1
    fields: Mapping[str, int] = MappingProxyType({})
    signals: int = -1


def jacobian_arguments(
    stages: Sequence[StageJacobian], steps: Sequence[tuple[int, int]], n: int, I: int
) -> tuple[bytes, dict[str, int]]:
    """Arguments of all stages, one after another, and fields of the network's header.

    Parameters
    ----------
    stages : sequence of StageJacobian
    steps : sequence of (int, int)
        For each stage the address of its own kernel's arguments, and where its outputs are.
    n, I : int
        States and inputs.
    """
    columns, x, free, signals = n + I, n, n + I, -1
    scratch = columns * (free + sum(stage.rows for stage in stages))
    made = b""
    for k, (stage, (step, outputs)) in enumerate(zip(stages, steps, strict=True)):
        y = free if stage.y < 0 else stage.y
        arguments = JacobianArguments(
            kernel=stage.kernel, step=step, outputs=outputs, n=n, columns=columns, x=x, y=y, own=free, scratch=scratch,
            first=int(k == 0), signals=signals, **stage.fields,
        )  # fmt: skip
        made += bytes(arguments)
        if stage.signals >= 0:
            signals = free + stage.signals
        x, free = y, free + stage.rows
    size = scratch + max((stage.scratch for stage in stages), default=0)
    return made, {"jacobian_columns": columns, "jacobian_size": size, "jacobian_y": x}


def size_of(stages: int) -> int:
    """Bytes of the arguments of so many stages."""
    return stages * ctypes.sizeof(JacobianArguments)
