"""Parameters that are taken to stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn import Module

from nblstm.torch.recurrent import Recurrent
from nblstm.torch.tensors import COMPUTED, Weights


@contextmanager
def frozen(model: Module) -> Iterator[Module]:
    """Take the parameters of nblstm's modules in a model to stay as they are within the ``with`` block.

    Each call packs a module's parameters, or for few rows compares them with those packed before, as torch does not
    tell whether they have changed; for a single step of many units that takes longer than the step. Here they are
    packed once. Passes for gradients pack as ever.

    Examples
    --------
    >>> import torch
    >>> import nblstm.torch
    >>> lstm = nblstm.torch.LSTM(3, 8).eval()
    >>> with nblstm.torch.frozen(lstm), torch.inference_mode():
    ...     y, state = lstm(torch.zeros(1, 1, 3))
    """
    modules = (
        [module for module in model.modules() if isinstance(module, Recurrent)] if isinstance(model, Module) else []
    )
    if not modules:
        raise ValueError(
            f"frozen() got {type(model).__name__} without modules of nblstm.torch; give a model that has some"
        )
    before = [module._frozen for module in modules]
    try:
        for module in modules:
            tensors = module._tensors()
            computed = COMPUTED[tensors[0].dtype]
            module._frozen = Weights(module._networks[computed], [t.to(computed) for t in tensors], lasting=True)
        yield model
    finally:
        for module, own in zip(modules, before, strict=True):
            module._frozen = own
