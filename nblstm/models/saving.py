"""Models as plain values and as files."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.arguments import custom, validate
from nblstm.layers import deserialize, serialize
from nblstm.layers.base.parameters import UNDRAWN
from nblstm.training import losses, optimizers
from nblstm.training.files import archive, faults, foreign

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


def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None):
    """The model of a `config`, built if that one was."""
    with custom.custom_object_scope(custom_objects):
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
    target = _target(path, overwrite)
    described, made = config(model), None  # layers that cannot be saved say so first
    if include_optimizer:
        try:
            made = compiled_with(model)
        except TypeError as error:
            raise TypeError(f"{error}; or save without it, by include_optimizer=False") from None
    contents = model.at_one_moment(lambda: _contents(model, made))
    archive.write(target, "model", {"config": described, "compile": made} | contents)


def compiled_with(model) -> dict[str, Any] | None:
    """How a model was compiled; None if it was not.

    Raises
    ------
    TypeError
        If there is what no file can refer to.
    """
    if not model.compiled:
        return None
    objective = model.objective
    return {
        "optimizer": model.optimizer.record(),
        "loss": objective.loss.record(),
        "metrics": [metric.record() for metric in objective.metrics],
        "weighted_metrics": [metric.record() for metric in objective.weighted_metrics],
        "bptt_steps": model._bptt_steps,
    }


def _contents(model, made) -> dict[str, Any]:
    """Parameters, states, sources of randomness and the optimizer's state."""
    state = model.optimizer.state() if made is not None and model.optimizer.modules else None
    return {
        "weights": weights(model), "states": states(model), "generators": generators(model), "optimizer_state": state,
    }  # fmt: skip


def save_weights(model, path, overwrite: bool) -> None:
    """Write the parameters alone."""
    model._need_built()
    target = _target(path, overwrite)
    archive.write(target, "weights", {"weights": model.at_one_moment(lambda: weights(model))})


def load_weights(model, path) -> None:
    """Set the parameters from a file."""
    model._need_built()
    values = archive.read(path, "weights", "model")
    _understood(path, lambda: _set_checked(model, values.get("weights")))


def _set_checked(model, values) -> None:
    _check_weights(model, model.input_shape, values)
    set_weights(model, values)


def _target(path, overwrite: bool) -> str:
    """The path of a file that may be written, before there is any work for it."""
    path = validate.target_path("filepath", path)
    foreign.check_target("filepath", path)
    if not validate.flag("overwrite", overwrite) and os.path.exists(path):
        raise FileExistsError(f"there is a file {path!r} already; give overwrite=True to replace it")
    return path


def load_model(filepath, custom_objects: dict[str, Any] | None = None, compile: bool = True) -> Sequential:
    """The model in a file that `Sequential.save` wrote.

    Parameters
    ----------
    filepath : str or PathLike
    custom_objects : dict of str to object, optional
        What names of your own in the file stand for: functions, classes, cells. They go before what is registered.
    compile : bool, default True
        Whether it is compiled as it was, if it was, with the optimizer's state.

    Returns
    -------
    Sequential
        It predicts the same bits as the one that was saved, and goes on training with the same bits.

    Raises
    ------
    ValueError
        If the file is damaged, truncated or not a model of nblstm's, or it has a name that stands for nothing here.
    OSError
        If it cannot be read.
    """
    from nblstm.models.sequential import Sequential  # which imports this module

    compile = validate.flag("compile", compile)
    with custom.custom_object_scope(custom_objects):
        values = archive.read(filepath, "model")
        return _understood(filepath, lambda: _restored(Sequential, values, compile))


def _restored(cls, values: dict[str, Any], compile: bool):
    """The model of a file's content."""
    archive.expect(
        "the content", values, config=dict, compile=dict | None, weights=list, states=list, generators=dict,
        optimizer_state=dict | None,
    )  # fmt: skip
    model, shape = unbuilt(cls, values["config"])
    _check_weights(model, shape, values["weights"])
    model.build(shape, UNDRAWN)
    set_weights(model, values["weights"])
    made, state = values["compile"], values["optimizer_state"]
    if compile and made is not None:
        archive.expect(
            "what the model is compiled with", made, optimizer=dict, loss=dict, metrics=list, weighted_metrics=list,
            bptt_steps=int | None,
        )  # fmt: skip
        model.compile(
            optimizers.get(made["optimizer"]), losses.get(made["loss"]), metrics=made["metrics"],
            weighted_metrics=made["weighted_metrics"], bptt_steps=made["bptt_steps"],
        )  # fmt: skip
        if state is not None:
            model._prepare()
            model.optimizer.load_state(state)
    set_states(model, values["states"])
    set_generators(model, values["generators"])
    return model


def weights(model) -> list[dict[str, np.ndarray]]:
    """The parameters of each layer by name."""
    return [layer.state_dict() for layer in model.layers]


def set_weights(model, values) -> None:
    """Set what `weights` gave, at one moment; if something does not fit, nothing has been changed."""
    layers = model.layers
    staged = [layer._staged(state) for layer, state in zip(layers, values, strict=True)]
    with model.changing():
        for layer, flat in zip(layers, staged, strict=True):
            layer._put(flat)


def _check_weights(model, shape, values) -> None:
    """Refuse parameters that are not those of the layers, before these take memory."""
    if not isinstance(values, list):
        raise ValueError("it does not have the parameters of its layers")
    if len(values) != len(model.layers):
        raise ValueError(f"it has the parameters of {len(values)} layers, and the model has {len(model.layers)} layers")
    if not all(isinstance(state, dict) and all(map(_is_array, state.values())) for state in values):
        raise ValueError("the parameters of its layers are no arrays")
    model.check_input_shape(shape)
    for layer, state in zip(model.layers, values, strict=True):
        needed = {name: p.shape for name, p in layer.describe(shape).items()}
        came = {name: value.shape for name, value in state.items()}
        if came != needed:
            raise ValueError(f"the parameters of layer {layer.name!r} have shapes {came} and it needs {needed}")
        shape = layer.compute_output_shape(shape)


def states(model) -> list[list[np.ndarray] | None]:
    """The states that stateful layers begin the next batch with."""
    return [getattr(layer, "states", None) for layer in model.layers]


def set_states(model, values) -> None:
    """Set what `states` gave."""
    if len(values) != len(model.layers):
        raise ValueError("it does not have the states of its layers")
    for layer, value in zip(model.layers, values, strict=True):
        stateful = getattr(layer, "stateful", False)
        if value is not None and not stateful:
            raise ValueError(f"it has states for layer {layer.name!r}, which keeps none")
        if stateful:
            layer.reset_states(value)


def generators(model) -> dict[str, Any]:
    """The states of the model's source of randomness, and of those of its layers that have their own."""
    own = [None if layer.generator is None else layer.generator.bit_generator.state for layer in model.layers]
    return {"model": model.generator.bit_generator.state, "layers": own}


def set_generators(model, states: dict[str, Any]) -> None:
    """Set what `generators` gave."""
    archive.expect("random states", states, model=dict, layers=list)
    sources = [model.generator, *(layer.generator for layer in model.layers)]
    given = [states["model"], *states["layers"]]
    if [source is None for source in sources] != [state is None for state in given]:
        raise ValueError("it does not have the random states of its layers")
    for source, state in zip(sources, given, strict=True):
        if source is not None:
            archive.set_generator(source, state)


def training_state(model) -> dict[str, Any]:
    """All that training changes: parameters, sources of randomness, the optimizer's state and what was measured."""
    return {
        "input_shape": list(model.input_shape),
        "layers": [type(layer).__name__ for layer in model.layers],
        "weights": weights(model),
        "states": states(model),
        "generators": generators(model),
        "optimizer": model.optimizer.state(),
        "objective": model.objective.state(),
    }


def set_training_state(model, state: dict[str, Any]) -> None:
    """Set what `training_state` gave, within `unchanged_if_it_fails`."""
    archive.expect(
        "the model's state", state, input_shape=list, layers=list, weights=list, states=list, generators=dict,
        optimizer=dict, objective=dict,
    )  # fmt: skip
    kinds = [type(layer).__name__ for layer in model.layers]
    if state["layers"] != kinds:
        raise ValueError(
            f"it is of a model of {', '.join(map(str, state['layers']))}, and this one has {', '.join(kinds)}"
        )
    _check_weights(model, state["input_shape"], state["weights"])
    model.build(state["input_shape"], UNDRAWN)
    model._prepare()
    _set_training_state(model, state)


@contextmanager
def unchanged_if_it_fails(model):
    """Have a model that is compiled be as it was before if what is done within raises; others see it before or after.

    Gives the function that sets a `training_state`.
    """
    with model.changing():
        built, generators_before = model.built, generators(model)
        if built:
            model._prepare()
            before = training_state(model)
        try:
            yield partial(set_training_state, model)
        except BaseException:
            if built:
                _set_training_state(model, before)
            else:
                model.unbuild()
                model.optimizer.modules = []
                set_generators(model, generators_before)
            raise


def _set_training_state(model, state: dict[str, Any]) -> None:
    set_weights(model, state["weights"])
    model.optimizer.load_state(state["optimizer"])
    model.objective.load_state(state["objective"])
    set_states(model, state["states"])
    set_generators(model, state["generators"])


def _understood(path, make: Callable[[], Any]):
    """What ``make`` gives; what a file holds may make anything fail, and each failure is the file's."""
    try:
        return make()
    except faults.FAULTS as error:
        faults.raise_if_timed_out(error)
        raise ValueError(f"{os.fspath(path)!r} cannot be loaded: {archive.reason(error, 'save()')}") from error


def _is_array(value) -> bool:
    return isinstance(value, np.ndarray)
