"""Recurrent networks of any cells and sizes, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.arguments import seeds, validate
from nblstm.buffers.layout import Layout
from nblstm.engine.dropout import dropout_factors
from nblstm.engine.tape import Tape
from nblstm.nn import stack_derivatives
from nblstm.nn.module import Module, allocated
from nblstm.nn.recurrent import Recurrent
from nblstm.nn.recurrent_arguments import warn_of_dropout
from nblstm.nn.stack_arguments import outputs_of, stack_layers
from nblstm.nn.stack_derivatives import StackTape
from nblstm.nn.stack_stepper import StackStepper

if TYPE_CHECKING:
    from nblstm.numba_extension.compiled_network import CompiledNetwork


class Stack(Module):
    """Recurrent networks one after another: each reads the outputs of the one before.

    ::

        s_0 = y_0              where y_k are the outputs of layers[k], y_0 for the input x
        s_k = y_k              without ``residual``, or where layers[k] has other than D H = I sizes
        s_k = y_k + s_{k-1}    with it, for k = 1, 2, ...
        layers[k + 1] reads s_k; in training each number of it is 0 with the probability ``dropout``, else scaled up,
        but not in the sum

    Parameters
    ----------
    layers : iterable of Recurrent
        Such as `LSTM` and `GRU`; of any cells, sizes, directions and ``num_layers``, in which the next one's
        ``input_size`` is what the one before puts out. Their ``dtype``, ``batch_first`` and ``stateful`` are the same.
    residual : bool, default False
        Whether the input of a layer is added to its outputs, from the second layer on, where both have as many
        features, as in GNMT. The first layer's input is data, and is not.
    dropout : float, default 0.0
        Probability with which training (`forward`) sets a number between layers to 0. Layers have their own within.
    seed : int, optional
        Of this dropout. Parameters are as the layers have them.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or ``residual`` has no layer to act on.

    Attributes
    ----------
    layers : tuple of Recurrent
    residual, dropout
        As given.
    input_size, output_size : int
        Features of the input of the first layer, and of the outputs of the last.

    Notes
    -----
    The parameters of the layers move into the stack's buffer, under names such as ``0.weight_ih_l0``. The layers remain
    usable by themselves, with these parameters; arrays that their ``parameters()`` gave before are theirs no more.

    References
    ----------
    Y. Wu et al., "Google's neural machine translation system", arXiv:1609.08144, 2016, section 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm import nn
    >>> stack = nn.Stack([nn.LSTM(3, 16), nn.GRU(16, 8), nn.GRU(8, 8)], residual=True)
    >>> y, ((h_0, c_0), h_1, h_2) = stack(np.zeros((5, 2, 3)))
    >>> y.shape, c_0.shape, h_2.shape
    ((5, 2, 8), (1, 2, 16), (1, 2, 8))
    """

    def __init__(
        self, layers: Iterable[Recurrent], residual: bool = False, dropout: float = 0.0, *, seed: int | None = None
    ):  # fmt: skip
        self.layers = stack_layers(layers)
        self.residual = validate.flag("residual", residual)
        self.dropout = validate.probability("dropout", dropout)
        if self.residual and not any(self._adds):
            raise ValueError(
                "residual is True, and no layer from the second on has as many outputs as inputs, D * hidden_size = "
                "input_size; give such layers, or leave it out"
            )
        warn_of_dropout(self.dropout, len(self.layers), 2, "layers has one network")
        self._generator = seeds.generator(seed)
        shapes: dict[str, tuple[int, ...]] = {}
        turned: list[str] = []
        for k, layer in enumerate(self.layers):
            shapes |= {f"{k}.{name}": shape for name, shape in layer._layout.shapes.items()}
            turned += [f"{k}.{name}" for name in layer._layout.transposed]
        layout = Layout.of(shapes, turned)
        flats = [layer._flat for layer in self.layers]
        super().__init__(layout, allocated(layout, lambda: np.concatenate(flats)))
        self._hold()

    def _hold(self) -> None:
        """Have the layers' parameters in this buffer."""
        for layer, place in zip(self.layers, self._places, strict=True):
            layer._set_buffer(layer._layout, self._flat[place], self._buffer)

    @property
    def _places(self) -> list[slice]:
        """Where in the buffer the parameters of each layer are."""
        ends = np.cumsum([layer._layout.size for layer in self.layers]).tolist()
        return [slice(end - layer._layout.size, end) for end, layer in zip(ends, self.layers, strict=True)]

    @property
    def _adds(self) -> list[bool]:
        """For each layer whether its input is added to its outputs."""
        return [
            self.residual and k > 0 and outputs_of(layer) == layer.input_size for k, layer in enumerate(self.layers)
        ]

    input_size = property(lambda self: self.layers[0].input_size, doc="Features of the first layer's input.")
    output_size = property(lambda self: outputs_of(self.layers[-1]), doc="Features of the last layer's outputs.")
    batch_first = property(lambda self: self.layers[0].batch_first, doc="That of the layers.")
    stateful = property(lambda self: self.layers[0].stateful, doc="That of the layers.")
    backward, per_sample_gradients = stack_derivatives.backward, stack_derivatives.per_sample_gradients
    jvp, hvp = stack_derivatives.jvp, stack_derivatives.hvp

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self._hold()

    def __repr__(self):
        options = ", residual=True" * self.residual + f", dropout={self.dropout}" * bool(self.dropout)
        return f"Stack([{', '.join(map(repr, self.layers))}]{options})"

    def __call__(
        self, x, state=None, lengths=None, *, mask=None, resets=None, signals=None, all_states: bool = False
    ) -> tuple[Any, tuple]:  # fmt: skip
        """Inference.

        Parameters
        ----------
        x : array_like, shape (T, B, I), (B, T, I) if ``batch_first``, or (T, I) for one sequence
        state : tuple, optional
            For each layer its initial states as its own call takes them, or None.
        lengths, mask, resets
            As for a `Recurrent`.
        signals : tuple, optional
            For each layer what its cell takes with each step beside its input, or None.
        all_states : bool, default False
            Whether ``y`` is a tuple: every state of the last layer at each step, in its cell's order. In the place of
            the one that is its output stand the outputs of the stack, with what ``residual`` adds.

        Returns
        -------
        y : ndarray, shape (T, B, output_size), (B, T, output_size) or (T, output_size), or a tuple of such
        states : tuple
            For each layer its final states, as its own call returns them.

        Raises
        ------
        TypeError, ValueError
            If a shape, dtype or length does not fit.
        """
        given, last = self._by_layer(signals, "signals"), self._last(all_states)

        def run(k: int, x, own) -> tuple[Any, Any]:
            return self.layers[k](x, own, lengths, mask=mask, resets=resets, signals=given[k], all_states=k == last)

        return self._through(x, state, run)

    def forward(
        self, x, state=None, lengths=None, *, mask=None, resets=None, signals=None, checkpoint: int | None = None,
        all_states: bool = False,
    ) -> tuple[Any, tuple, StackTape]:  # fmt: skip
        """Training, ``y, states, tape = stack.forward(x)``: with dropout, and with what `backward` needs.

        Parameters
        ----------
        x, state, lengths, mask, resets, signals, all_states
            As for calling the stack.
        checkpoint : int, optional
            As for a `Recurrent`.

        Returns
        -------
        y, states
            As from calling the stack.
        tape : StackTape
            For `backward`.
        """
        tapes: list[Tape] = []
        given, last = self._by_layer(signals, "signals"), self._last(all_states)
        factors: list[Any] = []

        def run(k: int, x, own) -> tuple[Any, Any]:
            layer = self.layers[k]
            factors.append(self._factors(layer, x) if k and self.dropout else None)
            read = x if factors[k] is None else x * factors[k]
            y, final, tape = layer.forward(
                read, own, lengths, mask=mask, resets=resets, signals=given[k], checkpoint=checkpoint,
                all_states=k == last,
            )  # fmt: skip
            tapes.append(tape)
            return y, final

        return *self._through(x, state, run), StackTape(self, tapes, factors)

    def _through(self, x, state, run: Callable[[int, Any, Any], tuple[Any, Any]]) -> tuple[Any, tuple]:
        """Outputs and final states of ``y, states = run(k, x, initial states)``, layer by layer."""
        finals, carried = [], [layer._carried.states if layer._carried else None for layer in self.layers]
        try:
            for k, (own, adds) in enumerate(zip(self._by_layer(state, "state"), self._adds, strict=True)):
                y, final = run(k, x, own)
                x = self._sum(k, y, x) if adds else y
                finals.append(final)
        except BaseException:  # as where a state does not fit: no layer goes on from what the others have not done
            for layer, before in zip(self.layers, carried, strict=True):
                if layer._carried:
                    layer._carried.states = before
            raise
        return x, tuple(finals)

    def _last(self, all_states) -> int:
        """Index of the layer whose states at each step are wanted; -1 for none."""
        return len(self.layers) - 1 if validate.flag("all_states", all_states) else -1

    def _sum(self, k: int, y, x):
        """Outputs of a layer, or all its states, with its input added to the outputs."""
        if not isinstance(y, tuple):
            return y + x
        cell = self.layers[k]._network.cell
        return tuple(own + x if name == cell.output else own for name, own in zip(cell.states, y, strict=True))

    def _factors(self, layer: Recurrent, x):
        """Draw the factors of a layer's input, as that kind of array."""
        network = layer._network
        factors = dropout_factors(self._generator, tuple(x.shape), self.dtype, self.dropout)
        if network.on_host:
            return factors
        with network.enter():
            arrays = network.backend.arrays
            return arrays.returned(arrays.from_host(factors), arrays.kind(x))

    def _by_layer(self, given, name: str) -> list:
        """A user's states, or their gradients, for each layer; None for those of all layers stands for each."""
        if given is None:
            return [None] * len(self.layers)
        if not isinstance(given, tuple | list) or len(given) != len(self.layers):
            raise ValueError(
                f"{name} is {validate.came(given)}; give a tuple of {len(self.layers)}, for each layer its own or None"
            )
        return list(given)

    def reset_state(self) -> None:
        """Have the next call of stateful layers start with the initial states.

        Raises
        ------
        ValueError
            If the layers are not stateful.
        """
        for layer in self.layers:
            layer.reset_state()

    def warmup(self) -> None:
        """Compile every kernel that the layers can need, and keep them in the cache."""
        for layer in self.layers:
            layer.warmup()

    def stepper(self, batch_size: int = 1) -> StackStepper:
        """One step at a time, the states staying inside; see `Recurrent.stepper`."""
        return StackStepper(self, batch_size)

    def compiled(self, batch_size: int = 1) -> CompiledNetwork:
        """Make a value of the stack for functions under `numba.njit`; see `Recurrent.compiled`.

        Raises
        ------
        ValueError
            If a layer is bidirectional or reads in reverse, or inputs are added to outputs.
        """
        from nblstm.numba_extension.compiled_network import CompiledNetwork
        from nblstm.numba_extension.recurrent_part import RecurrentPart

        if self.residual:
            raise ValueError("compiled() is of stacks without residual=True, whose sums it lacks; step by stepper()")
        return CompiledNetwork([RecurrentPart.of(layer) for layer in self.layers], batch_size, "layers")
