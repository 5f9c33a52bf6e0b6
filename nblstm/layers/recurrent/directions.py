"""The engine's network of recurrent layers: one direction for each layer, parameters where the layers have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nblstm.buffers.layout import Layout, suffix
from nblstm.engine.device import device_for
from nblstm.engine.network import Network

if TYPE_CHECKING:
    from nblstm.layers.base.layer import Layer
    from nblstm.layers.recurrent.recurrent import Recurrent


def _described(layer: Recurrent) -> dict[str, Any]:
    """Return the fields of a `Network` in which two directions of one cannot differ."""
    return {
        "cell": layer.cell, "hidden_size": layer.units, "gates": layer._gates(), "input_dropout": layer.dropout,
        "recurrent_dropout": layer.recurrent_dropout, "learn_initial_state": layer.learn_initial_state,
    }  # fmt: skip


def are_of_one_network(a: Recurrent, b: Recurrent) -> bool:
    """Return whether two layers, of inputs of one shape, can be two directions of one network."""
    return a.use_bias == b.use_bias and _described(a) == _described(b)


def network_of(module: Layer, layers: Sequence[Recurrent]) -> Network:
    """The network that has one direction for each of some built layers.

    Parameters
    ----------
    module : Layer
        The layer itself, or one that holds all of them and has no parameters of its own.
    layers : sequence of Recurrent
    """
    return Network(
        **_described(layers[0]), input_size=layers[0]._layout.shapes["kernel"][0], num_layers=1,
        directions=tuple([layer.go_backwards for layer in layers]), batch_first=True, dtype=module.dtype,
        device=device_for(None), layout=torch_layout(layers, module._layout.size),
    )  # fmt: skip


def torch_layout(layers: Sequence[Recurrent], size: int) -> Layout:
    """The parameters of layers, one for each direction, under torch's names, where they are in the layers' buffer.

    A kernel lies column by column in memory, so as torch's matrix (G H, I) it lies row by row.
    """
    shapes_of: dict[str, tuple[int, ...]] = {}
    starts, begin = {}, 0
    for d, layer in enumerate(layers):
        own, end, H = layer._layout, suffix(0, d), layer.units
        rows = len(layer.cell.gates) * H

        def put(name: str, shape: tuple[int, ...], start: int, end=end) -> None:
            shapes_of[name + end], starts[name + end] = shape, start

        put("weight_ih", own.shapes["kernel"][::-1], begin + own.starts["kernel"])
        put("weight_hh", own.shapes["recurrent_kernel"][::-1], begin + own.starts["recurrent_kernel"])
        if layer.use_bias:
            put("bias_ih", (rows,), begin + own.starts["bias"])
            if len(own.shapes["bias"]) == 2:
                put("bias_hh", (rows,), begin + own.starts["bias"] + rows)
        for name in (*layer.cell.vectors, *(f"initial_{state}" for state in layer.cell.states)):
            if name in own.shapes:
                put(name, (H,), begin + own.starts[name])
        begin += own.size
    return Layout(shapes_of, starts, size)
