"""Sequences of equal or different lengths, as scikit-learn's users have them, and batches of them for a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

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
