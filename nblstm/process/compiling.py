"""Who is told that a kernel is about to be compiled, since none is stored: that takes up to some seconds."""

from __future__ import annotations

from collections.abc import Callable

#: What shows it on a terminal, while it has something to show there.
listeners: list[Callable[[], None]] = []


def announce() -> None:
    """Tell the listeners; a compiler calls this before it begins."""
    for listener in tuple(listeners):
        listener()
