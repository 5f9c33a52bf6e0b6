"""Write truncated.npz: torch's losses and weights of an LSTM trained by truncated backpropagation through time.

Run by hand, with torch installed: ``python tests/golden/make_truncated.py``. The tests read the file and need no torch.
(Keras's own stateful layers are no oracle: under JAX, Keras 3.15 loses the states between calls of train_on_batch.)

Sequences of 11 steps are cut into chunks of 4, 4 and 3. All is float64; weights are in Keras's order and shapes:

    x (B, T, I), y (B, T, 2), before/K, after/K, losses of each batch (the mean over its steps)
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

torch.manual_seed(0)
B, T, I, H = 10, 11, 3, 4
CUTS, EPOCHS, ROWS = [0, 4, 8, 11], 3, 5


def weights(lstm, dense):
    """Kernel (I, 4 H), recurrent kernel (H, 4 H), bias (4 H,), then the dense layer's; the gates' order is the same."""
    found = [lstm.weight_ih_l0.T, lstm.weight_hh_l0.T, lstm.bias_ih_l0, dense.weight.T, dense.bias]
    return [w.detach().numpy().copy() for w in found]


def main() -> None:
    lstm = torch.nn.LSTM(I, H, batch_first=True, dtype=torch.float64)
    dense = torch.nn.Linear(H, 2, dtype=torch.float64)
    with torch.no_grad():
        lstm.bias_hh_l0.zero_()
    lstm.bias_hh_l0.requires_grad = False  # Keras's layer has one bias
    optimizer = torch.optim.SGD([*lstm.parameters(), *dense.parameters()], lr=0.5, momentum=0.9)
    x, y = torch.randn(B, T, I, dtype=torch.float64), torch.randn(B, T, 2, dtype=torch.float64)
    arrays, losses = {f"before/{k}": w for k, w in enumerate(weights(lstm, dense))}, []
    for _ in range(EPOCHS):
        for start in range(0, B, ROWS):
            rows, state, total = slice(start, start + ROWS), None, 0.0
            for a, b in pairwise(CUTS):
                hidden, state = lstm(x[rows, a:b], state)
                state = tuple(s.detach() for s in state)
                loss = torch.nn.functional.mse_loss(dense(hidden), y[rows, a:b])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * (b - a) / T
            losses.append(total)
    arrays |= {f"after/{k}": w for k, w in enumerate(weights(lstm, dense))}
    path = Path(__file__).with_name("truncated.npz")
    np.savez_compressed(path, x=x.numpy(), y=y.numpy(), losses=losses, **arrays)
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
