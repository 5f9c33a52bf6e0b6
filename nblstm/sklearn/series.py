"""Series as users give them: arrays, pandas objects and lists of them; and their index, continued."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nblstm.arguments import validate


@dataclass
class TimeSeries:
    """One series: T steps of K columns, in the order of time.

    Parameters
    ----------
    values : ndarray of float64, shape (T, K)
    flat : bool
        Whether it was given as (T,) or as a Series: what is forecast then has no axis for columns.
    index : pandas.Index, optional
        If it was given as a Series or DataFrame.
    names : pandas.Index or str, optional
        The columns' names of a DataFrame, the name of a Series.
    """

    values: np.ndarray
    flat: bool
    index: Any = field(default=None, repr=False)
    names: Any = None

    def __len__(self) -> int:
        return len(self.values)

    def first(self, rows: int) -> TimeSeries:
        """The series up to a step, without it."""
        return TimeSeries(self.values[:rows], self.flat, None if self.index is None else self.index[:rows], self.names)

    def last(self, rows: int) -> TimeSeries:
        """The last steps, in memory of their own."""
        index = None if self.index is None else self.index[-rows:]
        return TimeSeries(self.values[-rows:].copy(), self.flat, index, self.names)

    def labelled(self, values: np.ndarray, labels, kind: str | None = None, last: Sequence | None = None):
        """Values as an object of the series' kind.

        Parameters
        ----------
        values : ndarray, shape (H, K), or (H, K, Q) with ``last``
        labels : pandas.Index, shape (H,)
            Of the rows; for a series of pandas.
        kind, last : str and sequence of length Q, optional
            Name and labels of the last axis.

        Returns
        -------
        ndarray, Series or DataFrame
            Of a flat series without the axis of columns. The last axis becomes a DataFrame's columns, or where there
            are columns already, their second level.
        """
        if self.flat:
            values = values[:, 0]
        if self.index is None:
            return values
        import pandas

        if last is None:
            if self.flat:
                return pandas.Series(values, index=labels, name=self.names)
            return pandas.DataFrame(values, index=labels, columns=self.names)
        columns = pandas.Index(last, name=kind)
        if not self.flat:
            columns = pandas.MultiIndex.from_product([self.names, last], names=[self.names.name, kind])
            values = values.reshape(len(values), -1)
        return pandas.DataFrame(values, index=labels, columns=columns)


def read_series(name: str, given) -> tuple[list[TimeSeries], bool]:
    """The series of ``given``, and whether it is a list of several."""
    if isinstance(given, list | tuple) and given and np.ndim(given[0]):
        found = [_one(f"{name}[{k}]", each) for k, each in enumerate(given)]
        columns = [series.values.shape[1] for series in found]
        if len(set(columns)) > 1:
            raise ValueError(f"{name} has series of {columns} columns; give all of them the same columns")
        return found, True
    return [_one(name, given)], False


def _one(name: str, given) -> TimeSeries:
    values = validate.converted(name, validate.number_array(name, given), "float64")
    if values.ndim == 3:
        raise ValueError(f"{name} has shape {values.shape}; give several series as a list of arrays, (T,) or (T, K)")
    if values.ndim not in (1, 2) or 0 in values.shape:
        raise ValueError(f"{name} has shape {values.shape}; give a series of shape (T,), or (T, K) for K columns")
    flat, table = values.ndim == 1, is_pandas(given)
    values = values.reshape(len(values), -1)
    _need_finite(name, values)
    if not table:
        return TimeSeries(values, flat)
    follow(name, given.index, 1)
    return TimeSeries(values, flat, given.index, given.name if flat else given.columns)


def is_pandas(given) -> bool:
    """Return whether it is a Series or a DataFrame, without an import of pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(given, pandas.Series | pandas.DataFrame)


def follow(name: str, index, steps: int):
    """The labels of the steps behind an index of pandas.

    Parameters
    ----------
    name : str
        Of the series, for errors.
    index : DatetimeIndex, PeriodIndex, TimedeltaIndex, or an Index of whole numbers
        With one distance from each label to the next.
    steps : int

    Returns
    -------
    pandas.Index
        Of the same kind, with the same name, frequency and time zone.
    """
    import pandas

    if index.nlevels > 1:
        split = f"[part.droplevel(0) for _, part in {name}.groupby(level=0)]"
        raise ValueError(f"the index of {name} has {index.nlevels} levels; give a list of series, such as {split}")
    if not index.is_monotonic_increasing and index.dtype.kind in "iumM":
        raise ValueError(f"the index of {name} is not in the order of time; give {name}.sort_index()")
    kind, fix = type(index).__name__, "give one by asfreq() or resample(), or whole numbers by reset_index(drop=True)"
    if isinstance(index, pandas.PeriodIndex):
        if not index.equals(pandas.period_range(index[0], periods=len(index), freq=index.freq)):
            raise ValueError(f"the PeriodIndex of {name} has gaps, or is not in order; {fix}")
        return pandas.period_range(index[-1] + 1, periods=steps, freq=index.freq, name=index.name)
    if isinstance(index, pandas.DatetimeIndex | pandas.TimedeltaIndex):
        every = index.freq or (type(index)(index, freq="infer").freq if len(index) > 2 else None)
        if every is None:
            raise ValueError(f"the {kind} of {name} has no frequency that could be continued; {fix}")
        make = pandas.date_range if isinstance(index, pandas.DatetimeIndex) else pandas.timedelta_range
        return make(index[-1], periods=steps + 1, freq=every, name=index.name)[1:]
    if index.dtype.kind not in "iu":
        raise ValueError(f"the index of {name} is a {kind} of dtype {index.dtype}, which cannot be continued; {fix}")
    distances = np.unique(np.diff(np.asarray(index, "int64")))
    if len(distances) > 1 or 0 in distances:
        raise ValueError(f"the index of {name} has numbers at several distances, which cannot be continued; {fix}")
    distance = int(distances[0]) if len(distances) else 1
    start = int(index[-1]) + distance
    return pandas.RangeIndex(start, start + steps * distance, distance, name=index.name)


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
        If they came as a DataFrame; those of others are then put in this order.
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
        names = list(first.columns) if is_pandas(first) and len(shape) == 2 else None
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
        _need_finite(name, array)
        return array


def _looked_up(name: str, table, labels):
    """The rows of a pandas object with some labels."""
    if not table.index.is_unique:
        raise ValueError(f"{name} has several rows of one label; give each step one row")
    places = table.index.get_indexer(labels)
    if (places < 0).any():
        label = labels[int(np.flatnonzero(places < 0)[0])]
        raise ValueError(
            f"{name} has no row {label}; give one for each of the {len(labels)} steps from {labels[0]} to {labels[-1]}"
        )
    return table.iloc[places]


def _need_finite(name: str, rows: np.ndarray) -> None:
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0]
        raise ValueError(
            f"{name} has {rows[row, column]} in row {row}; a forecaster reads each step, so fill the gaps, as by "
            "interpolate() of pandas"
        )
