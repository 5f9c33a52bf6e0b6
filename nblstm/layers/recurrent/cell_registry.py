"""Cells by name: how a saved layer refers to the equations it runs, which no file can hold."""

from __future__ import annotations

from nblstm import cells
from nblstm.arguments import custom
from nblstm.cells import Cell
from nblstm.cells.pickling import alike

_CELLS: dict[str, Cell] = {name: made for name, made in vars(cells).items() if isinstance(made, Cell)}


def register_cell(cell: Cell, name: str | None = None) -> Cell:
    """Give a cell of your own a name, under which layers of it are saved and loaded.

    Put it above `nblstm.cell` as a decorator, and call it on what a factory of cells has made. A program that loads the
    layer has to register the cell before.

    Parameters
    ----------
    cell : Cell
    name : str, optional
        The cell's own name if not given.

    Returns
    -------
    Cell
        The same.

    Raises
    ------
    TypeError, ValueError
        If it is no cell, or another has the name. A cell that is defined once more replaces the one before.

    Examples
    --------
    >>> from nblstm import cell, tanh
    >>> from nblstm.layers import RNN, register_cell
    >>> @register_cell
    ... @cell(gates="a", states="h")
    ... def slow(a, h):
    ...     return 0.9 * h + 0.1 * tanh(a)
    >>> RNN(slow, 8).get_config()["cell"]
    'slow'
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"register_cell got {cell!r}; give a cell, with @register_cell above @nblstm.cell(...)")
    name = cell.name if name is None else name
    if not (isinstance(name, str) and name):
        raise TypeError(f"name is {name!r}; give a string that is not empty, or None for the cell's own name")
    custom.register(name, cell, _CELLS)
    return cell


def registered_cell(name: str) -> Cell:
    """The cell of that name.

    Raises
    ------
    ValueError
        If there is none.
    """
    return custom.named("cell", name, _CELLS, by="nblstm.layers.register_cell")


def name_of(cell: Cell) -> str:
    """The name under which files refer to a cell: the registered one, else its own behind ``Custom>``.

    Raises
    ------
    TypeError
        If it has none that could be written in a program.
    """
    for name, known in _CELLS.items():
        if known is cell:
            return name
    try:
        return custom.name_of(cell, cell.name, alike)
    except TypeError:
        raise TypeError(
            f"the cell {cell.name!r} is not registered and cannot be saved; call "
            "nblstm.layers.register_cell(cell, 'name')"
        ) from None
