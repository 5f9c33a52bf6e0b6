"""How long whole processes take from their start to a first LSTM result, and what imports cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

from benchmarks.peers.markdown import figure, grid
from benchmarks.peers.processes import ROOT, Contest

#: Row of the table -> (contender, whether its cache of compiled kernels is empty).
STARTS = {
    "numba": ("numba", False),
    "nblstm": ("nblstm", False),
    "nblstm, nothing compiled": ("nblstm", True),
    "torch": ("torch", False),
    "onnxruntime": ("onnxruntime", False),
    "jax": ("jax", False),
    "keras": ("keras", False),
}


def measure(contest: Contest, only: list[str]) -> dict[str, dict[str, list[float]]]:
    """Seconds of each import, and from process start to first result, by row."""
    results: dict[str, dict[str, list[float]]] = {}
    rows = {name: start for name, start in STARTS.items() if start[0] in (*only, "numba")}
    for number in range(contest.rounds + 1):
        for name, (contender, empty) in list(rows.items()):
            moments = _process(contest, contender, empty)
            if moments is None:
                del rows[name]
            elif number:  # the round before the first fills caches, of files and of kernels
                for moment, seconds in moments.items():
                    results.setdefault(name, {}).setdefault(moment, []).append(seconds)
    return results


def _process(contest: Contest, contender: str, empty: bool) -> dict[str, float] | None:
    python = contest.pythons.get("nblstm" if contender == "numba" else contender, sys.executable)
    cpus = ",".join(map(str, contest.cpus))
    command = [python, "-m", "benchmarks.peers.first_result", contender, str(contest.threads), cpus]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | ({"NBLSTM_CACHE_DIR": folder} if empty else {})
        begin = time.time()
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{contender} is left out: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    moments = json.loads(done.stdout.splitlines()[-1])
    figures = {"import": moments["imported"] - moments["began"]}
    return figures | ({"first result": moments["result"] - begin} if "result" in moments else {})


def section(results: dict[str, dict[str, list[float]]]) -> str:
    """The table."""
    rows = [
        [name, *(figure(moments[moment], 1) if moment in moments else "-" for moment in ("import", "first result"))]
        for name, moments in results.items()
    ]
    note = "Whole processes: the import alone, and from the process's start to its first result of an LSTM, H = 128."
    head = ["", "import, s", "process start to first result, s"]
    return "\n".join(["### Start", "", note, "", *grid(head, rows), ""])
