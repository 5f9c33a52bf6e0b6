"""Locks that a forked child finds open, whoever held them in the parent."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

_made: weakref.WeakSet[Any] = weakref.WeakSet()


def lock() -> threading.Lock:
    """A `threading.Lock`; what it guards has to be whole whenever a thread may stop for good."""
    return _known(threading.Lock())


def reentrant_lock() -> threading.RLock:
    """The same as a `threading.RLock`."""
    return _known(threading.RLock())


def _known(made):
    _made.add(made)
    return made


def _open_all() -> None:
    for made in list(_made):
        made._at_fork_reinit()  # as the standard library does with its own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_all)
