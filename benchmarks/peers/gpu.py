"""nblstm beside torch (cuDNN) on a GPU, in one process and on the same tensors: ``python -m benchmarks.peers.gpu``.

Each row: one forward pass, and one forward and backward pass with the gradients of parameters, input and states;
medians over rounds in which the contenders take turns. Results are compared before anything is timed. Needs torch
for CUDA, and the extra ``cuda``.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

import nblstm
from benchmarks.networks import peephole
from benchmarks.peers.torch_ import Peephole
from nblstm import nn
from nblstm.cuda import names, unavailable


class Row(NamedTuple):
    """What is computed; ``packed``: sequences of lengths uniform in 1..T, for torch as a PackedSequence."""

    cell: str
    T: int
    B: int
    H: int
    layers: int = 1
    bidirectional: bool = False
    packed: bool = False


ROWS = (
    [Row(cell, 1024, 16, 768, packed=packed) for cell in ("LSTM", "GRU") for packed in (False, True)]
    + [Row(cell, 256, B, H) for cell in ("LSTM", "GRU") for H in (64, 128, 256, 512, 1024) for B in (1, 16, 64, 128)]
    + [Row("LSTM", 256, 20, 256), Row("LSTM", 256, 32, 256, 2), Row("LSTM", 256, 32, 256, 1, True)]
    + [Row("GRU", 256, 32, 512, 2, True), Row("LSTM", 500, 32, 256, packed=True), Row("own", 100, 32, 128)]
)

#: torch's precisions: the dtype, and whether products of float32 may be rounded to tf32.
PRECISIONS = {
    "fp32": (torch.float32, False), "tf32": (torch.float32, True), "fp16": (torch.float16, False),
    "bf16": (torch.bfloat16, False),
}  # fmt: skip


class Contestants:
    """nblstm's network and torch's, with the same weights and inputs."""

    def __init__(self, row: Row):
        self.row = row
        options = {"num_layers": row.layers, "bidirectional": row.bidirectional}
        if row.cell == "own":
            self.ours, self.theirs = nn.Recurrent(peephole, row.H, row.H, device="cuda", seed=0), Peephole(row.H, row.H)
        else:
            self.ours = getattr(nn, row.cell)(row.H, row.H, device="cuda", seed=0, **options)
            self.theirs = getattr(torch.nn, row.cell)(row.H, row.H, **options)
        self.theirs.load_state_dict({name: torch.from_numpy(v) for name, v in self.ours.state_dict().items()})
        generator = torch.Generator(device="cuda").manual_seed(0)
        D = 1 + row.bidirectional
        self.x = torch.randn(row.T, row.B, row.H, device="cuda", generator=generator)
        self.dy = torch.randn(row.T, row.B, D * row.H, device="cuda", generator=generator)
        self.lengths = torch.randint(1, row.T + 1, (row.B,)) if row.packed else None
        if self.lengths is not None:
            self.lengths[0] = row.T

    def nblstm(self, training: bool):
        """One pass of nblstm's."""
        lengths = None if self.lengths is None else self.lengths.numpy()
        if not training:
            return self.ours(self.x, lengths=lengths)[0]
        y, _, tape = self.ours.forward(self.x, lengths=lengths)
        return y, self.ours.backward(tape, self.dy).x

    def torch(self, precision: str) -> Callable:
        """One pass of torch's, as a function of ``training``."""
        dtype, tf32 = PRECISIONS[precision]
        net = self.theirs.to("cuda", dtype)
        x, dy = self.x.to(dtype).requires_grad_(), self.dy.to(dtype)

        def forward():
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
            if self.lengths is None:
                return net(x)[0]
            packed = torch.nn.utils.rnn.pack_padded_sequence(x, self.lengths, enforce_sorted=False)
            return torch.nn.utils.rnn.pad_packed_sequence(net(packed)[0], total_length=self.row.T)[0]

        def one_pass(training: bool):
            if not training:
                with torch.inference_mode():
                    return forward()
            net.zero_grad(set_to_none=True)
            x.grad = None
            y = forward()
            y.backward(dy)
            return y.detach(), x.grad

        return one_pass


def milliseconds(one_pass: Callable, seconds: float) -> float:
    """Time of one pass, the GPU's work included, over as many passes as fit."""
    torch.cuda.synchronize()
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds or count < 3:
        one_pass()
        count += 1
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - begin) / count


def compared(row: Row, contestants: Contestants) -> str:
    """What is wrong with nblstm's results beside torch's in float32, or nothing."""
    ours, theirs = contestants.nblstm(True), contestants.torch("fp32")(True)
    for name, a, b, tolerance in zip(("y", "dx"), ours, theirs, (1e-5, 1e-4), strict=True):
        error = ((a - b).abs().max() / b.abs().max()).item()
        if not error <= tolerance:
            return f"{row}: {name} is off by {error:.1e} of the largest"
    return ""


def measured(row: Row, precisions, rounds: int, seconds: float) -> list[str]:
    """The cells of a table's row."""
    contestants = Contestants(row)
    problem = compared(row, contestants)
    if problem:
        raise ArithmeticError(problem)
    names_ = ["nblstm", *precisions]
    passes = {name: contestants.torch(name) for name in precisions if row.cell != "own" or name == "fp32"}
    passes["nblstm"] = contestants.nblstm
    texts = []
    for training in (False, True):
        times: dict[str, list[float]] = {name: [] for name in passes}
        for _ in range(rounds):
            for name, one_pass in passes.items():
                if name in PRECISIONS:
                    contestants.theirs.to("cuda", PRECISIONS[name][0])
                times[name].append(milliseconds(partial(one_pass, training), seconds))
        texts += [f"{statistics.median(times[name]):.3g}" if name in times else "" for name in names_]
    kind = " packed" * row.packed + " bidirectional" * row.bidirectional + f" {row.layers} layers" * (row.layers > 1)
    return [row.cell + kind, str(row.T), str(row.B), str(row.H), *texts]


def main() -> int:
    """Measure, print and keep the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.gpu", description=__doc__)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--rows", type=int, nargs="+", help="only these rows, from 0")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/DATE-GPU.md")
    chosen = parser.parse_args()
    reason = unavailable() or ("" if torch.cuda.is_available() else "torch finds no GPU")
    if reason:
        print(f"nothing to measure: {reason}", file=sys.stderr)
        return 2
    today, gpu = datetime.date.today().isoformat(), torch.cuda.get_device_name()
    columns = [f"{name} {kind}" for kind in ("forward", "training") for name in ("nblstm fp32", *chosen.precisions)]
    lines = [
        f"Milliseconds on one {gpu}, {today}: nblstm {nblstm.__version__} ({names()[0]}), torch {torch.__version__}, "
        f"cuDNN {torch.backends.cudnn.version()}; medians of {chosen.rounds} rounds; I = H.\n",
        "| cell | T | B | H | " + " | ".join(columns) + " |", "|---|" + "---:|" * (3 + len(columns)),
    ]  # fmt: skip
    failed = False
    for k, row in enumerate(ROWS):
        if chosen.rows is None or k in chosen.rows:
            try:
                lines.append("| " + " | ".join(measured(row, chosen.precisions, chosen.rounds, chosen.seconds)) + " |")
            except (RuntimeError, ArithmeticError, MemoryError) as error:
                failed = True
                lines.append(f"| {row.cell} | {row.T} | {row.B} | {row.H} | FAILED: {error} |")
            print(lines[-1], file=sys.stderr)
    text = "\n".join(lines) + "\n"
    print(text)
    name = gpu.replace(" ", "-").lower()
    target = chosen.output or Path(__file__).parents[1] / "results" / f"{today}-{name}.md"
    target.write_text(text)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
