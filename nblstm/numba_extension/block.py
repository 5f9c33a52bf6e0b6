"""Memory of a compiled network: one block with a header, a table of stages, the stages' arguments, and the weights.

Compiled code knows a network by the address of its block alone. All addresses in it point into it, or are those of
kernels; so it lives as long as the Python object that owns it, and another process makes its own.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple, Protocol

import numpy as np

from nblstm.cpu.arguments import Arguments, Array, Kernel, address, structure
from nblstm.numba_extension.jacobian_arguments import StageJacobian, jacobian_arguments, size_of

#: Arrays begin at multiples of so many bytes: a cache line, and the widest vector.
LINE = 64


@structure
class NetworkHeader(Arguments):
    """Beginning of a block. Places in the state count its numbers."""

    step: Kernel  # see `kernels.step_kernel`
    batch_size: int
    input_size: int
    output_size: int
    state_size: int  # numbers of a state: the states of all layers, then workspace
    recurrent_size: int  # of these, the states
    num_layers: int  # recurrent layers
    vocabulary: int  # where the input is indices, how many there are; else 0
    first_index: int  # 1 where the index 0 is padding
    num_signals: int  # of the cell, that a step is given; each is one of ``signal_units`` numbers
    signal_units: int
    signals: int  # where in the state they are put
    x: int  # where in the state an input is put that must be converted
    y: int  # where in the state the outputs are
    initial: Array  # the states before the first step
    layers: Array  # for each recurrent layer: where its first state is, from one to the next, how many, and H
    num_stages: int
    stages: Array  # for each stage: kernel, its arguments, and bytes from the state's beginning to its outputs
    jacobian: Kernel  # for one row; else 0
    jacobian_stages: Array  # see `jacobian_arguments`, as for the rest
    jacobian_columns: int
    jacobian_size: int  # numbers of its workspace
    jacobian_y: int  # the first row of the outputs


class Stage(NamedTuple):
    """One kernel of a step.

    Attributes
    ----------
    kernel : int
        Address of ``stage(arguments, x, s)``, given three addresses: it writes its outputs into the state ``s``.
    arguments : bytes
        Structures, one after another, the addresses in them not of arrays that can go.
    y : int
        Bytes from the state's beginning to the outputs.
    """

    kernel: int
    arguments: bytes
    y: int


class LayerStates(NamedTuple):
    """Place of a recurrent layer's states in the states of a network, in numbers.

    Attributes
    ----------
    start : int
        Where the first state (B, H) is.
    plane : int
        From one state to the next.
    states, H : int
        Number of states, and units.
    """

    start: int
    plane: int
    states: int
    H: int


class Part(Protocol):
    """A module of a compiled network, with its parameters at one moment; a stack of recurrent layers is one module."""

    @property
    def dtype(self) -> str:
        """The dtype of all its numbers."""

    @property
    def input_size(self) -> int:
        """Features of its input."""

    @property
    def output_size(self) -> int:
        """Features of its output."""

    @property
    def vocabulary(self) -> int:
        """Where its input is indices, how many there are; else 0."""

    @property
    def first_index(self) -> int:
        """1 where the index 0 is padding, and no step; else 0."""

    @property
    def num_signals(self) -> int:
        """Signals that a step is given beside its input, for all layers of the part, which is then alone."""

    @property
    def architecture(self) -> str:
        """Text that is equal where all but the parameters is."""

    def layer_states(self, B: int) -> list[LayerStates]:
        """Places of its recurrent layers' states, from 0 on."""

    def initial(self, B: int) -> np.ndarray:
        """States before the first step, one-dimensional."""

    def workspace(self, B: int) -> int:
        """Count the numbers of its workspace, outputs included."""

    def arrays(self, B: int) -> list[np.ndarray]:
        """Weights, and other arrays of fixed shapes, as the kernels read them."""

    def stages(self, B: int, states: int, workspace: int, addresses: list[int]) -> list[Stage]:
        """Make its stages.

        Parameters
        ----------
        B : int
        states, workspace : int
            Where its own begin in the state, in numbers.
        addresses : list of int
            Of `arrays`, in the block.
        """

    def jacobians(self, states: int, addresses: list[int]) -> list[StageJacobian]:
        """Derivatives of each of its stages for one row; arguments are as for `stages`."""


def up(size: int) -> int:
    """``size`` bytes rounded up to whole cache lines."""
    return -(-size // LINE) * LINE


class Block:
    """Block of a network.

    Parameters
    ----------
    parts : list of Part
        In the order of a step.
    B : int
        Rows that step together.
    step, jacobian : int
        Addresses of the kernel that runs the stages, and of that of the Jacobian.

    Attributes
    ----------
    header : NetworkHeader
        A view of the block's beginning.
    at : int
        Its address.
    layers : list of LayerStates
        Of all recurrent layers.
    """

    def __init__(self, parts: list[Part], B: int, step: int, jacobian: int):
        first, last = parts[0], parts[-1]
        states = np.concatenate([part.initial(B) for part in parts])
        state_size = self._place(parts, B, states.size)
        of_parts = [part.arrays(B) for part in parts]
        table = np.array(self.layers or [LayerStates(0, 0, 0, 0)], np.int64)
        arrays = [states, table, *(array for own in of_parts for array in own)]

        def by_part(addresses: list[int]) -> list[list[int]]:
            left = iter(addresses)
            return [[next(left) for _ in own] for own in of_parts]

        def stages_with(addresses: list[int]) -> list[Stage]:
            each = zip(parts, self._places, by_part(addresses), strict=True)
            return [stage for part, place, own in each for stage in part.stages(B, *place, own)]

        # Arguments of stages have addresses of the weights, which lie behind them: so stages are made twice.
        stages = stages_with([0] * len(arrays))
        header, rows, *arguments = self._allocate(
            [ctypes.sizeof(NetworkHeader), 24 * len(stages), *(len(stage.arguments) for stage in stages)]
            + [size_of(len(stages))] + [array.nbytes for array in arrays]
        )  # fmt: skip
        arguments, derivatives, places = arguments[: len(stages)], arguments[len(stages)], arguments[len(stages) + 1 :]
        self._arrays = [self._view(at, array) for at, array in zip(places, arrays, strict=True)]
        for view, array in zip(self._arrays, arrays, strict=True):
            view[...] = array
        stages = stages_with(places[2:])
        told = self._view(rows, np.empty((len(stages), 3), np.int64))
        for k, (stage, at) in enumerate(zip(stages, arguments, strict=True)):
            ctypes.memmove(at, stage.arguments, len(stage.arguments))
            told[k] = stage.kernel, at, stage.y
        fields = dict(
            step=step, batch_size=B, input_size=first.input_size, output_size=last.output_size, state_size=state_size,
            recurrent_size=states.size, num_layers=len(self.layers), vocabulary=first.vocabulary,
            first_index=first.first_index, num_signals=first.num_signals, signal_units=first.output_size,
            signals=self._places[0][1], x=states.size, y=stages[-1].y // states.itemsize, initial=places[0],
            layers=places[1], num_stages=len(stages), stages=rows,
        )  # fmt: skip
        if B == 1:
            each = zip(parts, self._places, by_part(places[2:]), strict=True)
            own = [derived for part, (begin, _), at in each for derived in part.jacobians(begin, at)]
            inputs = 0 if first.vocabulary else first.input_size
            made, found = jacobian_arguments(own, told[:, 1:].tolist(), states.size, inputs)
            ctypes.memmove(derivatives, made, len(made))
            fields |= found | dict(jacobian=jacobian, jacobian_stages=derivatives)
        self.header = NetworkHeader.from_address(header)
        for field, value in fields.items():
            setattr(self.header, field, value)

    def _place(self, parts: list[Part], B: int, recurrent: int) -> int:
        """Place in a state the states of each part, then a converted input and the workspace of each; its size."""
        self._places: list[tuple[int, int]] = []
        self.layers: list[LayerStates] = []
        begin, work = 0, recurrent + B * (1 if parts[0].vocabulary else parts[0].input_size)
        for part in parts:
            self.layers += [layer._replace(start=layer.start + begin) for layer in part.layer_states(B)]
            self._places.append((begin, work))
            begin, work = begin + part.initial(B).size, work + part.workspace(B)
        return work

    def _allocate(self, sizes: list[int]) -> list[int]:
        """Make the memory, and return the address of each piece of it."""
        self._memory = np.zeros(sum(map(up, sizes)) // 8 + LINE // 8, np.int64)
        self.at = up(address(self._memory))
        return [self.at + sum(map(up, sizes[:k])) for k in range(len(sizes))]

    def _view(self, at: int, like: np.ndarray) -> np.ndarray:
        """An array of the block's memory at an address, of the shape and dtype of another."""
        start = at - address(self._memory)
        return self._memory.view(np.uint8)[start : start + like.nbytes].view(like.dtype).reshape(like.shape)

    @property
    def initial(self) -> np.ndarray:
        """States before the first step; a view."""
        return self._arrays[0]

    def take(self, other: Block) -> None:
        """Take the weights and initial states of a block of the same architecture."""
        for own, array in zip(self._arrays, other._arrays, strict=True):
            own[...] = array
