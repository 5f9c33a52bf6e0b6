"""Copies and pickles of layers: made anew from their arguments, then given parameters, states and random state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nblstm.arguments.configured import Configured
from nblstm.layers.base.parameters import UNDRAWN

if TYPE_CHECKING:
    from nblstm.layers.base.layer import Layer


def constructor_objects(layer: Layer) -> dict[str, Any]:
    """The arguments from which `from_config` makes the layer without looking names up; layers in it are not built.

    A class with a `get_config` of its own says there what they are.
    """
    if type(layer).get_config is not Configured.get_config:
        return layer.get_config()
    given = layer._arguments()
    return {name: value.unbuilt() if hasattr(value, "unbuilt") else value for name, value in given.items()}


def reduced(layer: Layer) -> tuple:
    """Return the value of ``__reduce__``."""
    made = layer.input_shape, layer.state_dict(), layer.states, layer.generator
    return _restored, (type(layer), constructor_objects(layer), *made)


def _restored(cls: type[Layer], config, input_shape, parameters, states, generator) -> Layer:
    layer = cls.from_config(config)
    if input_shape is not None:
        layer.build(input_shape, UNDRAWN)
        layer.load_state_dict(parameters)
    if states is not None:
        layer.reset_states(states)
    if layer.generator is not None:
        layer.generator.bit_generator.state = generator.bit_generator.state
    return layer
