"""A traced cell as functions of tuples, which kernels call: the emitted scalar functions behind fixed signatures."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nblstm.cells.cell import Cell
from nblstm.symbolic.emit import emit
from nblstm.symbolic.source import executed, symbol


@dataclass(frozen=True)
class Sizes:
    """How many of each a cell has: what kernels need to know of it.

    Attributes
    ----------
    G : int
        Gates.
    P : int
        Pre-activations: a split gate has two.
    S : int
        States.
    K : int
        Values saved for BPTT.
    V : int
        Vectors.
    second : int
        Gates with a second product.
    output : int
        Which state is the output.
    """

    G: int
    P: int
    S: int
    K: int
    V: int
    second: int
    output: int

    @classmethod
    def of(cls, cell: Cell) -> Sizes:
        """Those of a cell."""
        return cls(
            len(cell.gates), len(cell.preactivations), len(cell.states), len(cell.graph.saved), len(cell.vectors),
            len(cell.second), cell.states.index(cell.output),
        )  # fmt: skip

    @property
    def split(self) -> int:
        """Gates whose two halves arrive apart."""
        return self.P - self.G


def cell_source(cell: Cell, dtype: str) -> str:
    """Python source of ``advance`` and ``reverse``, with the emitted functions in front.

    ``advance(z, state, vector) -> new, saved`` takes pre-activations in memory order (`Cell.preactivations`).
    ``reverse(d_new, saved, state, new, vector) -> dz, d_state, d_vector`` is its gradient. All are tuples.

    With second gates, ``first(z, state, vector) -> operand, saved`` comes before ``advance``, which then returns only
    the other saved values; ``reverse_second(d_new, saved, state, new, vector) -> dz`` gives the second gates'
    gradients, and ``reverse(d_operand, d_new, ...) -> operand, dz, d_state, d_vector`` those of the others.
    """
    places = {name: f"z[{k}]" for k, name in enumerate(cell.preactivations)}
    places |= {name: f"state[{k}]" for k, name in enumerate(cell.states)}
    places |= {name: f"vector[{k}]" for k, name in enumerate(cell.vectors)}
    new = [f"new_{name}" for name in cell.states]
    saved = [f"saved_{k}" for k in range(len(cell.graph.saved))]
    given = [f"d_new[{k}]" for k in range(len(cell.states))] + [f"saved[{k}]" for k in range(len(saved))]
    given += [f"{group}[{k}]" for group in ("state", "new") for k in range(len(cell.states))]
    given += [f"vector[{k}]" for k in range(len(cell.vectors))]

    def listed(names) -> str:
        return "".join(f"{name}, " for name in names)

    def packed(names) -> str:
        return f"({listed(names)})"

    def gradients(names) -> str:
        return packed(f"d_{name}" for name in names)

    taken = ", ".join(places[name] for name in cell.arguments)
    if cell.second:
        early = cell.graph.saved_early
        others = [name for name in cell.preactivations if name not in cell.second]
        return (
            f"{emit(cell, dtype)}\n\n"
            f"def first(z, state, vector):\n"
            f"    value, {listed(saved[:early])}= operand({', '.join(places[name] for name in cell.first_arguments)})\n"
            f"    return value, {packed(saved[:early])}\n\n\n"
            f"def advance(z, state, vector):\n"
            f"    {listed([*new, *saved[early:]])}= forward({taken})\n"
            f"    return {packed(new)}, {packed(saved[early:])}\n\n\n"
            f"def reverse_second(d_new, saved, state, new, vector):\n"
            f"    return backward_second({', '.join(given)})\n\n\n"
            f"def reverse(d_operand, d_new, saved, state, new, vector):\n"
            f"    value, {listed(f'd_{name}' for name in cell.first_arguments)}= "
            f"backward(d_operand, {', '.join(given)})\n"
            f"    return value, {gradients(others)}, {gradients(cell.states)}, {gradients(cell.vectors)}\n"
        )
    return (
        f"{emit(cell, dtype)}\n\n"
        f"def advance(z, state, vector):\n"
        f"    {listed([*new, *saved])}= forward({taken})\n"
        f"    return {packed(new)}, {packed(saved)}\n\n\n"
        f"def reverse(d_new, saved, state, new, vector):\n"
        f"    {listed(f'd_{name}' for name in cell.arguments)}= backward({', '.join(given)})\n"
        f"    return {gradients(cell.preactivations)}, {gradients(cell.states)}, {gradients(cell.vectors)}\n"
    )


def cell_functions(cell: Cell, p) -> dict:
    """The functions of a cell by their names, made with some primitives; see `cell_source`."""
    names = {**p.functions, "real": p.real, "inlined": p.inlined}
    source = re.sub(r"^def (\w+)\(", r"@inlined\ndef \1(", cell_source(cell, p.dtype), flags=re.MULTILINE)
    return executed(source, f"cell {symbol(cell.name)} {p.dtype}, CUDA", names)
