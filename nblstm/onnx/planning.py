"""A graph as a list of steps: names become places in a list, and what depends on constants alone is computed once."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto

from nblstm.files.content import FAULTS
from nblstm.onnx.limits import Budget, Guarded
from nblstm.onnx.local_functions import Inliner
from nblstm.onnx.operators import Operator
from nblstm.onnx.plan import Plan, Reading
from nblstm.onnx.reading import Node, constant_of, described, opset_of, reason
from nblstm.onnx.recurrent_form import INPUTS, Form
from nblstm.onnx.recurrent_node import RecurrentNode
from nblstm.onnx.scan_node import Body, ScanNode
from nblstm.onnx.scanned_cells import CellStep, ScannedCell, ScannedCells
from nblstm.onnx.steps import Step
from nblstm.onnx.subgraphs import DEEPEST, check_texts, names_read, shown
from nblstm.onnx.tensors import array_of

#: `itemgetter`, whose type mypy 2.4 fails at where it gets a tuple.
_TAKING: Any = itemgetter

#: Places that every list of values has: of inputs that are left out, and of outputs that nobody reads.
NOTHING, UNREAD = 0, 1


def plan_of(model: ModelProto, size: int, keeps_states: bool) -> Plan:
    """Read a model whose file has so many bytes; for ``keeps_states`` see `RecurrentNode`."""
    reading = Reading(Inliner(model, size), Budget(size), keeps_states)
    check_texts(model)
    opset = opset_of(model.opset_import)
    planner = Planner(model.graph, opset, reading)
    planner.find_cells(model)
    planner.read()
    return planner.finished()


def _twice(name: str) -> ValueError:
    return ValueError(f"there are two arrays named {shown(name)}; the file is damaged")


class Planner:
    """Makes the plan of a graph.

    Parameters
    ----------
    graph : GraphProto
    opset : int
    reading : Reading
    outer : Planner, optional
        Of the graph in which this one is a body.
    prefix : str
        Before the names of nodes.
    """

    def __init__(
        self, graph: GraphProto, opset: int, reading: Reading, outer: Planner | None = None, prefix: str = ""
    ):  # fmt: skip
        self._graph, self._opset, self._reading = graph, opset, reading
        self._outer, self._prefix = outer, prefix
        self._depth: int = 0 if outer is None else outer._depth + 1
        self.plan = Plan(recurrent=reading.recurrent, left=reading.left, doubts=reading.doubts)
        self._constants: ChainMap[str, np.ndarray]
        self._constants = ChainMap({}) if outer is None else outer._constants.new_child()
        self._places: dict[str, int] = {"": NOTHING}
        self._memory: dict[int, int] = {}  # of each place, that of the array whose memory it may share
        self._captured: dict[str, int] = {}  # places of what outer graphs make
        self._scans: dict[str, tuple[ScannedCell | None, str]] = {}  # by the name of a Scan's first output

    def find_cells(self, model: ModelProto) -> None:
        """Look for Scans of cells that `nblstm.onnx.export` has written."""
        cells = ScannedCells(model)
        if cells.described():
            for node in model.graph.node:
                if node.op_type == "Scan" and node.output:
                    self._scans[node.output[0]] = cells.network_of(node)

    def read(self) -> None:
        """Read the graph."""
        graph = self._graph
        if graph.sparse_initializer:
            raise ValueError("it has sparse constants, which nblstm does not read; write them as arrays")
        if self._depth > DEEPEST:
            raise ValueError(f"bodies lie in each other more than {DEEPEST} deep; the file is damaged")
        nodes = list(self._reading.inliner.nodes(graph.node, self._opset))
        if self._outer is not None:
            for info in graph.input:
                self._refuse_known(info.name)
        for tensor in graph.initializer:
            self._refuse_known(tensor.name)
            self._constants[tensor.name] = array_of(tensor)
        for info in graph.input:
            if self._outer is not None:
                self._new_place(info.name)
            elif info.name not in self._constants:
                self.plan.inputs[info.name] = (self._new_place(info.name), *described(info))
        used = self._used([node for node, _ in nodes])
        self._reading.taken.update([self._prefix + node.name for node, _ in nodes])
        for k, (proto, opset) in enumerate(nodes):
            node = Node(proto, opset, self._reading.name(proto, k, self._prefix))
            for given in node.inputs:
                if not self._knows(given):
                    raise ValueError(f"{node.label} reads {shown(given)}, which nothing before it makes")
            for result in node.outputs:
                if result and (result in self._places or result in self._constants):
                    raise ValueError(f"{node.label} makes {shown(result)}, which there is already")
            self._add(node, opset, used.intersection(node.outputs))

    def _used(self, nodes: list[NodeProto]) -> set[str]:
        """Names of arrays that outputs depend on."""
        used = {info.name for info in self._graph.output}
        for node in reversed(nodes):
            if not used.isdisjoint(node.output):
                found, _ = self._scan_of(node.op_type, node.output)
                used.update(names_read(node) if found is None else found.inputs)
        return used - {""}

    def _scan_of(self, kind: str, outputs: Sequence[str]) -> tuple[ScannedCell | None, str]:
        """The network of a Scan; or None, and the reason why there is none."""
        return self._scans.get(outputs[0], (None, "")) if kind == "Scan" and outputs else (None, "")

    def _knows(self, name: str) -> bool:
        """Say if anything in this graph, or in those around it, has made an array."""
        return name in self._places or name in self._constants or (self._outer is not None and self._outer._knows(name))

    def _refuse_known(self, name: str) -> None:
        if self._knows(name):
            raise _twice(name)

    def _new_place(self, name: str, memory_of: int | None = None) -> int:
        place = len(self.plan.values)
        self.plan.values.append(None)
        if name in self._places:
            raise _twice(name)
        self._places[name] = place
        self._memory[place] = place if memory_of is None else self._memory[memory_of]
        return place

    def _place_of(self, name: str) -> int:
        """The place of an array; a constant gets one when it is first used, and so does what outer graphs make."""
        if name not in self._places:
            place = self._new_place(name)
            if name in self._constants:
                self.plan.values[place] = self._constants[name]
            else:
                self._captured[name] = place
        return self._places[name]

    def _add(self, node: Node, opset: int, used: set[str]) -> None:
        """Add a step, unless the node is constant or unused; ``used`` are those of its outputs that anyone reads."""
        if node.kind == "Constant":
            self._constants[node.outputs[0]] = constant_of(node)
        elif node.kind == "Scan":
            self._add_scan(node, opset, bool(used))
        elif node.operator is None:
            self._add_recurrent(node, used)
        elif not self._folded(node):
            self._add_step(node, bool(used))

    def _add_step(self, node: Node, used: bool) -> None:
        operator = node.operator
        assert operator is not None
        function = self._bound(node, operator)
        inputs = tuple([self._place_of(name) for name in node.inputs if used])
        source = inputs[0] if operator.views and inputs else None
        outputs = tuple([self._new_place(name, source) if name else UNREAD for name in node.outputs])
        if used:
            results = outputs if operator.several else outputs[0]
            self.plan.steps.append(Step(function, inputs, results, (), node.label))

    def _bound(self, node: Node, operator: Operator) -> Callable:
        attributes = dict(node.attributes)
        if operator.several:
            attributes["count"] = len(node.outputs)
        if operator.by_value:
            return Guarded(node.kind, operator.function, attributes)
        return partial(operator.function, **attributes) if attributes else operator.function

    def _folded(self, node: Node) -> bool:
        """Compute a node, if its inputs are constants; whether they are."""
        operator = node.operator
        assert operator is not None
        if not all(name in self._constants or not name for name in node.inputs):
            return False
        arrays = [self._constants.get(name) for name in node.inputs]
        attributes = dict(node.attributes) | ({"count": len(node.outputs)} if operator.several else {})
        try:
            self._reading.budget.check(operator.most_elements(*arrays, **attributes), arrays)
            with np.errstate(all="ignore"):
                results = operator.function(*arrays, **attributes)
        except FAULTS as error:
            raise ValueError(f"{node.label} cannot be computed: {reason(error)}") from None
        for name, result in zip(node.outputs, results if operator.several else (results,), strict=False):
            array = np.asarray(result)
            if array.base is None or not operator.views:
                self._reading.budget.take(array.nbytes)
            if array.flags.writeable:
                array.flags.writeable = False
            if name:
                self._constants[name] = array
        return True

    def _add_recurrent(self, node: Node, used: set[str]) -> None:
        given = dict(zip(INPUTS, node.inputs, strict=False))
        if node.kind != "LSTM" and len(node.inputs) > 6:
            raise ValueError(f"{node.label} has {len(node.inputs)} inputs; its operator takes up to 6")
        weights = [given.get(name, "") for name in ("W", "R", "B", "P")]
        computed = [name for name in weights if name and name not in self._constants]
        doubts: list[str] = []
        try:
            form = Form.of(node.kind, node.attributes, bool(weights[3]), doubts)
            networks = None if computed else form.networks(*[self._constants.get(name) for name in weights])
        except (ValueError, TypeError, IndexError) as error:
            raise ValueError(f"{node.label} cannot be read: {reason(error)}") from None
        self.plan.doubts += [f"{node.label} {doubt}" for doubt in doubts]
        if networks is None:
            which = ", ".join(name for name in ("W", "R", "B", "P") if given.get(name, "") in computed)
            self.plan.left[node.name] = (
                f"{which} of it: computed in each call, or an input of the model, and no constant that could be trained"
            )
        elif len(networks) == 1:
            self.plan.recurrent[node.name] = networks[0]
        else:  # directions with activations of their own
            for end, network in zip(("forward", "reverse"), networks, strict=True):
                self.plan.recurrent[f"{node.name}.{end}"] = network
        names = ["X", "sequence_lens", "initial_h", "initial_c", *(["W", "R", "B", "P"] if computed else [])]
        read = tuple([self._place_of(given.get(name, "")) for name in names])
        while len(read) > 1 and read[-1] == NOTHING:
            read = read[:-1]
        outputs = tuple([self._new_place(name) if name else UNREAD for name in node.outputs])
        if used:
            function = RecurrentNode(form, networks, node.outputs[0] in used, len(outputs), self._reading.keeps_states)
            self.plan.steps.append(Step(function, read, outputs, (), node.label))

    def _add_scan(self, node: Node, opset: int, used: bool) -> None:
        """Add a Scan; its step has what the body reads from this graph behind the node's own inputs."""
        found, why = self._scan_of(node.kind, node.outputs)
        if found is not None:
            self.plan.recurrent[node.name] = found.network
            self._append(CellStep(found.network), found.inputs, node, used)
            return
        if why:
            self.plan.left[node.name] = why
        body = Planner(node.attributes["body"], opset, self._reading, self, f"{node.name}/")
        body.read()
        try:
            function = ScanNode(body.as_body(), node.attributes)
        except ValueError as error:
            raise ValueError(f"{node.label} cannot be read: {reason(error)}") from None
        if len(node.inputs) != len(function.body.inputs) or len(node.outputs) != len(function.body.outputs):
            raise ValueError(
                f"{node.label} has {len(node.inputs)} inputs and {len(node.outputs)} outputs, and its body "
                f"{len(function.body.inputs)} and {len(function.body.outputs)}; they need to be as many"
            )
        self._append(function, [*node.inputs, *body._captured], node, used)

    def _append(self, function: Callable, inputs: Sequence[str], node: Node, used: bool) -> None:
        """Add the step of a node that returns a tuple, if anyone reads of it."""
        read = tuple([self._place_of(name) for name in inputs if used])
        outputs = tuple([self._new_place(name) if name else UNREAD for name in node.outputs])
        if used:
            self.plan.steps.append(Step(function, read, outputs, (), node.label))

    def as_body(self) -> Body:
        """The graph, once it is read, as the body of a Scan."""
        outputs = []
        for info in self._graph.output:
            if not info.name or not self._knows(info.name):
                raise ValueError(f"its output {shown(info.name)} is made by no node")
            outputs.append(self._place_of(info.name))
        captured = tuple(self._captured.values())
        self._free_early({*outputs, *captured})
        inputs = tuple([self._places[info.name] for info in self._graph.input])
        return Body(self.plan.values, self.plan.steps, inputs, tuple(outputs), captured)

    def finished(self) -> Plan:
        """The plan, once the graph is read."""
        plan, shared = self.plan, {self._memory[place] for place, *_ in self.plan.inputs.values()}
        for info in self._graph.output:
            if info.name in plan.outputs:
                raise ValueError(f"it has two outputs named {shown(info.name)}; the file is damaged")
            if not info.name or not self._knows(info.name):
                raise ValueError(f"its output {shown(info.name)} is made by no node")
            place = self._place_of(info.name)
            memory = self._memory[place]
            plan.outputs[info.name] = (place, *described(info), memory in shared or plan.values[memory] is not None)
            shared.add(memory)
        self._free_early([place for place, *_ in plan.outputs.values()])
        return plan

    def _free_early(self, kept: Iterable[int]) -> None:
        """Say of each step which values nobody reads after it, but for those that are kept."""
        steps = self.plan.steps
        kept = {*kept, *(k for k, value in enumerate(self.plan.values) if value is not None), NOTHING, UNREAD}
        for k in reversed(range(len(steps))):
            last = set(steps[k].inputs) - kept
            kept |= last
            places = steps[k].inputs
            inputs = _TAKING(*places) if len(places) > 1 else places[0]
            steps[k] = steps[k]._replace(inputs=inputs, last=tuple(sorted(last)))
