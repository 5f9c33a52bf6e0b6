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
from nblstm.cells.declaration import check_recurs
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
    precision : str
        Of matrix products: ``"bfloat16"``, or the dtype, which it is if not given.
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
    precision: str = ""

    def __post_init__(self):
        if not self.precision:
            object.__setattr__(self, "precision", self.dtype)
        if self.recurrent_dropout:
            check_recurs("recurrent_dropout", self.cell, self.cell.seeing_gates)

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
        made = replace(self, cell=recurrent_dropout(self.cell))
        vars(made)["kernel_layout"] = self.kernel_layout  # made anew, it would have learned values of further states
        return made

    @property
    def without_noise(self) -> Network:
        """The same in inference, where the cell draws no noise."""
        return self._without_noise if self.is_noisy else self  # not kept: a network that has itself goes by gc alone

    @cached_property
    def _without_noise(self) -> Network:
        return replace(self, cell=self.cell.without_noise)

    @cached_property
    def is_noisy(self) -> bool:
        """True if the cell draws noise in training."""
        return bool(self.cell.graph.noise)

    @cached_property
    def in_float64(self) -> Network:
        """The same in float64."""
        return replace(self, dtype="float64", precision="float64")

    def variant(self, dropped: bool, noise: bool) -> Network:
        """The network that a pass runs: with recurrent dropout or without, with noise or without."""
        network = self.with_recurrent_dropout if dropped else self
        return network if noise else network.without_noise

    @cached_property
    def _recurrent_sizes(self) -> tuple[int, int, int]:
        """Gates, rows and columns (G, H, K) of the recurrent weights, without projections."""
        gates = self.cell.seeing_gates if self.proj_size else self.cell.recurrent_gates
        return len(gates), self.hidden_size, self.output_size

    def _layout(self, proj_size: int) -> Layout:
        return recurrent_layout(
            replace(self.cell, matrix=None), self.input_size, self.hidden_size, self.num_layers, self.D,
            "bias_ih_l0" in self.layout.shapes or "bias_hh_l0" in self.layout.shapes, self.learn_initial_state,
            proj_size,
        )  # fmt: skip

    @cached_property
    def plain_layout(self) -> Layout:
        """The parameters with the recurrent matrix in the place of what it is made of."""
        return self.layout if self.cell.matrix is None else self._layout(self.proj_size)

    @cached_property
    def kernel_layout(self) -> Layout:
        """The parameters as kernels have them: likewise, and with H numbers in the place of a projection's."""
        return self._layout(0) if self.proj_size else self.plain_layout

    @property
    def _ends(self) -> list[str]:
        """Endings of the names of all layers' and directions' parameters."""
        return [suffix(layer, d) for layer in range(self.num_layers) for d in range(self.D)]

    def matrices(self, generator: np.random.Generator | None = None) -> list[Any]:
        """The recurrent matrix of each layer and direction, drawn by a generator where it is noisy."""
        matrix = self.cell.matrix
        if matrix is None or generator is None:
            return [matrix for _ in self._ends]
        G, H, K = self._recurrent_sizes
        return [matrix.drawn(generator, G, H, *[K] * bool(self.proj_size)) for _ in self._ends]

    def _of_matrix(self, parameters: dict[str, np.ndarray], end: str) -> dict[str, np.ndarray]:
        """The parameters of the recurrent matrix of a layer and direction."""
        G, H, _ = self._recurrent_sizes
        return {name: parameters[name + end] for name in self.cell.matrix.shapes(G, H)}  # type: ignore[union-attr]

    def plain_parameters(
        self, parameters: dict[str, np.ndarray], matrices: list[Any] | None = None
    ) -> dict[str, np.ndarray]:
        """The parameters of `plain_layout`, from those of `layout`; each contiguous."""
        if self.cell.matrix is None:
            return parameters
        G, H, K = self._recurrent_sizes
        made = {name: parameters[name] for name in self.plain_layout.shapes if name in parameters}
        for end, matrix in zip(self._ends, matrices or self.matrices(), strict=True):
            R = matrix.weights(self._of_matrix(parameters, end), G, H)
            made[f"weight_hh{end}"] = np.ascontiguousarray(R.reshape(G * H, K), self.dtype)
        return made

    def kernel_parameters(
        self, parameters: dict[str, np.ndarray], matrices: list[Any] | None = None
    ) -> dict[str, np.ndarray]:
        """The parameters of `kernel_layout`, from those of `layout`; each contiguous."""
        made = self.plain_parameters(parameters, matrices)
        return padded(made, self) if self.proj_size else made

    def gradients_of(self, weights: Any, kernel_flat: np.ndarray, flat: np.ndarray) -> None:
        """Set the gradients of the parameters of `layout` from those of `kernel_layout`."""
        found, target = self.kernel_layout.views(kernel_flat), self.layout.views(flat)
        if self.proj_size:
            found = unpadded(found, self)
        if self.cell.matrix is not None:
            for end, matrix in zip(self._ends, weights.matrices, strict=True):
                dR = found[f"weight_hh{end}"].reshape(self._recurrent_sizes)
                own = matrix.gradients(self._of_matrix(weights.parameters, end), dR)
                found |= {name + end: array for name, array in own.items()}
        for name, array in target.items():
            array[...] = found[name].reshape(array.shape)

    @cached_property
    def mark(self) -> int:
        """CRC-32 of what decides a reserve's contents: equations, sizes, directions, kinds of dropout."""
        drops = [rate > 0 for rate in (self.dropout, self.input_dropout, self.recurrent_dropout)]
        sizes = self.input_size, self.hidden_size, self.num_layers, self.directions, self.dtype, self.precision
        links = [
            link[:1] + link[2:] for link in self.cell.graph.links
        ]  # the source is the same for n(v), m(v) as for n(v), m(h)
        matrix = self.cell.matrix and self.cell.matrix.as_data()
        return crc32(repr((self.cell.source(), links, matrix, self.layout.shapes, sizes, drops)).encode())

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
