"""Write keras_training.npz: what Keras 3 computes for losses, metrics, schedules and optimizers, in float64.

Run by hand, with Keras and JAX installed, where a case is added::

    KERAS_BACKEND=jax python tests/golden/make_keras_training.py

The tests read the file and need neither. The arrays:

    losses/CASE/y_true, y_pred, sample_weight, mask (the last two where there are any) -> loss, gradient
    metrics/CASE/y_true, y_pred, sample_weight, mask, with the batches stacked -> results, one after each batch
    scores/CASE/y_true, y_pred, sample_weight -> results, which may be arrays
    schedules/CASE/steps -> rates
    optimizers/p/K, optimizers/g/K (steps, ...) for parameter K -> optimizers/CASE/K, the parameter after each step

The array ``metadata`` is a JSON string: Keras's version, and for each case the class and its arguments.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ["JAX_ENABLE_X64"] = "1"

import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras.src import backend
from keras.src.backend.common import dtypes

keras.config.set_floatx("float64")
dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"  # or ops.mean is float32 under JAX
RNG = np.random.default_rng(0)
STEPS = 20
SHAPES = {"kernel": (3, 2), "bias": (3,), "other": (2, 2)}


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def one_hot(labels, classes):
    return np.eye(classes)[labels]


# --- cases: arrays by the kind of target ----------------------------------------------------------

B, T, C = 6, 4, 5
LABELS = {"rows": RNG.integers(C, size=B), "steps": RNG.integers(C, size=(B, T))}
MASK = RNG.random((B, T)) < 0.6
WEIGHTS = {"rows": RNG.uniform(0, 2, B), "steps": RNG.uniform(0, 2, (B, T))}
NORMAL = {"rows": RNG.normal(size=(B, C)) * 2, "steps": RNG.normal(size=(B, T, C)) * 2}
TARGETS = {"rows": RNG.normal(size=(B, C)), "steps": RNG.normal(size=(B, T, C))}
BITS = {shape: (RNG.random(array.shape) < 0.5).astype(float) for shape, array in NORMAL.items()}


def loss_arrays(kind, shape, logits):
    """(y_true, y_pred) for a loss of numbers, counts, bits, signs, one-hot rows, distributions or class numbers."""
    if kind == "numbers":
        return TARGETS[shape], NORMAL[shape]
    if kind == "counts":
        return np.round(3 * np.abs(TARGETS[shape])), np.exp(NORMAL[shape])
    if kind == "signs":
        return 2 * BITS[shape] - 1, NORMAL[shape]
    if kind == "margins":
        return BITS[shape], NORMAL[shape]
    if kind == "one_hot_margins":
        return one_hot(LABELS[shape], C), NORMAL[shape]
    if kind == "distributions":
        return softmax(TARGETS[shape]), softmax(NORMAL[shape])
    if kind == "bits":
        return BITS[shape], NORMAL[shape] if logits else 1 / (1 + np.exp(-NORMAL[shape]))
    y_pred = NORMAL[shape] if logits else softmax(NORMAL[shape])
    return (one_hot(LABELS[shape], C) if kind == "one_hot" else LABELS[shape]), y_pred


LOSSES = {
    "mse": ("MeanSquaredError", "numbers", {}),
    "mse_sum": ("MeanSquaredError", "numbers", {"reduction": "sum"}),
    "mse_weighted_mean": ("MeanSquaredError", "numbers", {"reduction": "mean_with_sample_weight"}),
    "mae": ("MeanAbsoluteError", "numbers", {}),
    "huber": ("Huber", "numbers", {}),
    "huber_2": ("Huber", "numbers", {"delta": 2.5}),
    "binary": ("BinaryCrossentropy", "bits", {}),
    "binary_smooth": ("BinaryCrossentropy", "bits", {"label_smoothing": 0.2}),
    "binary_logits": ("BinaryCrossentropy", "bits", {"from_logits": True}),
    "binary_logits_smooth": ("BinaryCrossentropy", "bits", {"from_logits": True, "label_smoothing": 0.2}),
    "categorical": ("CategoricalCrossentropy", "one_hot", {}),
    "categorical_smooth": ("CategoricalCrossentropy", "one_hot", {"label_smoothing": 0.1}),
    "categorical_logits": ("CategoricalCrossentropy", "one_hot", {"from_logits": True}),
    "categorical_logits_smooth": ("CategoricalCrossentropy", "one_hot", {"from_logits": True, "label_smoothing": 0.1}),
    "sparse": ("SparseCategoricalCrossentropy", "labels", {}),
    "sparse_logits": ("SparseCategoricalCrossentropy", "labels", {"from_logits": True}),
    "mape": ("MeanAbsolutePercentageError", "numbers", {}),
    "msle": ("MeanSquaredLogarithmicError", "counts", {}),
    "msle_clipped": ("MeanSquaredLogarithmicError", "numbers", {}),
    "log_cosh": ("LogCosh", "numbers", {}),
    "poisson": ("Poisson", "counts", {"reduction": "sum"}),
    "cosine": ("CosineSimilarity", "numbers", {}),
    "hinge": ("Hinge", "signs", {}),
    "hinge_bits": ("Hinge", "margins", {}),
    "squared_hinge": ("SquaredHinge", "margins", {}),
    "categorical_hinge": ("CategoricalHinge", "one_hot_margins", {}),
    "divergence": ("KLDivergence", "distributions", {}),
    "divergence_one_hot": ("KLDivergence", "one_hot", {"reduction": "mean_with_sample_weight"}),
    "sparse_ignore": ("SparseCategoricalCrossentropy", "labels", {"from_logits": True, "ignore_class": 2}),
}
METRICS = {
    "binary_accuracy": ("BinaryAccuracy", "bits", {}),
    "binary_accuracy_high": ("BinaryAccuracy", "bits", {"threshold": 0.8}),
    "categorical_accuracy": ("CategoricalAccuracy", "one_hot", {}),
    "sparse_categorical_accuracy": ("SparseCategoricalAccuracy", "labels", {}),
    "top_2": ("TopKCategoricalAccuracy", "one_hot", {"k": 2}),
    "mse": ("MeanSquaredError", "numbers", {}),
    "mae": ("MeanAbsoluteError", "numbers", {}),
    "rmse": ("RootMeanSquaredError", "numbers", {}),
    "binary_crossentropy": ("BinaryCrossentropy", "bits", {}),
    "categorical_crossentropy": ("CategoricalCrossentropy", "one_hot", {"label_smoothing": 0.1}),
    "sparse_categorical_crossentropy": ("SparseCategoricalCrossentropy", "labels", {}),
    "mape": ("MeanAbsolutePercentageError", "numbers", {}),
    "msle": ("MeanSquaredLogarithmicError", "counts", {}),
    "log_cosh": ("LogCoshError", "numbers", {}),
    "poisson": ("Poisson", "counts", {}),
    "cosine": ("CosineSimilarity", "numbers", {}),
    "hinge": ("Hinge", "margins", {}),
    "squared_hinge": ("SquaredHinge", "signs", {}),
    "categorical_hinge": ("CategoricalHinge", "one_hot_margins", {}),
    "divergence": ("KLDivergence", "distributions", {}),
}
LABEL_WEIGHTS = [1.0, 2.0, 0.5, 3.0, 0.0]
BETA = {"F1Score": {}, "FBetaScore": {"beta": 2.0}}
#: Metrics of sums over all batches, which know no mask in Keras; their results may be arrays.
SCORES = {
    **{
        f"{name}_{case}": (name, "bits", options)
        for name in ("TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives", "Precision", "Recall")
        for case, options in {"plain": {}, "low": {"thresholds": 0.2}, "three": {"thresholds": [0.2, 0.9, 0.5]}}.items()
    },
    **{
        f"{name}_{case}": (name, "bits", options)
        for name in ("Precision", "Recall")
        for case, options in {
            "top": {"top_k": 2}, "class": {"class_id": 3, "thresholds": 0.1},
            "both": {"top_k": 3, "class_id": 1, "thresholds": [0.1, 0.6]},
        }.items()
    },
    **{
        f"auc_{curve}_{method}_{case}": ("AUC", "bits", dict(curve=curve, summation_method=method, **options))
        for curve in ("ROC", "PR", "PRGAIN")
        for method in ("interpolation", "minoring", "majoring")
        for case, options in {
            "plain": {}, "few": {"num_thresholds": 7}, "given": {"thresholds": [0.3, 0.05, 0.8]},
        }.items()
    },
    **{
        f"auc_{curve}_{case}": ("AUC", kind, dict(curve=curve, **options))
        for curve in ("ROC", "PR")
        for case, kind, options in (
            ("logits", "margins", {"from_logits": True}), ("labels", "bits", {"multi_label": True}),
            ("known_labels", "bits", {"multi_label": True, "num_labels": C, "label_weights": LABEL_WEIGHTS}),
            ("weighted_labels", "bits", {"label_weights": LABEL_WEIGHTS}),
        )
    },
    **{
        f"{name}_{average}_{case}": (name, kind, {"average": average, **options})
        for name in ("F1Score", "FBetaScore")
        for average in (None, "micro", "macro", "weighted")
        for case, kind, options in (
            ("largest", "one_hot", {}), ("above", "bits", {"threshold": 0.4, **BETA[name]}),
        )
    },
    **{
        f"r2_{aggregation}_{regressors}": (
            "R2Score", "numbers", {"class_aggregation": aggregation, "num_regressors": regressors}
        )
        for aggregation in ("uniform_average", "variance_weighted_average", None)
        for regressors in (0, 3)
    },
}  # fmt: skip
#: Losses and metrics of which two of the weightings are enough.
FEW = {
    "mape", "msle", "msle_clipped", "log_cosh", "poisson", "cosine", "hinge", "hinge_bits", "squared_hinge",
    "categorical_hinge", "divergence", "divergence_one_hot",
}  # fmt: skip
SCHEDULES = {
    "exponential": ("ExponentialDecay", dict(initial_learning_rate=0.1, decay_steps=7, decay_rate=0.5)),
    "stairs": ("ExponentialDecay", dict(initial_learning_rate=0.1, decay_steps=7, decay_rate=0.5, staircase=True)),
    "inverse": ("InverseTimeDecay", dict(initial_learning_rate=0.1, decay_steps=5, decay_rate=0.7)),
    "inverse_stairs": (
        "InverseTimeDecay", dict(initial_learning_rate=0.1, decay_steps=5, decay_rate=0.7, staircase=True),
    ),
    "piecewise": ("PiecewiseConstantDecay", dict(boundaries=[5, 11], values=[0.1, 0.05, 0.001])),
    "polynomial": ("PolynomialDecay", dict(initial_learning_rate=0.1, decay_steps=9, power=2.0)),
    "polynomial_cycle": (
        "PolynomialDecay", dict(initial_learning_rate=0.1, decay_steps=9, end_learning_rate=0.01, cycle=True),
    ),
    "cosine": ("CosineDecay", dict(initial_learning_rate=0.1, decay_steps=15, alpha=0.1)),
    "cosine_warmup": (
        "CosineDecay", dict(initial_learning_rate=0.01, decay_steps=15, warmup_target=0.2, warmup_steps=6),
    ),
}  # fmt: skip
OPTIMIZERS = {
    "sgd": ("SGD", {}),
    "sgd_momentum": ("SGD", dict(learning_rate=0.05, momentum=0.9)),
    "sgd_nesterov": ("SGD", dict(learning_rate=0.05, momentum=0.9, nesterov=True)),
    "sgd_decay": ("SGD", dict(momentum=0.5, weight_decay=0.1)),
    "sgd_value": ("SGD", dict(clipvalue=0.5)),
    "sgd_norm": ("SGD", dict(clipnorm=1.0)),
    "sgd_global": ("SGD", dict(global_clipnorm=1.0)),
    "sgd_schedule": ("SGD", dict(learning_rate="cosine_warmup", momentum=0.9)),
    "rmsprop": ("RMSprop", {}),
    "rmsprop_momentum": ("RMSprop", dict(rho=0.8, momentum=0.7, epsilon=1e-3)),
    "rmsprop_centered": ("RMSprop", dict(learning_rate=0.01, momentum=0.5, centered=True, clipnorm=1.0)),
    "adam": ("Adam", {}),
    "adam_all": ("Adam", dict(learning_rate=0.02, beta_1=0.5, beta_2=0.9, epsilon=0.1, amsgrad=True, weight_decay=0.1)),
    "adam_schedule": ("Adam", dict(learning_rate="stairs", global_clipnorm=1.0)),
    "adamw": ("AdamW", {}),
    "nadam": ("Nadam", {}),
    "nadam_more": ("Nadam", dict(learning_rate=0.02, beta_1=0.5, beta_2=0.9, epsilon=0.1, weight_decay=0.1)),
    "nadam_schedule": ("Nadam", dict(learning_rate="stairs", clipnorm=1.0)),
    "adagrad": ("Adagrad", {}),
    "adagrad_more": ("Adagrad", dict(learning_rate=0.1, initial_accumulator_value=0.5, epsilon=0.1, weight_decay=0.1)),
    "adadelta": ("Adadelta", {}),
    "adadelta_more": ("Adadelta", dict(learning_rate=0.7, rho=0.5, epsilon=0.01, clipvalue=0.3)),
    "adamax": ("Adamax", {}),
    "adamax_more": ("Adamax", dict(learning_rate="cosine_warmup", beta_1=0.5, beta_2=0.7, epsilon=0.1)),
    "lion": ("Lion", {}),
    "lion_more": ("Lion", dict(learning_rate=0.01, beta_1=0.5, beta_2=0.7, weight_decay=0.3, global_clipnorm=1.0)),
    "adamw_more": ("AdamW", dict(learning_rate=0.01, weight_decay=0.3, amsgrad=True, clipvalue=0.3)),
}


def weightings(shape, few=False):
    """(name, sample_weight, mask) for values (B,) or (B, T)."""
    if not few:
        yield "plain", None, None
    if not few or shape == "rows":
        yield "weights", WEIGHTS[shape], None
    if few and shape == "steps":
        yield "weights_mask", WEIGHTS[shape], MASK
    elif shape == "steps":
        yield "mask", None, MASK
        yield "weights_mask", WEIGHTS[shape], MASK


def losses():
    for case, (name, kind, options) in LOSSES.items():
        loss = getattr(keras.losses, name)(**options)
        for shape in ("rows", "steps"):
            y_true, y_pred = loss_arrays(kind, shape, options.get("from_logits", False))
            for given, weight, mask in weightings(shape, case in FEW):

                def value(p, loss=loss, y_true=y_true, weight=weight, mask=mask):
                    if mask is not None:
                        backend.set_keras_mask(p, jnp.asarray(mask))
                    return loss(y_true, p, weight)

                result, gradient = jax.value_and_grad(value)(jnp.asarray(y_pred))
                yield (
                    f"losses/{case}_{shape}_{given}",
                    [name, options],
                    dict(y_true=y_true, y_pred=y_pred, sample_weight=weight, mask=mask, loss=result, gradient=gradient),
                )


def metrics():
    for case, (name, kind, options) in METRICS.items():
        for shape in ("rows", "steps"):
            y_true, y_pred = loss_arrays(kind, shape, False)
            for given, weight, mask in weightings(shape, case in FEW):
                if name == "RootMeanSquaredError" and mask is not None:
                    continue  # which Keras forgets
                metric, results = getattr(keras.metrics, name)(**options), []
                for rows in (slice(0, 4), slice(4, None)):
                    batch = jnp.asarray(y_pred[rows])
                    if mask is not None:
                        backend.set_keras_mask(batch, jnp.asarray(mask[rows]))
                    metric.update_state(y_true[rows], batch, None if weight is None else weight[rows])
                    results.append(float(metric.result()))
                yield (
                    f"metrics/{case}_{shape}_{given}",
                    [name, options],
                    dict(y_true=y_true, y_pred=y_pred, sample_weight=weight, mask=mask, results=results),
                )


def scores():
    for case, (name, kind, options) in SCORES.items():
        y_true, y_pred = loss_arrays(kind, "rows", False)
        for given, weight in (("plain", None), ("weights", WEIGHTS["rows"])):
            metric, results = getattr(keras.metrics, name)(**options), []
            for rows in (slice(0, 4), slice(4, None)):
                metric.update_state(y_true[rows], y_pred[rows], None if weight is None else weight[rows])
                results.append(np.array(metric.result()))
            yield (
                f"scores/{case}_{given}",
                [name, options],
                dict(y_true=y_true, y_pred=y_pred, sample_weight=weight, results=results),
            )


def schedule(case):
    name, options = SCHEDULES[case]
    return getattr(keras.optimizers.schedules, name)(**options)


def schedules():
    steps = np.arange(35)
    for case, (name, options) in SCHEDULES.items():
        yield (
            f"schedules/{case}",
            [name, options],
            dict(steps=steps, rates=[float(schedule(case)(int(step))) for step in steps]),
        )


def optimizers():
    start = {name: RNG.normal(size=shape) for name, shape in SHAPES.items()}
    gradients = {name: RNG.normal(size=(STEPS, *shape)) for name, shape in SHAPES.items()}
    gradients["kernel"][7] *= 50
    yield "optimizers/p", None, start
    yield "optimizers/g", None, gradients
    for case, (name, options) in OPTIMIZERS.items():
        given = dict(options)
        if isinstance(given.get("learning_rate"), str):
            given["learning_rate"] = schedule(given["learning_rate"])
        optimizer = getattr(keras.optimizers, name)(**given)
        variables = [keras.Variable(start[key], name=key) for key in SHAPES]
        trace = {key: [] for key in SHAPES}
        for step in range(STEPS):
            optimizer.apply([jnp.asarray(gradients[key][step]) for key in SHAPES], variables)
            for key, variable in zip(SHAPES, variables, strict=True):
                trace[key].append(np.array(variable.value))
        yield f"optimizers/{case}", [name, options], trace


def main() -> None:
    arrays, cases = {}, {}
    for part in (losses, metrics, scores, schedules, optimizers):
        for path, description, values in part():
            if description:
                cases[path] = description
            arrays |= {f"{path}/{name}": np.asarray(v) for name, v in values.items() if v is not None}
    # One copy of arrays that many cases share, named by their first case.
    first, kept, same = {}, {}, {}
    for name, value in arrays.items():
        key = (value.dtype.str, value.shape, value.tobytes())
        if key in first:
            same[name] = first[key]
        else:
            first[key], kept[name] = name, value
    stacked = {dtype: [name for name in kept if kept[name].dtype.str == dtype] for dtype in {"<f8", "<i8", "|b1"}}
    shapes = {name: kept[name].shape for name in kept}
    metadata = {"keras": keras.__version__, "cases": cases, "same": same, "order": stacked, "shapes": shapes}
    packed = {dtype: np.concatenate([kept[name].ravel() for name in names]) for dtype, names in stacked.items()}
    path = Path(__file__).with_name("keras_training.npz")
    np.savez_compressed(path, metadata=json.dumps(metadata), **{d[1:]: flat for d, flat in packed.items()})
    print(path, path.stat().st_size, "bytes", len(cases), "cases")


if __name__ == "__main__":
    main()
