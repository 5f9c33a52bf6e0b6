"""A stack of recurrent layers in a compiled network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nblstm.cpu import thresholds
from nblstm.cpu.arguments import ForwardArguments, address
from nblstm.cpu.kernels.forward import forward_by_rows
from nblstm.cpu.layer_forward import layer_arguments
from nblstm.cpu.matrix.blocks import padded
from nblstm.cpu.partition import Sizes
from nblstm.cpu.weights import PackedNetwork
from nblstm.numba_extension.block import LayerStates, Stage
from nblstm.numba_extension.jacobian_arguments import StageJacobian
from nblstm.numba_extension.jacobian_kernels import layer_jacobian, local_jacobian
from nblstm.numba_extension.kernels import LayerStep, layer_stage

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
        Of the engine, with one direction, from the first step to the last.
    flat : ndarray
        Its parameters.
    """

    network: Any
    flat: np.ndarray

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
        if network.cell.signals:
            raise ValueError(
                f"the cell {network.cell.name!r} takes signals with each step, which a compiled network is not given; "
                "call the network, or its stepper()"
            )
        if network.directions != (False,):
            kind = "reverse=True" if network.D == 1 else "two directions"
            raise ValueError(f"a network with {kind} needs whole sequences and cannot step; call it on one")
        with module._lock:
            return cls(network, module._flat.copy())

    dtype = property(lambda self: self.network.dtype)
    input_size = property(lambda self: self.network.input_size)
    output_size = property(lambda self: self.network.hidden_size)

    @property
    def architecture(self) -> str:
        """The equations and all sizes."""
        network = self.network
        return f"{network.cell.source(None, self.dtype)}\n{network.gates, network.layout.shapes}"

    def _sizes(self, B: int, layer: int) -> Sizes:
        network = self.network
        H = network.hidden_size
        I = H if layer else network.input_size
        return Sizes(network.cell, network.gates, (False,), 1, I, H, B, network.num_layers * B * H, network.dtype)

    def layer_states(self, B: int) -> list[LayerStates]:
        """See `Part`; in the order (S, num_layers, B, H)."""
        count, layers, _, H = self.network.states_shape(B)
        return [LayerStates(k * B * H, layers * B * H, count, H) for k in range(layers)]

    def initial(self, B: int) -> np.ndarray:
        """The cell's initial states, or the learned ones."""
        return self.network.initial_states(self.flat)[:, :, None].repeat(B, axis=2).ravel()

    def _workspaces(self, B: int) -> list[tuple[int, int]]:
        """Numbers of each layer's outputs and pre-activations."""
        layers = range(self.network.num_layers)
        return [(B * self.network.hidden_size, B * self._sizes(B, layer).z_row) for layer in layers]

    def workspace(self, B: int) -> int:
        """See `Part`."""
        return sum(map(sum, self._workspaces(B)))

    def arrays(self, B: int) -> list[np.ndarray]:
        """`_FIELDS` of each layer; then the numbers 0 and B, of which a step's batch consists."""
        network = self.network
        views, layers = network.kernel_parameters(network.layout.views(self.flat)), network.num_layers
        packed = PackedNetwork(network.cell, views, network.hidden_size, layers, 1, network.gates, False)
        packed.pack(views)
        made = []
        for layer, (own,) in enumerate(packed.layers):
            sizes = self._sizes(B, layer)
            H, cell, item = sizes.H, network.cell, self.flat.itemsize
            fed, recurrent = padded(sizes.input_columns, self.dtype), padded(sizes.columns, self.dtype)
            learned = len(cell.vectors) + len(cell.scalars)
            numbers = fed * sizes.I, recurrent * H, len(cell.preactivations) * H, learned * H
            for field, count in zip(_WEIGHTS, numbers, strict=True):
                array, at = own.forward[field]
                start = (at - address(array)) // item
                made.append(np.empty(0, self.dtype) if array is None else array.ravel()[start : start + count])
            tables = layer_arguments(sizes, False)
            made += [tables[field] for field in _TABLES]
        return [*made, np.array([0, B], np.int64)]

    def stages(self, B: int, states: int, workspace: int, addresses: list[int]) -> list[Stage]:
        """See `Part`."""
        *weights, zero = addresses
        dtype, made = self.dtype, []
        item = np.dtype(dtype).itemsize
        for layer, (y, z) in enumerate(self._workspaces(B)):
            sizes = self._sizes(B, layer)
            arguments = ForwardArguments(
                **layer_arguments(sizes, False) | dict(zip(_FIELDS, weights[len(_FIELDS) * layer :], strict=False)),
                T=1, B=B, first=0, last=1, segment=1, parts=1, bounds=zero, offset=zero, active=zero + 8,
                sparse=thresholds.sparse_limit(sizes.I, max(1, sizes.input_columns)),
            )  # fmt: skip
            step = LayerStep(
                forward=forward_by_rows(dtype), state=item * (states + layer * B * sizes.H),
                y=item * workspace, z=item * (workspace + y),
            )  # fmt: skip
            made.append(Stage(layer_stage(), bytes(arguments) + bytes(step), step.y))
            workspace += y + z
        return made

    def jacobians(self, states: int) -> list[StageJacobian]:
        """See `Part`."""
        network, cell = self.network, self.network.cell
        H, L, S, P = network.hidden_size, network.num_layers, len(cell.states), len(cell.preactivations)
        kernel, output = layer_jacobian(self.dtype), states + cell.states.index(cell.output) * L * H
        fields = dict(
            local=local_jacobian(cell, self.dtype), plane=L * H, count=S, preactivations=P, fed=len(cell.gates),
            split=len(cell.split),
        )  # fmt: skip
        scratch = (S + 1) * (P + S) * H + max(network.input_size, H)
        return [
            StageJacobian(
                kernel,
                H * len(cell.graph.operands),
                scratch,
                output + layer * H,
                {**fields, "states": states + layer * H},
            )
            for layer in range(L)
        ]
