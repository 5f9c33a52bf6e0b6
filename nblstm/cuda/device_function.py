"""A step of a network as a device function of numba-cuda, for kernels that users write: one thread for each network.

All threads read the same weights, so each load serves a warp; pre-activations and states are in a thread's own memory.

The parameters are one array: the states before the first step (S, L, H), then for each layer, with the G gates that
the input feeds: biases (H, P), W_ih (H, I, G), for each product W_hh of its n gates (H, H, n), vectors and scalars
(H, V).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numba import config, types

from nblstm.buffers.layout import add_biases, input_order, recurrent_order, suffix
from nblstm.cells.cell import Cell
from nblstm.cells.source import forward_functions, inlined
from nblstm.cells.stages import Step, forward_program
from nblstm.cells.step_parts import recurrent_runs
from nblstm.cuda.kernels.cell_functions import CellSizes
from nblstm.symbolic.emit import functions_from, symbol
from nblstm.symbolic.graph import NUMERIC

#: Units of a layer at most: a thread's weights are (G H, I + H) numbers that it reads in each step.
LARGEST = 32


def device_function(network: Any, flat: np.ndarray) -> tuple[Any, np.ndarray]:
    """``step`` and ``params`` of a network with these parameters; see `nblstm.nn.Recurrent.device_function`."""
    H, network = network.hidden_size, network.without_noise
    if network.cell.signals:
        raise ValueError(
            f"device_function() got the cell {network.cell.name!r}, which takes signals beside x; make each a feature "
            "of the input, or call the network with device='cuda'"
        )
    if network.directions != (False,):
        raise ValueError("device_function() needs a network that reads forwards; others need whole sequences")
    if H > LARGEST:
        raise ValueError(
            f"device_function() got a network of {H} units; one thread computes all of them, so give one of {LARGEST} "
            "or fewer, and call larger ones with device='cuda'"
        )
    if not config.ENABLE_CUDASIM and find_spec("numba_cuda") is None:
        raise RuntimeError(
            "device_function() needs the package numba-cuda, which is not installed; pip install 'numba-cuda[cu13]'"
        )
    step = _step(network.cell, network.input_size, H, network.num_layers, network.output_size, network.dtype)
    return step, _parameters(network, flat)


def _parameters(network: Any, flat: np.ndarray) -> np.ndarray:
    """The array of parameters: copies, in the order of this module's docstring."""
    cell, gates, H, n = network.cell, network.gates, network.hidden_size, CellSizes.of(network.cell)
    views = network.kernel_parameters(network.layout.views(flat))
    nothing = np.empty(0, network.dtype)
    parts = [network.initial_states(flat)]
    for layer in range(network.num_layers):
        end, I = suffix(layer, 0), H if layer else network.input_size
        bias = np.empty((n.P, H), network.dtype)
        add_biases(cell, gates, views.get(f"bias_ih{end}"), views.get(f"bias_hh{end}"), bias)
        w_x = views.get(f"weight_ih{end}", nothing).reshape(n.G, H, I)[input_order(cell, gates)]
        w_h = views.get(f"weight_hh{end}", nothing).reshape(n.R, H, H)[recurrent_order(cell, gates)]
        of_products = [w_h[first : first + count] for _, first, count in recurrent_runs(cell)]
        vectors = np.empty((H, n.V), network.dtype)
        for k, name in enumerate((*cell.vectors, *cell.scalars)):
            vectors[:, k] = views[f"{name}{end}"]
        parts += [bias.T, *(w.transpose(1, 2, 0) for w in (w_x, *of_products)), vectors]
    return np.concatenate([part.ravel() for part in parts])


@cache
def _step(cell: Cell, I: int, H: int, L: int, O: int, dtype: str):
    """The device function ``step(params, x, state) -> y``; the same for all parameters."""
    from numba import cuda

    if config.ENABLE_CUDASIM:
        scope: dict[str, Any] = {**NUMERIC, "inlined": lambda function: function}
    else:
        from nblstm.cuda.kernels.primitives import Primitives

        scope = {**Primitives(dtype).functions, "inlined": Primitives.inlined}
    scope |= {"cuda": cuda, "real": getattr(types, dtype)}
    functions = functions_from(step_source(cell, I, H, L, O, dtype), f"device function of {symbol(cell.name)}", scope)
    step = functions["step"]
    step.state_size = len(cell.states) * L * H
    return step


def step_source(cell: Cell, I: int, H: int, L: int, O: int, dtype: str) -> str:
    """Python source of ``step``, with a function for each kind of layer: the first has I inputs, others H.

    Of the H units of the output, O are returned.
    """
    n = CellSizes.of(cell)
    states, work = n.S * L * H, len(_planes(cell)) * H
    rest = H * (n.P + H * n.R + n.V)  # of a layer's parameters but W_ih
    calls, at = "", states
    for layer in range(L):
        below = n.output * L * H + (layer - 1) * H
        x = f"state[{below} : {below + H}]" if layer else "x"
        name = "layer" if layer else "first_layer"
        calls += f"    {name}(params, {at}, {x}, state, {layer * H}, z{', work' * bool(work)})\n"
        at += rest + H * n.G * (H if layer else I)
    last = n.output * L * H + (L - 1) * H
    step = (
        "@cuda.jit(device=True, inline='always')\ndef step(params, x, state):\n"
        f"    z = cuda.local.array({max(1, n.P * H)}, real)\n"
        f"{f'    work = cuda.local.array({work}, real){chr(10)}' if work else ''}"
        f"{calls}    return state[{last} : {last + O}]\n"
    )
    layers = [_layer_source(cell, "first_layer", I, H, L)]
    if L > 1:
        layers.append(_layer_source(cell, "layer", H, H, L))
    head = f"# Generated by nblstm from the cell {cell.name!r}, for {dtype}: one thread steps {L} layers of {H} units."
    functions = [function.text for function in forward_functions(cell, False, "cell") if function.results]
    return "\n\n".join([head, *inlined(functions), *layers, step])


def _planes(cell: Cell) -> list[str]:
    """Names of what passes from stage to stage for each unit, beside pre-activations and x."""
    return [name for name in forward_program(cell).row.blocks if name not in (*cell.preactivations, *cell.given)]


class _Layer:
    """Writes a layer's step: its parameters begin at ``at``, its states at ``first`` of each plane of ``state``."""

    def __init__(self, cell: Cell, I: int, H: int, L: int):
        n = CellSizes.of(cell)
        self.cell, self.n, self.I, self.H = cell, n, I, H
        w_h = H * n.P + H * I * n.G
        vectors = w_h + H * H * n.R
        # The weights of each product: its operand, the pre-activations that it feeds, and where they begin.
        self.products = [
            (operand, range(n.P - n.R + first, n.P - n.R + first + count), w_h + H * H * first)
            for operand, first, count in recurrent_runs(cell)
        ]
        self.places = {name: f"z[{{u}} * {n.P} + {k}]" for k, name in enumerate(cell.preactivations)}
        self.places |= {name: f"state[{k * L * H} + first + {{u}}]" for k, name in enumerate(cell.states)}
        for k, name in enumerate((*cell.vectors, *cell.scalars)):
            self.places[name] = f"params[at + {vectors} + {{u}} * {n.V} + {k}]"
        self.places |= {name: f"work[{k * H} + {{u}}]" for k, name in enumerate(_planes(cell))}
        self.places |= {"x": "real(x[{u}])"} if cell.takes_x else {}
        self.places |= {name: f"value_{name}" for name in forward_program(cell).row.numbers}

    def place(self, name: str, u: str = "u") -> str:
        """The expression of an argument, for a unit."""
        return self.places[name].format(u=u)

    def multiply(self, of: Sequence[int], weights: int, width: int, value: str) -> list[str]:
        """Add a product to sums."""
        return [
            f"        for k in range({width}):",
            f"            value, row = {value}, at + {weights} + (u * {width} + k) * {len(of)}",
            *(f"            sum_{p} += params[row + {j}] * value" for j, p in enumerate(of)),
        ] if of else []  # fmt: skip

    def lines(self) -> list[str]:
        """The body of the function."""
        n, H, program = self.n, self.H, forward_program(self.cell)
        units = f"    for u in range({H}):"
        lines = [f"    {self.place(name)} = real(0.0)" for name in program.row.numbers]
        lines += ["    # z = W_ih x + b, and W_hh h of the gates that multiply the first state.", units] * bool(n.P)
        lines += [f"        sum_{p} = params[at + u * {n.P} + {p}]" for p in range(n.P)]
        lines += self.multiply(range(n.G), H * n.P, self.I, "real(x[k])")
        for operand, fed, weights in self.products:
            lines += self.multiply(fed, weights, H, "state[first + k]") if not operand else []
        lines += [f"        z[u * {n.P} + {p}] = sum_{p}" for p in range(n.P)]
        for stage, function in zip(program.stages, forward_functions(self.cell, False, "cell"), strict=True):
            for link in stage.links:
                if link.kind != "product":
                    lines += self._over_units(link)
                elif link.operand:
                    lines += self._product(link)
            if function.results:
                results = "".join(f"to_{result}, " for result in function.results)
                given = ", ".join(map(self.place, function.arguments))
                lines += [units, f"        {results}= {function.name}({given})"]
                lines += [f"        {self.place(name.removeprefix('new_'))} = to_{name}" for name in function.results]
        return lines

    def _product(self, link: Step) -> list[str]:
        lines = []
        for _, fed, weights in self.products:
            if self.cell.preactivations[fed[0]] in link.feeds:
                lines += [f"    # z += R {link.operand}.", f"    for u in range({self.H}):"]
                lines += [f"        sum_{p} = z[u * {self.n.P} + {p}]" for p in fed]
                lines += self.multiply(fed, weights, self.H, self.place(link.operand, "k"))
                lines += [f"        z[u * {self.n.P} + {p}] = sum_{p}" for p in fed]
        return lines

    def _over_units(self, link: Step) -> list[str]:
        total, own = self.place(link.feeds[0]), self.place(link.operand)
        if link.kind == "maximum":
            start, more = self.place(link.operand, "0"), f"maximum({total}, {own})"
        else:
            start, more = "real(0.0)", f"{total} + {own}"
        lines = [f"    {total} = {start}", f"    for u in range({self.H}):", f"        {total} = {more}"]
        return lines + [f"    {total} = {total} / real({self.H})"] * (link.kind == "mean")


def _layer_source(cell: Cell, name: str, I: int, H: int, L: int) -> str:
    """The function of a layer."""
    head = f"def {name}(params, at, x, state, first, z{', work' * bool(_planes(cell))}):"
    return "\n".join(["@inlined", head, *_Layer(cell, I, H, L).lines(), ""])
