"""Losses with Keras's names, all of y_true and y_pred in this order.

A class, such as `MeanSquaredError`, gives the weighted mean when it is called, and its gradient too by
`Loss.value_and_gradient`; a function, such as `mean_squared_error`, gives one value per row.
"""

from __future__ import annotations

from nblstm.arguments import custom
from nblstm.arguments.configured import instance_from
from nblstm.training.losses.base_loss import Loss, LossFunction
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
    huber,
    mean_absolute_error,
    mean_squared_error,
)

__all__ = [
    "BinaryCrossentropy", "CategoricalCrossentropy", "Huber", "Loss", "LossFunction", "MeanAbsoluteError",
    "MeanSquaredError", "SparseCategoricalCrossentropy", "binary_crossentropy", "categorical_crossentropy", "get",
    "huber", "mean_absolute_error", "mean_squared_error", "sparse_categorical_crossentropy",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


#: Each function of one value per row, and its class.
_CLASSES = {
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
_TABLE = {function.__name__: made for function, made in _CLASSES.items()} | _ALIASES
_TABLE |= {made.__name__: made for made in (*_CLASSES.values(), LossFunction)}


def class_of(function) -> type[Loss] | None:
    """The class of one of nblstm's functions of one value per row, such as `huber`; None for anything else."""
    return next((made for known, made in _CLASSES.items() if known is function), None)


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
        made = class_of(identifier)
        return LossFunction(identifier) if made is None else made()
    return instance_from("loss", identifier, _TABLE, Loss)
