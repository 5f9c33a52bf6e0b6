"""One recurrent layer, all directions: arrays, products of all steps at once, and which kernels do the steps.

Forward, ``z = W_ih x`` of a span of steps is one product; `sequence` or `steps` then compute the steps. Backward, they
compute ``dz`` of a span; dx, dW and db are products of all its steps at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nblstm.buffers.layout import input_order, recurrent_order, suffix
from nblstm.cells.cell import Cell
from nblstm.cells.step_parts import operands, recurrent_runs
from nblstm.cuda import sequence, steps
from nblstm.cuda.arrays import DeviceBatch
from nblstm.cuda.device_weights import DeviceWeights
from nblstm.cuda.kernels.cell_functions import CellSizes
from nblstm.cuda.span import Span
from nblstm.cuda.steps import Given
from nblstm.cuda.thresholds import INFERENCE_PREACTIVATIONS


class LayerPass:
    """One layer's pass over one batch, as `nblstm.cpu.layer_training` and `layer_forward` have it.

    Parameters
    ----------
    runtime : Runtime
    network : Network
    batch : DeviceBatch
    layer : int
    training : bool
        Whether BPTT will follow.
    checkpoint : int, optional
        For training: keep only the states every so many steps, and compute the rest again in BPTT.
    """

    nbytes = 0  # passes on a GPU are not kept

    def __init__(self, runtime, network, batch: DeviceBatch, layer: int, training: bool, checkpoint: int | None):
        self._runtime, self._cell, self._gates = runtime, network.cell, network.gates
        self._batch, self._layout, self._layer, self._training = batch, network.kernel_layout, layer, training
        self._checkpoint = checkpoint
        # Kernels take the second direction for the one that reads backwards: where it is the only one, each sequence is
        # reversed.
        self._reversed = batch.reversed_rows() if network.directions == (True,) else None
        self._spans: list[Span] = []
        self._marks: list[Any] = []  # with checkpoints, the states before each span
        self._signals: list[Any] = []
        self._seeds = [0] * network.D

    def take(self, signals: list[Any], seeds: list[int]) -> None:
        """Take what the cell is given with each step beside x.

        Parameters
        ----------
        signals : list of device array, each (N,) or (N, H)
            Packed rows, in the cell's order.
        seeds : list of int
            Of each direction's noise.
        """
        self._signals, self._seeds = signals, seeds

    def forward(self, weights: DeviceWeights, x, states, y, zero: bool):
        """Run the layer.

        Parameters
        ----------
        weights : DeviceWeights
        x : device array, shape (N, I), or (D, N, I) where directions read different ones
        states : device array, shape (S, D, B, H)
            Initial states in sorted order; the final ones on return.
        y, zero
            Of no use here.

        Returns
        -------
        device array, shape (N, D H)
        """
        _, D, B, H = states.shape
        x = x if self._reversed is None else x[..., self._reversed, :]
        self._given = Given(x, self._signals_of_units(H, x.dtype), self._seeds, self._reversed is not None)
        if self._training:
            self._x, self._weights, self._spans, self._marks = x, weights, [], []
            steps_each = self._checkpoint or max(1, self._batch.T)
        else:
            steps_each = max(1, INFERENCE_PREACTIVATIONS // max(1, D * B * len(self._cell.input_gates) * H))
        self._steps, outputs = _divided(self._batch.T, steps_each), None
        for first, last in self._steps:
            if self._training and self._checkpoint is not None:
                self._marks.append(states.copy())
            span = self._forward_span(weights, x, states, first, last)
            if self._training and self._checkpoint is None:
                self._spans.append(span)
            outputs = _gathered(self._runtime.xp, outputs, span)
        if outputs is None:
            outputs = self._runtime.xp.empty((0, D * H), x.dtype)
        return outputs if self._reversed is None else outputs[self._reversed]

    def _signals_of_units(self, H: int, dtype):
        """The signals as one array (signals, N, H)."""
        xp, N = self._runtime.xp, self._batch.N
        made = xp.empty((len(self._signals), N, H), dtype)
        for target, own in zip(made, self._signals, strict=True):
            rows = own if own.ndim == 2 else own[:, None]
            target[...] = rows if self._reversed is None else rows[self._reversed]
        return made

    def _forward_span(self, weights: DeviceWeights, x, states, first: int, last: int) -> Span:
        runtime, cell = self._runtime, self._cell
        span = Span.allocate(runtime.xp, cell, self._batch, first, last, states, self._training)
        if not span.n:
            return span
        # z = x W_ih^T
        z = runtime.xp.empty((states.shape[1], span.n, len(cell.input_gates) * states.shape[3]), x.dtype)
        for d, (start, count) in enumerate(zip(span.starts, span.counts, strict=True) if cell.input_gates else ()):
            runtime.matmul(_of(x, d)[start : start + count], weights.w_ih[d].T, z[d, :count])
        tiling = sequence.tiling_for(runtime.gpu, cell, states, backward=False)
        if tiling is None:
            steps.forward(runtime, cell, weights, span, z, states, self._given)
        else:
            sequence.forward(runtime, tiling, cell, weights, span, z, states)
        return span

    def let_go_gradients(self) -> None:
        """Do nothing: no kernel arguments are kept."""

    def backward(
        self, dy, d_states, flat, input_gradient: bool, fresh: bool, d_signals: Sequence[Any] = ()
    ):  # fmt: skip
        """Run BPTT.

        Parameters
        ----------
        dy : device array, shape (N, D H), or None
            Gradient with respect to the packed outputs; None is 0 everywhere.
        d_states : device array, shape (S, D, B, H)
            Gradient with respect to the final states, in sorted order; that of the initial states on return.
        flat : device array
            Gradients with respect to all parameters of the network; this layer's are set.
        input_gradient : bool
            Return dx.
        fresh : bool
            Of no use here.
        d_signals : sequence of device array, each (N,) or (N, H)
            Gradients of the signals, which are added to; empty if they are not wanted.

        Returns
        -------
        dx : device array in the shape of x, or None
        """
        runtime, cell, weights, x = self._runtime, self._cell, self._weights, self._x
        xp, d_parameters = runtime.xp, self._layout.views(flat)
        _, D, B, H = d_states.shape
        n, dtype = CellSizes.of(cell), d_states.dtype
        if dy is None:
            dy = xp.zeros((self._batch.N, D * H), dtype)
        elif self._reversed is not None:
            dy = dy[self._reversed]
        dx = xp.zeros(x.shape, dtype) if input_gradient else None
        d_vectors = xp.zeros((D, B, n.V * H), dtype)
        ends = [suffix(self._layer, d) for d in range(D)]
        sums = [_ParameterSums(runtime, cell, self._gates, d_parameters, end) for end in ends]
        for k in reversed(range(len(self._steps))):
            if self._spans:
                span = self._spans[k]
            else:  # the forward pass once more, from the states before the span
                span = self._forward_span(weights, x, self._marks[k].copy(), *self._steps[k])
            if not span.n:
                continue
            # dz of all steps, d_states before the span
            dz = xp.empty((D, span.n, (n.P + len(cell.given)) * H), dtype)
            operand = xp.empty((D, len(operands(cell)), span.n, H), dtype)
            tiling = sequence.tiling_for(runtime.gpu, cell, d_states, backward=True)
            if tiling is None:
                steps.backward(runtime, cell, weights, span, dy, d_states, dz, d_vectors, operand)
            else:
                sequence.backward(runtime, tiling, cell, weights, span, dy, d_states, dz, d_vectors)
            # dW_ih += dz^T x, dW_hh += dz^T h, db += sum of dz, dx += dz W_ih
            for d, (start, count) in enumerate(zip(span.starts, span.counts, strict=True)):
                rows = slice(start, start + count)
                own = dz[d, :count]
                sums[d].add_input(own[:, : n.G * H], _of(x, d)[rows])
                from_recurrence = own[:, (n.P - n.R) * H : n.P * H]
                sums[d].add_recurrent(from_recurrence, span.recurrent_inputs(d), operand[d, :, :count])
                if dx is not None and n.G:
                    _of(dx, d)[rows] += runtime.matmul(own[:, : n.G * H], weights.w_ih[d])
                if dx is not None and cell.takes_x:
                    _of(dx, d)[rows] += own[:, n.P * H : (n.P + 1) * H]
                for k, d_signal in enumerate(d_signals, n.P + cell.takes_x):
                    self._add_signal(d_signal, rows, own[:, k * H : (k + 1) * H])
        for d, end in enumerate(ends):
            sums[d].finish()
            for v, vector in enumerate((*cell.vectors, *cell.scalars)):
                own = d_vectors[d, :, v * H : (v + 1) * H].sum(axis=0)
                d_parameters[f"{vector}{end}"][...] = own if vector in cell.vectors else own.sum()
        return dx if dx is None or self._reversed is None else dx[..., self._reversed, :]

    def _add_signal(self, d_signal, rows: slice, own) -> None:
        """Add the gradient of some rows (n, H) of a signal."""
        own = own if d_signal.ndim == 2 else own.sum(axis=1)
        if self._reversed is None:
            d_signal[rows] += own
        else:
            d_signal[self._reversed[rows]] += own  # no row twice


def _of(x, d: int):
    """The rows (N, I) that a direction reads."""
    return x[d] if x.ndim == 3 else x


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


class _ParameterSums:
    """Gradients of one direction's weights and biases: summed over spans, then put in the order of the gates."""

    def __init__(self, runtime, cell: Cell, gates: tuple[str, ...], d_parameters: dict, end: str):
        self._gates = gates
        self._runtime, self._cell, self._targets = runtime, cell, {
            name: d_parameters[f"{name}{end}"]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if f"{name}{end}" in d_parameters
        }  # fmt: skip
        self._sums: dict = {}

    def add_input(self, dz, x) -> None:
        """Add dz^T x and the sum of dz, for the dz that the input feeds."""
        self._add("weight_ih", "bias_ih", dz, [(dz, x)])

    def add_recurrent(self, dz, h, of_called) -> None:
        """Add dz^T h and the sum of dz, for the dz that the recurrence feeds; for called gates dz^T of their operand.

        ``of_called`` are their operands, (products, n, H), in the order of `operands`.
        """
        H = h.shape[1]
        by_name = {"": h, **dict(zip(operands(self._cell), of_called, strict=True))}
        self._add("weight_hh", "bias_hh", dz, [
            (dz[:, first * H : (first + count) * H], by_name[name]) for name, first, count in recurrent_runs(self._cell)
        ])  # fmt: skip

    def _add(self, weight: str, bias: str, dz, products: list) -> None:
        matmul, xp = self._runtime.matmul, self._runtime.xp
        if weight in self._targets:
            self._accumulate(weight, xp.concatenate([matmul(d.T, inputs) for d, inputs in products]))
        if bias in self._targets:  # a product with ones is a sum in a fixed order
            self._accumulate(bias, matmul(xp.ones((1, len(dz)), dz.dtype), dz)[0])

    def _accumulate(self, name: str, value) -> None:
        self._sums[name] = value if name not in self._sums else self._sums[name] + value

    def finish(self) -> None:
        """Set the gradients; zeros where there were no rows."""
        for name, target in self._targets.items():
            order_of = input_order if name.endswith("ih") else recurrent_order
            order = order_of(self._cell, self._gates)
            target[...] = 0
            if name in self._sums:
                by_gate = target.reshape(len(order), -1)
                for block, gate in enumerate(order):
                    by_gate[gate] = self._sums[name].reshape(len(order), -1)[block]
