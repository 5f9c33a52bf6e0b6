"""Write torch.npz: what torch computes for small networks, in float64, gradients included.

Run by hand, with torch installed, where a case is added: ``python tests/golden/make_golden.py``.
The tests read the file and need no torch.

LSTM, GRU and RNN are torch's own modules; the cells that torch lacks are written out below and
differentiated by autograd, row by row and without padding. The loss is
sum(y dy) + sum(final states dstates). The arrays of a case:

    case/params/NAME, case/x, case/lengths (ragged cases), case/states/S, case/dy, case/dstates/S
    case/y, case/finals/S, case/grads/NAME, case/grads/x, case/grads/states/S

with S the name of a state, h or c. The array ``metadata`` is a JSON string: torch's version, and
under "cases" the fields of each ``Case``.

lstm_relu_hard_sigmoid_plain starts at c = 0, on relu's kink: its grads/states/c follow torch's
relu'(0) = 0, where a central difference would give the mean of both slopes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """One network and one batch. ``states`` false: they start at zero."""

    cell: str
    T: int
    B: int
    I: int
    H: int
    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    states: bool = True
    lengths: tuple[int, ...] | None = None
    scale: float = 1.0  # of the parameters, so that hard functions reach their flat parts


SHAPES = {
    "plain": Case("", T=5, B=3, I=3, H=17, states=False),
    "no_bias": Case("", T=3, B=2, I=5, H=3, bias=False),
    "one_step": Case("", T=1, B=2, I=4, H=17),
    "one_row": Case("", T=7, B=1, I=3, H=3),
    "one_unit": Case("", T=4, B=3, I=1, H=1),
    "deep": Case("", T=4, B=2, I=2, H=3, num_layers=2, bidirectional=True),
    "ragged": Case("", T=6, B=4, I=3, H=17, lengths=(2, 6, 1, 4)),
    "ragged_deep": Case("", T=5, B=5, I=2, H=3, num_layers=2, bidirectional=True, lengths=(3, 1, 5, 5, 2)),
    "wide": Case("", T=3, B=2, I=5, H=100),
}
TORCH_CELLS = ("lstm", "gru", "rnn_tanh", "rnn_relu")
OWN_SHAPES = ("plain", "one_unit", "deep", "ragged", "ragged_deep")


# --- cells that torch lacks: (gates, *states, **vectors) -> new states ---------------------------


def lstm_peephole(gates, h, c, p_i, p_f, p_o):
    i, f, g, o = gates.chunk(4, dim=-1)
    c_new = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
    return torch.sigmoid(o + p_o * c_new) * torch.tanh(c_new), c_new


def lstm_coupled(gates, h, c):
    f, g, o = gates.chunk(3, dim=-1)
    forget = torch.sigmoid(f)
    c = forget * c + (1 - forget) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def lstm_complement(gates, h, c):
    i, f, g, o = gates.chunk(4, dim=-1)
    c = (1 - torch.sigmoid(f)) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def hard_sigmoid(x):
    # Not torch's hardsigmoid: its derivative is 1/6 rounded to float32, off by 3e-8 in float64.
    return torch.clamp(x / 6 + 0.5, 0, 1)


def lstm_relu_hard_sigmoid(gates, h, c):
    i, f, g, o = gates.chunk(4, dim=-1)
    c = hard_sigmoid(f) * c + hard_sigmoid(i) * torch.relu(g)
    return hard_sigmoid(o) * torch.relu(c), c


@dataclass(frozen=True)
class OwnCell:
    """A cell's step, its number of gates and the names of its vectors."""

    step: Callable[..., tuple[torch.Tensor, ...]]
    gates: int
    vectors: tuple[str, ...] = ()


OWN_CELLS = {
    "lstm_peephole": OwnCell(lstm_peephole, 4, ("p_i", "p_f", "p_o")),
    "lstm_coupled": OwnCell(lstm_coupled, 3),
    "lstm_complement": OwnCell(lstm_complement, 4),
    "lstm_relu_hard_sigmoid": OwnCell(lstm_relu_hard_sigmoid, 4),
}


def cases() -> dict[str, Case]:
    """Every case by its name, which begins with the cell's."""
    table = {}
    for cell in TORCH_CELLS:
        table |= {f"{cell}_{name}": replace(case, cell=cell) for name, case in SHAPES.items()}
    for cell in OWN_CELLS:
        scale = 3.0 if "hard" in cell else 1.0
        for name in OWN_SHAPES:
            table[f"{cell}_{name}"] = replace(SHAPES[name], cell=cell, scale=scale)
    return table


# --- networks ------------------------------------------------------------------------------------


def torch_module(case: Case) -> torch.nn.RNNBase:
    kind, *nonlinearity = case.cell.split("_")
    options = {"nonlinearity": nonlinearity[0]} if nonlinearity else {}
    return getattr(torch.nn, kind.upper())(
        case.I,
        case.H,
        case.num_layers,
        bias=case.bias,
        bidirectional=case.bidirectional,
        dtype=torch.float64,
        **options,
    )


def parameter_shapes(case: Case) -> dict[str, tuple[int, ...]]:
    if case.cell in TORCH_CELLS:
        return {name: tuple(p.shape) for name, p in torch_module(case).named_parameters()}
    cell, shapes = OWN_CELLS[case.cell], {}
    rows, directions = cell.gates * case.H, 1 + case.bidirectional
    for layer in range(case.num_layers):
        for suffix in (f"_l{layer}", f"_l{layer}_reverse")[:directions]:
            inputs = case.I if layer == 0 else directions * case.H
            shapes |= {"weight_ih" + suffix: (rows, inputs), "weight_hh" + suffix: (rows, case.H)}
            shapes |= {"bias_ih" + suffix: (rows,), "bias_hh" + suffix: (rows,)}
            shapes |= {vector + suffix: (case.H,) for vector in cell.vectors}
    return shapes


def torch_network(case: Case, params: Tensors, x: torch.Tensor, states: Tensors):
    """torch's module, on a PackedSequence if the case is ragged."""
    module = torch_module(case)
    inputs = x
    if case.lengths is not None:
        inputs = pack_padded_sequence(x, torch.tensor(case.lengths), enforce_sorted=False)
    initial = tuple(states.values()) if "c" in states else states["h"]
    y, final = torch.func.functional_call(module, params, (inputs, initial))
    if case.lengths is not None:
        y, _ = pad_packed_sequence(y, total_length=case.T)
    return y, final if "c" in states else (final,)


def own_network(case: Case, params: Tensors, x: torch.Tensor, states: Tensors):
    """One of OWN_CELLS over each row's own steps: no padding and no masks to go wrong."""
    rows = []
    for b, length in enumerate(case.lengths or [case.T] * case.B):
        y, finals = x[:length, b], []
        for layer in range(case.num_layers):
            outputs = []
            for direction in range(1 + case.bidirectional):
                suffix = f"_l{layer}" + direction * "_reverse"
                state = [s[len(finals), b] for s in states.values()]
                output, final = own_direction(case, params, suffix, y, state)
                outputs.append(output)
                finals.append(final)
            y = torch.cat(outputs, dim=-1)
        behind = y.new_zeros(case.T - length, y.shape[-1])
        rows.append((torch.cat([y, behind]), torch.stack(finals)))
    y = torch.stack([row[0] for row in rows], dim=1)
    finals = torch.stack([row[1] for row in rows], dim=1)  # (L D, B, S, H)
    return y, finals.unbind(dim=2)


def own_direction(case: Case, params: Tensors, suffix: str, x: torch.Tensor, state):
    cell = OWN_CELLS[case.cell]
    vectors = [params[vector + suffix] for vector in cell.vectors]
    outputs: list[torch.Tensor] = []
    for x_t in x.flip(0) if suffix.endswith("_reverse") else x:
        gates = params["weight_ih" + suffix] @ x_t + params["weight_hh" + suffix] @ state[0]
        gates = gates + params["bias_ih" + suffix] + params["bias_hh" + suffix]
        state = cell.step(gates, *state, *vectors)
        outputs.append(state[0])
    y = torch.stack(outputs)
    return y.flip(0) if suffix.endswith("_reverse") else y, torch.stack(tuple(state))


# --- the file ------------------------------------------------------------------------------------


def random(rng: np.random.Generator, shape: tuple[int, ...], bound: float) -> torch.Tensor:
    """Uniform multiples of 1/1024: the same numbers in float32, and they compress well."""
    values = np.round(rng.uniform(-bound, bound, shape) * 1024.0) / 1024.0
    return torch.tensor(values, requires_grad=True)


def arrays(case: Case, seed: int) -> dict[str, np.ndarray]:
    """All arrays of a case, under their names in the file less the case's own."""
    rng = np.random.default_rng(seed)
    directions = 1 + case.bidirectional
    bound = case.scale / case.H**0.5
    params = {name: random(rng, shape, bound) for name, shape in parameter_shapes(case).items()}
    names = "hc" if "lstm" in case.cell else "h"
    state_shape = (case.num_layers * directions, case.B, case.H)
    x = random(rng, (case.T, case.B, case.I), 2.0)
    states = {name: random(rng, state_shape, 1.0 if case.states else 0.0) for name in names}
    dy = random(rng, (case.T, case.B, directions * case.H), 1.0)
    dstates = {name: random(rng, state_shape, 1.0) for name in names}

    network = torch_network if case.cell in TORCH_CELLS else own_network
    y, final = network(case, params, x, states)
    finals = dict(zip(names, final, strict=True))
    loss = (y * dy).sum() + sum((finals[name] * dstates[name]).sum() for name in names)
    loss.backward()

    tensors = {"x": x, "dy": dy, "y": y, "grads/x": x.grad}
    tensors |= {f"params/{name}": p for name, p in params.items()}
    tensors |= {f"grads/{name}": p.grad for name, p in params.items()}
    for name in names:
        tensors[f"states/{name}"] = states[name]
        tensors[f"dstates/{name}"] = dstates[name]
        tensors[f"finals/{name}"] = finals[name]
        tensors[f"grads/states/{name}"] = states[name].grad
    out = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    return out if case.lengths is None else out | {"lengths": np.array(case.lengths)}


def main() -> None:
    """Write torch.npz beside this script."""
    torch.set_num_threads(1)
    table = cases()
    metadata = {
        "torch": torch.__version__,
        "cases": {name: asdict(case) for name, case in table.items()},
    }
    contents = {"metadata": np.array(json.dumps(metadata))}
    for name, case in table.items():
        seed = zlib.crc32(name.encode())  # by name, so that a new case leaves the others as they are
        contents |= {f"{name}/{key}": value for key, value in arrays(case, seed).items()}
    path = Path(__file__).with_name("torch.npz")
    np.savez_compressed(path, **contents)
    print(f"{path.name}: {len(table)} cases, {len(contents)} arrays, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
