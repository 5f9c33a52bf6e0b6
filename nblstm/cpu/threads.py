"""Threads for kernels that come in independent parts.

A kernel is a C function ``kernel(jobs, part)``; `run` calls it for every part. No two parts write the same number and
no number is a sum over parts, so results have the same bits for any number of threads.

Helpers are Python threads that live in compiled code without the GIL. After a kernel they watch for the next one
for about 30 us, as consecutive layers and segments follow at once, then sleep on a lock: to a kernel that follows
within that time, all threads together add about 2 us. The calling thread takes parts too, so nothing waits for a
helper that has not woken. While one Python thread has the helpers, others do all of their parts themselves.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from functools import cache

import numba
import numpy as np
from numba import types

from nblstm.codegen.atomics import atomic_add, atomic_load, atomic_store, pause
from nblstm.codegen.compiler import compiled
from nblstm.codegen.pointers import call, offset

# Shared memory of the pool: one cell for each on a cache line of its own, so that they do not slow each other.
OPEN, INSIDE, NEXT, WORK, CELLS = 0, 8, 16, 24, 32

#: Rounds that a helper waits for work, about 30 us.
PATIENCE = 1000

_ALONE = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_TOGETHER = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


@cache
def _functions():
    """The pool's compiled functions: do all parts alone, help with them, lead. ctypes releases the GIL."""
    cell, size = types.CPointer(types.int64), types.int64

    def make_alone():
        def alone(kernel, jobs, parts):
            for part in range(parts):
                call(kernel, (jobs, part))

        return alone, types.void(size, size, size)

    def make_help():
        def help(pool, patience):
            """Take part in kernels until none comes for a while; returns whether any did."""
            helped = 0
            waited = 0
            while waited < patience:
                if atomic_load(offset(pool, OPEN)) == 0:
                    waited += 1
                    pause()
                    continue
                # Enter, then look again: the leader closes, then looks whether anyone is inside.
                atomic_add(offset(pool, INSIDE), 1)
                if atomic_load(offset(pool, OPEN)) != 0:
                    kernel, jobs, parts = pool[WORK], pool[WORK + 1], pool[WORK + 2]
                    part = atomic_add(offset(pool, NEXT), 1)
                    while part < parts:
                        call(kernel, (jobs, part))
                        helped = 1
                        part = atomic_add(offset(pool, NEXT), 1)
                atomic_add(offset(pool, INSIDE), -1)
                waited = 0 if helped else waited + 1
                while atomic_load(offset(pool, OPEN)) != 0 and waited < patience:
                    waited += 1
                    pause()
            return helped

        return help, size(cell, size)

    def make_lead():
        def lead(pool, patience):
            """Open the work, do parts of it, close it; returns whether all helpers have left."""
            if patience >= 0:
                atomic_store(offset(pool, NEXT), 0)
                atomic_store(offset(pool, OPEN), 1)
                part = atomic_add(offset(pool, NEXT), 1)
                while part < pool[WORK + 2]:
                    call(pool[WORK], (pool[WORK + 1], part))
                    part = atomic_add(offset(pool, NEXT), 1)
                atomic_store(offset(pool, OPEN), 0)
            waited = 0
            while atomic_load(offset(pool, INSIDE)) != 0:
                pause()
                waited += 1
                if waited > 100000:  # a helper lost its core in the middle of a part: let it have this one
                    return 0
            return 1

        return lead, size(cell, size)

    alone = _ALONE(compiled("threads_alone", "", make_alone))
    return alone, *(_TOGETHER(compiled(f"threads_{name}", "", make))
                    for name, make in (("help", make_help), ("lead", make_lead)))  # fmt: skip


def prepare() -> None:
    """Compile, or load from the cache, what every kernel is launched with."""
    _functions()


class _Pool:
    """Helpers, and the memory through which they are led."""

    def __init__(self, helpers: int):
        self.memory = np.zeros(CELLS, np.int64)
        self.address = self.memory.ctypes.data
        self.busy = threading.Lock()
        self.rounds = 0
        self.asleep = [threading.Lock() for _ in range(helpers)]
        self.sleeping = [False] * helpers
        self.ending = False
        for k in range(helpers):
            self.asleep[k].acquire()
            threading.Thread(target=self._help, args=(k,), name=f"nblstm-{k}", daemon=True).start()

    def _help(self, k: int) -> None:
        help = _functions()[1]
        while not self.ending:
            seen = self.rounds
            help(self.address, PATIENCE)
            # The GIL makes this one step: no round can begin between the look and the sleep.
            if seen == self.rounds and not self.ending:
                self.sleeping[k] = True
                self.asleep[k].acquire()

    def run(self, kernel: int, jobs: int, parts: int) -> None:
        lead = _functions()[2]
        self.rounds += 1
        self.memory[WORK : WORK + 3] = kernel, jobs, parts
        self._wake()
        finished = lead(self.address, 0)
        while not finished:
            time.sleep(0)
            finished = lead(self.address, -1)

    def _wake(self) -> None:
        for k, sleeping in enumerate(self.sleeping):
            if sleeping:
                self.sleeping[k] = False
                self.asleep[k].release()

    def end(self) -> None:
        self.ending = True
        self._wake()


def _default_threads() -> int:
    asked = os.environ.get("NBLSTM_NUM_THREADS", "")
    if not asked:
        return int(numba.config.NUMBA_NUM_THREADS)
    if not asked.isdigit() or int(asked) < 1:
        raise ValueError(f"NBLSTM_NUM_THREADS is {asked!r}; set it to a number of threads, 1 or more, or unset it")
    return int(asked)


_threads: int | None = None
_pool: _Pool | None = None
_starting = threading.Lock()


def num_threads() -> int:
    """How many threads kernels run on: ``NBLSTM_NUM_THREADS``, else ``NUMBA_NUM_THREADS``, else all cores."""
    global _threads
    if _threads is None:
        _threads = _default_threads()
    return _threads


def set_num_threads(count: int) -> None:
    """Run kernels on ``count`` threads from now on; results do not change.

    Parameters
    ----------
    count : int
        1 or more.

    Raises
    ------
    ValueError
        If ``count`` is not a positive integer.
    """
    global _threads, _pool
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"set_num_threads got {count!r}; give a number of threads, 1 or more")
    with _starting:
        if _pool is not None and count != _threads:
            with _pool.busy:
                _pool.end()
                _pool = None
        _threads = count


def _started() -> _Pool:
    global _pool
    with _starting:
        if _pool is None:
            _pool = _Pool(num_threads() - 1)
        return _pool


def _after_fork() -> None:
    global _pool, _starting
    _pool, _starting = None, threading.Lock()  # the child has none of the parent's threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run(kernel: int, jobs: int, parts: int, *, tiny: bool = False) -> None:
    """Call ``kernel(jobs, part)`` for every part, on all threads.

    Parameters
    ----------
    kernel, jobs : int
        Addresses of a C function and of its first argument.
    parts : int
    tiny : bool
        The work takes less than about 20 us: do it on the calling thread.
    """
    if not tiny and parts > 1 and num_threads() > 1:
        pool = _started()
        if pool.busy.acquire(blocking=False):
            try:
                pool.run(kernel, jobs, parts)
            finally:
                pool.busy.release()
            return
    _functions()[0](kernel, jobs, parts)
