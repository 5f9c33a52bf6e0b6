"""Cells by name: how a saved layer refers to the equations it runs, which no file can hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nblstm import cells
from nblstm.arguments import custom
from nblstm.cells import Cell
from nblstm.cells.pickling import alike


class _ReadyMade(Mapping):
    """The cells of `nblstm.cells` by name; a file of cells of the literature is imported when one is looked up."""

    def __init__(self):
        self._names = dict.fromkeys(
            name for name in cells.__all__
            if isinstance(vars(cells).get(name), Cell) or (cells.is_imported_later(name) and not name.endswith("_with"))
        )  # fmt: skip

    def __getitem__(self, name: str) -> Cell:
        if name not in self._names:
            raise KeyError(name)
        return getattr(cells, name)

    def __contains__(self, name) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


_CELLS = _ReadyMade()


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
    few = [own for own in _CELLS if not cells.is_imported_later(own)]  # of all, a sentence would have no room
    return custom.named("cell", name, _CELLS, few, by="nblstm.layers.register_cell")


def name_of(cell: Cell) -> str:
    """The name under which files refer to a cell: the registered one, else its own behind ``Custom>``.

    Raises
    ------
    TypeError
        If it has none that could be written in a program.
    """
    if _CELLS.get(cell.name) is cell:
        return cell.name
    try:
        return custom.name_of(cell, cell.name, alike)
    except TypeError:
        raise TypeError(
            f"the cell {cell.name!r} is not registered and cannot be saved; call "
            "nblstm.layers.register_cell(cell, 'name')"
        ) from None
