"""Recurrent layers with Keras's arguments as nodes: order of time, masks, directions side by side."""

from __future__ import annotations

from dataclasses import replace

from nblstm.layers import Bidirectional, Recurrent
from nblstm.layers.recurrent import two_networks
from nblstm.onnx.exporting.masks_to_lengths import MaskedSteps
from nblstm.onnx.exporting.model_graph import Flow, ModelGraph
from nblstm.onnx.exporting.recurrences import Stack, run_stack


def add_recurrent(made: ModelGraph, layer: Recurrent, x: Flow, prefix: str) -> Flow:
    """Add a recurrent layer; ``prefix`` is before the names of its states."""
    y = _outputs(made, layer, x, [(layer, prefix)])
    if layer.go_backwards and layer.return_sequences:  # outputs come in the order of reading
        graph = made.graph
        minus_one, far = graph.constant([-1]), graph.constant([-(2**63) + 1])
        y = graph.node("Slice", y, minus_one, far, graph.constant([1]), minus_one)
    return _flow(layer, x, y)


def add_bidirectional(made: ModelGraph, layer: Bidirectional, x: Flow, prefix: str) -> Flow:
    """Add both directions, and what makes one output of theirs."""
    parts: list[tuple[Recurrent | Bidirectional, str]]
    if layer._directions.engine is two_networks:
        parts = [(layer.forward_layer, f"{prefix}forward_"), (layer.backward_layer, f"{prefix}backward_")]
    else:
        parts = [(layer, prefix)]
    y = _outputs(made, layer, x, parts)
    if layer.merge_mode is None:
        raise ValueError(f"{layer._label} has merge_mode=None, two outputs, and a model has one; choose another mode")
    if layer.merge_mode != "concat":
        graph, H = made.graph, layer.forward_layer.units
        a, b = graph.split(y, [H, H], ["forwards", "backwards"])
        y = graph.node("Mul" if layer.merge_mode == "mul" else "Add", a, b)
        if layer.merge_mode == "ave":
            y = graph.node("Div", y, graph.constant(2, layer.dtype))
    return _flow(layer, x, y)


def _flow(layer: Recurrent | Bidirectional, x: Flow, y: str) -> Flow:
    shape = (*x.shape[: 2 if layer.return_sequences else 1], sum(layer._features))
    return replace(x, name=y, shape=shape, dtype=layer.dtype, mask=x.mask if layer.return_sequences else None)


def _outputs(made: ModelGraph, layer: Recurrent | Bidirectional, x: Flow, parts: list) -> str:
    """Outputs of all directions side by side, in the order of time: (B, T, features), or the last ones (B, features).

    ``parts`` are the layers that have a network each, with the prefix of its states.
    """
    graph = made.graph
    stated = _has_states(made, layer)
    steps = None
    if x.mask is not None:
        made.uses(x.mask)
        steps = MaskedSteps(graph, x.mask, not layer.zero_output_for_mask)
    packed = x.name if steps is None else steps.pack(x.name)
    time_major = graph.node("Transpose", packed, perm=[1, 0, 2])
    lengths = None if steps is None else steps.lengths
    found = []
    for part, prefix in parts:
        stack = Stack.of(part._network, part._network.layout.views(part._flat))
        network = stack.network
        if network.cell.signals:
            raise ValueError(
                f"{layer._label} has a cell with signals, {', '.join(network.cell.signals)}, which a model in ONNX is "
                "not given; export the network of nblstm.nn"
            )
        states = made.states_in(stack, prefix) if stated else None
        y, finals = run_stack(graph, stack, time_major, states, lengths, layer.return_sequences)
        if stated:
            made.states_out(stack, prefix, finals)
        if y is not None:
            y = graph.node("Transpose", y, perm=[1, 0, 2])
            found.append(y if steps is None else steps.unpack(y, layer.dtype, network.directions == (True,)))
            continue
        last = finals[network.cell.states.index(network.cell.output)]  # (D, B, H)
        D, H = network.D, network.output_size
        if D == 1:
            y = graph.squeeze(last, 0)
        else:
            y = graph.node("Reshape", graph.node("Transpose", last, perm=[1, 0, 2]), graph.constant([0, D * H]))
        if lengths is not None:
            y = graph.node("Where", lengths.any_step, y, graph.constant(0, layer.dtype))
        found.append(y)
    return graph.concat(found, -1)


def _has_states(made: ModelGraph, layer: Recurrent | Bidirectional) -> bool:
    """Say if the layer's states are inputs and outputs; those of a stateful one cannot be left out."""
    has = made.has_states(layer.stateful)
    if layer.stateful and not has:
        fix = "leave states=False out" if made.within is None else "it is within a TimeDistributed"
        raise ValueError(
            f"{layer._label} is stateful, and its states would be neither inputs nor outputs ({fix}); make it without "
            "stateful, or export it by itself"
        )
    return has
