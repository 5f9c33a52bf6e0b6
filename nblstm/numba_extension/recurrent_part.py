"""A stack of recurrent layers in a compiled network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nblstm.cells.local_jacobian import variables
from nblstm.cells.stages import forward_program
from nblstm.cpu import thresholds
from nblstm.cpu.arguments import ForwardArguments, address
from nblstm.cpu.kernels.forward import forward_by_rows
from nblstm.cpu.kernels.inputs import SIGNAL
from nblstm.cpu.layer_forward import layer_arguments
from nblstm.cpu.matrix.blocks import padded
from nblstm.cpu.matrix.products import inner_numbers
from nblstm.cpu.partition import Sizes
from nblstm.cpu.weights import PackedNetwork
from nblstm.numba_extension.block import LayerStates, Stage
from nblstm.numba_extension.jacobian_arguments import StageJacobian, tables
from nblstm.numba_extension.jacobian_kernels import layer_jacobian, local_jacobian
from nblstm.numba_extension.jacobian_rows import ROWS, columns_jacobian
from nblstm.numba_extension.kernels import LayerStep, layer_stage
from nblstm.numba_extension.row_kernels import RowArguments, columns_stage

#: Arrays of a layer that `ForwardArguments` refer to: weights, then tables.
_WEIGHTS = ("w_x", "w_h", "bias", "vectors")
_TABLES = ("program", "stage_starts", "given")
_FIELDS = _WEIGHTS + _TABLES


@dataclass
class RecurrentPart:
    """Layers of one cell, each a stage.

    Attributes
    ----------
    network : Network
        Of the engine, with one direction, from the first step to the last, and without noise.
    flat : ndarray
        Its parameters.
    width : int
        Features of the part's input.
    columns : ndarray of int64, or None
        Where some of these are signals of the cell: the columns of the network's input, then of each signal for each
        unit. A stage puts them side by side.
    """

    network: Any
    flat: np.ndarray
    width: int
    columns: np.ndarray | None = None

    vocabulary = first_index = 0

    @classmethod
    def of(cls, module: Any) -> RecurrentPart:
        """A module's network and its parameters as they are now.

        Raises
        ------
        ValueError
            If the network needs whole sequences.
        """
        network = module._network.without_noise
        if network.directions != (False,):
            kind = "reverse=True" if network.D == 1 else "two directions"
            raise ValueError(f"a network with {kind} needs whole sequences and cannot step; call it on one")
        if network.proj_size:
            raise ValueError("a network with proj_size cannot be compiled; step by stepper()")
        columns = getattr(module, "_columns", None)
        with module._lock:
            flat = module._flat.copy()
        if columns is None:
            return cls(network, flat, network.input_size)
        return cls(network, flat, columns.width, columns.for_each_unit(network.hidden_size))

    dtype = property(lambda self: self.network.dtype)
    input_size = property(lambda self: self.width)
    output_size = property(lambda self: self.network.hidden_size)
    num_signals = property(lambda self: len(self.network.cell.signals) if self.columns is None else 0)

    @property
    def architecture(self) -> str:
        """The equations and all sizes."""
        network = self.network
        links = [stage.links for stage in forward_program(network.cell).stages]
        columns = None if self.columns is None else (self.width, self.columns.tolist())
        sizes = network.gates, network.layout.shapes, columns, network.precision
        return f"{network.cell.source(None, self.dtype)}\n{links, *sizes}"

    def _sizes(self, B: int, layer: int) -> Sizes:
        network = self.network
        H = network.hidden_size
        I = H if layer else network.input_size
        return Sizes(
            network.cell,
            network.gates,
            (False,),
            1,
            I,
            H,
            B,
            network.num_layers * B * H,
            network.dtype,
            network.precision,
        )

    def layer_states(self, B: int) -> list[LayerStates]:
        """See `Part`; in the order (S, num_layers, B, H)."""
        count, layers, _, H = self.network.states_shape(B)
        return [LayerStates(k * B * H, layers * B * H, count, H) for k in range(layers)]

    def initial(self, B: int) -> np.ndarray:
        """The cell's initial states, or the learned ones."""
        return self.network.initial_states(self.flat)[:, :, None].repeat(B, axis=2).ravel()

    def _signals(self) -> tuple[int, int]:
        """Numbers of a row of memory that has signals, and how many are before them: the input, if it is there too."""
        before = 0 if self.columns is None else self.network.input_size
        return before + len(self.network.cell.signals) * self.network.hidden_size, before

    def _workspaces(self, B: int) -> list[tuple[int, int]]:
        """Numbers of each layer's outputs and pre-activations."""
        layers = range(self.network.num_layers)
        return [(B * self.network.hidden_size, B * self._sizes(B, layer).z_row) for layer in layers]

    def workspace(self, B: int) -> int:
        """See `Part`: the signals, then each layer's."""
        return B * self._signals()[0] + sum(map(sum, self._workspaces(B)))

    def arrays(self, B: int) -> list[np.ndarray]:
        """`_FIELDS` of each layer; then the numbers 0 and B, of which a step's batch consists, and other tables."""
        network = self.network
        views, layers = network.kernel_parameters(network.layout.views(self.flat)), network.num_layers
        packed = PackedNetwork(
            network.cell, views, network.hidden_size, layers, 1, network.gates, False, network.precision
        )
        packed.pack(views)
        made = []
        for layer, (own,) in enumerate(packed.layers):
            sizes = self._sizes(B, layer)
            H, cell, item = sizes.H, network.cell, self.flat.itemsize
            fed, recurrent = padded(sizes.input_columns, self.dtype), padded(sizes.columns, self.dtype)
            learned = len(cell.vectors) + len(cell.scalars)
            of_x, of_h = (inner_numbers(sizes.precision, K) for K in (sizes.I, H))
            numbers = fed * of_x, recurrent * of_h, len(cell.preactivations) * H, learned * H
            for field, count in zip(_WEIGHTS, numbers, strict=True):
                array, at = own.forward[field]
                start = (at - address(array)) // item
                made.append(np.empty(0, self.dtype) if array is None else array.ravel()[start : start + count])
            told = layer_arguments(sizes, False)
            made += [told["program"], told["stage_starts"], self._given(told["given"], item * H)]
        computed, products, _ = tables(network.cell, network.hidden_size)
        columns = np.empty(0, np.int64) if self.columns is None else self.columns
        return [*made, np.array([0, B], np.int64), computed, products, columns]

    def _given(self, table: np.ndarray, size: int) -> np.ndarray:
        """The table of what the cell is given, with the places of signals, each ``size`` bytes, in a row of memory."""
        which = table[:, 0] == SIGNAL
        row, _ = self._signals()
        table[which, 1], table[which, 2], table[which, 3] = size * np.arange(which.sum()), row, 1
        return table

    def stages(self, B: int, states: int, workspace: int, addresses: list[int]) -> list[Stage]:
        """See `Part`."""
        *weights, zero, _, _, columns = addresses
        dtype, made, network = self.dtype, [], self.network
        item = np.dtype(dtype).itemsize
        row, before = self._signals()
        signals = item * (workspace + before)
        if self.columns is not None:
            y = item * workspace
            chosen = RowArguments(B=B, K=self.width, N=row, y=y, weight=columns)
            made.append(Stage(columns_stage(dtype), bytes(chosen), y))
        workspace += B * row
        for layer, (y, z) in enumerate(self._workspaces(B)):
            sizes = self._sizes(B, layer)
            own = layer_arguments(sizes, False) | dict(zip(_FIELDS, weights[len(_FIELDS) * layer :], strict=False))
            if self.columns is not None and not layer:
                own["x_row"] = row
            arguments = ForwardArguments(
                **own, T=1, B=B, first=0, last=1, segment=1, parts=1, bounds=zero, offset=zero, active=zero + 8,
                sparse=thresholds.sparse_limit(sizes.I, max(1, sizes.input_columns)),
            )  # fmt: skip
            step = LayerStep(
                forward=forward_by_rows(dtype), state=item * (states + layer * B * network.hidden_size),
                y=item * workspace, z=item * (workspace + y), signals=signals,
            )  # fmt: skip
            made.append(Stage(layer_stage(), bytes(arguments) + bytes(step), step.y))
            workspace += y + z
        return made

    def jacobians(self, states: int, addresses: list[int]) -> list[StageJacobian]:
        """See `Part`."""
        network, cell, made = self.network, self.network.cell, []
        H, L, S, output = network.hidden_size, network.num_layers, len(cell.states), cell.states.index(cell.output)
        *_, computed, products, _ = addresses
        kinds, runs, rows = tables(cell, H)
        by = len(variables(cell))
        fields = dict(
            local=local_jacobian(cell, self.dtype), plane=L * H, count=S, preactivations=len(cell.preactivations),
            fed=len(cell.input_gates), takes_x=int(cell.takes_x), num_signals=len(cell.signals), variables=by,
            computed=computed, num_computed=len(kinds), products=products, num_products=len(runs),
        )  # fmt: skip
        if self.columns is not None:
            count, before = self._signals()
            made.append(StageJacobian(columns_jacobian(self.dtype), count + ROWS, 0, signals=before))
        scratch = len(kinds) * by * H + max(network.input_size, H)
        for layer in range(L):
            y, own = states + (output * L + layer) * H, fields | {"states": states + layer * H}
            made.append(StageJacobian(layer_jacobian(network.precision), rows, scratch, y, own))
        return made
