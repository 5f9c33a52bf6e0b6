"""Layers of numbers and rows as nodes: products, lookups, activations, normalization, pooling of all steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nblstm.layers import (
    Activation,
    BatchNormalization,
    Dense,
    Embedding,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Layer,
    LayerNormalization,
    Masking,
    Normalization,
    PReLU,
    Softmax,
)
from nblstm.onnx.exporting.activation_nodes import add_activation
from nblstm.onnx.exporting.graph_builder import GraphBuilder
from nblstm.onnx.exporting.model_graph import Flow, Mask, ModelGraph


def add_dense(made: ModelGraph, layer: Dense, x: Flow, prefix: str) -> Flow:
    """``activation(x kernel + bias)``."""
    graph, own = made.graph, layer._own
    y = graph.node("MatMul", x.name, graph.weight(own["kernel"], "kernel"))
    if layer.use_bias:
        y = graph.node("Add", y, graph.weight(own["bias"], "bias"))
    return replace(x, name=add_activation(graph, layer._label, layer.activation, y, layer.dtype))


def add_activation_layer(made: ModelGraph, layer: Activation, x: Flow, prefix: str) -> Flow:
    """``activation(x)``."""
    return replace(x, name=add_activation(made.graph, layer._label, layer.activation, x.name, layer.dtype))


def add_identity(made: ModelGraph, layer: Layer, x: Flow, prefix: str) -> Flow:
    """Dropout and its like, which do nothing at inference."""
    return x


def add_embedding(made: ModelGraph, layer: Embedding, x: Flow, prefix: str) -> Flow:
    """``embeddings[x]``, and the mask of what is not 0."""
    graph = made.graph
    index = x.name if x.dtype in ("int32", "int64") else graph.cast(x.name, "int64")
    y = graph.node("Gather", graph.weight(layer._own["embeddings"], "embeddings"), index)
    mask = None
    if layer.mask_zero:
        zero = graph.constant(0, x.dtype if x.dtype == "int32" else "int64")
        mask = Mask(graph.node("Not", graph.node("Equal", index, zero), hint="mask"), len(x.shape))
    return replace(x, name=y, dtype=layer.dtype, mask=mask)


def add_masking(made: ModelGraph, layer: Masking, x: Flow, prefix: str) -> Flow:
    """Mask steps whose features all equal a number, and set them to 0."""
    graph = made.graph
    other = graph.node("Not", graph.node("Equal", x.name, graph.constant(layer.mask_value, layer.dtype)))
    mask = any_of(graph, other, [-1])
    y = graph.node("Where", graph.unsqueeze(mask, -1), x.name, graph.constant(0, layer.dtype))
    return replace(x, name=y, mask=Mask(mask, len(x.shape) - 1))


def any_of(graph: GraphBuilder, condition: str, axes: list[int]) -> str:
    """Add a disjunction: True where a condition holds anywhere along some axes."""
    return graph.cast(graph.reduce("ReduceMax", graph.cast(condition, "int32"), axes, False), "bool")


def add_layer_normalization(made: ModelGraph, layer: LayerNormalization, x: Flow, prefix: str) -> Flow:
    """``gamma (x - mean) / sqrt(variance + epsilon) + beta``."""
    graph, own, ndim = made.graph, layer._own, len(x.shape)
    axes = layer._axes(ndim)
    sizes: Any = [x.shape[a] if a in axes else 1 for a in range(ndim)]
    if axes == tuple(range(axes[0], ndim)) and graph.opset >= 17:
        gamma = own["gamma"] if layer.scale else np.ones([sizes[a] for a in axes], layer.dtype)
        inputs = [x.name, graph.weight(gamma, "gamma")]
        inputs += [graph.weight(own["beta"], "beta")] if layer.center else []
        y = graph.node("LayerNormalization", *inputs, axis=axes[0] - ndim, epsilon=layer.epsilon)
        return replace(x, name=y)
    centered = graph.node("Sub", x.name, graph.reduce("ReduceMean", x.name, axes, True))
    variance = graph.reduce("ReduceMean", graph.node("Mul", centered, centered), axes, True)
    root = graph.node("Sqrt", graph.node("Add", variance, graph.constant(layer.epsilon, layer.dtype)))
    y = graph.node("Div", centered, root)
    if layer.scale:
        y = graph.node("Mul", y, graph.weight(own["gamma"].reshape(sizes), "gamma"))
    if layer.center:
        y = graph.node("Add", y, graph.weight(own["beta"].reshape(sizes), "beta"))
    return replace(x, name=y)


def add_batch_normalization(made: ModelGraph, layer: BatchNormalization, x: Flow, prefix: str) -> Flow:
    """``scale x + shift``, of the moving averages."""
    graph, ndim = made.graph, len(x.shape)
    spread = [-1 if a == layer.axis % ndim else 1 for a in range(ndim)]
    scale, shift = (value.reshape(spread) for value in layer._affine(layer._own))
    y = graph.node("Mul", x.name, graph.weight(scale, "scale"))
    return replace(x, name=graph.node("Add", y, graph.weight(shift, "shift")))


def add_normalization(made: ModelGraph, layer: Normalization, x: Flow, prefix: str) -> Flow:
    """``(x - mean) / deviation``, or ``x deviation + mean``."""
    graph = made.graph
    numbers = zip(("mean", "deviation"), layer._used(layer._own, len(x.shape)), strict=True)
    mean, deviation = (graph.weight(value, name) for name, value in numbers)
    if layer.invert:
        return replace(x, name=graph.node("Add", graph.node("Mul", x.name, deviation), mean))
    return replace(x, name=graph.node("Div", graph.node("Sub", x.name, mean), deviation))


def add_prelu(made: ModelGraph, layer: PReLU, x: Flow, prefix: str) -> Flow:
    """``x`` above 0, ``alpha x`` below."""
    return replace(x, name=made.graph.node("PRelu", x.name, made.graph.weight(layer._own["alpha"], "alpha")))


def add_softmax(made: ModelGraph, layer: Softmax, x: Flow, prefix: str) -> Flow:
    """``e**x / sum(e**x)`` over some axes, of what a mask leaves."""
    graph, axes = made.graph, [a % len(x.shape) for a in layer._axes]
    if x.mask is None and len(axes) == 1:
        return replace(x, name=graph.node("Softmax", x.name, axis=axes[0]))
    zero, nothing = graph.constant(0, layer.dtype), graph.constant(-np.inf, layer.dtype)
    value = x.name
    if x.mask is not None:
        made.uses(x.mask)
        mask = x.mask.name
        for axis in range(x.mask.ndim, len(x.shape)):
            mask = graph.unsqueeze(mask, axis)
        value = graph.node("Where", mask, value, nothing)
    largest = graph.reduce("ReduceMax", value, axes, True)
    finite = graph.node("Where", graph.node("Greater", largest, nothing), largest, zero)
    e = graph.node("Exp", graph.node("Sub", value, finite))
    total = graph.reduce("ReduceSum", e, axes, True)
    some = graph.node("Where", graph.node("Greater", total, zero), total, graph.constant(1, layer.dtype))
    return replace(x, name=graph.node("Div", e, some))


def add_global_average(made: ModelGraph, layer: GlobalAveragePooling1D, x: Flow, prefix: str) -> Flow:
    """The mean over time of the steps that the mask leaves."""
    graph = made.graph
    if x.mask is None:
        return replace(x, name=graph.reduce("ReduceMean", x.name, [1], layer.keepdims))
    made.uses(x.mask)
    mask = graph.unsqueeze(x.mask.name, 2)
    total = graph.reduce(
        "ReduceSum", graph.node("Where", mask, x.name, graph.constant(0, layer.dtype)), [1], layer.keepdims
    )
    count = graph.reduce("ReduceSum", graph.cast(mask, layer.dtype), [1], layer.keepdims)
    return replace(x, name=graph.node("Div", total, graph.node("Max", count, graph.constant(1, layer.dtype))))


def add_global_max(made: ModelGraph, layer: GlobalMaxPooling1D, x: Flow, prefix: str) -> Flow:
    """The largest entries over time."""
    return replace(x, name=made.graph.reduce("ReduceMax", x.name, [1], layer.keepdims))
