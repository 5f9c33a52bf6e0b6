"""Graphs within graphs, the bodies of nodes: their nodes, and the names that they read and hold."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import GraphProto, ModelProto, NodeProto

#: Bodies within bodies.
DEEPEST = 20


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """Graphs that a node has as attributes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def names_read(node: NodeProto) -> Iterator[str]:
    """Names that a node reads, those within its bodies too."""
    yield from node.input
    for body in bodies(node):
        for inner in body.node:
            yield from names_read(inner)
        for info in body.output:
            yield info.name


def count_nodes(nodes, depth: int = 0) -> int:
    """Nodes in all, those within bodies too."""
    if depth > DEEPEST:
        raise ValueError(f"its nodes have bodies within bodies more than {DEEPEST} deep; the file is damaged")
    return sum(1 + sum(count_nodes(body.node, depth + 1) for body in bodies(node)) for node in nodes)


def tensor_bytes(node: NodeProto) -> int:
    """Bytes of a node's tensors, those within its bodies too."""
    own = sum(attribute.t.ByteSize() for attribute in node.attribute)
    inner = [body.initializer for body in bodies(node)]
    own += sum(tensor.ByteSize() for tensors in inner for tensor in tensors)
    return own + sum(tensor_bytes(each) for body in bodies(node) for each in body.node)


def rename(node: NodeProto, names: dict[str, str], prefix: str, label: str = "") -> None:
    """Give arrays other names, within bodies too: those of ``names``, and to all others a prefix; nodes get a label."""
    node.name = label + node.name if node.name else ""
    node.input[:] = [names.get(name, prefix + name) for name in node.input]
    node.output[:] = [names.get(name, prefix + name) for name in node.output]
    for body in bodies(node):
        for part in (body.initializer, body.input, body.output):
            for each in part:
                each.name = names.get(each.name, prefix + each.name)
        for inner in body.node:
            rename(inner, names, prefix)


def check_texts(model: ModelProto) -> None:
    """Refuse names that are no text: protobuf gives them as bytes."""
    names: list[object] = []
    for function in model.functions:
        names += [function.name, function.domain, function.overload, *function.input, *function.output]
        names += _names_of(function.node)
    for name in [*names, *_names_in(model.graph)]:
        if not isinstance(name, str):
            raise ValueError(f"it has the name {shown(name)}, which is no text; the file is damaged")


def _names_in(graph: GraphProto) -> Iterator[object]:
    for part in (graph.initializer, graph.input, graph.output):
        for each in part:
            yield each.name
    yield from _names_of(graph.node)


def _names_of(nodes) -> Iterator[object]:
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, node.overload, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name)
        for body in bodies(node):
            yield from _names_in(body)


def shown(name: object) -> str:
    """A name of a file's, in quotation marks and cut: it can be anything."""
    text = repr(name)
    return text if len(text) <= 100 else f"{text[:100]} ..."
