"""Arguments of the kernels of a compiled network's Jacobian, and its matrix.

``J`` has derivatives: a row for each number that depends on the ``n`` states and on the input, with ``columns`` for the
states and then for the input.

    rows 0 to n          the new states
    the next I rows      the input itself: (0 | 1)
    the next rows        of each stage its own: outputs where these are no states, the operand, workspace
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

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
    # Of a recurrent layer alone:
    local: Kernel
    states: int  # the first row of its states, and from one state to the next
    plane: int
    count: int  # of its states
    preactivations: int
    fed: int  # pre-activations that the input feeds
    split: int


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
    """

    kernel: int
    rows: int
    scratch: int
    y: int = -1
    fields: Mapping[str, int] = MappingProxyType({})


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
    columns, x, free = n + I, n, n + I
    scratch = columns * (free + sum(stage.rows for stage in stages))
    made = b""
    for k, (stage, (step, outputs)) in enumerate(zip(stages, steps, strict=True)):
        y = free if stage.y < 0 else stage.y
        arguments = JacobianArguments(
            kernel=stage.kernel, step=step, outputs=outputs, n=n, columns=columns, x=x, y=y, own=free, scratch=scratch,
            first=int(k == 0), **stage.fields,
        )  # fmt: skip
        made += bytes(arguments)
        x, free = y, free + stage.rows
    size = scratch + max((stage.scratch for stage in stages), default=0)
    return made, {"jacobian_columns": columns, "jacobian_size": size, "jacobian_y": x}


def size_of(stages: int) -> int:
    """Bytes of the arguments of so many stages."""
    return stages * ctypes.sizeof(JacobianArguments)
