"""The graph of a network or model while it is made: its inputs, outputs and states, and values on their way."""

from __future__ import annotations

from dataclasses import dataclass, field

from onnx import ValueInfoProto

from nblstm.layers.base.shapes import Shape
from nblstm.onnx.exporting.graph_builder import GraphBuilder, value_info
from nblstm.onnx.exporting.recurrences import Stack


@dataclass(frozen=True)
class Mask:
    """Which steps count, bool (B, T, ...).

    Attributes
    ----------
    name : str
    ndim : int
    lengths : str or None
        Lengths (B,), int64, of which it says the same.
    given : bool
        Whether it comes from the caller's lengths.
    """

    name: str
    ndim: int
    lengths: str | None = None
    given: bool = False


@dataclass(frozen=True)
class Flow:
    """A value between two layers.

    Attributes
    ----------
    name : str
    shape : tuple
        Batch included; None where unknown.
    dtype : str
    mask : Mask or None
    """

    name: str
    shape: Shape
    dtype: str
    mask: Mask | None = None


@dataclass(eq=False)
class ModelGraph:
    """A graph, and its inputs and outputs but for the first.

    Attributes
    ----------
    graph : GraphBuilder
    states : bool or None
        Whether states are inputs and outputs; None: those of stateful layers.
    inputs, outputs : list of ValueInfoProto
    lengths_used : bool
        Whether any layer has used the mask of the caller's lengths.
    within : str or None
        The layer, if any, whose parts are written now, and which folds time into the batch.
    """

    graph: GraphBuilder
    states: bool | None
    inputs: list[ValueInfoProto] = field(default_factory=list)
    outputs: list[ValueInfoProto] = field(default_factory=list)
    lengths_used: bool = False
    within: str | None = None

    def uses(self, mask: Mask) -> None:
        """Note that a layer computes something else where a mask is False."""
        self.lengths_used = self.lengths_used or mask.given

    def has_states(self, stateful: bool) -> bool:
        """Say if the states of a layer are inputs and outputs."""
        return self.within is None and (stateful if self.states is None else self.states)

    def states_in(self, stack: Stack, prefix: str) -> list[str]:
        """Add an input for each state before the first step."""
        states, sizes = stack.network.cell.states, stack.network.state_sizes
        for state in states:
            self.graph.reserve(f"{prefix}{state}_n")  # of the output, before other values get such a name
        names = [self.graph.reserve(f"{prefix}{state}_0") for state in states]
        self.inputs += [
            value_info(name, stack.network.dtype, [stack.rows, "batch", size])
            for name, size in zip(names, sizes, strict=True)
        ]
        return names

    def states_out(self, stack: Stack, prefix: str, finals: list[str]) -> None:
        """Add an output for each state after the last step."""
        network = stack.network
        for state, size, value in zip(network.cell.states, network.state_sizes, finals, strict=True):
            name = self.graph.named(value, f"{prefix}{state}_n")
            self.outputs.append(value_info(name, network.dtype, [stack.rows, "batch", size]))
