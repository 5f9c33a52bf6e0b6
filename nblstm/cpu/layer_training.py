"""A training pass through one recurrent layer, all directions: forward, what it keeps, and BPTT."""

from __future__ import annotations

import numpy as np

from nblstm.buffers import memory
from nblstm.buffers.batch import Batch
from nblstm.buffers.layout import suffix
from nblstm.cpu.layer_backward import PARAMETERS, LayerBackward
from nblstm.cpu.layer_forward import History, LayerForward
from nblstm.cpu.partition import Sizes, Steps, spans, whole
from nblstm.cpu.weights import PackedWeights


class _Span:
    """Consecutive steps of a training pass: their history, forward and BPTT.

    Attributes
    ----------
    y : ndarray, shape (B + N, D H), or None
        Outputs of all directions, where they have the same packed rows; else they are in ``histories``.
    """

    def __init__(self, sizes: Sizes, batch: Batch, segments: list[list[Steps]]):
        self._sizes, self._batch, self._segments = sizes, batch, segments
        B, H, D, dtype = sizes.B, sizes.H, sizes.D, sizes.dtype
        steps = [whole(group) for group in segments]
        self.rows, self.y = [batch.rows(own) for own in steps], None
        if all(own == self.rows[0] for own in self.rows):  # one array, so that the outputs lie as the caller wants them
            lo, hi = self.rows[0]
            self.y = memory.empty((B + hi - lo, D * H), dtype)
            ys = [self.y[:, d * H : (d + 1) * H] for d in range(D)]
        else:
            ys = [memory.empty((B + hi - lo, H), dtype) for lo, hi in self.rows]
        self.histories = [
            History.empty(sizes.cell, lo, hi - lo, y) for (lo, hi), y in zip(self.rows, ys, strict=True)
        ]
        self._forward = LayerForward(sizes, batch, steps, self.histories)
        self._backward: LayerBackward | None = None
        self._begins_at_zero = False

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        own = sum(history.nbytes for history in self.histories) + self._forward.nbytes
        return own + (0 if self._backward is None else self._backward.nbytes)

    def forward(self, weights: list[PackedWeights], x: np.ndarray, states: np.ndarray, zero: bool) -> None:
        if not (zero and self._begins_at_zero):
            self._begins_at_zero = False  # while some are written and some not, as an exception may end this anywhere
            for d, history in enumerate(self.histories):
                for k, before in enumerate(history.by_state):
                    before[: self._sizes.B] = states[k, d]
            self._begins_at_zero = zero
        self._forward.forward(weights, x, states, None, zero)

    def backward(self, places: list[list[int | None]], started: set[int]) -> LayerBackward:
        """What BPTT needs, made at its first use."""
        if self._backward is None:
            self._backward = LayerBackward(
                self._sizes, self._batch, self._segments, self.histories, places, started
            )
        return self._backward


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
    """

    def __init__(
        self, network, batch: Batch, layer: int, I: int, states: np.ndarray, checkpoint: int | None
    ):
        self._sizes = sizes = Sizes.of(network, I, states)
        layout, directions = network.layout, network.directions
        self._batch, self._layout, self._layer = batch, layout, layer
        self._places = [[layout.starts.get(name + suffix(layer, d)) for name in PARAMETERS] for d in range(sizes.D)]
        self._span: _Span | None = None
        self._spans: list[list[list[Steps]]] = []
        self._marks: list[np.ndarray] = []  # with checkpoints, the states before each span
        self._x: np.ndarray | None = None
        self._y: np.ndarray | None = None
        self._dx: np.ndarray | None = None
        self._d_vectors: np.ndarray | None = None
        if checkpoint is None:
            self._span = _Span(sizes, batch, spans(batch, directions, None)[0])
            assert self._span.y is not None  # of one span all directions have the same rows
            self._y = self._span.y[sizes.B :]
        else:
            self._spans = spans(batch, directions, checkpoint)

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return (0 if self._span is None else self._span.nbytes) + sum(mark.nbytes for mark in self._marks)

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
        assert self._y is not None
        return self._y

    def _forward_by_spans(self, weights: list[PackedWeights], x: np.ndarray, states: np.ndarray) -> None:
        B, D, H = self._sizes.B, self._sizes.D, self._sizes.H
        self._y, self._marks = memory.empty((self._batch.N, D * H), x.dtype), []
        for segments in self._spans:
            self._marks.append(states.copy())
            span = _Span(self._sizes, self._batch, segments)
            span.forward(weights, x, states, False)
            for d, (lo, hi) in enumerate(span.rows):
                self._y[lo:hi, d * H : (d + 1) * H] = span.histories[d].y[B:]

    def _like_all_layers(self, states: np.ndarray) -> np.ndarray:
        """A copy of states (S, D, B, H) with the strides of a slice of those of all layers."""
        S, D, B, H = states.shape
        copy = memory.empty((S, self._sizes.state_plane // (B * H), B, H), states.dtype)[:, :D]
        copy[...] = states
        return copy

    def backward(
        self, dy: np.ndarray | None, d_states: np.ndarray, flat: np.ndarray, input_gradient: bool, fresh: bool
    ) -> np.ndarray | None:  # fmt: skip
        """Run BPTT.

        Parameters
        ----------
        dy : ndarray, shape (N, D H), or None
            Gradient with respect to the packed outputs, C-contiguous; None is 0 everywhere, and costs nothing.
        d_states : ndarray, shape (S, D, B, H)
            Gradient with respect to the final states, in sorted order; that of the initial states on return.
        flat : ndarray
            Gradients with respect to all parameters of the network; this layer's are set.
        input_gradient : bool
            Whether dx is wanted.
        fresh : bool
            Whether dx is to be in memory of its own, not of this pass.

        Returns
        -------
        dx : ndarray in the shape of x, or None
            Gradient with respect to the packed inputs.
        """
        sizes, x = self._sizes, self._x
        cell, D, B, H = sizes.cell, sizes.D, sizes.B, sizes.H
        assert x is not None
        dx = None
        if input_gradient:
            dx = None if fresh else self._dx
            if dx is None:
                dx = memory.empty((D, *x.shape[-2:]), x.dtype)
                self._dx = None if fresh else dx
        if self._d_vectors is not None:
            self._d_vectors.fill(0)
        elif cell.vectors:
            self._d_vectors = np.zeros((D, B, len(cell.vectors) * H), x.dtype)
        started: set[int] = set()
        if self._span is not None:
            self._backward_span(self._span.backward(self._places, started), dy, d_states, flat, dx)
        for segments, mark in zip(reversed(self._spans), reversed(self._marks), strict=True):
            span, states = _Span(sizes, self._batch, segments), self._like_all_layers(mark)
            span.forward(self._weights, x, states, False)  # the same bits as before
            self._backward_span(span.backward(self._places, started), dy, d_states, flat, dx)
        if not self._batch.N:  # no kernel has set them
            for d in range(D):
                for name in PARAMETERS:
                    flat[self._layout.place(name + suffix(self._layer, d))] = 0
        if self._d_vectors is not None:
            for d, totals in enumerate(np.add.reduce(self._d_vectors, axis=1)):
                for vector, total in zip(cell.vectors, totals.reshape(len(cell.vectors), H), strict=True):
                    flat[self._layout.place(vector + suffix(self._layer, d))] = total
        if dx is None or x.ndim == 3:
            return dx
        if D == 1:
            return dx[0]
        return np.add(dx[0], dx[1], out=dx[0])

    def _backward_span(self, made: LayerBackward, dy, d_states, flat, dx) -> None:
        assert self._x is not None
        made.bind(self._weights, self._x, dy, d_states, self._d_vectors, dx, flat)
        made.launch()
