"""Snapshots of a model: parameters, states, sources of randomness, and all else that training changes.

They are read and set at one moment, as those see it who use the model in other threads.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.arguments import validate
from nblstm.files import content
from nblstm.layers.base import parameters as layer_parameters
from nblstm.layers.base.parameters import UNDRAWN
from nblstm.models import data
from nblstm.models.fitting import need_compiled
from nblstm.models.step import prepare
from nblstm.process.show import warn

if TYPE_CHECKING:
    from nblstm.models.sequential import Sequential


def get_weights(model: Sequential) -> list[np.ndarray]:
    """Copies of all parameters, in Keras's order and shapes."""
    return model._parameters_lock.read(
        lambda: [value for layer in model._layers if layer.built for value in layer.get_weights()]
    )


def set_weights(model: Sequential, weights) -> None:
    """Set all parameters from what `get_weights` gives, here or in Keras.

    Raises
    ------
    TypeError, ValueError
        If number or shapes do not fit, or the model is not built; then nothing has been changed.
    """
    model._need_built()
    names = [list(layer.described) for layer in model._layers]
    count = sum(map(len, names))
    if not isinstance(weights, list | tuple) or len(weights) != count:
        came = validate.came(weights)
        raise ValueError(f"the model has {count} parameters and weights is {came}; give a list of as many arrays")
    given = iter(weights)
    set_parameters(model, [dict(zip(those, given, strict=False)) for those in names])


def state(model: Sequential) -> dict[str, Any]:
    """All that training changes, for a later `load_state`.

    Returns
    -------
    dict
        Parameters, sources of randomness, the optimizer's state, and what was measured in the epoch so far.
    """
    need_compiled(model, "state")
    model._need_built()
    return model._parameters_lock.read(_training_state, model)


def load_state(model: Sequential, state: dict[str, Any]) -> None:
    """Go on from a `state`: training gives the same bits as it would have given there.

    Raises
    ------
    RuntimeError, ValueError
        If the model is not compiled, or the state is not of the same layers and optimizer; then nothing has been
        changed.
    """
    need_compiled(model, "load_state")
    with model.unchanged_if_it_fails() as set_state:
        set_state(state)


def parameters(model: Sequential) -> list[dict[str, np.ndarray]]:
    """The parameters of each layer by name."""
    return [layer.state_dict() for layer in model.layers]


def set_parameters(model: Sequential, values) -> None:
    """Set what `parameters` returned, at one moment; if something does not fit, nothing has been changed."""
    layers = model.layers
    staged = [layer._staged(state) for layer, state in zip(layers, values, strict=True)]
    with model._parameters_lock.writing():
        for layer, flat in zip(layers, staged, strict=True):
            layer._put(flat)


def set_checked(model: Sequential, values, skip_mismatch: bool = False) -> None:
    """Set what a file has, if these are the parameters of the model's layers, or for those of them for which they are.

    The model is built.
    """
    if skip_mismatch and isinstance(values, list) and len(values) == len(model.layers):
        values = _fitting(model, values)
    check_parameters(model, model.input_shape, values)
    set_parameters(model, values)


def _fitting(model: Sequential, values: list) -> list[dict[str, np.ndarray]]:
    """``values``, with a layer's own where they are not of its shapes; a warning names these layers."""
    found, left = [], []
    for layer, state in zip(model.layers, values, strict=True):
        came = {name: np.shape(value) for name, value in state.items()} if isinstance(state, dict) else None
        fits = came == {name: parameter.shape for name, parameter in layer.described.items()}
        found.append(state if fits else layer.state_dict())
        left += [] if fits else [layer.name]
    if left:
        warn(f"layers keep their parameters, as the file has none of these shapes: {content.listed(left)}")
    return found


def check_parameters(model: Sequential, shape, values) -> None:
    """Refuse parameters that are not those of the layers, before these take memory."""
    if not isinstance(values, list):
        raise ValueError("it does not have the parameters of its layers")
    if len(values) != len(model.layers):
        raise ValueError(f"it has the parameters of {len(values)} layers, and the model has {len(model.layers)} layers")
    arrays = [value for state in values if isinstance(state, dict) for value in state.values()]
    if not all(isinstance(each, kind) for found, kind in ((values, dict), (arrays, np.ndarray)) for each in found):
        raise ValueError("the parameters of its layers are no arrays")
    data.input_shape(model, shape)
    for layer, state in zip(model.layers, values, strict=True):
        needed = {name: p.shape for name, p in layer.describe(shape).items()}
        came = {name: value.shape for name, value in state.items()}
        if came != needed:
            raise ValueError(f"the parameters of layer {layer.name!r} have shapes {came} and it needs {needed}")
        shape = layer.compute_output_shape(shape)


def states(model: Sequential) -> list[list[np.ndarray] | None]:
    """The states that stateful layers begin the next batch with."""
    return [layer_parameters.states(layer) for layer in model.layers]


def set_states(model, values) -> None:
    """Set what `states` gave."""
    if len(values) != len(model.layers):
        raise ValueError("it does not have the states of its layers")
    for layer, value in zip(model.layers, values, strict=True):
        if value is not None and not layer.stateful:
            raise ValueError(f"it has states for layer {layer.name!r}, which keeps none")
        if layer.stateful:
            layer.reset_states(value)


def generators(model: Sequential) -> dict[str, Any]:
    """The states of the model's source of randomness, and of those of its layers that have their own."""
    own = [None if layer.generator is None else layer.generator.bit_generator.state for layer in model.layers]
    return {"model": model.generator.bit_generator.state, "layers": own}


def set_generators(model: Sequential, states: dict[str, Any]) -> None:
    """Set what `generators` returned."""
    content.expect("random states", states, model=dict, layers=list)
    sources = [model.generator, *(layer.generator for layer in model.layers)]
    given = [states["model"], *states["layers"]]
    if [source is None for source in sources] != [state is None for state in given]:
        raise ValueError("it does not have the random states of its layers")
    for source, state in zip(sources, given, strict=True):
        if source is not None:
            content.set_generator(source, state)


def arrays(model: Sequential) -> dict[str, Any]:
    """Parameters, states and sources of randomness."""
    return {"weights": parameters(model), "states": states(model), "generators": generators(model)}


def _training_state(model: Sequential) -> dict[str, Any]:
    optimizer: Any = model.optimizer
    objective: Any = model.objective
    return {
        "input_shape": list(model.input_shape or ()),
        "layers": [type(layer).__name__ for layer in model.layers],
        **arrays(model),
        "optimizer": optimizer.state(),
        "objective": objective.state(),
    }


@contextmanager
def unchanged_if_it_fails(model: Sequential):
    """``with model.unchanged_if_it_fails() as set_state:`` if that raises, the model has its `state` from before.

    ``set_state(state)`` is `load_state` within it. Other threads see the model as before, or after.
    """
    with model._parameters_lock.writing():
        built, generators_before = model.built, generators(model)
        if built:
            prepare(model)
            before = _training_state(model)
        try:
            yield partial(_set_checked_state, model)
        except BaseException:
            if built:
                _set_training_state(model, before)
            else:
                model.unbuild()
                set_generators(model, generators_before)
            raise


def _set_checked_state(model: Sequential, state: dict[str, Any]) -> None:
    """Set what `state` returned, if it is of a model like this one."""
    content.expect(
        "the model's state", state, input_shape=list, layers=list, weights=list, states=list, generators=dict,
        optimizer=dict, objective=dict,
    )  # fmt: skip
    kinds = [type(layer).__name__ for layer in model.layers]
    if state["layers"] != kinds:
        raise ValueError(
            f"it is of a model of {', '.join(map(str, state['layers']))}, and this one has {', '.join(kinds)}"
        )
    check_parameters(model, state["input_shape"], state["weights"])
    model.build(state["input_shape"], UNDRAWN)
    prepare(model)
    _set_training_state(model, state)


def _set_training_state(model: Sequential, state: dict[str, Any]) -> None:
    optimizer: Any = model.optimizer
    objective: Any = model.objective
    set_parameters(model, state["weights"])
    optimizer.load_state(state["optimizer"])
    objective.load_state(state["objective"])
    set_states(model, state["states"])
    set_generators(model, state["generators"])
