"""Losses with Keras's names, all of y_true and y_pred in this order.

A class, such as `MeanSquaredError`, gives the weighted mean when it is called, and its gradient too by
`Loss.value_and_gradient`; a function, such as `mean_squared_error`, gives one value per row.
"""

from __future__ import annotations

from nblstm.arguments import custom
from nblstm.arguments.missing import explain_missing_names
from nblstm.training.losses.base_loss import LOSSES, Loss, LossFunction
from nblstm.training.losses.crossentropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    KLDivergence,
    SparseCategoricalCrossentropy,
    binary_crossentropy,
    categorical_crossentropy,
    kl_divergence,
    sparse_categorical_crossentropy,
)
from nblstm.training.losses.hinge import (
    CategoricalHinge,
    Hinge,
    SquaredHinge,
    categorical_hinge,
    hinge,
    squared_hinge,
)
from nblstm.training.losses.own_loss import OwnLoss
from nblstm.training.losses.quantile import Quantile, quantile
from nblstm.training.losses.regression import (
    CosineSimilarity,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    cosine_similarity,
    huber,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
)

__all__ = [
    "BinaryCrossentropy", "CategoricalCrossentropy", "CategoricalHinge", "CosineSimilarity", "Hinge", "Huber",
    "KLDivergence", "LogCosh", "Loss", "LossFunction", "MeanAbsoluteError", "MeanAbsolutePercentageError",
    "MeanSquaredError", "MeanSquaredLogarithmicError", "OwnLoss", "Poisson", "Quantile",
    "SparseCategoricalCrossentropy", "SquaredHinge", "binary_crossentropy", "categorical_crossentropy",
    "categorical_hinge", "cosine_similarity", "get", "hinge", "huber", "kl_divergence", "log_cosh",
    "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error",
    "poisson", "quantile", "sparse_categorical_crossentropy", "squared_hinge",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)


_FUNCTIONS = (
    mean_squared_error, mean_absolute_error, mean_absolute_percentage_error, mean_squared_logarithmic_error, huber,
    log_cosh, poisson, cosine_similarity, quantile, hinge, squared_hinge, categorical_hinge, kl_divergence,
    binary_crossentropy, categorical_crossentropy, sparse_categorical_crossentropy,
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
        "config": ...}``; a function of this module; or one of the user's own, which `nblstm.loss` makes of an
        equation, or as in `LossFunction`.

    Returns
    -------
    Loss
    """
    identifier = custom.resolved(identifier, LOSSES.classes)
    if callable(identifier) and not isinstance(identifier, Loss | type):
        made = class_of(identifier)
        return LossFunction(identifier) if made is None else made()
    return LOSSES.make(identifier)
