"""Penalties of a layer's parameters, their gradient, and constraints: methods of `Layer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nblstm.nn import Gradients

if TYPE_CHECKING:
    from nblstm.layers.base.layer import Layer


@np.errstate(under="ignore")
def regularization_loss(layer: Layer) -> float:
    """Return the sum of the parameters' penalties; 0 if the layer is not trainable."""
    penalized = layer.described.items() if layer.trainable else ()
    return sum((p.regularizer(layer._own[name]) for name, p in penalized if p.regularizer is not None), 0.0)


@np.errstate(under="ignore")
def add_regularization_gradient(layer: Layer, gradients: Gradients) -> None:
    """Add the penalties' gradient to ``gradients``, in place; nothing if the layer is not trainable."""
    for name, p in layer.described.items() if layer.trainable else ():
        if p.regularizer is not None:
            gradients.params[name] += p.regularizer.gradient(layer._own[name])


@np.errstate(under="ignore")
def apply_constraints(layer: Layer) -> None:
    """Project the parameters that have a constraint; to be called after each update."""
    with layer._lock:
        layer.forget()
        for name, p in layer.described.items():
            if p.constraint is not None:
                layer._own[name][...] = p.constraint(layer._own[name])
        layer.forget()
