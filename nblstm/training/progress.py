"""Progress of a fit, shown: on a terminal a line that is redrawn while an epoch runs, elsewhere a line at its end."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from typing import Any

import numpy as np

from nblstm.process import compiling
from nblstm.process.show import is_open, show

#: Seconds between two drawings of the line; drawing takes about as long as a batch of a small model.
REDRAWN = 0.1

#: Columns of the bar, as in Keras.
WIDTH = 20


def verbosity(verbose) -> int:
    """``verbose`` as 0, 1 or 2; "auto" is 1."""
    if isinstance(verbose, str) and verbose == "auto":
        return 1
    if not isinstance(verbose, int | float | np.number | np.bool_) or verbose not in (0, 1, 2):
        raise ValueError(f"verbose is {verbose!r}; give 0 for nothing, 1 for a progress bar, 2 for a line per epoch")
    return int(verbose)


class Progress:
    """Progress of one pass over data, shown; `close` is to be called at its end, however it ends.

    With ``verbose`` 2 a line at the end, as elsewhere than on a terminal; with 1, on a terminal, Keras's line below the
    title, ``12/40 ━━━━━━────────────── 3s 92ms/step - loss: 0.1234``, where the seconds are those that are left; with a
    kernel to be compiled it says so in their place. ``done`` batches of ``steps`` were done before, where an epoch is
    taken up in its middle.
    """

    def __init__(self, verbose: int, title: str, steps: int | None, done: int = 0):
        self.verbose, self.title, self.steps = verbose, title, steps
        self._start, self._first, self._done = time.perf_counter(), done, done
        self._warm: tuple[float, int] | None = None  # when the first batch was done, which takes longer than others
        self._drawn, self._columns = self._start, 0
        self._live = verbose == 1 and _on_a_terminal()
        if self._live:
            compiling.listeners.append(self._compiles)
            if title:
                show(title)

    @property
    def wants_logs(self) -> bool:
        """True if the line would be redrawn now, and `step` is to be given the logs."""
        return self._live and self._due(time.perf_counter())

    def _due(self, now: float) -> bool:
        return now - self._drawn >= REDRAWN

    def step(self, done: int, logs: dict[str, Any] | None) -> None:
        """``done`` batches are done; draws the line if it is time to, with ``logs``, where these are given."""
        self._done = done
        if self._live and (logs is not None or self._warm is None):
            now = time.perf_counter()
            self._warm = self._warm or (now, done)
            if logs is not None and self._due(now):
                self._drawn = now
                self._draw(f"{self._bar()}{self._left(now)}{_shown(logs)}")

    def clear(self) -> None:
        """Take the line away, for others to print; the next `step` draws it again."""
        if self._columns:
            show(f"\r{'':{self._columns}}\r", end="")
            self._columns = 0

    def close(self) -> None:
        """Take the line away for good."""
        if self._live:
            self._live = False
            compiling.listeners.remove(self._compiles)
            self.clear()

    def line(self, logs: dict[str, Any]) -> None:
        """Leave a line of time, loss and metrics, for good."""
        live, now = self._live, time.perf_counter()
        self.close()
        seconds = _duration(now - self._start)
        if live:
            show(f"{self._bar()} {seconds} {_duration(self._each(now))}/step{_shown(logs)}")
        elif self.verbose:
            each = _duration((now - self._start) / max(self._done - self._first, 1))
            title = f"{self.title} - " if self.title else ""
            show(f"{title}{self._done}/{self.steps or self._done} - {seconds} - {each}/step{_shown(logs)}")

    def _compiles(self) -> None:
        self._draw(f"{self._bar()} compiling")

    def _draw(self, text: str) -> None:
        """Put a text in the place of the last one, without its end where it would need more than a row."""
        text = text[: shutil.get_terminal_size().columns - 1]
        show(f"\r{text:{self._columns}}", end="")
        self._columns = len(text)

    def _bar(self) -> str:
        if not self.steps:
            return f"{self._done}/Unknown"
        full = WIDTH * self._done // self.steps
        return f"{self._done:{len(str(self.steps))}}/{self.steps} {'━' * full}{'─' * (WIDTH - full)}"

    def _left(self, now: float) -> str:
        """Time left of the epoch, and time per batch; nothing behind the first, which says little of others."""
        if self._warm is None or self._warm[1] == self._done:
            return ""
        each = self._each(now)
        left = f" {_clock(each * (self.steps - self._done))}" if self.steps else ""
        return f"{left} {_duration(each)}/step"

    def _each(self, now: float) -> float:
        """Seconds for a batch: of those behind the first, where there are such."""
        since, done = self._warm or (self._start, self._first)
        if done == self._done:
            since, done = self._start, self._first
        return (now - since) / max(self._done - done, 1)


def _on_a_terminal() -> bool:
    """True if a line on stdout can be redrawn."""
    isatty = getattr(sys.stdout, "isatty", None)
    return is_open() and isatty is not None and isatty() and os.environ.get("TERM") != "dumb"


def _shown(logs: dict[str, Any]) -> str:
    """Loss and metrics in Keras's format: four decimals, or an exponent for numbers below 0.001; of arrays the mean."""
    shown = []
    for name, value in logs.items():
        if getattr(value, "ndim", 0):
            value = float(value.mean())
        if isinstance(value, int | float):
            small = math.isfinite(value) and 0 < abs(value) <= 1e-3
            shown.append(f" - {name}: {value:.4e}" if small else f" - {name}: {value:.4f}")
        else:
            shown.append(f" - {name}: {value}")
    return "".join(shown)


def _clock(seconds: float) -> str:
    """Time left in Keras's format: 5s, 1:05, 1:00:05."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}" if minutes else f"{rest}s"


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            count = seconds / size
            return f"{count:.3g}{unit}" if count < 100 else f"{count:.0f}{unit}"
    return f"{seconds * 1e6:.0f}us"
