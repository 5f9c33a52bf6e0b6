"""Which function writes a layer of which class as nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nblstm import layers
from nblstm.layers import Layer, TimeDistributed
from nblstm.onnx.exporting import plain_layers, recurrent_layers, shape_layers, window_layers
from nblstm.onnx.exporting.graph_builder import GraphBuilder
from nblstm.onnx.exporting.model_graph import Flow, Mask, ModelGraph
from nblstm.onnx.exporting.plain_layers import any_of

Writer = Callable[[ModelGraph, Any, Flow, str], Flow]


def add_layer(made: ModelGraph, layer: Layer, x: Flow, states_prefix: str = "") -> Flow:
    """Add the nodes of a layer.

    Raises
    ------
    ValueError
        If it is a class of a user's, whose equation is not known.
    """
    writer, graph = _writer_of(layer), made.graph
    outside = graph.prefix
    graph.prefix = f"{outside}{layer.name}/"
    dtype = _dtype_read(layer)
    if dtype not in (None, x.dtype):
        x = replace(x, name=_converted(graph, x.name, dtype), dtype=dtype)
    y = writer(made, layer, x, states_prefix)
    graph.prefix = outside
    own_mask = y.mask is not x.mask or layer.supports_masking
    return replace(y, shape=layer._output_shape(x.shape), mask=y.mask if own_mask else None)


def _converted(graph: GraphBuilder, x: str, dtype: str) -> str:
    """Cast a value; what a Transpose gives is cast before it: onnxruntime 1.32 crashes on Transpose, Cast, MatMul."""
    last = graph.nodes[-1] if graph.nodes else None
    if last is None or last.op_type != "Transpose" or x not in last.output:
        return graph.cast(x, dtype)
    graph.nodes.pop()
    return graph.node("Transpose", graph.cast(last.input[0], dtype), perm=list(last.attribute[0].ints))


def _dtype_read(layer: Layer) -> str | None:
    """The dtype that a layer converts its input to; None if it takes whole numbers."""
    while isinstance(layer, TimeDistributed):
        layer = layer.layer
    return None if isinstance(layer, layers.Embedding) else layer.dtype


def reads_whole_numbers(layer: Layer) -> bool:
    """Say if a layer looks up whole numbers."""
    return _dtype_read(layer) is None


def _writer_of(layer: Layer) -> Writer:
    """The function for the layer's class, or for the one of nblstm's that it only gives a cell or arguments to."""
    for kind in type(layer).__mro__:
        if kind in WRITERS:
            return WRITERS[kind]
        if {"_forward", "__call__", "forward", "compute_mask", "_merge"} & vars(kind).keys():
            break
    raise ValueError(
        f"{layer._label} is of a class of your own, whose equation ONNX cannot be given; export the layers before it "
        "and behind it as models, or write it as layers of nblstm, or as an Activation with scalar="
    )


def add_time_distributed(made: ModelGraph, layer: TimeDistributed, x: Flow, prefix: str) -> Flow:
    """Fold time into the batch, (B T, ...), run the layer within, and unfold."""
    graph, outside, mask = made.graph, made.within, x.mask
    inner_mask = None
    if mask is not None and (mask.ndim > 2 or (len(x.shape) == 3 and layer.layer.supports_masking)):
        inner_mask = Mask(_folded(made, mask.name, x.shape[: mask.ndim]), mask.ndim - 1, given=mask.given)
    folded = Flow(_folded(made, x.name, x.shape), (None, *x.shape[2:]), x.dtype, inner_mask)
    made.within = layer.name
    y = add_layer(made, layer.layer, folded)
    made.within = outside
    outer = graph.sizes(x.name, 0, 2)

    def unfolded(name: str, ndim: int) -> str:
        shape = graph.concat([outer, graph.sizes(name, 1, ndim)], 0) if ndim > 1 else outer
        return graph.node("Reshape", name, shape)

    if y.mask is not None and y.mask is not inner_mask:
        mask = Mask(unfolded(y.mask.name, y.mask.ndim), y.mask.ndim + 1)
    elif mask is not None and mask.ndim > 2 and y.mask is None:
        mask = Mask(any_of(graph, mask.name, list(range(2, mask.ndim))), 2, given=mask.given)
    return replace(x, name=unfolded(y.name, len(y.shape)), dtype=y.dtype, mask=mask)


def _folded(made: ModelGraph, name: str, shape: tuple[int | None, ...]) -> str:
    """(B, T, ...) as (B T, ...)."""
    graph = made.graph
    rest = shape[2:]
    if None not in rest:
        return graph.node("Reshape", name, graph.constant([-1, *rest]))
    target = graph.concat([graph.constant([-1]), graph.sizes(name, 2, len(shape))], 0)
    return graph.node("Reshape", name, target)


#: By class; a class below one of these has the same function, unless it computes something else.
WRITERS: dict[type, Writer] = {
    layers.Recurrent: recurrent_layers.add_recurrent,
    layers.Bidirectional: recurrent_layers.add_bidirectional,
    layers.TimeDistributed: add_time_distributed,
    layers.Dense: plain_layers.add_dense,
    layers.Activation: plain_layers.add_activation_layer,
    layers.ReLU: plain_layers.add_activation_layer,
    layers.LeakyReLU: plain_layers.add_activation_layer,
    layers.ELU: plain_layers.add_activation_layer,
    layers.PReLU: plain_layers.add_prelu,
    layers.Softmax: plain_layers.add_softmax,
    layers.GaussianDropout: plain_layers.add_identity,
    layers.GaussianNoise: plain_layers.add_identity,
    layers.Dropout: plain_layers.add_identity,
    layers.SpatialDropout1D: plain_layers.add_identity,
    layers.Embedding: plain_layers.add_embedding,
    layers.Masking: plain_layers.add_masking,
    layers.BatchNormalization: plain_layers.add_batch_normalization,
    layers.Normalization: plain_layers.add_normalization,
    layers.LayerNormalization: plain_layers.add_layer_normalization,
    layers.Flatten: shape_layers.add_flatten,
    layers.Reshape: shape_layers.add_reshape,
    layers.RepeatVector: shape_layers.add_repeat_vector,
    layers.Permute: shape_layers.add_permute,
    layers.ZeroPadding1D: shape_layers.add_zero_padding,
    layers.Cropping1D: shape_layers.add_cropping,
    layers.UpSampling1D: shape_layers.add_up_sampling,
    layers.GlobalAveragePooling1D: plain_layers.add_global_average,
    layers.GlobalMaxPooling1D: plain_layers.add_global_max,
    layers.Conv1D: window_layers.add_convolution,
    layers.Conv2D: window_layers.add_convolution,
    layers.MaxPooling1D: window_layers.add_max_pooling,
    layers.MaxPooling2D: window_layers.add_max_pooling,
    layers.AveragePooling1D: window_layers.add_average_pooling,
    layers.AveragePooling2D: window_layers.add_average_pooling,
}
