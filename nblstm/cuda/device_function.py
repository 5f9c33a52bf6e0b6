"""A step of a network as a device function of numba-cuda, for kernels that users write: one thread for each network.

All threads read the same weights, so each load serves a warp; pre-activations and states are in a thread's own memory.

The parameters are one array: the states before the first step (S, L, H), then for each layer, with the G gates that
the input feeds, the C second ones and the R others that the recurrence feeds: biases (H, P), W_ih (H, I, G), W_hh of
the first product (H, H, R) and of the second (H, H, C), vectors (H, V).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numba import config, types

from nblstm.buffers.layout import add_biases, input_order, recurrent_order, suffix
from nblstm.cells.cell import Cell
from nblstm.cells.source import Function, forward_functions, inlined
from nblstm.cuda.kernels.cell_functions import CellSizes
from nblstm.symbolic.emit import functions_from, symbol
from nblstm.symbolic.graph import NUMERIC

#: Units of a layer at most: a thread's weights are (G H, I + H) numbers that it reads in each step.
LARGEST = 32


def device_function(network: Any, flat: np.ndarray) -> tuple[Any, np.ndarray]:
    """``step`` and ``params`` of a network with these parameters; see `nblstm.nn.Recurrent.device_function`."""
    H, network = network.hidden_size, network.without_noise
    network.cell.check_known("device_function()", ("called gates",))
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
    step = _step(network.cell, network.input_size, H, network.num_layers, network.dtype)
    return step, _parameters(network, flat)


def _parameters(network: Any, flat: np.ndarray) -> np.ndarray:
    """The array of parameters: copies, in the order of this module's docstring."""
    cell, gates, H = network.cell, network.gates, network.hidden_size
    n, views = CellSizes.of(cell), network.layout.views(flat)
    parts = [network.initial_states(flat)]
    for layer in range(network.num_layers):
        end = suffix(layer, 0)
        bias = np.empty((n.P, H), network.dtype)
        add_biases(cell, gates, views.get(f"bias_ih{end}"), views.get(f"bias_hh{end}"), bias)
        w_x = views[f"weight_ih{end}"].reshape(n.G, H, -1)[input_order(cell, gates)]
        w_h = views[f"weight_hh{end}"].reshape(n.G, H, H)[recurrent_order(cell, gates)]
        vectors = np.array([views[f"{name}{end}"] for name in cell.vectors], network.dtype).reshape(n.V, H)
        parts += [bias.T, *(w.transpose(1, 2, 0) for w in (w_x, w_h[n.C :], w_h[: n.C])), vectors.T]
    return np.concatenate([part.ravel() for part in parts])


@cache
def _step(cell: Cell, I: int, H: int, L: int, dtype: str):
    """The device function ``step(params, x, state) -> y``; the same for all parameters."""
    from numba import cuda

    if config.ENABLE_CUDASIM:
        scope: dict[str, Any] = {**NUMERIC, "inlined": lambda function: function}
    else:
        from nblstm.cuda.kernels.primitives import Primitives

        scope = {**Primitives(dtype).functions, "inlined": Primitives.inlined}
    scope |= {"cuda": cuda, "real": getattr(types, dtype)}
    functions = functions_from(step_source(cell, I, H, L, dtype), f"device function of {symbol(cell.name)}", scope)
    step = functions["step"]
    step.state_size = len(cell.states) * L * H
    return step


def _functions(cell: Cell) -> list[Function]:
    """The stages of the cell: ``cell``, with called gates ``cell_1`` before it."""
    return forward_functions(cell, False, "cell", False)


def step_source(cell: Cell, I: int, H: int, L: int, dtype: str) -> str:
    """Python source of ``step``, with a function for each kind of layer: the first has I inputs, others H."""
    n = CellSizes.of(cell)
    states = n.S * L * H
    rest = H * (n.P + H * (n.P - n.split) + n.V)  # of a layer's parameters but W_ih
    operand = f"    operand = cuda.local.array({H}, real)\n" if n.C else ""
    calls, at = "", states
    for layer in range(L):
        below = n.output * L * H + (layer - 1) * H
        x = f"state[{below} : {below + H}]" if layer else "x"
        name, given = ("layer" if layer else "first_layer"), ("z, operand" if n.C else "z")
        calls += f"    {name}(params, {at}, {x}, state, {layer * H}, {given})\n"
        at += rest + H * n.G * (H if layer else I)
    last = n.output * L * H + (L - 1) * H
    step = (
        "@cuda.jit(device=True, inline='always')\ndef step(params, x, state):\n"
        f"    z = cuda.local.array({n.P * H}, real)\n{operand}{calls}    return state[{last} : {last + H}]\n"
    )
    layers = [_layer_source(cell, "first_layer", I, H, L)]
    if L > 1:
        layers.append(_layer_source(cell, "layer", H, H, L))
    head = f"# Generated by nblstm from the cell {cell.name!r}, for {dtype}: one thread steps {L} layers of {H} units."
    return "\n\n".join([head, *inlined(function.text for function in _functions(cell)), *layers, step])


def _layer_source(cell: Cell, name: str, I: int, H: int, L: int) -> str:
    """A layer's step: its parameters begin at ``at``, its states at ``first`` of each plane of ``state``."""
    n = CellSizes.of(cell)
    R = n.P - n.split - n.C
    w_x = H * n.P
    w_h = w_x + H * I * n.G
    w_second = w_h + H * H * R
    vectors = w_second + H * H * n.C
    sums = [*range(n.P)]
    fed, first, second = sums[: n.G], sums[n.split + n.C :], sums[n.split : n.split + n.C]
    places = {name: f"z[u * {n.P} + {k}]" for k, name in enumerate(cell.preactivations)}
    places |= {name: f"state[{k * L * H} + first + u]" for k, name in enumerate(cell.states)}
    places |= {name: f"params[at + {vectors} + u * {n.V} + {k}]" for k, name in enumerate(cell.vectors)}

    def product(of: list[int], weights: int, width: int, value: str) -> Iterator[str]:
        yield f"        for k in range({width}):"
        yield f"            value, row = {value}, at + {weights} + (u * {width} + k) * {len(of)}"
        yield from (f"            sum_{p} += params[row + {j}] * value" for j, p in enumerate(of))

    lines = [
        "@inlined",
        f"def {name}(params, at, x, state, first, z{', operand' * bool(n.C)}):",
        "    # z = W_ih x + W_hh h + b, where the second product does not come later.",
        f"    for u in range({H}):",
        *(f"        sum_{p} = params[at + u * {n.P} + {p}]" for p in sums),
        *product(fed, w_x, I, "real(x[k])"),
        *(product(first, w_h, H, "state[first + k]") if first else ()),
        *(f"        z[u * {n.P} + {p}] = sum_{p}" for p in sums),
    ]
    if n.C:
        given = ", ".join(places[name] for name in _functions(cell)[0].arguments)
        lines += [
            "    # z += R operand.",
            f"    for u in range({H}):",
            f"        operand[u] = cell_1({given})[0]",
            f"    for u in range({H}):",
            *(f"        sum_{p} = z[u * {n.P} + {p}]" for p in second),
            *product(second, w_second, H, "operand[k]"),
            *(f"        z[u * {n.P} + {p}] = sum_{p}" for p in second),
        ]
    new = ", ".join(f"new_{name}" for name in cell.states)
    lines += [
        "    # states = cell(z, states).",
        f"    for u in range({H}):",
        f"        {new}, = cell({', '.join(places[name] for name in _functions(cell)[-1].arguments)})",
        *(f"        {places[name]} = new_{name}" for name in cell.states),
    ]
    return "\n".join(lines) + "\n"
