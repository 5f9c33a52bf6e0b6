"""What can be called in the course of a fit, with Keras's names."""

from nblstm.training.callbacks.callback import Callback
from nblstm.training.callbacks.checkpoints import BackupAndRestore, ModelCheckpoint
from nblstm.training.callbacks.history import History
from nblstm.training.callbacks.loggers import (
    CSVLogger,
    LambdaCallback,
    LearningRateScheduler,
    TerminateOnNaN,
)
from nblstm.training.callbacks.monitors import EarlyStopping, ReduceLROnPlateau

__all__ = [
    "BackupAndRestore", "CSVLogger", "Callback", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "ModelCheckpoint", "ReduceLROnPlateau", "TerminateOnNaN",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__
