"""Checks of what a module of torch is given: one sentence for what does not fit, before any work is done."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from nblstm.torch.tensors import COMPUTED


def converted(module: Any, x: Tensor, hx: Any, signals: list[Tensor], tensors: list[Tensor]):
    """Input, states, signals and parameters in the dtype that is computed in, and the dtype of the results."""
    own = tensors[0].dtype
    if own not in COMPUTED:
        raise TypeError(f"the parameters are {own}; have them in one of {', '.join(map(str, COMPUTED))}")
    computed = COMPUTED[own]
    if hx is None:
        states = []
    elif module._bare_state:
        states = [hx]
    else:
        names = module._network.cell.states
        if not isinstance(hx, (tuple, list)) or len(hx) != len(names):  # a union of types is too much for dynamo
            came = f"a {type(hx).__name__}" + (f" of {len(hx)}" if isinstance(hx, (tuple, list)) else "")
            raise ValueError(f"hx is {came}; give a tuple of {len(names)} tensors ({', '.join(names)})")
        states = list(hx)
    kept = computed if (autocast := torch.is_autocast_enabled("cpu")) else own
    if not isinstance(x, Tensor):
        raise TypeError(f"input is {type(x).__name__}; give a tensor of torch, or use nblstm.nn")
    for name, value in (("input", x), *[("hx", state) for state in states]):
        if not isinstance(value, Tensor):
            what = "a tensor" if module._bare_state else f"tensors ({', '.join(module._network.cell.states)})"
            raise TypeError(f"{name} has a {type(value).__name__} where a state is; give {what}")
        if value.dtype is not own and not (autocast and value.dtype in COMPUTED):
            raise TypeError(f"{name} is {value.dtype}, and the parameters are {own}; convert one with .to()")
    if own is not computed:
        tensors = [tensor.to(computed) for tensor in tensors]
    if x.dtype is not computed:
        x = x.to(computed)
    states = [state if state.dtype is computed else state.to(computed) for state in states]
    signals = [signal if signal.dtype is computed else signal.to(computed) for signal in signals]
    return x, states, signals, tensors, kept


def check_input(module: Any, x: Tensor, first: Tensor) -> None:
    """Check an input, and that it is on the CPU, as the first parameter is."""
    if x.layout is not torch.strided or x.is_nested:
        raise TypeError("input is a sparse or nested tensor; give a dense one, of sequences with lengths=")
    if x.dim() not in (2, 3) or x.shape[-1] != module.input_size:
        order = "(B, T, I)" if module.batch_first else "(T, B, I)"
        raise ValueError(
            f"input has shape {tuple(x.shape)}; give {order} with I = {module.input_size}, (T, I) for one sequence, "
            "or a PackedSequence of such rows"
        )
    if not (x.is_cpu and first.is_cpu) and not (x.is_meta and first.is_meta):
        raise RuntimeError(
            f"input is on {x.device} and {module._names[0]} on {first.device}, and nblstm.torch computes on the CPU; "
            "move model and input there, or use nblstm.torch.reference(module)"
        )


def signals_of(module: Any, signals: Any, x: Tensor, packed: PackedSequence | None) -> list[Tensor]:
    """The signals of a module's cell in their order; of packed sequences the rows."""
    names, H = module._network.cell.signals, module.hidden_size
    given = {} if signals is None else signals
    if not isinstance(given, dict) or set(given) != set(names):
        came = ", ".join(map(repr, given)) if isinstance(given, dict) else type(given).__name__
        wanted = f"a dict of tensors for {', '.join(map(repr, names))}" if names else "none, as the cell has none"
        raise ValueError(f"{f'signals has {came}' if came else 'no signals are given'}; give {wanted}")
    steps = tuple(x.shape[:-1])
    meaning = "N" if packed is not None else "T" if len(steps) == 1 else "B, T" if module.batch_first else "T, B"
    found = []
    for name in names:
        value = given[name]
        if isinstance(value, PackedSequence):
            if packed is None or not torch.equal(value.batch_sizes, packed.batch_sizes):
                raise ValueError(f"signal {name!r} is packed, and input not with the same lengths; give both alike")
            value = value.data
        if not isinstance(value, Tensor) or value.is_complex():
            raise TypeError(f"signal {name!r} is {getattr(value, 'dtype', type(value).__name__)}; give a real tensor")
        if tuple(value.shape) not in (steps, (*steps, H)):
            raise ValueError(
                f"signal {name!r} has shape {tuple(value.shape)}; give ({meaning}), {steps}, or ({meaning}, H), "
                f"{(*steps, H)}"
            )
        if value.device != x.device:
            raise RuntimeError(f"signal {name!r} is on {value.device} and input on {x.device}; move one to the other")
        found.append(value)
    return found


def check_lengths(lengths: Any) -> None:
    """Check the dtype and device of lengths in a tensor, whoever computes."""
    if isinstance(lengths, Tensor) and (lengths.is_floating_point() or lengths.dtype is torch.bool or lengths.is_meta):
        raise TypeError(f"lengths are {lengths.dtype} on {lengths.device}; give whole numbers on the CPU")


def resets_of(resets: Any, x: Tensor) -> Tensor:
    """Flags of steps as a tensor, for an input; their shape is that of ``x`` without its features."""
    flags = torch.as_tensor(resets)
    if flags.is_floating_point() or flags.is_complex() or flags.device != x.device:
        raise TypeError(f"resets are {flags.dtype} on {flags.device}; give bools on {x.device}")
    if flags.shape != x.shape[:-1]:
        raise ValueError(f"resets have shape {tuple(flags.shape)}; give {tuple(x.shape[:-1])}, that of input")
    return flags.bool()


def check_states(module: Any, x: Tensor, states: list[Tensor]) -> None:
    """Check shape and device of initial states."""
    rows: tuple[int, ...] = (module.num_layers * (1 + module.bidirectional),)
    if x.dim() == 3:
        rows = (rows[0], x.shape[0 if module.batch_first else 1])
    for (name, size), state in zip(module._state_sizes.items(), states, strict=True):
        shape = (*rows, size)
        if state.shape != shape:
            features = "H" if size == module.hidden_size else "P"
            meaning = f"(num_layers * directions, {'B, ' * (x.dim() == 3)}{features})"
            raise ValueError(f"hx {name!r} has shape {tuple(state.shape)}; it needs {tuple(shape)}, {meaning}")
        if state.device != x.device:
            raise RuntimeError(f"hx {name!r} is on {state.device} and input on {x.device}; move one to the other")
