"""A plan, which is what a graph is read to, and what all graphs of a model share while they are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from onnx import NodeProto

from nblstm.nn.recurrent import Recurrent
from nblstm.onnx.limits import Budget
from nblstm.onnx.local_functions import Inliner
from nblstm.onnx.steps import Step


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


@dataclass
class Reading:
    """A model while it is read: what its graph and the bodies in it have in common.

    Attributes
    ----------
    inliner : Inliner
    budget : Budget
    keeps_states : bool
        See `RecurrentNode`.
    taken, seen : set of str
        Names that nodes are given by the file, and those that have been given out.
    recurrent, left, doubts
        See `Plan`.
    """

    inliner: Inliner
    budget: Budget
    keeps_states: bool
    taken: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=lambda: {""})
    recurrent: dict[str, Recurrent] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)

    def name(self, node: NodeProto, place: int, prefix: str) -> str:
        """A name for a node that no other one has: its own, or its operator's and its place in the graph."""
        name = f"{prefix}{node.name}"
        if name in self.seen or not node.name:
            name = f"{prefix}{node.op_type}_{place}"
            while name in self.taken:
                name += "_"
        self.taken.add(name)
        self.seen.add(name)
        return name
