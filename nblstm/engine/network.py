"""A recurrent network without its parameters: what it is, what it keeps from call to call, and its weights."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np

from nblstm.buffers.layout import Layout, recurrent_layout, suffix
from nblstm.buffers.pool import Pool
from nblstm.cells import Cell, recurrent_dropout
from nblstm.engine.device import backend_of
from nblstm.engine.projection import padded, unpadded


@dataclass(frozen=True, eq=False)
class Network:
    """A stack of recurrent layers.

    Attributes
    ----------
    cell : Cell
    input_size, hidden_size, num_layers : int
    directions : tuple of bool
        For each direction whether it reads from the last step to the first.
    batch_first : bool
    dtype, device : str
    layout : Layout
        Where each parameter lives in the flat buffer, under torch's names.
    dropout : float
        Probability that training sets an output between layers to 0.
    input_dropout, recurrent_dropout : float
        The same for a feature of the input, and for the first state on its way into the recurrent product, in all steps
        of a sequence.
    gates : tuple of str
        The order of the gates in the parameters; the cell's own if empty.
    learn_initial_state : bool
        Whether the states before the first step are parameters, ``initial_h_l0`` (H,) and so on.
    proj_size : int
        If not 0, the features P of the first state and of the outputs; the cell is one of `projected`. Kernels have
        them in the first of H numbers, and 0 in the others.
    """

    cell: Cell
    input_size: int
    hidden_size: int
    num_layers: int
    directions: tuple[bool, ...]
    batch_first: bool
    dtype: str
    device: str
    layout: Layout
    gates: tuple[str, ...] = ()
    dropout: float = 0.0
    input_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    learn_initial_state: bool = False
    proj_size: int = 0

    @cached_property
    def numpy_dtype(self) -> np.dtype:
        """The dtype of all its arrays."""
        return np.dtype(self.dtype)

    @cached_property
    def D(self) -> int:
        """Number of directions."""
        return len(self.directions)

    @cached_property
    def pool(self) -> Pool:
        """Passes and packed weights that are used again."""
        return Pool()

    @cached_property
    def backend(self):
        """The kernels and arrays of its device."""
        return backend_of(self.device)

    @cached_property
    def on_host(self) -> bool:
        """True if its arrays are NumPy's, so that passes are used again."""
        return self.backend.on_host

    def enter(self) -> ExitStack:
        """Have arrays made on its device until the result is closed; on the CPU there is nothing to do."""
        stack = ExitStack()
        stack.enter_context(self.backend.active())
        return stack

    @cached_property
    def with_recurrent_dropout(self) -> Network:
        """The same with recurrent dropout in its cell, which has further states, but no other parameters."""
        return replace(self, cell=recurrent_dropout(self.cell))

    @cached_property
    def without_noise(self) -> Network:
        """The same in inference, where the cell draws no noise."""
        return replace(self, cell=self.cell.without_noise) if self.is_noisy else self

    @cached_property
    def is_noisy(self) -> bool:
        """True if the cell draws noise in training."""
        return self.cell.without_noise is not self.cell

    @cached_property
    def in_float64(self) -> Network:
        """The same in float64."""
        return replace(self, dtype="float64")

    def variant(self, dropped: bool, noise: bool) -> Network:
        """The network that a pass runs: with recurrent dropout or without, with noise or without."""
        network = self.with_recurrent_dropout if dropped else self
        return network if noise else network.without_noise

    @cached_property
    def kernel_layout(self) -> Layout:
        """The parameters as kernels have them: with the recurrent matrix in the place of what it is made of."""
        if self.cell.matrix is None and not self.proj_size:
            return self.layout
        return recurrent_layout(
            replace(self.cell, matrix=None), self.input_size, self.hidden_size, self.num_layers, self.D,
            "bias_ih_l0" in self.layout.shapes or "bias_hh_l0" in self.layout.shapes, self.learn_initial_state,
        )  # fmt: skip

    def _of_matrix(self, parameters: dict[str, np.ndarray], end: str) -> dict[str, np.ndarray]:
        """The parameters of the recurrent matrix of a layer and direction."""
        names = self.cell.matrix.shapes(len(self.cell.recurrent_gates), self.hidden_size)  # type: ignore[union-attr]
        return {name: parameters[name + end] for name in names}

    @property
    def _ends(self) -> list[str]:
        """Endings of the names of all layers' and directions' parameters."""
        return [suffix(layer, d) for layer in range(self.num_layers) for d in range(self.D)]

    def matrices(self, generator: np.random.Generator | None = None) -> list[Any]:
        """The recurrent matrix of each layer and direction, drawn by a generator where it is noisy."""
        matrix, G, H = self.cell.matrix, len(self.cell.recurrent_gates), self.hidden_size
        return [
            matrix if matrix is None or generator is None else matrix.drawn(generator, G, H) for _ in self._ends
        ]  # fmt: skip

    def kernel_parameters(
        self, parameters: dict[str, np.ndarray], matrices: list[Any] | None = None
    ) -> dict[str, np.ndarray]:
        """The parameters of `kernel_layout`, from those of `layout`; each contiguous."""
        G, H = len(self.cell.recurrent_gates), self.hidden_size
        if self.kernel_layout is self.layout:
            return parameters
        if self.cell.matrix is None:
            return padded(parameters, self)
        made = {name: parameters[name] for name in self.kernel_layout.shapes if name in parameters}
        for end, matrix in zip(self._ends, matrices or self.matrices(), strict=True):
            R = matrix.weights(self._of_matrix(parameters, end), G, H)
            made[f"weight_hh{end}"] = np.ascontiguousarray(R.reshape(G * H, H), self.dtype)
        return made

    def gradients_of(self, weights: Weights, kernel_flat: np.ndarray, flat: np.ndarray) -> None:
        """Set the gradients of the parameters of `layout` from those of `kernel_layout`."""
        G, H, parameters = len(self.cell.recurrent_gates), self.hidden_size, weights.parameters
        found, target = self.kernel_layout.views(kernel_flat), self.layout.views(flat)
        if self.cell.matrix is None:
            found = unpadded(found, self)
        else:
            for end, matrix in zip(self._ends, weights.matrices, strict=True):
                own = matrix.gradients(self._of_matrix(parameters, end), found[f"weight_hh{end}"].reshape(G, H, H))
                found |= {name + end: array for name, array in own.items()}
        for name, array in target.items():
            array[...] = found[name].reshape(array.shape)

    @cached_property
    def mark(self) -> int:
        """CRC-32 of what decides a reserve's contents: equations, sizes, directions, kinds of dropout."""
        drops = [rate > 0 for rate in (self.dropout, self.input_dropout, self.recurrent_dropout)]
        sizes = self.input_size, self.hidden_size, self.num_layers, self.directions, self.dtype
        return crc32(repr((self.cell.source(), self.layout.shapes, sizes, drops)).encode())

    @cached_property
    def starts_at_zero(self) -> bool:
        """True if all states are 0 before the first step, where none are given."""
        return self.cell.starts_at_zero and not self.learn_initial_state

    @cached_property
    def initial_places(self) -> list[list[slice]]:
        """Where the learned initial states live: for each state, for each layer and direction."""
        return self.initial_places_in(self.layout)

    def initial_places_in(self, layout: Layout) -> list[list[slice]]:
        """`initial_places` in a layout, this one's or that of the kernels."""
        return [[layout.place(f"initial_{name}{end}") for end in self._ends] for name in self.cell.states]

    def initial_states(self, flat: np.ndarray) -> np.ndarray:
        """States before the first step (S, num_layers D, H): the learned ones among the parameters, or the cell's."""
        if self.learn_initial_state:
            made = np.zeros((len(self.cell.states), len(self._ends), self.hidden_size), self.dtype)
            for own, places in zip(made, self.initial_places, strict=True):
                for row, place in zip(own, places, strict=True):
                    row[: place.stop - place.start] = flat[place]
            return made
        values = np.array(self.cell.initial, self.dtype)[:, None, None]
        return np.broadcast_to(values, (len(values), self.num_layers * self.D, self.hidden_size))

    @cached_property
    def output_size(self) -> int:
        """Features of a direction's outputs."""
        return self.proj_size or self.hidden_size

    @cached_property
    def state_sizes(self) -> tuple[int, ...]:
        """Features of each state."""
        return self.output_size, *[self.hidden_size] * (len(self.cell.states) - 1)

    def states_shape(self, B: int) -> tuple[int, int, int, int]:
        """(S, num_layers D, B, H)."""
        return len(self.cell.states), self.num_layers * self.D, B, self.hidden_size

    def __reduce__(self):
        return Network, tuple(getattr(self, field.name) for field in fields(self))


class Weights:
    """The parameters at one moment, as the device's kernels read them.

    Attributes
    ----------
    layers : list
        By layer.
    parameters : dict of str to ndarray
        What recurrent matrices are made of; empty if they are parameters themselves.
    matrices : list of RecurrentMatrix
        For each layer and direction.
    """

    def __init__(self, layers: list, parameters: dict[str, np.ndarray], matrices: list[Any]):
        self.layers, self.parameters, self.matrices = layers, parameters, matrices
        self.loan: object = None


def packed(
    network: Network, parameters: dict[str, np.ndarray], training: bool, generator: np.random.Generator | None = None
) -> Weights:
    """Pack the parameters as they are now.

    Parameters
    ----------
    network : Network
    parameters : dict of str to ndarray
        By torch's names, each C-contiguous and of the network's dtype.
    training : bool
        Whether for training, where BPTT follows, or for inference.
    generator : Generator, optional
        Draws recurrent matrices that are noisy.

    Returns
    -------
    Weights
        Their memory is used again when they are gone.
    """
    made_of: dict[str, np.ndarray] = {}
    matrices: list[Any] = []
    if network.kernel_layout is not network.layout:
        made_of = {name: array.copy() for name, array in parameters.items()}
        matrices = network.matrices(generator)
        parameters = network.kernel_parameters(parameters, matrices)
    key = "weights", training
    free = network.pool.get(key) or network.pool.second(key)
    own: Any = None if free is None else free.take()
    if own is None:
        own = network.backend.packed(network, parameters, training)
        if free is not None:
            free.add(own)
    own.pack(parameters)
    weights = Weights(own.layers, made_of, matrices)
    if free is not None and free.keeps:
        weights.loan = free.lend(own, weights)
    return weights


def _named(module: Any) -> dict[str, np.ndarray]:
    """The parameters of a module's network, the same dict for as long as they are in the same memory."""
    if module._named is None:
        module._named = module._network.layout.views(module._flat)
    return module._named


def weights_of(module: Any, training: bool, generator: np.random.Generator | None = None) -> Weights:
    """The weights of a module's network, packed anew when the parameters may have changed, or are drawn.

    Parameters
    ----------
    module : Module
        With ``_network``, and what it derives from its parameters.
    training : bool
    generator : Generator, optional
        Of the noise of training.
    """
    matrix = module._network.cell.matrix
    if generator is not None and matrix is not None and matrix.is_noisy:
        return packed(module._network, _named(module), training, generator)
    weights = None if module._lent else module._cache.get(training)
    if weights is None:
        weights = module._derived(training, lambda _: packed(module._network, _named(module), training))
    return weights
