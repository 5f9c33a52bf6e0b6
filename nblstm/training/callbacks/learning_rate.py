"""Callbacks that set the learning rate: by the epoch, or when a number in the logs has not improved."""

from __future__ import annotations

import inspect
from numbers import Real
from typing import Any

from nblstm.arguments import validate
from nblstm.process.show import show
from nblstm.training import checks
from nblstm.training.callbacks.base_callback import Callback
from nblstm.training.callbacks.stopping import Monitor, threshold


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
        """Set the epoch's learning rate."""
        optimizer = self.model.optimizer
        rate = self.schedule(epoch) if self._of_epoch_alone else self.schedule(epoch, optimizer.learning_rate)
        optimizer.learning_rate = validate.number("the learning rate that schedule gives", rate, 0)
        if self.verbose:
            show(f"Epoch {epoch + 1}: setting the learning rate to {optimizer.learning_rate:g}.")

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Log the learning rate."""
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.learning_rate


class ReduceLROnPlateau(Monitor):
    """Lowers the learning rate when a number has not improved for some epochs, and logs it.

    Parameters
    ----------
    monitor : str, default "val_loss"
    factor : float, default 0.1
        Factor for the learning rate, from 0 to below 1.
    patience : int, default 10
        Epochs without improvement after which it is.
    verbose : int, default 0
        1 prints when it acts.
    mode : {"auto", "min", "max"}
    min_delta : float, default 1e-4
        A change that is not larger is no improvement.
    cooldown : int, default 0
        Epochs to wait after it acted, before it looks again.
    min_lr : float, default 0
        The learning rate does not get smaller.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the learning rate follows a schedule.
    """

    def __init__(
        self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10, verbose: int = 0, mode: str = "auto",
        min_delta: float = 1e-4, cooldown: int = 0, min_lr: float = 0.0,
    ):  # fmt: skip
        super().__init__(monitor, mode, min_delta)
        self.factor = validate.number("factor", factor, 0, 1, below=True)
        self.patience = validate.whole_number("patience", patience)
        self.cooldown = validate.whole_number("cooldown", cooldown)
        self.min_lr, self.verbose = validate.number("min_lr", min_lr, 0), verbose
        self.wait = self.cooldown_counter = 0

    def on_train_begin(self, logs=None) -> None:
        """Begin anew."""
        optimizer = self.model.optimizer
        optimizer.learning_rate = optimizer.learning_rate  # which a schedule refuses: now, not hours later
        self.best, self.wait, self.cooldown_counter = None, 0, 0

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Lower the learning rate, if the number has not improved for ``patience`` epochs."""
        logs = {} if logs is None else logs
        logs["learning_rate"] = self.model.optimizer.learning_rate
        current = self.monitored(logs)
        if current is None:
            return
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.improves(current, self.best):
            self.best, self.wait = current, 0
        elif not self.cooldown_counter:
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        optimizer = self.model.optimizer
        if optimizer.learning_rate > self.min_lr:
            optimizer.learning_rate = max(optimizer.learning_rate * self.factor, self.min_lr)
            self.cooldown_counter, self.wait = self.cooldown, 0
            if self.verbose:
                show(f"Epoch {epoch + 1}: reducing the learning rate to {optimizer.learning_rate:g}.")

    def state(self) -> dict[str, Any]:
        """The best value, and how long ago it was."""
        return {"best": self.best, "wait": self.wait, "cooldown_counter": self.cooldown_counter}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        checks.expect("the state", state, best=Real | None, wait=int, cooldown_counter=int)
        self.best = threshold("best", state["best"])
        self.wait, self.cooldown_counter = state["wait"], state["cooldown_counter"]


def _takes_one(function) -> bool:
    """True if a function can be called with one argument and not with two."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions in C have none
        return False
    try:
        signature.bind(0, 0.0)
    except TypeError:
        return True
    return False
