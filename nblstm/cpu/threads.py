"""Threads for kernels that come in independent parts.

A kernel is a C function ``kernel(jobs, part)``; `run` calls it for every part. No two parts write the same number and
no number is a sum over parts, so results have the same bits for any number of threads.

Helpers are Python threads that never leave compiled code, so they never wait for the GIL: a helper that had to take it
between two kernels could be refused it for ever, as the caller gives it up only for kernels shorter than the time
in which a sleeping thread wakes (a step of H = 256 then took 31 us instead of 17, for as long as the loop ran). After a
kernel they watch for the next one, as consecutive layers, segments and calls follow soon: 25 us without a break, then
about 200 us in which whoever else wants the core has it, then they sleep until they are woken. To a kernel that
follows in that time, all threads together add about 2 us. The calling thread takes parts too, so nothing waits for a
helper that has not woken. While one Python thread has the helpers, others do all of their parts themselves.
"""

from __future__ import annotations

import ctypes
import numbers
import os
import threading
from functools import cache

import numba
import numpy as np
from numba import types

from nblstm import memory
from nblstm.codegen.atomics import atomic_add, atomic_exchange_if, atomic_load, atomic_store, pause
from nblstm.codegen.compiler import compiled
from nblstm.codegen.pointers import call, offset
from nblstm.codegen.target import inlined
from nblstm.cpu.jobs import Arguments, address

# Shared memory of the pool: one cell for each on a cache line of its own, so that they do not slow each other.
OPEN, INSIDE, NEXT, WORK, HELPERS, LINE = 0, 8, 16, 24, 32, 8

#: What a helper's line holds: whether it sleeps, and the pipe that it sleeps on.
ASLEEP, READ_END, WRITE_END = 0, 1, 2

#: Rounds of waiting without a break, 25 ns each, and of giving the core away, about 0.4 us each.
SPIN, YIELD = 1000, 500

_ALONE = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_HELP = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_LEAD = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 8)


@cache
def _system() -> tuple[int, int, int]:
    """Addresses of the C library's read, write and sched_yield."""
    if os.name == "nt":
        library, kernel = ctypes.CDLL("msvcrt"), ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]
        functions = library._read, library._write, kernel.SwitchToThread
    else:
        library = ctypes.CDLL(None)
        functions = library.read, library.write, library.sched_yield
    read, write, give_way = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions)
    return read, write, give_way


@cache
def _functions():
    """The pool's compiled functions: do all parts alone, help with them, lead. ctypes releases the GIL."""
    cell, size = types.CPointer(types.int64), types.int64

    def make_alone():
        def alone(kernel, jobs, parts):
            for part in range(parts):
                call(kernel, (jobs, part))

        return alone, types.void(size, size, size)

    @inlined
    def take_parts(pool):
        part = atomic_add(offset(pool, NEXT), 1)
        while part < pool[WORK + 2]:
            call(pool[WORK], (pool[WORK + 1], part))
            part = atomic_add(offset(pool, NEXT), 1)

    def make_help():
        def help(pool, helper, read, give_way):
            """Take part in kernels, each open under a number of its own, until the number is negative."""
            own = offset(pool, HELPERS + helper * LINE)
            last = waited = 0
            number = atomic_load(offset(pool, OPEN))
            while number >= 0:
                if number != 0 and number != last:
                    # Enter, then look again: the leader closes, then looks whether anyone is inside.
                    atomic_add(offset(pool, INSIDE), 1)
                    if atomic_load(offset(pool, OPEN)) == number:
                        last, waited = number, 0
                        take_parts(pool)
                    atomic_add(offset(pool, INSIDE), -1)
                elif waited < SPIN:
                    pause()
                    waited += 1
                elif waited < SPIN + YIELD:
                    call(give_way, ())
                    waited += 1
                else:
                    # Say so, then look again: the leader opens, then looks who sleeps.
                    atomic_store(own, 1)
                    number = atomic_load(offset(pool, OPEN))
                    if number == 0 or number == last:
                        call(read, (own[READ_END], offset(own, LINE - 1), 1))
                    atomic_exchange_if(own, 1, 0)
                    waited = 0
                number = atomic_load(offset(pool, OPEN))

        return help, types.void(cell, size, size, size)

    def make_lead():
        def lead(pool, helpers, write, give_way, number, kernel, jobs, parts):
            """Open the work under a number, do parts of it, close it, wait until all helpers have left."""
            pool[WORK], pool[WORK + 1], pool[WORK + 2] = kernel, jobs, parts
            atomic_store(offset(pool, NEXT), 0)
            atomic_store(offset(pool, OPEN), number)
            for helper in range(helpers):
                own = offset(pool, HELPERS + helper * LINE)
                if atomic_load(own) == 1 and atomic_exchange_if(own, 1, 0):
                    call(write, (own[WRITE_END], own, 1))
            take_parts(pool)
            atomic_store(offset(pool, OPEN), 0)
            waited = 0
            while atomic_load(offset(pool, INSIDE)) != 0:
                if waited < SPIN:
                    pause()
                    waited += 1
                else:  # a helper lost its core in the middle of a part: let it have this one
                    call(give_way, ())

        return lead, types.void(cell, size, size, size, size, size, size, size)

    return (
        _ALONE(compiled("threads_alone", "", make_alone)),
        _HELP(compiled("threads_help", "", make_help)),
        _LEAD(compiled("threads_lead", "", make_lead)),
    )


def prepare() -> None:
    """Compile, or load from the cache, what every kernel is launched with."""
    _functions()


class _Pool:
    """Helpers, and the memory through which they are led."""

    def __init__(self, helpers: int):
        self.busy = threading.Lock()
        self.number = 0
        self.memory = memory.zeros((HELPERS + max(8, helpers * LINE),), np.int64)
        self._address = address(self.memory)
        self._read, self._write, self._give_way = _system()
        self._lead, self._helpers = _functions()[2], helpers
        self._pipes = [os.pipe() for _ in range(helpers)]
        for k, pipe in enumerate(self._pipes):
            self.memory[HELPERS + k * LINE + READ_END : HELPERS + k * LINE + WRITE_END + 1] = pipe
        self._threads = [
            threading.Thread(target=self._help, args=(k,), name=f"nblstm-{k}", daemon=True) for k in range(helpers)
        ]
        for thread in self._threads:
            thread.start()

    def _help(self, k: int) -> None:
        _functions()[1](self._address, k, self._read, self._give_way)

    def run(self, kernel: int, jobs: int, parts: int) -> None:
        self.number += 1
        self._lead(self._address, self._helpers, self._write, self._give_way, self.number, kernel, jobs, parts)

    def end(self) -> None:
        """Send the helpers away; nobody may be using the pool."""
        self.memory[OPEN] = -1
        for _, write_end in self._pipes:
            os.write(write_end, b"!")
        for thread in self._threads:
            thread.join()
        self.close()

    def close(self) -> None:
        """Close the pipes."""
        for pipe in self._pipes:
            for end in pipe:
                os.close(end)


def _default_threads() -> int:
    asked = os.environ.get("NBLSTM_NUM_THREADS", "")
    if not asked:
        return int(numba.config.NUMBA_NUM_THREADS)
    if not asked.isdigit() or not 1 <= int(asked) <= most_threads():
        raise ValueError(f"NBLSTM_NUM_THREADS is {asked!r}; set it to a number from 1 to {most_threads()}, or unset it")
    return int(asked)


_threads: int | None = None
_pool: _Pool | None = None
_starting = threading.Lock()


def most_threads() -> int:
    """How many threads may be asked for: each has a pipe, of which a process has no more than some hundreds."""
    return max(64, 4 * (os.cpu_count() or 1))


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
        From 1 to 64, or to four for each core if that is more.

    Raises
    ------
    ValueError
        If ``count`` is not such a number.
    """
    global _threads, _pool
    if isinstance(count, bool) or not isinstance(count, numbers.Integral) or not 1 <= count <= most_threads():
        raise ValueError(f"set_num_threads got {count!r}; give a number of threads from 1 to {most_threads()}")
    with _starting:
        if _pool is not None and count != _threads:
            with _pool.busy:
                _pool.end()
                _pool = None
        _threads = int(count)


def _started() -> _Pool:
    global _pool
    with _starting:
        if _pool is None:
            _pool = _Pool(num_threads() - 1)
        return _pool


def _after_fork() -> None:
    global _pool, _starting
    if _pool is not None:
        _pool.close()
    _pool, _starting = None, threading.Lock()  # the child has none of the parent's threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run(kernel: int, arguments: Arguments, parts: int, *, tiny: bool = False) -> None:
    """Call ``kernel(arguments, part)`` for every part, on all threads.

    Parameters
    ----------
    kernel : int
        Address of a C function.
    arguments : Arguments
        Its first argument.
    parts : int
    tiny : bool
        The work takes less than about 20 us: do it on the calling thread.
    """
    if not tiny and parts > 1 and num_threads() > 1:
        pool = _pool or _started()
        if pool.busy.acquire(False):
            try:
                if pool is _pool:  # else `set_num_threads` has ended it meanwhile
                    pool.run(kernel, arguments.at, parts)
                    return
            finally:
                pool.busy.release()
    _functions()[0](kernel, arguments.at, parts)
