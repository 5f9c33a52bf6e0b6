"""Checks of the networks that a stack is made of."""

from __future__ import annotations

from collections.abc import Iterable

from nblstm.arguments import validate
from nblstm.nn.recurrent import Recurrent

#: Attributes that all layers have in common.
COMMON = "dtype", "batch_first", "stateful"


def outputs_of(layer: Recurrent) -> int:
    """Features of a layer's outputs."""
    return layer._network.D * layer._network.output_size


def stack_layers(layers) -> tuple[Recurrent, ...]:
    """The layers that a user gave, if each can follow the one before."""
    if isinstance(layers, Recurrent) or not isinstance(layers, Iterable):
        raise TypeError(
            f"layers is {validate.came(layers, 'networks')}; give a list of networks, such as nn.LSTM(3, 8)"
        )
    found = tuple(layers)
    if not found:
        raise ValueError("layers is empty; give a list of networks, such as [nn.LSTM(3, 8), nn.GRU(8, 4)]")
    for k, layer in enumerate(found):
        if not isinstance(layer, Recurrent):
            came = f"the class {layer.__name__}" if isinstance(layer, type) else f"of type {type(layer).__name__}"
            raise TypeError(f"layers[{k}] is {came}; give a recurrent network of nblstm.nn, such as nn.LSTM(3, 8)")
        if layer in found[:k]:
            raise ValueError(f"layers[{k}] is layers[{found.index(layer)}] once more; make another network")
        if layer._flat is not layer._buffer.flat:
            raise ValueError(f"layers[{k}] is in another stack already; make another network, or copy.deepcopy() it")
        for name in COMMON:
            if getattr(layer, name) != getattr(found[0], name):
                raise ValueError(
                    f"layers[{k}] has {name}={getattr(layer, name)!r} and layers[0] {getattr(found[0], name)!r}; give "
                    "all the same"
                )
        if layer._network.device != found[0]._network.device:
            raise ValueError(
                f"layers[{k}] is on {layer._network.device!r} and layers[0] on {found[0]._network.device!r}; give all "
                "the same device"
            )
        if k and layer.input_size != outputs_of(found[k - 1]):
            raise ValueError(
                f"layers[{k}] has input_size {layer.input_size}, and layers[{k - 1}] puts out "
                f"{outputs_of(found[k - 1])} features; give the one the other"
            )
    return found
