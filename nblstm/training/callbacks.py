"""What can be called in the course of a fit, with Keras's names."""

from nblstm.training.callback import Callback
from nblstm.training.checkpoints import BackupAndRestore, ModelCheckpoint
from nblstm.training.history import History
from nblstm.training.loggers import CSVLogger, LambdaCallback, LearningRateScheduler, TerminateOnNaN
from nblstm.training.monitors import EarlyStopping, ReduceLROnPlateau

__all__ = [
    "BackupAndRestore", "CSVLogger", "Callback", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "ModelCheckpoint", "ReduceLROnPlateau", "TerminateOnNaN",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__
