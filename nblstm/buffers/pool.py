"""Passes that a network keeps from call to call: their memory and kernel arguments are ready, within a budget of bytes.

To make a pass takes 50 to 300 us, to use one again 5. A pass is kept from the second use of its key on, a key being
what it depends on: the shape of the input, and whether BPTT follows. All networks of the process
share one budget; what was used longest ago goes first, and what a network has goes with the network.

There is no lock: every change is one operation of a dict or deque, which CPython does as a whole.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from itertools import count
from typing import Any, Protocol

from nblstm.buffers.memory import Spare

#: Bytes of all passes that are kept.
BUDGET = 128_000_000

#: A pass of more bytes is made anew for each use, which then takes some 20 ms. To train a cell of two gates with T=100
#: B=32 I=H=128, in a pass of 9 MB, takes 6.8 ms with a pass that is kept, and 7.4 with one that is made anew.
LARGEST = BUDGET // 4

#: Passes kept for one key, as several threads may compute at once and several tapes be alive.
COPIES = 4

#: Keys that a network remembers after their first use, before it forgets them all: some 200 bytes each.
REMEMBERED = 4096

#: Bytes of the Python objects of one pass, beside its arrays (measured with tracemalloc: 9,000 for inference through
#: one layer, 22,000 for training).
OBJECTS = 20_000

#: Bytes of a list without any.
LIST = 1000

_clock = count()
_pools: dict[weakref.ref[Pool], None] = {}  # a tuple of its keys is made in one operation; that of a WeakSet is not
_made_since = 0  # bytes made since the budget was last looked at


class Kept(Protocol):
    """An object that a `FreeList` holds."""

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        ...


class FreeList:
    """Passes of one key that wait for their next use.

    Attributes
    ----------
    used : int
        When it was last asked for a pass: larger is later.
    keeps : bool
        Whether passes come back: they are not too large.
    give, lend : callable
        ``give(made)`` takes a pass back, ``lend(made, borrower)`` when the borrower is gone; see `Spare`.
    """

    def __init__(self):
        self.used = next(_clock)
        self.keeps = True
        self._waiting = Spare(COPIES)
        self.give, self.lend = self._waiting.give, self._waiting.lend
        self._made: list[weakref.ref] = []

    def take(self) -> Any | None:
        """A pass that waits, or None; it is the caller's alone."""
        self.used = next(_clock)
        return self._waiting.take()

    def add(self, made: Kept) -> None:
        """Count a new pass, which is the caller's alone; one that is too large is not to come back."""
        if made.nbytes > LARGEST:
            self.keeps, self._waiting = False, Spare(0)
            self.give, self.lend = self._waiting.give, self._waiting.lend
            return
        self._made.append(weakref.ref(made))
        _count(made.nbytes)

    @property
    def nbytes(self) -> int:
        """Bytes of the list, and of as many passes as may wait here at once."""
        self._made = [ref for ref in self._made if ref() is not None]
        sizes = sorted((made.nbytes + OBJECTS for ref in self._made if (made := ref()) is not None), reverse=True)
        return LIST + sum(sizes[:COPIES])


def _count(nbytes: int) -> None:
    """Look at the budget when there is much that is new: it takes 0.2 us for every pass of every network."""
    global _made_since
    _made_since += nbytes + OBJECTS
    if _made_since > BUDGET // 16:
        _made_since = 0
        _keep_budget()


class Pool:
    """The passes and packed weights that one network keeps."""

    def __init__(self):
        self._lists: dict[Hashable, FreeList] = {}
        #: ``get(key)`` is the free list of a key, if it has one.
        self.get: Callable[[Hashable], FreeList | None] = self._lists.get
        self._once: dict[Hashable, None] = {}
        _pools[weakref.ref(self, _pools.pop)] = None  # a callback made in C, see `memory`

    def second(self, key: Hashable) -> FreeList | None:
        """The free list of a key that is used for the second time or more; None at the first time."""
        free = self._lists.get(key)
        if free is None:
            if key not in self._once:
                if len(self._once) >= REMEMBERED:
                    self._once.clear()
                self._once[key] = None
                return None
            free = self._lists.setdefault(key, FreeList())
        return free

    def forget(self, key: Hashable) -> None:
        """Let go of a free list; a pass in use goes with its user."""
        self._lists.pop(key, None)


def kept_bytes() -> int:
    """Bytes of the passes of all networks, those in use that may come back among them."""
    return sum(free.nbytes for _, _, free in _free_lists())


def _free_lists() -> list[tuple[Pool, Hashable, FreeList]]:
    pools = [pool for ref in tuple(_pools) if (pool := ref()) is not None]
    return [(pool, key, free) for pool in pools for key, free in tuple(pool._lists.items())]


def _keep_budget() -> None:
    """Let go of what was used longest ago, until the rest is within the budget."""
    total = kept_bytes()
    for pool, key, free in sorted(_free_lists(), key=lambda entry: entry[2].used):
        if total <= BUDGET:
            break
        total -= free.nbytes
        pool.forget(key)


def give_back() -> None:
    """Let go of all passes that wait, of every network."""
    for pool, key, _ in _free_lists():
        pool.forget(key)
