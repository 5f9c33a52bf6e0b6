"""Write keras_models.npz: what Keras 3 makes of whole models in `fit`, `evaluate`, `predict`, and callbacks' decisions.

Run by hand, with Keras and JAX installed, where a case is added::

    KERAS_BACKEND=jax python tests/golden/make_keras_models.py

Under JAX, Keras loses masks on their way to the metrics of training, though not to those of an evaluation: what it
measures so is left out.

The tests read the file and need neither. All is float64. The arrays of a case:

    CASE/x, y, sample_weight (if any), before/K and after/K (the weights), predicted

The array ``metadata`` is a JSON string: Keras's version; for each case the layers, what compile and fit were given, the
history and what evaluate gave before and after; and for each callback, series of numbers and what it made of them.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ["JAX_ENABLE_X64"] = "1"

import keras
import numpy as np
from keras.src.backend.common import dtypes

keras.config.set_floatx("float64")
dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"  # or ops.mean is float32 under JAX
RNG = np.random.default_rng(0)

N, T, C = 37, 6, 4
VECTORS, IMAGES = RNG.normal(size=(N, 5)), RNG.normal(size=(N, 6, 5, 2))
WORDS = RNG.integers(1, 9, (N, T)) * (np.arange(T) < RNG.integers(1, T + 1, (N, 1)))
LABELS, STEP_LABELS = RNG.integers(0, C, N), RNG.integers(0, C, (N, T))
BITS = (VECTORS[:, 0] + VECTORS[:, 1] > 0).astype(int)
NUMBERS = VECTORS @ RNG.normal(size=(5, 2))
WEIGHTS, STEP_WEIGHTS = RNG.uniform(0.1, 2, N), RNG.uniform(0.1, 2, (N, T))

#: Layers as (class, arguments); arguments of compile and fit; x, y. Optimizers by name or (class, arguments).
CASES = {
    "classes": dict(
        layers=[("Dense", dict(units=8, activation="tanh")), ("Dense", dict(units=C, activation="softmax"))],
        compile=dict(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"]),
        fit=dict(batch_size=8, epochs=3, validation_split=0.2), x=VECTORS, y=LABELS,
    ),
    "one_hot": dict(
        layers=[("Dense", dict(units=C, activation="softmax"))],
        compile=dict(
            optimizer=("SGD", dict(learning_rate=0.1, momentum=0.9)), loss="categorical_crossentropy",
            metrics=["acc", "mse"],
        ),
        fit=dict(batch_size=5, epochs=2), x=VECTORS, y=np.eye(C)[LABELS],
    ),
    "binary_class_weight": dict(
        layers=[("Dense", dict(units=6, activation="relu")), ("Dense", dict(units=1, activation="sigmoid"))],
        compile=dict(
            optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"], weighted_metrics=["accuracy", "mae"]
        ),
        fit=dict(batch_size=8, epochs=3, class_weight={0: 0.5, 1: 3.0}), x=VECTORS, y=BITS,
    ),
    "sample_weight": dict(
        layers=[("Dense", dict(units=2))],
        compile=dict(optimizer="sgd", loss="mse", metrics=["mae"], weighted_metrics=["mae"]),
        fit=dict(batch_size=10, epochs=2, validation_split=0.3), x=VECTORS, y=NUMBERS, sample_weight=WEIGHTS,
    ),
    "penalties": dict(
        layers=[
            ("Dense", dict(units=6, activation="elu", kernel_regularizer="l2", bias_regularizer="l1",
                           kernel_constraint="max_norm")),
            ("Dropout", dict(rate=0.0)),
            ("Dense", dict(units=2, kernel_regularizer="l2")),
        ],
        compile=dict(optimizer=("Adam", dict(learning_rate=0.05, clipnorm=1.0)), loss="huber"),
        fit=dict(batch_size=8, epochs=3), x=VECTORS, y=NUMBERS,
    ),
    "images": dict(
        layers=[
            ("Conv2D", dict(filters=3, kernel_size=[3, 2], activation="relu", padding="same")),
            ("MaxPooling2D", dict(pool_size=[2, 2])), ("Flatten", {}), ("Dense", dict(units=C, activation="softmax")),
        ],
        compile=dict(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"]),
        fit=dict(batch_size=6, epochs=2), x=IMAGES, y=LABELS,
    ),
    "words": dict(
        layers=[
            ("Embedding", dict(input_dim=9, output_dim=3, mask_zero=True)), ("LayerNormalization", {}),
            ("Dense", dict(units=C, activation="softmax")),
        ],
        compile=dict(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"],
                     weighted_metrics=["accuracy"]),
        fit=dict(batch_size=8, epochs=3, validation_split=0.25), x=WORDS, y=STEP_LABELS, sample_weight=STEP_WEIGHTS,
    ),
    "mean_of_words": dict(
        layers=[
            ("Embedding", dict(input_dim=9, output_dim=3, mask_zero=True)), ("GlobalAveragePooling1D", {}),
            ("Dense", dict(units=1, activation="sigmoid")),
        ],
        compile=dict(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"]),
        fit=dict(batch_size=8, epochs=2), x=WORDS, y=BITS,
    ),
    "batch_norm": dict(  # behind a bias, whose gradient is 0, Adam would follow what rounding leaves of it
        layers=[
            ("Normalization", dict(mean=0.1, variance=1.2)), ("Dense", dict(units=8, use_bias=False)),
            ("BatchNormalization", dict(momentum=0.8)), ("PReLU", {}), ("Dense", dict(units=4, use_bias=False)),
            ("BatchNormalization", dict(momentum=0.5, scale=False)), ("ReLU", dict(max_value=2, negative_slope=0.1)),
            ("BatchNormalization", dict(center=False, scale=False, epsilon=0.1)), ("Dense", dict(units=2)),
        ],
        compile=dict(
            optimizer=("AdamW", dict(learning_rate=0.02, weight_decay=0.1, global_clipnorm=0.5)), loss="mse",
            metrics=["mae"],
        ),
        fit=dict(batch_size=8, epochs=3, validation_split=0.2), x=VECTORS, y=NUMBERS,
    ),
    "batch_norm_masked": dict(
        layers=[
            ("Embedding", dict(input_dim=9, output_dim=3, mask_zero=True)),
            ("BatchNormalization", dict(momentum=0.7, gamma_regularizer="l2", beta_constraint="non_neg")),
            ("PReLU", dict(shared_axes=[1])), ("Dense", dict(units=C, activation="softmax")),
        ],
        compile=dict(optimizer=("SGD", dict(learning_rate=0.1, momentum=0.9, clipnorm=0.3)),
                     loss="sparse_categorical_crossentropy"),
        fit=dict(batch_size=8, epochs=3), x=WORDS, y=STEP_LABELS,
    ),
    "batch_norm_images": dict(
        layers=[
            ("Conv2D", dict(filters=3, kernel_size=2, use_bias=False)), ("BatchNormalization", dict(momentum=0.6)),
            ("LeakyReLU", {}), ("AveragePooling2D", dict(pool_size=2, padding="same")), ("Flatten", {}),
            ("BatchNormalization", dict(trainable=False)), ("ELU", {}), ("Dense", dict(units=C)), ("Softmax", {}),
        ],
        compile=dict(optimizer="rmsprop", loss="sparse_categorical_crossentropy", metrics=["accuracy"]),
        fit=dict(batch_size=6, epochs=2), x=IMAGES, y=LABELS,
    ),
}  # fmt: skip

SERIES = [list(map(float, series)) for series in (
    [1, 0.9, 0.95, 0.94, 0.93, 0.92, 0.91, 0.8, 0.7, 0.71, 0.72, 0.73, 0.74],
    [0.5, 0.6, 0.7, 0.8, 0.4, 0.3, 0.9, 0.2, 0.1, 0.95, 0.99, 0.5, 0.5],
    [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    [1, 0.99995, 0.9999, 0.9998, 0.5, 0.4999, 0.49985, 0.49984, 0.49983, 0.4, 0.3, 0.2, 0.1],
    RNG.uniform(size=13),
)]  # fmt: skip
STOPPING = [
    {}, dict(patience=2), dict(patience=2, mode="max"), dict(patience=1, min_delta=0.01),
    dict(patience=3, baseline=0.6), dict(patience=2, restore_best_weights=True),
    dict(patience=1, start_from_epoch=4, restore_best_weights=True),
    dict(patience=2, baseline=0.0, restore_best_weights=True),
]  # fmt: skip
PLATEAU = [
    dict(patience=1), dict(patience=2, factor=0.5), dict(patience=2, mode="max", min_delta=0.05),
    dict(patience=1, factor=0.2, cooldown=2), dict(patience=1, factor=0.1, min_lr=0.01),
]  # fmt: skip
CHECKPOINT = [dict(save_best_only=True), dict(save_best_only=True, mode="max"), {},
              dict(save_best_only=True, initial_value_threshold=0.5)]  # fmt: skip


def optimizer(given):
    return given if isinstance(given, str) else getattr(keras.optimizers, given[0])(**given[1])


def trained(case):
    """(metadata, arrays) of a case."""
    spec = CASES[case]
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input(spec["x"].shape[1:], dtype=spec["x"].dtype.name)])
    for name, arguments in spec["layers"]:
        model.add(getattr(keras.layers, name)(**arguments))
    for weight in model.weights:  # zeros and ones at first would hide mistakes
        weight.assign(weight + RNG.normal(size=weight.shape) * 0.1)
    compiled = spec["compile"]
    model.compile(**{**compiled, "optimizer": optimizer(compiled["optimizer"])})
    before = model.get_weights()
    weights = spec.get("sample_weight")
    data = dict(x=spec["x"], y=spec["y"]) | ({} if weights is None else dict(sample_weight=weights))
    measured = dict(evaluate_before=model.evaluate(**data, batch_size=7, verbose=0, return_dict=True))
    history = model.fit(**data, **spec["fit"], shuffle=False, verbose=0).history
    masked = ("accuracy", "weighted_accuracy") if case == "words" else ()
    history = {name: values for name, values in history.items() if name not in masked}
    measured |= dict(history=history, evaluate_after=model.evaluate(**data, batch_size=7, verbose=0, return_dict=True))
    on_batch = {key: value[:9] for key, value in data.items()}
    arrays = data | dict(predicted=model.predict(spec["x"], verbose=0))
    arrays |= {f"before/{k}": w for k, w in enumerate(before)}
    arrays |= {f"after/{k}": w for k, w in enumerate(model.get_weights())}
    measured |= dict(test_on_batch=plain(model.test_on_batch(**on_batch, return_dict=True)))
    measured |= dict(
        train_on_batch=[plain(model.train_on_batch(**on_batch, return_dict=True), masked) for _ in range(2)]
    )
    described = {key: value for key, value in spec.items() if key in ("layers", "compile", "fit")}
    return described | measured, arrays


def plain(logs, left_out=()):
    return {name: float(value) for name, value in logs.items() if name not in left_out}


class Model:
    """What callbacks need of a model: weights that say in which epoch they are from."""

    def __init__(self):
        self.stop_training, self.epoch, self.saved = False, None, []
        self.optimizer, self.metrics = SimpleNamespace(learning_rate=np.float64(0.1)), []

    def get_weights(self):
        return [np.array(self.epoch)]

    def set_weights(self, weights):
        self.restored = int(weights[0])

    def save(self, path, overwrite):
        self.saved.append(self.epoch)


def decisions(make, series):
    model, rates, callback = Model(), [], make()
    callback.set_model(model)
    callback.on_train_begin()
    for model.epoch, value in enumerate(series):
        callback.on_epoch_begin(model.epoch)
        callback.on_epoch_end(model.epoch, {"loss": value})
        rates.append(float(model.optimizer.learning_rate))
        if model.stop_training:
            break
    callback.on_train_end()
    return dict(last=model.epoch, restored=getattr(model, "restored", None), rates=rates, saved=model.saved)


def callbacks():
    folder = tempfile.mkdtemp()
    kinds = {
        "EarlyStopping": (STOPPING, lambda options: keras.callbacks.EarlyStopping(monitor="loss", **options)),
        "ReduceLROnPlateau": (PLATEAU, lambda options: keras.callbacks.ReduceLROnPlateau(monitor="loss", **options)),
        "ModelCheckpoint": (
            CHECKPOINT, lambda options: keras.callbacks.ModelCheckpoint(f"{folder}/m.keras", monitor="loss", **options),
        ),
    }  # fmt: skip
    for kind, (cases, make) in kinds.items():
        for options in cases:
            for k, series in enumerate(SERIES):
                yield [kind, options, k, decisions(lambda make=make, options=options: make(options), series)]


def main() -> None:
    metadata, arrays = {"keras": keras.__version__, "cases": {}, "series": SERIES, "callbacks": list(callbacks())}, {}
    for case in CASES:
        metadata["cases"][case], found = trained(case)
        arrays |= {f"{case}/{name}": value for name, value in found.items()}
    path = Path(__file__).with_name("keras_models.npz")
    np.savez_compressed(path, metadata=json.dumps(metadata), **arrays)
    print(path, path.stat().st_size, "bytes", len(CASES), "cases", len(metadata["callbacks"]), "decisions")


if __name__ == "__main__":
    main()
