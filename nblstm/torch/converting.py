"""Replacement of torch's own recurrent layers in a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import Module

from nblstm.torch.named import GRU, LSTM, RNN
from nblstm.torch.recurrent import Recurrent
from nblstm.torch.tensors import COMPUTED

_CLASSES: dict[type, type[Recurrent]] = {torch.nn.LSTM: LSTM, torch.nn.GRU: GRU, torch.nn.RNN: RNN}


@dataclass(frozen=True)
class Conversion:
    """Result of `convert`.

    Attributes
    ----------
    model : Module
        The model; another object only if the model itself was a layer that was replaced.
    replaced : list of str
        Names of the modules that nblstm computes now.
    left : dict of str to str
        Names of recurrent modules that stay torch's, and why.
    """

    model: Module
    replaced: list[str]
    left: dict[str, str]


def convert(model: Module) -> Conversion:
    """Replace `torch.nn.LSTM`, `GRU` and `RNN` in a model, wherever they are, by those of nblstm.

    The `Parameter` objects stay the same, and so do the names of the state: an optimizer that has them, and files, fit
    as before. Forward hooks go with the module. A module that is used in several places is replaced by one.

    Parameters
    ----------
    model : Module
        Changed in place.

    Returns
    -------
    Conversion
        With the model, the names of what was replaced, and why the rest was left alone.
    """
    if not isinstance(model, Module):
        raise TypeError(f"model is {type(model).__name__}; give a torch.nn.Module")
    made: dict[int, Recurrent] = {}
    replaced, left = [], {}
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if isinstance(module, torch.nn.RNNCellBase):
            left[name] = f"it is a {type(module).__name__}, one step of a loop; have an LSTM, GRU or RNN do the loop"
        if not isinstance(module, torch.nn.RNNBase):
            continue
        if id(module) not in made:
            reason = _reason(module)
            if reason is not None:
                left[name] = reason
                continue
            made[id(module)] = _replacement(module)
        replaced.append(name)
        if name:
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, made[id(module)])
        else:
            model = made[id(module)]
    return Conversion(model, replaced, left)


def _reason(module: torch.nn.RNNBase) -> str | None:
    """Why a module stays as it is; None if it need not."""
    if any(name not in module._parameters for name in _names(module)):
        return "some parameters are computed from others, as by weight_norm; convert before that"
    if type(module) not in _CLASSES:
        return f"it is a {type(module).__name__}, whose own code nblstm would not run"
    usual = vars(type(module)(1, 1, device="meta"))
    own = [*module._buffers, *module._modules, *(name for name in vars(module) if name not in usual)]
    own += [name for name in module._parameters if name not in _names(module)]
    if own:
        return f"it has {', '.join(map(repr, own))}, which an LSTM, GRU or RNN of torch has not; convert before that"
    if module.dropout == 1:
        return "its dropout is 1"
    first = next(module.parameters())
    if first.dtype not in COMPUTED or first.device.type not in ("cpu", "meta"):
        return f"its parameters are {first.dtype} on {first.device}, and nblstm.torch computes on the CPU"
    return None


def _names(module: torch.nn.RNNBase) -> list[str]:
    return [name for group in module._all_weights for name in group]


def _replacement(module: torch.nn.RNNBase) -> Recurrent:
    options = {"nonlinearity": module.nonlinearity} if isinstance(module, torch.nn.RNN) else {}
    if module.proj_size:
        options["proj_size"] = module.proj_size
    made = _CLASSES[type(module)](
        module.input_size, module.hidden_size, module.num_layers, bias=module.bias, batch_first=module.batch_first,
        dropout=module.dropout, bidirectional=module.bidirectional, device="meta", **options,
    )  # fmt: skip
    for name in _names(module):
        made.register_parameter(name, module._parameters[name])
    made.train(module.training)
    for name, hooks in vars(module).items():
        if "_hook" in name:
            setattr(made, name, hooks)
    return made
