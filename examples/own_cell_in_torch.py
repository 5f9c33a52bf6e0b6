"""Digits read pixel by pixel, in torch, by a cell of one's own; its time beside that of the same cell as a loop."""

from pathlib import Path
from time import perf_counter as now

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, linear

import nblstm.torch


@nblstm.cell(gates="f g", states="h")
def janet(f, g, h):
    """A cell of one's own: an LSTM with a forget gate alone (van der Westhuizen & Lasenby 2018)."""
    return nblstm.sigmoid(f) * h + (1 - nblstm.sigmoid(f - 1)) * nblstm.tanh(g)


torch.manual_seed(0)
cell, head = nblstm.torch.Recurrent(janet, 1, 64, batch_first=True), nn.Linear(64, 10)
parameters = [*cell.parameters(), *head.parameters()]


def own_cell(x):
    """Read digits (B, T, 1); logits (B, 10) of what they are."""
    return head(cell(x)[0][:, -1])


def loop(x):
    """The same with the same parameters, as one writes it in torch."""
    w, r, b_w, b_r = cell.parameters()
    h = x.new_zeros(len(x), head.in_features)
    for from_x in linear(x, w, b_w).unbind(1):
        f, g = (from_x + linear(h, r, b_r)).chunk(2, -1)
        h = torch.sigmoid(f) * h + (1 - torch.sigmoid(f - 1)) * torch.tanh(g)
    return head(h)


def train_step(run, optimizer, x, y):
    """Forward, backward and Adam: milliseconds, loss, norm of the gradient."""
    start = now()
    optimizer.zero_grad()
    loss = cross_entropy(run(x), y)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(parameters, 1)
    optimizer.step()
    return 1e3 * (now() - start), loss.item(), norm.item()


x, y = map(torch.as_tensor, load_digits(return_X_y=True))
x, lengths = x.float()[..., None] / 8 - 1, [2, 4, 8, 16, 32, 64]  # (1797, 64 pixels, 1)
runs, still = {"nblstm.torch": own_cell, "loop in torch": loop}, torch.optim.Adam(parameters, lr=0)
try:
    spent, *_ = train_step(compiled := torch.compile(loop), still, x[:32, :8], y[:32])
    runs[f"loop, after {spent / 1e3:.0f} s of torch.compile"] = compiled
except RuntimeError as error:
    print("torch.compile, which needs a C++ compiler, is left out:", str(error).strip().splitlines()[0])
results = np.full((22, len(runs), len(lengths), 3), np.nan)
for k, i, j in np.ndindex(results.shape[:3]):  # in turns, with the same weights; two rounds do not count
    if i < 2 or lengths[j] == 8:
        results[k, i, j] = train_step([*runs.values()][i], still, x[:32, : lengths[j]], y[:32])
print(f"Losses and gradients of loop and module differ by at most {np.ptp(results[:, :2, :, 1:], axis=1).max():.0e}\n")
print(f"{f'ms of a training step, {torch.get_num_threads()} threads; pixels':40}" + "".join(f"{T:7}" for T in lengths))
ax = Figure(layout="constrained").add_subplot()
for name, ms in zip(runs, np.median(results[2:, ..., 0], axis=0), strict=True):
    print(f"{name:40}" + "".join(f"{each:7.2f}" for each in ms).replace("nan", "  -"))
    ax.plot(lengths, ms, "o-", label=name)
ax.legend(frameon=False)
ax.set(title="A training step of 32 digits", xlabel="pixels", ylabel="ms", xticks=lengths, ylim=(0, None))
schedule = torch.optim.lr_scheduler.OneCycleLR(adam := torch.optim.Adam(parameters), 1e-2, total_steps=60 * 45)
for rows in (rows for _ in range(60) for rows in torch.randperm(len(x) - 360).split(32)):
    train_step(own_cell, adam, x[rows], y[rows])
    schedule.step()
print(f"\nHeld out: {(own_cell(x[-360:]).argmax(1) == y[-360:]).float().mean():.1%} of 360 digits are right")
(output := Path(__file__).parent / "output").mkdir(exist_ok=True)
ax.figure.savefig(output / "own_cell_in_torch.png", dpi=200)
print("Picture:", output / "own_cell_in_torch.png")
