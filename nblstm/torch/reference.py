"""A module's equations as operations of torch: the loop over time in Python, for what kernels can't do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from nblstm.buffers.layout import suffix
from nblstm.cells.cell import Cell
from nblstm.symbolic.graph import Value, topological
from nblstm.torch.recurrent import Recurrent

#: Operations of a graph on tensors. Of minimum, maximum and clip torch has another gradient where two arguments are
#: equal, so they are written as `where`; see `symbolic.differentiate.RULES`.
OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "where": torch.where,
    "minimum": lambda a, b: torch.where(a < b, a, b),
    "maximum": lambda a, b: torch.where(a > b, a, b),
    "clip": lambda x, low, high: torch.where(x > low, torch.where(x < high, x, high), low),
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "abs": torch.abs,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "exp2": torch.exp2,
    "log2": torch.log2,
    "sign": torch.sign,
    "round": lambda x: x + (torch.round(x) - x).nan_to_num().detach(),  # torch's gradient is 0; inf - inf is NaN
    "stop_gradient": torch.Tensor.detach,
}


def evaluated(outputs: list[Value], known: dict[Value, Tensor], like: Tensor) -> list[Tensor]:
    """The values of a graph; ``known`` has those of its inputs, and gets all others."""
    for node in topological(outputs, known.keys()):
        if node.op == "constant":
            known[node] = torch.full((), node.args[0], dtype=like.dtype, device=like.device)
        elif node not in known:
            known[node] = OPERATIONS[node.op](*[known[operand] for operand in node.args])
    return [known[output] for output in outputs]


class Reference(Module):
    """The network of a module of `nblstm.torch`, computed by torch, step by step: slow, and everywhere.

    It is for second derivatives, transforms of `torch.func`, tensors on any device, and comparisons. Called as the
    module itself; made by `reference`, whose parameters it shares.
    """

    def __init__(self, module: Recurrent):
        super().__init__()
        self.module = module

    def forward(self, input: Tensor | PackedSequence, hx: Any = None, lengths: Any = None):
        """Run all steps; arguments and results as of the module."""
        module = self.module
        packed = input if isinstance(input, PackedSequence) else None
        if packed is None and not isinstance(input, Tensor):
            raise TypeError(f"input is {type(input).__name__}; give a tensor of torch, or a PackedSequence")
        batched = packed is not None or input.dim() == 3
        if packed is not None:
            x, lengths = pad_packed_sequence(packed)
        else:
            x = input if batched else input.unsqueeze(1)
            x = x.transpose(0, 1) if module.batch_first and batched else x
        states = self._initial(x, hx, batched)
        runs = None
        if lengths is not None:
            end = torch.as_tensor(lengths, device=x.device)
            runs = torch.arange(x.shape[0], device=x.device)[:, None] < end
        final = []
        D = 1 + module.bidirectional
        for layer in range(module.num_layers):
            if layer and module.dropout and module.training:
                x = dropout(x, module.dropout, True)
            ways = []
            for direction in range(D):
                y, last = self._direction(x, [state[layer * D + direction] for state in states], layer, direction, runs)
                ways.append(y)
                final.append(last)
            x = torch.cat(ways, -1)
        if packed is not None:
            order = packed.sorted_indices
            rows, ends = (x, lengths) if order is None else (x.index_select(1, order), lengths[order.cpu()])
            data = pack_padded_sequence(rows, ends).data
            y = PackedSequence(data, packed.batch_sizes, order, packed.unsorted_indices)
        else:
            y = x.squeeze(1) if not batched else x.transpose(0, 1) if module.batch_first else x
        found = [torch.stack(each) for each in zip(*final, strict=True)]
        if not batched:
            found = [state.squeeze(1) for state in found]
        return y, found[0] if module._bare_state else tuple(found)

    def _initial(self, x: Tensor, hx: Any, batched: bool) -> list[Tensor]:
        """States before the first step, each (num_layers D, B, H)."""
        module, cell = self.module, self.module.cell
        shape = module.num_layers * (1 + module.bidirectional), x.shape[1], module.hidden_size
        if hx is None:
            return [x.new_full(shape, value) for value in cell.initial]
        states = [hx] if module._bare_state else list(hx)
        return states if batched else [state.unsqueeze(1) for state in states]

    def _direction(self, x: Tensor, states: list[Tensor], layer: int, direction: int, runs: Tensor | None):
        """One direction of one layer: its outputs (T, B, H), and its states after the last step."""
        module, cell, end = self.module, self.module.cell, suffix(layer, direction)
        weight_ih, weight_hh = (getattr(module, f"weight_{kind}{end}") for kind in ("ih", "hh"))
        zero = weight_ih.new_zeros(weight_ih.shape[0])
        bias_ih, bias_hh = (getattr(module, f"bias_{kind}{end}") if module.bias else zero for kind in ("ih", "hh"))
        vectors = {name: getattr(module, f"{name}{end}") for name in cell.vectors}
        G, output = len(cell.gates), cell.states.index(cell.output)
        from_input = (x @ weight_ih.T + bias_ih).chunk(G, -1)
        matrices, biases = weight_hh.chunk(G), bias_hh.chunk(G)
        T, ys = len(x), [x.new_zeros(())] * len(x)
        for t in reversed(range(T)) if direction else range(T):
            parts = [part[t] for part in from_input]
            new = self._step(cell, parts, matrices, biases, dict(zip(cell.states, states, strict=True)) | vectors)
            y = new[output]
            if runs is not None:
                valid = runs[t][:, None]
                y = torch.where(valid, y, y.new_zeros(()))
                new = [torch.where(valid, after, before) for after, before in zip(new, states, strict=True)]
            states, ys[t] = new, y
        y = torch.stack(ys) if ys else x.new_zeros(0, x.shape[1], module.hidden_size)
        return y, states

    @staticmethod
    def _step(cell: Cell, parts, matrices, biases, scalars: dict[str, Tensor]) -> list[Tensor]:
        """The states after one step; ``scalars`` are the states before it, and the vectors."""
        graph, h = cell.graph, scalars[cell.states[0]]
        for k, gate in enumerate(cell.gates):
            if gate in cell.split:
                scalars[f"{gate}_x"], scalars[f"{gate}_h"] = parts[k], h @ matrices[k].T + biases[k]
            elif gate not in cell.called:
                scalars[gate] = parts[k] + h @ matrices[k].T + biases[k]
        inputs = {node.args[0]: node for node in graph.inputs}
        known = {inputs[name]: value for name, value in scalars.items()}
        if graph.operands:
            (operand,) = evaluated(graph.operands, known, h)
            for k, gate in enumerate(cell.gates):
                if gate in cell.called:
                    known[inputs[gate]] = parts[k] + operand @ matrices[k].T + biases[k]
        # A state that is a constant, or one number for all units, still has a shape.
        return [new.expand_as(h) for new in evaluated(graph.states, known, h)]


def reference(module: Recurrent) -> Reference:
    """The network of a module, with the same parameters, as operations of torch; see `Reference`.

    Parameters
    ----------
    module : Recurrent
        One of `nblstm.torch`.
    """
    if not isinstance(module, Recurrent):
        raise TypeError(f"module is {type(module).__name__}; give a module of nblstm.torch")
    return Reference(module)
