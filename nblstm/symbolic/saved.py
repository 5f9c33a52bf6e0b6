"""Choice of what BPTT saves: the smallest set of forward values from which the gradient follows cheaply."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from itertools import pairwise

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

    By shortest augmenting paths (Dinic 1970). A node is an edge of capacity 1, from its entry (node, 0) to its exit
    (node, 1); at the greatest flow, the cut is what is reached at its entry and not at its exit.
    """
    capacity: dict[Hashable, dict[Hashable, int]] = defaultdict(dict)

    def edge(start: Hashable, end: Hashable, size: int) -> None:
        capacity[start][end] = size
        capacity[end].setdefault(start, 0)  # what has flowed can flow back

    for node in nodes:
        edge((node, 0), (node, 1), 1)
        for user in users[node]:
            edge((node, 1), (user, 0), UNLIMITED)
    for node in sources:
        edge("source", (node, 0), UNLIMITED)
    for node in targets:
        edge((node, 1), "sink", UNLIMITED)
    while True:
        distance = _distances(capacity)
        if "sink" not in distance:
            return [node for node in nodes if (node, 0) in distance and (node, 1) not in distance]
        # One unit more of flow along each shortest path, found by depth first, until no edge is left to be tried.
        untried = {vertex: iter(capacity[vertex]) for vertex in distance}
        path: list[Hashable] = ["source"]
        while path:
            vertex = path[-1]
            if vertex == "sink":
                for start, end in pairwise(path):
                    capacity[start][end] -= 1
                    capacity[end][start] += 1
                path = ["source"]
                continue
            further = distance[vertex] + 1
            found = (end for end in untried[vertex] if capacity[vertex][end] and distance.get(end) == further)
            following = next(found, None)
            if following is None:
                path.pop()
            else:
                path.append(following)


def _distances(capacity: dict[Hashable, dict[Hashable, int]]) -> dict[Hashable, int]:
    """Edges from the source to each vertex that is reached through capacity that is left."""
    distance: dict[Hashable, int] = {"source": 0}
    queue: list[Hashable] = ["source"]
    for vertex in queue:
        for end, left in capacity[vertex].items():
            if left and end not in distance:
                distance[end] = distance[vertex] + 1
                queue.append(end)
    return distance
