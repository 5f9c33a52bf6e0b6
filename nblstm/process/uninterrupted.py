"""Run a function on a native thread, where no exception of a signal's handler can end it half-way.

Python runs the handlers of signals in the main thread, between any two of its instructions, and an exception that one
raises, be it `KeyboardInterrupt` or a time limit, ends whatever stands there. Numba and LLVM do not bear that: locks
stay shut, and what was half compiled is known by an address of 0. On another thread the function runs to its end,
while the main thread leaves with the exception; the next caller that needs the result waits for it.
"""

from __future__ import annotations

import atexit
import os
import weakref
from _queue import SimpleQueue
from _thread import RLock
from collections.abc import Callable
from contextvars import copy_context
from importlib.machinery import BuiltinImporter
from importlib.util import module_from_spec
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def _own_threads() -> Any:
    """The module `_thread` as Python has it: gevent and eventlet put greenlets into the one that is imported."""
    spec = BuiltinImporter.find_spec("_thread")
    assert spec is not None
    module = module_from_spec(spec)
    BuiltinImporter.exec_module(module)
    return module


_threads = _own_threads()

#: Held while a function runs, one at a time: Numba compiles under a lock of its own anyway.
_running = RLock()

# A fork waits until nothing runs, so that no lock of Numba's stays shut in the child. So does the end of the
# interpreter: the C library's would clear away what LLVM is using.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_running.acquire, after_in_parent=_running.release, after_in_child=_running.release)


@atexit.register
def _wait() -> None:
    with _running:
        pass


class _Alive:
    """Held by a thread's arguments: it is freed when the thread ends, or could not begin."""


def uninterrupted(function: Callable[..., _Result], *arguments) -> _Result:
    """Call a function on another thread, which costs 0.1 ms, or on the calling one where none can be started.

    Signals interrupt only the waiting for it. A call within such a function runs on the same thread.

    Parameters
    ----------
    function : callable
    *arguments

    Returns
    -------
    object
        What the function returns; what it raises is raised.
    """
    if not _running._is_owned():  # type: ignore[attr-defined]
        results: SimpleQueue = SimpleQueue()
        alive = _Alive()
        # A callback written in C, see `memory`: under a memory limit a thread may end before its first instruction.
        gone = weakref.ref(alive, results.put)
        try:
            context = copy_context()  # what NumPy does about floating-point errors, custom objects' names
            _threads.start_new_thread(_work, (alive, results, context.run, (function, *arguments)))
        except (RuntimeError, MemoryError):  # as many threads, or as much memory, as the system allows
            results.put(gone)
        del alive
        came = results.get()
        if came is not gone:
            result, error = came
            if error is None:
                return result
            try:
                raise error
            finally:
                del error, came  # the error knows this frame
    with _running:
        return function(*arguments)


def _work(alive: _Alive, results: SimpleQueue, function: Callable, arguments: tuple) -> None:
    try:
        with _running:
            result = function(*arguments)
    except BaseException as error:
        results.put((None, error))
    else:
        results.put((result, None))


def nap(seconds: float) -> None:
    """Sleep without letting another greenlet run, as `time.sleep` may, which could want a lock that this one holds."""
    lock = _threads.allocate_lock()
    lock.acquire()
    lock.acquire(timeout=seconds)  # nobody releases it: this waits for the timeout
