"""Metrics with Keras's names, gathered batch by batch: accuracies, errors, scores, and the mean of any loss."""

from __future__ import annotations

from nblstm.arguments import custom
from nblstm.arguments.missing import explain_missing_names
from nblstm.training import losses
from nblstm.training.losses import (
    Loss,
    binary_crossentropy,
    categorical_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from nblstm.training.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from nblstm.training.metrics.auc import AUC
from nblstm.training.metrics.confusion import (
    FalseNegatives,
    FalsePositives,
    Precision,
    Recall,
    TrueNegatives,
    TruePositives,
)
from nblstm.training.metrics.loss_metrics import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    LossMetric,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    RootMeanSquaredError,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from nblstm.training.metrics.metric import METRICS, Mean, Metric, MetricFunction
from nblstm.training.metrics.scores import F1Score, FBetaScore, R2Score

__all__ = [
    "AUC", "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy", "CategoricalCrossentropy",
    "CategoricalHinge", "CosineSimilarity", "F1Score", "FBetaScore", "FalseNegatives", "FalsePositives", "Hinge",
    "KLDivergence", "LogCoshError", "LossMetric", "Mean", "MeanAbsoluteError", "MeanAbsolutePercentageError",
    "MeanSquaredError", "MeanSquaredLogarithmicError", "Metric", "MetricFunction", "Poisson", "Precision", "R2Score",
    "Recall", "RootMeanSquaredError", "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy", "SquaredHinge", "TopKCategoricalAccuracy", "TrueNegatives", "TruePositives",
    "binary_accuracy", "binary_crossentropy", "categorical_accuracy", "categorical_crossentropy", "categorical_hinge",
    "get", "hinge", "huber", "kl_divergence", "log_cosh", "mean_absolute_error", "mean_absolute_percentage_error",
    "mean_squared_error", "mean_squared_logarithmic_error", "poisson", "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy", "sparse_top_k_categorical_accuracy", "squared_hinge",
    "top_k_categorical_accuracy",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)


_ACCURACIES = (
    binary_accuracy, categorical_accuracy, sparse_categorical_accuracy, top_k_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
)  # fmt: skip


def get(identifier) -> Metric:
    """The metric that a name, class, function, configuration or object stands for.

    Parameters
    ----------
    identifier : str, Metric, Loss, type, dict or callable
        Keras's names and aliases: ``"acc"``, ``"mae"``, ``"BinaryAccuracy"``, and the metric has the name given;
        ``{"class_name": ..., "config": ...}``; a loss; a function of this module; or one of the user's own, as in
        `MetricFunction`.

    Returns
    -------
    Metric
        A new one for a name or a class.
    """
    if any(function is identifier for function in _ACCURACIES):
        identifier = identifier.__name__
    if isinstance(identifier, str):
        short = identifier.lower() in ("accuracy", "acc") and custom.found(identifier) is None
        name = identifier.lower() if short else identifier
        found, known = custom.named("metric", name, METRICS.classes, METRICS.shown), METRICS.classes.get(name)
        if known is None or found is not known:
            return get(found)
        metric = known()
        metric.name = identifier
        return metric
    if isinstance(identifier, dict) and _is_loss(custom.found(str(identifier.get("class_name")))):
        return LossMetric(losses.get(identifier))
    if isinstance(identifier, Loss) or losses.class_of(identifier):
        return LossMetric(losses.get(identifier), getattr(identifier, "__name__", None))
    if callable(identifier) and not isinstance(identifier, type | Metric):
        return MetricFunction(identifier)
    return METRICS.make(identifier)


def _is_loss(own) -> bool:
    """Say if an object of the user's own is a loss, or a class of some."""
    return isinstance(own, Loss) or (isinstance(own, type) and issubclass(own, Loss))
