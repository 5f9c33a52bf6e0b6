"""Callbacks that keep the logs of each epoch: in lists, or in a file."""

from __future__ import annotations

import csv
import numbers
import os
import weakref
from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.files import content
from nblstm.training.callbacks.base_callback import Callback
from nblstm.training.figures import axes_for


class History(Callback):
    """Keeps the logs of each epoch; `fit` returns it.

    Attributes
    ----------
    epoch : list of int
        The epochs that were completed, from 0.
    history : dict of str to list of float
        By name, one value per epoch: ``loss``, each metric, ``val_loss``, ...; an array where a metric gives several.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epoch: list[int] = []
        self.history: dict[str, list[Any]] = {}
        self._epochs: dict[str, list[int]] = {}  # with validation_freq, some values are not of every epoch

    _model: weakref.ref | None = None

    @property
    def model(self):
        """The model, as long as something else refers to it; None after that.

        The model has its history. Were this a reference too, both would wait for the garbage collector's next round,
        with all the memory of a model.
        """
        return None if self._model is None else self._model()

    @model.setter
    def model(self, model) -> None:
        self._model = None if model is None else weakref.ref(model)

    def __getstate__(self) -> dict:
        """For copies and pickle: what was measured."""
        return vars(self) | {"_model": None}

    def __repr__(self):
        return f"<History of {len(self.epoch)} epochs: {', '.join(self.history) or 'empty'}>"

    def _repr_html_(self) -> str:
        """A table for notebooks: each number's first, least, greatest and last value."""
        rows = "<tr><th></th><th>first</th><th>least</th><th>greatest</th><th>last</th></tr>"
        for name, values in self.history.items():
            if all(_is_number(value) for value in values):
                shown = values[0], min(values), max(values), values[-1]
                cells = "".join(f'<td style="text-align: right">{float(value):.5g}</td>' for value in shown)
                rows += f"<tr><th>{escape(str(name))}</th>{cells}</tr>"
        return f"<div>{len(self.epoch)} epochs<table>{rows}</table></div>"

    def on_train_begin(self, logs=None) -> None:
        """Begin anew."""
        self.epoch, self.history, self._epochs = [], {}, {}

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Append an epoch's logs."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
            self._epochs.setdefault(name, []).append(epoch)

    def state(self) -> dict:
        """All numbers of the logs, and arrays of some; logs may hold other objects too."""
        history: dict[str, list[Any]] = {}
        epochs: dict[str, list[int]] = {}
        for name, values in self.history.items():
            for value, epoch in zip(values, self._epochs.get(name, ()), strict=False):
                if isinstance(name, str) and (_is_number(value) or _is_array(value)):
                    history.setdefault(name, []).append(value if _is_array(value) else float(value))
                    epochs.setdefault(name, []).append(epoch)
        return {"epoch": self.epoch, "history": history, "epochs": epochs}

    def load_state(self, state: dict) -> None:
        """Go on from a `state`."""
        content.expect("the history", state, epoch=list, history=dict, epochs=dict)
        names = dict.fromkeys(state["history"], list)
        content.expect("the values of the history", state["history"], **names)
        content.expect("the epochs of the history", state["epochs"], **names)
        for kind, lists in (
            (int, [state["epoch"], *state["epochs"].values()]), (numbers.Real | np.ndarray, state["history"].values()),
        ):  # fmt: skip
            if not all(isinstance(value, kind) for values in lists for value in values):
                raise ValueError("the history has what is no number")
        self.epoch = list(state["epoch"])
        self.history = {
            name: [value if _is_array(value) else float(value) for value in values]
            for name, values in state["history"].items()
        }
        self._epochs = {name: list(epochs) for name, epochs in state["epochs"].items()}

    def plot(self, metrics=None, ax=None):
        """Draw curves of what was measured; training solid, validation dashed in the same colour.

        Parameters
        ----------
        metrics : str or sequence of str, optional
            Such as ``["loss"]``; all by default.
        ax : matplotlib Axes, optional
            Where to draw; without it, in a new figure.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError
            If there is nothing of that name, or ``ax`` is no Axes.
        """
        measured = [name for name in self.history if not name.startswith("val_")]
        if not (metrics is None or isinstance(metrics, Iterable)):
            raise TypeError(
                f"metrics is {metrics!r} of type {type(metrics).__name__}; give a name, such as 'loss', or several"
            )
        names = measured if metrics is None else [metrics] if isinstance(metrics, str) else list(metrics)
        unknown = [name for name in names if name not in [*self.history]]
        if unknown or not names:
            came = repr(unknown[0]) if unknown else "nothing"
            raise ValueError(f"{came} is not in the history, which has {', '.join(self.history) or 'no epoch'}")
        ax = axes_for("plot", ax)
        from matplotlib.ticker import MaxNLocator  # imported here, as matplotlib is optional

        for name in names:
            for shown, style in ((name, "-"), (f"val_{name}", "--")):
                if shown in self.history:
                    colour = ax.lines[-1].get_color() if style == "--" else None
                    epochs = [epoch + 1 for epoch in self._epochs[shown]]
                    ax.plot(epochs, self.history[shown], style, color=colour, label=shown)
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True))  # there is no epoch 1.25
        ax.legend(frameon=False)
        return ax


def _is_number(value) -> bool:
    """True if a value is one number, NumPy's included, that a float can hold."""
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "fiub":
        return True
    return isinstance(value, numbers.Real | np.bool_) and not (isinstance(value, int) and value.bit_length() > 1000)


def _is_array(value) -> bool:
    """True if a value is an array of floats, as some metrics give it: one for each class or threshold."""
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f"


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
            shown = {name: logs[name].tolist() if _is_array(logs[name]) else logs[name] for name in logs}
            writer.writerow({"epoch": epoch, **{name: shown[name] for name in self._names if name in shown}})

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
        content.expect("the state", state, names=list | None, length=int)
        if state["names"] is not None:
            self._names, self._keep = [str(name) for name in state["names"]], state["length"]
