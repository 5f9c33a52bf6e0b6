"""Lengths of the sequences of a batch, as the nodes of recurrent layers take them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from nblstm.onnx.exporting.graph_builder import GraphBuilder


@dataclass(eq=False)
class Lengths:
    """Lengths (B,) of the sequences of a time-major batch.

    Attributes
    ----------
    graph : GraphBuilder
    name : str
        Of the lengths, int64.
    steps : str
        Of the number of steps T, int64 and of shape (1,).
    """

    graph: GraphBuilder
    name: str
    steps: str

    @cached_property
    def for_operators(self) -> str:
        """Lengths as int32, the ``sequence_lens`` of LSTM, GRU and RNN."""
        return self.graph.cast(self.name, "int32")

    @cached_property
    def valid(self) -> str:
        """``t < length``, bool (T, B, 1)."""
        return self.graph.unsqueeze(self.before(1), 2)

    @cached_property
    def any_step(self) -> str:
        """``length > 0``, bool (B, 1)."""
        some = self.graph.node("Greater", self.name, self.graph.constant(0))
        return self.graph.unsqueeze(some, 1)

    def before(self, axis: int) -> str:
        """``t < length``: bool (T, B) with axis 1, where sequences are, (B, T) with axis 0."""
        graph = self.graph
        zero, one = graph.constant(0), graph.constant(1)
        times = graph.node("Range", zero, graph.squeeze(self.steps, 0), one)
        return graph.node("Less", graph.unsqueeze(times, axis), graph.unsqueeze(self.name, 1 - axis))
