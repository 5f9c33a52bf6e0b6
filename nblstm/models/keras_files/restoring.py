"""Models from what a file of Keras's has: layers, their parameters, and what they are compiled with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nblstm.files import content
from nblstm.layers import InputLayer, Layer
from nblstm.layers.base.layer import LAYERS
from nblstm.layers.base.parameters import UNDRAWN
from nblstm.models import snapshot
from nblstm.models.keras_files import optimizer_state
from nblstm.models.keras_files.compiled_read import read_compiled
from nblstm.models.keras_files.configs_read import ReadLayer, read_model
from nblstm.models.step import prepare
from nblstm.process.show import warn
from nblstm.training import losses, optimizers

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
