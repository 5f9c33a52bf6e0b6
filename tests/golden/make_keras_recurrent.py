"""Write keras_recurrent.npz: what Keras's recurrent layers compute in float64, with the gradients that torch derives.

Run it with keras and torch: ``python tests/golden/make_keras_recurrent.py``. The tests need neither.

A case is an npz prefix ``name/``: ``x``, ``mask``, ``initial/k``, ``weights/k``, ``y/k`` (the output, then what else
there is), ``dy/k``, ``grads/k`` of the weights in their order, ``grads/x`` and ``grads/initial/k``; for dropout the
factors ``dropout`` (B, I) and ``recurrent_dropout`` (B, H), which all gates share; for stateful layers, which have no
gradients here, ``y2/k`` of the same batch once more. ``metadata`` holds classes, arguments, and signatures of Keras's
constructors.
"""

from __future__ import annotations

import inspect
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

B, T, I, H = 4, 6, 3, 5

#: A full row, a gap at either end and one within, padding on the right, nothing.
GAPS = np.array([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 0, 1], [1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]], bool)
RIGHT = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]], bool)

SEQUENCES, STATE, BACKWARDS = {"return_sequences": True}, {"return_state": True}, {"go_backwards": True}

#: name: (class, arguments, mask, whether initial states are given)
CASES: dict[str, tuple[str, dict, np.ndarray | None, bool]] = {}
for cell, kind, own in (
    ("SimpleRNN", "SimpleRNN", {}),
    ("GRU", "GRU", {}),
    ("GRU before", "GRU", {"reset_after": False}),
    ("LSTM", "LSTM", {}),
):
    CASES |= {
        f"{cell}": (kind, own, None, False),
        f"{cell} sequences": (kind, own | SEQUENCES, None, False),
        f"{cell} no bias": (kind, own | {"use_bias": False}, None, True),
        f"{cell} gaps": (kind, own, GAPS, False),
        f"{cell} gaps sequences states": (kind, own | SEQUENCES | STATE, GAPS, True),
        f"{cell} gaps backwards": (kind, own | BACKWARDS | STATE, GAPS, False),
        f"{cell} dropout": (kind, own | SEQUENCES | {"dropout": 0.4}, None, False),
        f"{cell} recurrent dropout": (
            kind, own | SEQUENCES | STATE | {"dropout": 0.3, "recurrent_dropout": 0.4}, GAPS, True,
        ),
    }  # fmt: skip
CASES |= {
    "LSTM right": ("LSTM", SEQUENCES, RIGHT, False),
    "LSTM gaps sequences backwards": ("LSTM", SEQUENCES | BACKWARDS, GAPS, True),
    "LSTM gaps zeros": ("LSTM", SEQUENCES | {"zero_output_for_mask": True}, GAPS, True),
    "LSTM backwards": ("LSTM", SEQUENCES | BACKWARDS, None, True),
    "LSTM stateful": ("LSTM", STATE | {"stateful": True}, None, False),
    "GRU stateful gaps": ("GRU", SEQUENCES | {"stateful": True}, GAPS, False),
    # Not hard_sigmoid: torch's derivative of it is 1/6 rounded to float32.
    "LSTM activations": ("LSTM", {"activation": "softsign", "recurrent_activation": "silu"}, None, False),
    "GRU activations": ("GRU", {"activation": "softsign", "recurrent_activation": "silu"}, None, False),
    "SimpleRNN activation": ("SimpleRNN", {"activation": "leaky_relu"}, None, False),
    "SimpleRNN linear": ("SimpleRNN", {"activation": None}, GAPS, False),
}
for mode in ("concat", "sum", "mul", "ave", None):
    layer = {"layer": ["LSTM", {"units": H}], "merge_mode": mode}
    sequences = {"layer": ["LSTM", {"units": H} | SEQUENCES], "merge_mode": mode}
    CASES[f"Bidirectional {mode}"] = ("Bidirectional", layer, GAPS, False)
    CASES[f"Bidirectional {mode} sequences"] = ("Bidirectional", sequences, GAPS, True)
CASES |= {
    "Bidirectional states": ("Bidirectional", {"layer": ["GRU", {"units": H} | STATE]}, None, True),
    "Bidirectional states sequences": (
        "Bidirectional", {"layer": ["LSTM", {"units": H} | STATE | SEQUENCES], "merge_mode": None}, GAPS, True,
    ),
    "Bidirectional two": (
        "Bidirectional",
        {"layer": ["LSTM", {"units": H} | SEQUENCES],
         "backward_layer": ["GRU", {"units": 2} | SEQUENCES | BACKWARDS]}, GAPS, False,
    ),
}  # fmt: skip


def layer_of(kind: str, arguments: dict) -> keras.layers.Layer:
    arguments = {k: layer_of(*v) if k.endswith("layer") else v for k, v in arguments.items()}
    if kind != "Bidirectional":
        arguments = {"units": H} | arguments
    return getattr(keras.layers, kind)(**arguments)


def random(rng: np.random.Generator, shape: tuple[int, ...], bound: float) -> np.ndarray:
    """Uniform odd multiples of 1/2048: the same numbers in float32, and none on a kink at 0."""
    return (np.round(rng.uniform(-bound, bound, shape) * 1024.0) + 0.5) / 1024.0


def fix_dropout(layer: keras.layers.Layer, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Have a layer drop what is drawn here, the same for all gates."""
    if not getattr(layer, "dropout", 0):
        return {}
    factors = {}
    for name, rate, features in (("dropout", layer.dropout, I), ("recurrent_dropout", layer.recurrent_dropout, H)):
        if rate:
            factors[name] = (rng.random((B, features)) >= rate) / (1 - rate)
            drawn = torch.tensor(factors[name])
            gates = getattr(layer.cell, "dropout_mask_count", None)
            given = drawn if gates is None else [drawn] * gates
            setattr(layer.cell, f"get_{name}_mask", lambda _, given=given: given)
    return factors


def arrays(name: str) -> dict[str, np.ndarray]:
    """All arrays of a case."""
    kind, arguments, mask, starts = CASES[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))  # by name, so that a new case leaves the others as they are
    layer = layer_of(kind, arguments)
    layer.build((B, T, I))
    weights = [random(rng, w.shape, 0.8) for w in layer.trainable_variables]
    for variable, w in zip(layer.trainable_variables, weights, strict=True):
        variable.assign(w)
    x = random(rng, (B, T, I), 1.5)
    out = {"x": x} | {f"weights/{k}": w for k, w in enumerate(weights)} | fix_dropout(layer, rng)
    inputs = torch.tensor(x, requires_grad=True)
    options: dict = {"training": True}
    if mask is not None:
        out["mask"], options["mask"] = mask, torch.tensor(mask)
    initial = []
    if starts:
        each = [layer.forward_layer, layer.backward_layer] if kind == "Bidirectional" else [layer]
        shapes = [(B, size) for one in each for size in one.state_size]
        initial = [torch.tensor(random(rng, shape, 0.9), requires_grad=True) for shape in shapes]
        out |= {f"initial/{k}": state.detach().numpy() for k, state in enumerate(initial)}
        options["initial_state"] = initial
    result = layer(inputs, **options)
    results = list(result) if isinstance(result, list | tuple) else [result]
    d_results = [random(rng, y.shape, 1.0) for y in results]
    loss = sum((y * torch.tensor(dy)).sum() for y, dy in zip(results, d_results, strict=True))
    leaves = [v.value for v in layer.trainable_variables] + [inputs, *initial]
    names = [*map(str, range(len(weights))), "x", *(f"initial/{k}" for k in range(len(initial)))]
    # Where states are carried over, Keras writes over what torch would need.
    gradients = () if arguments.get("stateful") else torch.autograd.grad(loss, leaves)
    out |= {f"grads/{name}": g.numpy() for name, g in zip(names, gradients, strict=False)}
    out |= {f"y/{k}": y.detach().numpy() for k, y in enumerate(results)}
    out |= {f"dy/{k}": dy for k, dy in enumerate(d_results)}
    if arguments.get("stateful"):
        again = layer(inputs, **options)
        out |= {f"y2/{k}": y.detach().numpy() for k, y in enumerate(again if isinstance(again, tuple) else [again])}
    assert not any(np.isnan(array).any() for array in out.values()), name
    return out


def signature(cls: type) -> dict:
    """Arguments and defaults of a constructor; those without a default are "required"."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return {p.name: "required" if p.default is p.empty else p.default for p in named}


def main() -> None:
    """Write keras_recurrent.npz beside this script."""
    torch.set_num_threads(1)
    contents: dict[str, np.ndarray] = {}
    for name in CASES:
        contents |= {f"{name}/{key}": value for key, value in arrays(name).items()}
    metadata = {
        "keras": keras.__version__,
        "cases": {name: {"class": kind, "arguments": arguments} for name, (kind, arguments, _, _) in CASES.items()},
        "signatures": {
            kind: signature(getattr(keras.layers, kind)) for kind in ("SimpleRNN", "GRU", "LSTM", "Bidirectional")
        },
    }
    contents["metadata"] = np.array(json.dumps(metadata))
    path = Path(__file__).with_name("keras_recurrent.npz")
    np.savez_compressed(path, **contents)
    print(f"{path.name}: {len(CASES)} cases, {len(contents)} arrays, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
