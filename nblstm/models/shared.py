"""What many threads use while others set its parameters: all of these change at one moment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from nblstm import locks


class Shared:
    """Parameters in several modules, set at one moment as those who read them see it.

    Who sets them counts, before and after. Who reads them compares the counts, before and after, and waits for
    nobody: only where the parameters were being set meanwhile does it read once more, with none set then.
    """

    def __init__(self):
        self._begun = self._ended = 0
        self._lock = locks.lock()

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickle: all but the lock and the counts."""
        return {name: value for name, value in vars(self).items() if name not in ("_begun", "_ended", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Shared.__init__(self)
        vars(self).update(state)

    @contextmanager
    def changing(self):
        """``with model.changing():`` the parameters of all layers change at one moment."""
        with self._lock:
            self._begun += 1
            try:
                yield
            finally:
                self._ended += 1

    def at_one_moment(self, read: Callable[[], Any]) -> Any:
        """What ``read()`` gives, with the parameters of all layers as they were at one moment."""
        ended = self._ended
        found = read()
        if self._begun == ended:
            return found
        with self._lock:
            return read()
