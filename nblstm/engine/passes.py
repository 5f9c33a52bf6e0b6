"""A pass of a network over a batch: memory, the kernel arguments that refer to it, forward and BPTT.

To make a pass takes 50 to 300 us, to use one again 5. So a network keeps them in a pool, see `buffers.pool`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nblstm.buffers import memory
from nblstm.buffers.batch import can_be_arranged
from nblstm.buffers.each_step import EachStep, Samples
from nblstm.engine.caller_layout import CallerLayout
from nblstm.engine.dropout import Dropout
from nblstm.engine.inputs import set_learned, set_states
from nblstm.engine.network import Network
from nblstm.engine.reserve import Reserve, Seal, reserve_shapes, sealed, write_batch
from nblstm.engine.weights import Weights
from nblstm.process import locks

#: Inputs and outputs of no more bytes than this in all are copied into a pass's own memory and out of it: 0.2 us for an
#: array, where to point the kernel arguments at the caller's takes 0.7.
SMALL = 65_536


class Pass:
    """A network's pass over batches of one form; for one thread at a time.

    Parameters
    ----------
    network : Network
    batch : Batch, MaskedBatch or ResetBatch
    batched : bool
        Whether inputs have a batch dimension, (T, B, I) or (B, T, I); else they are (T, I).
    training : bool
        Whether BPTT will follow.
    checkpoint : int, optional
        For training: about so many steps lie between the states that are kept.
    dropped : bool, default False
        Whether the cell is that of recurrent dropout, see `Network.with_recurrent_dropout`.
    noise : bool, default False
        Whether the cell draws noise.
    every_state : bool, default False
        Whether the states of the last layer are kept at each step, where they are not kept for BPTT.
    copies : bool, default False
        Whether inputs and outputs are copied into and out of memory of its own even if they are not `SMALL`.
    reserve : ndarray, optional
        For training: the caller's memory for what BPTT reads, see `engine.reserve`.

    Attributes
    ----------
    x : array, shape (N, I), or None
        Its own memory for packed inputs.
    y : array, shape (N, D H)
        Packed outputs of the last `forward`.
    states : array, shape (S, num_layers D, P, H)
        States before the first step, after `forward` those after the last, of each sequence of the packed batch.
    d_states : array of the same shape
        Gradients with respect to the states after the last step, after `backward` to those before the first.
    copies : bool
        Whether inputs and outputs are copied into and out of memory of its own.
    kept : bool
        Whether this object will be used again, so that no results may refer to its memory.
    is_given : bool
        Whether the cell takes signals, or draws noise.
    learned : bool
        Whether the pass began with the learned states.
    lock : Lock
        For BPTT, as several threads may use one tape.
    """

    def __init__(
        self, network: Network, batch: Any, batched: bool, training: bool, checkpoint: int | None = None,
        dropped: bool = False, noise: bool = False, every_state: bool = False, copies: bool = False,
        reserve: np.ndarray | None = None,
    ):  # fmt: skip
        # Not the network itself, whose pool has this object: both would wait for the garbage collector.
        self.batch, self.batched, self._training = batch, batched, training
        self.layout = CallerLayout(batch, batched, network.batch_first)
        self._reordered, self._checkpoint, self._dropped = batch.reordered, checkpoint, dropped
        self._learned_places = network.initial_places_in(network.kernel_layout) if network.learn_initial_state else []
        self._starts_at_zero = network.starts_at_zero
        arrays, dtype = network.backend.arrays, network.dtype
        I, D, L = network.input_size, network.D, network.num_layers
        T, B, N, features = batch.T, batch.B, batch.T * batch.B, D * network.hidden_size  # of the caller's batch
        self._arrays, self._dtype, self._features = arrays, dtype, features
        self.kept, self.learned = reserve is not None, False
        self.seal_of_reserve: Seal | None = None  # the caller's, once it is filled
        self._reserve = Reserve()
        if training and network.on_host:
            # Room for other lengths too, where it is this pass's own.
            rows = N if reserve is None and can_be_arranged(batch, checkpoint) else batch.N
            shapes = reserve_shapes(network, batch, rows, checkpoint, dropped, noise)
            if reserve is None:
                reserve = memory.empty((memory.size_of(shapes),), np.uint8)
            self._reserve = Reserve(memory.cut(reserve, shapes))
        self.dropout = Dropout(network, dropped, self._reserve)
        network = network.variant(dropped, noise)
        self._signals, self._noise = network.cell.signals, noise
        self.is_given = noise or bool(self._signals)
        self._given_shapes: list[tuple[int, ...]] = []  # of the signals, in packed rows
        self._all_states = arrays.zeros(network.states_shape(batch.packed.B), dtype)
        self.core = slice(1, -1) if dropped else slice(None)  # without those that recurrent dropout adds
        self.states = self._all_states[self.core]
        self._of_layer = [slice(k * D, (k + 1) * D) for k in range(L)]
        self._states_of_layer = [self._all_states[:, of_layer] for of_layer in self._of_layer]
        self.layers = [
            network.backend.layer_pass(
                network, batch.packed, k, features if k else I, self._states_of_layer[k], training, checkpoint,
                {name: self._reserve.get(f"{name}_{k}") for name in ("y", "states", "saved", "marks")},
                **{"every_state": True} if every_state and k == L - 1 else {},
            )
            for k in range(L)
        ]  # fmt: skip
        self.copies = copies or N * (I + L * features) * self.states.itemsize <= SMALL
        self._shape = (T,) if not batched else (B, T) if network.batch_first else (T, B)
        # Memory for x; without, packing gives new memory, or, in inference, the caller's if it is in order.
        own_x = batch.direct and (training or self.copies or not self.layout.time_first)
        self.x: Any = self._reserve.get("x")
        if self.x is None:
            self.x = arrays.empty((N, I), dtype) if own_x else None
        elif self.x.ndim == 3:
            self.x = self.x[0]
        # Where each layer's outputs go: in training it has memory for them, and large ones are the caller's.
        own_y = 0 if training else L if self.copies else L - 1
        self._outputs = [arrays.empty((N, features), dtype) if k < own_y else None for k in range(L)]
        self._stages = [(k, self.layers[k], self._states_of_layer[k], self._outputs[k]) for k in range(L)]
        none: Any = None
        self.y = self._x_view = self._y_view = self._dy = self._dy_view = self.d_states = self._all_d_states = none
        self._d_states_of_layer: list[Any] = []
        self._own_x = own_x
        self._set_views()
        self.lock = locks.lock()

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        own_x = [] if self._reserve else [self.x]
        own = [self._all_states, self._all_d_states, self._dy, *self._outputs, *self._reserve.values(), *own_x]
        return sum(layer.nbytes for layer in self.layers) + sum(array.nbytes for array in own if array is not None)

    def _set_views(self) -> None:
        """Have views in the caller's layout of memory for x and dy."""
        self._y_shape = (*(self._shape if self.batch.padded else (self.batch.N,)), self._features)
        self._x_view = self.layout.in_layout(self.x) if self._own_x else None
        self._dy_view = None if self._dy is None else self.layout.in_layout(self._dy)

    def arrange(self, batch) -> None:
        """Run over a batch of the same T and B whose lengths are others from now on."""
        self.batch, self._reordered = batch, batch.reordered
        self.layout.batch = batch
        if not batch.padded:  # what the caller sees has another number of rows
            self.y = None
            self._set_views()
        for layer in self.layers:
            layer.arrange(batch.packed)

    def start(self, network: Network, flat, given) -> bool:
        """Set ``states`` to what is given, else to the initial ones; see `set_states`. Return whether all are 0."""
        self.learned = False
        if given is None and self._starts_at_zero:
            self.states.fill(0)
            return True
        self.learned = given is None and bool(self._learned_places)
        return set_states(network, flat, self.states, given, self.batch, self.batched)

    def forward(
        self, weights: Weights, x, zero: bool, generator: np.random.Generator | None = None, signals=None
    ) -> None:
        """Run all layers from ``states``.

        Parameters
        ----------
        weights : Weights
            For training if this pass is.
        x : array, shape (T, B, I), (B, T, I) or (T, I), or None
            Of the network's dtype; None where the attribute ``x`` has been set.
        zero : bool
            Whether all states are 0.
        generator : Generator, optional
            Draws the dropout.
        signals : list of array, each (T, B) or (T, B, H), or None
            See `checked_signals`.
        """
        rows: Any = self.x
        if signals or self._noise:
            self.take(self.layout.packed_signals(signals or []), generator)
        if self._training:
            zero = not self.dropout.begin(generator, self.batch, self._all_states) and zero
        if self.dropout.input:
            rows = self.dropout.on_input(self.layout.time_major(x), self.batch)
        elif self._x_view is None:
            rows = self.batch.pack(self.layout.time_major(x), rows)
        elif x is not None and self.copies:
            self._x_view[...] = x
        elif x is not None:
            self._arrays.copy(self._x_view, x)
        for k, layer, states, y in self._stages:
            if k and generator is not None:
                rows = self.dropout.on_outputs(k, rows[: self.batch.N])
            if y is None and not self._training:  # large outputs of the last layer are the caller's
                y = self._arrays.empty((self.batch.N, self._features), self._dtype)
            rows = layer.forward(weights.layers[k], rows, states, y, zero)
        if rows is not self.y:
            self.y, self._y_view = rows, self.layout.in_layout(rows) if self.batch.direct else None

    def take(self, signals: list[np.ndarray], generator: np.random.Generator | None = None) -> None:
        """Give all layers the packed rows that the cell takes with each step, and seeds of its noise."""
        self._given_shapes = [own.shape for own in signals]
        seed = int(generator.integers(2**62)) if self._noise and generator is not None else 0
        for k, layer in enumerate(self.layers):
            directions = self._of_layer[k].stop - self._of_layer[k].start
            places = range(k * directions, (k + 1) * directions)
            layer.take(signals, [(seed + place * 0x632BE59BD9B4E019) & (2**63 - 1) for place in places])

    def seal(self, network: Network, active: bool, drawn: int) -> None:
        """Write into the caller's reserve what it is of; see `Header` on ``drawn``."""
        batch, own = self.batch, self._reserve
        own["header"][:] = sealed(
            network.mark, batch.T, batch.B, self.batched, self._checkpoint or 0, self._dropped, active,
            self.learned, batch.gathered, batch.gathered and batch.hold, batch.restarts, self._noise,
            sum(1 << k for k, shape in enumerate(self._given_shapes) if len(shape) == 2), drawn,
        )  # fmt: skip
        write_batch(own, batch)
        self.seal_of_reserve = Seal(own["header"])

    def attach(self, weights: Weights, active: bool, wide: int) -> None:
        """Take for BPTT what is in the reserve, with or without dropout; see `Header` on ``wide``."""
        rows, N, H = self._reserve["x"], self.batch.N, self.states.shape[-1]
        self._given_shapes = [(N, H) if wide >> k & 1 else (N,) for k in range(len(self._signals))]
        if active:
            self.dropout.attach()
        if rows.ndim == 3 and not self.dropout.input:
            rows = rows[0]
        for k, layer in enumerate(self.layers):
            if k:
                rows = self._reserve[f"x_{k}"] if self.dropout.between else self.layers[k - 1].y
            layer.attach(weights.layers[k], rows)

    def outputs(self):
        """Outputs of the last layer in the layout of x, with D H features; 0 beyond each sequence's end."""
        if self._y_view is None:
            return self.layout.user(self.batch.unpack(self.y[: self.batch.N]))
        return self._arrays.copied(self._y_view) if self.kept and (self._training or self.copies) else self._y_view

    def let_go(self) -> None:
        """Hold nothing of the caller's after an inference."""
        self.y = self._y_view = None
        self.layers[0].let_go()
        self.layers[-1].let_go()

    def begin_backward(self):
        """Memory for the gradients of the final states, ``d_states``."""
        if self.d_states is None:
            d_states = self._arrays.zeros(self._all_states.shape, self._dtype)
            self._d_states_of_layer = [d_states[:, of_layer] for of_layer in self._of_layer]
            self._all_d_states, self.d_states = d_states, d_states[self.core]
        return self.d_states

    def d_signals(self) -> list[Any]:
        """Memory for the gradients of the signals, for `backward`: zeros, in packed rows."""
        return [self._arrays.zeros(shape, self._dtype) for shape in self._given_shapes]

    def backward(
        self, dy, flat, input_gradient: bool = True, d_signals: Sequence[Any] = (),
        each: list[EachStep] | None = None, samples: Samples | None = None,
    ):  # fmt: skip
        """Run BPTT from ``d_states``, after `forward`.

        Parameters
        ----------
        dy : array or None
            Gradient with respect to the outputs, in their layout; None for zeros.
        flat : array or None
            Where the gradients of all parameters go; None if they are not wanted.
        input_gradient : bool
            Whether dx is wanted.
        d_signals : sequence of array
            Memory of `d_signals`, which is added to; empty if they are not wanted.
        each : list of EachStep, optional
            What each layer does with the gradients of its states.
        samples : Samples, optional
            Where the gradients of all parameters go for each sequence.

        Returns
        -------
        dx : array in the layout of x, or None
        """
        batch, dropout, d_states = self.batch, self.dropout, self._all_d_states
        if self._dropped:
            d_states[0] = d_states[-1] = 0
        if dy is None:
            rows = None
        elif batch.direct and (self.copies or not self.layout.time_first):
            if self._dy is None:
                own = self._arrays.empty((batch.T * batch.B, self._features), self._dtype)
                self._dy_view = self.layout.in_layout(own)
                self._dy = own  # last, as a signal's handler may raise within the calls above
            self._dy_view[...] = dy
            rows = self._dy
        else:
            rows = batch.d_unpack(self.layout.time_major(dy))
        for k in reversed(range(len(self.layers))):
            fresh = not k and not self.copies
            wanted = bool(k) or input_gradient
            layer, d_own = self.layers[k], self._d_states_of_layer[k]
            if each is None and samples is None:
                rows = layer.backward(rows, d_own, flat, wanted, fresh, d_signals)
            else:
                own = None if each is None else each[k]
                rows = layer.backward(rows, d_own, flat, wanted, fresh, d_signals, own, samples)
            if k and dropout.between:
                rows = rows[: batch.N] * dropout.between[k - 1]
        if not self.copies:
            self.layers[0].let_go_gradients()
            self.layers[-1].let_go_gradients()
        dropout.d_recurrent(d_states)
        if self._learned_places:
            set_learned(self._learned_places, batch, self.d_states, self.learned, flat, samples)
        if rows is None:
            return None
        if dropout.input:
            return self.layout.user(dropout.d_on_input(rows, batch))
        if not batch.direct:
            return self.layout.user(batch.d_pack(rows[: batch.N]))
        dx = self.layout.in_layout(rows)
        return dx.copy() if self.copies else dx

    def takes(self, dy) -> bool:
        """Say whether `backward` can be given this gradient of the outputs as it is."""
        states = self.states
        return type(dy) is type(states) and dy.dtype == states.dtype and dy.shape == self._y_shape

    def in_order(self, states, gradient: bool = False) -> tuple:
        """Copy ``states``, or ``d_states`` as the gradient of the initial ones, in the caller's order and shape.

        Each of them is (num_layers D, B, H), or (num_layers D, H) for an input with no batch dimension.
        """
        if self._reordered:
            copy = self.batch.d_sort(states) if gradient else self.batch.unsort(states)
        else:
            copy = states.copy()
        if not self.batched:
            copy = copy[:, :, 0]
        if len(copy) == 2:  # as most cells have: half the time of a loop, 0.4 us
            return copy[0], copy[1]
        return tuple([copy[k] for k in range(len(copy))])
