"""Loops over epochs and batches: of a fit, which can go on after an interruption, an evaluation, a prediction."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Collection
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.files import content
from nblstm.process.show import warn
from nblstm.training.batches import Batches, IterableBatches
from nblstm.training.callbacks import BackupAndRestore, History
from nblstm.training.callbacks.base_callback import CallbackList
from nblstm.training.progress import Progress


class Loop:
    """One `fit`: epochs from ``initial_epoch`` to ``epochs - 1``.

    Attributes
    ----------
    model : Sequential
        With its ``objective``, which a callback may replace by compiling anew.
    validation_freq : int or set of int
        Epochs from one validation to the next, or the epochs, counted from 1, that have one.
    epoch : int
        The epoch that runs or comes next, counted from 0.
    done : int
        Batches of it that are done.
    """

    def __init__(
        self, model, batches: Batches, callbacks, epochs: int, initial_epoch: int, verbose: int,
        validation: Batches | None = None, validation_freq: int | Collection[int] = 1,
    ):  # fmt: skip
        self.model, self.batches, self.epochs, self.verbose = model, batches, epochs, verbose
        self.validation, self.validation_freq = validation, validation_freq
        self.epoch, self.done = initial_epoch, 0
        self._check_validations()
        params = {"epochs": epochs, "steps": batches.steps, "verbose": verbose, "do_validation": validation is not None}
        self.callbacks = CallbackList(callbacks, model, params)
        self.history = self._history(params)
        self._backups = [c for c in self.callbacks.callbacks if isinstance(c, BackupAndRestore)]

    def run(self) -> History:
        """Train; Ctrl-C ends it between two batches, and what was measured is returned as otherwise."""
        model = self.model
        model.history, model.stop_training = self.history, False
        self.callbacks("on_train_begin")
        logs: dict[str, Any] = {}
        for backup in self._backups:
            backup.restore(self)
        interrupted = False
        try:
            with Interrupts() as interrupts:
                while self.epoch < self.epochs and not model.stop_training:
                    logs = self._epoch(interrupts)
        except KeyboardInterrupt:
            interrupted = True
            print(
                f"\nfit was interrupted in epoch {self.epoch + 1} of {self.epochs}, after {self.done} of its batches; "
                f"the model has learned from these, and the history has {len(self.history.epoch)} epochs",
                file=sys.stderr,
            )
        self.callbacks("on_train_end", logs=logs)
        for backup in self._backups if not interrupted else []:
            backup.finished()
        return self.history

    def state(self) -> dict[str, Any]:
        """Everything that a fit in another process needs to go on from here."""
        return {
            "epoch": self.epoch,
            "done": self.done,
            "stop_training": self.model.stop_training,
            "batches": self.batches.state(),
            "callbacks": [[type(c).__name__, c.state()] for c in self.callbacks.callbacks],
            "model": self.model.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`.

        Raises
        ------
        ValueError
            If it is not of the same model, data and callbacks; then the model is as it was.
        """
        content.expect(
            "the state", state, epoch=int, done=int, stop_training=bool, batches=dict, callbacks=list, model=dict
        )
        if not all(isinstance(kept, list) and [*map(type, kept)] == [str, dict] for kept in state["callbacks"]):
            raise ValueError("what it has of its callbacks is no list of names and states")
        kinds = [kind for kind, _ in state["callbacks"]]
        own = [type(c).__name__ for c in self.callbacks.callbacks]
        if kinds != own:
            raise ValueError(f"it was made with the callbacks {', '.join(kinds)}, and now there are {', '.join(own)}")
        if min(state["epoch"], state["done"]) < 0:
            raise ValueError(f"it was made after {state['done']} batches of epoch {state['epoch']}")
        with self.model.unchanged_if_it_fails() as set_state:
            self.batches.load_state(state["batches"])
            set_state(state["model"])
            for callback, (_, kept) in zip(self.callbacks.callbacks, state["callbacks"], strict=True):
                callback.load_state(kept)
        self.epoch, self.done = state["epoch"], state["done"]
        self.model.stop_training = state["stop_training"]

    def _epoch(self, interrupts: Interrupts) -> dict[str, Any]:
        if not self.done:
            self.callbacks("on_epoch_begin", self.epoch)
        title = f"Epoch {self.epoch + 1}/{self.epochs}"
        progress = Progress(self.verbose, title, self.batches.steps, self.done)
        try:
            self._batches(interrupts, progress)
            if not self._enough():
                return {}
            logs = self.model.logs()
            if self.validation is not None and self._validates(self.epoch):
                logs |= {f"val_{name}": value for name, value in self._validation().items()}
            interrupts.held = True
            progress.clear()
            self.callbacks("on_epoch_end", self.epoch, logs=logs)
            progress.line(logs)
        finally:
            progress.close()
        self.epoch, self.done = self.epoch + 1, 0
        interrupts.release()
        for backup in self._backups:
            backup.after_epoch(self)
        return logs

    def _batches(self, interrupts: Interrupts, progress: Progress) -> None:
        model = self.model
        objective = model.objective
        begin = self.callbacks.overriding("on_train_batch_begin")
        end = self.callbacks.overriding("on_train_batch_end")
        for batch in self.batches.epoch(self.done):
            if not self.done:  # here, as a fit whose first batch is refused changes nothing
                model.reset_metrics()
            for method in begin:
                method(self.done, None)
            interrupts.held = True
            model.train_step(batch.x, batch.y, batch.weight, objective)
            self.done += 1
            interrupts.release()
            logs = model.logs() if end or progress.wants_logs else None
            for method in end:
                method(self.done - 1, logs)
            if model.objective is not objective:
                raise RuntimeError(
                    f"a callback compiled the model behind batch {self.done} of an epoch, which has no measurements "
                    "now; call compile() in on_epoch_begin or on_epoch_end, or behind the fit"
                )
            progress.step(self.done, logs)
            for backup in self._backups:
                backup.after_batch(self)
            if model.stop_training:
                break

    def _enough(self) -> bool:
        """True if the epoch had a batch; warns and ends the fit if it had fewer than it should."""
        needed = self.batches.steps
        if self.done and (needed is None or self.done >= needed or self.model.stop_training):
            return True
        if not self.done and not self.history.epoch:
            raise ValueError("the first epoch got no batch; give an iterable of (x, y) batches that is not empty")
        warn(
            f"the data ran out after {self.done} batches of epoch {self.epoch + 1} of {self.epochs}, so fit ends; give "
            "a generator that goes on, steps_per_epoch, or an iterable that begins anew"
        )
        self.model.stop_training = True
        return self.done > 0

    def _check_validations(self) -> None:
        """Refuse several validations with a generator that each of them reads to its end."""
        coming = sum(self._validates(epoch) for epoch in range(self.epoch, self.epochs))
        if isinstance(self.validation, IterableBatches) and self.validation.single_pass and coming > 1:
            raise ValueError(
                f"validation_data is a generator, of which the first of {coming} validations leaves nothing; give "
                "validation_steps and one that goes on, or an iterable that begins anew for each"
            )

    def _validation(self) -> dict[str, Any]:
        """Loss and metrics of the validation data; nothing, and it is not tried again, where these have run out."""
        assert self.validation is not None
        measured = evaluate(self.model, self.model.objective, self.validation, self.callbacks)
        if measured is None:
            warn(
                f"validation_data gave no batch behind epoch {self.epoch + 1} of {self.epochs}, so there are no more "
                "validations; give a generator that goes on, or an iterable that begins anew"
            )
            self.validation = None
        return measured or {}

    def _validates(self, epoch: int) -> bool:
        number = epoch + 1
        if isinstance(self.validation_freq, int):
            return number % self.validation_freq == 0
        return number in self.validation_freq

    def _history(self, params: dict[str, Any]) -> History:
        for callback in self.callbacks.callbacks:
            if isinstance(callback, History):
                return callback
        history = History()
        history.set_model(self.model)
        history.set_params(params)
        self.callbacks.callbacks.append(history)
        return history


class Interrupts:
    """Context in which SIGINT is deferred while ``held``, so that no step of the optimizer or epoch's end is half done.

    A second SIGINT is not deferred. Where the program has a handler of its own, or this is not the main thread, which
    alone is sent signals, nothing is changed.
    """

    def __init__(self):
        self.held = self._came = False
        self._installs = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )

    def __enter__(self) -> Interrupts:
        if self._installs:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exception) -> None:
        if self._installs:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.release()  # where another exception ends what was held

    def _handle(self, number, frame) -> None:
        if self.held and not self._came:
            self._came = True
        else:
            raise KeyboardInterrupt

    def release(self) -> None:
        """Raise a deferred SIGINT, and defer no more."""
        self.held = False
        if self._came:
            self._came = False
            raise KeyboardInterrupt


def evaluate(
    model, objective, batches: Batches, callbacks: CallbackList, progress: Progress | None = None
) -> dict[str, Any] | None:
    """Loss and metrics of a model over the batches of one epoch; None if there is no batch."""
    callbacks("on_test_begin")
    begin, end = callbacks.overriding("on_test_batch_begin"), callbacks.overriding("on_test_batch_end")
    done = 0
    for done, batch in enumerate(batches.epoch(), 1):
        if done == 1:  # here, as an evaluation whose first batch is refused changes nothing
            objective.reset()
        for method in begin:
            method(done - 1, None)
        model.test_step(batch.x, batch.y, batch.weight, objective)
        logs = objective.logs() if end or (progress is not None and progress.wants_logs) else None
        for method in end:
            method(done - 1, logs)
        if progress is not None:
            progress.step(done, logs)
    if done < (batches.steps or 0) and done:
        warn(
            f"the data ran out after {done} of {batches.steps} batches of an evaluation, which goes by these; give a "
            "generator that goes on, or an iterable that begins anew"
        )
    logs = objective.logs() if done else None
    callbacks("on_test_end", logs=logs)
    return logs


def predict(model, batches: Batches, callbacks: CallbackList, progress: Progress) -> np.ndarray:
    """The outputs for the batches of one epoch, one behind the other."""
    callbacks("on_predict_begin")
    begin, end = callbacks.overriding("on_predict_batch_begin"), callbacks.overriding("on_predict_batch_end")
    outputs: list[np.ndarray] = []
    try:
        for batch in batches.epoch():
            for method in begin:
                method(len(outputs), None)
            outputs.append(model.predict_on_batch(batch.x))
            for method in end:
                method(len(outputs) - 1, {"outputs": outputs[-1]})
            progress.step(len(outputs), {} if progress.wants_logs else None)
    finally:
        progress.close()
    if not outputs:
        raise ValueError("predict got no batch; give an array, or an iterable that is not empty")
    shapes = [y.shape[1:] for y in outputs]
    if len(set(shapes)) > 1:
        came = validate.different(shapes)
        raise ValueError(f"the outputs have shapes {came}, which make no array; predict such batches apart")
    callbacks("on_predict_end")
    return np.concatenate(outputs)
