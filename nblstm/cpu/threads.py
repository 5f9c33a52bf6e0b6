"""Threads for kernels that come in independent parts.

A kernel is a C function ``kernel(jobs, part)``; `run` calls it for every part. No two parts write the same number and
no number is a sum over parts, so results have the same bits for any number of threads.

Helpers are threads of the system that run compiled code only, and Python does not know of them, so they never wait for
the GIL: a helper that had to take it between two kernels could be refused it for ever, as the caller gives it up only
for kernels shorter than the time in which a sleeping thread wakes (a step of H = 256 then took 31 us instead of 17, for
as long as the loop ran). After a kernel they watch for the next one, as consecutive layers, segments and calls follow
soon: 25 us without a break, then about 200 us in which whoever else wants the core has it, then they sleep until they
are woken. To a kernel that follows in that time, all threads together add about 2 us. The calling thread takes parts
too, so nothing waits for a helper that has not woken. While one Python thread has the helpers, others do all of their
parts themselves.

Who has the helpers is decided in compiled code as well, and so is everything else that a launch changes: a signal's
handler, which Python runs behind the call, finds all of it done.
"""

from __future__ import annotations

import ctypes
import numbers
import os
from functools import cache

import numba
import numpy as np
from numba import types

from nblstm.buffers import memory
from nblstm.codegen.compiler import compiled
from nblstm.codegen.instructions import atomic_add, atomic_exchange_if, atomic_load, atomic_store, pause
from nblstm.codegen.pointers import call, offset, pointer_to
from nblstm.codegen.target import inlined
from nblstm.cpu.jobs import Arguments, address
from nblstm.process.undisturbed import undisturbed

# Shared memory of the pool: one cell for each on a cache line of its own, so that they do not slow each other. The last
# line before the helpers' does not change while they run: how many they are, and `_system`.
OPEN, INSIDE, NEXT, WORK, BUSY, LEFT, COUNT, HELPERS, LINE = 0, 8, 16, 24, 32, 40, 48, 56, 8
READ, WRITE, GIVE_WAY = COUNT + 1, COUNT + 2, COUNT + 3

#: What a helper's line holds behind the number that says whether it sleeps: the pipe that it sleeps on, and the pool.
READ_END, WRITE_END, POOL = 1, 2, 3

#: Rounds of waiting without a break, 25 ns each, and of giving the core away, about 0.4 us each.
SPIN, YIELD = 1000, 500

_ALONE = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_LEAD = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)
_DISMISS = ctypes.CFUNCTYPE(None, ctypes.c_int64)

#: Starts a thread of the system: Python's own way, but with a C function, and without a word to `threading`, where
#: gevent and eventlet would make it a greenlet and a thread short of memory would be waited for. -1 if it can't.
_start = ctypes.pythonapi.PyThread_start_new_thread
_start.restype, _start.argtypes = ctypes.c_ulong, [ctypes.c_void_p, ctypes.c_void_p]
_NONE_STARTED = ctypes.c_ulong(-1).value


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
def _shared():
    """Functions that the pool's have in common: take all parts, take parts beside others, wake sleeping helpers."""

    @inlined
    def take_all(kernel, jobs, parts):
        for part in range(parts):
            call(kernel, (jobs, part))

    @inlined
    def take_parts(pool):
        part = atomic_add(offset(pool, NEXT), 1)
        while part < pool[WORK + 2]:
            call(pool[WORK], (pool[WORK + 1], part))
            part = atomic_add(offset(pool, NEXT), 1)

    @inlined
    def wake(pool):
        for helper in range(pool[COUNT]):
            own = offset(pool, HELPERS + helper * LINE)
            if atomic_load(own) == 1 and atomic_exchange_if(own, 1, 0):
                call(pool[WRITE], (own[WRITE_END], own, 1))

    return take_all, take_parts, wake


@cache
def _functions():
    """The pool's compiled functions: do all parts alone, lead, dismiss the helpers, help. ctypes releases the GIL."""
    return undisturbed(_compiled)  # all of it: Numba's types have finalisers in Python, see `memory`


def _compiled():
    cell, size = types.CPointer(types.int64), types.int64

    def make_alone():
        take_all = _shared()[0]

        def alone(kernel, jobs, parts):
            take_all(kernel, jobs, parts)

        return alone, types.void(size, size, size)

    def make_help():
        take_parts = _shared()[1]

        def help(own):
            """Take part in kernels, each open under a number of its own, until the number is negative."""
            pool = pointer_to(own[POOL], types.int64)
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
                    call(pool[GIVE_WAY], ())
                    waited += 1
                else:
                    # Say so, then look again: the leader opens, then looks who sleeps.
                    atomic_store(own, 1)
                    number = atomic_load(offset(pool, OPEN))
                    if number == 0 or number == last:
                        call(pool[READ], (own[READ_END], offset(own, LINE - 1), 1))
                    atomic_exchange_if(own, 1, 0)
                    waited = 0
                number = atomic_load(offset(pool, OPEN))
            atomic_add(offset(pool, LEFT), 1)  # the last that it does with the pool's memory

        return help, types.void(cell)

    def make_lead():
        take_all, take_parts, wake = _shared()

        def lead(pool, kernel, jobs, parts):
            """Open the work under a number, do parts of it, close it, wait until all helpers have left."""
            if not atomic_exchange_if(offset(pool, BUSY), 0, 1):  # another thread of Python has the helpers
                take_all(kernel, jobs, parts)
                return
            number = pool[WORK + 3] + 1
            pool[WORK], pool[WORK + 1], pool[WORK + 2], pool[WORK + 3] = kernel, jobs, parts, number
            atomic_store(offset(pool, NEXT), 0)
            atomic_store(offset(pool, OPEN), number)
            wake(pool)
            take_parts(pool)
            atomic_store(offset(pool, OPEN), 0)
            waited = 0
            while atomic_load(offset(pool, INSIDE)) != 0:
                if waited < SPIN:
                    pause()
                    waited += 1
                else:  # a helper lost its core in the middle of a part: let it have this one
                    call(pool[GIVE_WAY], ())
            atomic_store(offset(pool, BUSY), 0)

        return lead, types.void(cell, size, size, size)

    def make_dismiss():
        wake = _shared()[2]

        def dismiss(pool):
            """Send the helpers away, after the work in progress, and wait until all are gone; nobody has them again."""
            while not atomic_exchange_if(offset(pool, BUSY), 0, 1):
                call(pool[GIVE_WAY], ())
            atomic_store(offset(pool, OPEN), -1)
            wake(pool)
            while atomic_load(offset(pool, LEFT)) < pool[COUNT]:
                call(pool[GIVE_WAY], ())

        return dismiss, types.void(cell)

    return (
        _ALONE(compiled("threads_alone", "", make_alone)),
        _LEAD(compiled("threads_lead", "", make_lead)),
        _DISMISS(compiled("threads_dismiss", "", make_dismiss)),
        compiled("threads_help", "", make_help),
    )


def prepare() -> None:
    """Compile, or load from the cache, what every kernel is launched with."""
    _functions()


class _Pool:
    """Helpers, as many as the system gives, and the memory through which they are led."""

    def __init__(self, helpers: int):
        self._lead, self._dismiss, help = _functions()[1:]
        self._memory = memory.zeros((HELPERS + max(1, helpers) * LINE,), np.int64)
        self._address = address(self._memory)
        self._memory[READ : GIVE_WAY + 1] = _system()
        self._pipes: list[tuple[int, int]] = []
        for k in range(helpers):
            try:
                pipe = os.pipe()
            except OSError:  # as many files as a process may have
                break
            line = HELPERS + k * LINE
            self._memory[line + READ_END : line + POOL + 1] = *pipe, self._address
            if _start(help, self._address + 8 * line) == _NONE_STARTED:  # as many threads, or as much memory
                _close(pipe)
                break
            self._pipes.append(pipe)
        self._memory[COUNT] = len(self._pipes)
        # The helpers' own reference: when the interpreter ends, Python frees what is left, and they still look at it.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))

    def run(self, kernel: int, jobs: int, parts: int) -> None:
        self._lead(self._address, kernel, jobs, parts)

    def end(self) -> None:
        """Send the helpers away; who would still run something does it alone."""
        self._dismiss(self._address)
        self.forget()

    def forget(self) -> None:
        """Close the pipes of helpers that are gone."""
        for pipe in self._pipes:
            _close(pipe)
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(self))


def _close(pipe: tuple[int, int]) -> None:
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
_pool: _Pool | None = None  # changed in `undisturbed` work only, one thread at a time


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

    Where the system allows fewer threads, kernels run on those that there can be, the calling one at least.

    Parameters
    ----------
    count : int
        From 1 to 64, or to four for each core if that is more.

    Raises
    ------
    ValueError
        If ``count`` is not such a number.
    """
    if isinstance(count, bool) or not isinstance(count, numbers.Integral) or not 1 <= count <= most_threads():
        raise ValueError(f"set_num_threads got {count!r}; give a number of threads from 1 to {most_threads()}")
    if count != _threads:
        undisturbed(_set, int(count))


def _set(count: int) -> None:
    global _threads, _pool
    if _pool is not None and count != _threads:
        ended, _pool = _pool, None
        ended.end()
    _threads = count


def _started() -> _Pool:
    global _pool
    if _pool is None:
        _pool = _Pool(num_threads() - 1)
    return _pool


def _after_fork() -> None:
    global _pool
    if _pool is not None:  # the child has none of the parent's threads
        _pool.forget()
    _pool = None


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
    if memory.CHECKED:
        arguments.check()
        memory.fill_freed()
    if tiny or parts < 2 or num_threads() < 2:
        _functions()[0](kernel, arguments.at, parts)
    else:
        (_pool or undisturbed(_started)).run(kernel, arguments.at, parts)
