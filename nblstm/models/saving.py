"""Models as plain values and as files."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm import validate
from nblstm.layers import deserialize, serialize
from nblstm.training import archive, losses, metrics, optimizers

if TYPE_CHECKING:
    from nblstm.models.sequential import Sequential


def config(model) -> dict[str, Any]:
    """Name, layers and the input's shape, as `from_config` takes them."""
    announced = model._announced
    return {
        "name": model.name,
        "layers": [serialize(layer) for layer in ([announced] if announced else []) + model.layers],
        "build_input_shape": None if model.input_shape is None else list(model.input_shape),
    }


def from_config(cls, config: dict[str, Any]):
    """The model of a `config`, built if that one was."""
    model, shape = unbuilt(cls, config)
    if shape is not None:
        model.build(shape)
    return model


def unbuilt(cls, config) -> tuple[Any, Any]:
    """The model of a `config`, and the shape to build it for or None."""
    if not isinstance(config, dict) or set(config) != {"name", "layers", "build_input_shape"}:
        raise ValueError("the config of a model has name, layers and build_input_shape; give what get_config() gave")
    if not isinstance(config["layers"], list):
        raise ValueError("layers is no list; give what get_config() gave")
    model = cls(name=config["name"])
    for record in config["layers"]:
        model.add(deserialize(record), rebuild=False)
    return model, config["build_input_shape"]


def save_model(model, path, overwrite: bool, include_optimizer: bool) -> None:
    """Write a model to a file."""
    model._need_built()
    config(model)  # layers that cannot be saved say so first; what follows is of loss, metrics and optimizer
    try:
        values = content(model, include_optimizer)
    except TypeError as error:
        raise TypeError(f"{error}; or save without it, by include_optimizer=False") from None
    _write(path, "model", values, overwrite)


def content(model, include_optimizer: bool = True) -> dict[str, Any]:
    """What a model is, its parameters and sources of randomness, and how it was compiled."""
    made = None
    if model.compiled and include_optimizer:
        objective = model._objective
        made = {
            "optimizer": model.optimizer.record(),
            "loss": objective.loss.record(),
            "metrics": [metric.record() for metric in objective.metrics],
            "weighted_metrics": [metric.record() for metric in objective.weighted_metrics],
            "bptt_steps": model._bptt_steps,
            "state": model.optimizer.state() if model.optimizer.modules else None,
        }
    return {
        "config": config(model), "weights": weights(model) if model.built else None, "states": states(model),
        "generators": generators(model), "compile": made,
    }  # fmt: skip


def save_weights(model, path, overwrite: bool) -> None:
    """Write the parameters alone."""
    model._need_built()
    _write(path, "weights", {"weights": weights(model)}, overwrite)


def load_weights(model, path) -> None:
    """Set the parameters from a file."""
    model._need_built()
    values = archive.read(path, "weights", "model")
    _understood(path, lambda: _checked_set(model, values["weights"]))


def _checked_set(model, values) -> None:
    _check_weights(model, model.input_shape, values)
    set_weights(model, values)


def _write(path, kind: str, content: dict[str, Any], overwrite: bool) -> None:
    path = validate.target_path("filepath", path)
    if not validate.flag("overwrite", overwrite) and os.path.exists(path):
        raise FileExistsError(f"there is a file {path!r} already; give overwrite=True to replace it")
    archive.write(path, kind, content)


def load_model(filepath, compile: bool = True) -> Sequential:
    """The model in a file that `Sequential.save` wrote.

    Parameters
    ----------
    filepath : str or PathLike
    compile : bool, default True
        Whether it is compiled as it was, if it was, with the optimizer's state.

    Returns
    -------
    Sequential
        It predicts the same bits as the one that was saved, and goes on training with the same bits.

    Raises
    ------
    ValueError
        If the file is damaged, truncated or not a model of nblstm's, or it has a layer that is not registered.
    OSError
        If it cannot be read.
    """
    from nblstm.models.sequential import Sequential  # which imports this module

    values = archive.read(filepath, "model")
    return _understood(filepath, lambda: restored(Sequential, values, compile))


def restored(cls, values: dict[str, Any], compile: bool = True):
    """The model of a `content`."""
    model, shape = unbuilt(cls, values["config"])
    if values["weights"] is not None:
        _check_weights(model, shape, values["weights"])
        model.build(shape)
        set_weights(model, values["weights"])
    made = values["compile"]
    if compile and made is not None:
        model.compile(
            optimizers.get(made["optimizer"]), losses.get(made["loss"]),
            metrics=[metrics.get(record) for record in made["metrics"]],
            weighted_metrics=[metrics.get(record) for record in made["weighted_metrics"]],
            bptt_steps=made["bptt_steps"],
        )  # fmt: skip
        if made["state"] is not None:
            model._prepare()
            model.optimizer.load_state(made["state"])
    set_states(model, values["states"])
    set_generators(model, values["generators"])
    return model


def weights(model) -> list[dict[str, np.ndarray]]:
    """The parameters of each layer by name."""
    return [layer.state_dict() for layer in model.layers]


def set_weights(model, values) -> None:
    """Set what `weights` gave; what fits has been checked."""
    for layer, state in zip(model.layers, values, strict=True):
        layer.load_state_dict(state)


def _check_weights(model, shape, values) -> None:
    """Refuse parameters that are not those of the layers, before these take memory."""
    if not isinstance(values, list) or len(values) != len(model.layers):
        raise ValueError("it does not have the parameters of its layers")
    model.check_input_shape(shape)
    for layer, state in zip(model.layers, values, strict=True):
        needed = layer.parameter_shapes(shape)
        came = {name: value.shape for name, value in state.items()}
        if came != needed:
            raise ValueError(f"the parameters of layer {layer.name!r} have shapes {came} and it needs {needed}")
        shape = layer.compute_output_shape(shape)


def states(model) -> list[list[np.ndarray] | None]:
    """The states that stateful layers begin the next batch with."""
    return [getattr(layer, "states", None) for layer in model.layers]


def set_states(model, values) -> None:
    """Set what `states` gave."""
    for layer, value in zip(model.layers, values, strict=True):
        if value is not None or getattr(layer, "stateful", False):
            layer.reset_states(value)


def generators(model) -> dict[str, Any]:
    """The states of the model's source of randomness, and of those of its layers that have their own."""
    own = [None if layer.generator is None else layer.generator.bit_generator.state for layer in model.layers]
    return {"model": model.generator.bit_generator.state, "layers": own}


def set_generators(model, states: dict[str, Any]) -> None:
    """Set what `generators` gave."""
    sources = [model.generator, *(layer.generator for layer in model.layers)]
    for source, state in zip(sources, [states["model"], *states["layers"]], strict=True):
        if (source is None) != (state is None):
            raise ValueError("it does not have the random states of its layers")
        if source is not None:
            source.bit_generator.state = state


def training_state(model) -> dict[str, Any]:
    """All that training changes: parameters, sources of randomness, the optimizer's state and what was measured."""
    return {
        "input_shape": list(model.input_shape),
        "layers": [type(layer).__name__ for layer in model.layers],
        "weights": weights(model),
        "states": states(model),
        "generators": generators(model),
        "optimizer": model.optimizer.state(),
        "objective": model._objective.state(),
    }


def set_training_state(model, state: dict[str, Any]) -> None:
    """Set what `training_state` gave; if that fails, nothing has been changed."""
    kinds = [type(layer).__name__ for layer in model.layers]
    if state["layers"] != kinds:
        raise ValueError(f"it is of a model of {', '.join(state['layers'])}, and this one has {', '.join(kinds)}")
    _check_weights(model, state["input_shape"], state["weights"])
    model.build(state["input_shape"])
    model._prepare()
    before = training_state(model)
    try:
        _set_training_state(model, state)
    except Exception:
        _set_training_state(model, before)
        raise


def _set_training_state(model, state: dict[str, Any]) -> None:
    set_weights(model, state["weights"])
    model.optimizer.load_state(state["optimizer"])
    model._objective.load_state(state["objective"])
    set_states(model, state["states"])
    set_generators(model, state["generators"])


def _understood(path, make: Callable[[], Any]):
    """What ``make`` gives; what a file holds may make anything fail, and each failure is the file's."""
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)!r} cannot be loaded: {archive.in_short(error)}") from error
    except Exception as error:
        reason = f"its content is not what save() writes ({type(error).__name__}: {archive.in_short(error)})"
        raise ValueError(f"{os.fspath(path)!r} cannot be loaded: {reason}") from error
