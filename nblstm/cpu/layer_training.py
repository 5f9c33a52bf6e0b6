"""A training pass through one recurrent layer, all directions: forward, what it keeps, and BPTT."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nblstm.buffers import memory
from nblstm.buffers.batch import Batch
from nblstm.buffers.each_step import EachStep, Samples
from nblstm.buffers.layout import suffix
from nblstm.cells.cell import Cell
from nblstm.cells.stages import saved_row
from nblstm.cpu.layer_backward import PARAMETERS, LayerBackward
from nblstm.cpu.layer_forward import History, LayerForward
from nblstm.cpu.partition import Sizes, Steps, spans, whole
from nblstm.cpu.weights import PackedWeights


def history_shapes(cell: Cell, B: int, H: int, D: int, rows: int) -> dict[str, tuple[int, ...]]:
    """Shapes of what a layer's BPTT reads of so many packed rows, of D directions: see `History`."""
    return {
        "y": (B + rows, D * H), "states": (D, len(cell.states) - 1, B + rows, H),
        "saved": (D, rows, saved_row(cell).size(H)),
    }  # fmt: skip


class _Span:
    """Consecutive steps of a training pass: their history, forward and BPTT.

    Parameters
    ----------
    sizes : Sizes
    batch : Batch
    segments : list of list of (int, int)
        Of each direction, in the order of time.
    own : dict of str to ndarray, optional
        Memory, of the shapes of `history_shapes`, where all directions have the same packed rows.

    Attributes
    ----------
    rows : list of (int, int)
        Packed rows of each direction.
    bptt : LayerBackward or None
        Once there was any.
    """

    def __init__(self, sizes: Sizes, batch: Batch, segments: list[list[Steps]], own: dict[str, np.ndarray] | None):
        self._sizes, self._batch, self._segments = sizes, batch, segments
        steps = [whole(group) for group in segments]
        self.rows = [batch.rows(part) for part in steps]
        self.histories = []
        for d, (lo, hi) in enumerate(self.rows):
            if own is None:
                shapes = history_shapes(sizes.cell, sizes.B, sizes.H, 1, hi - lo)
                arrays = {name: memory.empty(shape, sizes.dtype) for name, shape in shapes.items()}
                y, states, saved = arrays["y"], arrays["states"][0], arrays["saved"][0]
            else:
                y, states, saved = own["y"][:, d * sizes.H : (d + 1) * sizes.H], own["states"][d], own["saved"][d]
            self.histories.append(History.of(sizes.cell, lo, y, states, saved))
        self._forward = LayerForward(sizes, batch, steps, self.histories)
        self.bptt: LayerBackward | None = None
        self._begins_at_zero = False

    def arrange(self, batch: Batch, segments: list[list[Steps]]) -> None:
        """Run over other lengths of the same T and B from now on, in the same memory."""
        self._batch, self._segments = batch, segments
        self._forward.arrange(batch, [whole(group) for group in segments])
        if self.bptt is not None:
            self.bptt.arrange(batch, segments)

    def take(self, signals: list[np.ndarray], seeds: list[int]) -> None:
        """See `LayerForward.take`."""
        self._forward.take(signals, seeds)

    @property
    def nbytes(self) -> int:
        """Bytes of its workspace; the history is the caller's."""
        return self._forward.nbytes + (0 if self.bptt is None else self.bptt.nbytes)

    def forward(self, weights: list[PackedWeights], x: np.ndarray, states: np.ndarray, zero: bool) -> None:
        if not (zero and self._begins_at_zero):
            self._begins_at_zero = False  # while some are written and some not, as an exception may end this anywhere
            for d, history in enumerate(self.histories):
                for k, before in enumerate(history.by_state):
                    before[: self._sizes.B] = states[k, d]
            self._begins_at_zero = zero
        self._forward.forward(weights, x, states, None, zero)

    def begin_backward(self, places: list[list[int | None]], started: set[int]) -> LayerBackward:
        """Make what BPTT needs; see `LayerBackward`."""
        self.bptt = LayerBackward(self._sizes, self._batch, self._segments, self.histories, places, started)
        return self.bptt


class LayerTraining:
    """Memory and kernel arguments of one layer's training pass over one batch; for one thread at a time.

    Parameters
    ----------
    network : Network
    batch : Batch
    layer : int
    I : int
        Features of the layer's input.
    states : ndarray, shape (S, D, B, H)
        A slice of the states of all layers, or an array with its strides.
    checkpoint : int, optional
        Keep only the states about every so many steps, and compute the rest again in BPTT.
    own : dict of str to ndarray
        Of the shapes of `shapes`: what is kept for BPTT.
    every_state : bool, default False
        With ``checkpoint``, whether all states at each step are kept for `states_at_each_step`.

    Attributes
    ----------
    y : ndarray, shape (N, D H)
        Outputs.
    """

    @staticmethod
    def shapes(network, batch: Batch, rows: int, checkpoint: int | None) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays that a layer keeps for BPTT of so many packed rows."""
        S, D, B, H = len(network.cell.states), network.D, batch.B, network.hidden_size
        if checkpoint is None:
            return history_shapes(network.cell, B, H, D, rows)
        marks = len(spans(batch, network.directions, checkpoint))
        return {"y": (rows, D * H), "marks": (marks, S, D, B, H)}

    def __init__(
        self, network, batch: Batch, layer: int, I: int, states: np.ndarray, checkpoint: int | None,
        own: dict[str, np.ndarray], every_state: bool = False,
    ):  # fmt: skip
        self._sizes = sizes = Sizes.of(network, I, states)
        layout, directions = network.kernel_layout, network.directions
        self._batch, self._layout, self._layer = batch, layout, layer
        self._places = [[layout.starts.get(name + suffix(layer, d)) for name in PARAMETERS] for d in range(sizes.D)]
        self._span: _Span | None = None
        self._spans: list[list[list[Steps]]] = []
        self._x: np.ndarray | None = None
        self._dx: np.ndarray | None = None
        self._d_vectors: np.ndarray | None = None
        self._given: tuple[list[np.ndarray], list[int]] = [], [0] * sizes.D
        if checkpoint is None:
            self._span = _Span(sizes, batch, spans(batch, directions, None)[0], own)
            self.y = own["y"][sizes.B :]
            self._rows = len(self.y)
        else:
            self._rows = len(own["y"])
            self._spans, self._marks, self.y = spans(batch, directions, checkpoint), own["marks"], own["y"]
        self._every: np.ndarray | None = None
        if every_state and checkpoint is not None:
            self._every = memory.empty((len(sizes.cell.states), self._rows, sizes.D * sizes.H), sizes.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of its workspace."""
        own = [array.nbytes for array in (self._dx, self._d_vectors) if array is not None]
        return sum(own) + (0 if self._span is None else self._span.nbytes)

    def arrange(self, batch: Batch) -> None:
        """Run over other lengths of the same T and B from now on."""
        assert self._span is not None
        self._batch = batch
        self._span.arrange(batch, spans(batch, self._sizes.directions, None)[0])

    def attach(self, weights: list[PackedWeights], x: np.ndarray) -> None:
        """Take what a forward pass was given, for BPTT of what is in memory."""
        self._x, self._weights = x, weights

    def take(self, signals: list[np.ndarray], seeds: list[int]) -> None:
        """Take what the cell is given with each step beside x; see `LayerForward.take`."""
        self._given = signals, seeds
        if self._span is not None:
            self._span.take(signals, seeds)

    def forward(
        self, weights: list[PackedWeights], x: np.ndarray, states: np.ndarray, y: None, zero: bool
    ) -> np.ndarray:
        """Run the layer.

        Parameters
        ----------
        weights : list of PackedWeights
            Of each direction.
        x : ndarray, shape (N, I), or (D, N, I) where directions read different ones
            Packed rows, C-contiguous, which must stay as they are until BPTT.
        states : ndarray, shape (S, D, B, H)
            Initial states in sorted order; the final ones on return.
        y : None
            Outputs are in memory of this pass.
        zero : bool
            Whether all states are 0.

        Returns
        -------
        y : ndarray, shape (N, D H)
        """
        self._x, self._weights = x, weights
        if self._span is not None:
            self._span.forward(weights, x, states, zero)
        else:
            self._forward_by_spans(weights, x, states)
        return self.y

    def _forward_by_spans(self, weights: list[PackedWeights], x: np.ndarray, states: np.ndarray) -> None:
        B, H = self._sizes.B, self._sizes.H
        for segments, mark in zip(self._spans, self._marks, strict=True):
            mark[...] = states
            span = self._new_span(segments)
            span.forward(weights, x, states, False)
            for d, (lo, hi) in enumerate(span.rows):
                self.y[lo:hi, d * H : (d + 1) * H] = span.histories[d].y[B:]
                for k, state in enumerate(span.histories[d].by_state if self._every is not None else ()):
                    self._every[k, lo:hi, d * H : (d + 1) * H] = state[B:]  # type: ignore[index]

    def states_at_each_step(self, k: int) -> np.ndarray:
        """State k, in the cell's order, after each packed row (N, D H)."""
        if self._every is not None:
            return self._every[k]
        assert self._span is not None
        B, found = self._sizes.B, [history.by_state[k] for history in self._span.histories]
        return found[0][B:] if len(found) == 1 else np.concatenate([state[B:] for state in found], axis=1)

    def _new_span(self, segments: list[list[Steps]]) -> _Span:
        """A span of a pass with checkpoints."""
        span = _Span(self._sizes, self._batch, segments, None)
        if self._sizes.cell.signals or self._sizes.cell.graph.noise:
            span.take(*self._given)
        return span

    def let_go_gradients(self) -> None:
        """Hold dy and dx no longer; they are the caller's."""
        if self._span is not None and self._span.bptt is not None:
            self._span.bptt.let_go()

    def let_go_parameters(self) -> None:
        """Hold the gradients of the parameters no longer; they are the caller's."""
        if self._span is not None and self._span.bptt is not None:
            self._span.bptt.let_go_parameters()

    def _like_all_layers(self, states: np.ndarray) -> np.ndarray:
        """A copy of states (S, D, B, H) with the strides of a slice of those of all layers."""
        S, D, B, H = states.shape
        if not B:
            return states
        copy = memory.empty((S, self._sizes.state_plane // (B * H), B, H), states.dtype)[:, :D]
        copy[...] = states
        return copy

    def backward(
        self, dy: np.ndarray | None, d_states: np.ndarray, flat: np.ndarray | None, input_gradient: bool, fresh: bool,
        d_signals: Sequence[np.ndarray] = (), each: EachStep | None = None, samples: Samples | None = None,
    ) -> np.ndarray | None:  # fmt: skip
        """Run BPTT.

        Parameters
        ----------
        dy : ndarray, shape (N, D H), or None
            Gradient with respect to the packed outputs, C-contiguous; None is 0 everywhere, and costs nothing.
        d_states : ndarray, shape (S, D, B, H)
            Gradient with respect to the final states, in sorted order; that of the initial states on return.
        flat : ndarray or None
            Gradients with respect to all parameters of the network; this layer's are set. None if not wanted.
        input_gradient : bool
            Whether dx is wanted.
        fresh : bool
            Whether dx is to be in memory of its own, not of this pass.
        d_signals : sequence of ndarray, each (N,) or (N, H)
            Gradients of the signals, which are added to; empty if they are not wanted.
        each : EachStep, optional
            What is to be done with the gradients of each step's states.
        samples : Samples, optional
            Gradients of all parameters for each sequence; this layer's are added to.

        Returns
        -------
        dx : ndarray, shape (N, I) or more rows, or (D, N, I) as x, or None
            Gradient with respect to the packed inputs.
        """
        sizes, x = self._sizes, self._x
        cell, D, B, H = sizes.cell, sizes.D, sizes.B, sizes.H
        assert x is not None
        dx = self._dx if input_gradient and not fresh else None
        if input_gradient and dx is None:
            # Room for as many rows as the history has: other batches of this pass may have more than this one.
            dx = memory.empty((D, self._rows, sizes.I), x.dtype)
            self._dx = None if fresh else dx
        if self._d_vectors is not None:
            self._d_vectors.fill(0)
        elif cell.vectors or cell.scalars:
            self._d_vectors = np.zeros((D, B, (len(cell.vectors) + len(cell.scalars)) * H), x.dtype)
        # By direction: which of them comes first to a row depends on spans, and sums begin with the first direction.
        of_directions = [d_signals] if D == 1 else [[np.zeros_like(own) for own in d_signals] for _ in range(D)]
        if self._span is not None:
            made = self._span.bptt or self._span.begin_backward(self._places, set())
            made.launch(self._weights, x, dy, d_states, self._d_vectors, dx, flat, of_directions, each, samples)
        else:
            started: set[int] = set()
            for segments, mark in zip(reversed(self._spans), self._marks[::-1], strict=True):
                span = self._new_span(segments)
                span.forward(self._weights, x, self._like_all_layers(mark), False)  # the same bits as before
                made = span.begin_backward(self._places, started)
                made.launch(self._weights, x, dy, d_states, self._d_vectors, dx, flat, of_directions, each, samples)
        for found in of_directions if D > 1 else ():
            for total, own in zip(d_signals, found, strict=True):
                total += own
        if flat is not None and not self._batch.N:  # no kernel has set them
            for d in range(D):
                for name in PARAMETERS:
                    flat[self._layout.place(name + suffix(self._layer, d))] = 0
        if flat is not None and self._d_vectors is not None:
            for d, totals in enumerate(np.add.reduce(self._d_vectors, axis=1)):
                for name, total in zip((*cell.vectors, *cell.scalars), totals.reshape(-1, H), strict=True):
                    own = total if name in cell.vectors else total.sum()
                    flat[self._layout.place(name + suffix(self._layer, d))] = own
        if samples is not None and self._d_vectors is not None:
            for d, by_row in enumerate(self._d_vectors):
                for k, name in enumerate((*cell.vectors, *cell.scalars)):
                    part = by_row[:, k * H : (k + 1) * H]
                    place = self._layout.place(name + suffix(self._layer, d))
                    own = part if name in cell.vectors else part.sum(axis=1, keepdims=True)
                    samples.add(place, own, samples.sequence)
        if dx is None or x.ndim == 3:
            return dx
        if D == 1:
            return dx[0]
        rows = slice(self._batch.N)  # behind them is memory that no kernel has written to
        np.add(dx[0, rows], dx[1, rows], out=dx[0, rows])
        return dx[0]
