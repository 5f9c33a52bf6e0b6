"""Losses, metrics, optimizers, callbacks and the loop of a fit, with Keras's names."""

from nblstm.training import losses, metrics, optimizers, schedules
from nblstm.training.callback import Callback
from nblstm.training.clipping import clip_by_global_norm, clip_by_norm, clip_by_value
from nblstm.training.history import History
from nblstm.training.losses import (
    binary_crossentropy,
    categorical_crossentropy,
    huber,
    mean_absolute_error,
    mean_squared_error,
    sparse_categorical_crossentropy,
)
from nblstm.training.optimizers import SGD, Adam, AdamW, RMSprop

__all__ = [
    "SGD", "Adam", "AdamW", "Callback", "History", "RMSprop", "binary_crossentropy", "categorical_crossentropy",
    "clip_by_global_norm", "clip_by_norm", "clip_by_value", "huber", "losses", "mean_absolute_error",
    "mean_squared_error", "metrics", "optimizers", "schedules", "sparse_categorical_crossentropy",
]  # fmt: skip
