"""Checks of what a recurrent network is made with."""

from __future__ import annotations

from nblstm.arguments import validate
from nblstm.cells.cell import Cell

#: A network with more layers is a mistake, and naming its parameters alone would take minutes and more.
MOST_LAYERS = 10_000


def layers_of(num_layers: int) -> int:
    """The number of layers."""
    num_layers = validate.positive_integer("num_layers", num_layers)
    if num_layers > MOST_LAYERS:
        raise ValueError(f"num_layers is {num_layers}; give {MOST_LAYERS} or fewer")
    return num_layers


def directions_of(bidirectional: bool, reverse: bool) -> tuple[bool, ...]:
    """For each direction whether it reads from the last step to the first."""
    if validate.flag("bidirectional", bidirectional):
        if validate.flag("reverse", reverse):
            raise ValueError("bidirectional and reverse are both True; give one, as bidirectional reads both ways")
        return False, True
    return (validate.flag("reverse", reverse),)


def projection_of(proj_size: int, hidden_size: int) -> int:
    """Features of a projection; 0 for none."""
    proj_size = validate.whole_number("proj_size", proj_size)
    if proj_size >= hidden_size:
        raise ValueError(f"proj_size is {proj_size}, and hidden_size {hidden_size}; give fewer features, or 0 for none")
    return proj_size


def check_x(cell: Cell, input_size: int, hidden_size: int, num_layers: int, directions: int, proj_size: int) -> None:
    """Refuse a cell that takes x itself in a layer whose input has not one feature for each unit."""
    features = {input_size, *((proj_size or hidden_size) * directions,) * (num_layers > 1)}
    if cell.takes_x and features != {hidden_size}:
        several = "one layer or no projection" if proj_size else "one layer or one direction" * (directions > 1)
        raise ValueError(
            f"the cell {cell.name!r} takes x itself, one feature for each unit; give input_size = hidden_size"
            f"{f', {several}' if several else ''}, not {input_size} and {hidden_size}"
        )


def check_vectors(cell: Cell) -> None:
    """Refuse a vector with the name of a learned initial state."""
    taken = {f"initial_{state}" for state in cell.states} & {*cell.vectors}
    if taken:
        name = min(taken)
        raise ValueError(f"cell {cell.name!r} has a vector named {name!r}, as a learned state is; give it another name")
