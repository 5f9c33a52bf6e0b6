"""Work that no exception of a signal's handler can stop half-way.

Python runs the handlers of signals in the main thread, between any two of its instructions, and an exception that one
raises, be it `KeyboardInterrupt` or a time limit, ends whatever stands there. Numba and LLVM do not bear that: locks
stay shut, and what was half compiled is known by an address of 0. On a thread of its own such work goes on to its end,
while the main thread leaves with the exception; who needs the result next waits for the rest.
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

#: One such work at a time: Numba compiles under a lock of its own anyway.
_turn = RLock()

# A fork waits until nobody works, so that no lock of Numba's stays shut in the child. So does the end of the
# interpreter: the C library's would clear away what LLVM is using.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_turn.acquire, after_in_parent=_turn.release, after_in_child=_turn.release)


@atexit.register
def _wait() -> None:
    with _turn:
        pass


class _Mark:
    """Goes with the arguments of a thread, when it ends or could not begin."""


def undisturbed(function: Callable[..., _Result], *arguments) -> _Result:
    """Call a function on a thread of its own, 0.1 ms away, or on the calling one where none can be started.

    Only the waiting for it is interrupted by signals. Within such work, more of it is done on the same thread.

    Parameters
    ----------
    function : callable
    *arguments

    Returns
    -------
    object
        What the function returns; what it raises is raised.
    """
    if not _turn._is_owned():  # type: ignore[attr-defined]
        results: SimpleQueue = SimpleQueue()
        mark = _Mark()
        # A callback written in C, see `memory`: under a memory limit a thread may end before its first instruction.
        gone = weakref.ref(mark, results.put)
        try:
            context = copy_context()  # what NumPy does about floating-point errors, custom objects' names
            _threads.start_new_thread(_work, (mark, results, context.run, (function, *arguments)))
        except (RuntimeError, MemoryError):  # as many threads, or as much memory, as the system allows
            results.put(gone)
        del mark
        came = results.get()
        if came is not gone:
            result, error = came
            if error is None:
                return result
            try:
                raise error
            finally:
                del error, came  # the error knows this frame
    with _turn:
        return function(*arguments)


def _work(mark: _Mark, results: SimpleQueue, function: Callable, arguments: tuple) -> None:
    try:
        with _turn:
            result = function(*arguments)
    except BaseException as error:
        results.put((None, error))
    else:
        results.put((result, None))


def nap(seconds: float) -> None:
    """Sleep on this thread, where `time.sleep` may let another greenlet run, which could want what this one holds."""
    shut = _threads.allocate_lock()
    shut.acquire()
    shut.acquire(timeout=seconds)
