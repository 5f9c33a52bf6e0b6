"""Checks of what a recurrent network is made with."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers.layout import suffix
from nblstm.cells.cell import Cell
from nblstm.engine.network import Network
from nblstm.nn.module import uniform

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


def check_vectors(cell: Cell) -> None:
    """Refuse a vector with the name of a learned initial state."""
    taken = {f"initial_{state}" for state in cell.states} & {*cell.vectors}
    if taken:
        name = min(taken)
        raise ValueError(f"cell {cell.name!r} has a vector named {name!r}, as a learned state is; give it another name")


def warn_of_dropout(dropout: float, num_layers: int, stacklevel: int, one: str = "num_layers is 1") -> None:
    """Warn where dropout between layers is asked for, and there is nothing between them."""
    if dropout and num_layers == 1:
        warnings.warn(
            f"dropout is {dropout} and {one}; it acts between layers, so it does nothing here",
            stacklevel=stacklevel + 1,
        )


def initial_bias_of(cell: Cell, bias: bool, given: Mapping[str, float] | None) -> dict[str, float]:
    """For some gates what is added to their initial biases, as a user gave it."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(
            f"initial_bias is {given!r}; give a dict of gates to numbers, such as {{{cell.gates[0]!r}: 1.0}}"
        )
    if given and not bias:
        raise ValueError(
            f"initial_bias is {given!r} and bias is False, so there is no bias to begin with it; leave one out"
        )
    unknown = [gate for gate in given if gate not in cell.gates]
    if unknown:
        raise ValueError(f"initial_bias has {unknown[0]!r}; the gates of {cell.name!r} are {', '.join(cell.gates)}")
    return {gate: validate.number(f"initial_bias[{gate!r}]", value) for gate, value in given.items()}


def initial_parameters(network: Network, generator: np.random.Generator, initial_bias: dict[str, float]) -> np.ndarray:
    """Draw parameters as torch does, and set what does not begin at random."""
    layout, H, cell = network.layout, network.hidden_size, network.cell
    flat = uniform(layout, H, generator, network.dtype)
    for value, places in zip(cell.initial, network.initial_places, strict=True):
        for place in places:
            flat[place] = value
    for gate, value in initial_bias.items():
        for layer in range(network.num_layers):
            for direction in range(network.D):
                which, fed = ("ih", cell.input_gates) if gate in cell.input_gates else ("hh", cell.recurrent_gates)
                start = layout.place(f"bias_{which}{suffix(layer, direction)}").start + fed.index(gate) * H
                flat[start : start + H] += value
    return flat


def check_x(
    cell: Cell, input_size: int, hidden_size: int, proj_size: int, num_layers: int, directions: int
) -> None:  # fmt: skip
    """Refuse a cell that takes x itself where a layer has other inputs than units."""
    outputs = directions * (proj_size or hidden_size)
    if cell.takes_x and {input_size, *(outputs,) * (num_layers > 1)} != {hidden_size}:
        if proj_size and input_size == hidden_size:
            raise ValueError(
                f"the cell {cell.name!r} takes x itself, one feature for each unit, and behind proj_size={proj_size} a "
                f"layer has {outputs} features, not {hidden_size}; give one layer, or no proj_size"
            )
        raise ValueError(
            f"the cell {cell.name!r} takes x itself, one feature for each unit; give input_size = hidden_size"
            f"{', one layer or one direction' * (directions > 1)}, not {input_size} and {hidden_size}"
        )
