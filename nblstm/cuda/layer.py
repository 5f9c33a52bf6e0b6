"""One recurrent layer, all directions: what is allocated, and which kernels do the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nblstm.buffers.layout import suffix
from nblstm.cells.cell import Cell
from nblstm.cuda import persistent, steps
from nblstm.cuda.batch import DeviceBatch
from nblstm.cuda.kernels.cell_functions import Sizes
from nblstm.cuda.record import Record
from nblstm.cuda.weights import LayerWeights, input_order, recurrent_order

#: Pre-activations (numbers) that one launch of an inference pass reads: 256 MB of float32.
AHEAD = 2**26


@dataclass(frozen=True)
class LayerTape:
    """What BPTT of one layer needs.

    Attributes
    ----------
    x : device array, shape (N, I)
        Packed input rows.
    weights : LayerWeights
        As they were in the forward pass.
    spans : list of (int, int)
        The steps of each part of the pass.
    records : list of Record
        One for each span; empty with checkpoints.
    marks : list of device array, shape (S, D, B, H)
        With checkpoints, the states before each span.
    """

    x: Any
    weights: LayerWeights
    spans: list[tuple[int, int]]
    records: list[Record]
    marks: list


def _spans(T: int, steps_each: int) -> list[tuple[int, int]]:
    return [(first, min(first + steps_each, T)) for first in range(0, T, steps_each)]


def infer(runtime, cell: Cell, weights: LayerWeights, batch: DeviceBatch, x, state):
    """Run one layer over a packed batch.

    Parameters
    ----------
    runtime : Runtime
    cell : Cell
    weights : LayerWeights
    batch : DeviceBatch
    x : device array, shape (N, I)
    state : device array, shape (S, D, B, H)
        Initial states in sorted order; the final ones on return.

    Returns
    -------
    device array, shape (N, D H)
    """
    _, D, B, H = state.shape
    steps_each = max(1, AHEAD // max(1, D * B * len(cell.gates) * H))
    y, _, _ = _run(runtime, cell, weights, batch, x, state, _spans(batch.T, steps_each), training=False)
    return y


def forward(runtime, cell: Cell, weights: LayerWeights, batch: DeviceBatch, x, state, checkpoint: int | None):
    """Run one layer over a packed batch, keeping what BPTT needs.

    Parameters
    ----------
    runtime, cell, weights, batch, x, state
        As for `infer`.
    checkpoint : int or None
        Keep only the states every so many steps, and compute the rest again in BPTT.

    Returns
    -------
    y : device array, shape (N, D H)
    tape : LayerTape
    """
    spans = _spans(batch.T, checkpoint or max(1, batch.T))
    y, records, marks = _run(runtime, cell, weights, batch, x, state, spans, training=True, kept=checkpoint is None)
    return y, LayerTape(x, weights, spans, records, marks)


def _run(runtime, cell, weights, batch, x, state, spans, *, training: bool, kept: bool = False):
    """Outputs, and for BPTT either all records or the states before each span."""
    _, D, B, H = state.shape
    y, records, marks = None, [], []
    for span in spans:
        if training and not kept:
            marks.append(state.copy())
        record = _run_span(runtime, cell, weights, batch, x, state, span, training)
        if kept:
            records.append(record)
        if len(spans) == 1:
            return record.y[B:], records, marks
        if y is None:
            y = runtime.xp.empty((batch.N, D * H), x.dtype)
        for d, (start, count) in enumerate(zip(record.starts, record.counts, strict=True)):
            columns = slice(d * H, (d + 1) * H)
            y[start : start + count, columns] = record.y[B : B + count, columns]
    return (runtime.xp.empty((0, D * H), x.dtype) if y is None else y), records, marks


def _run_span(runtime, cell, weights, batch, x, state, span, training: bool) -> Record:
    _, D, _, H = state.shape
    record = Record.of(runtime.xp, cell, batch, span, state, training)
    if not max(record.counts):
        return record
    z = runtime.xp.empty((D, max(record.counts), len(cell.gates) * H), x.dtype)
    for d, (start, count) in enumerate(zip(record.starts, record.counts, strict=True)):
        runtime.matmul(x[start : start + count], weights.w_ih[d].T, z[d, :count])
    variant = persistent.variant_for(runtime.gpu, cell, state, backward=False)
    if variant is None:
        steps.forward(runtime, cell, weights, record, z, state)
    else:
        persistent.forward(runtime, variant, cell, weights, record, z, state)
    return record


def backward(
    runtime, cell: Cell, tape: LayerTape, batch: DeviceBatch, dy, d_state, d_parameters: dict, layer: int,
    input_gradient: bool = True,
):  # fmt: skip
    """BPTT through one layer.

    Parameters
    ----------
    runtime : Runtime
    cell : Cell
    tape : LayerTape
    batch : DeviceBatch
    dy : device array, shape (N, D H), or None
        Gradient with respect to the packed outputs; None is 0 everywhere.
    d_state : device array, shape (S, D, B, H)
        Gradient with respect to the final states, in sorted order; that of the initial states on return.
    d_parameters : dict of str to device array
        Gradients with respect to the parameters; this layer's are set.
    layer : int
    input_gradient : bool, default True
        Whether dx is wanted.

    Returns
    -------
    dx : device array, shape (N, I), or None
    """
    xp = runtime.xp
    _, D, B, H = d_state.shape
    n = Sizes.of(cell)
    dtype = d_state.dtype
    dy = xp.zeros((len(tape.x), D * H), dtype) if dy is None else dy
    dx = xp.zeros(tape.x.shape, dtype) if input_gradient else None
    d_vectors = xp.zeros((D, B, n.V * H), dtype)
    sums = [_ParameterSums(runtime, cell, d_parameters, suffix(layer, d)) for d in range(D)]
    for k in reversed(range(len(tape.spans))):
        record = tape.records[k] if tape.records else _again(runtime, cell, tape, batch, k)
        if not max(record.counts):
            continue
        dz = xp.empty((D, max(record.counts), n.P * H), dtype)
        operand = xp.empty((D, max(record.counts), H if n.second else 0), dtype)
        variant = persistent.variant_for(runtime.gpu, cell, d_state, backward=True)
        if variant is None:
            steps.backward(runtime, cell, tape.weights, record, dy, d_state, dz, d_vectors, operand)
        else:
            persistent.backward(runtime, variant, cell, tape.weights, record, dy, d_state, dz, d_vectors)
        for d, (start, count) in enumerate(zip(record.starts, record.counts, strict=True)):
            rows = slice(start, start + count)
            from_input = dz[d, :count, : n.G * H]
            sums[d].add_input(from_input, tape.x[rows])
            sums[d].add_recurrent(dz[d, :count, n.split * H :], record.recurrent_inputs(d), operand[d, :count])
            if dx is not None:
                dx[rows] += runtime.matmul(from_input, tape.weights.w_ih[d])
    for d in range(D):
        sums[d].finish()
        for v, vector in enumerate(cell.vectors):
            d_parameters[f"{vector}{suffix(layer, d)}"][...] = d_vectors[d, :, v * H : (v + 1) * H].sum(axis=0)
    return dx


def _again(runtime, cell: Cell, tape: LayerTape, batch: DeviceBatch, k: int) -> Record:
    """A span of the forward pass once more, from the states before it."""
    return _run_span(runtime, cell, tape.weights, batch, tape.x, tape.marks[k].copy(), tape.spans[k], True)


class _ParameterSums:
    """The gradients of one direction's weights and biases, summed over spans, then put in the order of the gates."""

    def __init__(self, runtime, cell: Cell, d_parameters: dict, end: str):
        self._runtime, self._cell, self._targets = runtime, cell, {
            name: d_parameters[f"{name}{end}"]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if f"{name}{end}" in d_parameters
        }  # fmt: skip
        self._sums: dict = {}

    def add_input(self, dz, x) -> None:
        """Packed rows: gradients of the pre-activations that the input feeds, and the input."""
        self._add("weight_ih", "bias_ih", dz, [(dz, x)])

    def add_recurrent(self, dz, h, operand) -> None:
        """The same of the recurrence: first second gates, whose weights multiply the operand."""
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
