"""Series as users give them: arrays, pandas objects and lists of them; and their index, continued."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nblstm.arguments import validate

#: Numbers below this have variances in float64.
LARGEST = 1e150


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

    def ordered(self, name: str, other: TimeSeries) -> TimeSeries:
        """The series with its columns in the order of another one's; as it is, where one of them has no names."""
        if self.flat or self.names is None or other.names is None or len(self.names) == 1:
            return self
        if self.names.equals(other.names):
            return self
        if not self.names.is_unique or set(self.names) != set(other.names):
            raise ValueError(
                f"{name} has the columns {list(self.names)}, and {list(other.names)} came before; give the same, or an "
                "array without names"
            )
        return TimeSeries(self.values[:, self.names.get_indexer(other.names)], False, self.index, other.names)

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
            are columns already, the level below them.
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
            above = [name if isinstance(name, tuple) else (name,) for name in self.names]
            columns = pandas.MultiIndex.from_tuples(
                [(*names, each) for names in above for each in last], names=[*self.names.names, kind]
            )
            values = values.reshape(len(values), -1)
        return pandas.DataFrame(values, index=labels, columns=columns)


def read_series(name: str, given) -> tuple[list[TimeSeries], bool]:
    """The series of ``given``, and whether it is a list of several."""
    if isinstance(given, list | tuple) and given and np.ndim(given[0]):
        found = [_one(f"{name}[{k}]", each) for k, each in enumerate(given)]
        columns = [series.values.shape[1] for series in found]
        if len(set(columns)) > 1:
            raise ValueError(f"{name} has series of {columns} columns; give all of them the same columns")
        return [series.ordered(f"{name}[{k}]", found[0]) for k, series in enumerate(found)], True
    return [_one(name, given)], False


def _one(name: str, given) -> TimeSeries:
    values = validate.converted(name, validate.number_array(name, given), "float64")
    if values.ndim == 3:
        raise ValueError(f"{name} has shape {values.shape}; give several series as a list of arrays, (T,) or (T, K)")
    if values.ndim not in (1, 2) or 0 in values.shape:
        raise ValueError(f"{name} has shape {values.shape}; give a series of shape (T,), or (T, K) for K columns")
    flat, table = values.ndim == 1, is_pandas(given)
    values = values.reshape(len(values), -1)
    need_numbers(name, values)
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
    if index.hasnans:
        raise ValueError(
            f"the index of {name} has no label in row {int(index.isna().argmax())}; drop the row, or name it"
        )
    if not index.is_unique:
        label = index[index.duplicated()][0]
        raise ValueError(
            f"the index of {name} has {label} more than once; give each step one row, as by "
            f"{name}.groupby(level=0).mean(), and several series as a list"
        )
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
        raise ValueError(
            f"the index of {name} has dtype {index.dtype}, which cannot be continued; make dates of it by "
            "pandas.to_datetime(), or whole numbers by reset_index(drop=True)"
        )
    distances = np.unique(np.diff(np.asarray(index, "int64")))
    if len(distances) > 1:
        raise ValueError(f"the index of {name} has numbers at several distances, which cannot be continued; {fix}")
    distance = int(distances[0]) if len(distances) else 1
    start = int(index[-1]) + distance
    return pandas.RangeIndex(start, start + steps * distance, distance, name=index.name)


def need_numbers(name: str, rows: np.ndarray) -> None:
    """Refuse NaN, infinity, and numbers whose squares are beyond float64."""
    if not (np.abs(rows) < LARGEST).all():
        row, column = np.argwhere(~(np.abs(rows) < LARGEST))[0]
        value = rows[row, column]
        if np.isfinite(value):
            raise ValueError(f"{name} has {value:g} in row {row}; give numbers below {LARGEST:g}, as in other units")
        raise ValueError(
            f"{name} has {value} in row {row}; a forecaster reads each step, so fill the gaps, as by "
            "interpolate() of pandas"
        )
