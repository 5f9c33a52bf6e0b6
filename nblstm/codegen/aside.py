"""A second process that compiles some kernels into the cache while this one compiles others.

Numba compiles under one lock, so threads would not help. With two cores and nothing in the cache, the first epoch of an
LSTM takes 1.6 s so and 2.6 s alone. Nothing depends on it: what the process does not deliver is compiled where it is
needed.
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

#: Seconds for which a kernel is waited for that is not there yet: several times what any takes.
PATIENCE = 5.0

_processes: dict[str, subprocess.Popen] = {}  # by the names of the kernels that they have yet to deliver
_foreseen: dict[tuple, None] = {}  # functions with their arguments, in order and each once


def foresee(function: Callable, *arguments) -> None:
    """Call a function that compiles a kernel when this process would else wait for the second one.

    It will be needed soon, and is compiled then if nothing was waited for.
    """
    _foreseen[(function, *arguments)] = None


def begin(kernels: dict[str, tuple[Callable, tuple]]) -> None:
    """Compile kernels in a process of its own: under the name of each, a function of a module and its arguments.

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
    program += "; from nblstm.codegen.aside import main; main()"
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


def deliver(name: str, file: str) -> None:
    """Wait for a kernel that was not in the cache, if it is under way."""
    process = _processes.get(name)
    if process is None:
        return
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until and not cache.exists(file):
        call = _next_foreseen()
        if call is None:
            nap(0.002)
        else:
            function, *arguments = call
            function(*arguments)
    _processes.pop(name, None)


def _next_foreseen() -> tuple | None:
    """The first of the calls, which is then this thread's alone."""
    for call in tuple(_foreseen):
        if _foreseen.pop(call, call) is None:
            return call
    return None


def _is_python(executable: str) -> bool:
    """Whether this is Python itself, not a program that has one within it and would open once more: Blender, uWSGI."""
    return re.fullmatch(r"pythonw?[\d.]*[a-z]?(_d|-\w+)?(\.exe)?", Path(executable or "").name.lower()) is not None


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _environment() -> str:
    """What must be the same in both processes for kernels of the same names."""
    return hashlib.sha256(cache.environment().encode()).hexdigest()


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait()


def main() -> None:
    """The process: compile what the command line names, in its order."""
    environment, calls = sys.argv[1:]
    if environment != _environment():  # the other has changed Numba's settings since it began
        return
    for module, function, arguments in json.loads(calls):
        getattr(import_module(module), function)(*arguments)
