"""Scans that `nblstm.onnx.export` has written, read back as networks.

A file names the cell of each, by its name or by the text of its equations, which is checked to be arithmetic. The Scan
is that cell's only if its body, its functions and the product before it are node by node those that the export writes
for the cell, so that a network computes what the file does. Any other Scan runs as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, numpy_helper

from nblstm.buffers.layout import recurrent_layout
from nblstm.cells import Cell
from nblstm.cells.projection import projected
from nblstm.engine import engine
from nblstm.engine.network import Network
from nblstm.files import content
from nblstm.nn.parameter_files import cell_from_data
from nblstm.nn.recurrent import Recurrent
from nblstm.onnx.exporting.equations import CELLS
from nblstm.onnx.exporting.graph_builder import DOMAIN, GraphBuilder
from nblstm.onnx.exporting.recurrences import Stack
from nblstm.onnx.exporting.scan import scanned
from nblstm.onnx.exporting.scan_weights import ScanWeights
from nblstm.onnx.reading import DOMAINS, opset_of
from nblstm.onnx.recurrent_form import network_of
from nblstm.onnx.tensors import array_of


class ScannedCell(NamedTuple):
    """A Scan as a network.

    Attributes
    ----------
    network : Recurrent
        Of one layer and direction.
    inputs : list of str
        Names of x, of the states before the first step, of the signals, and of the mask, if there is one.
    """

    network: Recurrent
    inputs: list[str]


class CellStep:
    """A function from x, states, signals and a mask to what a cell's Scan returns: the last states, and all outputs.

    Parameters
    ----------
    network : Recurrent
    """

    def __init__(self, network: Recurrent):
        self.network, self._states = network, len(network._network.cell.states)
        self._signals = network.cell.signals

    def __call__(self, x, *given) -> tuple[np.ndarray, ...]:
        """Run the network: states (B, H), signals (T, B, H) or (T, B, 1), and a mask (T, B, 1)."""
        states, given, mask = tuple([state[None] for state in given[: self._states]]), given[self._states :], None
        if x.ndim != 3 or any(state.ndim != 3 for state in states):
            raise ValueError(f"x has shape {x.shape}; it needs three dimensions, of time, batch and features")
        signals = None
        if self._signals:
            signals = dict(zip(self._signals, map(_of_steps, self._signals, given), strict=False))
        if len(given) > len(self._signals):
            valid, (T, B, _) = given[-1], x.shape
            if valid.shape not in ((T, B, 1), (T, 1, 1)):
                raise ValueError(f"the mask of its steps has shape {valid.shape}; it needs {(T, B, 1)}")
            mask = np.broadcast_to(valid, (T, B, 1))[..., 0]
        y, after = engine.infer(self.network, x, states, mask=mask, signals=signals)
        return (*[state[0] for state in after], y)


def _of_steps(name: str, signal: np.ndarray) -> np.ndarray:
    """A signal as a network takes it."""
    if signal.ndim != 3:
        raise ValueError(f"the signal {name!r} has shape {signal.shape}; it needs (T, B, H), or (T, B, 1)")
    return signal[..., 0] if signal.shape[2] == 1 else signal


def _need(alike: bool) -> None:
    """Raise ValueError where a file has something else than the export writes."""
    if not alike:
        raise ValueError("it is not what nblstm writes")


class ScannedCells:
    """Finds the networks of a model's Scans.

    Parameters
    ----------
    model : ModelProto
    """

    def __init__(self, model: ModelProto):
        self._model, self._opset = model, opset_of(model.opset_import)
        self._functions = {each.name: each for each in model.functions if each.domain == DOMAIN and not each.overload}
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._cells: dict[str, Any] = {}

    def described(self) -> bool:
        """Say if the file tells of which cells its functions are, and its operators are ONNX's."""
        if any(function.domain in DOMAINS for function in self._model.functions):
            return False
        for entry in self._model.metadata_props:
            if entry.key == CELLS:
                try:
                    found = json.loads(entry.value)
                except (ValueError, RecursionError):
                    found = None
                self._cells = found if isinstance(found, dict) else {}
        return bool(self._cells)

    def network_of(self, node: NodeProto) -> tuple[ScannedCell | None, str]:
        """The network of a Scan; or None, and the reason why there is none."""
        if node.op_type != "Scan" or node.domain:
            return None, ""
        body = next((each.g for each in node.attribute if each.name == "body"), None)
        calls = [each for each in body.node if each.domain == DOMAIN] if body is not None else []
        named = [each.op_type for each in calls if each.op_type in self._cells]
        if len(named) != 1:
            return None, "its body is no cell that the file names"
        try:
            data = self._cells[named[0]]
            whole = not (isinstance(data, dict) and "projected" in data)
            cell = cell_from_data(data if whole else data["projected"])
            own = cell if whole else projected(cell)
        except content.FAULTS as error:
            return None, f"its cell {named[0]!r} cannot be read: {content.reason(error, 'nblstm')}"
        if not own.input_gates:
            return None, f"the cell {cell.name!r} has no gates that the input feeds, whose weights tell of its size"
        try:
            return self._matched(node, body, cell, own), ""
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # whatever the file has instead
            return None, f"its nodes are not those that nblstm writes for the cell {cell.name!r}"

    def _matched(self, node: NodeProto, body: Any, base: Cell, own: Cell) -> ScannedCell:
        """The network of a cell, if all that computes is as the export writes it; ``own`` is with its projection."""
        cell = own.without_noise
        S, scans = len(cell.states), 1 + len(cell.given)
        last = self._makers[node.input[S]]
        before = [self._makers[last.input[0]], last] if last.op_type == "Add" else [last]
        W = self._array(before[0].input[1])
        I, H = W.shape[0], W.shape[1] // len(cell.input_gates)
        P = 0
        if own is not base:  # the last product of a step is the projection
            P = self._array([each for each in body.node if each.op_type == "MatMul"][-1].input[1]).shape[1]
        [direction] = {value for each in node.attribute if each.name == "scan_input_directions" for value in each.ints}
        biased, masked = len(before) == 2, len(node.input) == S + scans + 1
        stack = _zero_stack(cell, I, H, P, bool(direction), biased, str(W.dtype))
        graph = GraphBuilder(self._opset)
        weights = ScanWeights(stack, 0, 0)
        start = [graph.reserve(f"start_{state}") for state in cell.states]
        x, valid = graph.reserve("x"), graph.reserve("valid")
        signals = [graph.reserve(f"signal_{name}") for name in cell.signals]
        scanned(graph, weights, 0, stack.network.directions[0], x, start, signals, valid if masked else None)
        expected = [each for each in graph.nodes if each.op_type != "Gather"]
        same = _Same(graph, self._functions, [*self._tensors, *(info.name for info in self._model.graph.input)])
        given = [each.output[0] for each in graph.nodes if each.op_type == "Gather"]
        same.names |= dict(zip(given, node.input[:S], strict=True))
        for one, other in zip(expected, [*before, node], strict=True):
            same.check_node(one, other)
        for tensor in graph.initializers:
            if tensor.name not in (*weights.names.values(), *weights.vectors.values()) and tensor.name in same.names:
                wanted, found = numpy_helper.to_array(tensor), self._array(same.names[tensor.name])
                _need(wanted.dtype == found.dtype and np.array_equal(wanted, found))
        arrays = {which: self._array(same.names[name]) for which, name in weights.names.items()}
        vectors = {f"{which}{weights.end}": self._array(same.names[name]) for which, name in weights.vectors.items()}
        shapes = weights.shapes(I) | {name: stack.network.layout.shapes[name] for name in vectors}
        for which, array in (arrays | vectors).items():
            _need(array.shape == shapes[which] and array.dtype == W.dtype)
        options = {"proj_size": P} if P else {}
        network = network_of(base, I, H, bias=biased, reverse=bool(direction), dtype=str(W.dtype), seed=0, **options)
        network.load_state_dict(weights.parameters_of(arrays) | vectors)
        inputs = [same.names[x], *node.input[:S], *(same.names[name] for name in signals)]
        inputs += [same.names[valid]] if masked else []
        return ScannedCell(network, inputs)

    def _array(self, name: str) -> np.ndarray:
        return array_of(self._tensors[name])


def _zero_stack(cell: Cell, I: int, H: int, P: int, reverse: bool, bias: bool, dtype: str) -> Stack:
    """A layer of which only small parameters are there, all 0: enough to write its nodes."""
    layout = recurrent_layout(cell, I, H, 1, 1, bias, proj_size=P)
    network = Network(cell, I, H, 1, (reverse,), False, dtype, "cpu", layout, proj_size=P)
    small = {name: np.zeros(shape, dtype) for name, shape in layout.shapes.items() if len(shape) == 1}
    return Stack(network, small)


class _Same:
    """Compares nodes with those that are expected, and collects the names that stand for each other.

    Parameters
    ----------
    graph : GraphBuilder
        With the functions that are expected.
    functions : dict of str to FunctionProto
        Those of the file.
    outside : iterable of str
        Names of constants and of inputs of the model.

    Attributes
    ----------
    names : dict of str to str
        From expected names to the file's.
    """

    def __init__(self, graph: GraphBuilder, functions: dict[str, FunctionProto], outside: Iterable[str]):
        self._expected = {made.name: made for made in graph.functions.values()}
        self._functions, self._defined = functions, set(outside)
        self.names: dict[str, str] = {}

    def check_node(self, one: NodeProto, other: NodeProto) -> None:
        """Compare operator, attributes and names; of a Scan also what lies in its body."""
        _need(one.domain == other.domain and not other.overload)
        if one.domain == DOMAIN:
            _need(_content(self._expected[one.op_type]) == _content(self._functions[other.op_type]))
        else:
            _need(one.op_type == other.op_type)
        self._pair(one.input, other.input)
        attributes = [{each.name: each for each in node.attribute} for node in (one, other)]
        _need(attributes[0].keys() == attributes[1].keys() and len(other.attribute) == len(attributes[1]))
        for name, each in attributes[0].items():
            found = attributes[1][name]
            if each.HasField("g"):
                self._check_body(each.g, found.g)
            else:
                _need(each == found)
        self._define(one.output, other.output)

    def _check_body(self, one: GraphProto, other: GraphProto) -> None:
        _need(not other.initializer and not other.sparse_initializer)
        self._define([info.name for info in one.input], [info.name for info in other.input])
        for inner, found in zip(one.node, other.node, strict=True):
            self.check_node(inner, found)
        self._pair([info.name for info in one.output], [info.name for info in other.output])

    def _define(self, expected, found) -> None:
        """Take names of new values for each other; no other value has the same."""
        for name in found:
            _need(name not in self._defined)
            self._defined.add(name)
        self._pair(expected, found)

    def _pair(self, expected, found) -> None:
        """Take names for each other, always the same ones."""
        for one, other in zip(expected, found, strict=True):
            _need(bool(other) and self.names.setdefault(one, other) == other)


def _content(function: FunctionProto) -> FunctionProto:
    """A function without what does not compute: its own name, and its text."""
    copied = FunctionProto()
    copied.CopyFrom(function)
    copied.ClearField("name")
    copied.ClearField("doc_string")
    return copied
