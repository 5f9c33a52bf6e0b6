"""Layers that give entries another shape or order, or add, leave out and repeat steps, as nodes."""

from __future__ import annotations

from dataclasses import replace

from nblstm.layers import Flatten, RepeatVector, Reshape
from nblstm.onnx.exporting.model_graph import Flow, ModelGraph


def add_flatten(made: ModelGraph, layer: Flatten, x: Flow, prefix: str) -> Flow:
    """(B, ...) to (B, their product)."""
    return replace(x, name=made.graph.node("Flatten", x.name, axis=1))


def add_reshape(made: ModelGraph, layer: Reshape, x: Flow, prefix: str) -> Flow:
    """(B, ...) to (B, *target_shape)."""
    graph = made.graph
    shape = graph.concat([graph.sizes(x.name, 0, 1), graph.constant(list(layer.target_shape))], 0)
    return replace(x, name=graph.node("Reshape", x.name, shape, allowzero=int(0 in layer.target_shape)))


def add_repeat_vector(made: ModelGraph, layer: RepeatVector, x: Flow, prefix: str) -> Flow:
    """(B, C) to (B, n, C)."""
    graph = made.graph
    return replace(x, name=graph.node("Expand", graph.unsqueeze(x.name, 1), graph.constant([1, layer.n, 1])))
