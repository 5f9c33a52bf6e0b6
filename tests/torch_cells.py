"""Cells of nblstm's language on whole tensors of torch's, so that autograd gives their gradients: an oracle.

The source of a cell is executed in `NAMESPACE`, where functions are torch's; a network is a loop over time. Arguments
of the equations are (B, H). Nothing of nblstm is imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import NamedTuple

import torch

Tensor = torch.Tensor
Parameters = dict[str, Tensor]


class Declared(NamedTuple):
    """A cell as it was declared."""

    gates: list[str]
    states: list[str]
    split: list[str]
    called: list[str]
    input_only: list[str]
    recurrent_only: list[str]
    vectors: list[str]
    scalars: list[str]
    signals: list[str]
    output: str
    initial: dict[str, float]
    matrix: Callable
    x: bool
    step: Callable


def _whole(parameters: Parameters, suffix: str) -> Tensor:
    return parameters[f"weight_hh{suffix}"]


def cell(
    gates, states, split="", called="", input_only="", recurrent_only="", vectors="", scalars="", signals="",
    output=None, initial=None, matrix=_whole,
):  # fmt: skip
    """The decorator."""

    def decorate(step) -> Declared:
        names = [text.split() for text in (gates, states, split, called, input_only, recurrent_only, vectors, scalars)]
        x = "x" in inspect.signature(step).parameters
        return Declared(*names, signals.split(), output or names[1][0], initial or {}, matrix, x, step)

    return decorate


# --- matrices ------------------------------------------------------------------------------------


def _blocks(R: Tensor) -> Tensor:
    """(G, H, H)."""
    return R.reshape(-1, R.shape[1], R.shape[1])


def antisymmetric(gamma: float):
    """W - W' - gamma I, for each gate (Chang et al. 2019)."""

    def transformed(parameters, suffix):
        W = _blocks(parameters[f"weight_hh{suffix}"])
        return (W - W.transpose(1, 2) - gamma * torch.eye(W.shape[1], dtype=W.dtype)).reshape(-1, W.shape[1])

    return transformed


def heads(n: int):
    """Block-diagonal: units of a head see that head alone; rows (G H, H / n)."""

    def transformed(parameters, suffix):
        W = parameters[f"weight_hh{suffix}"]
        H = n * W.shape[1]
        blocks = W.reshape(-1, n, H // n, H // n)
        return torch.stack([torch.block_diag(*gate) for gate in blocks]).reshape(-1, H)

    return transformed


def low_rank(rank: int):
    """U V for each gate (Kusupati et al. 2018); rows U (G H, rank) and V (G rank, H)."""

    def transformed(parameters, suffix):
        U, V = parameters[f"weight_hh{suffix}"], parameters[f"weight_hh_right{suffix}"]
        H = V.shape[1]
        return (U.reshape(-1, H, rank) @ V.reshape(-1, rank, H)).reshape(-1, H)

    return transformed


# --- functions -----------------------------------------------------------------------------------


def _tensor(value) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)


def _of_tensors(function):
    return lambda *values, **options: function(*map(_tensor, values), **options)


def layer_norm(z, gain=1.0, bias=0.0, epsilon=1e-5):
    """gain (z - mean) / sqrt(variance + epsilon) + bias, over units (Ba et al. 2016)."""
    centered = z - z.mean(-1, keepdim=True)
    return gain * centered / torch.sqrt((centered * centered).mean(-1, keepdim=True) + epsilon) + bias


F = torch.nn.functional
#: `hard_sigmoid` by its formula: the gradient of torch's own multiplies by a sixth of float32.
FUNCTIONS = {
    name: _of_tensors(function)
    for name, function in {
        "abs": torch.abs, "cos": torch.cos, "elu": F.elu, "erf": torch.erf, "exp": torch.exp, "exp2": torch.exp2,
        "gelu": F.gelu, "hard_sigmoid": lambda z: torch.clamp(z / 6 + 0.5, 0, 1), "hard_tanh": F.hardtanh,
        "leaky_relu": F.leaky_relu,
        "log": torch.log, "log1p": torch.log1p, "log2": torch.log2, "maximum": torch.maximum,
        "minimum": torch.minimum, "relu": F.relu, "selu": F.selu, "sigmoid": torch.sigmoid, "sin": torch.sin,
        "softplus": lambda z: torch.logaddexp(z, torch.zeros_like(z)), "softsign": F.softsign, "sqrt": torch.sqrt,
        "swish": F.silu, "tanh": torch.tanh, "where": lambda condition, a, b: torch.where(condition != 0, a, b),
        "sign": lambda z: torch.sign(z).detach(), "stop_gradient": lambda z: z.detach(),
        "round": lambda z: z + (torch.round(z) - z).detach(), "layer_norm": layer_norm,
        "mean": lambda z: z.mean(-1, keepdim=True).expand(z.shape),
        "sum": lambda z: z.sum(-1, keepdim=True).expand(z.shape), "softmax": lambda z: torch.softmax(z, -1),
        "clip": lambda z, low, high: torch.minimum(torch.maximum(z, low), high),
    }.items()
}  # fmt: skip

#: In inference noise is its mean.
NOISE = SimpleNamespace(bernoulli=lambda p, per="step": p, normal=lambda std, per="step": 0.0)

NAMESPACE = {
    **FUNCTIONS, "cell": cell, "noise": NOISE,
    "cells": SimpleNamespace(antisymmetric=antisymmetric, heads=heads, low_rank=low_rank),
}  # fmt: skip

# --- networks ------------------------------------------------------------------------------------


def forward(
    declared: Declared, parameters: Parameters, x: Tensor, states: Sequence[Tensor], signals: dict[str, Tensor],
    lengths: Sequence[int], num_layers: int, bidirectional: bool,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """Outputs (T, B, D H), 0 behind each sequence's end, and of each state the final values (L D, B, H)."""
    steps, finals, y = torch.as_tensor(lengths), [], x
    with _float64():
        for layer in range(num_layers):
            outputs = []
            for suffix in [f"_l{layer}", f"_l{layer}_reverse"][: 1 + bidirectional]:
                start = [state[len(finals)] for state in states]
                output, final = _one_direction(declared, parameters, suffix, y, start, signals, steps)
                outputs.append(output)
                finals.append(final)
            y = torch.cat(outputs, -1)
    return y, [torch.stack(state) for state in zip(*finals, strict=True)]


@contextmanager
def _float64():
    """A comparison times a number of Python's is of torch's default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _rows(parameters: Parameters, name: str, suffix: str, gates: list[str], H: int) -> dict[str, Tensor]:
    """A parameter's block of H rows for each gate."""
    made = parameters.get(name + suffix)
    return {} if made is None else dict(zip(gates, made.split(H), strict=True))


def _one_direction(declared, parameters, suffix, x, states, signals, steps):
    """One layer in one direction: the loop over time."""
    (T, B), H = x.shape[:2], states[0].shape[-1]
    fed = [gate for gate in declared.gates if gate not in declared.recurrent_only]
    recurring = [gate for gate in declared.gates if gate not in declared.input_only]
    W, b_ih = (_rows(parameters, name, suffix, fed, H) for name in ("weight_ih", "bias_ih"))
    b_hh = _rows(parameters, "bias_hh", suffix, recurring, H)
    R = dict(zip(recurring, declared.matrix(parameters, suffix).split(H), strict=True)) if recurring else {}
    learned = [parameters[name + suffix].expand(B, H) for name in (*declared.vectors, *declared.scalars)]
    from_input = {gate: x @ W[gate].T + b_ih.get(gate, 0.0) for gate in fed}
    outputs: list[Tensor] = [torch.empty(0)] * T
    for t in reversed(range(T)) if suffix.endswith("_reverse") else range(T):

        def product(gate, operand):
            operand = _tensor(operand).expand(B, H)
            return operand @ R[gate].T + b_hh.get(gate, 0.0)

        arguments: list = []
        for gate in declared.gates:
            a = from_input[gate][t] if gate in fed else 0.0
            apart, called = gate in declared.split, gate in declared.called
            arguments += [a] if apart else []
            if gate not in recurring:
                arguments.append(a)
            elif called:
                arguments.append(lambda v, gate=gate, a=a, apart=apart: product(gate, v) + (0.0 if apart else a))
            else:
                arguments.append(product(gate, states[0]) + (0.0 if apart else a))
        now = [signals[name][t] for name in declared.signals]
        now = [(signal[:, None] if signal.ndim == 1 else signal).expand(B, H) for signal in now]
        stepped = declared.step(*arguments, *states, *([x[t]] if declared.x else []), *now, *learned)
        stepped = stepped if isinstance(stepped, tuple) else (stepped,)
        inside = (t < steps)[:, None]
        states = [torch.where(inside, _tensor(new), old) for new, old in zip(stepped, states, strict=True)]
        outputs[t] = torch.where(inside, states[declared.states.index(declared.output)], 0.0)
    return torch.stack(outputs), states
