"""Print the losses that tests/test_training.py expects: an LSTM trained with the oracle and Adam in ten lines of NumPy.

Nothing of nblstm takes part. Run by hand: ``python tests/golden/make_loss_trace.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import reference

T, B, I, H = 6, 4, 2, 3
STEPS, RATE, MAX_NORM = 10, 0.05, 0.1


def problem() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Parameters (those of the read-out are W (1, H) and b (1,)), inputs and targets."""
    wave = np.sin(0.37 * np.arange(T * B * I)).reshape(T, B, I)
    shapes = reference.parameter_shapes(reference.CELLS["lstm"], I, H) | {"W": (1, H), "b": (1,)}
    params = {
        name: 0.6 * np.cos(1.3 * np.arange(np.prod(shape)) + k).reshape(shape)
        for k, (name, shape) in enumerate(shapes.items())
    }
    return params, wave, np.cumsum(wave.sum(axis=-1, keepdims=True), axis=0) / 3


def loss_and_gradients(params, x, target):
    """Mean squared error of the read-out of every step; gradients of the LSTM by central differences."""
    lstm = {name: p for name, p in params.items() if name not in "Wb"}
    h, _ = reference.forward(reference.CELLS["lstm"], lstm, x)
    difference = h @ params["W"].T + params["b"] - target
    dy = 2 * difference / difference.size
    gradients = reference.loss_gradients(reference.CELLS["lstm"], lstm, x, dy @ params["W"])
    gradients = {name: gradients[name] for name in lstm}
    gradients |= {"W": np.tensordot(dy, h, axes=([0, 1], [0, 1])), "b": dy.sum(axis=(0, 1))}
    return np.mean(difference**2), gradients


def losses() -> list[float]:
    """The loss before each of the steps, and after the last."""
    params, x, target = problem()
    m = {name: np.zeros_like(p) for name, p in params.items()}
    v = {name: np.zeros_like(p) for name, p in params.items()}
    trace = []
    for t in range(1, STEPS + 1):
        loss, g = loss_and_gradients(params, x, target)
        trace.append(loss)
        norm = np.sqrt(sum(np.sum(d**2) for d in g.values()))
        shrink = min(1.0, MAX_NORM / norm)
        for name in params:
            d = shrink * g[name]
            m[name] = 0.9 * m[name] + 0.1 * d
            v[name] = 0.999 * v[name] + 0.001 * d**2
            rate = RATE * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            params[name] = params[name] - rate * m[name] / (np.sqrt(v[name]) + 1e-7)
    return [*trace, loss_and_gradients(params, x, target)[0]]


if __name__ == "__main__":
    for value in losses():
        print(f"    {value:.12f},")
