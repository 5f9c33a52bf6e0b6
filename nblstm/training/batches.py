"""Samples, and batches of them, epoch by epoch; a fit can be taken up in the middle of an epoch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.files import content
from nblstm.training.targets import check_finite


@dataclass(eq=False, slots=True)
class Samples:
    """Arrays with one entry per sample: of a whole data set, or of a batch.

    Attributes
    ----------
    x : ndarray, shape (N, ...)
    y, weight : ndarray, shape (N, ...), or None
    """

    x: np.ndarray
    y: np.ndarray | None = None
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: np.ndarray) -> Samples:
        """Copies of ``rows``, by their numbers."""
        y = None if self.y is None else self.y.take(rows, axis=0)
        return Samples(self.x.take(rows, axis=0), y, None if self.weight is None else self.weight.take(rows, axis=0))

    def between(self, start: int, stop: int) -> Samples:
        """Views of the rows from ``start`` to ``stop - 1``."""
        y = None if self.y is None else self.y[start:stop]
        return Samples(self.x[start:stop], y, None if self.weight is None else self.weight[start:stop])

    def split(self, fraction: float) -> tuple[Samples, Samples]:
        """Split off the last samples, a ``fraction`` of all, for validation; the first are to train on, as in Keras."""
        N = len(self)
        at = math.floor(N * (1 - fraction))
        if not 0 < at < N:
            raise ValueError(
                f"validation_split is {fraction} of {N} samples, which leaves {at} to train on and {N - at} to "
                "validate with; give another fraction, or validation_data"
            )
        return self.between(0, at), self.between(at, N)


def checked_samples(x, y, sample_weight, dtype: str) -> Samples:
    """Arrays of what a user passes: floats in ``dtype``, all else in its own."""
    x = sample_array("x", x, dtype)
    if not len(x):
        raise ValueError(f"x has shape {x.shape}, which is no sample; give an array of one or more")
    y = sample_array("y", y, dtype)
    weight = None if sample_weight is None else sample_array("sample_weight", sample_weight, dtype)
    for name, other in (("y", y), ("sample_weight", weight)):
        if other is not None and len(other) != len(x):
            raise ValueError(f"x has {len(x)} samples and {name} has {len(other)}; give as many of each")
    for name, numbers_ in (("x", x), ("y", y), ("sample_weight", weight)):
        check_finite(name, numbers_)
    return Samples(x, y, weight)


def sample_array(name: str, value, dtype: str) -> np.ndarray:
    """``value`` as an array with a dimension for samples; floats in ``dtype``.

    A file mapped into memory stays there: its batches are converted one by one.
    """
    found = validate.number_array(name, value, "pad the sequences to one length, or give batches by a generator")
    if found.ndim == 0:
        raise ValueError(f"{name} has shape (), which is no sample; give an array of one or more")
    if found.dtype.kind == "f" and not isinstance(value, np.memmap):
        found = validate.converted(name, found, dtype)
    return found


class ArrayBatches:
    """Batches of samples in arrays.

    A ``generator`` gives a new order for each pass over the samples; without, they stay in their order and batches are
    views. An epoch of ``steps_per_epoch`` need not be a pass: the next one goes on where it ended.
    """

    def __init__(
        self, samples: Samples, batch_size: int, generator: np.random.Generator | None = None,
        steps_per_epoch: int | None = None,
    ):  # fmt: skip
        self.samples, self.batch_size = samples, batch_size
        self._generator = generator
        self._steps_per_epoch = steps_per_epoch
        self._batches_per_pass = max(1, -(-len(samples) // batch_size))
        self.steps: int = steps_per_epoch or self._batches_per_pass
        self._done = 0  # batches of this pass
        self._generator_before: Any = None  # its state before it drew the order of this pass
        self._order: np.ndarray | None = None

    def epoch(self, done: int = 0) -> Iterator[Samples]:
        """The batches of an epoch, of which ``done`` have been seen."""
        if self._steps_per_epoch is None and not done:
            self._done = 0  # an epoch that was stopped in its middle is not gone on with
        for _ in range(done, self.steps):
            if self._done % self._batches_per_pass == 0:
                self._begin_pass()
            start = self._done * self.batch_size
            stop = min(start + self.batch_size, len(self.samples))
            self._done += 1
            if self._order is None:
                yield self.samples.between(start, stop)
            else:
                yield self.samples.take(self._order[start:stop])

    def _begin_pass(self) -> None:
        self._done = 0
        if self._generator is not None:
            self._generator_before = copy.deepcopy(self._generator.bit_generator.state)
            self._order = self._generator.permutation(len(self.samples))

    def state(self) -> dict[str, Any]:
        """The place in the data, and the random state from which its order was drawn."""
        return {
            "samples": len(self.samples),
            "batch_size": self.batch_size,
            "place": self._done,
            "before": self._generator_before,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`; the generator's own state is restored after this."""
        content.expect("the place in the data", state, samples=int, batch_size=int, place=int, before=dict | None)
        came = state["samples"], state["batch_size"]
        if came != (len(self.samples), self.batch_size):
            raise ValueError(
                f"it was made with {came[0]} samples in batches of {came[1]}, and now there are {len(self.samples)} in "
                f"batches of {self.batch_size}"
            )
        if not 0 <= state["place"] <= self._batches_per_pass:
            raise ValueError(f"it was made behind batch {state['place']}, and there are {self._batches_per_pass}")
        if self._generator is not None and state["before"] is not None:
            content.set_generator(self._generator, state["before"])
            self._begin_pass()
        self._done = state["place"]


class IterableBatches:
    """Batches that an iterable gives, each as ``checked`` makes it of what came.

    Each pass begins the iterable anew, unless it is an iterator. An epoch is a pass, or has ``steps_per_epoch``
    batches.
    """

    def __init__(self, source: Iterable, checked: Callable[[Any], Samples], steps_per_epoch: int | None = None):
        self._source, self._checked, self._steps_per_epoch = source, checked, steps_per_epoch
        self._once = iter(source) is source
        length = getattr(source, "__len__", None)
        self.steps: int | None = steps_per_epoch or (length() if length else None)
        self._done = 0  # batches of this pass, or with an iterator of all
        self._iterator: Iterator | None = None

    @property
    def single_pass(self) -> bool:
        """True if the first epoch is a pass over an iterator, which leaves nothing for a second one."""
        return self._once and self._steps_per_epoch is None

    def epoch(self, done: int = 0) -> Iterator[Samples]:
        """The batches of an epoch, of which ``done`` have been seen."""
        if self._steps_per_epoch is None:
            if not done:
                self._begin_pass()
            yield from self._rest_of_pass()
            return
        for _ in range(done, self._steps_per_epoch):
            batch = next(self._rest_of_pass(), None)
            if batch is None and not self._once:
                self._begin_pass()
                batch = next(self._rest_of_pass(), None)
            if batch is None:
                break
            yield batch

    def _rest_of_pass(self) -> Iterator[Samples]:
        iterator = self._begin_pass() if self._iterator is None else self._iterator
        for given in iterator:
            self._done += 1
            yield self._checked(given)

    def _begin_pass(self) -> Iterator:
        if not self._once:
            self._done = 0
        self._iterator = iter(self._source)
        return self._iterator

    def state(self) -> dict[str, Any]:
        """The place in the data."""
        return {"place": self._done}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`: pass over the batches that have been seen."""
        content.expect("the place in the data", state, place=int)
        iterator = self._begin_pass()
        for _ in range(state["place"]):
            if next(iterator, None) is None:
                raise ValueError(f"it was made after {state['place']} batches, and now there are fewer")
        self._done = state["place"]


Batches = ArrayBatches | IterableBatches


class PyDataset:
    """Base class: a subclass gives ``__getitem__(k)``, batch number k, and ``__len__()``, how many there are.

    `fit` takes its objects as it takes any iterable of batches: in their order, in this process, each when it is its
    turn. ``workers``, ``use_multiprocessing`` and ``max_queue_size``, which Keras has, are refused unless they have
    Keras's defaults.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10):
        if (workers, use_multiprocessing, max_queue_size) != (1, False, 10):
            raise ValueError(
                "workers, use_multiprocessing or max_queue_size is given, and batches are made one by one in this "
                "process; leave them out"
            )

    def __getitem__(self, index: int):
        """The batch: (x, y) or (x, y, sample_weight)."""
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__; write it: it gives batch number index")

    def __len__(self) -> int:
        """Number of batches."""
        raise NotImplementedError(f"{type(self).__name__} has no __len__; write it: it gives the number of batches")

    def __iter__(self) -> Iterator:
        """All batches in their order, with `on_epoch_begin` before and `on_epoch_end` behind them."""
        self.on_epoch_begin()
        for index in range(len(self)):
            yield self[index]
        self.on_epoch_end()

    def on_epoch_begin(self) -> None:
        """Called before the first batch of a pass."""

    def on_epoch_end(self) -> None:
        """Called after the last batch of a pass: the place to put samples in a new order."""
