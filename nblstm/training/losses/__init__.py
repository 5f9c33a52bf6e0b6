"""Losses with Keras's names, as classes and as functions, all of y_true and y_pred in this order.

The functions of Keras's names give one value per row; those whose names end in ``_and_gradient`` give the weighted mean
and its gradient, as `Loss.value_and_gradient` does.
"""

from __future__ import annotations

from nblstm.arguments import custom
from nblstm.training.arguments import from_table
from nblstm.training.losses.crossentropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    binary_crossentropy_and_gradient,
    categorical_crossentropy_and_gradient,
    sparse_categorical_crossentropy_and_gradient,
)
from nblstm.training.losses.loss import Loss, LossFunction
from nblstm.training.losses.regression import (
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    huber_and_gradient,
    mean_absolute_error_and_gradient,
    mean_squared_error_and_gradient,
)
from nblstm.training.losses.rowwise import (
    binary_crossentropy,
    categorical_crossentropy,
    huber,
    mean_absolute_error,
    mean_squared_error,
    sparse_categorical_crossentropy,
)

__all__ = [
    "BinaryCrossentropy", "CategoricalCrossentropy", "Huber", "Loss", "LossFunction", "MeanAbsoluteError",
    "MeanSquaredError", "SparseCategoricalCrossentropy", "binary_crossentropy", "binary_crossentropy_and_gradient",
    "categorical_crossentropy", "categorical_crossentropy_and_gradient", "get", "huber", "huber_and_gradient",
    "mean_absolute_error", "mean_absolute_error_and_gradient", "mean_squared_error", "mean_squared_error_and_gradient",
    "sparse_categorical_crossentropy", "sparse_categorical_crossentropy_and_gradient",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


#: Functions of one value per row, and the class of each.
_FUNCTIONS = {
    mean_squared_error: MeanSquaredError,
    mean_absolute_error: MeanAbsoluteError,
    huber: Huber,
    binary_crossentropy: BinaryCrossentropy,
    categorical_crossentropy: CategoricalCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
}
_WITH_GRADIENT = {
    mean_squared_error_and_gradient: MeanSquaredError,
    mean_absolute_error_and_gradient: MeanAbsoluteError,
    huber_and_gradient: Huber,
    binary_crossentropy_and_gradient: BinaryCrossentropy,
    categorical_crossentropy_and_gradient: CategoricalCrossentropy,
    sparse_categorical_crossentropy_and_gradient: SparseCategoricalCrossentropy,
}
_ALIASES = {
    "mse": MeanSquaredError, "MSE": MeanSquaredError, "mae": MeanAbsoluteError, "MAE": MeanAbsoluteError,
    "bce": BinaryCrossentropy, "BCE": BinaryCrossentropy,
}  # fmt: skip
_TABLE = {function.__name__: made for function, made in _FUNCTIONS.items()} | _ALIASES
_TABLE |= {made.__name__: made for made in (*_FUNCTIONS.values(), LossFunction)}


def is_own(identifier) -> bool:
    """Whether ``identifier`` is one of nblstm's functions of one value per row, such as `huber`."""
    return any(function is identifier for function in _FUNCTIONS)


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

    Raises
    ------
    TypeError, ValueError
        If there is none of that name.
    """
    identifier = custom.resolved(identifier, _TABLE)
    if callable(identifier) and not isinstance(identifier, Loss | type):
        known = [made for table in (_FUNCTIONS, _WITH_GRADIENT) for fn, made in table.items() if fn is identifier]
        return known[0]() if known else LossFunction(identifier)
    return from_table("loss", identifier, _TABLE, Loss)
