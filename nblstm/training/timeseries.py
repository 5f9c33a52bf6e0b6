"""Windows of a long series, as batches that are made when it is their turn."""

from __future__ import annotations

import numpy as np

from nblstm.arguments import seeds, validate
from nblstm.training.batches import PyDataset


class Windows(PyDataset):
    """Batches of windows of a series, and of their targets if there are some; see `timeseries_dataset_from_array`.

    Windows are copied out of the series batch by batch: overlapping ones take no memory beforehand.
    """

    def __init__(
        self, data: np.ndarray, targets: np.ndarray | None, starts: np.ndarray, steps: np.ndarray,
        batch_size: int | None, generator: np.random.Generator | None,
    ):  # fmt: skip
        super().__init__()
        self._data, self._targets, self._starts, self._steps = data, targets, starts, steps
        self._batch_size, self._generator = batch_size, generator
        self.on_epoch_end()

    def __len__(self) -> int:
        """Number of batches, or of windows where they come one by one."""
        return len(self._starts) if self._batch_size is None else -(-len(self._starts) // self._batch_size)

    def __getitem__(self, index: int):
        """Batch number ``index``: windows (B, sequence_length, ...) and targets (B, ...), or windows alone."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index is {index} and there are {len(self)} batches")
        index %= len(self)
        size = self._batch_size
        starts = self._starts[index] if size is None else self._starts[index * size : (index + 1) * size]
        windows = self._data[np.add.outer(starts, self._steps)]
        return windows if self._targets is None else (windows, self._targets[starts])

    def on_epoch_end(self) -> None:
        """Put the windows in a new order for the next pass, if they are shuffled."""
        if self._generator is not None:
            self._starts = self._generator.permutation(self._starts)


def timeseries_dataset_from_array(
    data, targets, sequence_length: int, sequence_stride: int = 1, sampling_rate: int = 1,
    batch_size: int | None = 128, shuffle: bool = False, seed: int | None = None, start_index: int | None = None,
    end_index: int | None = None,
) -> Windows:  # fmt: skip
    """Batches of the windows of a series, with their targets, for `fit`, `evaluate` and `predict`.

    Window k has the steps ``data[start_index + k sequence_stride + j sampling_rate]`` for j from 0 to
    ``sequence_length - 1``, and the target ``targets[start_index + k sequence_stride]``: that of its first step.

    Parameters
    ----------
    data : array_like, shape (T, ...)
    targets : array_like, shape (T', ...), or None
        To predict the step behind each window, ``data[sequence_length:]``. None: batches are windows alone.
    sequence_length : int
        Steps of a window.
    sequence_stride : int, default 1
        From the first step of a window to that of the next.
    sampling_rate : int, default 1
        From a step of a window to the next.
    batch_size : int or None, default 128
        The last batch may have fewer windows. None: windows come one by one.
    shuffle : bool, default False
        A new order for each pass over all windows.
    seed : int, optional
        Of these orders.
    start_index, end_index : int, optional
        The steps to make windows of: from ``start_index`` to ``end_index - 1``, as in a slice; all if not given.

    Returns
    -------
    PyDataset
        ``len(dataset)`` batches; ``dataset[k]`` is the k-th: (windows, targets), or windows.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or there is no window.

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm.utils import timeseries_dataset_from_array
    >>> series = np.arange(10.0)
    >>> dataset = timeseries_dataset_from_array(series[:-1], series[3:], sequence_length=3, batch_size=4)
    >>> windows, following = dataset[0]
    >>> print(windows[1], following[1])
    [1. 2. 3.] 4.0
    """
    data = _series("data", data)
    targets = None if targets is None else _series("targets", targets)
    T = len(data)
    if not T:
        raise ValueError(f"data has shape {data.shape}, which has no steps; give an array with time first")
    length = validate.positive_integer("sequence_length", sequence_length)
    stride = validate.positive_integer("sequence_stride", sequence_stride)
    rate = validate.positive_integer("sampling_rate", sampling_rate)
    size = None if batch_size is None else validate.positive_integer("batch_size", batch_size)
    start = 0 if start_index is None else validate.whole_number("start_index", start_index)
    end = T if end_index is None else validate.whole_number("end_index", end_index)
    if not start < end <= T:
        raise ValueError(
            f"start_index is {start} and end_index is {end}, and data has {T} steps; give 0 <= start < end <= {T}"
        )
    data, targets = data[start:end], None if targets is None else targets[start:end]
    count = end - start - (length - 1) * rate
    if count < 1:
        raise ValueError(
            f"a window takes {(length - 1) * rate + 1} steps, by sequence_length and sampling_rate, and there are "
            f"{end - start}; give shorter ones, or more data"
        )
    if targets is not None:
        count = min(count, len(targets))
        if not count:
            raise ValueError(f"targets has {len(targets)} entries from start_index on; give one for each window")
    if seed is not None:
        seed = validate.whole_number("seed", seed)
    generator = seeds.generator(seed) if validate.flag("shuffle", shuffle) else None
    return Windows(data, targets, np.arange(0, count, stride), np.arange(length) * rate, size, generator)


def _series(name: str, given) -> np.ndarray:
    array = validate.plain_array(name, given, "give steps of one shape")
    if array.ndim == 0:
        raise ValueError(f"{name} is {given!r}, which has no steps; give an array with time as its first dimension")
    return array
