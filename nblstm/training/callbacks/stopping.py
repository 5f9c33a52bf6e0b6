"""Callbacks that watch a number in the logs: Monitor, their base class, and two that end a fit."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from nblstm.arguments import validate
from nblstm.process.show import show, warn
from nblstm.training import checks
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

    def __init__(
        self, monitor: str = "val_loss", min_delta: float = 0, patience: int = 0, verbose: int = 0, mode: str = "auto",
        baseline: float | None = None, restore_best_weights: bool = False, start_from_epoch: int = 0,
    ):  # fmt: skip
        super().__init__(monitor, mode, min_delta)
        self.patience = validate.whole_number("patience", patience)
        self.start_from_epoch = validate.whole_number("start_from_epoch", start_from_epoch)
        self.verbose, self.baseline = verbose, threshold("baseline", baseline)
        self.restore_best_weights = validate.flag("restore_best_weights", restore_best_weights)
        self._begin()

    def _begin(self) -> None:
        self.best, self.best_weights = None, None
        self.wait = self.stopped_epoch = self.best_epoch = 0

    def on_train_begin(self, logs=None) -> None:
        """Begin anew."""
        self._begin()

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

    def state(self) -> dict[str, Any]:
        """The best value, and how long ago it was."""
        names = ("best", "best_weights", "wait", "stopped_epoch", "best_epoch")
        return {name: getattr(self, name) for name in names}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        checks.expect(
            "the state", state, best=Real | None, best_weights=list | None, wait=int, stopped_epoch=int, best_epoch=int
        )
        weights = state["best_weights"]
        shapes = None if weights is None else [getattr(array, "shape", None) for array in weights]
        if shapes is not None and shapes != [array.shape for array in self.model.get_weights()]:
            raise ValueError("the best parameters so far are not in the shapes of this model's")
        self.best, self.best_weights = threshold("best", state["best"]), weights
        self.wait, self.stopped_epoch, self.best_epoch = state["wait"], state["stopped_epoch"], state["best_epoch"]


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
