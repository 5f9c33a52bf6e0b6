"""Functions that a model defines itself: each call becomes the nodes of the function's body."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto

from nblstm.onnx.limits import SMALL, TIMES
from nblstm.onnx.reading import opset_of
from nblstm.onnx.subgraphs import bodies, count_nodes, rename, shown, tensor_bytes

#: Calls within calls, and nodes in all beside `TIMES` as many as the file has.
DEEPEST, FEW = 50, 1000


class Inliner:
    """Replaces calls of a model's own functions.

    Parameters
    ----------
    model : ModelProto
    size : int
        Of its file, in bytes.
    """

    @staticmethod
    def _key(node: NodeProto) -> tuple[str, str, str]:
        return node.domain, node.op_type, node.overload

    def __init__(self, model: ModelProto, size: int):
        self._functions = {(each.domain, each.name, each.overload): each for each in model.functions}
        self._sizes = {key: count_nodes(each.node) for key, each in self._functions.items()}
        self._bytes = {key: 2 * sum(map(tensor_bytes, each.node)) for key, each in self._functions.items()}
        self._bytes_left = max(TIMES * size, SMALL)  # of tensors, as what is read and as arrays
        self._calls = 0
        self._left = FEW + TIMES * (count_nodes(model.graph.node) + sum(self._sizes.values()))

    def nodes(self, nodes: Iterable[NodeProto], opset: int) -> Iterator[tuple[NodeProto, int]]:
        """All nodes of a graph, with the version of ONNX's operators that each is of; bodies are left as they are."""
        for node in nodes:
            yield from self._expanded(node, opset, 0)

    def _expanded(self, node: NodeProto, opset: int, depth: int) -> Iterator[tuple[NodeProto, int]]:
        key = self._key(node)
        function = self._functions.get(key)
        if function is None:
            yield node, opset
            return
        self._left -= self._sizes[key]
        self._bytes_left -= self._bytes[key]
        if depth > DEEPEST or self._left < 0 or self._bytes_left < 0:
            raise ValueError(
                f"its function {shown(node.op_type)} calls itself, or functions make a graph of it that is more than "
                f"{TIMES} times the file's; the file is damaged"
            )
        for inner in self._body(node, function):
            yield from self._expanded(inner, opset_of(function.opset_import, opset), depth + 1)

    def _body(self, call: NodeProto, function: FunctionProto) -> Iterator[NodeProto]:
        """The nodes of a function, with the names of a call's arrays and its attributes."""
        if len(call.input) > len(function.input) or len(call.output) > len(function.output):
            raise ValueError(f"its function {shown(function.name)} is called with more inputs or outputs than it has")
        # A number alone: names that grew by those of calls around them would double with each.
        self._calls += 1
        prefix = f"{self._calls}/"
        label = f"{call.name or call.op_type}/"
        names = {"": ""} | dict.fromkeys(function.input, "")
        names |= dict(zip(function.input, call.input, strict=False))
        names |= {inner: own for inner, own in zip(function.output, call.output, strict=False) if own}
        given = {each.name: each for each in (*function.attribute_proto, *call.attribute)}
        for node in function.node:
            copied = NodeProto()
            copied.CopyFrom(node)
            rename(copied, names, prefix, label)
            if not copied.name and self._key(copied) in self._functions:
                copied.name = label + copied.op_type
            self._give_attributes(copied, given)
            yield copied

    def _give_attributes(self, node: NodeProto, given: dict[str, AttributeProto]) -> None:
        """Put the call's attributes where a node, or one within its bodies, refers to them."""
        for body in bodies(node):
            for inner in body.node:
                self._give_attributes(inner, given)
        if any(attribute.ref_attr_name for attribute in node.attribute):
            kept = list(self._attributes(node, given))
            del node.attribute[:]
            node.attribute.extend(kept)

    def _attributes(self, node: NodeProto, given: dict[str, AttributeProto]) -> Iterator[AttributeProto]:
        """Attributes of a node; one that refers to the call's is that, or is left out where that has none."""
        for attribute in node.attribute:
            if not attribute.ref_attr_name:
                yield attribute
            elif attribute.ref_attr_name in given:
                copied = AttributeProto()
                copied.CopyFrom(given[attribute.ref_attr_name])
                copied.name = attribute.name
                yield copied
