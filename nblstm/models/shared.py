"""What many threads use while others set its parameters: all of these change at one moment."""

from __future__ import annotations

import copy
import copyreg
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from nblstm.arguments import signatures
from nblstm.process import locks


class Shared:
    """Parameters in several modules, set at one moment as those who read them see it.

    Who sets them counts, before and after. Who reads them compares the counts, before and after, and waits for
    nobody: only where the parameters were being set meanwhile does it read once more, with none set then.
    """

    def __new__(cls, *args, **kwargs):
        if kwargs:
            signatures.refuse_unknown(cls, kwargs)
        return super().__new__(cls)

    def __init__(self):
        self._begun = self._ended = 0
        self._lock = locks.lock()

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles have too: all but the lock and the counts."""
        return {name: value for name, value in vars(self).items() if name not in ("_begun", "_ended", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Shared.__init__(self)
        vars(self).update(state)

    def __deepcopy__(self, memo: dict[int, Any]):
        made, seen = self.at_one_moment(self._copied, memo)
        memo.update(seen)
        return made

    def __copy__(self):
        """With parameters of its own: were they shared, training one would change the other."""
        return copy.deepcopy(self)

    def _copied(self, memo: dict[int, Any]):
        """A deep copy, and what it has copied; ``memo`` itself stays as it is, for one more try."""
        made, seen = type(self).__new__(type(self)), dict(memo)
        seen[id(self)] = made
        made.__setstate__(copy.deepcopy(self.__getstate__(), seen))
        return made, seen

    def __reduce_ex__(self, protocol):
        """For pickle: a copy of the state, since between one layer and the next others may set parameters."""
        state = self.at_one_moment(lambda: copy.deepcopy(self.__getstate__(), {id(self): self}))
        return copyreg.__newobj__, (type(self),), state  # as `object` has it

    @contextmanager
    def changing(self):
        """``with model.changing():`` the parameters of all layers change at one moment."""
        with self._lock:
            self._begun += 1
            try:
                yield
            finally:
                self._ended += 1

    def at_one_moment(self, read: Callable[..., Any], *arguments) -> Any:
        """What ``read(*arguments)`` gives, with the parameters of all layers as they were at one moment."""
        ended = self._ended
        found = read(*arguments)
        if self._begun == ended:
            return found
        with self._lock:
            return read(*arguments)
