"""Traced equations as ONNX nodes, and as local functions that carry the name and the text of the equations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import Any

import onnx
from onnx import helper

from nblstm.cells.cell import Cell
from nblstm.cells.cell_graph import Link
from nblstm.cells.pickling import equations_text
from nblstm.onnx.exporting.graph_builder import DOMAIN, GraphBuilder
from nblstm.symbolic.as_text import DIALECT
from nblstm.symbolic.elementwise import traced
from nblstm.symbolic.emit import emit_function
from nblstm.symbolic.graph import Value, topological

#: Key of what a file says of the cells whose equations are functions in it: for each its name, or its equations' text.
CELLS = "nblstm.cells"


def _log1p(graph: GraphBuilder, dtype: str, x: str) -> str:
    """``log(1 + x)``: with u = 1 + x rounded, x where u is 1, else ``log(u) x / (u - 1)`` (Kahan)."""
    one = graph.constant(1, dtype)
    u = graph.node("Add", one, x)
    lost = graph.node("Equal", u, one)
    rounded = graph.node("Where", lost, one, graph.node("Sub", u, one))
    return graph.node("Where", lost, x, graph.node("Mul", graph.node("Div", graph.node("Log", u), rounded), x))


def _expm1(graph: GraphBuilder, dtype: str, x: str) -> str:
    """``exp(x) - 1``, and near 0, where that loses digits, ``2 t / (1 - t)`` with ``t = tanh(x / 2)``."""
    one, half = graph.constant(1, dtype), graph.constant(0.5, dtype)
    small = graph.node("Less", graph.node("Abs", x), half)
    t = graph.node("Tanh", graph.node("Mul", half, graph.node("Where", small, x, graph.constant(0, dtype))))
    near = graph.node("Div", graph.node("Add", t, t), graph.node("Sub", one, t))
    return graph.node("Where", small, near, graph.node("Sub", graph.node("Exp", x), one))


def _rsqrt(graph: GraphBuilder, dtype: str, x: str) -> str:
    """``1 / sqrt(x)``."""
    return graph.node("Reciprocal", graph.node("Sqrt", x))


def _clip(graph: GraphBuilder, dtype: str, x: str, low: str, high: str) -> str:
    """``min(max(x, low), high)``: the bounds of ONNX's Clip are numbers, those of equations may differ by unit."""
    return graph.node("Min", graph.node("Max", x, low), high)


def _exp2(graph: GraphBuilder, dtype: str, x: str) -> str:
    """``2**x``."""
    return graph.node("Pow", graph.constant(2, dtype), x)


def _log2(graph: GraphBuilder, dtype: str, x: str) -> str:
    """``log(x) / log(2)``."""
    return graph.node("Div", graph.node("Log", x), graph.constant(log(2), dtype))


#: ONNX's operator for each operation of a graph, or nodes that do the same.
OPERATIONS: dict[str, str | Callable[..., str]] = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "neg": "Neg",
    "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "where": "Where",
    "minimum": "Min", "maximum": "Max", "clip": _clip,
    "exp": "Exp", "expm1": _expm1, "log": "Log", "log1p": _log1p, "sqrt": "Sqrt", "rsqrt": _rsqrt, "abs": "Abs",
    "sigmoid": "Sigmoid", "tanh": "Tanh", "erf": "Erf", "sin": "Sin", "cos": "Cos", "exp2": _exp2, "log2": _log2,
    "sign": "Sign", "round": "Round", "stop_gradient": "Identity",
}  # fmt: skip


def add_equations(graph: GraphBuilder, outputs: Sequence[Value], known: dict[Value, str], dtype: str) -> list[str]:
    """Add the nodes of a traced graph; ``known`` has the names of its inputs, and gets all others."""
    for node in topological(outputs, known.keys()):
        if node in known:
            continue
        if node.op == "constant":
            known[node] = graph.constant(node.args[0], dtype)
            continue
        operator, operands = OPERATIONS[node.op], [known[operand] for operand in node.args]
        if isinstance(operator, str):
            known[node] = graph.node(operator, *operands, hint=node.op)
        else:
            known[node] = operator(graph, dtype, *operands)
    return [known[output] for output in outputs]


def inputs_of(value: Value) -> set[str]:
    """Names of the inputs that a value is computed from."""
    return {node.args[0] for node in topological([value]) if node.op == "input"}


def _local_function(
    graph: GraphBuilder, name: str, arguments: Sequence[str], results: dict[str, Value], dtype: str, text: str,
    thin: Sequence[str] = (), narrow: Sequence[str] = (),
) -> onnx.FunctionProto:  # fmt: skip
    """A function of equations.

    Parameters
    ----------
    arguments, results : sequence of str, dict of str to Value
        Names of what goes in, and of what comes out.
    text : str
        What readers see beside the nodes.
    thin : sequence of str
        Arguments that need not have all numbers (B, H): a result of these alone is given the shape of the first other
        argument.
    narrow : sequence of str
        Arguments that have another number of features, so not their shape.
    """
    body = GraphBuilder(graph.opset, within_function=True)
    for reserved in (*arguments, *results):
        body.reserve(reserved)
    inputs = {Value("input", argument): argument for argument in arguments}
    found = add_equations(body, list(results.values()), dict(inputs), dtype)
    for (result, value), place in zip(results.items(), found, strict=True):
        if inputs_of(value) <= {*thin}:
            like = next(argument for argument in arguments if argument not in (*thin, *narrow))
            place = body.node("Expand", place, body.node("Shape", like))
        body.named(place, result)
    opsets = [helper.make_opsetid("", graph.opset)]
    return helper.make_function(DOMAIN, name, list(arguments), list(results), body.nodes, opsets, doc_string=text)


def call_cell(
    graph: GraphBuilder, named: Any, cell: Cell, values: dict[str, str], dtype: str, narrow: Sequence[str]
) -> list[str]:  # fmt: skip
    """Add a call of the function of a cell's equations: the new states.

    Parameters
    ----------
    named : Any
        What the file says of the cell.
    values : dict of str to str
        Names in the graph, of the cell's arguments and of results over units.
    narrow : sequence of str
        Arguments of P numbers, not H.
    """
    text = f"{cell.__doc__ or cell.name}\n\n{equations_text(cell)}"
    results = {f"new_{name}": value for name, value in zip(cell.states, cell.graph.states, strict=True)}
    given = _given(cell, values)

    def make(name: str) -> onnx.FunctionProto:
        return _local_function(graph, name, given, results, dtype, text, _thin(cell), narrow)

    name = graph.function((cell, dtype), cell.name, make)
    graph.cells[name] = named
    return graph.nodes_of(name, [values[own] for own in given], list(results), DOMAIN)


def call_operand(
    graph: GraphBuilder, cell: Cell, link: Link, values: dict[str, str], dtype: str, narrow: Sequence[str]
) -> str:
    """Add a call of the function of what a product of a cell, or a sum over units, is of."""
    what = "products" if link.kind == "product" else f"{link.kind} over units"
    text = f"Operand of {what} of the cell {cell.name!r}.\n\n{equations_text(cell)}"
    given = _given(cell, values)

    def make(name: str) -> onnx.FunctionProto:
        results = {"new_operand": link.operand}
        return _local_function(graph, name, given, results, dtype, text, _thin(cell), narrow)

    name = graph.function((cell, dtype, link.name), f"{cell.name}_operand", make)
    return graph.node(name, *[values[own] for own in given], hint="operand", domain=DOMAIN)


def _given(cell: Cell, values: dict[str, str]) -> list[str]:
    """Names of what a function of a cell can be given: arguments, then results over units."""
    return [name for name in (*cell.arguments, *_over_units(cell)) if name in values]


def _over_units(cell: Cell) -> list[str]:
    return [link.targets[0] for link in cell.graph.links if link.kind != "product"]


def _thin(cell: Cell) -> tuple[str, ...]:
    """Names of what has one number for all units, or one for all sequences, or may have."""
    return (*cell.vectors, *cell.scalars, *cell.signals, *_over_units(cell))


def call_activation(graph: GraphBuilder, activation: Any, x: str, dtype: str) -> str:
    """Add a call of the function of an activation that has an equation of one number."""
    symbol, y = traced(activation.name, activation.scalar)
    text = emit_function("equations", ["x"], {symbol: "x"}, [("new_x", y)], DIALECT)

    def make(name: str) -> onnx.FunctionProto:
        return _local_function(graph, name, ["x"], {"y": y}, dtype, f"The activation {activation.name!r}.\n\n{text}")

    name = graph.function((activation, dtype), activation.name, make)
    return graph.node(name, x, hint="activated", domain=DOMAIN)
