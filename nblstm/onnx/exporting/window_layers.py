"""Layers with sliding windows as nodes: ONNX has channels first, so axes are exchanged before and behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from nblstm.layers import AveragePooling1D, AveragePooling2D, Conv1D, Conv2D, MaxPooling1D, MaxPooling2D
from nblstm.layers.convolution import Windows
from nblstm.onnx.exporting.activation_nodes import add_activation
from nblstm.onnx.exporting.graph_builder import GraphBuilder
from nblstm.onnx.exporting.model_graph import Flow, ModelGraph


def add_convolution(made: ModelGraph, layer: Conv1D | Conv2D, x: Flow, prefix: str) -> Flow:
    """``activation(convolution(x, kernel) + bias)``."""
    graph, windows = made.graph, layer._windows
    kernel = np.moveaxis(layer._own["kernel"], (-1, -2), (0, 1))  # (filters, C, ...)
    weights = [graph.weight(kernel, "kernel")]
    weights += [graph.weight(layer._own["bias"], "bias")] if layer.use_bias else []
    attributes = {"kernel_shape": windows.size, "dilations": windows.dilation, **_places(windows)}

    def convolve(x: str) -> str:
        return graph.node("Conv", x, *weights, **attributes)

    y = _channels_first(graph, x, convolve)
    return replace(x, name=add_activation(graph, layer._label, layer.activation, y, layer.dtype))


def add_max_pooling(made: ModelGraph, layer: MaxPooling1D | MaxPooling2D, x: Flow, prefix: str) -> Flow:
    """The largest entries of windows."""
    graph, windows = made.graph, layer._windows
    attributes = {"kernel_shape": windows.size, **_places(windows)}
    return replace(x, name=_channels_first(graph, x, lambda x: graph.node("MaxPool", x, **attributes)))


def add_average_pooling(made: ModelGraph, layer: AveragePooling1D | AveragePooling2D, x: Flow, prefix: str) -> Flow:
    """The means of windows, of entries that are not padding."""
    graph, windows = made.graph, layer._windows
    attributes = {"kernel_shape": windows.size, "count_include_pad": 0, **_places(windows)}
    return replace(x, name=_channels_first(graph, x, lambda x: graph.node("AveragePool", x, **attributes)))


def _places(windows: Windows) -> dict[str, Any]:
    """Strides, and padding: its size depends on that of the input only where windows move by more than 1."""
    if windows.padding == "same" and max(windows.strides) > 1:
        return {"strides": windows.strides, "auto_pad": "SAME_UPPER"}
    pads = windows.pads(windows.size)  # of an input of any size
    return {"strides": windows.strides, "pads": [p for p, _ in pads] + [p for _, p in pads]}


def _channels_first(graph: GraphBuilder, x: Flow, add: Callable[[str], str]) -> str:
    rank = len(x.shape)
    first = graph.node("Transpose", x.name, perm=[0, rank - 1, *range(1, rank - 1)])
    return graph.node("Transpose", add(first), perm=[0, *range(2, rank), 1])
