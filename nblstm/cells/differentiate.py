"""Reverse-mode differentiation of a traced cell, and the choice of what BPTT saves.

References
----------
A. Griewank and A. Walther, *Evaluating Derivatives*, 2nd ed., 2008: chapter 3 (reverse mode).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

from nblstm.cells.graph import COMPARISONS, EXPENSIVE, ZERO, Value, compare, function, select, topological

# For y = op(*args) and d, the gradient with respect to y: the gradient with respect to each argument.
# Written in terms of y wherever possible: y is computed anyway, or saved.
RULES: dict[str, Callable[..., tuple]] = {
    "add": lambda d, y, a, b: (d, d),
    "sub": lambda d, y, a, b: (d, -d),
    "mul": lambda d, y, a, b: (d * b, d * a),
    "div": lambda d, y, a, b: (d / b, -(d / b) * y),
    "neg": lambda d, y, a: (-d,),
    "exp": lambda d, y, a: (d * y,),
    "expm1": lambda d, y, a: (d * (y + 1),),
    "log": lambda d, y, a: (d / a,),
    "log1p": lambda d, y, a: (d / (1 + a),),
    "sqrt": lambda d, y, a: (0.5 * d / y,),
    "abs": lambda d, y, a: (select(compare("gt", a, 0), d, select(compare("lt", a, 0), -d, 0)),),
    "sigmoid": lambda d, y, a: (d * (y * (1 - y)),),
    "tanh": lambda d, y, a: (d * (1 - y * y),),
    "erf": lambda d, y, a: (d * (2 / math.sqrt(math.pi)) * function("exp", -(a * a)),),
    # y < b exactly where a < b, and y is more often at hand: relu's gradient needs its output alone.
    "minimum": lambda d, y, a, b: (select(compare("lt", y, b), d, 0), select(compare("lt", y, b), 0, d)),
    "maximum": lambda d, y, a, b: (select(compare("gt", y, b), d, 0), select(compare("gt", y, b), 0, d)),
    "where": lambda d, y, condition, a, b: (None, select(condition, d, 0), select(condition, 0, d)),
}


def gradients(outputs, d_outputs, inputs) -> list[Value]:
    """The gradient of ``sum(d * output)`` with respect to each input, as expressions."""
    d: dict[Value, Value] = defaultdict(lambda: ZERO)
    for output, d_output in zip(outputs, d_outputs, strict=True):
        d[output] = d[output] + d_output
    for node in reversed(topological(outputs)):
        if d[node] is ZERO or node.op in COMPARISONS or not node.operands:
            continue
        for operand, contribution in zip(node.args, RULES[node.op](d[node], node, *node.args), strict=True):
            if contribution is not None:
                d[operand] = d[operand] + contribution
    return [d[x] for x in inputs]


def values_to_save(outputs, d_inputs, free) -> list[Value]:
    """The fewest forward values that the backward function needs besides the ``free`` ones.

    ``free`` values (previous and new states, vectors) are at hand in BPTT anyway. From saved and free values
    everything else must follow by cheap arithmetic; exp-like functions are never computed twice. That is a
    minimum vertex cut between what is unknown (gates, results of exp-like functions) and what the gradient
    mentions, found by augmenting paths (Ford & Fulkerson 1956); a cell has a few dozen nodes.
    """
    forward = topological(outputs)
    inside = set(forward)
    known = {node for node in forward if node in free or node.op == "constant"}
    needed = [node for node in _mentioned(d_inputs, inside) if node not in known]
    unknown = [node for node in forward if node not in known and (node.op == "input" or node.op in EXPENSIVE)]
    users = defaultdict(list)
    for node in forward:
        if node.op not in EXPENSIVE:
            for operand in node.operands:
                users[operand].append(node)

    # Each node is an edge of capacity 1 from its entry (node, 0) to its exit (node, 1).
    flow: set = set()

    def neighbours(vertex):
        node, side = vertex
        if side == 0:
            if (node, "through") not in flow:
                yield (node, 1), ((node, "through"), True)
            for operand in node.operands:  # back along an edge that carries flow
                if (operand, node) in flow:
                    yield (operand, 1), ((operand, node), False)
        else:
            for user in users[node]:
                if user not in known and (node, user) not in flow:
                    yield (user, 0), ((node, user), True)
            if (node, "through") in flow:
                yield (node, 0), ((node, "through"), False)

    def search():
        """A path from the unknown to a needed exit, or what can be reached when there is none."""
        origin = {(node, 0): None for node in unknown if ("source", node) not in flow}
        queue = list(origin)
        for vertex in queue:
            if vertex[1] == 1 and vertex[0] in targets and (vertex[0], "sink") not in flow:
                return vertex, origin
            for following, edge in neighbours(vertex):
                if following not in origin:
                    origin[following] = (vertex, edge)
                    queue.append(following)
        return None, origin

    targets = set(needed)
    end, origin = search()
    while end is not None:
        flow.add((end[0], "sink"))
        vertex = end
        while origin[vertex] is not None:
            vertex, (edge, forwards) = origin[vertex]
            flow.add(edge) if forwards else flow.discard(edge)
        flow.add(("source", vertex[0]))
        end, origin = search()
    reached = set(origin) | {(node, 0) for node in unknown}
    return [node for node in forward if (node, 0) in reached and (node, 1) not in reached]


def _mentioned(d_inputs, inside) -> list[Value]:
    """Forward values that the gradient's expressions refer to."""
    found: dict[Value, None] = {}
    seen: set[Value] = set()

    def visit(node):
        if node in seen:
            return
        seen.add(node)
        if node in inside:
            found[node] = None
        else:
            for operand in node.operands:
                visit(operand)

    for node in d_inputs:
        visit(node)
    return list(found)
