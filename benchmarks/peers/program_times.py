"""The example programs in nblstm and in Keras: an epoch, the first epoch of a new process, a prediction for one row."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.peers.markdown import figure, grid
from benchmarks.peers.processes import ROOT, ContenderError, Contest, Process
from benchmarks.peers.programs import PROGRAMS

PEERS = ("keras-jax", "keras-tensorflow")

#: Largest difference of losses and predictions from nblstm's after an epoch, relative where they are above 1.
TOLERANCE = 1e-4

#: Rounds of new processes at most: they take seconds each.
COLD_ROUNDS = 3

#: program -> what was measured -> contender -> seconds, round by round.
Results = dict[str, dict[str, dict[str, list[float]]]]


def measure(contest: Contest, programs: list[str], only: list[str]) -> Results:
    """Seconds of everything, for the contenders that are chosen and installed and compute what nblstm does."""
    results: Results = {}
    for program in programs:
        begin = time.perf_counter()
        results[program] = measured = {}
        contenders = [name for name in ("nblstm", *PEERS) if name in only]
        ready = _ready(contest, program, contenders)
        for _ in range(contest.rounds):
            for contender, process in ready.items():
                took = {"epoch": process.ask("epoch")["value"]}
                for method in ("predict", "predict_on_batch"):
                    took[method] = process.ask("row", method=method, seconds=contest.seconds)["value"]
                _add(measured, contender, took)
        for process in ready.values():
            process.close()
        for _ in range(min(contest.rounds, COLD_ROUNDS)):
            for contender in ready:
                _add(measured, contender, _new_process(contest, program, contender))
        print(f"programs: {program}, {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    return results


def _add(measured: dict[str, dict[str, list[float]]], contender: str, took: dict[str, float]) -> None:
    for what, seconds in took.items():
        measured.setdefault(what, {}).setdefault(contender, []).append(seconds)


def _ready(contest: Contest, program: str, contenders: list[str]) -> dict[str, Process]:
    """Processes that have done the first epoch, with the same losses and predictions as the first of them."""
    ready, expected = {}, None
    for contender in contenders:
        try:
            process = contest.start(contender, contest.threads)
            came = process.ask("first_epoch", program=program)
            expected = expected or came
            if (difference := _difference(expected, came)) > TOLERANCE:
                raise ContenderError(f"differs from {contenders[0]} by {difference:.1e}, more than {TOLERANCE:.0e}")
            ready[contender] = process
        except ContenderError as failure:
            if contest.installed(contender):
                contest.fail(f"{program}, {contender}", str(failure))
    return ready


def _difference(expected: dict[str, list[float]], came: dict[str, list[float]]) -> float:
    if expected.keys() != came.keys():
        return float("inf")
    pairs = [(a, b) for name in expected for a, b in zip(expected[name], came[name], strict=True)]
    return max(abs(a - b) / max(1.0, abs(a)) if b == b else float("inf") for a, b in pairs)


def _new_process(contest: Contest, program: str, contender: str) -> dict[str, float]:
    """Seconds that a new process, with no compiled kernel on disk, takes to the end of its first epoch."""
    python = contest.pythons.get(contender, sys.executable)
    cpus = ",".join(map(str, contest.cpus))
    command = [python, "-m", "benchmarks.peers.first_epoch", contender, program, str(contest.threads), cpus]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NBLSTM_CACHE_DIR": folder}
        begin = time.time()
        done = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    moments = json.loads(done.stdout.splitlines()[-1])
    return {"first epoch": moments["epoch"] - moments["imported"], "whole process": moments["epoch"] - begin}


def sections(results: Results) -> list[str]:
    """The tables, behind what the programs are."""
    about = [f"- {program}: {PROGRAMS[program].title}" for program in results]
    notes = {
        "epoch": ("An epoch of `fit`", "ms", 1e3, "After the first, validation included where the program has it."),
        "first epoch": (
            "The first epoch of a new process", "s", 1,
            "From the end of the imports to the end of the first epoch: the model is made, and everything compiled.",
        ),
        "whole process": (
            "A new process to the end of its first epoch", "s", 1,
            "From the start of the process: imports, data, the model, compiling, the epoch. No kernel is on disk.",
        ),
        "predict": ("`model.predict` of one row", "us", 1e6, "With `verbose=0`."),
        "predict_on_batch": ("`model.predict_on_batch` of one row", "us", 1e6, "The quickest way that Keras has."),
    }  # fmt: skip
    tables = [_section(results, what, *note) for what, note in notes.items()]
    return ["\n".join(["### The programs", "", *about, ""]), *tables]


def _section(results: Results, what: str, title: str, name: str, unit: float, note: str) -> str:
    shown = [c for c in ("nblstm", *PEERS) if any(c in measured.get(what, {}) for measured in results.values())]
    rows = []
    for program, measured in results.items():
        times = measured.get(what, {})
        medians = {contender: statistics.median(values) for contender, values in times.items()}
        peers = [medians[c] for c in PEERS if c in medians]
        ratio = f"**{min(peers) / medians['nblstm']:.2f}**" if peers and "nblstm" in medians else "-"
        cells = [figure(times[c], unit) if c in times else "-" for c in shown]
        rows.append([program, *cells, ratio])
    head = ["program", *(f"{contender}, {name}" for contender in shown), "fastest Keras / nblstm"]
    return "\n".join([f"### {title}", "", note, "", *grid(head, rows), ""])
