"""Columns of a recurrent layer's input: features, and signals of its cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nblstm.cells import Cell


def checked_columns(cell: Cell, units: int, given: Any) -> dict[str, Any] | None:
    """The argument ``signals`` as a dict from each of the cell's signals to a column, or to one for each unit.

    Raises
    ------
    TypeError, ValueError
        If it is something else.
    """
    names = cell.signals
    if given is None and not names:
        return None
    if not isinstance(given, Mapping) or set(given) != set(names):
        came = "None" if given is None else repr(dict(given)) if isinstance(given, Mapping) else repr(given)
        wanted = f"a dict from {', '.join(map(repr, names))} to columns of x" if names else "None, as it takes none"
        raise ValueError(f"signals is {came}, and the cell {cell.name!r} takes {len(names)}; give {wanted}")
    found: dict[str, Any] = {}
    for name in names:
        columns, label = given[name], f"signals[{name!r}]"
        if isinstance(columns, list | tuple | range | np.ndarray):
            if len(columns) != units:
                raise ValueError(f"{label} has {len(columns)} columns; give one, or {units}, one for each unit")
            found[name] = [_column(label, column) for column in columns]
        else:
            found[name] = _column(label, columns)
    return found


def _column(label: str, column: Any) -> int:
    if isinstance(column, bool | np.bool_) or not isinstance(column, int | np.integer):
        raise TypeError(f"{label} is {column!r}; give the number of a column of x, from 0, or a list of them")
    return int(column)


class Columns:
    """Features and signals of inputs (..., width).

    Parameters
    ----------
    signals : dict of str to int or list of int
        The columns of each signal, see `checked_columns`. All others are features.
    width : int

    Attributes
    ----------
    width : int
    features : ndarray of int64, shape (I,)
    signals : dict of str to ndarray of int64, shape () or (H,)

    Raises
    ------
    ValueError
        If there are no such columns, or no others.
    """

    def __init__(self, signals: Mapping[str, Any], width: int):
        self.width = width
        self.signals = {name: np.array(columns, np.int64) for name, columns in signals.items()}
        for name, columns in self.signals.items():
            beyond = columns[(columns < -width) | (columns >= width)]
            if beyond.size:
                raise ValueError(f"signals[{name!r}] is column {beyond.flat[0]} of x, which has {width}; give another")
            columns += width * (columns < 0)
        taken = np.unique(np.concatenate([columns.ravel() for columns in self.signals.values()]))
        self.features = np.setdiff1d(np.arange(width), taken)
        if not self.features.size:
            raise ValueError(f"x has {width} columns, all of them signals; give the layer features too")

    def split(self, x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The features, and the signals by name."""
        return x[..., self.features], {name: x[..., columns] for name, columns in self.signals.items()}

    def joined(self, dx: np.ndarray, d_signals: dict[str, np.ndarray]) -> np.ndarray:
        """The gradient with respect to all columns."""
        joined = np.zeros((*dx.shape[:-1], self.width), dx.dtype)
        joined[..., self.features] = dx
        for name, columns in self.signals.items():
            np.add.at(joined, (..., columns), d_signals[name])  # type: ignore[arg-type]  # NumPy's lacks tuples
        return joined

    def take(self, x: np.ndarray, features: np.ndarray, signals: dict[str, np.ndarray]) -> None:
        """Write the columns of x (B, width) into memory for features (B, I) and for signals, each (B, H)."""
        np.take(x, self.features, axis=1, out=features, mode="clip")  # which has no buffer, unlike "raise"
        for name, own in signals.items():
            columns = self.signals[name]
            if columns.ndim:
                np.take(x, columns, axis=1, out=own, mode="clip")
            else:
                own[...] = x[:, columns, None]

    def for_each_unit(self, H: int) -> np.ndarray:
        """Columns of the features, then of each signal for each of H units: (I + K H,)."""
        return np.concatenate([self.features, *(np.broadcast_to(columns, H) for columns in self.signals.values())])


def columns_of(cell: Cell, units: int, signals: Mapping[str, Any] | None, width: int) -> tuple[Columns | None, int]:
    """The columns of a layer's input, None if all are features, and how many features there are.

    Raises
    ------
    ValueError
        If the cell takes x itself, and has another number of units.
    """
    columns = None if signals is None else Columns(signals, width)
    I = width if columns is None else len(columns.features)
    if cell.takes_x and units != I:
        raise ValueError(
            f"the cell {cell.name!r} takes x itself, one feature for each unit, and x has {I} for {units} units; give "
            "as many"
        )
    return columns, I
