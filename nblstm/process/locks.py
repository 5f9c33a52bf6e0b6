"""Locks that a forked child finds open, whoever held them in the parent, and a sequence lock made of one.

Each lock is Python's own, re-entrant and made in C, which is why

- a signal's handler that computes while its own thread holds one does not wait for ever;
- an exception that a handler raises cannot come between taking one by ``with`` and the block that gives it back: Python
  looks for signals behind calls, at jumps backwards and where functions begin, and none of these is there before the
  block. (CPython 3.14 has such a place until its issue 148874 is mended.) Nothing else may be done with a lock: between
  ``acquire()`` and ``try`` there is one in every version, and in an ``__enter__`` written in Python are many;
- gevent and eventlet, which replace `threading.Lock`, have no part in it: to them all greenlets of a thread are one
  holder. Nothing that is done under a lock lets another greenlet run.
"""

from __future__ import annotations

import os
import weakref
from _thread import RLock
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

#: Weak references to all that there are. A tuple of them is made in one operation, and each goes by one, in C, as
#: `memory` says.
_made: dict[weakref.ref[RLock], None] = {}


def lock() -> RLock:
    """A lock; what it guards has to be whole whenever a thread may stop for good."""
    made = RLock()
    _made[weakref.ref(made, _made.pop)] = None
    return made


def _open_all() -> None:
    for known in tuple(_made):
        made = known()
        if made is not None:
            made._at_fork_reinit()  # type: ignore[attr-defined]  # as the standard library does with its own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_all)


class SequenceLock:
    """Lets many read what one writes: readers take no lock, and read again if something was written meanwhile.

    A writer counts before and after. A reader compares the counts before and after; only where they tell of a writer
    does it read once more, under the lock.
    """

    def __init__(self):
        self._begun = self._ended = 0
        self.lock = lock()

    @contextmanager
    def writing(self):
        """``with sequence_lock.writing():`` all that is written within changes at one moment."""
        with self.lock:
            self._begun += 1
            try:
                yield
            finally:
                self._ended += 1

    def read(self, function: Callable[..., Any], *arguments) -> Any:
        """Return ``function(*arguments)``, which sees all that a writer wrote or nothing of it."""
        ended = self._ended
        found = function(*arguments)
        if self._begun == ended:
            return found
        with self.lock:
            return function(*arguments)
