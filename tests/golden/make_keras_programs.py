"""Write keras_programs.npz: ten training steps of the example programs' models in Keras, in float32.

Run by hand, with keras, jax and scikit-learn installed, where a program changes:
``python tests/golden/make_keras_programs.py``. The tests read the file and need none of these.

On JAX, as on TensorFlow Keras leaves the rows of an embedding alone that a batch does not use (Adam would still move
them); with TensorFlow, all other traces are the same within 5e-7.

The models and their initial weights are those of programs.py. The arrays of a program:

    program/x/0 ... x/9, y/0 ... y/9    the batches, excerpts of real data
    program/cell/losses, /metrics       (10,) what train_on_batch returned; metrics only where there are any
    program/cell/predicted              what predict gave for the first batch after the ten steps
    program/cell/evaluated              what evaluate gave for the batches x/0 and x/1 after the ten steps

The array ``metadata`` is a JSON string with the versions.
"""

from __future__ import annotations

import fractions
import json
import os
import pydoc_data.topics
import re
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np
import programs
from sklearn.datasets import load_digits

jax.config.update("jax_enable_x64", True)
STEPS = 10

#: How far a trace in float32 may be from the same in float64, relative to the largest.
ROUNDING = 1e-5
Batches = tuple[list[np.ndarray], list[np.ndarray]]
PREPARED = (programs.inputs, programs.targets)


def digits() -> tuple[np.ndarray, np.ndarray]:
    images, labels = load_digits(return_X_y=True)
    return images.astype(np.uint8), labels


def count_digits(random: np.random.Generator) -> Batches:
    images, labels = digits()
    up = random.integers(2, size=(STEPS, 16))
    shown = (random.integers(10, size=(STEPS, 16, 1)) + (2 * up[..., None] - 1) * np.arange(10)) % 10
    rows = np.vectorize(lambda digit: random.choice(np.flatnonzero(labels == digit)))(shown)
    return list(images[rows]), list(up.astype(np.uint8))


def code_or_prose(random: np.random.Generator) -> Batches:
    """Lines of a module of the standard library: those of docstrings are prose."""
    text = Path(fractions.__file__).read_text()
    docstrings = re.findall(r'"""(.*?)"""', text, re.DOTALL)
    prose = [line for each in docstrings for line in each.splitlines() if re.search(r"\w", line)]
    code = [line for line in text.splitlines() if re.search(r"\w", line) and line not in prose and '"""' not in line]
    words = {}
    lines = [(line, kind) for kind, of_kind in enumerate((code[:120], prose[:120])) for line in of_kind]
    x, y = np.zeros((len(lines), 20), np.uint16), np.zeros((len(lines), 2), np.uint8)
    for row, (line, kind) in enumerate(lines):
        found = [words.setdefault(word, len(words) + 2) for word in re.findall(r"\w+|[^\w\s]", line)[:20]]
        x[row, : len(found)] = [number if number < programs.VOCABULARY else 1 for number in found]
        y[row, kind] = 1
    order = random.permutation(len(lines))[: STEPS * (len(lines) // STEPS)].reshape(STEPS, -1)
    return list(x[order]), list(y[order])


def moving_digits(random: np.random.Generator) -> Batches:
    images, labels = digits()
    moves = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])
    x, y = np.zeros((STEPS, 8, 5, 16, 16, 1), np.uint8), np.zeros((STEPS, 8), np.uint8)
    for step, film in np.ndindex(STEPS, 8):
        row, direction = random.integers(len(images)), random.integers(4)
        for frame in range(5):
            top, left = 4 + moves[direction] * (frame - 2)
            x[step, film, frame, top : top + 8, left : left + 8, 0] = images[row].reshape(8, 8)
        y[step, film] = 4 * labels[row] + direction
    return list(x), list(y)


def digits_row_by_row(random: np.random.Generator) -> Batches:
    images, labels = digits()
    rows = random.permutation(len(images))[: STEPS * 32].reshape(STEPS, 32)
    return list(images.reshape(-1, 8, 8)[rows]), list(labels[rows].astype(np.uint8))


def generate_text(random: np.random.Generator) -> Batches:
    text = pydoc_data.topics.topics["assignment"]
    by_frequency = sorted(sorted(set(text)), key=text.count)[::-1]
    numbers = {char: min(k, programs.CHARACTERS - 1) for k, char in enumerate(by_frequency)}
    corpus = np.array([numbers[char] for char in text], np.uint8)
    starts = random.integers(len(corpus) - 40, size=(STEPS, 16, 1))
    return list(corpus[starts + np.arange(40)]), list(corpus[starts[..., 0] + 40])


def forecast_months(random: np.random.Generator) -> Batches:
    """Weekly changes of the CO2 record, in windows of a length for each batch."""
    file = Path(__file__).parents[2] / "examples/data/co2_weekly.csv"
    co2 = np.genfromtxt(file, delimiter=",", skip_header=10, usecols=1)
    change = np.diff(co2[~np.isnan(co2)]).astype(np.float32)
    lengths = (6, 12, 24, 48, 12, 36, 6, 24, 48, 17)
    starts = [random.integers(len(change) - length, size=32)[:, None] for length in lengths]
    pairs = zip(starts, lengths, strict=True)
    x = [change[start + np.arange(length)][..., None] for start, length in pairs]
    return x, [change[start + length] for start, length in zip(starts, lengths, strict=True)]


def trace(program: str, cell: str, batches: Batches, dtype: str) -> dict[str, np.ndarray]:
    """What Keras computes, by name."""
    keras.config.set_floatx(dtype)
    model = programs.model(program, cell, keras.models, keras.layers)
    model.set_weights(programs.weights([w.shape for w in model.get_weights()]))
    xs, ys = ([prepare(program, each) for each in part] for prepare, part in zip(PREPARED, batches, strict=True))
    returned = np.array([model.train_on_batch(x, y) for x, y in zip(xs, ys, strict=True)], np.float64)
    returned = returned.reshape(STEPS, -1)
    evaluated = [np.ravel(model.evaluate(x, y, verbose=0)) for x, y in zip(xs[:2], ys[:2], strict=True)]
    found = {"losses": returned[:, 0], "predicted": model.predict(xs[0], verbose=0), "evaluated": np.array(evaluated)}
    return found | ({"metrics": returned[:, 1]} if returned.shape[1] > 1 else {})


def main() -> None:
    """Write the file beside this script."""
    contents = {}
    for number, program in enumerate(programs.LAYERS):
        batches = globals()[program](np.random.default_rng(number))
        for name, part in zip("xy", batches, strict=True):
            contents |= {f"{program}/{name}/{k}": array for k, array in enumerate(part)}
        for cell in programs.CELLS:
            found, exact = (trace(program, cell, batches, dtype) for dtype in ("float32", "float64"))
            off = max(np.abs(found[name] - exact[name]).max() / np.abs(exact[name]).max() for name in found)
            assert found["predicted"].dtype == np.float32
            assert off < ROUNDING, f"{program}, {cell}: float32 and float64 differ by {off}; take another seed"
            contents |= {f"{program}/{cell}/{name}": array for name, array in found.items()}
            print(program, cell, f"off by {off:.0e}:", *(f"{loss:.5f}" for loss in found["losses"]))
    versions = {"keras": keras.__version__, "jax": jax.__version__}
    contents["metadata"] = np.array(json.dumps(versions))
    path = Path(__file__).with_name("keras_programs.npz")
    np.savez_compressed(path, **contents)
    print(f"{path.name}: {len(contents)} arrays, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
