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

from nblstm.buffers import memory, pool
from nblstm.cpu import thresholds
from nblstm.cpu.arguments import Launch, address
from nblstm.cpu.kernels import launch
from nblstm.cpu.kernels.launch import COUNT, GIVE_WAY, LINE, READ, READ_END, SHARED, WORKERS
from nblstm.process.uninterrupted import uninterrupted

_ALONE = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_TOGETHER = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)
_END = ctypes.CFUNCTYPE(None, ctypes.c_int64)
_IN_TEAM = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 6)

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
def _launchers():
    """Compile, or load from the cache, the kernels of `launch`; ctypes releases the GIL while they run."""

    def made():
        alone, together = _ALONE(launch.alone_kernel()), _TOGETHER(launch.together_kernel())
        return alone, together, _END(launch.end_kernel()), launch.worker_kernel()

    return uninterrupted(made)  # all of it: Numba's types have finalisers in Python, see `memory`


def prepare() -> None:
    """Compile, or load from the cache, what every kernel is launched with."""
    _launchers()


class _Workers:
    """Worker threads, as many of ``count`` as the system gives, and the memory that they share with the caller."""

    def __init__(self, count: int):
        self._run_together, self._end, worker = _launchers()[1:]
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


class _Team:
    """The threads of an OpenMP library; see `use_openmp`."""

    def __init__(self, parallel: int, count: int):
        self._run = uninterrupted(lambda: _IN_TEAM(launch.team_kernel()))
        self._parallel, self._count, self._member = parallel, count, uninterrupted(launch.member_kernel)

    def run(self, kernel: int, arguments: int, parts: int) -> None:
        self._run(self._parallel, self._member, min(parts, self._count), kernel, arguments, parts)

    def end(self) -> None:
        """Do nothing: the threads are the library's."""

    forget = end


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
_chosen = False  # whether the user has given the number of threads
_openmp = 0  # address of a library's GOMP_parallel
_workers: _Workers | _Team | None = None  # changed in `uninterrupted` work only, one thread at a time


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
    global _chosen
    _chosen = True
    if count != _threads:
        uninterrupted(_set, int(count))


def _set(count: int, openmp: int | None = None) -> None:
    global _threads, _workers, _openmp
    openmp = _openmp if openmp is None else openmp
    if _workers is not None and (count, openmp) != (_threads, _openmp):
        ended, _workers = _workers, None
        ended.end()
    _threads, _openmp = count, openmp
    pool.give_back()  # the work of passes that wait is cut for as many threads as there were


def use_openmp(parallel: int, count: int) -> None:
    """Run kernels on the threads of an OpenMP library from now on, in place of workers of our own.

    For programs whose other work is on those threads. They watch for what comes next without a break for some
    milliseconds: workers of our own would get no core meanwhile, and a training step of 10 ms takes up to 200.

    Parameters
    ----------
    parallel : int
        Address of the library's ``GOMP_parallel``.
    count : int
        As many threads, unless the user has given a number.
    """
    chosen = _chosen or os.environ.get("NBLSTM_NUM_THREADS")
    uninterrupted(_set, num_threads() if chosen else min(count, _default_threads()), parallel)


def patience() -> int:
    """Multiple of the work from which on sharing it pays on workers of our own; see `TEAM_PATIENCE`."""
    return thresholds.TEAM_PATIENCE if _openmp else 1


def _started() -> _Workers | _Team:
    global _workers
    if _workers is None:
        _workers = _Team(_openmp, num_threads()) if _openmp else _Workers(num_threads() - 1)
    return _workers


def _after_fork() -> None:
    global _workers, _openmp
    _openmp = 0  # whose threads are gone too, and whose library waits for them for ever
    if _workers is not None:  # the child has none of the parent's threads
        _workers.forget()
    _workers = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run(kernel: int, arguments: Launch, parts: int, *, serial: bool = False) -> None:
    """Call ``kernel(arguments, part)`` for every part, on all threads.

    Parameters
    ----------
    kernel : int
        Address of a C function.
    arguments : Launch
        Its first argument.
    parts : int
    serial : bool
        The work takes less than about 20 us: do it on the calling thread.
    """
    if memory.CHECKED:
        arguments.check()
        memory.fill_freed()
    if serial or parts < 2 or num_threads() < 2:
        _launchers()[0](kernel, arguments.at, parts)
    else:
        (_workers or uninterrupted(_started)).run(kernel, arguments.at, parts)
