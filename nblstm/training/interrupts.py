"""Ctrl-C between two batches, never within one or within what ends an epoch."""

from __future__ import annotations

import signal
import threading


class Interrupts:
    """Context in which SIGINT is deferred while ``held``, so that no step of the optimizer or epoch's end is half done.

    A second SIGINT is not deferred. Where the program has a handler of its own, or this is not the main thread, which
    alone is sent signals, nothing is changed.
    """

    def __init__(self):
        self.held = self._came = False
        self._installs = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )

    def __enter__(self) -> Interrupts:
        if self._installs:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exception) -> None:
        if self._installs:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.release()  # where another exception ends what was held

    def _handle(self, number, frame) -> None:
        if self.held and not self._came:
            self._came = True
        else:
            raise KeyboardInterrupt

    def release(self) -> None:
        """Raise a deferred SIGINT, and defer no more.

        Raises
        ------
        KeyboardInterrupt
            If a signal came while ``held``.
        """
        self.held = False
        if self._came:
            self._came = False
            raise KeyboardInterrupt
