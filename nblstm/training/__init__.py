"""Losses, metrics, optimizers, callbacks and the loop of a fit, with Keras's names."""

from nblstm.training import callbacks, losses, metrics, optimizers, schedules
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
from nblstm.training.clipping import clip_by_global_norm, clip_by_norm, clip_by_value
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
    "SGD", "Adam", "AdamW", "BackupAndRestore", "CSVLogger", "Callback", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "ModelCheckpoint", "RMSprop", "ReduceLROnPlateau", "TerminateOnNaN",
    "binary_crossentropy", "callbacks", "categorical_crossentropy", "clip_by_global_norm", "clip_by_norm",
    "clip_by_value", "huber", "losses", "mean_absolute_error", "mean_squared_error", "metrics", "optimizers",
    "schedules", "sparse_categorical_crossentropy",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__
