"""Listeners that are told before a kernel is compiled, since none is stored: that takes up to some seconds."""

from __future__ import annotations

from collections.abc import Callable

#: Called before a compilation: progress bars, while there is one on a terminal.
listeners: list[Callable[[], None]] = []


def announce() -> None:
    """Tell the listeners; a compiler calls this before it begins."""
    for listener in tuple(listeners):
        listener()
