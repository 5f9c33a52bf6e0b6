"""Figures as Markdown."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path

from benchmarks.peers.tables import Row, Table

Results = dict[str, list[float]]


def significant(value: float) -> str:
    """Three significant digits, never in scientific notation."""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def figure(values: list[float], unit: float) -> str:
    """Median and spread: half the distance between the quartiles, in percent of the median."""
    median = statistics.median(values)
    if len(values) < 2:
        return significant(median * unit)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{significant(median * unit)} ±{50 * (high - low) / median:.0f} %"


def line(fields) -> str:
    """One row of a table."""
    return "| " + " | ".join(fields) + " |"


def grid(head: list[str], rows: list[list[str]]) -> list[str]:
    """A table: first column to the left, others to the right."""
    return [line(head), line(["---"] + ["---:"] * (len(head) - 1)), *map(line, rows)]


def ratios(table: Table, row: Row, results: Results) -> dict[str, float]:
    """The ratios of a row whose entrants were all measured."""
    medians = {label: statistics.median(values) for label, values in results.items() if values}
    found = {}
    for name, ratio in table.ratios.items():
        try:
            found[name] = ratio(row, medians)
        except (KeyError, ValueError):  # an entrant is absent
            continue
    return found


def section(table: Table, results: list[Results]) -> str:
    """A table with its title, note, and geometric means."""
    entered = dict.fromkeys(entrant.label for row in table.rows for entrant in row.entrants)
    labels = [label for label in entered if any(label in result for result in results)]
    unit, name = (1e-6, "MB") if table.kind == "memory" else (1e3, "ms")
    found = [ratios(table, row, result) for row, result in zip(table.rows, results, strict=True)]
    columns = [name for name in table.ratios if any(name in ratio for ratio in found)]
    rows = []
    for row, result, ratio in zip(table.rows, results, found, strict=True):
        measured = [figure(result[label], unit) if result.get(label) else "-" for label in labels]
        derived = [f"**{ratio[column]:.2f}**" if column in ratio else "-" for column in columns]
        rows.append([row.shape.name, *map(str, row.shape[1:]), *measured, *derived])
    if len(rows) > 1 and columns:
        means = [f"**{statistics.geometric_mean([r[c] for r in found if c in r]):.2f}**" for c in columns]
        rows.append(["geometric mean", *[""] * (4 + len(labels)), *means])
    head = ["shape", "T", "B", "I", "H", *(f"{label}, {name}" for label in labels), *columns]
    return "\n".join([f"### {table.title}", "", table.note, "", *grid(head, rows), ""])


def machine(threads: int, cpus: list[int], rounds: int, seconds: float, versions: dict[str, str]) -> str:
    """What the figures were taken on."""
    cpuinfo = Path("/proc/cpuinfo")
    named = [text for text in cpuinfo.read_text().splitlines() if "model name" in text] if cpuinfo.exists() else []
    model = named[0].partition(":")[2].strip() if named else platform.processor() or platform.machine()
    how = (
        f"float32; medians of {rounds} rounds in which the contenders take turns, each timed for {seconds} s in a "
        "process of its own; ± is half the distance between the quartiles of the rounds"
    )
    rows = [
        ["CPU", f"{model}, {os.cpu_count()} logical CPUs; {threads} threads on CPUs {', '.join(map(str, cpus))}"],
        ["system", f"{platform.system()} {platform.release()}, Python {platform.python_version()}"],
        ["versions", ", ".join(f"{name} {version}" for name, version in versions.items())],
        ["date", time.strftime("%Y-%m-%d")],
        ["method", how],
    ]
    return "\n".join([*grid(["machine", ""], rows), ""])
