"""Write keras212.keras.xz: a file of tf.keras 2.12's, the first with the format ``.keras``, in a layout of its own.

Run by hand, with TensorFlow 2.12: ``python tests/golden/make_keras212_file.py``. The tests read the file and need
nothing. Behind the zip's members there are ``x.npy`` and ``predicted.npy``.
"""

from __future__ import annotations

import io
import lzma
import os
import sys
import tempfile
import zipfile
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

X = np.random.default_rng(0).normal(size=(8, 5, 3)).astype("f4")


def main(target: Path) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.Dense(4, activation="tanh", input_shape=(5, 3)),
            layers.Dropout(0.0),
            layers.LSTM(4, return_sequences=True),
            layers.Bidirectional(layers.GRU(2, return_sequences=True)),
            layers.LSTM(3),
            layers.Dropout(0.0),
            layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    model.fit(X, X[:, 0, :1], epochs=2, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.keras")
        model.save(path, save_format="keras_v3")
        with zipfile.ZipFile(path, "a") as archive:
            for name, array in (("x.npy", X), ("predicted.npy", model.predict(X, verbose=0))):
                np.save(memory := io.BytesIO(), array)
                archive.writestr(name, memory.getvalue())
        target.write_bytes(lzma.compress(path.read_bytes()))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("keras212.keras.xz"))
