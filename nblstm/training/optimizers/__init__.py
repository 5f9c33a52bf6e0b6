"""Optimizers with Keras's names, defaults and rules."""

from __future__ import annotations

from nblstm.arguments import custom
from nblstm.arguments.missing import explain_missing_names
from nblstm.training.optimizers.adam_rules import Adam, Adamax, AdamW, Nadam
from nblstm.training.optimizers.base_optimizer import OPTIMIZERS, Optimizer
from nblstm.training.optimizers.update_rules import SGD, Adadelta, Adagrad, Lion, RMSprop

__all__ = [
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Lion", "Nadam", "Optimizer", "RMSprop", "get",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)


def get(identifier) -> Optimizer:
    """The optimizer that a name, class, configuration or object stands for.

    Parameters
    ----------
    identifier : str, Optimizer, type or dict
        Names in any case, such as ``"adam"``, or ``{"class_name": ..., "config": ...}``. What is made has no modules
        yet; give them by its ``build``.

    Returns
    -------
    Optimizer
    """
    if isinstance(identifier, str):
        identifier = _any_case(identifier)
    elif isinstance(identifier, dict) and isinstance(identifier.get("class_name"), str):
        identifier = identifier | {"class_name": _any_case(identifier["class_name"])}
    return OPTIMIZERS.make(identifier)


def _any_case(name: str) -> str:
    """The name of one of nblstm's as the table has it; one of the user's own as it is."""
    return name.lower() if name.lower() in OPTIMIZERS.classes and custom.found(name) is None else name
