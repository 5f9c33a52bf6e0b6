"""A layer's parameters by name: shapes, initial values, penalties and constraints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.buffers.layout import Layout
from nblstm.initializers import Initializer
from nblstm.nn.module import allocated
from nblstm.regularizers import Regularizer

#: In the place of a generator: no initial values are drawn, since others follow. A QR for LSTM(2048) takes seconds.
UNDRAWN: Any = object()


@dataclass(frozen=True)
class Parameter:
    """Describes one parameter of a layer; a ``transposed`` matrix lies in memory column by column."""

    shape: tuple[int, ...]
    initializer: Initializer
    regularizer: Regularizer | None = None
    constraint: Callable[[np.ndarray], np.ndarray] | None = None
    transposed: bool = False


Parameters = dict[str, Parameter]
Values = dict[str, np.ndarray]


def layout_of(parameters: Parameters) -> Layout:
    """Return the places of the parameters in one buffer."""
    shapes = {name: p.shape for name, p in parameters.items()}
    return Layout.of(shapes, [name for name, p in parameters.items() if p.transposed])


def initial_values(parameters: Parameters, dtype: str, generator, label: str) -> np.ndarray:
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


def by_name(label: str, names: list[str], weights) -> Values:
    """A list of arrays in Keras's order, as a dict."""
    if not isinstance(weights, list | tuple) or len(weights) != len(names):
        listed = ", ".join(names) or "it is empty"
        raise ValueError(f"{label} got {validate.came(weights)}; give a list of {len(names)}: {listed}")
    return dict(zip(names, weights, strict=True))


@np.errstate(under="ignore")
def penalty(parameters: Parameters, values: Values) -> float:
    """Return the sum of all penalties."""
    return sum((p.regularizer(values[name]) for name, p in parameters.items() if p.regularizer is not None), 0.0)


@np.errstate(under="ignore")
def add_penalty_gradients(parameters: Parameters, values: Values, gradients: Values) -> None:
    """``gradients[name] += d penalty / d values[name]``."""
    for name, p in parameters.items():
        if p.regularizer is not None:
            gradients[name] += p.regularizer.gradient(values[name])


@np.errstate(under="ignore")
def constrain(parameters: Parameters, values: Values) -> None:
    """``values[name] = constraint(values[name])``."""
    for name, p in parameters.items():
        if p.constraint is not None:
            values[name][...] = p.constraint(values[name])
