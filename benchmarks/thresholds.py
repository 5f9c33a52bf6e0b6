"""Measure a tuning threshold of the CPU again: the same calls with its value and with others.

    python -m benchmarks.thresholds            # names
    python -m benchmarks.thresholds SERIAL_WORK

Each value has a process of its own, as kernels are compiled with it, and processes take turns. Times are medians, in
microseconds. The values are the one in `nblstm/cpu/thresholds.py`, marked, and those that decide the other way.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import numpy as np

from benchmarks.shapes import SHAPES, Shape
from nblstm.cpu import thresholds

ROUNDS, SECONDS = 3, 0.5
ALWAYS = 10**12


class Case(NamedTuple):
    """Calls on whose speed a threshold decides.

    Attributes
    ----------
    call : {"infer", "train", "pack"}
    shapes : tuple of Shape
        On both sides of the threshold.
    others : tuple of int
        Values beside the present one.
    nonzeros : int or None
        Of each row of the input; None for all.
    """

    call: str
    shapes: tuple[Shape, ...]
    others: tuple[int, ...]
    nonzeros: int | None = None


def shape(T: int, B: int, I: int, H: int) -> Shape:
    return Shape(f"T={T} B={B} I={I} H={H}", T, B, I, H)


SEQUENCES = tuple(SHAPES[name] for name in ("mnist", "chargen", "mid"))

CASES = {
    "SERIAL_WORK": Case("infer", (shape(1, 8, 64, 64), shape(1, 16, 64, 64), shape(1, 32, 64, 64)), (0, ALWAYS)),
    "SERIAL_WORK_FEW_ROWS": Case("infer", (shape(1, 1, 128, 128), shape(1, 1, 160, 160)), (0, ALWAYS)),
    "SERIAL_WORK_GRADIENTS": Case("train", (shape(1, 1, 256, 256), shape(1, 1, 512, 512)), (0, ALWAYS)),
    "SERIAL_COPY": Case("pack", (shape(20, 16, 64, 1), shape(40, 16, 64, 1)), (0, ALWAYS)),
    "ROWS_PER_THREAD": Case("infer", tuple(shape(100, B, 128, 256) for B in (2, 6, 8, 12)), (1, 16)),
    "SHARED_STEP_WORK": Case("infer", (shape(1000, 1, 64, 64), shape(300, 1, 96, 96)), (0, ALWAYS)),
    "PREACTIVATIONS_AHEAD": Case("infer", SEQUENCES, (32_768, 524_288)),
    "ROWS_AHEAD": Case("infer", (SHAPES["large"], SHAPES["xl"]), (32, 512)),
    "BPTT_SEGMENT_ROWS": Case("train", SEQUENCES, (256, 4096)),
    "WEIGHT_GRADIENT_ROWS": Case("train", SEQUENCES, (64, 128, 192)),
    "COPY_PARTS_PER_THREAD": Case("pack", (shape(64, 64, 256, 1),), (1, 16)),
    "WORKER_SPINS": Case("infer", (SHAPES["stream1_h256"], SHAPES["stream1_h512"]), (10, 10_000)),
    "WORKER_YIELDS": Case("infer", (SHAPES["stream1_h256"], SHAPES["stream1_h512"]), (0, 5000)),
    "TAKEOVER_SPINS": Case("infer", (SHAPES["seq100_b1_h128"], SHAPES["seq100_b1_h512"]), (10, 10_000)),
    "SPARSE_COST": Case("infer", (shape(40, 1, 103, 128), shape(40, 128, 103, 128)), (1, ALWAYS), nonzeros=8),
    "SPARSE_COST_OF_COLUMNS": Case("infer", (shape(40, 1, 103, 16), shape(40, 128, 103, 16)), (0, ALWAYS), nonzeros=3),
}  # fmt: skip


def measure(name: str, value: int) -> None:
    """Print the median time of each call of a case, with a value of its threshold."""
    setattr(thresholds, name, value)
    case = CASES[name]
    for T, B, I, H in (each[1:] for each in case.shapes):
        call = _call(case, T, B, I, H)
        times = []
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end or len(times) < 5:
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
        print(1e6 * statistics.median(times))


def _call(case: Case, T: int, B: int, I: int, H: int):
    import nblstm
    from nblstm.cpu.arrays import HostBatch

    generator = np.random.default_rng(0)
    x = generator.standard_normal((T, B, I), np.float32)
    if case.nonzeros is not None:
        x[generator.random(x.shape).argsort(axis=-1) >= case.nonzeros] = 0
    if case.call == "pack":
        batch = HostBatch(T, B, generator.integers(T // 2, T, B))
        return lambda: batch.unpack(batch.pack(x))
    net = nblstm.nn.LSTM(I, H, seed=0)
    if case.call == "infer":
        net(x)
        return lambda: net(x)
    dy = generator.standard_normal((T, B, H), np.float32)

    def train():
        net.backward(net.forward(x)[2], dy)

    train()
    return train


def _times(name: str, value: int, folder: str) -> list[float]:
    """Times of the calls of a case, from a process of its own, with kernels in a folder of its own."""
    code = f"from benchmarks.thresholds import measure; measure({name!r}, {value})"
    environment = os.environ | {"NBLSTM_CACHE_DIR": folder}
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def main() -> None:
    """Measure the threshold that the command line names; without one, print the names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.thresholds", description=__doc__.split("\n")[0])
    parser.add_argument("name", nargs="?", choices=CASES, help="the threshold; without one, the names are printed")
    name = parser.parse_args().name
    if name is None:
        print(*CASES, sep="\n")
        return
    present = getattr(thresholds, name)
    values = sorted([present, *CASES[name].others])
    with tempfile.TemporaryDirectory() as folder:
        rounds = [[_times(name, value, f"{folder}/{value}") for value in values] for _ in range(ROUNDS)]
    medians = np.median(rounds, axis=0)
    print(f"{'':32}", *(f"{'* ' * (value == present) + str(value):>14}" for value in values))
    for each, row in zip(CASES[name].shapes, medians.T, strict=True):
        print(f"{each.name:32}", *(f"{microseconds:14.1f}" for microseconds in row))


if __name__ == "__main__":
    main()
