"""Write onnx_keras.npz: ONNX files of Keras models on TensorFlow, and Keras's own numbers.

Run by hand, with Keras, tensorflow and tf2onnx installed, where a case is added::

    KERAS_BACKEND=tensorflow python tests/golden/make_onnx_keras.py

The tests read the file and need no Keras. Its arrays are ``CASE file``, the file's bytes, and ``CASE input`` and
``CASE output``: an input of another size than at export, and what Keras computes of it.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
I, H = 3, 4


def sequential(*stack):
    model = keras.Sequential([layers.Input((None, I)), *stack])
    model.set_weights([np.random.default_rng(k).normal(scale=0.5, size=w.shape) ** (2 if "variance" in w.path else 1)
                       for k, w in enumerate(model.weights)])  # fmt: skip
    return model


CASES = {
    "lstm": sequential(layers.LSTM(H, return_sequences=True), layers.Dense(2, activation="softmax")),
    "bidirectional relu": sequential(layers.Bidirectional(layers.LSTM(H, activation="relu")), layers.Dense(2)),
    "convolution": sequential(
        layers.Conv1D(5, 3, padding="same", activation="relu"), layers.BatchNormalization(), layers.MaxPooling1D(2),
        layers.LSTM(H, return_sequences=True), layers.LayerNormalization(), layers.GlobalAveragePooling1D(),
        layers.Dense(2, activation="sigmoid"),
    ),
    "stack": sequential(
        layers.LSTM(H, return_sequences=True, unit_forget_bias=False), layers.Dropout(0.5),
        layers.LSTM(H, go_backwards=True), layers.Dense(3, activation="elu"),
    ),
    "gru": sequential(layers.GRU(H)),
}  # fmt: skip

if __name__ == "__main__":
    arrays = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, model in CASES.items():
            path = f"{folder}/{name}.onnx"
            x = np.random.default_rng(0).normal(size=(3, 8, I)).astype(np.float32)
            arrays |= {f"{name} input": x, f"{name} output": np.asarray(model.predict_on_batch(x))}
            model.export(path, format="onnx", verbose=False)
            arrays[f"{name} file"] = np.frombuffer(Path(path).read_bytes(), np.uint8)
            print(name, len(arrays[f"{name} file"]))
    np.savez_compressed(Path(__file__).with_name("onnx_keras.npz"), **arrays)
    print(f"{len(CASES)} cases of Keras {keras.__version__}")
