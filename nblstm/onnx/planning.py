"""A graph as a list of steps: names become places in a list, and what depends on constants alone is computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto

from nblstm.files.content import FAULTS
from nblstm.nn.recurrent import Recurrent
from nblstm.onnx.local_functions import Inliner
from nblstm.onnx.operators import OPERATORS, Operator
from nblstm.onnx.reading import Node, check_texts, constant_of, described, reason, shown
from nblstm.onnx.recurrent_form import INPUTS, Form
from nblstm.onnx.recurrent_node import RecurrentNode
from nblstm.onnx.tensors import array_of

#: Bytes of arrays that constants may make while a file is read: so many times the file's own, or these if it is small.
TIMES, SMALL = 10, 4 << 20

#: Elements that are read and written for that: so many for each byte of the file, and these.
WORK_PER_BYTE, WORK = 100, 50_000_000

#: Elements of an array whose size a number decides, in a call: 1 GB of float32.
MOST_ELEMENTS = 1 << 28

#: `itemgetter`, whose type mypy 2.4 fails at where it gets a tuple.
_TAKING: Any = itemgetter

#: Places that every list of values has: of inputs that are left out, and of outputs that nobody reads.
NOTHING, UNREAD = 0, 1


class Step(NamedTuple):
    """A node as it runs: ``values[outputs] = function(*inputs(values))``.

    Attributes
    ----------
    function : callable
    inputs : itemgetter or int
        Takes the arguments out of all values; of one argument its place.
    outputs : int or tuple of int
        Places of what it returns; a tuple if it returns one.
    last : tuple of int
        Places that no later step reads.
    label : str
        For errors.
    """

    function: Callable
    inputs: Any
    outputs: Any
    last: tuple[int, ...]
    label: str


class Guarded:
    """An operator whose result is as large as a number says: it is refused before it is made, if it is vast."""

    def __init__(self, kind: str, function: Callable, attributes: dict[str, Any]):
        self.kind, self.function, self.attributes = kind, function, attributes
        self.since = next(since for since, known in OPERATORS[kind].items() if known.function is function)

    def __call__(self, *inputs):
        """Apply the operator."""
        wanted = OPERATORS[self.kind][self.since].most_elements(*inputs, **self.attributes)
        if wanted > MOST_ELEMENTS:
            raise ValueError(f"it would make an array of {wanted} elements, more than {MOST_ELEMENTS}")
        return self.function(*inputs, **self.attributes)


@dataclass
class Plan:
    """The steps of a model and the list of values that they work on.

    Attributes
    ----------
    values : list
        The constants at their places, None elsewhere.
    steps : list of Step
    inputs : dict of str to tuple
        For each input its place, shape and dtype.
    outputs : dict of str to tuple
        For each output its place, shape, dtype, and whether it could share memory with something else.
    recurrent : dict of str to Recurrent
    left : dict of str to str
        Recurrent nodes that have no network of their own, and why.
    doubts : list of str
        What to warn of.
    """

    values: list[Any] = field(default_factory=lambda: [None, None])
    steps: list[Step] = field(default_factory=list)
    inputs: dict[str, tuple] = field(default_factory=dict)
    outputs: dict[str, tuple] = field(default_factory=dict)
    recurrent: dict[str, Recurrent] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


class Planner:
    """Makes the plan of a model.

    Parameters
    ----------
    model : ModelProto
    size : int
        Of its file, in bytes.
    keeps_states : bool
        See `RecurrentNode`.
    """

    def __init__(self, model: ModelProto, size: int, keeps_states: bool):
        self.plan, self.keeps_states = Plan(), keeps_states
        self._model, self._graph = model, model.graph
        self._bytes_left = max(TIMES * size, SMALL)
        self._work_left = WORK_PER_BYTE * size + WORK
        self._constants: dict[str, np.ndarray] = {}
        self._places: dict[str, int] = {"": NOTHING}
        self._memory: dict[int, int] = {}  # of each place, that of the array whose memory it may share

    def made(self) -> Plan:
        """Read the graph."""
        graph = self._graph
        if graph.sparse_initializer:
            raise ValueError("it has sparse constants, which nblstm does not read; write them as arrays")
        check_texts(self._model)
        nodes = list(Inliner(self._model).nodes())
        for tensor in graph.initializer:
            self._constants[tensor.name] = array_of(tensor)
        for info in graph.input:
            if info.name not in self._constants:
                self.plan.inputs[info.name] = (self._new_place(info.name), *described(info))
        used = self._used([node for node, _ in nodes])
        taken, seen = {node.name for node, _ in nodes}, {""}
        for k, (proto, opset) in enumerate(nodes):
            name = proto.name
            if name in seen:
                name = f"{proto.op_type}_{k}"
                while name in taken:
                    name += "_"
            taken.add(name)
            seen.add(name)
            node = Node(proto, opset, name)
            for given in node.inputs:
                if given not in self._places and given not in self._constants:
                    raise ValueError(f"{node.label} reads {shown(given)}, which nothing before it makes")
            for result in node.outputs:
                if result and (result in self._places or result in self._constants):
                    raise ValueError(f"{node.label} makes {shown(result)}, which there is already")
            self._add(node, used.intersection(node.outputs))
        self._finish()
        return self.plan

    def _used(self, nodes: list[NodeProto]) -> set[str]:
        """Names of arrays that outputs depend on."""
        used = {info.name for info in self._graph.output}
        for node in reversed(nodes):
            if not used.isdisjoint(node.output):
                used.update(node.input)
        return used - {""}

    def _new_place(self, name: str, memory_of: int | None = None) -> int:
        place = len(self.plan.values)
        self.plan.values.append(None)
        if name in self._places:
            raise ValueError(f"there are two arrays named {shown(name)}; the file is damaged")
        self._places[name] = place
        self._memory[place] = place if memory_of is None else self._memory[memory_of]
        return place

    def _place_of(self, name: str) -> int:
        """The place of an array; a constant gets one when it is first used."""
        if name not in self._places:
            place = self._new_place(name)
            self.plan.values[place] = self._constants[name]
        return self._places[name]

    def _add(self, node: Node, used: set[str]) -> None:
        """Add a step, unless the node is constant or unused; ``used`` are those of its outputs that anyone reads."""
        if node.kind == "Constant":
            self._constants[node.outputs[0]] = constant_of(node)
        elif node.operator is None:
            self._add_recurrent(node, used)
        elif not self._folded(node):
            self._add_step(node, bool(used))

    def _add_step(self, node: Node, used: bool) -> None:
        operator = node.operator
        assert operator is not None
        function = self._bound(node, operator)
        inputs = tuple([self._place_of(name) for name in node.inputs])
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
            self._check_size(operator.most_elements(*arrays, **attributes), arrays)
            with np.errstate(all="ignore"):
                results = operator.function(*arrays, **attributes)
        except FAULTS as error:
            raise ValueError(f"{node.label} cannot be computed: {reason(error)}") from None
        for name, result in zip(node.outputs, results if operator.several else (results,), strict=False):
            array = np.asarray(result)
            if array.base is None or not operator.views:
                self._bytes_left -= array.nbytes
            if array.flags.writeable:
                array.flags.writeable = False
            if name:
                self._constants[name] = array
        return True

    def _check_size(self, elements: int, arrays) -> None:
        """Refuse to make so many elements of these arrays, if that is vast for a file like this one."""
        given = [array for array in arrays if array is not None]
        self._work_left -= elements + sum(array.size for array in given)
        if 8 * elements > self._bytes_left or self._work_left < 0:
            raise ValueError(
                f"it would make an array of {elements} elements, so that constants took more than {TIMES} times the "
                "memory or the work that the file's own do"
            )

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
            function = RecurrentNode(form, networks, node.outputs[0] in used, len(outputs), self.keeps_states)
            self.plan.steps.append(Step(function, read, outputs, (), node.label))

    def _finish(self) -> None:
        """Say what the outputs are, and after which step nobody reads a value again."""
        plan, shared = self.plan, {self._memory[place] for place, *_ in self.plan.inputs.values()}
        for info in self._graph.output:
            if info.name in plan.outputs:
                raise ValueError(f"it has two outputs named {shown(info.name)}; the file is damaged")
            if not info.name or (info.name not in self._places and info.name not in self._constants):
                raise ValueError(f"its output {shown(info.name)} is made by no node")
            place = self._place_of(info.name)
            memory = self._memory[place]
            plan.outputs[info.name] = (place, *described(info), memory in shared or plan.values[memory] is not None)
            shared.add(memory)
        kept = {place for place, *_ in plan.outputs.values()}
        kept |= {k for k, value in enumerate(plan.values) if value is not None} | {NOTHING, UNREAD}
        for k in reversed(range(len(plan.steps))):
            step = plan.steps[k]
            last = set(step.inputs) - kept
            kept |= last
            inputs = _TAKING(*step.inputs) if len(step.inputs) > 1 else step.inputs[0]
            plan.steps[k] = step._replace(inputs=inputs, last=tuple(sorted(last)))
