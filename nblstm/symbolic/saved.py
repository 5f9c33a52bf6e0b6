"""Choice of what BPTT saves: the smallest set of forward values from which the gradient follows cheaply."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from nblstm.symbolic.graph import Value, topological

#: Functions that cost as much as ten multiplications: their results are saved rather than computed again.
EXPENSIVE = frozenset({"exp", "expm1", "log", "log1p", "sqrt", "sigmoid", "tanh", "erf"})


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
        Values that are kept anyway: previous and new states, vectors.
    """
    forward = topological(outputs)
    known = {node for node in forward if node in free or node.op == "constant"}
    needed = {node for node in _mentioned(d_inputs, set(forward)) if node not in known}
    unknown = [node for node in forward if node not in known and (node.op == "input" or node.op in EXPENSIVE)]
    users = defaultdict(list)
    for node in forward:
        if node.op not in EXPENSIVE and node not in known:
            for operand in node.operands:
                users[operand].append(node)
    reached = _Flow(unknown, needed, users).reached()
    return [node for node in forward if (node, 0) in reached and (node, 1) not in reached]


def _mentioned(d_inputs, inside: set[Value]) -> list[Value]:
    """Forward values that the gradient mentions."""
    return [node for node in topological(d_inputs, leaves=inside) if node in inside]


#: A node's entry (node, 0) or exit (node, 1); the edge from the one to the other has capacity 1.
_Vertex = tuple[Value, int]


class _Flow:
    """The greatest flow from ``sources`` to ``targets``, by augmenting paths (Ford & Fulkerson 1956).

    Parameters
    ----------
    sources : list of Value
    targets : set of Value
    users : dict of Value to list of Value
        Where flow may go from a node's exit.
    """

    def __init__(self, sources: list[Value], targets: set[Value], users: dict[Value, list[Value]]):
        self._sources, self._targets, self._users = sources, targets, users
        self._full: set = set()  # edges that carry flow

    def reached(self) -> set[_Vertex]:
        """Vertices that the sources reach at the greatest flow; the minimum cut is where they end."""
        end, came_from = self._search()
        while end is not None:
            self._augment(end, came_from)
            end, came_from = self._search()
        return set(came_from) | {(node, 0) for node in self._sources}

    def _search(self) -> tuple[_Vertex | None, dict]:
        """End of an augmenting path, None if there is none, and for each vertex its predecessor and edge."""
        came_from: dict = {(node, 0): None for node in self._sources if ("source", node) not in self._full}
        queue = list(came_from)
        for vertex in queue:
            node, side = vertex
            if side == 1 and node in self._targets and (node, "sink") not in self._full:
                return vertex, came_from
            for following, step in self._neighbours(vertex):
                if following not in came_from:
                    came_from[following] = vertex, step
                    queue.append(following)
        return None, came_from

    def _neighbours(self, vertex: _Vertex) -> Iterator[tuple[_Vertex, tuple]]:
        """Residual edges, as (vertex, (edge, whether it is used forwards))."""
        node, side = vertex
        if side == 0:
            if (node, "through") not in self._full:
                yield (node, 1), ((node, "through"), True)
            for operand in node.operands:
                if (operand, node) in self._full:
                    yield (operand, 1), ((operand, node), False)
        else:
            for user in self._users[node]:
                if (node, user) not in self._full:
                    yield (user, 0), ((node, user), True)
            if (node, "through") in self._full:
                yield (node, 0), ((node, "through"), False)

    def _augment(self, end: _Vertex, came_from: dict) -> None:
        """Add one unit of flow along the path that ends there."""
        self._full.add((end[0], "sink"))
        vertex = end
        while came_from[vertex] is not None:
            vertex, (edge, forwards) = came_from[vertex]
            self._full.add(edge) if forwards else self._full.discard(edge)
        self._full.add(("source", vertex[0]))
