"""Losses, metrics, optimizers, callbacks and the loop of a fit, with Keras's names."""

from nblstm.arguments.missing import explain_missing_names
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
from nblstm.training.optimizers import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Lion, Nadam, RMSprop, schedules
from nblstm.training.optimizers.clipping import clip_by_global_norm, clip_by_norm, clip_by_value

__all__ = [
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "BackupAndRestore", "CSVLogger", "Callback",
    "EarlyStopping", "History", "LambdaCallback", "LearningRateScheduler", "Lion", "ModelCheckpoint", "Nadam",
    "RMSprop", "ReduceLROnPlateau", "TerminateOnNaN", "callbacks", "clip_by_global_norm", "clip_by_norm",
    "clip_by_value", "losses", "metrics", "optimizers", "schedules",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)
