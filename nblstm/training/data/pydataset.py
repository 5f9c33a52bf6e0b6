"""Batches that a class of the user's own makes by their number."""

from __future__ import annotations

from collections.abc import Iterator


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
        """How many batches there are."""
        raise NotImplementedError(f"{type(self).__name__} has no __len__; write it: it gives the number of batches")

    def __iter__(self) -> Iterator:
        """All batches in their order, with `on_epoch_begin` before and `on_epoch_end` behind them."""
        self.on_epoch_begin()
        for index in range(len(self)):
            yield self[index]
        self.on_epoch_end()

    def on_epoch_begin(self) -> None:
        """Before the first batch of a pass."""

    def on_epoch_end(self) -> None:
        """After the last batch of a pass: the place to put samples in a new order."""
