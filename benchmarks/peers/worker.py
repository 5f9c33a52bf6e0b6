"""One contender in a process of its own: ``python -m benchmarks.peers.worker torch 2 0,1``.

Reads requests, a JSON object a line, from standard input; answers each with one line. What libraries print goes to
standard error. Between requests the driver stops it, so contenders never compute at the same time.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import statistics
import sys
import time
import traceback
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path


def pin(threads: int, cpus: list[int], backend: str = "") -> None:
    """Give this process its cores and each library its number of threads, before any is imported; Keras its backend."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)
    for name in ("OMP", "MKL", "OPENBLAS", "NBLSTM"):
        os.environ[f"{name}_NUM_THREADS"] = str(threads)
    os.environ["NPROC"] = str(threads)  # XLA's
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["JAX_PLATFORMS"] = "cpu"
    if backend:
        os.environ["KERAS_BACKEND"] = backend
    backends = [name for name in ("tensorflow", "jax", "torch") if find_spec(name)]
    os.environ.setdefault("KERAS_BACKEND", (backends or ["tensorflow"])[0])


def median_time(call, at_least: float) -> tuple[float, int]:
    """Median seconds of a call, and how many were timed, over at least this many seconds and three samples."""
    call()
    begin = time.perf_counter()
    call()
    # Calls of less than 200 us are timed several at a time: reading the clock twice costs 0.1 us.
    calls = max(1, int(200e-6 / max(time.perf_counter() - begin, 1e-9)))
    samples: list[float] = []
    gc.collect()
    gc.disable()
    try:
        begin = now = time.perf_counter()
        while now - begin < at_least or len(samples) < 3:
            for _ in range(calls):
                call()
            before, now = now, time.perf_counter()
            samples.append((now - before) / calls)
    finally:
        gc.enable()
    return statistics.median(samples), len(samples) * calls


def _status(field: str) -> int:
    """Bytes that ``/proc/self/status`` gives under a name."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def peak_memory(make, call) -> int:
    """Bytes by which this process grows at most while ``call(make())`` runs twice. Linux only."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is resident now
    before = _status("VmRSS")
    made = make()
    for _ in range(2):
        result = call(made)
        del result
    return _status("VmHWM") - before


class Worker:
    """What a request asks for: each public method is one, its arguments the request's other fields."""

    def __init__(self, contender: str, threads: int):
        self.library = contender
        self.module = import_module(f"benchmarks.peers.{contender}_")
        self.versions = self.module.start(threads)
        self.calls: dict[str, object] = {}
        self.program = None

    def _contender(self, work: dict, method: str):
        from benchmarks.peers.work import Work, data

        work = Work(**work)
        return self.module.Contender(work, data(work), "training" in method)

    def prepare(self, entrant: str, work: dict, method: str, save: str) -> dict:
        """Make ready an entrant and save what it computes."""
        import numpy as np

        if not hasattr(self.module.Contender, method):
            return {"absent": True}
        contender = self._contender(work, method)
        call = getattr(contender, method)
        for _ in range(3 if method == "step" else 1):  # the third step depends on states that were fed back
            result = call()
        np.savez(save, **contender.arrays(method, result))
        self.calls[entrant] = call
        return {}

    def measure(self, entrant: str, seconds: float) -> dict:
        """Time an entrant."""
        median, calls = median_time(self.calls[entrant], seconds)
        return {"value": median, "calls": calls}

    def memory(self, work: dict, method: str) -> dict:
        """Memory of a method beyond its data, after everything has been loaded and compiled for a tiny case."""
        from benchmarks.peers.work import Work, data

        if not hasattr(self.module.Contender, method):
            return {"absent": True}
        work, training = Work(**work), "training" in method
        tiny = self.module.Contender(work.tiny(), data(work.tiny()), training)
        for _ in range(2):
            getattr(tiny, method)()
        del tiny
        numbers = data(work)
        peak = peak_memory(lambda: self.module.Contender(work, numbers, training), lambda made: getattr(made, method)())
        return {"value": peak}

    def first_epoch(self, program: str) -> dict:
        """Begin with a program: losses of its first epoch, and what it then predicts."""
        from benchmarks.peers.programs import Running

        self.program = Running(program, self.library)
        return self.program.first_epoch() | {"predicted": self.program.predict().ravel().tolist()}

    def epoch(self) -> dict:
        """Time an epoch of the program."""
        return {"value": self.program.epoch()}

    def row(self, method: str, seconds: float) -> dict:
        """Time what the program predicts for one row."""
        median, calls = median_time(getattr(self.program, method), seconds)
        return {"value": median, "calls": calls}

    def release(self) -> dict:
        """Forget all entrants."""
        self.calls.clear()
        self.program = None
        gc.collect()
        return {}


def main() -> None:
    """Serve until standard input ends."""
    contender, threads, cpus = sys.argv[1:]
    library, _, backend = contender.partition("-")
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    pin(int(threads), [int(cpu) for cpu in cpus.split(",")], backend)
    try:
        worker = Worker(library, int(threads))
    except ImportError as error:
        print(json.dumps({"absent": str(error)}), file=answers)
        return
    print(json.dumps({"versions": worker.versions}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception:  # whatever it is, the driver shows it and goes on with the other contenders
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
