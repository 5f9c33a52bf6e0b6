"""A layer's parameters: their description, the buffer that has them and those of held layers, and copies of layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.arguments import validate
from nblstm.arguments.configured import Configured
from nblstm.buffers.layout import Layout
from nblstm.initializers import Initializer
from nblstm.layers.base import holding, shapes
from nblstm.layers.base.shapes import Shape
from nblstm.nn.module import allocated
from nblstm.regularizers import Regularizer

if TYPE_CHECKING:
    from nblstm.layers.base.layer import Layer

#: In the place of a generator: no initial values are drawn, since others follow. A QR for LSTM(2048) takes seconds.
UNDRAWN: Any = object()


@dataclass(frozen=True)
class Parameter:
    """Describes one parameter of a layer; a ``transposed`` matrix lies in memory column by column.

    One that is not ``trainable``, such as a moving average, is saved, copied and counted like the others, but has the
    gradient 0 and no optimizer changes it: `Layer.after_step` may.
    """

    shape: tuple[int, ...]
    initializer: Initializer
    regularizer: Regularizer | None = None
    constraint: Callable[[np.ndarray], np.ndarray] | None = None
    transposed: bool = False
    trainable: bool = True

    def __post_init__(self):
        """Refuse a penalty that no gradient would follow."""
        if self.regularizer is not None and not self.trainable:
            raise ValueError("a parameter with trainable=False has a regularizer, which changes nothing; leave it out")


def layout_of(parameters: dict[str, Parameter]) -> Layout:
    """Return the places of the parameters in one buffer."""
    shapes = {name: p.shape for name, p in parameters.items()}
    return Layout.of(shapes, [name for name, p in parameters.items() if p.transposed])


def trainable_weights(layer: Layer) -> list[np.ndarray]:
    """Views of the parameters that training changes by gradients."""
    views = layer.parameters() if layer.trainable else {}
    return [view for name, view in views.items() if layer.described[name].trainable]


def non_trainable_weights(layer: Layer) -> list[np.ndarray]:
    """Views of the others: moving averages, or all of a layer that is not trainable."""
    trainable = layer.trainable
    return [view for name, view in layer.parameters().items() if not (trainable and layer.described[name].trainable)]


def trained_places(layer: Layer) -> list[slice]:
    """Return the places in the flat buffer of the parameters that optimizers change."""
    places: list[slice] = []
    for name, parameter in layer.described.items():
        place = layer._layout.place(name)
        if parameter.trainable and places and places[-1].stop == place.start:
            places[-1] = slice(places[-1].start, place.stop)
        elif parameter.trainable:
            places.append(place)
    return places


def initial_values(parameters: dict[str, Parameter], dtype: str, generator, label: str) -> np.ndarray:
    """Draw the initial values of all parameters, in one buffer; ``label`` names the layer in messages."""
    layout = layout_of(parameters)
    if generator is UNDRAWN:
        return allocated(layout, lambda: np.zeros(layout.size, dtype))
    flat = allocated(layout, lambda: np.empty(layout.size, dtype))
    for name, view in layout.views(flat).items():
        values = parameters[name].initializer(view.shape, dtype, generator)
        view[...] = validate.shaped(f"the initial {name!r}", values, view.shape, f"that of {label}")
        constraint = parameters[name].constraint
        if constraint is not None:  # tried here, so that it does not fail behind the first step of training
            given = np.asarray(constraint(view.copy()))
            validate.shaped(f"what the constraint of {name!r} gives", given, view.shape, "that of the parameter")
    return flat


def checked_shape(layer: Layer, input_shape) -> Shape:
    """``input_shape`` as one that the layer can be built for."""
    shape = shapes.batch_shape("input_shape", input_shape)
    layer._check_ndim(shape)
    shapes.check_known(layer._label, shape, layer.fixed_axes)
    layer._output_shape(shape)
    return shape


def build(layer: Layer, input_shape, generator: np.random.Generator | None) -> None:
    """Make the parameters; see `Layer.build`."""
    shape = checked_shape(layer, input_shape)
    own = layer._parameters_for(shape)
    described = holding.with_held_parameters(layer, shape, own)
    layout = layout_of(described)
    with layer._build_lock:
        for each in layer.held_layers.values():
            if each.built and not layer.built and each._flat is not each._buffer.flat:
                raise ValueError(f"{each._label} is held by another layer already; make one for {layer._label}")
            each.build(layer._held_shape(each, shape), generator)
        if not layer.built:
            flat = initial_values(own, layer.dtype, generator, layer._label)
            if layer.held_layers:
                flat = np.concatenate([flat, *(each._flat for each in layer.held_layers.values())])
            layer._set_buffer(layout, flat)
            layer.described = described
        elif layout.shapes != layer._layout.shapes:
            raise ValueError(
                f"{layer._label} was built for inputs of shape {layer.input_shape} and came upon {shape}; "
                "make another layer for them"
            )
        layer.input_shape = shape


def set_weights(layer: Layer, weights) -> None:
    """Set the parameters from a list in their order; see `Layer.set_weights`."""
    layer._need_built()
    names = list(layer._layout.shapes)
    if not isinstance(weights, list | tuple) or len(weights) != len(names):
        listed = ", ".join(names) or "it is empty"
        raise ValueError(f"{layer._label} got {validate.came(weights)}; give a list of {len(names)}: {listed}")
    layer.load_state_dict(dict(zip(names, weights, strict=True)))


def states(layer: Layer) -> Any:
    """The ``states`` that the next batch starts with: the layer's own, else a list of those that it holds; or None."""
    own = getattr(layer, "states", None)
    if own is not None or not layer.stateful:
        return own
    found = [states(each) for each in layer.held_layers.values() if each.stateful]
    return found if any(given is not None for given in found) else None


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
    made = layer.input_shape, layer.state_dict(), states(layer), layer.generator
    return _restored, (type(layer), constructor_objects(layer), *made)


def _restored(cls: type[Layer], config, input_shape, values, carried, generator) -> Layer:
    layer = cls.from_config(config)
    if input_shape is not None:
        layer.build(input_shape, UNDRAWN)
        layer.load_state_dict(values)
    if carried is not None:
        layer.reset_states(carried)
    if layer.generator is not None:
        layer.generator.bit_generator.state = generator.bit_generator.state
    return layer
