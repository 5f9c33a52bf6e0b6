"""Columns beside series, as users give them, such as temperatures or holidays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.sklearn.series import TimeSeries, is_pandas, need_numbers


def as_tables(name: str, given, series: list[TimeSeries], several: bool) -> list | None:
    """Exogenous columns of each series, as they were given; None if there are none."""
    if given is None or not several:
        return given if given is None else [given]
    if not isinstance(given, list | tuple) or len(given) != len(series):
        raise ValueError(
            f"{name} is {validate.came(given, 'tables')}; give a list of {len(series)}, one for each series"
        )
    return list(given)


@dataclass
class Columns:
    """Columns beside series, such as temperatures or holidays: their number, names and scale.

    Parameters
    ----------
    argument : str
        X or past_X.
    count : int
        Columns; 0 where none were given.
    names : list, optional
        If they came as a DataFrame with a name for each; those of others are then put in this order.
    """

    argument: str
    count: int = 0
    names: list | None = None
    center: Any = 0.0
    unit: Any = 1.0

    @classmethod
    def of(cls, argument: str, tables: list | None) -> Columns:
        """The columns that the first table has, and all are to have."""
        if tables is None:
            return cls(argument)
        first = tables[0]
        shape = np.shape(first)
        if len(shape) not in (1, 2) or 0 in shape:
            raise ValueError(f"{argument} has shape {shape}; give (T, P), a row for each step and P columns, or (T,)")
        named = is_pandas(first) and len(shape) == 2 and first.columns.is_unique
        names = list(first.columns) if named else None
        return cls(argument, 1 if len(shape) == 1 else shape[1], names)

    def measure(self, tables: list[np.ndarray]) -> None:
        """Take the scale of all rows of tables (T, P): mean and standard deviation."""
        rows = np.concatenate(tables)
        self.center, unit = rows.mean(axis=0), rows.std(axis=0)
        self.unit = np.where(unit > 1e-12 * np.abs(rows).max(axis=0, initial=0), unit, 1.0)

    def scaled(self, rows: np.ndarray) -> np.ndarray:
        """Rows of mean 0 and standard deviation 1."""
        return (rows - self.center) / self.unit

    def of_series(self, tables: list | None, labels: list, lengths: list[int]) -> list[np.ndarray]:
        """The rows of each series, (T, P): by their labels, where both have an index, or else by their place.

        Parameters
        ----------
        tables : list of array_like or pandas objects, or None
            See `as_tables`.
        labels : list of pandas.Index or None
            Of the steps of each series.
        lengths : list of int
            Steps of each series, T.
        """
        if tables is None:
            if self.count:
                raise ValueError(
                    f"{self.argument} is None, and the forecaster was fitted with {self.count} columns of it; give "
                    f"their {lengths[0]} rows"
                )
            return [np.empty((T, 0)) for T in lengths]
        if not self.count:
            raise ValueError(f"{self.argument} is given, and the forecaster was fitted without; leave it out")
        names = [self.argument if len(tables) == 1 else f"{self.argument}[{k}]" for k in range(len(tables))]
        return [self._rows(*each) for each in zip(names, tables, labels, lengths, strict=True)]

    def _rows(self, name: str, given, labels, T: int) -> np.ndarray:
        if is_pandas(given):
            given = given if labels is None else _looked_up(name, given, labels)
            if self.names is not None and given.ndim == 2:
                missing = [column for column in self.names if column not in given.columns]
                if missing:
                    raise ValueError(f"{name} has no column {missing[0]!r}, which it had in fit; add it")
                given = given[self.names]
        array = validate.converted(name, validate.number_array(name, given), "float64")
        array = array[:, None] if array.ndim == 1 else array
        if array.shape != (T, self.count):
            raise ValueError(f"{name} has shape {np.shape(given)}; give {T} rows of {self.count} columns")
        need_numbers(name, array)
        return array


def measured_columns(
    argument: str, given, series: list[TimeSeries], several: bool, ends: list[int]
) -> tuple[Columns, list[np.ndarray]]:
    """Columns given to a fit, and the scaled rows of each series; the scale is that of the rows before ``ends``."""
    tables = as_tables(argument, given, series, several)
    columns = Columns.of(argument, tables)
    rows = columns.of_series(tables, [one.index for one in series], [len(one) for one in series])
    columns.measure([each[:end] for each, end in zip(rows, ends, strict=True)])
    return columns, [columns.scaled(each) for each in rows]


def _looked_up(name: str, table, labels):
    """The rows of a pandas object with some labels."""
    if not table.index.is_unique:
        raise ValueError(f"{name} has several rows of one label; give each step one row")
    places = table.index.get_indexer(labels)
    if (places < 0).all() and table.index.dtype != labels.dtype:
        raise ValueError(
            f"{name} has an index of dtype {table.index.dtype}, and y has {labels.dtype}; give both the same kind of "
            "labels, and the same time zone"
        )
    if (places < 0).any():
        label = labels[int(np.flatnonzero(places < 0)[0])]
        raise ValueError(
            f"{name} has no row {label}; give one for each of the {len(labels)} steps from {labels[0]} to {labels[-1]}"
        )
    return table.iloc[places]
