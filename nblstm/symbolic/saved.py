"""Choice of what BPTT saves: the smallest set of forward values from which the gradient follows cheaply."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

from nblstm.symbolic.graph import Value, topological

#: Functions that cost as much as ten multiplications: their results are saved rather than computed again.
EXPENSIVE = frozenset(
    {"exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "sigmoid", "tanh", "erf", "sin", "cos", "exp2", "log2"}
)


#: A capacity above any flow: at most one unit goes through each value.
UNLIMITED = 10**9


def values_to_save(outputs, d_inputs, free) -> list[Value]:
    """The fewest forward values that the gradient needs beside the ``free`` ones.

    It is a minimum vertex cut between what is unknown (inputs, results of `EXPENSIVE` functions) and what the gradient
    mentions: from saved and free values, all else follows by cheap arithmetic.

    Parameters
    ----------
    outputs : list of Value
    d_inputs : list of Value
        The gradient, in terms of values of the graph of ``outputs``.
    free : set of Value
        Values that are kept anyway, such as previous and new states and vectors; what they are made of does not count.
    """
    forward = topological(outputs)
    known = {node for node in forward if node in free or node.op == "constant"}
    needed = set(_mentioned(d_inputs, {*forward, *free})) - known - set(free)
    unknown = [node for node in forward if node not in known and (node.op == "input" or node.op in EXPENSIVE)]
    users = defaultdict(list)
    for node in forward:
        if node.op not in EXPENSIVE and node not in known:
            for operand in node.operands:
                users[operand].append(node)
    return _cut(forward, unknown, needed, users)


def _mentioned(d_inputs, inside: set[Value]) -> list[Value]:
    """Forward values that the gradient mentions."""
    return [node for node in topological(d_inputs, leaves=inside) if node in inside]


def _cut(nodes: list[Value], sources: list[Value], targets: set[Value], users: dict[Value, list[Value]]) -> list[Value]:
    """The fewest nodes without which no path leads from sources to targets; of several such sets, the first.

    By augmenting paths (Ford & Fulkerson 1956). A node is an edge of capacity 1, from its entry (node, 0) to its exit
    (node, 1); at the greatest flow, the cut is what is reached at its entry and not at its exit.
    """
    capacity: dict[Hashable, dict[Hashable, int]] = defaultdict(lambda: defaultdict(int))
    for node in nodes:
        capacity[node, 0][node, 1] = 1
        for user in users[node]:
            capacity[node, 1][user, 0] = UNLIMITED
    for node in sources:
        capacity["source"][node, 0] = UNLIMITED
    for node in targets:
        capacity[node, 1]["sink"] = UNLIMITED
    while True:
        # A shortest path with capacity left: each vertex that is reached, and the one before it.
        before: dict[Hashable, Hashable] = {"source": None}
        queue: list[Hashable] = ["source"]
        for vertex in queue:
            following = [end for end, left in capacity[vertex].items() if left and end not in before]
            before |= dict.fromkeys(following, vertex)
            queue += following
        if "sink" not in before:
            return [node for node in nodes if (node, 0) in before and (node, 1) not in before]
        # One unit more of flow along it; what has flowed can flow back.
        end: Hashable = "sink"
        while end != "source":
            start = before[end]
            capacity[start][end] -= 1
            capacity[end][start] += 1
            end = start
