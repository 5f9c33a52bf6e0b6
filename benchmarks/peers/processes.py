"""Contenders' processes: started, asked, and measured in rounds that take turns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.peers.tables import Entrant, Row

ROOT = Path(__file__).parents[2]

#: Largest difference from nblstm's numbers, relative to the largest of them, or absolute where that is below 1.
TOLERANCE = 1e-4


class ContenderError(Exception):
    """An entrant could not be measured; the message says why."""


def cores(count: int) -> list[int]:
    """CPUs to compute on: one on each of ``count`` cores, so that no two share a core's arithmetic."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))

    def first_sibling(cpu):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        return siblings.read_text().strip() if siblings.exists() else cpu

    by_core = {first_sibling(cpu): cpu for cpu in reversed(allowed)}
    return sorted([*by_core.values(), *(cpu for cpu in allowed if cpu not in by_core.values())][:count])


class Process:
    """A worker and the conversation with it."""

    def __init__(self, contender: str, threads: int, cpus: list[int], python: str):
        command = [python, "-m", "benchmarks.peers.worker", contender, str(threads), ",".join(map(str, cpus))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, text=True, cwd=ROOT
        )
        self.contender = contender
        hello = self._answer()
        self.absent = hello.get("absent")
        self.versions = hello.get("versions", {})

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise ContenderError(f"the process of {self.contender} ended with status {self._process.wait()}")
        return json.loads(line)

    def ask(self, do: str, **arguments) -> dict:
        """Send a request and wait for its answer.

        Before and after that the process stands still: threads of an idle onnxruntime spin on, and slowed whoever
        came next by up to 2.5 times (one step of H = 512: 173 us beside it, 70 us alone).
        """
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if self.alive():
            self._process.send_signal(signal.SIGSTOP)
        if "error" in answer:
            raise ContenderError(answer["error"])
        return answer

    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.close()
        self._process.wait()


class Contest:
    """All contenders of one run.

    Parameters
    ----------
    pythons : dict of str to str
        Interpreters of contenders that have one of their own.
    threads, rounds : int
    seconds : float
        That each entrant is timed at least, each round.
    """

    def __init__(self, pythons: dict[str, str], threads: int, rounds: int, seconds: float):
        self.pythons, self.threads, self.rounds, self.seconds = pythons, threads, rounds, seconds
        self.cpus = cores(threads)
        self.versions: dict[str, str] = {}
        self.failures: list[str] = []
        self._processes: dict[tuple[str, int], Process] = {}
        self._absent: dict[str, str] = {}

    def start(self, contender: str, threads: int) -> Process:
        """A new process; ContenderError if the contender is not installed."""
        if contender in self._absent:
            raise ContenderError(self._absent[contender])
        made = Process(contender, threads, self.cpus, self.pythons.get(contender, sys.executable))
        if made.absent:
            self._absent[contender] = made.absent
            print(f"{contender} is left out: {made.absent}", file=sys.stderr)
            raise ContenderError(made.absent)
        self.versions |= made.versions
        return made

    def process(self, entrant: Entrant) -> Process:
        """The long-lived process of an entrant."""
        key = entrant.contender, entrant.threads or self.threads
        if key not in self._processes or not self._processes[key].alive():
            self._processes[key] = self.start(*key)
        return self._processes[key]

    def installed(self, contender: str) -> bool:
        """Whether nobody has found it absent."""
        return contender not in self._absent

    def close(self) -> None:
        """End all processes."""
        for process in self._processes.values():
            process.close()

    def _fail(self, row: Row, entrant: Entrant, reason: str) -> None:
        self.fail(f"{entrant.work.cell}, {row.shape.name}, {entrant.label}, {entrant.method}", reason)

    def fail(self, place: str, reason: str) -> None:
        """Note what could not be measured, and why."""
        print(reason, file=sys.stderr)
        self.failures.append(f"{place}: {reason.strip().splitlines()[-1]}")

    def times(self, row: Row) -> dict[str, list[float]]:
        """Seconds of each entrant in each round; empty for those that were wrong or failed."""
        ready, results = self._ready(row), {}
        for _ in range(self.rounds):
            for entrant in list(ready):
                try:
                    answer = self.process(entrant).ask("measure", entrant=entrant.label, seconds=self.seconds)
                    results.setdefault(entrant.label, []).append(answer["value"])
                except ContenderError as failure:
                    self._fail(row, entrant, str(failure))
                    ready.remove(entrant)
                    results[entrant.label] = []
        for process in {self.process(entrant) for entrant in ready}:
            process.ask("release")
        return results

    def _ready(self, row: Row) -> list[Entrant]:
        """Entrants that have computed what nblstm computes. A wrong one is an error, and is not timed."""
        ready, expected = [], {}
        with tempfile.TemporaryDirectory() as folder:
            for k, entrant in enumerate(row.entrants):
                if entrant.contender in self._absent:
                    continue
                path = f"{folder}/{k}.npz"
                try:
                    process = self.process(entrant)
                    asked = {"entrant": entrant.label, "work": asdict(entrant.work), "method": entrant.method}
                    if process.ask("prepare", save=path, **asked).get("absent"):
                        continue
                    with np.load(path) as file:
                        arrays = dict(file)
                    difference = largest_difference(expected.setdefault((entrant.work, entrant.method), arrays), arrays)
                    if difference > TOLERANCE:
                        raise ContenderError(f"differs from nblstm by {difference:.1e}, more than {TOLERANCE:.0e}")
                    ready.append(entrant)
                except ContenderError as failure:
                    if entrant.contender not in self._absent:
                        self._fail(row, entrant, str(failure))
        return ready

    def memory(self, row: Row) -> dict[str, list[float]]:
        """Bytes that each entrant needs, each round in a new process."""
        results: dict[str, list[float]] = {}
        for _ in range(min(self.rounds, 3)):
            for entrant in row.entrants:
                try:
                    process = self.start(entrant.contender, self.threads)
                    try:
                        answer = process.ask("memory", work=asdict(entrant.work), method=entrant.method)
                    finally:
                        process.close()
                    if "value" in answer:
                        results.setdefault(entrant.label, []).append(answer["value"])
                except ContenderError as failure:
                    if entrant.contender not in self._absent:
                        self._fail(row, entrant, str(failure))
        return results


def largest_difference(expected: dict, arrays: dict) -> float:
    """Of any number that both have; infinite if they have none in common or shapes differ."""
    common = expected.keys() & arrays.keys()
    if expected.keys() and not common:
        return float("inf")
    worst = 0.0
    for name in common:
        a, b = expected[name], arrays[name]
        if a.shape != b.shape or not np.isfinite(b).all():
            return float("inf")
        worst = max(worst, float(np.abs(a - b).max() / max(1.0, np.abs(a).max())))
    return worst
