"""Show why LSTM exists: gradients over 1,000 steps, and what an RNN and an LSTM learn of the adding problem."""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from nblstm import nn, plots, training

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--quick", action="store_true", help="sequences of 50 and 100 steps alone")
LENGTHS = [50, 100] if parser.parse_args().quick else [50, 100, 200, 500, 1000]
UNITS, BATCH, UPDATES, T = 16, 16, 800, LENGTHS[-1]
KINDS = {"RNN": "C3-", "LSTM": "C0-", "LSTM, clipped": "C2--"}


def adding(T, B, random):
    """Numbers from 0 to 1, two of them marked, one in each half (T, B, 2); and the sum of these two (B, 1)."""
    x = np.zeros((T, B, 2))
    x[..., 0] = random.random((T, B))
    marked, b = np.add(random.integers(T // 2, size=(2, B)), [[0], [T - T // 2]]), np.arange(B)
    x[marked, b, 1] = 1
    return x, x[marked, b, 0].sum(axis=0)[:, None]


def network(kind, T, dtype="float32"):
    """An RNN, or an LSTM whose gates begin as those of a memory of about T steps (Tallec & Ollivier 2018)."""
    if kind == "RNN":
        return nn.RNN(2, UNITS, seed=1, dtype=dtype)
    lstm = nn.LSTM(2, UNITS, seed=1, dtype=dtype)
    lstm.parameters()["bias_ih_l0"].reshape(4, UNITS)[:2] = [[-np.log(T)], [np.log(T)]]  # of i and f
    return lstm


def train(kind, T):
    """Train on the sum after the last step; the network, and its error on sequences that it has not seen."""
    net, readout, random = network(kind, T), nn.Linear(UNITS, 1, seed=2), np.random.default_rng(1)
    optimizer, mse = training.Adam([net, readout], 0.02), training.losses.MeanSquaredError()
    dy = np.zeros((T, BATCH, UNITS))
    for _ in range(UPDATES):
        x, total = adding(T, BATCH, random)
        y, _, tape = net.forward(x)
        guess, readout_tape = readout.forward(y[-1])
        d_readout = readout.backward(readout_tape, mse.value_and_gradient(total, guess)[1])
        dy[-1] = d_readout.x
        gradients = [net.backward(tape, dy), d_readout]
        if kind == "LSTM, clipped":
            training.clip_by_global_norm(gradients, 1.0)
        optimizer.step(gradients)
    x, total = adding(T, 500, np.random.default_rng(99))
    return net, mse(total, readout(net(x)[0][-1]))


top, bottom = (figure := Figure(figsize=(11, 7.5), layout="constrained")).subfigures(2, 1, height_ratios=[2, 1])
flow, errors = top.subplots(1, 2)
trained = {kind: [train(kind, T) for T in LENGTHS] for kind in KINDS}
print("Mean squared error of the sum" + "".join(f"{T:9,}" for T in LENGTHS) + " steps")
for kind, style in KINDS.items():
    print(f"{kind:29}" + "".join(f"{error:9.4f}" for _, error in trained[kind]))
    errors.semilogy([f"{T:,}" for T in LENGTHS], [error for _, error in trained[kind]], style, marker="o", label=kind)
errors.axhline(1 / 6, color="gray", linestyle=":", label="always guessing 1")
errors.set(xlabel="steps T", title=f"Adding problem: mean squared error after {UPDATES} updates")
x, dy, steps = adding(T, BATCH, np.random.default_rng(3))[0], np.zeros((T, BATCH, UNITS)), np.arange(1, T, T // 50)
dy[-1] = 1
for kind in ("RNN", "LSTM"):  # the gradient of the output h of each step, by going on from there
    net = network(kind, T, "float64")
    tapes = [net.forward(x[t:], net(x[:t])[1])[2] for t in steps]
    norms = [np.linalg.norm(net.backward(tape, dy[t:]).state[0]) for t, tape in zip(steps, tapes, strict=True)]
    flow.semilogy(steps, norms, KINDS[kind], label=kind)
flow.axhline(np.finfo("f4").tiny, color="gray", linestyle=":", label="smallest number of float32")
flow.set(ylim=(1e-50, 1e5), xlabel="step t", title=f"Before training: |dL/dh$_t$| of a loss at step {T:,}")
for ax in (flow, errors):
    ax.legend(frameon=False, loc="center")
plots.gates(trained["LSTM"][-1][0], x, names="c", fig=bottom)
bottom.suptitle("The trained LSTM's memory; dotted: when it reads the two numbers to add")
bottom.axes[0].vlines(np.flatnonzero(x[:, 0, 1]), -0.5, UNITS - 0.5, "k", ":")
(output := Path(__file__).parent / "output").mkdir(exist_ok=True)
figure.savefig(output / "vanishing_gradient.png", dpi=200)
print("Picture:", output / "vanishing_gradient.png")
