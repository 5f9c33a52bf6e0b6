"""What a fit shows of its progress: a bar while an epoch runs, a line when it has ended."""

from __future__ import annotations

import math
import time

from nblstm.show import show

#: A bar is drawn anew at most so often, in seconds; drawing takes about as long as a batch of a small model.
REDRAWN = 0.1


def verbosity(verbose) -> int:
    """``verbose`` as 0, 1 or 2; "auto" is 1."""
    if isinstance(verbose, str) and verbose == "auto":
        return 1
    if verbose not in (0, 1, 2):
        raise ValueError(f"verbose is {verbose!r}; give 0 for nothing, 1 for a progress bar, 2 for a line per epoch")
    return int(verbose)


class Progress:
    """The bar and the line of one pass over data.

    Parameters
    ----------
    verbose : int
        0: neither; 1: both, the bar with tqdm if that is installed and on a terminal; 2: the line.
    title : str
        Such as "Epoch 1/5"; empty for an evaluation.
    steps : int or None
        Number of batches.
    done : int, default 0
        Batches that were done before, where an epoch is taken up in its middle.
    """

    def __init__(self, verbose: int, title: str, steps: int | None, done: int = 0):
        self.verbose, self.title, self.steps = verbose, title, steps
        self._start, self._first, self._done = time.perf_counter(), done, done
        self._bar = _bar(title, steps, done) if verbose == 1 else None
        self._drawn = self._start

    @property
    def wants_logs(self) -> bool:
        """Whether the bar would be drawn now, and `step` is to be given the logs."""
        return self._bar is not None and time.perf_counter() - self._drawn >= REDRAWN

    def step(self, done: int, logs: dict[str, float] | None) -> None:
        """``done`` batches are done."""
        self._done = done
        if self._bar is not None and logs is not None:
            self._drawn = time.perf_counter()
            self._bar.set_postfix_str(_shown(logs), refresh=False)
            self._bar.update(done - self._bar.n)
            self._bar.refresh()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def line(self, logs: dict[str, float]) -> None:
        """Take the bar away and print the line."""
        self.close()
        if not self.verbose:
            return
        seconds = time.perf_counter() - self._start
        each = _duration(seconds / max(self._done - self._first, 1))
        steps = f"{self._done}/{self.steps or self._done}"
        parts = [part for part in (self.title, steps, _duration(seconds), f"{each}/step", _shown(logs, " - ")) if part]
        show(" - ".join(parts))


def _shown(logs: dict[str, float], between: str = ", ") -> str:
    """As Keras writes them: four decimals, or an exponent for what is smaller than 0.001."""
    shown = []
    for name, value in logs.items():
        if isinstance(value, int | float):
            small = math.isfinite(value) and 0 < abs(value) <= 1e-3
            shown.append(f"{name}: {value:.4e}" if small else f"{name}: {value:.4f}")
        else:
            shown.append(f"{name}: {value}")
    return between.join(shown)


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g}{unit}" if seconds < 100 else f"{seconds / size:.0f}{unit}"
    return f"{seconds * 1e6:.0f}us"


def _bar(title: str, steps: int | None, done: int):
    """A bar on stderr, or None where tqdm is not installed or nobody would see it."""
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    bar = tqdm(
        desc=title or None, total=steps, initial=done, leave=False, disable=None, unit="step", mininterval=REDRAWN
    )
    return None if bar.disable else bar
