"""Sequences of equal or different lengths, as scikit-learn's users have them, and batches of them for a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import validation

from nblstm.arguments import validate
from nblstm.training.batches import PyDataset

#: Value of all features of a step behind a sequence's end, which data may not have: `Masking` finds such steps by it.
PADDING = float(np.finfo(np.float32).min)

#: Steps of the sequences in a batch that is predicted, padding included, and the most sequences in it.
STEPS_AT_ONCE, SEQUENCES_AT_ONCE = 16_384, 1024


@dataclass(eq=False, slots=True)
class Sequences:
    """N sequences as the rows of all their steps, one sequence behind the other.

    Attributes
    ----------
    rows : ndarray, shape (R + 1, F)
        ``rows[starts[n]:starts[n] + lengths[n]]`` is sequence n; behind them all is a row of padding.
    lengths, starts : ndarray of int, shape (N,)
    kind : {"list", "array", "table"}
        Whether they came as a list, as an array (N, T, F), or as a table (N, T) of one channel.
    """

    rows: np.ndarray
    lengths: np.ndarray
    starts: np.ndarray
    kind: str

    @classmethod
    def of_array(cls, array: np.ndarray, kind: str = "array", padding: float = PADDING) -> Sequences:
        """Sequences of an array (N, T, F)."""
        N, T, F = array.shape
        return cls(_with_padding(array.reshape(N * T, F), padding), np.full(N, T), np.arange(N) * T, kind)

    @classmethod
    def of_list(cls, arrays: list[np.ndarray], padding: float = PADDING) -> Sequences:
        """Sequences of a list of arrays (T_i, F)."""
        lengths = np.array([len(array) for array in arrays])
        return cls(_with_padding(np.concatenate(arrays), padding), lengths, lengths.cumsum() - lengths, "list")

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def features(self) -> int:
        """Features of a step."""
        return self.rows.shape[1]

    @property
    def uniform(self) -> bool:
        """True if all have one length."""
        return bool((self.lengths == self.lengths[0]).all())

    def padded(self, chosen: np.ndarray) -> np.ndarray:
        """Copies of some sequences, in one array (B, T, F) with padding behind those that are shorter."""
        lengths = self.lengths[chosen]
        step = np.arange(lengths.max())
        place = self.starts[chosen][:, None] + step
        if lengths.min() < len(step):
            place = np.where(step < lengths[:, None], place, len(self.rows) - 1)
        return self.rows.take(place, axis=0)

    def pad_with(self, value: float) -> None:
        """Set the padding."""
        self.rows[-1] = value

    def take(self, chosen: np.ndarray) -> Sequences:
        """Some sequences, whose rows are shared."""
        return Sequences(self.rows, self.lengths[chosen], self.starts[chosen], self.kind)

    def like(self, values: np.ndarray) -> Sequences:
        """Sequences of these lengths, of one value (R,) for each step in the order of `flat`; their padding is 0."""
        rows = _with_padding(values[:, None].astype(np.float32), 0)
        return Sequences(rows, self.lengths, self.lengths.cumsum() - self.lengths, self.kind)

    def flat(self) -> np.ndarray:
        """The rows of all sequences, one behind the other, without padding."""
        ends = self.lengths.cumsum()
        return self.rows[np.arange(ends[-1]) + (self.starts - (ends - self.lengths)).repeat(self.lengths)]

    def parts(self, rows: np.ndarray) -> list[np.ndarray] | np.ndarray:
        """Rows, in the order of `flat`, as these sequences came: a list of arrays, or one array (N, T, ...)."""
        if self.kind == "list":
            return np.split(rows, self.lengths.cumsum()[:-1])
        return rows.reshape(len(self), -1, *rows.shape[1:])

    def batches(self, masks: bool) -> Iterator[np.ndarray]:
        """Numbers of sequences that are predicted together: of similar lengths, or without ``masks`` of equal ones."""
        order = self.lengths.argsort(kind="stable")
        ordered, first = self.lengths[order], 0
        while first < len(order):
            end = len(order) if masks else int(np.searchsorted(ordered, ordered[first], "right"))
            # The longest of a batch is its last, so that (k + 1) ordered[first + k] steps are padded together.
            steps = np.arange(1, end - first + 1) * ordered[first:end]
            fitting = int(np.searchsorted(steps, STEPS_AT_ONCE, "right"))
            count = max(1, min(fitting, SEQUENCES_AT_ONCE))
            yield order[first : first + count]
            first += count


class TrainingBatches(PyDataset):
    """Batches of sequences and targets, in a new random order for each epoch.

    Parameters
    ----------
    parts : list of Sequences, ndarray or None
        Sequences, and for each of them or of their steps the target and, if there are any, the weight.
    batch_size : int
    generator : Generator
        Source of the order.
    masks : bool
        Whether the model masks padding; without, a batch has sequences of one length.
    """

    def __init__(self, parts: list, batch_size: int, generator: np.random.Generator, masks: bool):
        super().__init__()
        self._parts = [part for part in parts if part is not None]
        self._lengths: np.ndarray = parts[0].lengths
        self._batch_size, self._generator, self._masks = batch_size, generator, masks
        self._batches = self._in_order(np.arange(len(self._lengths)))

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple:
        chosen = self._batches[index]
        return tuple(batch_of(part, chosen) for part in self._parts)

    def on_epoch_begin(self) -> None:
        """Draw the order of this epoch."""
        self._batches = self._in_order(self._generator.permutation(len(self._lengths)))
        if not self._masks:
            self._batches = [self._batches[k] for k in self._generator.permutation(len(self._batches))]

    def _in_order(self, order: np.ndarray) -> list[np.ndarray]:
        groups = [order]
        if not self._masks:
            lengths = self._lengths[order]
            groups = [order[lengths == length] for length in np.unique(lengths)]
        size = self._batch_size
        return [group[k : k + size] for group in groups for k in range(0, len(group), size)]


def batch_of(part: Sequences | np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Some sequences, padded, or the rows of an array that belong to them."""
    return part.padded(chosen) if isinstance(part, Sequences) else part[chosen]


def subset(part: Any, chosen: np.ndarray) -> Any:
    """Some sequences or rows of an array; None of None."""
    return None if part is None else part.take(chosen) if isinstance(part, Sequences) else part[chosen]


def _with_padding(rows: np.ndarray, padding: float) -> np.ndarray:
    made = np.empty((len(rows) + 1, rows.shape[1]), rows.dtype)
    made[:-1], made[-1] = rows, padding
    return made


def read(estimator: Any, X, *, reset: bool, dtype: type = np.float32) -> Sequences:
    """Check and convert what a user gives; set ``n_features_in_`` and ``feature_names_in_``, or compare with them.

    Parameters
    ----------
    estimator : BaseEstimator
    X : list of array_like (T_i, F), array_like (N, T, F) or (N, T), or pandas object
    reset : bool
        Whether this is the first data that the estimator sees, or a fit anew.
    dtype : {np.float32, np.float64}

    Raises
    ------
    TypeError, ValueError
        If they are not as described, do not fit what the estimator was fitted on, or have NaN or infinity.
    """
    if hasattr(X, "__array__") and not hasattr(X, "columns") and not hasattr(X, "iloc"):
        X = validate.plain_array("X", X)
    listed = _listed(X)
    if listed is None:
        found = _of_array(estimator, X, reset, dtype)
    else:
        found = _of_list(estimator, listed, reset, dtype)
    _check_finite(found)
    return found


def _listed(X) -> list | None:
    """The sequences of a list, a pandas Series, a table with two index levels or an array of objects, one by one.

    None if X is an array or a table (N, T), or a list of lists of equal length, which stands for one.
    """
    if hasattr(X, "iloc"):
        if getattr(X.index, "nlevels", 1) == 2:
            return [part for _, part in X.groupby(level=0, sort=False)]
        return list(X) if X.ndim == 1 and X.dtype == object else None
    if isinstance(X, np.ndarray):
        return list(X) if X.ndim == 1 and X.dtype == object and len(X) and np.ndim(X[0]) else None
    if not isinstance(X, list | tuple) or not len(X) or isinstance(X[0], str | bytes):
        return None
    ndims = {_ndim(part) for part in X}
    if ndims == {1} and not hasattr(X[0], "ndim") and len({len(part) for part in X}) == 1:
        return None
    return list(X) if ndims <= {1, 2} else None


def _ndim(part) -> int:
    """The number of dimensions of an array, or of nested lists."""
    if hasattr(part, "ndim"):
        return part.ndim
    return 1 + (_ndim(part[0]) if len(part) else 0) if isinstance(part, list | tuple) else 0


def _of_array(estimator, X, reset: bool, dtype: type) -> Sequences:
    known = None if reset else estimator.n_features_in_
    if not reset and not estimator._is_table and np.ndim(X) == 2 and known == 1:
        array = validation.check_array(X, dtype="numeric", ensure_all_finite=False, input_name="X")
        return Sequences.of_array(_converted(array, dtype)[:, :, None], "table")
    shape = np.shape(X)
    if len(shape) == 3:
        array = validation.check_array(
            X, dtype="numeric", ensure_all_finite=False, allow_nd=True, ensure_min_features=0, input_name="X"
        )
        _check_steps(shape[1:])
        _set_features(estimator, array, shape[2], reset, f"in an array (N, T, features) of shape {shape}", shape[1])
        return Sequences.of_array(_converted(array, dtype))
    if not reset and not estimator._is_table and len(shape) == 2:
        raise ValueError(
            f"X has shape {shape}, and {type(estimator).__name__} was fitted on sequences of {known} features; give a "
            "list of arrays (T, features), or an array (N, T, features)"
        )
    array = validation.validate_data(estimator, X, reset=reset, dtype="numeric", ensure_all_finite=False)
    if reset:
        estimator._is_table = True
    return Sequences.of_array(_converted(array, dtype)[:, :, None], "table")


def _of_list(estimator, listed: list, reset: bool, dtype: type) -> Sequences:
    arrays = [_sequence(n, part, dtype) for n, part in enumerate(listed)]
    features = {array.shape[1] for array in arrays}
    if len(features) > 1:
        shapes = " and ".join(str(np.shape(part)) for part in _first_of_each(arrays))
        turned = len({len(array) for array in arrays}) == 1
        fix = "if they are (channels, T), give [x.T for x in X]" if turned else "each is (T, features)"
        raise ValueError(f"X has sequences of different numbers of features, such as {shapes}; {fix}")
    F = features.pop()
    came = f"in sequences such as one of shape {arrays[0].shape}"
    _set_features(estimator, listed, F, reset, came, min(len(array) for array in arrays))
    return Sequences.of_list(arrays)


def _sequence(n: int, part, dtype: type) -> np.ndarray:
    """Sequence number n as an array (T, F)."""
    array = validate.number_array(f"X[{n}]", part, "give each as an array (T, features)")
    if array.ndim == 1:
        array = array[:, None]
    _check_steps(array.shape, f" at {n}")
    return _converted(array, dtype)


def _first_of_each(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Two arrays that have different numbers of features."""
    other = next(array for array in arrays if array.shape[1] != arrays[0].shape[1])
    return [arrays[0], other]


def _check_steps(shape: tuple[int, ...], place: str = "") -> None:
    T, F = shape
    if not T or not F:
        raise ValueError(f"X has a sequence of shape ({T}, {F}){place}; give one step or more, of one feature or more")


def _set_features(estimator, X, F: int, reset: bool, came: str, T: int) -> None:
    """Take note of the number of features and their names, or compare them with those of the fit."""
    named = X[0] if isinstance(X, list) and all(hasattr(part, "columns") for part in X) else X
    validation.validate_data(estimator, named, reset=reset, skip_check_array=True, ensure_2d=False)  # names alone
    if reset:
        estimator.n_features_in_, estimator._is_table = F, False
        return
    channels = 1 if estimator._is_table else estimator.n_features_in_
    if channels == F:
        return
    turned = ""
    if channels == T:
        fix = "[x.T for x in X]" if isinstance(X, list) else "np.swapaxes(X, 1, 2)"
        turned = f"; if it has channels before steps, as of aeon and sktime, give {fix}"
    raise ValueError(
        f"X has {F} features {came}, but {type(estimator).__name__} is expecting {channels} features as input{turned}"
    )


def _converted(array: np.ndarray, dtype: type) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # `_check_finite` finds what is too large
        return array.astype(dtype, copy=False)


def _check_finite(found: Sequences) -> None:
    """Refuse NaN, infinity, and what float32 cannot hold."""
    rows = found.rows[:-1]
    if rows.min() > PADDING and rows.max() < -PADDING:  # neither is true of NaN
        return
    row, feature = np.argwhere(~(np.abs(rows) < -PADDING))[0]
    value = rows[row, feature]
    n = int(np.searchsorted(found.starts, row, "right") - 1)
    name = "NaN" if np.isnan(value) else "infinity or a number beyond float32"
    raise ValueError(
        f"Input X contains {name}, in sequence {n} at step {row - found.starts[n]}, feature {feature}; remove or "
        "replace what is not a finite number"
    )
