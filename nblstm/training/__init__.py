"""Losses, metrics, optimizers, callbacks and the loop of a fit, with Keras's names."""

from nblstm.training import callbacks, losses, metrics, optimizers
from nblstm.training.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from nblstm.training.losses import (
    binary_crossentropy_and_gradient,
    categorical_crossentropy_and_gradient,
    huber_and_gradient,
    mean_absolute_error_and_gradient,
    mean_squared_error_and_gradient,
    sparse_categorical_crossentropy_and_gradient,
)
from nblstm.training.optimizers import SGD, Adam, AdamW, RMSprop, schedules
from nblstm.training.optimizers.clipping import clip_by_global_norm, clip_by_norm, clip_by_value

__all__ = [
    "SGD", "Adam", "AdamW", "BackupAndRestore", "CSVLogger", "Callback", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "ModelCheckpoint", "RMSprop", "ReduceLROnPlateau", "TerminateOnNaN",
    "binary_crossentropy_and_gradient", "callbacks", "categorical_crossentropy_and_gradient", "clip_by_global_norm",
    "clip_by_norm", "clip_by_value", "huber_and_gradient", "losses", "mean_absolute_error_and_gradient",
    "mean_squared_error_and_gradient", "metrics", "optimizers", "schedules",
    "sparse_categorical_crossentropy_and_gradient",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__
