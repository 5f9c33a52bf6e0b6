"""A module's equations as operations of torch: the loop over time in Python, for what kernels can't do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from nblstm.buffers.layout import suffix
from nblstm.cells.cell import Cell
from nblstm.cells.recurrent_matrix import antisymmetric, dropconnect, heads
from nblstm.symbolic.graph import Value, topological
from nblstm.symbolic.recorder import Noise
from nblstm.torch.checks import resets_of, signals_of
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
    "drawn": lambda u, p: (u < p).to(u.dtype),
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


#: Results over all units of a sequence. A maximum is a constant for its gradient.
OVER_UNITS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda x: x.sum(-1, keepdim=True),
    "mean": lambda x: x.mean(-1, keepdim=True),
    "maximum": lambda x: x.detach().amax(-1, keepdim=True),
}


def _antisymmetric(matrix: antisymmetric, parameters: dict[str, Tensor], G: int, H: int) -> Tensor:
    W = parameters["weight_hh"].reshape(G, H, H)
    return W - W.transpose(1, 2) - matrix.gamma * torch.eye(H, dtype=W.dtype, device=W.device)


def _heads(matrix: heads, parameters: dict[str, Tensor], G: int, H: int) -> Tensor:
    blocks = parameters["weight_hh"].reshape(G, matrix.count, H // matrix.count, -1)
    return torch.stack([torch.block_diag(*gate) for gate in blocks])


#: Recurrent weights (G, H, H) of parameters as `RecurrentMatrix.weights`, where that makes arrays of NumPy's own.
MATRICES: dict[type, Callable[..., Any]] = {antisymmetric: _antisymmetric, heads: _heads}


@dataclass
class _Layer:
    """One direction of a layer: its parameters, and what each step is given.

    Attributes
    ----------
    matrices : dict of str to Tensor
        Of each gate that the recurrence feeds what multiplies the link's operand.
    biases : dict of str to Tensor
        Those of the recurrence.
    from_input : dict of str to Tensor
        ``W x + b_ih`` (T, B, H) of each gate that the input feeds.
    shared : dict of str to Tensor
        Vectors and scalars, and noise that is the same in all steps of a sequence.
    noise : list of Noise
        That noise.
    given : dict of str to Tensor
        ``x`` and the signals, (T, B, H) or (T, B, 1).
    """

    matrices: dict[str, Tensor]
    biases: dict[str, Tensor]
    from_input: dict[str, Tensor]
    shared: dict[str, Tensor]
    noise: list[Noise]
    given: dict[str, Tensor]


class Reference(Module):
    """The network of a module of `nblstm.torch`, computed by torch, step by step: slow, and everywhere.

    It is for second derivatives, transforms of `torch.func`, tensors on any device, and comparisons. Called as the
    module itself; made by `reference`, whose parameters it shares. In training, torch draws dropout, noise and
    matrices, so numbers are others than the kernels'.
    """

    def __init__(self, module: Recurrent):
        super().__init__()
        self.module = module

    def forward(
        self, input: Tensor | PackedSequence, hx: Any = None, lengths: Any = None, resets: Any = None, *,
        signals: dict[str, Any] | None = None,
    ):  # fmt: skip
        """Run all steps; arguments and results as of the module."""
        module = self.module
        packed = input if isinstance(input, PackedSequence) else None
        if packed is None and not isinstance(input, Tensor):
            raise TypeError(f"input is {type(input).__name__}; give a tensor of torch, or a PackedSequence")
        batched = packed is not None or input.dim() == 3
        steps = signals_of(module, signals, input if packed is None else packed.data, packed)
        if packed is not None:
            x, lengths = pad_packed_sequence(packed)
            order = packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
            steps = [pad_packed_sequence(PackedSequence(signal, *order))[0] for signal in steps]
        elif not batched:
            x, steps = input.unsqueeze(1), [signal.unsqueeze(1) for signal in steps]
        elif module.batch_first:
            x, steps = input.transpose(0, 1), [signal.transpose(0, 1) for signal in steps]
        else:
            x = input
        # (T, B, 1) or (T, B, H)
        steps = [(signal.unsqueeze(-1) if signal.dim() == 2 else signal).to(x.dtype) for signal in steps]
        given = dict(zip(module._network.cell.signals, steps, strict=True))
        states = self._initial(x, hx, batched)
        runs = starts = None
        if resets is not None:
            if packed is not None:
                raise ValueError("resets are given beside a PackedSequence; give a padded tensor with lengths")
            starts = resets_of(resets, input)
            starts = starts.unsqueeze(1) if not batched else starts.transpose(0, 1) if module.batch_first else starts
        if lengths is not None:
            end = torch.as_tensor(lengths, device=x.device)
            runs = torch.arange(x.shape[0], device=x.device)[:, None] < end
            starts = None if starts is None else starts & runs
        final = []
        D = 1 + module.bidirectional
        for layer in range(module.num_layers):
            if layer and module.dropout and module.training:
                x = dropout(x, module.dropout, True)
            ways = []
            for direction in range(D):
                own = [state[layer * D + direction] for state in states]
                y, last = self._direction(x, given, own, layer, direction, runs, starts)
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
        """States before the first step, each (num_layers D, B, H), or of P features."""
        module, network = self.module, self.module._network
        rows = module.num_layers * (1 + module.bidirectional), x.shape[1]
        if hx is None:
            values = zip(network.cell.initial, network.state_sizes, strict=True)
            return [x.new_full((*rows, size), value) for value, size in values]
        states = [hx] if module._bare_state else list(hx)
        return states if batched else [state.unsqueeze(1) for state in states]

    def _direction(
        self, x: Tensor, signals, states: list[Tensor], layer: int, direction: int, runs: Tensor | None,
        starts: Tensor | None,
    ):  # fmt: skip
        """One direction of one layer: its outputs (T, B, H), and its states after the last step."""
        network = self.module._network
        cell = network.cell if self.module.training else network.cell.without_noise
        own = self._layer(cell, x, signals, suffix(layer, direction))
        output, T, ys = cell.states.index(cell.output), len(x), [x.new_zeros(())] * len(x)
        for t in reversed(range(T)) if direction else range(T):
            first = t + direction  # who reads backwards begins anew behind a reset, before it reads the step t
            if starts is not None and first < T:
                begins = starts[first][:, None]
                states = [
                    torch.where(begins, before.new_full((), value), before)
                    for before, value in zip(states, cell.initial, strict=True)
                ]
                for noise in own.noise:
                    fresh = self._drawn(noise, x, x.shape[1])
                    own.shared[noise.name] = torch.where(begins, fresh, own.shared[noise.name])
            new = self._step(cell, own, t, states)
            y = new[output]
            if runs is not None:
                valid = runs[t][:, None]
                y = torch.where(valid, y, y.new_zeros(()))
                new = [torch.where(valid, after, before) for after, before in zip(new, states, strict=True)]
            states, ys[t] = new, y
        y = torch.stack(ys) if ys else x.new_zeros(0, x.shape[1], network.output_size)
        return y, states

    def _layer(self, cell: Cell, x: Tensor, signals: dict[str, Tensor], end: str) -> _Layer:
        """Prepare the steps of one direction of a layer."""
        module, H = self.module, self.module.hidden_size

        def parameter(name: str) -> Tensor | None:
            return getattr(module, name + end, None)

        def by_gate(gates: tuple[str, ...], tensor: Tensor | None) -> dict[str, Tensor]:
            return {} if tensor is None else dict(zip(gates, tensor.chunk(len(gates)), strict=True))

        from_input = {}
        if cell.input_gates:
            W, b = by_gate(cell.input_gates, parameter("weight_ih")), by_gate(cell.input_gates, parameter("bias_ih"))
            from_input = {gate: x @ own.T + b.get(gate, 0) for gate, own in W.items()}
        projecting = cell.projection if module.proj_size else ()
        recurrent = tuple(gate for gate in cell.recurrent_gates if gate not in projecting)
        if cell.matrix is None:
            matrices = by_gate(recurrent, parameter("weight_hh"))
        else:
            own = {name: parameter(name) for name in cell.matrix.shapes(len(recurrent), H)}
            weights = MATRICES.get(type(cell.matrix), type(cell.matrix).weights)
            made = weights(cell.matrix, own, len(recurrent), H)
            if isinstance(cell.matrix, dropconnect):
                made = dropout(made, cell.matrix.p, module.training)
            matrices = dict(zip(recurrent, made, strict=True))
        matrices |= {gate: getattr(module, f"weight_hr{end}") for gate in projecting}
        shared = {name: getattr(module, name + end) for name in (*cell.vectors, *cell.scalars)}
        lasting = [noise for noise in cell.graph.noise if noise.per == "sequence"]
        shared |= {noise.name: self._drawn(noise, x, x.shape[1]) for noise in lasting}
        given = signals | ({"x": x} if cell.takes_x else {})
        return _Layer(matrices, by_gate(recurrent, parameter("bias_hh")), from_input, shared, lasting, given)

    def _drawn(self, noise: Noise, like: Tensor, B: int) -> Tensor:
        """Random numbers (B, H), from torch's generator."""
        own = like.new_empty(B, self.module.hidden_size)
        if noise.kind == "bernoulli":
            return own.bernoulli_(noise.p)
        return own.normal_() if noise.kind == "normal" else own.uniform_()

    def _step(self, cell: Cell, own: _Layer, t: int, states: list[Tensor]) -> list[Tensor]:
        """The states after one step."""
        graph, B, H = cell.graph, len(states[0]), self.module.hidden_size
        gates = {half: gate for gate in cell.split for half in (f"{gate}_x", f"{gate}_h")}
        values = dict(zip(cell.states, states, strict=True)) | own.shared
        values |= {name: steps[t] for name, steps in own.given.items()}
        values |= {f"{gate}_x": own.from_input[gate][t] for gate in cell.split}
        values |= {gate: own.from_input[gate][t] for gate in cell.input_only}
        values |= {noise.name: self._drawn(noise, states[0], B) for noise in graph.noise if noise.per == "step"}
        known = {Value("input", name): value for name, value in values.items()}
        leaves = [Value("input", noise.name) for noise in graph.noise]
        waiting = list(graph.links)
        while waiting:
            link = next(each for each in waiting if _computable(each.operand, known))
            waiting = [each for each in waiting if each is not link]
            width, at_hand = states[0].shape[1], known
            if width < H and link.kind == "product" and not {*link.targets} <= {*cell.projection}:
                # Projections recur, with noise of their features.
                at_hand = known | {leaf: known[leaf][:, :width] for leaf in leaves}
            (operand,) = evaluated([link.operand], at_hand, states[0])
            if link.kind != "product":
                known[Value("input", link.targets[0])] = OVER_UNITS[link.kind](operand.expand(B, H))
                continue
            for name in link.targets:
                gate = gates.get(name, name)
                z = operand.expand(B, own.matrices[gate].shape[1]) @ own.matrices[gate].T
                if gate in own.biases:
                    z = z + own.biases[gate]
                if name == gate and gate in own.from_input:
                    z = own.from_input[gate][t] + z
                known[Value("input", name)] = z
        # A state that is a constant, or one number for all units, still has a shape.
        return [
            new.expand_as(before) for new, before in zip(evaluated(graph.states, known, states[0]), states, strict=True)
        ]


def _computable(value: Value, known: dict[Value, Tensor]) -> bool:
    """Say if all inputs of a value are known."""
    return all(node in known for node in topological([value], known.keys()) if node.op == "input")


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
