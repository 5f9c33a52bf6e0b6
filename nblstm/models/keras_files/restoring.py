"""Models from what a file of Keras's has: layers, their parameters, and what they are compiled with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nblstm.arguments import custom
from nblstm.arguments.configured import Registry
from nblstm.files import content
from nblstm.layers import InputLayer, Layer
from nblstm.layers.base.layer import LAYERS
from nblstm.layers.base.parameters import UNDRAWN
from nblstm.models import snapshot
from nblstm.models.keras_files import old_configs, optimizer_state
from nblstm.models.keras_files.configs_read import (
    ReadLayer,
    checked,
    function_name,
    read_model,
    read_object,
    read_record,
)
from nblstm.models.step import prepare
from nblstm.process.show import warn
from nblstm.training import losses, optimizers
from nblstm.training.losses.base_loss import LOSSES
from nblstm.training.metrics.metric import METRICS
from nblstm.training.optimizers.base_optimizer import OPTIMIZERS

#: From one of the file's layers, those of nblstm's that it is, and the names of their parameters, to these by name.
Parameters = Callable[[ReadLayer, list[Layer], list[list[str]]], list[dict[str, np.ndarray]]]


def version_of(text) -> int:
    """The first number of Keras's version."""
    number = str(text).partition(".")[0]
    return int(number) if number.isdecimal() and len(number) < 4 else 1


def unbuilt(cls, described: dict[str, Any], version: int) -> tuple[Any, list[tuple[ReadLayer, list[Layer]]], Any]:
    """The model of a config, each of the config's layers with those of nblstm's that it is, and the input's shape."""
    name, read, shape = read_model(described, version)
    model, made = cls(name=name), []
    for layer in read:
        layers = [LAYERS.make(record) for record in layer.records]
        for each in layers:
            model.add(each, rebuild=False)
        made.append((layer, [each for each in layers if not isinstance(each, InputLayer)]))
    return model, made, model.input_shape or shape


def restored(cls, described: dict[str, Any], version: int, parameters: Parameters) -> Any:
    """The model of a config, with the parameters that ``parameters`` finds."""
    model, made, shape = unbuilt(cls, described, version)
    if shape is None:
        raise ValueError("its model is not built, and has no parameters; build it before it is saved")
    values, at = [], shape
    for layer, layers in made:
        names = []
        for each in layers:
            names.append(list(each.describe(at)))
            at = each.compute_output_shape(at)
        values += parameters(layer, layers, names)
    snapshot.check_parameters(model, shape, values)
    model.build(shape, UNDRAWN)
    snapshot.set_parameters(model, values)
    return model


def compiled(model, config: dict[str, Any], optimizer, version: int, names, arrays: list[np.ndarray]) -> None:
    """Compile a model as its file says, with the optimizer's state."""
    try:
        given = read_compiled(config, optimizer, version)
        model.compile(
            optimizers.get(given["optimizer"]), losses.get(given["loss"]), metrics=given["metrics"],
            weighted_metrics=given["weighted_metrics"],
        )  # fmt: skip
    except content.FAULTS as error:
        reason = content.reason(error, "Keras")
        raise ValueError(f"{reason}; or load it without what it is compiled with, by compile=False") from error
    if not arrays or not model.roles.parametric:
        return
    prepare(model)
    state = optimizer_state.state(model, names, arrays)
    if state is None:
        warn(f"the optimizer's {len(arrays)} variables in the file are not those of its parameters; it begins anew")
    else:
        model.optimizer.load_state(state)


def read_compiled(config: dict[str, Any], optimizer, version: int) -> dict[str, Any]:
    """Arguments of `compile` from Keras's ``config`` of them; the optimizer's record stands beside it in old files."""
    weights = config.get("loss_weights")
    if weights is not None and weights not in ([1.0], 1.0):
        raise ValueError(f"it is compiled with loss_weights={weights!r}, which nblstm has not")
    loss = _of_one_output("loss", config.get("loss"))
    if loss is None:
        raise ValueError("it is compiled without a loss")
    if not isinstance(optimizer, str):
        record = old_configs.updated(checked(optimizer), version)
        names = [name for name in OPTIMIZERS.classes if name.lower() == record["class_name"].rpartition(">")[2].lower()]
        if names and custom.found(record["class_name"]) is None:
            record = record | {"class_name": names[0], "module": "keras.optimizers", "registered_name": None}
        optimizer = read_record(record | {"config": old_configs.decayed(record["config"])}, OPTIMIZERS, version)
    return {
        "optimizer": optimizer,
        "loss": _loss(loss, version),
        "metrics": _metrics(config.get("metrics"), version),
        "weighted_metrics": _metrics(config.get("weighted_metrics"), version),
    }


def _of_one_output(name: str, value):
    """``value``, or the one entry of a list or dict of one for each output."""
    while isinstance(value, list | dict) and not (isinstance(value, dict) and "class_name" in value):
        entries = list(value.values()) if isinstance(value, dict) else value
        if len(entries) != 1:
            raise ValueError(
                f"it is compiled with {len(entries)} of {name}, one for each output; nblstm has one output"
            )
        value = entries[0]
    return value


def _loss(value, version: int) -> Any:
    """A loss as `losses.get` takes it."""
    made = read_object(value, LOSSES, version)
    if isinstance(made, dict) and made["config"].get("reduction") in ("auto", None):
        made["config"].pop("reduction", None)
    return _own_name(made, LOSSES)


def _metrics(given, version: int) -> list[Any]:
    """Metrics as `metrics.get` takes them."""
    while isinstance(given, dict) or (isinstance(given, list) and len(given) == 1 and isinstance(given[0], list)):
        if isinstance(given, dict) and "class_name" in given:
            given = [given]
        elif isinstance(given, dict) and len(given) > 1:
            raise ValueError(f"it is compiled with metrics of {len(given)} outputs; nblstm has one output")
        else:
            given = next(iter(given.values()), None) if isinstance(given, dict) else given[0]
    entries = [given] if isinstance(given, str) else given or []
    return [_metric(_of_one_output("metrics", entry), version) for entry in entries if entry is not None]


def _metric(value, version: int) -> Any:
    """A metric as `metrics.get` takes it."""
    if isinstance(value, dict) and value.get("class_name") == "MeanMetricWrapper":
        config = checked(value)["config"]
        made = {"class_name": config.get("fn"), "config": {"name": config.get("name")}}
        if made["class_name"] not in METRICS.classes:
            return function_name(made["class_name"], {})
        return made
    if isinstance(value, dict) and "losses" in str(value.get("module")):
        return {"class_name": "LossMetric", "config": {"loss": _loss(value, version)}}
    if isinstance(value, dict) and value.get("class_name") == "Accuracy":
        raise ValueError("it has the metric Accuracy, which compares for equality; compile it with 'accuracy'")
    return _own_name(read_object(value, METRICS, version), METRICS)


def _own_name(made, registry: Registry) -> Any:
    """A name that is not one of nblstm's as that of a function of the user's own."""
    if isinstance(made, str) and made not in registry.classes and made.lower() not in registry.classes:
        return made if ">" in made or custom.found(made) is not None else custom.CUSTOM + made
    return made
