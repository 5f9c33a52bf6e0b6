"""Layers that give entries another shape or order, or add, leave out and repeat steps, as nodes."""

from __future__ import annotations

from dataclasses import replace

from nblstm.layers import Cropping1D, Flatten, Permute, RepeatVector, Reshape, UpSampling1D, ZeroPadding1D
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


def add_permute(made: ModelGraph, layer: Permute, x: Flow, prefix: str) -> Flow:
    """The dimensions in another order."""
    return replace(x, name=made.graph.node("Transpose", x.name, perm=[0, *layer.dims]))


def add_zero_padding(made: ModelGraph, layer: ZeroPadding1D, x: Flow, prefix: str) -> Flow:
    """Steps of zeros before and behind a sequence."""
    graph, (before, behind) = made.graph, layer.padding
    return replace(x, name=graph.node("Pad", x.name, graph.constant([0, before, 0, 0, behind, 0])))


def add_cropping(made: ModelGraph, layer: Cropping1D, x: Flow, prefix: str) -> Flow:
    """A sequence without its first and last steps."""
    graph, (first, last) = made.graph, layer.cropping
    end = graph.constant([-last if last else 2**63 - 1])
    return replace(x, name=graph.node("Slice", x.name, graph.constant([first]), end, graph.constant([1])))


def add_up_sampling(made: ModelGraph, layer: UpSampling1D, x: Flow, prefix: str) -> Flow:
    """Each step several times: (B, T, 1, C), (B, T, size, C), (B, size T, C)."""
    graph = made.graph
    repeated = graph.node("Expand", graph.unsqueeze(x.name, 2), graph.constant([1, 1, layer.size, 1]))
    shape = graph.concat([graph.constant([0, -1]), graph.sizes(x.name, 2, 3)], 0)
    return replace(x, name=graph.node("Reshape", repeated, shape))
