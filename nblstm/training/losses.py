"""Losses: functions of prediction and target, and Keras's classes of y_true and y_pred, found by Keras's names."""

from __future__ import annotations

from nblstm import own
from nblstm.training import rowwise
from nblstm.training.arguments import from_table
from nblstm.training.crossentropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    binary_crossentropy,
    categorical_crossentropy,
    sparse_categorical_crossentropy,
)
from nblstm.training.loss import Loss, LossFunction
from nblstm.training.regression import (
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    huber,
    mean_absolute_error,
    mean_squared_error,
)

__all__ = [
    "BinaryCrossentropy", "CategoricalCrossentropy", "Huber", "Loss", "LossFunction", "MeanAbsoluteError",
    "MeanSquaredError", "SparseCategoricalCrossentropy", "binary_crossentropy", "categorical_crossentropy", "get",
    "huber", "mean_absolute_error", "mean_squared_error", "sparse_categorical_crossentropy",
]  # fmt: skip

_FUNCTIONS = {
    mean_squared_error: MeanSquaredError,
    mean_absolute_error: MeanAbsoluteError,
    huber: Huber,
    binary_crossentropy: BinaryCrossentropy,
    categorical_crossentropy: CategoricalCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
}
_ALIASES = {
    "mse": MeanSquaredError, "MSE": MeanSquaredError, "mae": MeanAbsoluteError, "MAE": MeanAbsoluteError,
    "bce": BinaryCrossentropy, "BCE": BinaryCrossentropy,
}  # fmt: skip
_TABLE = {function.__name__: made for function, made in _FUNCTIONS.items()} | _ALIASES
_FUNCTIONS |= {getattr(rowwise, name): _TABLE[name] for name in rowwise.__all__}
_TABLE |= {made.__name__: made for made in (*_FUNCTIONS.values(), LossFunction)}


def is_own(identifier) -> bool:
    """Whether ``identifier`` is one of nblstm's functions, such as `huber`."""
    return any(function is identifier for function in _FUNCTIONS)


def get(identifier) -> Loss:
    """The loss that a name, class, function, configuration or object stands for.

    Parameters
    ----------
    identifier : str, Loss, type, dict or callable
        Keras's names and aliases: ``"mse"``, ``"binary_crossentropy"``, ``"Huber"``; ``{"class_name": ...,
        "config": ...}``; a function of this module or of `rowwise`; or one of the user's own, as in `LossFunction`.

    Returns
    -------
    Loss

    Raises
    ------
    TypeError, ValueError
        If there is none of that name.
    """
    if isinstance(identifier, str) and identifier not in _TABLE:
        identifier = own.resolved(identifier)
    if callable(identifier) and not isinstance(identifier, Loss | type):
        return _FUNCTIONS[identifier]() if is_own(identifier) else LossFunction(identifier)
    return from_table("loss", identifier, _TABLE, Loss)
