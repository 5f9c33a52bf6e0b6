"""Five folds of cross-validation by `nblstm.sklearn`, beside one fit of the same network in Keras.

``python -m benchmarks.cross_validation``; Keras's rows need ``pip install -e ".[sklearn,peers]"``. Each is a process of
its own, with kernels on disk; the clock starts behind the imports, as programs have these anyway.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DATA = Path(__file__).parents[1] / "examples/data/japanese_vowels.npz"
ROUNDS = 2

READ = f"""
import time
import numpy as np
data = np.load({str(DATA)!r})
X, y = np.split(data["frames"] / 1000, data["lengths"].cumsum()[:-1])[:270], data["speaker"][:270]
"""
NBLSTM = f"""{READ}
from sklearn.model_selection import cross_val_score
from nblstm.sklearn import RecurrentClassifier
begin = time.perf_counter()
classifier = RecurrentClassifier(learning_rate=0.01, max_epochs=30, n_iter_no_change=30, random_state=0)
scores = cross_val_score(classifier, X, y, cv=5)
print(time.perf_counter() - begin, scores.mean())
"""
KERAS = f"""{READ}
import keras
keras.utils.set_random_seed(0)
begin = time.perf_counter()
x = keras.utils.pad_sequences(X, dtype="float32", padding="post", value=-100.0)
layers = [keras.Input((None, 12)), keras.layers.Masking(-100.0), keras.layers.LSTM(32)]
model = keras.Sequential([*layers, keras.layers.Dense(9, activation="softmax")])
model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x, y - 1, epochs=30, verbose=0)
print(time.perf_counter() - begin, history.history["accuracy"][-1])
"""
PROGRAMS = {
    "nblstm: five folds, five fits and scores": (NBLSTM, {}),
    "Keras on JAX: one fit": (KERAS, {"KERAS_BACKEND": "jax"}),
    "Keras on TensorFlow: one fit": (KERAS, {"KERAS_BACKEND": "tensorflow"}),
}


def seconds(code: str, variables: dict[str, str]) -> float | None:
    """Seconds that the program prints; None where it cannot run, as without Keras."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | variables
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    return float(done.stdout.split()[0])


def main() -> None:
    """Print the best of three processes of each."""
    for name, (code, variables) in PROGRAMS.items():
        first = seconds(code, variables)
        if first is not None:
            print(f"{name:45}{min(first, *(seconds(code, variables) or first for _ in range(1, ROUNDS))):6.2f} s")


if __name__ == "__main__":
    main()
