"""A background process that compiles some kernels into the cache while this one compiles others.

Numba compiles under one lock, so threads would not help. With two cores and nothing in the cache, the first epoch of an
LSTM takes 1.6 s so and 2.6 s alone. Nothing depends on it: a kernel that the process does not store is compiled where
it is needed.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from nblstm.codegen import cache
from nblstm.process.uninterrupted import nap

#: Seconds for which a kernel is waited for: several times the compile time of any.
TIMEOUT = 5.0

_processes: dict[str, subprocess.Popen] = {}  # by the names of the kernels that they have not been asked for
_queue: dict[tuple, None] = {}  # functions with their arguments, in order and each once


def compile_while_waiting(function: Callable, *arguments) -> None:
    """Call a function that compiles a kernel, soon to be needed, as soon as this process waits for another kernel.

    If it never waits, the kernel is compiled when it is needed.
    """
    _queue[(function, *arguments)] = None


def start(kernels: dict[str, tuple[Callable, tuple]]) -> None:
    """Start a process that compiles kernels: under the name of each, a function of a module and its arguments.

    Does nothing where that could not help: with one core, without a folder to hand results over, or where there is no
    interpreter to start.
    """
    frozen = getattr(sys, "frozen", False)
    if cores() < 2 or not _is_python(sys.executable) or frozen or not cache.writable():
        return
    package = str(Path(__file__).parents[2])
    calls = [(function.__module__, function.__name__, arguments) for function, arguments in kernels.values()]
    # Without garbage collections, which would take 5 % of the time and find little.
    program = f"import gc, sys; gc.disable(); sys.path.insert(0, {package!r})"
    program += "; from nblstm.codegen.background import main; main()"
    command = [sys.executable, "-c", program, _environment(), json.dumps(calls)]
    nowhere = subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    except OSError as error:  # too little memory, or not allowed: then all is compiled here
        if error.errno is None:  # a TimeoutError, say, of a signal's handler
            raise
        return
    _processes.update(dict.fromkeys(kernels, process))
    atexit.register(_end, process)


def wait_for(name: str, file: str) -> None:
    """Wait for a kernel's file, if a background process compiles it, and meanwhile make the calls of the queue."""
    process = _processes.get(name)
    if process is None:
        return
    until = time.monotonic() + TIMEOUT
    while process.poll() is None and time.monotonic() < until and not cache.exists(file):
        call = _next_call()
        if call is None:
            nap(0.002)
        else:
            function, *arguments = call
            function(*arguments)
    _processes.pop(name, None)


def _next_call() -> tuple | None:
    """Take the first call from the queue; no other thread gets it then."""
    for call in tuple(_queue):
        if _queue.pop(call, call) is None:
            return call
    return None


def _is_python(executable: str) -> bool:
    """Tell a Python from a program with a Python in it, which would open once more: Blender, uWSGI."""
    return re.fullmatch(r"pythonw?[\d.]*[a-z]?(_d|-\w+)?(\.exe)?", Path(executable or "").name.lower()) is not None


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _environment() -> str:
    """Hash of everything that must be the same in both processes for kernels to have the same names."""
    return hashlib.sha256(cache.environment().encode()).hexdigest()


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait()


def main() -> None:
    """Compile the kernels that the command line names, in its order: the program of the background process."""
    environment, calls = sys.argv[1:]
    if environment != _environment():  # the other has changed Numba's settings since it began
        return
    for module, function, arguments in json.loads(calls):
        getattr(import_module(module), function)(*arguments)
