"""Worker threads for kernels that come in independent parts.

A kernel is a C function ``kernel(arguments, part)``; `run` calls it for every part. No two parts write the same number
and no number is a sum over parts, so results have the same bits for any number of threads.

Workers are threads of the system that run compiled code only, and Python does not know of them, so they never wait for
the GIL: a worker that had to take it between two kernels could be refused it for ever, as the caller gives it up only
for kernels shorter than the time in which a sleeping thread wakes (a step of H = 256 then took 31 us instead of 17, for
as long as the loop ran). After a kernel they watch for the next one, as consecutive layers, segments and calls follow
soon: 25 us without a break, then about 200 us in which whoever else wants the core has it, then they sleep until they
are woken. To a kernel that follows in that time, all threads together add about 2 us. The calling thread takes parts
too, so nothing waits for a worker that has not woken. While one Python thread has the workers, others do all of their
parts themselves.

Who has the workers is decided in compiled code as well, and so is everything else that a launch changes: a signal's
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

from nblstm.buffers import memory, pool
from nblstm.codegen.compiler import compiled
from nblstm.codegen.intrinsics import (
    atomic_add,
    atomic_exchange_if,
    atomic_load,
    atomic_store,
    call,
    offset,
    pause,
    pointer_to,
)
from nblstm.codegen.target import inlined
from nblstm.cpu import thresholds
from nblstm.cpu.arguments import Launch, address
from nblstm.process.uninterrupted import uninterrupted

# Shared memory of the workers, int64 by index. What threads change lies on cache lines of its own, so that they do not
# slow each other.
OPEN = 0  # number of the launch that is under way, 0 for none, -1 for the end of all workers
INSIDE = 8  # workers that are taking parts
NEXT = 16  # the next part to be taken
KERNEL, ARGUMENTS, PARTS, LAUNCH = 24, 25, 26, 27  # of the last launch, and its number
BUSY = 32  # 1 while a Python thread has the workers
LEFT = 40  # workers that have ended
COUNT, READ, WRITE, GIVE_WAY = 48, 49, 50, 51  # never changed: how many workers there are, and `_system`
WORKERS, LINE = 56, 8  # the first worker's line; numbers of a line

# A worker's line.
ASLEEP = 0  # 1 while it sleeps on its pipe
READ_END, WRITE_END, SHARED = 1, 2, 3  # never changed: the pipe, and the address of the shared memory
RECEIVED = 7  # where it reads the byte that wakes it

_ALONE = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_TOGETHER = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)
_END = ctypes.CFUNCTYPE(None, ctypes.c_int64)

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
    """Functions that the kernels below have in common: run all parts, take parts beside others, wake the workers."""

    @inlined
    def run_all(kernel, arguments, parts):
        for part in range(parts):
            call(kernel, (arguments, part))

    @inlined
    def take_parts(shared):
        """Take parts of the open launch, one after another, until all are taken."""
        part = atomic_add(offset(shared, NEXT), 1)
        while part < shared[PARTS]:
            call(shared[KERNEL], (shared[ARGUMENTS], part))
            part = atomic_add(offset(shared, NEXT), 1)

    @inlined
    def wake(shared):
        """Write a byte into the pipe of every worker that sleeps; only one thread writes it."""
        for worker in range(shared[COUNT]):
            own = offset(shared, WORKERS + worker * LINE)
            if atomic_load(own) == 1 and atomic_exchange_if(own, 1, 0):
                call(shared[WRITE], (own[WRITE_END], own, 1))

    return run_all, take_parts, wake


@cache
def _functions():
    """Compile: run all parts alone, run them with the workers, end the workers, be one. ctypes releases the GIL."""
    return uninterrupted(_compiled)  # all of it: Numba's types have finalisers in Python, see `memory`


def _compiled():
    cell, size = types.CPointer(types.int64), types.int64
    SPINS, YIELDS = thresholds.WORKER_SPINS, thresholds.WORKER_YIELDS

    def make_alone():
        run_all = _shared()[0]

        def run_alone(kernel, arguments, parts):
            run_all(kernel, arguments, parts)

        return run_alone, types.void(size, size, size)

    def make_worker():
        take_parts = _shared()[1]

        def worker(own):
            """Take part in launches, each open under a number of its own, until the number is negative."""
            shared = pointer_to(own[SHARED], types.int64)
            last = waited = 0
            number = atomic_load(offset(shared, OPEN))
            while number >= 0:
                if number != 0 and number != last:
                    # Enter, then look again: the caller closes, then looks whether anyone is inside.
                    atomic_add(offset(shared, INSIDE), 1)
                    if atomic_load(offset(shared, OPEN)) == number:
                        last, waited = number, 0
                        take_parts(shared)
                    atomic_add(offset(shared, INSIDE), -1)
                elif waited < SPINS:
                    pause()
                    waited += 1
                elif waited < SPINS + YIELDS:
                    call(shared[GIVE_WAY], ())
                    waited += 1
                else:
                    # Fall asleep, but look again before: the caller opens, then looks who sleeps.
                    atomic_store(own, 1)
                    number = atomic_load(offset(shared, OPEN))
                    if number == 0 or number == last:
                        call(shared[READ], (own[READ_END], offset(own, RECEIVED), 1))
                    atomic_exchange_if(own, 1, 0)
                    waited = 0
                number = atomic_load(offset(shared, OPEN))
            atomic_add(offset(shared, LEFT), 1)  # the last that it does with the shared memory

        return worker, types.void(cell)

    def make_together():
        run_all, take_parts, wake = _shared()

        def run_together(shared, kernel, arguments, parts):
            """Run all parts on the calling thread and the workers, or alone while another Python thread has them."""
            if not atomic_exchange_if(offset(shared, BUSY), 0, 1):
                run_all(kernel, arguments, parts)
                return
            # Open the launch under a number, take parts of it, close it.
            number = shared[LAUNCH] + 1
            shared[KERNEL], shared[ARGUMENTS], shared[PARTS], shared[LAUNCH] = kernel, arguments, parts, number
            atomic_store(offset(shared, NEXT), 0)
            atomic_store(offset(shared, OPEN), number)
            wake(shared)
            take_parts(shared)
            atomic_store(offset(shared, OPEN), 0)
            # Wait until no worker is in the middle of a part.
            waited = 0
            while atomic_load(offset(shared, INSIDE)) != 0:
                if waited < SPINS:
                    pause()
                    waited += 1
                else:  # a worker lost its core: let it have this one
                    call(shared[GIVE_WAY], ())
            atomic_store(offset(shared, BUSY), 0)

        return run_together, types.void(cell, size, size, size)

    def make_end():
        wake = _shared()[2]

        def end(shared):
            """End the workers after the launch under way, and wait until all are gone; nobody has them again."""
            while not atomic_exchange_if(offset(shared, BUSY), 0, 1):
                call(shared[GIVE_WAY], ())
            atomic_store(offset(shared, OPEN), -1)
            wake(shared)
            while atomic_load(offset(shared, LEFT)) < shared[COUNT]:
                call(shared[GIVE_WAY], ())

        return end, types.void(cell)

    return (
        _ALONE(compiled("threads_run_alone", "", make_alone)),
        _TOGETHER(compiled("threads_run_together", "", make_together)),
        _END(compiled("threads_end", "", make_end)),
        compiled("threads_worker", "", make_worker),
    )


def prepare() -> None:
    """Compile, or load from the cache, what every kernel is launched with."""
    _functions()


class _Workers:
    """Worker threads, as many of ``count`` as the system gives, and the memory that they share with the caller."""

    def __init__(self, count: int):
        self._run_together, self._end, worker = _functions()[1:]
        self._memory = memory.zeros((WORKERS + max(1, count) * LINE,), np.int64)
        self._address = address(self._memory)
        self._memory[READ : GIVE_WAY + 1] = _system()
        self._pipes: list[tuple[int, int]] = []
        for k in range(count):
            try:
                pipe = os.pipe()
            except OSError:  # as many files as a process may have
                break
            line = WORKERS + k * LINE
            self._memory[line + READ_END : line + SHARED + 1] = *pipe, self._address
            if _start(worker, self._address + 8 * line) == _NONE_STARTED:  # as many threads, or as much memory
                _close(pipe)
                break
            self._pipes.append(pipe)
        self._memory[COUNT] = len(self._pipes)
        # The workers' own reference: when the interpreter ends, Python frees what is left, and they still look at it.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))

    def run(self, kernel: int, arguments: int, parts: int) -> None:
        self._run_together(self._address, kernel, arguments, parts)

    def end(self) -> None:
        """End the workers; who would still run something does it alone."""
        self._end(self._address)
        self.forget()

    def forget(self) -> None:
        """Close the pipes of workers that are gone."""
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
_workers: _Workers | None = None  # changed in `uninterrupted` work only, one thread at a time


def most_threads() -> int:
    """Upper limit of `set_num_threads`: each thread has a pipe, and a process no more than some hundreds of them."""
    return max(64, 4 * (os.cpu_count() or 1))


def num_threads() -> int:
    """Number of threads that kernels run on: ``NBLSTM_NUM_THREADS``, else ``NUMBA_NUM_THREADS``, else all cores."""
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
        uninterrupted(_set, int(count))


def _set(count: int) -> None:
    global _threads, _workers
    if _workers is not None and count != _threads:
        ended, _workers = _workers, None
        ended.end()
    _threads = count
    pool.give_back()  # the work of passes that wait is cut for as many threads as there were


def _started() -> _Workers:
    global _workers
    if _workers is None:
        _workers = _Workers(num_threads() - 1)
    return _workers


def _after_fork() -> None:
    global _workers
    if _workers is not None:  # the child has none of the parent's threads
        _workers.forget()
    _workers = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run(kernel: int, arguments: Launch, parts: int, *, tiny: bool = False) -> None:
    """Call ``kernel(arguments, part)`` for every part, on all threads.

    Parameters
    ----------
    kernel : int
        Address of a C function.
    arguments : Launch
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
        (_workers or uninterrupted(_started)).run(kernel, arguments.at, parts)
