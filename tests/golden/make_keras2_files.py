"""Write keras2_files.zip.xz: files of Keras 2's and 1's, and what Keras 2 computes with the models in them.

Run by hand, with tf_keras and TensorFlow installed: ``python tests/golden/make_keras2_files.py``. The tests read the
archive and need neither.

Of a case there are CASE.keras, CASE.h5, CASE_weights.h5 and CASE.json, and in arrays.npz CASE/x, y, predicted, and
after another fit with the optimizer of the .keras file CASE/resumed. Keras 1's files, ONE.h5, are made here, as Keras
1.2.2 wrote them: its names in the config, 12 arrays for an LSTM. Keras 2's own rules turn these into the weights that
ONE/predicted was computed with. CuDNN's layers, which need a GPU, are written by the same rules, turned round.
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

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import h5py
import numpy as np
import tf_keras as keras
from tf_keras import layers, optimizers
from tf_keras.src.saving.legacy.hdf5_format import preprocess_weights_for_loading

FIT = dict(batch_size=4, epochs=3, shuffle=False, verbose=0)
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(8, 5, 3)).astype("f4")
WORDS = RNG.integers(1, 20, (8, 6)) * (np.arange(6) < np.array([6, 5, 6, 3, 2, 6, 4, 1])[:, None])
ONE_HOT, NUMBERS = np.eye(3, dtype="f4")[RNG.integers(0, 3, 8)], RNG.normal(size=(8, 1)).astype("f4")


def words():
    return [
        layers.Embedding(20, 5, mask_zero=True, input_length=6),
        layers.Bidirectional(layers.LSTM(4, return_sequences=True, recurrent_activation="hard_sigmoid")),
        layers.TimeDistributed(layers.Dense(3, activation="relu", kernel_regularizer="l2")),
        layers.GRU(3, return_sequences=True, reset_after=False),
        layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True),
        layers.SimpleRNN(2),
        layers.Dense(1),
    ]


def series():
    return [
        layers.Conv1D(4, 2, activation="relu", input_shape=(5, 3)),
        layers.MaxPooling1D(2),
        layers.LayerNormalization(),
        layers.GRU(3, recurrent_initializer="glorot_uniform"),
        layers.Dense(3, activation="softmax"),
    ]


def chain():
    source = keras.Input((6,))
    h = layers.LSTM(3)(layers.Embedding(20, 5, mask_zero=True)(source))
    return keras.Model(source, layers.Dense(1)(h))


#: Layers, x, y, and arguments of compile.
CASES = {
    "words": (
        words, WORDS, NUMBERS,
        dict(
            optimizer=optimizers.Adam(optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)), loss="mse",
            metrics=["mae"], weighted_metrics=["mse"],
        ),
    ),
    "series": (
        series, VECTORS, ONE_HOT,
        dict(optimizer=optimizers.SGD(0.05, momentum=0.9), loss="categorical_crossentropy", metrics=["accuracy"]),
    ),
    "chain": (chain, WORDS, NUMBERS, dict(optimizer=optimizers.legacy.Adam(0.01), loss=keras.losses.Huber())),
}  # fmt: skip


def of_keras_2(folder: Path, arrays: dict, files: dict) -> None:
    for name, (make, x, y, compile_with) in CASES.items():
        model = make() if make is chain else keras.Sequential(make(), name=name)
        model.compile(**compile_with)
        model.fit(x, y, **{**FIT, "epochs": 2})
        model.save(folder / f"{name}.h5")
        model.save_weights(folder / f"{name}_weights.h5")
        if make is not chain:  # whose optimizer's state the new format leaves out
            model.save(folder / f"{name}.keras")
        (folder / f"{name}.json").write_text(model.to_json())
        arrays |= {f"{name}/x": x, f"{name}/y": y, f"{name}/predicted": model.predict(x, verbose=0)}
        model.fit(x, y, **FIT)
        arrays[f"{name}/resumed"] = model.predict(x, verbose=0)
    files |= {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


#: Classes and configs of Keras 1.2.2, and the layers that compute the same.
OLD = {
    "one": (
        [
            ("Embedding", dict(
                name="e", trainable=True, input_dim=20, output_dim=5, init="uniform", input_length=6, mask_zero=False,
                W_regularizer=None, activity_regularizer=None, W_constraint=None, dropout=0.0, input_dtype="int32",
                batch_input_shape=[None, 6],
            )),
            ("LSTM", dict(
                name="l", trainable=True, output_dim=4, init="glorot_uniform", inner_init="orthogonal",
                forget_bias_init="one", activation="tanh", inner_activation="hard_sigmoid", return_sequences=True,
                go_backwards=False, stateful=False, unroll=False, consume_less="cpu", input_dim=5, input_length=None,
                W_regularizer={"name": "WeightRegularizer", "l1": 0.0, "l2": 0.01}, U_regularizer=None,
                b_regularizer=None, dropout_W=0.0, dropout_U=0.0,
            )),
            ("Bidirectional", dict(name="b", trainable=True, merge_mode="concat", layer={
                "class_name": "GRU", "config": dict(
                    name="g", trainable=True, output_dim=3, init="glorot_uniform", inner_init="orthogonal",
                    activation="tanh", inner_activation="hard_sigmoid", return_sequences=True, go_backwards=False,
                    stateful=False, unroll=False, consume_less="cpu", input_dim=4, input_length=None,
                    W_regularizer=None, U_regularizer=None, b_regularizer=None, dropout_W=0.0, dropout_U=0.0,
                ),
            })),
            ("Dropout", dict(name="d", trainable=True, p=0.5)),
            ("TimeDistributedDense", dict(
                name="t", trainable=True, output_dim=3, init="glorot_uniform", activation="relu", W_regularizer=None,
                b_regularizer=None, activity_regularizer=None, W_constraint={"name": "MaxNorm", "m": 2, "axis": 0},
                b_constraint=None, bias=True, input_dim=6, input_length=None,
            )),
            ("Convolution1D", dict(
                name="c", trainable=True, input_dim=3, input_length=None, nb_filter=2, filter_length=3,
                init="glorot_uniform", activation="linear", border_mode="same", subsample_length=1,
                W_regularizer=None, b_regularizer=None, activity_regularizer=None, W_constraint=None,
                b_constraint=None, bias=True,
            )),
            ("MaxPooling1D", dict(name="m", trainable=True, stride=2, pool_length=2, border_mode="valid")),
            ("Flatten", dict(name="f", trainable=True)),
            ("Dense", dict(
                name="o", trainable=True, output_dim=1, init="glorot_uniform", activation="linear", W_regularizer=None,
                b_regularizer=None, activity_regularizer=None, W_constraint=None, b_constraint=None, bias=True,
                input_dim=6,
            )),
        ],
        lambda: [
            layers.Embedding(20, 5, input_length=6),
            layers.LSTM(4, recurrent_activation="hard_sigmoid", return_sequences=True),
            layers.Bidirectional(
                layers.GRU(3, recurrent_activation="hard_sigmoid", return_sequences=True, reset_after=False)
            ),
            layers.Dropout(0.5),
            layers.TimeDistributed(layers.Dense(3, activation="relu")),
            layers.Conv1D(2, 3, padding="same"),
            layers.MaxPooling1D(2),
            layers.Flatten(),
            layers.Dense(1),
        ],
        "1.2.2", RNG.integers(1, 20, (8, 6)),
    ),
    "cudnn": (
        [
            ("CuDNNLSTM", dict(
                name="l", trainable=True, batch_input_shape=[None, 5, 3], dtype="float32", return_sequences=True,
                return_state=False, go_backwards=False, stateful=False, units=4, unit_forget_bias=True,
            )),
            ("CuDNNGRU", dict(
                name="g", trainable=True, return_sequences=False, return_state=False, go_backwards=False,
                stateful=False, units=3,
            )),
        ],
        lambda: [layers.LSTM(4, return_sequences=True, input_shape=(5, 3)), layers.GRU(3, reset_after=True)],
        "2.2.4", VECTORS,
    ),
}  # fmt: skip


def old_shapes(kind: str, layer) -> list[tuple[int, ...]]:
    """Shapes of a layer's weights in its old file."""
    shapes = [w.shape for w in layer.get_weights()]
    if kind == "LSTM":
        return [(5, 4), (4, 4), (4,)] * 4
    if kind == "Bidirectional":
        return [(4, 3), (3, 3), (3,)] * 6
    if kind == "Convolution1D":
        return [(3, 1, 3, 2), (2,)]
    if kind == "CuDNNLSTM":
        return [*shapes[:2], (32,)]
    return [*shapes[:2], (18,)] if kind == "CuDNNGRU" else shapes


def of_older_ones(folder: Path, arrays: dict, files: dict) -> None:
    for name, (described, make, version, x) in OLD.items():
        model = keras.Sequential(make())
        model.build(x.shape)
        path = folder / f"{name}_old.h5"
        with h5py.File(path, "w") as file:
            config = [{"class_name": kind, "config": config} for kind, config in described]
            file.attrs["keras_version"] = np.bytes_(version)
            file.attrs["model_config"] = np.bytes_(json.dumps({"class_name": "Sequential", "config": config}))
            file.attrs["training_config"] = np.bytes_(json.dumps({
                "optimizer_config": {"class_name": "Adam", "config": dict(
                    epsilon=1e-08, lr=0.001, beta_1=0.9, beta_2=0.999, decay=0.01,
                )},
                "loss": "mse", "metrics": ["acc"], "sample_weight_mode": None, "loss_weights": None,
            }))  # fmt: skip
            group = file.create_group("model_weights")
            group.attrs["layer_names"] = [np.bytes_(config["name"]) for _, config in described]
            group.attrs["keras_version"] = np.bytes_(version)
            for (kind, config), layer in zip(described, model.layers, strict=True):
                old = [RNG.normal(0, 0.4, shape).astype("f4") for shape in old_shapes(kind, layer)]
                inner = group.create_group(config["name"])
                names = [f"{config['name']}_{k}:0" for k in range(len(old))]
                inner.attrs["weight_names"] = [np.bytes_(each) for each in names]
                for each, array in zip(names, old, strict=True):
                    inner[each] = array
                if old:
                    layer.set_weights(preprocess_weights_for_loading(layer, old, version[0]))
        arrays |= {f"{name}/x": x, f"{name}/predicted": model.predict(x, verbose=0)}
        files[path.name] = path.read_bytes()


def main(target: Path) -> None:
    keras.utils.set_random_seed(0)
    arrays, files = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        of_keras_2(Path(folder), arrays, files)
        of_older_ones(Path(folder), arrays, files)
    files["metadata.json"] = json.dumps({"keras": keras.__version__, "fit": FIT}).encode()
    np.savez(memory := io.BytesIO(), **arrays)
    files["arrays.npz"] = memory.getvalue()
    with lzma.open(target, "w") as file, zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("keras2_files.zip.xz"))
