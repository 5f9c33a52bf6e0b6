"""Callbacks that end a fit or set the learning rate, mostly by a number in the logs that they watch."""

from __future__ import annotations

import inspect
import math
from numbers import Real
from typing import Any

from nblstm.arguments import validate
from nblstm.files import content
from nblstm.process.show import show, warn
from nblstm.training.callbacks.base_callback import Callback


class Monitor(Callback):
    """Base class: knows which of two values is better.

    Parameters
    ----------
    monitor : str
        A name in the logs, such as "val_loss".
    mode : {"auto", "min", "max"}
        Whether less or more is better; by default, less for losses and errors, more for accuracies.
    min_delta : float
        A change that is not larger is none.
    """

    #: Attributes that change in the course of a fit, with their types.
    changing: dict[str, Any]

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0):
        super().__init__()
        if not isinstance(monitor, str):
            raise TypeError(f"monitor is {monitor!r}; give a name in the logs, such as 'val_loss'")
        self.monitor, self.mode = monitor, validate.choice("mode", mode, ("auto", "min", "max"))
        self.min_delta = abs(validate.number("min_delta", min_delta))
        self.best: float | None = None

    def improves(self, value: float, on: float | None) -> bool:
        """True if ``value`` is better than ``on`` by more than ``min_delta``; any number is better than None.

        NaN is no number, and better than nothing.
        """
        direction = self._direction()
        if on is None:
            return not math.isnan(value)
        return value + self.min_delta < on if direction == "min" else value - self.min_delta > on

    def monitored(self, logs: dict[str, Any]) -> float | None:
        """The number in the logs; warns if it is not there."""
        if self.monitor not in logs:
            warn(
                f"{type(self).__name__} monitors {self.monitor!r}, which is not among {', '.join(logs)}, so it does "
                "nothing"
            )
            return None
        return self.number(logs)

    def number(self, logs: dict[str, Any]) -> float:
        """The number in the logs, as a float."""
        value = logs[self.monitor]
        try:
            return float(value)
        except (TypeError, ValueError):
            raise TypeError(
                f"{type(self).__name__} monitors {self.monitor!r}, which is {value!r} in the logs; let it be a number"
            ) from None

    def state(self) -> dict[str, Any]:
        """The best value, and all else that changes."""
        return {name: getattr(self, name) for name in self.changing}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        content.expect("the state", state, **self.changing)
        vars(self).update(state | {"best": threshold("best", state["best"])})

    def _direction(self) -> str:
        if self.mode != "auto":
            return self.mode
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return "min"
        names = dict(zip(self.model.metrics_names[1:], self.model.metrics, strict=True))
        direction = getattr(names.get(name), "direction", None)
        if direction is None:
            unknown = f"whether more or less of {self.monitor!r} is better"
            raise ValueError(f"{type(self).__name__} cannot tell {unknown}; give mode='max' or mode='min'")
        return direction


def threshold(name: str, value) -> float | None:
    """``value`` as a number that others can be better than, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value):
        raise ValueError(f"{name} is {value!r}; give a number, or None")
    return float(value)


class EarlyStopping(Monitor):
    """Ends a fit when a number has not improved for some epochs.

    Parameters
    ----------
    monitor : str, default "val_loss"
    min_delta : float, default 0
        A change that is not larger is no improvement.
    patience : int, default 0
        Epochs without improvement after which the fit ends.
    verbose : int, default 0
        1 prints when it acts.
    mode : {"auto", "min", "max"}
    baseline : float, optional
        Improvements count only if they are better than this.
    restore_best_weights : bool, default False
        Whether the model gets the parameters of the best epoch when the fit ends, and not the last ones.
    start_from_epoch : int, default 0
        Epochs before it are not looked at.

    Attributes
    ----------
    stopped_epoch : int
        The epoch that was the last, from 0; 0 if the fit was not stopped.
    best_epoch : int
    """

    changing = {  # noqa: RUF012
        "best": Real | None, "best_weights": list | None, "wait": int, "stopped_epoch": int, "best_epoch": int,
    }  # fmt: skip

    def __init__(
        self, monitor: str = "val_loss", min_delta: float = 0, patience: int = 0, verbose: int = 0, mode: str = "auto",
        baseline: float | None = None, restore_best_weights: bool = False, start_from_epoch: int = 0,
    ):  # fmt: skip
        super().__init__(monitor, mode, min_delta)
        self.patience = validate.whole_number("patience", patience)
        self.start_from_epoch = validate.whole_number("start_from_epoch", start_from_epoch)
        self.verbose, self.baseline = verbose, threshold("baseline", baseline)
        self.restore_best_weights = validate.flag("restore_best_weights", restore_best_weights)
        self.on_train_begin()

    def on_train_begin(self, logs=None) -> None:
        """Begin anew."""
        self.best, self.best_weights = None, None
        self.wait = self.stopped_epoch = self.best_epoch = 0

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """End the fit, if the number has not improved for ``patience`` epochs."""
        current = self.monitored(logs or {})
        if current is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.improves(current, self.best):
            self.best, self.best_epoch = current, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.improves(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs=None) -> None:
        """Restore the best parameters, if that is wanted."""
        if self.stopped_epoch and self.verbose:
            show(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                show(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        super().load_state(state)
        weights = self.best_weights
        shapes = None if weights is None else [getattr(array, "shape", None) for array in weights]
        if shapes is not None and shapes != [array.shape for array in self.model.get_weights()]:
            raise ValueError("the best parameters so far are not in the shapes of this model's")


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

    changing = {"best": Real | None, "wait": int, "cooldown_counter": int}  # noqa: RUF012

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


class TerminateOnNaN(Callback):
    """Ends a fit when the loss is not a finite number.

    Parameters
    ----------
    raise_error : bool, default False
        Whether that is an error.
    """

    def __init__(self, raise_error: bool = False):
        super().__init__()
        self.raise_error = validate.flag("raise_error", raise_error)

    def on_batch_end(self, batch: int, logs=None) -> None:
        """End the fit, if the loss is not finite."""
        loss = (logs or {}).get("loss", 0.0)
        if math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(
                f"the loss is {loss} after batch {batch}; lower the learning rate, or clip the gradients"
            )
        show(f"Batch {batch}: the loss is {loss}, so training ends")
        self.model.stop_training = True
