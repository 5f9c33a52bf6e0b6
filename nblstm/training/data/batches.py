"""Batches, epoch by epoch, from arrays or from an iterable; both can be taken up where they stopped."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from nblstm.training.data.data import Batch, Samples
from nblstm.training.files import archive


class ArrayBatches:
    """Batches of samples in arrays.

    Parameters
    ----------
    samples : Samples
    batch_size : int
    generator : Generator, optional
        Source of a new order for each pass over the samples; without, they stay in their order and batches are views.
    steps_per_epoch : int, optional
        Batches of an epoch, which need not be a pass: the next epoch goes on where this ended.
    """

    def __init__(
        self, samples: Samples, batch_size: int, generator: np.random.Generator | None = None,
        steps_per_epoch: int | None = None,
    ):  # fmt: skip
        self.samples, self.batch_size = samples, batch_size
        self._generator = generator
        self._steps_per_epoch = steps_per_epoch
        self._in_pass = max(1, -(-len(samples) // batch_size))
        self.steps: int | None = steps_per_epoch or self._in_pass
        self._place = 0  # batches of this pass that are done
        self._before: Any = None  # the generator's state before this pass was put in order
        self._order: np.ndarray | None = None

    def epoch(self, done: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, of which ``done`` have been seen."""
        assert self.steps is not None
        if self._steps_per_epoch is None and not done:
            self._place = 0  # an epoch that was stopped in its middle is not gone on with
        for _ in range(done, self.steps):
            if self._place % self._in_pass == 0:
                self._begin_pass()
            start = self._place * self.batch_size
            stop = min(start + self.batch_size, len(self.samples))
            self._place += 1
            if self._order is None:
                yield self.samples.between(start, stop)
            else:
                yield self.samples.gathered(self._order[start:stop])

    def _begin_pass(self) -> None:
        self._place = 0
        if self._generator is not None:
            self._before = copy.deepcopy(self._generator.bit_generator.state)
            self._order = self._generator.permutation(len(self.samples))

    def state(self) -> dict[str, Any]:
        """Where it stands."""
        return {
            "samples": len(self.samples),
            "batch_size": self.batch_size,
            "place": self._place,
            "before": self._before,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`; the generator's own state is restored after this."""
        archive.expect("the place in the data", state, samples=int, batch_size=int, place=int, before=dict | None)
        came = state["samples"], state["batch_size"]
        if came != (len(self.samples), self.batch_size):
            raise ValueError(
                f"it was made with {came[0]} samples in batches of {came[1]}, and now there are {len(self.samples)} in "
                f"batches of {self.batch_size}"
            )
        if not 0 <= state["place"] <= self._in_pass:
            raise ValueError(f"it was made behind batch {state['place']}, and there are {self._in_pass}")
        if self._generator is not None and state["before"] is not None:
            archive.set_generator(self._generator, state["before"])
            self._begin_pass()
        self._place = state["place"]


class IterableBatches:
    """Batches that an iterable gives.

    Parameters
    ----------
    source : iterable
        Of batches; each pass over it begins anew, unless it is an iterator.
    checked : callable
        From what the source gives to a batch.
    steps_per_epoch : int, optional
        Batches of an epoch; a pass over the source if not given.
    """

    def __init__(self, source: Iterable, checked: Callable[[Any], Batch], steps_per_epoch: int | None = None):
        self._source, self._checked, self._steps_per_epoch = source, checked, steps_per_epoch
        self._once = iter(source) is source
        length = getattr(source, "__len__", None)
        self.steps: int | None = steps_per_epoch or (length() if length else None)
        self._place = 0  # batches of this pass, or with an iterator of all, that are done
        self._iterator: Iterator | None = None

    @property
    def ends(self) -> bool:
        """Whether the first epoch is a pass over an iterator, which leaves nothing for a second one."""
        return self._once and self._steps_per_epoch is None

    def epoch(self, done: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, of which ``done`` have been seen."""
        if self._steps_per_epoch is None:
            if not done:
                self._begin_pass()
            yield from self._rest()
            return
        for _ in range(done, self._steps_per_epoch):
            batch = next(self._rest(), None)
            if batch is None and not self._once:
                self._begin_pass()
                batch = next(self._rest(), None)
            if batch is None:
                break
            yield batch

    def _rest(self) -> Iterator[Batch]:
        if self._iterator is None:
            self._begin_pass()
        assert self._iterator is not None
        for given in self._iterator:
            self._place += 1
            yield self._checked(given)

    def _begin_pass(self) -> None:
        if not self._once:
            self._place = 0
        self._iterator = iter(self._source)

    def state(self) -> dict[str, Any]:
        """Where it stands."""
        return {"place": self._place}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`: pass over the batches that have been seen."""
        archive.expect("the place in the data", state, place=int)
        self._begin_pass()
        assert self._iterator is not None
        for _ in range(state["place"]):
            if next(self._iterator, None) is None:
                raise ValueError(f"it was made after {state['place']} batches, and now there are fewer")
        self._place = state["place"]
