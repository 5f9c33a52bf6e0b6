"""nblstm and its peers, side by side: ``python -m benchmarks.peers --help``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.peers import markdown, program_times, startup, tables
from benchmarks.peers.options import options
from benchmarks.peers.processes import Contest
from benchmarks.peers.programs import PROGRAMS
from benchmarks.peers.zoo import zoo

CELLS = ("lstm", "gru", "rnn")

#: Kinds of work that are tables, by their names on the command line.
KINDS = {**tables.KINDS, "zoo": zoo, "options": options}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=(__doc__ or "").replace("``", ""))
    kinds = [*KINDS, "startup", "programs"]
    contenders = ["nblstm", "nblstm_torch", "nblstm_onnx", *tables.PEERS, "torchrecurrent", *program_times.PEERS]
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds, help="what to measure (default: all)")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS)
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS), metavar="NAME",
                        help="only these programs (default: all)")  # fmt: skip
    parser.add_argument("--shapes", nargs="+", metavar="NAME", help="only these rows (default: all)")
    parser.add_argument("--only", nargs="+", choices=contenders, default=contenders, metavar="CONTENDER",
                        help="only these contenders (default: all that are installed)")  # fmt: skip
    parser.add_argument("--python", nargs="+", action="extend", default=[], metavar="CONTENDER=PATH",
                        help="interpreter of a contender installed elsewhere, as torch=/env/bin/python")  # fmt: skip
    parser.add_argument("--threads", type=int, default=2, help="threads and cores of each contender (default: 2)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds in which all take turns (default: 7)")
    parser.add_argument("--seconds", type=float, default=0.15, help="to time each in a round, at least (default: 0.15)")
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    parser.add_argument("--json", type=Path, help="write every round's figure, in seconds or bytes, to this file")
    chosen = parser.parse_args()
    if bad := [item for item in chosen.python if item.partition("=")[0] not in contenders]:
        parser.error(f"--python got {bad[0]!r}; give CONTENDER=PATH with one of {', '.join(contenders)}")
    return chosen


def main() -> int:
    """Measure, print, and say by the exit status whether everyone computed the same."""
    chosen = arguments()
    pythons = dict(item.split("=", 1) for item in chosen.python)
    contest = Contest(pythons, chosen.threads, chosen.rounds, chosen.seconds)

    def shapes(available: dict):
        return [shape for name, shape in available.items() if not chosen.shapes or name in chosen.shapes]

    sections, record = [], []
    for kind in chosen.kinds:
        for table in KINDS[kind](shapes, chosen.cells) if kind in KINDS else ():
            rows = [row.among(chosen.only) for row in table.rows]
            results = []
            for row in rows:
                begin = time.perf_counter()
                results.append(contest.memory(row) if kind == "memory" else contest.times(row))
                print(f"{table.title}: {row.shape.name}, {time.perf_counter() - begin:.0f} s", file=sys.stderr)
                record.append({"kind": kind, "title": table.title, **row.shape._asdict(), "rounds": results[-1]})
            if any(results):
                sections.append(markdown.section(table, results))
        if kind == "startup":
            results = startup.measure(contest, chosen.only)
            record.append({"kind": kind, "rounds": results})
            sections.append(startup.section(results))
        if kind == "programs":
            results = program_times.measure(contest, chosen.programs, chosen.only)
            record.append({"kind": kind, "rounds": results})
            sections += program_times.sections(results)
    contest.close()

    machine = markdown.machine(chosen.threads, contest.cpus, chosen.rounds, chosen.seconds, contest.versions)
    text = "\n".join([*sections, machine])
    print(text)
    if chosen.output:
        chosen.output.write_text(text)
    if chosen.json:
        chosen.json.write_text(json.dumps({"versions": contest.versions, "rows": record}, indent=1))
    for failure in contest.failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return bool(contest.failures)


if __name__ == "__main__":
    sys.exit(main())
