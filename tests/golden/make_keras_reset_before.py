"""Write keras_reset_before.npz: Keras's GRU(reset_after=False) in float64, gradients included.

Run by hand, with keras and torch installed, where a case is added: ``python tests/golden/make_keras_reset_before.py``.
The tests read the file and need neither.

The loss is sum(y dy) + sum(final state dh). The arrays of a case, parameters under torch's names, shapes and order:

    case/params/NAME, case/x (T, B, I), case/h (B, H), case/dy, case/dh
    case/y, case/final, case/grads/NAME, case/grads/x, case/grads/h

Keras has one bias, kept as bias_ih; bias_hh is 0, and its gradient the same. The array ``metadata`` is a JSON string:
Keras's version, and under "cases" the sizes T, B, I, H and ``use_bias`` of each.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
from keras.src.backend.common import dtypes

keras.config.set_floatx("float64")
dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"  # or many operations would be done in float32 all the same

CASES: dict[str, tuple[int, int, int, int, bool]] = {
    "plain": (5, 3, 3, 17, True),
    "no_bias": (3, 2, 5, 3, False),
    "one_row": (7, 1, 3, 5, True),
    "wide": (3, 2, 5, 70, True),
}


def random(rng: np.random.Generator, shape: tuple[int, ...], bound: float) -> np.ndarray:
    """Uniform multiples of 1/1024: the same numbers in float32, and they compress well."""
    return np.round(rng.uniform(-bound, bound, shape) * 1024.0) / 1024.0


def rows(matrix: np.ndarray) -> np.ndarray:
    """From Keras's columns z, r, h to torch's rows r, z, n."""
    z, r, n = np.split(matrix.T, 3)
    return np.concatenate([r, z, n])


def arrays(T: int, B: int, I: int, H: int, use_bias: bool, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """All arrays of a case, under their names in the file less the case's own."""
    layer = keras.layers.GRU(H, reset_after=False, use_bias=use_bias, return_sequences=True, return_state=True)
    layer.build((B, T, I))
    shapes = [tuple(weight.shape) for weight in layer.weights]
    layer.set_weights([random(rng, shape, H**-0.5) for shape in shapes])
    x, h = (torch.tensor(random(rng, shape, 2.0 if len(shape) == 3 else 1.0), requires_grad=True)
            for shape in ((B, T, I), (B, H)))  # fmt: skip
    y, final = layer(x, initial_state=h)
    dy, dh = random(rng, (B, T, H), 1.0), random(rng, (B, H), 1.0)
    ((y * torch.tensor(dy)).sum() + (final * torch.tensor(dh)).sum()).backward()

    out = {"x": x, "grads/x": x.grad, "y": y, "dy": torch.tensor(dy)}
    out = {name: tensor.detach().numpy().swapaxes(0, 1) for name, tensor in out.items()}
    out |= {"h": h.detach().numpy(), "grads/h": h.grad.numpy(), "final": final.detach().numpy(), "dh": dh}
    for name, weight in zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"), layer.weights, strict=False):
        value, gradient = weight.numpy(), weight.value.grad.numpy()
        out[f"params/{name}"], out[f"grads/{name}"] = rows(value), rows(gradient)
    if use_bias:
        out["params/bias_hh_l0"] = np.zeros(3 * H)
        out["grads/bias_hh_l0"] = out["grads/bias_ih_l0"]
    return out


def main() -> None:
    """Write keras_reset_before.npz beside this script."""
    torch.set_num_threads(1)
    sizes = {name: dict(zip(("T", "B", "I", "H", "use_bias"), case, strict=True)) for name, case in CASES.items()}
    contents = {"metadata": np.array(json.dumps({"keras": keras.__version__, "cases": sizes}))}
    for name, case in CASES.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        contents |= {f"{name}/{key}": value for key, value in arrays(*case, rng).items()}
    path = Path(__file__).with_name("keras_reset_before.npz")
    np.savez_compressed(path, **contents)
    print(f"{path.name}: {len(CASES)} cases, {len(contents)} arrays, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
