"""One recurrent layer, all directions: arrays, products of all steps at once, and which kernels do the steps.

Forward, ``z = W_ih x`` of a span of steps is one product; `sequence` or `steps` then compute the steps. Backward, they
compute ``dz`` of a span; dx, dW and db are products of all its steps at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nblstm.buffers.layout import suffix
from nblstm.cells.cell import Cell
from nblstm.cuda import sequence, steps
from nblstm.cuda.arrays import DeviceBatch
from nblstm.cuda.device_weights import DeviceWeights, input_order, recurrent_order
from nblstm.cuda.kernels.cell_functions import CellSizes
from nblstm.cuda.span import Span
from nblstm.cuda.thresholds import INFERENCE_PREACTIVATIONS


@dataclass(frozen=True)
class LayerReserve:
    """All that BPTT of one layer reads.

    Attributes
    ----------
    x : device array, shape (N, I)
        Packed input rows.
    weights : DeviceWeights
        As they were in the forward pass.
    steps : list of (int, int)
        First step and the one behind the last, of each span.
    spans : list of Span
        One for each; empty with checkpoints.
    checkpoints : list of device array, shape (S, D, B, H)
        With checkpoints, the states before each span.
    """

    x: Any
    weights: DeviceWeights
    steps: list[tuple[int, int]]
    spans: list[Span]
    checkpoints: list


def infer(runtime, cell: Cell, weights: DeviceWeights, batch: DeviceBatch, x, state):
    """Compute one layer over a packed batch.

    Parameters
    ----------
    runtime : Runtime
    cell : Cell
    weights : DeviceWeights
    batch : DeviceBatch
    x : device array, shape (N, I)
    state : device array, shape (S, D, B, H)
        Initial states in sorted order; the final ones on return.

    Returns
    -------
    device array, shape (N, D H)
    """
    _, D, B, H = state.shape
    steps_each = max(1, INFERENCE_PREACTIVATIONS // max(1, D * B * len(cell.gates) * H))
    y = None
    for first, last in _divided(batch.T, steps_each):
        span = _forward_span(runtime, cell, weights, batch, x, state, first, last, training=False)
        y = _gathered(runtime.xp, y, span)
    return runtime.xp.empty((0, D * H), x.dtype) if y is None else y


def forward(runtime, cell: Cell, weights: DeviceWeights, batch: DeviceBatch, x, state, checkpoint: int | None):
    """Compute one layer over a packed batch, and keep what BPTT reads.

    Parameters
    ----------
    runtime, cell, weights, batch, x, state
        As for `infer`.
    checkpoint : int or None
        Keep only the states every so many steps, and compute the rest again in BPTT.

    Returns
    -------
    y : device array, shape (N, D H)
    reserve : LayerReserve
    """
    _, D, _, H = state.shape
    y, reserve = None, LayerReserve(x, weights, _divided(batch.T, checkpoint or max(1, batch.T)), [], [])
    for first, last in reserve.steps:
        if checkpoint is not None:
            reserve.checkpoints.append(state.copy())
        span = _forward_span(runtime, cell, weights, batch, x, state, first, last, training=True)
        if checkpoint is None:
            reserve.spans.append(span)
        y = _gathered(runtime.xp, y, span)
    return (runtime.xp.empty((0, D * H), x.dtype) if y is None else y), reserve


def _divided(T: int, steps_each: int) -> list[tuple[int, int]]:
    """T steps in spans of so many each."""
    return [(first, min(first + steps_each, T)) for first in range(0, T, steps_each)]


def _gathered(xp, y, span: Span):
    """The outputs of all spans (N, D H), with those of this one: its own memory if it is the only span."""
    batch, D = span.batch, len(span.starts)
    B, H = batch.B, span.y.shape[1] // D
    if (span.first, span.last) == (0, batch.T):
        return span.y[B:]
    if y is None:
        y = xp.empty((batch.N, D * H), span.y.dtype)
    for d, (start, count) in enumerate(zip(span.starts, span.counts, strict=True)):
        columns = slice(d * H, (d + 1) * H)
        y[start : start + count, columns] = span.y[B : B + count, columns]
    return y


def _forward_span(runtime, cell, weights, batch, x, state, first: int, last: int, training: bool) -> Span:
    _, D, _, H = state.shape
    span = Span.allocate(runtime.xp, cell, batch, first, last, state, training)
    if not span.n:
        return span
    # z = x W_ih^T
    z = runtime.xp.empty((D, span.n, len(cell.gates) * H), x.dtype)
    for d, (start, count) in enumerate(zip(span.starts, span.counts, strict=True)):
        runtime.matmul(x[start : start + count], weights.w_ih[d].T, z[d, :count])
    tiling = sequence.tiling_for(runtime.gpu, cell, state, backward=False)
    if tiling is None:
        steps.forward(runtime, cell, weights, span, z, state)
    else:
        sequence.forward(runtime, tiling, cell, weights, span, z, state)
    return span


def backward(
    runtime, cell: Cell, reserve: LayerReserve, batch: DeviceBatch, dy, d_state, d_parameters: dict, layer: int,
    input_gradient: bool = True,
):  # fmt: skip
    """BPTT through one layer.

    Parameters
    ----------
    runtime : Runtime
    cell : Cell
    reserve : LayerReserve
    batch : DeviceBatch
    dy : device array, shape (N, D H), or None
        Gradient with respect to the packed outputs; None is 0 everywhere.
    d_state : device array, shape (S, D, B, H)
        Gradient with respect to the final states, in sorted order; that of the initial states on return.
    d_parameters : dict of str to device array
        Gradients with respect to the parameters; this layer's are set.
    layer : int
    input_gradient : bool, default True
        Return dx.

    Returns
    -------
    dx : device array, shape (N, I), or None
    """
    xp = runtime.xp
    _, D, B, H = d_state.shape
    n = CellSizes.of(cell)
    x, weights, dtype = reserve.x, reserve.weights, d_state.dtype
    dy = xp.zeros((len(x), D * H), dtype) if dy is None else dy
    dx = xp.zeros(x.shape, dtype) if input_gradient else None
    d_vectors = xp.zeros((D, B, n.V * H), dtype)
    sums = [_ParameterSums(runtime, cell, d_parameters, suffix(layer, d)) for d in range(D)]
    for k in reversed(range(len(reserve.steps))):
        if reserve.spans:
            span = reserve.spans[k]
        else:  # the forward pass once more, from the states before the span
            state = reserve.checkpoints[k].copy()
            span = _forward_span(runtime, cell, weights, batch, x, state, *reserve.steps[k], training=True)
        if not span.n:
            continue
        # dz of all steps, d_state before the span
        dz = xp.empty((D, span.n, n.P * H), dtype)
        operand = xp.empty((D, span.n, H if n.C else 0), dtype)
        tiling = sequence.tiling_for(runtime.gpu, cell, d_state, backward=True)
        if tiling is None:
            steps.backward(runtime, cell, weights, span, dy, d_state, dz, d_vectors, operand)
        else:
            sequence.backward(runtime, tiling, cell, weights, span, dy, d_state, dz, d_vectors)
        # dW_ih += dz^T x, dW_hh += dz^T h, db += sum of dz, dx += dz W_ih
        for d, (start, count) in enumerate(zip(span.starts, span.counts, strict=True)):
            rows = slice(start, start + count)
            from_input = dz[d, :count, : n.G * H]
            sums[d].add_input(from_input, x[rows])
            sums[d].add_recurrent(dz[d, :count, n.split * H :], span.recurrent_inputs(d), operand[d, :count])
            if dx is not None:
                dx[rows] += runtime.matmul(from_input, weights.w_ih[d])
    for d in range(D):
        sums[d].finish()
        for v, vector in enumerate(cell.vectors):
            d_parameters[f"{vector}{suffix(layer, d)}"][...] = d_vectors[d, :, v * H : (v + 1) * H].sum(axis=0)
    return dx


class _ParameterSums:
    """Gradients of one direction's weights and biases: summed over spans, then put in the order of the gates."""

    def __init__(self, runtime, cell: Cell, d_parameters: dict, end: str):
        self._runtime, self._cell, self._targets = runtime, cell, {
            name: d_parameters[f"{name}{end}"]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if f"{name}{end}" in d_parameters
        }  # fmt: skip
        self._sums: dict = {}

    def add_input(self, dz, x) -> None:
        """Add dz^T x and the sum of dz, for the dz that the input feeds."""
        self._add("weight_ih", "bias_ih", dz, [(dz, x)])

    def add_recurrent(self, dz, h, operand) -> None:
        """Add dz^T h and the sum of dz, for the dz that the recurrence feeds; for second gates, dz^T operand."""
        width = len(self._cell.second) * h.shape[1]
        parts = [(dz[:, :width], operand)] if width else []
        self._add("weight_hh", "bias_hh", dz, [*parts, (dz[:, width:], h)])

    def _add(self, weight: str, bias: str, dz, products: list) -> None:
        matmul, xp = self._runtime.matmul, self._runtime.xp
        self._accumulate(weight, xp.concatenate([matmul(d.T, inputs) for d, inputs in products]))
        if bias in self._targets:  # a product with ones is a sum in a fixed order
            self._accumulate(bias, matmul(xp.ones((1, len(dz)), dz.dtype), dz)[0])

    def _accumulate(self, name: str, value) -> None:
        self._sums[name] = value if name not in self._sums else self._sums[name] + value

    def finish(self) -> None:
        """Set the gradients; zeros where there were no rows."""
        G = len(self._cell.gates)
        for name, target in self._targets.items():
            order = input_order(self._cell) if name.endswith("ih") else recurrent_order(self._cell)
            target[...] = 0
            if name in self._sums:
                by_gate = target.reshape(G, -1)
                for block, gate in enumerate(order):
                    by_gate[gate] = self._sums[name].reshape(G, -1)[block]
