"""Directions in which a recurrent layer reads: the engine's network for them, and what passes have to know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nblstm.buffers.layout import Layout, suffix
from nblstm.cells import Cell
from nblstm.engine import engine
from nblstm.engine.device import device_for
from nblstm.engine.network import Network
from nblstm.engine.precision import precision_for
from nblstm.layers.recurrent import two_networks

if TYPE_CHECKING:
    from nblstm.layers.base.layer import Layer
    from nblstm.layers.recurrent.recurrent import Recurrent


@dataclass(frozen=True, eq=False)
class Directions:
    """One direction or two, of one network or of one each.

    Attributes
    ----------
    engine : module
        Has the passes: `nblstm.engine.engine`, or `two_networks`.
    D : int
        Directions of one network; the engine has states as arrays (D, B, H).
    state_units : dict of str to int
        Features of each state, of the one direction, then of the other.
    output_columns : dict of (int, int) to slice
        For each direction, the state that is its output, and where it is in (D, B, H): the columns that it has where
        the outputs of all directions lie side by side.
    drops : bool
        Whether training draws dropout.
    """

    engine: Any
    D: int
    state_units: dict[str, int]
    output_columns: dict[tuple[int, int], slice]
    drops: bool

    @classmethod
    def of_one(cls, layer: Recurrent) -> Directions:
        """The direction of a layer."""
        units = dict.fromkeys(layer.cell.states, layer.units)
        return cls(engine, 1, units, {(_output(layer), 0): slice(None)}, _drops(layer))

    @classmethod
    def of_two(cls, forwards: Recurrent, backwards: Recurrent) -> Directions:
        """The directions of two layers: of one network, if they differ in nothing else."""
        H, S = forwards.units, len(forwards.cell.states)
        units = {f"forward_{name}": H for name in forwards.cell.states}
        units |= {f"backward_{name}": backwards.units for name in backwards.cell.states}
        one = forwards.use_bias == backwards.use_bias and _described(forwards) == _described(backwards)
        second = (_output(backwards), 1) if one else (S + _output(backwards), 0)
        columns = {(_output(forwards), 0): slice(H), second: slice(H, None)}
        drops = _drops(forwards) or _drops(backwards)
        return cls(engine if one else two_networks, 2 if one else 1, units, columns, drops)


def _output(layer: Recurrent) -> int:
    """The place of the output among the states."""
    return layer.cell.states.index(layer.cell.output)


def _drops(layer: Recurrent) -> bool:
    return layer.dropout > 0 or layer.recurrent_dropout > 0 or _is_noisy(layer.cell)


def _is_noisy(cell: Cell) -> bool:
    return bool(cell.graph.noise) or (cell.matrix is not None and cell.matrix.is_noisy)


def _described(layer: Recurrent) -> dict[str, Any]:
    """Fields of a `Network` that are the same for all directions."""
    return {
        "cell": layer.cell, "hidden_size": layer.units, "gates": layer._gates(), "input_dropout": layer.dropout,
        "recurrent_dropout": layer.recurrent_dropout, "learn_initial_state": layer.learn_initial_state,
    }  # fmt: skip


def network_of(module: Layer, layers: Sequence[Recurrent]) -> Network:
    """The network that has one direction for each of some built layers.

    Parameters
    ----------
    module : Layer
        The layer itself, or one that holds all of them and has no parameters of its own.
    layers : sequence of Recurrent
    """
    device = device_for(None)
    return Network(
        **_described(layers[0]), input_size=_features(layers[0]), num_layers=1,
        directions=tuple([layer.go_backwards for layer in layers]), batch_first=True, dtype=module.dtype,
        device=device, precision=precision_for(None, module.dtype, device),
        layout=torch_layout(layers, module._layout.size),
    )  # fmt: skip


def _features(layer: Recurrent) -> int:
    """Features of the input of a built layer, without signals."""
    shape: Any = layer.input_shape
    return shape[-1] if layer._columns is None else len(layer._columns.features)


def recurrent_weights(cell: Cell, H: int) -> dict[str, tuple[int, int]]:
    """Names of the recurrent weights in layers, and their shapes under torch's names, transposed in layers."""
    G = len(cell.recurrent_gates)
    shapes: dict[str, Any] = {"weight_hh": (G * H, H)} if cell.matrix is None else cell.matrix.shapes(G, H)
    return {name.replace("weight_hh", "recurrent_kernel"): shape for name, shape in shapes.items()}


def has_two_biases(cell: Cell) -> bool:
    """Say if the biases of input and recurrence are parameters of their own, as they have different gates."""
    return bool(cell.recurrent_only or (cell.split and cell.input_only))


def torch_layout(layers: Sequence[Recurrent], size: int) -> Layout:
    """The parameters of layers, one for each direction, under torch's names, where they are in the layers' buffer.

    A kernel lies column by column in memory, so as torch's matrix (G H, I) it lies row by row.
    """
    shapes_of: dict[str, tuple[int, ...]] = {}
    starts, begin = {}, 0
    for d, layer in enumerate(layers):
        own, end, H = layer._layout, suffix(0, d), layer.units
        cell = layer.cell
        fed, recurrent = len(cell.input_gates) * H, len(cell.recurrent_gates) * H

        def put(name: str, shape: tuple[int, ...], start: int, end=end) -> None:
            shapes_of[name + end], starts[name + end] = shape, start

        for name in ("kernel", *recurrent_weights(cell, H)):
            if name in own.shapes:
                torchs = "weight_ih" if name == "kernel" else name.replace("recurrent_kernel", "weight_hh")
                put(torchs, own.shapes[name][::-1], begin + own.starts[name])
        if "bias" in own.shapes:
            put("bias_ih", (fed,), begin + own.starts["bias"])
            if len(own.shapes["bias"]) == 2:
                put("bias_hh", (recurrent,), begin + own.starts["bias"] + fed)
        if "recurrent_bias" in own.shapes:
            put("bias_hh", (recurrent,), begin + own.starts["recurrent_bias"])
        for name in (*cell.vectors, *cell.scalars, *(f"initial_{state}" for state in cell.states)):
            if name in own.shapes:
                put(name, own.shapes[name], begin + own.starts[name])
        begin += own.size
    return Layout(shapes_of, starts, size)
