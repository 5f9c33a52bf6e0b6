"""A step of a cell in parts, as CUDA does it: the library's products, then a kernel for all stages up to the next ones.

What passes from kernel to kernel, and from stage to stage, is in planes (B, H) of a workspace; see `cuda_source`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from nblstm.cells.stages import (
    Program,
    Row,
    Step,
    backward_program,
    forward_program,
    runs,
    saved_names,
    saved_row,
)

if TYPE_CHECKING:
    from nblstm.cells.cell import Cell


class Product(NamedTuple):
    """A library's product within a step.

    Attributes
    ----------
    operand : str
        Forward, the plane that is multiplied; backward, what the result is: empty for the first state.
    first, blocks : int
        The first block of H rows of the recurrent weights, and the number of blocks, in the order of
        `Cell.preactivations`.
    adds : bool
        Backward, whether it adds to the result of another one.
    """

    operand: str
    first: int
    blocks: int
    adds: bool


@dataclass
class Part:
    """Products, then a kernel.

    Attributes
    ----------
    products : list of Product
    stages : list of int
        Numbers of the program's stages.
    copied : list of str
        What the kernel was given and the products behind it multiply: put in planes.
    """

    products: list[Product]
    stages: list[int] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)


def is_plain(cell: Cell) -> bool:
    """Say if a step is one product, with the first state, and one stage, of nothing but gates and states."""
    graph = cell.graph
    return [link.name for link in graph.links] == [""] and not cell.given and not graph.noise


@cache
def device_saved_row(cell: Cell) -> Row:
    """Names in a row of saved values on a GPU: as on the CPU, but for plain cells all are blocks."""
    return Row(tuple(saved_names(cell)), ()) if is_plain(cell) else saved_row(cell)


def saved_size(cell: Cell, H: int) -> int:
    """Numbers of a row of saved values."""
    row = device_saved_row(cell)
    return len(row.blocks) * H + len(row.numbers)


def given_names(cell: Cell) -> set[str]:
    """Names of what a step begins with, beside states: arguments that lie in no plane."""
    return {*cell.preactivations, *cell.given, *(noise.name for noise in cell.graph.noise)}


@cache
def forward_parts(cell: Cell) -> list[Part]:
    """The parts of a step."""
    return _parts(cell, forward_program(cell), given_names(cell))


@cache
def backward_parts(cell: Cell) -> list[Part]:
    """The parts of a step's gradient; the last may have products alone."""
    return _parts(cell, backward_program(cell), set())


def _parts(cell: Cell, program: Program, given: set[str]) -> list[Part]:
    made = [Part([])]
    for k, stage in enumerate(program.stages):
        products = _products(cell, program, stage.links)
        if products:
            made[-1].copied += {product.operand: None for product in products if product.operand in given}
            made.append(Part(products))
        made[-1].stages.append(k)
    made.append(Part(_products(cell, program, program.last)))
    return [part for part in made if part.products or part.stages or part.copied]


def _products(cell: Cell, program: Program, links: Iterable[Step]) -> list[Product]:
    blocks = program.row.blocks
    return [
        Product(link.operand, first, count, bool(k)) for link in links if link.kind == "product"
        for k, (first, count) in enumerate(runs(sorted(blocks.index(f) - cell.recurrent_start for f in link.feeds)))
    ]  # fmt: skip


def work_planes(cell: Cell, backward: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the workspace's planes (B, H), and of its numbers behind them, (B,) each."""
    if not backward:
        row, copied = forward_program(cell).row, [name for part in forward_parts(cell) for name in part.copied]
        return tuple(name for name in row.blocks if name not in given_names(cell) or name in copied), row.numbers
    row = backward_program(cell).row
    elsewhere = {f"d{name}" for name in (*cell.preactivations, *cell.given)}
    elsewhere |= {name for own in operands(cell) for name in (own, f"d{own}")}
    return tuple(name for name in row.blocks if name not in elsewhere), row.numbers


def operands(cell: Cell) -> tuple[str, ...]:
    """Names of the operands of the called gates' products."""
    return tuple(link.name for link in cell.graph.links if link.kind == "product" and link.name)


@cache
def recurrent_runs(cell: Cell) -> list[tuple[str, int, int]]:
    """Consecutive blocks of the recurrent weights with one operand, as (operand, first, count), in order."""
    fed = cell.preactivations[cell.recurrent_start :]
    found: list[tuple[str, int, int]] = []
    for link in cell.graph.links:
        if link.kind == "product":
            found += [(link.name, *run) for run in runs(sorted(map(fed.index, link.targets)))]
    return sorted(found, key=lambda run: run[1])
