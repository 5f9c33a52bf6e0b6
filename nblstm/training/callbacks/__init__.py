"""Callbacks, which a fit calls in its course, with Keras's names."""

from nblstm.arguments.missing import explain_missing_names
from nblstm.training.callbacks.base_callback import Callback, LambdaCallback
from nblstm.training.callbacks.checkpoints import BackupAndRestore, ModelCheckpoint
from nblstm.training.callbacks.logs import CSVLogger, History
from nblstm.training.callbacks.monitors import (
    EarlyStopping,
    LearningRateScheduler,
    ReduceLROnPlateau,
    TerminateOnNaN,
)

__all__ = [
    "BackupAndRestore", "CSVLogger", "Callback", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "ModelCheckpoint", "ReduceLROnPlateau", "TerminateOnNaN",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)
