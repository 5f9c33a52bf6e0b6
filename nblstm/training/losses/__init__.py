"""Losses with Keras's names, all of y_true and y_pred in this order.

A class, such as `MeanSquaredError`, gives the weighted mean when it is called, and its gradient too by
`Loss.value_and_gradient`; a function, such as `mean_squared_error`, gives one value per row.
"""

from __future__ import annotations

from nblstm.arguments import custom
from nblstm.training.losses.base_loss import LOSSES, Loss, LossFunction
from nblstm.training.losses.crossentropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    binary_crossentropy,
    categorical_crossentropy,
    sparse_categorical_crossentropy,
)
from nblstm.training.losses.regression import (
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    Quantile,
    huber,
    mean_absolute_error,
    mean_squared_error,
    quantile,
)

__all__ = [
    "BinaryCrossentropy", "CategoricalCrossentropy", "Huber", "Loss", "LossFunction", "MeanAbsoluteError",
    "MeanSquaredError", "Quantile", "SparseCategoricalCrossentropy", "binary_crossentropy", "categorical_crossentropy",
    "get", "huber", "mean_absolute_error", "mean_squared_error", "quantile", "sparse_categorical_crossentropy",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


_FUNCTIONS = (
    mean_squared_error, mean_absolute_error, huber, quantile, binary_crossentropy, categorical_crossentropy,
    sparse_categorical_crossentropy,
)  # fmt: skip


def class_of(function) -> type[Loss] | None:
    """The class of one of nblstm's functions of one value per row, such as `huber`; None for anything else."""
    return LOSSES.classes[function.__name__] if any(function is known for known in _FUNCTIONS) else None


def get(identifier) -> Loss:
    """The loss that a name, class, function, configuration or object stands for.

    Parameters
    ----------
    identifier : str, Loss, type, dict or callable
        Keras's names and aliases: ``"mse"``, ``"binary_crossentropy"``, ``"Huber"``; ``{"class_name": ...,
        "config": ...}``; a function of this module; or one of the user's own, as in `LossFunction`.

    Returns
    -------
    Loss
    """
    identifier = custom.resolved(identifier, LOSSES.classes)
    if callable(identifier) and not isinstance(identifier, Loss | type):
        made = class_of(identifier)
        return LossFunction(identifier) if made is None else made()
    return LOSSES.make(identifier)
