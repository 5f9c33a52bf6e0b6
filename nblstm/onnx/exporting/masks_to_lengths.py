"""A batch with masked steps as one without: valid steps move to the front, and outputs back to where the steps were."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from nblstm.onnx.exporting.graph_builder import GraphBuilder
from nblstm.onnx.exporting.lengths import Lengths
from nblstm.onnx.exporting.model_graph import Mask


@dataclass(eq=False)
class MaskedSteps:
    """The steps of a batch (B, T, ...) that a mask leaves, as `nblstm.buffers.masks` arranges them.

    Attributes
    ----------
    graph : GraphBuilder
    mask : Mask
    hold : bool
        Whether the output of a masked step is that of the valid step read before it, 0 at first; otherwise it is 0.
    """

    graph: GraphBuilder
    mask: Mask
    hold: bool

    @cached_property
    def lengths(self) -> Lengths:
        """Number of valid steps of each sequence."""
        steps = self.graph.sizes(self.mask.name, 1, 2)
        name = self.mask.lengths or self.graph.reduce("ReduceSum", self._counted, [1], False)
        return Lengths(self.graph, name, steps)

    @cached_property
    def _counted(self) -> str:
        return self.graph.cast(self.mask.name, "int64")

    @cached_property
    def _order(self) -> str:
        """Valid steps, then the others, (B, T): steps sorted by ``t + (0 if valid else T)``."""
        graph = self.graph
        steps = self.lengths.steps
        times = graph.node("Range", graph.constant(0), graph.squeeze(steps, 0), graph.constant(1))
        key = graph.node("Add", graph.node("Where", self.mask.name, graph.constant([0]), steps), times)
        return graph.nodes_of("TopK", [key, steps], ["sorted", "order"], axis=1, largest=0, sorted=1)[1]

    def pack(self, x: str) -> str:
        """Move valid steps of (B, T, I) to the front."""
        return x if self.mask.lengths else self._gathered(x, self._order)

    def unpack(self, y: str, dtype: str, reverse: bool) -> str:
        """Move outputs (B, T, K) back, in the order of time."""
        graph, zero = self.graph, self.graph.constant(0)
        if self.mask.lengths and not self.hold:
            return y  # which is 0 beyond the lengths
        backwards = reverse and self.hold
        done = graph.node("CumSum", self._counted, graph.constant(1), reverse=int(backwards))
        step = graph.node("Sub", graph.unsqueeze(self.lengths.name, 1) if backwards else done,
                          done if backwards else graph.constant(1))  # fmt: skip
        shown = graph.node("Greater", done, zero) if self.hold else self.mask.name
        found = self._gathered(y, graph.node("Where", shown, step, zero))
        return graph.node("Where", graph.unsqueeze(shown, 2), found, graph.constant(0, dtype))

    def _gathered(self, x: str, steps: str) -> str:
        """Rows ``x[b, steps[b, t]]``."""
        return self.graph.node("GatherND", x, self.graph.unsqueeze(steps, 2), batch_dims=1)
