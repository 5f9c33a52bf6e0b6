"""Callbacks that write, call or set something in the course of a fit."""

from __future__ import annotations

import csv
import inspect
import math
import os
from typing import Any

from nblstm.arguments import validate
from nblstm.process.show import show
from nblstm.training.arguments import real
from nblstm.training.callbacks.callback import Callback
from nblstm.training.files import archive


class CSVLogger(Callback):
    """Writes the logs of each epoch as a line of a CSV file.

    Parameters
    ----------
    filename : str or PathLike
    separator : str, default ","
    append : bool, default False
        Whether lines are added to a file that is there, and not written in its place.

    Notes
    -----
    The first line has the names: epoch, and those of the first epoch's logs in alphabetical order. A fit that is taken
    up again goes on with the file, without lines that a killed one had written after its last backup.
    """

    def __init__(self, filename, separator: str = ",", append: bool = False):
        super().__init__()
        if not isinstance(separator, str) or len(separator) != 1:
            raise ValueError(f"separator is {separator!r}; give one character")
        self.filename, self.separator = validate.path("filename", filename), separator
        self.append = validate.flag("append", append)
        self._names: list[str] | None = None
        self._keep: int | None = None  # bytes of the file that a fit which is taken up again goes on with

    def on_train_begin(self, logs=None) -> None:
        """Begin anew; the file is written when the first epoch has ended."""
        validate.target_path("filename", self.filename)
        self._names = self._keep = None

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Write a line."""
        logs = logs or {}
        if self._names is None:
            self._names = self._columns(logs)
            self._keep = None if self.append else 0
        with open(self.filename, "a", newline="", encoding="utf-8") as file:
            if self._keep is not None and self._keep < file.tell():
                file.truncate(self._keep)
                file.seek(0, os.SEEK_END)
            self._keep = None
            writer = csv.DictWriter(file, ["epoch", *self._names], restval="NA", delimiter=self.separator)
            if not file.tell():
                writer.writeheader()
            writer.writerow({"epoch": epoch, **{name: logs[name] for name in self._names if name in logs}})

    def _columns(self, logs: dict[str, Any]) -> list[str]:
        """Names in alphabetical order; the first epoch need not have had a validation."""
        names = sorted(logs)
        if self.params.get("do_validation") and not any(name.startswith("val_") for name in names):
            names += [f"val_{name}" for name in names]
        return names

    def state(self) -> dict[str, Any]:
        """The names, and how long the file is."""
        return {"names": self._names, "length": os.path.getsize(self.filename) if self._names else 0}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        archive.expect("the state", state, names=list | None, length=int)
        if state["names"] is not None:
            self._names, self._keep = [str(name) for name in state["names"]], state["length"]


class TerminateOnNaN(Callback):
    """Ends a fit when the loss is not a finite number.

    Parameters
    ----------
    raise_error : bool, default False
        Whether that is an error.

    Raises
    ------
    RuntimeError
        In the course of a fit, if ``raise_error``.
    """

    def __init__(self, raise_error: bool = False):
        super().__init__()
        self.raise_error = validate.flag("raise_error", raise_error)

    def on_batch_end(self, batch: int, logs=None) -> None:
        """Look at the loss."""
        loss = (logs or {}).get("loss", 0.0)
        if math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(
                f"the loss is {loss} after batch {batch}; lower the learning rate, or clip the gradients"
            )
        show(f"Batch {batch}: the loss is {loss}, so training ends")
        self.model.stop_training = True


class LambdaCallback(Callback):
    """A callback from functions.

    Parameters
    ----------
    on_epoch_begin, on_epoch_end : callable, optional
        Called with (epoch, logs).
    on_train_begin, on_train_end : callable, optional
        Called with (logs).
    on_train_batch_begin, on_train_batch_end : callable, optional
        Called with (batch, logs).
    **kwargs
        Any other method of `Callback`.

    Raises
    ------
    TypeError
        If there is no such method, or it is not given a function.
    """

    def __init__(
        self, on_epoch_begin=None, on_epoch_end=None, on_train_begin=None, on_train_end=None,
        on_train_batch_begin=None, on_train_batch_end=None, **kwargs,
    ) -> None:  # fmt: skip
        super().__init__()
        given = {
            "on_epoch_begin": on_epoch_begin, "on_epoch_end": on_epoch_end, "on_train_begin": on_train_begin,
            "on_train_end": on_train_end, "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end, **kwargs,
        }  # fmt: skip
        for name, function in given.items():
            if not (name.startswith("on_") and hasattr(Callback, name)):
                known = [method for method in vars(Callback) if method.startswith("on_")]
                raise TypeError(f"a fit has no {validate.unknown(name, known)}")
            if function is not None and not callable(function):
                raise TypeError(f"{name} is {function!r}; give a function")
            if function is not None:
                setattr(self, name, function)


class LearningRateScheduler(Callback):
    """Sets the learning rate at the beginning of each epoch, and logs it.

    Parameters
    ----------
    schedule : callable
        From the epoch, counted from 0, and the learning rate so far to the new one; or from the epoch alone.
    verbose : int, default 0
        1 prints what it sets.

    Raises
    ------
    TypeError, ValueError
        If it is no function, or in the course of a fit, if it gives no learning rate.
    """

    def __init__(self, schedule, verbose: int = 0):
        super().__init__()
        if not callable(schedule) or isinstance(schedule, type):
            raise TypeError(f"schedule is {schedule!r}; give a function of the epoch and the learning rate")
        self.schedule, self.verbose = schedule, verbose
        self._of_epoch_alone = _takes_one(schedule)

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Set it."""
        optimizer = self.model.optimizer
        rate = self.schedule(epoch) if self._of_epoch_alone else self.schedule(epoch, optimizer.learning_rate)
        optimizer.learning_rate = real("the learning rate that schedule gives", rate)
        if self.verbose:
            show(f"Epoch {epoch + 1}: setting the learning rate to {optimizer.learning_rate:g}.")

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Log it."""
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.learning_rate


def _takes_one(function) -> bool:
    """Whether a function can be called with one argument and not with two."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions in C have none
        return False
    try:
        signature.bind(0, 0.0)
    except TypeError:
        return True
    return False
