"""Whole models and callbacks against Keras 3: tests/golden/make_keras_models.py wrote what it computed."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tolerances import TRACE, assert_close

from nblstm import layers, training
from nblstm.models import Sequential
from nblstm.training import callbacks

with np.load(Path(__file__).with_name("golden") / "keras_models.npz") as _archive:
    METADATA = json.loads(str(_archive["metadata"]))
    ARRAYS = {name: _archive[name] for name in _archive.files if name != "metadata"}


def arrays(case):
    return {name.removeprefix(f"{case}/"): a for name, a in ARRAYS.items() if name.startswith(f"{case}/")}


def numbered(found, prefix):
    return [found[f"{prefix}/{k}"] for k in range(sum(name.startswith(f"{prefix}/") for name in found))]


def model_of(case, dtype="float64"):
    spec, found = METADATA["cases"][case], arrays(case)
    model = Sequential([layers.Input(found["x"].shape[1:])])
    for name, arguments in spec["layers"]:
        model.add(getattr(layers, name)(**arguments, dtype=dtype))
    model.set_weights(numbered(found, "before"))
    given = dict(spec["compile"])
    if not isinstance(given["optimizer"], str):
        name, arguments = given["optimizer"]
        given["optimizer"] = getattr(training, name)(**arguments)
    model.compile(**given)
    return model, spec, {name: found[name] for name in ("x", "y", "sample_weight") if name in found}, found


def fit_arguments(spec):
    given = dict(spec["fit"])
    if "class_weight" in given:
        given["class_weight"] = {int(label): weight for label, weight in given["class_weight"].items()}
    return given


def assert_logs(logs, expected):
    left_out = logs.keys() - expected.keys()  # see make_keras_models.py
    assert left_out in (set(), {"accuracy", "weighted_accuracy"})
    for name, values in expected.items():
        assert_close(logs[name], values, TRACE["float64"])


@pytest.mark.parametrize("case", METADATA["cases"])
def test_fit_evaluate_and_predict(case):
    model, spec, data, found = model_of(case)
    assert_logs(model.evaluate(**data, batch_size=7, verbose=0, return_dict=True), spec["evaluate_before"])
    history = model.fit(**data, **fit_arguments(spec), shuffle=False, verbose=0).history
    assert_logs(history, spec["history"])
    for weight, expected in zip(model.get_weights(), numbered(found, "after"), strict=True):
        assert_close(weight, expected, TRACE["float64"])
    assert_close(model.predict(found["x"], verbose=0), found["predicted"], TRACE["float64"])
    assert_logs(model.evaluate(**data, batch_size=7, verbose=0, return_dict=True), spec["evaluate_after"])
    batch = {name: value[:9] for name, value in data.items()}
    assert_logs(model.test_on_batch(**batch, return_dict=True), spec["test_on_batch"])
    for expected in spec["train_on_batch"]:
        assert_logs(model.train_on_batch(**batch, return_dict=True), expected)


@pytest.mark.parametrize("case", METADATA["cases"])
def test_losses_in_float32(case):
    model, spec, data, _ = model_of(case, "float32")
    history = model.fit(**data, **fit_arguments(spec), shuffle=False, verbose=0).history
    assert_close(history["loss"], spec["history"]["loss"], TRACE["float32"])


class Model:
    """What callbacks need of a model: weights that say in which epoch they are from."""

    def __init__(self):
        self.stop_training, self.epoch, self.restored, self.saved = False, None, None, []
        self.optimizer, self.metrics, self.metrics_names = SimpleNamespace(learning_rate=0.1), [], ["loss"]

    def get_weights(self):
        return [np.array(self.epoch)]

    def set_weights(self, weights):
        self.restored = int(weights[0])

    def need_savable(self, filepath, weights_only):
        pass

    def save(self, path):
        self.saved.append(self.epoch)


@pytest.mark.parametrize(
    ("kind", "options", "series", "expected"), METADATA["callbacks"],
    ids=[f"{kind}-{k}-{options}" for kind, options, k, _ in METADATA["callbacks"]],
)  # fmt: skip
def test_decisions(kind, options, series, expected, tmp_path):
    model, rates = Model(), []
    where = [tmp_path / "model"] if kind == "ModelCheckpoint" else []
    callback = getattr(callbacks, kind)(*where, monitor="loss", **options)
    callback.set_model(model)
    callback.on_train_begin()
    for model.epoch, value in enumerate(METADATA["series"][series]):
        callback.on_epoch_begin(model.epoch)
        callback.on_epoch_end(model.epoch, {"loss": value})
        rates.append(model.optimizer.learning_rate)
        if model.stop_training:
            break
    callback.on_train_end()
    assert (model.epoch, model.restored, model.saved) == (expected["last"], expected["restored"], expected["saved"])
    assert_close(rates, expected["rates"], TRACE["float64"])
