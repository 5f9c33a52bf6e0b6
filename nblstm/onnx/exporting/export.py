"""`export`: networks and models as ONNX models, returned or written to a file."""

from __future__ import annotations

import json
from typing import Any

import onnx
from onnx import ModelProto, helper

from nblstm import __version__, nn
from nblstm.arguments import validate
from nblstm.cells import pickling
from nblstm.files import atomic
from nblstm.layers import Layer
from nblstm.models import Sequential
from nblstm.onnx.exporting.equations import CELLS
from nblstm.onnx.exporting.graph_builder import DOMAIN, GraphBuilder, storable, value_info
from nblstm.onnx.exporting.layer_table import add_layer, reads_whole_numbers
from nblstm.onnx.exporting.lengths import Lengths
from nblstm.onnx.exporting.model_graph import Flow, Mask, ModelGraph
from nblstm.onnx.exporting.recurrences import Stack, run_stack

#: Local functions need version 15; the newest is the one that the installed onnx knows.
OLDEST, NEWEST = 15, onnx.defs.onnx_opset_version()

#: Options of a network that a file describes, beside its cell.
_OPTIONS = (
    "input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional", "reverse",
    "learn_initial_state", "proj_size", "dtype",
)  # fmt: skip

#: Bytes of a protocol buffer.
LARGEST = 2**31 - 1


def export(
    network_or_model: Any, path=None, opset: int = 17, states: bool | None = None, *, lengths: bool = False
) -> ModelProto:  # fmt: skip
    """Make an ONNX model that computes the same at inference.

    A cell whose equations are those of ONNX's LSTM, GRU or RNN, peepholes and other activations included, becomes that
    operator, one for each layer. Any other cell becomes a Scan over MatMul, Split and local functions: that of the
    cell's name has its equations as nodes, and their text as its description. Further inputs are the signals of the
    cell by their names, each of three dimensions, (T, B, H), or (T, B, 1) for one number for all units.

    Parameters
    ----------
    network_or_model : nn.Recurrent, nn.Linear, Sequential, or a recurrent module of nblstm.torch
        With the parameters as they are now.
    path : str or PathLike, optional
        Of a file to write, whole or not at all.
    opset : int, default 17
        Version of ONNX's operators, from 15 on.
    states : bool, optional
        Whether there are inputs ``h_0``, ``c_0``, ... for the states before the first step, and outputs ``h_n``,
        ``c_n``, ... for those after the last, (num_layers D, B, H) each; without, each call begins with the network's
        own initial states. If not given, a network has them, and of a model its stateful layers; True gives them to
        all recurrent layers. In a model with several, ``lstm_1.h_0`` is that of the layer ``lstm_1``.
    lengths : bool, default False
        Whether there is an input ``lengths``, int64 (B,), the length of each sequence: for a network as its argument
        of this name, for a model as the mask that is True before each length.

    Returns
    -------
    ModelProto
        With the input ``x`` and the output ``y`` in the shapes that the network or model has them, a Linear's with one
        dimension before its features; ``batch`` and ``time`` stay open.

    Raises
    ------
    TypeError, ValueError
        If it is something else, a layer has no equation that is known, or an argument is not as described.

    Notes
    -----
    What only training uses, such as dropout, is left out. In float64 every cell becomes a Scan, as onnxruntime has
    LSTM, GRU and RNN in float32 alone; convolutions in float64 it does not have either.

    Examples
    --------
    >>> from nblstm import nn
    >>> from nblstm.onnx import export
    >>> made = export(nn.LSTM(3, 8, seed=0))
    >>> [each.name for each in made.graph.input], [node.op_type for node in made.graph.node if node.op_type == "LSTM"]
    (['x', 'h_0', 'c_0'], ['LSTM'])
    """
    opset = _opset(opset)
    states = None if states is None else validate.flag("states", states)
    lengths = validate.flag("lengths", lengths)
    target = None if path is None else validate.target_path("path", path)
    source = network_or_model.to_nn() if hasattr(network_or_model, "to_nn") else network_or_model
    if isinstance(source, nn.Recurrent):
        made = _of_network(source, opset, states, lengths)
    elif isinstance(source, nn.Linear):
        if lengths:
            raise ValueError("lengths is True, and a Linear has no steps; leave it False")
        made = _of_linear(source, opset)
    elif isinstance(source, Sequential):
        source._need_built()
        made = source._parameters_lock.read(_of_model, source, opset, states, lengths)
    else:
        raise TypeError(f"export got {_came(source)}")
    if made.ByteSize() > LARGEST:
        raise ValueError(f"the model would have {made.ByteSize():,} bytes, and an ONNX file has 2 GB at most")
    if target is not None:
        written = made.SerializeToString()
        atomic.replace(target, lambda file: file.write(written), lambda file: _check_same(file.read(), written))
    return made


def _opset(opset) -> int:
    opset = validate.whole_number("opset", opset)
    if not OLDEST <= opset <= NEWEST:
        raise ValueError(f"opset is {opset}; give one from {OLDEST} to {NEWEST}, the newest that this onnx knows")
    return opset


def _came(source: Any) -> str:
    if isinstance(source, Layer):
        return f"the layer {source.name!r}; put it into a Sequential"
    return f"{type(source).__name__}; give a network of nblstm.nn, a Sequential, or a recurrent module of nblstm.torch"


def _check_same(read: bytes, written: bytes) -> None:
    if read != written:
        raise OSError("the file has not the bytes that were written to it; is the disk damaged?")


def _of_network(network: nn.Recurrent, opset: int, states: bool | None, lengths: bool) -> ModelProto:
    if network.stateful and states is False:
        raise ValueError("the network is stateful, and states=False would leave its states out; leave it at None")
    description, dtype = network._network, network.dtype
    stack = Stack.of(description, network.state_dict(), network.cell)
    graph = GraphBuilder(opset)
    made = ModelGraph(graph, states)
    x, y = graph.reserve("x"), graph.reserve("y")
    steps = ["batch", "time"] if network.batch_first else ["time", "batch"]
    given = [value_info(x, dtype, [*steps, network.input_size])]
    stated = states is not False
    first = made.states_in(stack, "") if stated else None
    if network.batch_first:
        x = graph.node("Transpose", x, perm=[1, 0, 2])
    ends = None
    if lengths:
        ends = Lengths(graph, graph.reserve("lengths"), graph.sizes(x, 0, 1))
        made.inputs.append(value_info("lengths", "int64", ["batch"]))
    signals = [graph.unique(name) for name in stack.network.cell.signals]
    given += [value_info(name, dtype, [*steps, None]) for name in signals]
    if network.batch_first:
        signals = [graph.node("Transpose", name, perm=[1, 0, 2]) for name in signals]
    out, finals = run_stack(graph, stack, x, first, ends, signals=signals)
    assert out is not None
    graph.named(graph.node("Transpose", out, perm=[1, 0, 2]) if network.batch_first else out, y)
    if stated:
        made.states_out(stack, "", finals)
    result = value_info(y, dtype, [*steps, description.D * description.output_size])
    config = {name: getattr(network, name) for name in _OPTIONS} | {"cell": pickling.as_data(network.cell)}
    described = {"class_name": type(network).__name__, "config": config}
    return _model(made, type(network).__name__, given, result, described)


def _of_linear(linear: nn.Linear, opset: int) -> ModelProto:
    graph = GraphBuilder(opset)
    x, y, parameters = graph.reserve("x"), graph.reserve("y"), linear.state_dict()
    out = graph.node("MatMul", x, graph.weight(parameters["weight"].T, "weight"))
    if "bias" in parameters:
        out = graph.node("Add", out, graph.weight(parameters["bias"], "bias"))
    graph.named(out, y)
    given = value_info(x, linear.dtype, ["batch", linear.in_features])
    result = value_info(y, linear.dtype, ["batch", linear.out_features])
    sizes = {"in_features": linear.in_features, "out_features": linear.out_features}
    config = {"class_name": "Linear", "config": {**sizes, "bias": "bias" in parameters, "dtype": linear.dtype}}
    return _model(ModelGraph(graph, False), "Linear", [given], result, config)


def _of_model(model: Sequential, opset: int, states: bool | None, lengths: bool) -> ModelProto:
    graph = GraphBuilder(opset)
    made = ModelGraph(graph, states)
    shape, first = model.input_shape, model.layers[0]
    assert shape is not None
    declared = None if model._input is None else model._input.data_dtype
    dtype = declared or ("int64" if reads_whole_numbers(first) else first.dtype)
    x, y = graph.reserve("x"), graph.reserve("y")
    given = [value_info(x, dtype, _dimensions(shape))]
    mask = None
    if lengths:
        mask = _mask_of_lengths(made, x, shape)
    flow = Flow(x, shape, dtype, mask)
    recurrent = [layer for layer in model.layers if hasattr(layer, "_directions")]
    for layer in model.layers:
        flow = add_layer(made, layer, flow, f"{storable(layer.name)}." if len(recurrent) > 1 else "")
    if lengths and not made.lengths_used:
        raise ValueError("lengths is True, and no layer uses a mask of the input; leave it False")
    graph.named(flow.name, y)
    result = value_info(y, flow.dtype, _dimensions(flow.shape))
    return _model(made, model.name, given, result, _config(model))


def _mask_of_lengths(made: ModelGraph, x: str, shape) -> Mask:
    if len(shape) < 2:
        raise ValueError(f"lengths is True, and the model's input has shape {shape}, no steps; leave it False")
    name = made.graph.reserve("lengths")
    made.inputs.append(value_info(name, "int64", ["batch"]))
    ends = Lengths(made.graph, name, made.graph.sizes(x, 1, 2))
    return Mask(ends.before(0), 2, name, given=True)


def _dimensions(shape) -> list[int | str | None]:
    """A shape with names for the batch and for unknown numbers of steps; other unknown sizes stay so."""
    return ["batch", *("time" if a == 0 and n is None and len(shape) > 2 else n for a, n in enumerate(shape[1:]))]


def _config(model: Sequential) -> Any:
    """The model's config; None if it holds an object of the user's that has no name, or another's."""
    try:
        return {"class_name": "Sequential", "config": model.get_config()}
    except (TypeError, ValueError):
        return None


def _model(made: ModelGraph, name: str, given: list, result: Any, config: Any) -> ModelProto:
    graph = made.graph
    graph.drop_unused([result.name, *(output.name for output in made.outputs)])
    body = helper.make_graph(
        graph.nodes, storable(name) or "model", [*given, *made.inputs], [result, *made.outputs], graph.initializers
    )
    imports = [helper.make_opsetid("", graph.opset)]
    imports += [helper.make_opsetid(DOMAIN, 1)] if graph.functions else []
    model = helper.make_model(
        body, opset_imports=imports, functions=list(graph.functions.values()), producer_name="nblstm",
        producer_version=__version__, ir_version=max(8, helper.find_min_ir_version_for(imports[:1])),
    )  # fmt: skip
    described = {} if config is None else {"nblstm.config": json.dumps(config)}
    described |= {CELLS: json.dumps(graph.cells)} if graph.cells else {}
    if described:
        helper.set_model_props(model, described)
    return model
