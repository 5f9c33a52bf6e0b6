"""Write keras_files.zip.xz: files of Keras 3's, and what Keras computes with the models in them.

Run by hand, with Keras and JAX installed, where a case is added::

    KERAS_BACKEND=jax python tests/golden/make_keras_files.py

The tests read the archive and need neither. Of a case there are CASE.keras, and where `OLDER` has it CASE.h5,
CASE.weights.h5 and CASE.json. In arrays.npz are CASE/x, y, predicted, and after another fit with the file's optimizer
CASE/resumed; metadata.json has Keras's version, the arguments of that fit, and what Keras's `evaluate` gives.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import sys
import tempfile
import zipfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import constraints, initializers, layers, losses, metrics, optimizers, regularizers

FIT = dict(batch_size=4, epochs=3, shuffle=False)
OLDER = ("words", "masked")
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(8, 5, 3)).astype("f4")
MASKED = np.where(np.arange(5)[:, None] >= np.array([5, 5, 4, 3, 3, 2, 5, 1])[:, None, None], 0.5, VECTORS)
MASKED = MASKED.astype("f4")
WORDS = RNG.integers(1, 20, (8, 6)) * (np.arange(6) < np.array([6, 5, 6, 3, 2, 6, 4, 1])[:, None])
IMAGES = RNG.normal(size=(8, 8, 7, 2)).astype("f4")
ONE_HOT, NUMBERS = np.eye(3, dtype="f4")[RNG.integers(0, 3, 8)], RNG.normal(size=(8, 2)).astype("f4")


def words():
    return [
        layers.Embedding(20, 5, mask_zero=True, embeddings_regularizer="l2"),
        layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
        layers.TimeDistributed(layers.Dense(3, activation="relu", kernel_constraint="max_norm")),
        layers.GRU(3, return_sequences=True, name="my_gru"),
        layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True),
        layers.RNN(layers.SimpleRNNCell(2), return_sequences=True),
        layers.LayerNormalization(),
        layers.LSTM(3, return_sequences=True, go_backwards=True),
        layers.SimpleRNN(2),
        layers.Dense(1),
    ]


def masked():
    backwards = layers.SimpleRNN(2, go_backwards=True, activation="relu")
    return [
        layers.Masking(0.5),
        layers.Bidirectional(layers.GRU(3, return_sequences=True, reset_after=False), merge_mode="sum"),
        layers.Bidirectional(layers.SimpleRNN(2), merge_mode="ave", backward_layer=backwards),
        layers.RepeatVector(3),
        layers.Flatten(),
        layers.Reshape((3, 2)),
        layers.GlobalMaxPooling1D(),
        layers.Dense(3, activation="softmax"),
    ]


def images():
    return [
        layers.Conv2D(3, (3, 2), activation="relu", padding="same", kernel_initializer="he_normal"),
        layers.MaxPooling2D(2),
        layers.Conv2D(2, 2, strides=2, use_bias=False),
        layers.Flatten(),
        layers.Dense(3, activation="softmax"),
    ]


def series():
    return [
        layers.Conv1D(4, 3, padding="causal", dilation_rate=2, bias_initializer=initializers.Constant(0.1)),
        layers.MaxPooling1D(2),
        layers.SpatialDropout1D(0.0),
        layers.Dropout(0.0),
        layers.Activation("tanh"),
        layers.GlobalAveragePooling1D(),
        layers.Dense(
            2, activation="elu", kernel_regularizer=regularizers.L1L2(0.01, 0.02), bias_constraint=constraints.NonNeg()
        ),
    ]


def frozen():
    inner = layers.GRU(3, name="inner", seed=1, recurrent_activation="hard_sigmoid")
    return [layers.Dense(4, trainable=False, activation="gelu"), inner, layers.Dense(2, activation="leaky_relu")]


def chain(x):
    source = keras.Input(x.shape[1:])
    h = layers.Embedding(20, 5, mask_zero=True)(source)
    h = layers.GRU(3)(layers.LSTM(4, return_sequences=True)(h))
    return keras.Model(source, layers.Dense(1)(h))


def averages():
    adapted = layers.Normalization()
    adapted.adapt(VECTORS)
    return [
        adapted,
        layers.Conv1D(4, 2, use_bias=False),
        layers.BatchNormalization(momentum=0.9),
        layers.PReLU(shared_axes=[1], alpha_initializer="ones"),
        layers.LSTM(3, return_sequences=True),
        layers.TimeDistributed(layers.LayerNormalization()),
        layers.GRU(2),
        layers.BatchNormalization(scale=False, gamma_regularizer="l2"),
        layers.Dense(1, activation="sigmoid"),
    ]


def resized():
    return [
        layers.ZeroPadding1D(2),
        layers.AveragePooling1D(2),
        layers.UpSampling1D(3),
        layers.Cropping1D((1, 2)),
        layers.LeakyReLU(0.1),
        layers.Permute((2, 1)),
        layers.SimpleRNN(3),
        layers.Dense(4),
        layers.ELU(0.7),
        layers.Dense(4),
        layers.ReLU(6.0, negative_slope=0.2, threshold=0.1),
        layers.GaussianNoise(0.0),
        layers.Dense(3),
        layers.Softmax(),
    ]


def recurrent():
    return [layers.GRU(3, use_bias=False), layers.BatchNormalization(), layers.PReLU(), layers.Dense(3, "softmax")]


#: Layers, x, y, and arguments of compile.
CASES = {
    "words": (
        words, WORDS, NUMBERS[:, :1],
        dict(
            optimizer=optimizers.Adam(optimizers.schedules.CosineDecay(0.01, 50)), loss="mse",
            metrics=["mae", metrics.RootMeanSquaredError()], weighted_metrics=["mse"],
        ),
    ),
    "masked": (
        masked, MASKED, ONE_HOT,
        dict(
            optimizer=optimizers.RMSprop(0.01, momentum=0.5, centered=True),
            loss=losses.CategoricalCrossentropy(label_smoothing=0.1),
            metrics=["accuracy", metrics.TopKCategoricalAccuracy(2)],
        ),
    ),
    "images": (
        images, IMAGES, ONE_HOT,
        dict(
            optimizer=optimizers.SGD(0.05, momentum=0.9, nesterov=True), loss="categorical_crossentropy",
            metrics=["acc", losses.MeanSquaredError()],
        ),
    ),
    "series": (
        series, VECTORS, NUMBERS,
        dict(
            optimizer=optimizers.AdamW(0.01, weight_decay=0.1, amsgrad=True, clipnorm=1.0), loss=losses.Huber(),
            metrics=[metrics.MeanAbsoluteError(name="err"), keras.metrics.mean_squared_error],
        ),
    ),
    "frozen": (
        frozen, VECTORS, NUMBERS,
        dict(optimizer=optimizers.Adam(0.01, global_clipnorm=0.5), loss=losses.mean_absolute_error),
    ),
    "averages": (
        averages, VECTORS, ONE_HOT[:, :1],
        dict(
            optimizer=optimizers.Nadam(optimizers.schedules.InverseTimeDecay(0.01, 3, 0.5)),
            loss=losses.BinaryCrossentropy(label_smoothing=0.1),
            metrics=[
                metrics.AUC(num_thresholds=20), metrics.F1Score(threshold=0.5),
                metrics.Precision(thresholds=[0.3, 0.5]), metrics.FBetaScore(average="micro", beta=2.0, threshold=0.4),
            ],
            weighted_metrics=[metrics.AUC(curve="PR", name="pr")],
        ),
    ),
    "resized": (
        resized, VECTORS, ONE_HOT,
        dict(
            optimizer=optimizers.Adagrad(0.05), loss=losses.KLDivergence(),
            metrics=[
                metrics.F1Score(average="macro"), metrics.Recall(class_id=1), metrics.AUC(multi_label=True),
                metrics.R2Score(), metrics.KLDivergence(),
            ],
        ),
    ),
    "adamax": (
        recurrent, VECTORS, ONE_HOT.argmax(-1),
        dict(
            optimizer=optimizers.Adamax(0.01), loss="sparse_categorical_crossentropy",
            metrics=[
                "accuracy", metrics.SparseTopKCategoricalAccuracy(2), metrics.SparseCategoricalAccuracy(),
                metrics.SparseCategoricalCrossentropy(),
            ],
        ),
    ),
    "adadelta": (recurrent, VECTORS, ONE_HOT, dict(optimizer=optimizers.Adadelta(1.0), loss="mse", metrics=["auc"])),
    "lion": (recurrent, VECTORS, ONE_HOT, dict(optimizer=optimizers.Lion(0.01, weight_decay=0.1), loss="poisson")),
    "chain": (chain, WORDS, NUMBERS[:, :1], dict(optimizer="sgd", loss="mae")),
}  # fmt: skip


def main(target: Path) -> None:
    keras.utils.set_random_seed(0)
    arrays, files, measured = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (make, x, y, compile_with) in CASES.items():
            model = make(x) if make is chain else keras.Sequential([keras.Input(x.shape[1:]), *make()], name=name)
            model.compile(**compile_with)
            model.fit(x, y, verbose=0, **{**FIT, "epochs": 2})
            model.save(path := Path(folder, f"{name}.keras"))
            files[path.name] = path.read_bytes()
            if name in OLDER:
                model.save(path := Path(folder, f"{name}.h5"))
                files[path.name] = path.read_bytes()
                model.save_weights(path := Path(folder, f"{name}.weights.h5"))
                files[path.name] = path.read_bytes()
                files[f"{name}.json"] = model.to_json().encode()
            arrays |= {f"{name}/x": x, f"{name}/y": y, f"{name}/predicted": model.predict(x, verbose=0)}
            logs = model.evaluate(x, y, batch_size=FIT["batch_size"], verbose=0, return_dict=True)
            measured[name] = {key: np.asarray(value).tolist() for key, value in logs.items()}
            model = keras.models.load_model(Path(folder, f"{name}.keras"))
            model.fit(x, y, verbose=0, **FIT)
            arrays[f"{name}/resumed"] = model.predict(x, verbose=0)
    files["metadata.json"] = json.dumps({"keras": keras.__version__, "fit": FIT, "measured": measured}).encode()
    np.savez(memory := io.BytesIO(), **arrays)
    files["arrays.npz"] = memory.getvalue()
    with lzma.open(target, "w") as file, zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("keras_files.zip.xz"))
