"""fit, evaluate and predict, with Keras's arguments."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.models.feed import BATCH_SIZE
from nblstm.models.learner import Learner
from nblstm.training import loop
from nblstm.training.callbacks import History
from nblstm.training.callbacks.base_callback import CallbackList
from nblstm.training.data.batches import ArrayBatches
from nblstm.training.progress import Progress, verbosity


class Trainer(Learner):
    """A chain of layers that is trained, measured and used."""

    def fit(
        self, x=None, y=None, batch_size: int | None = None, epochs: int = 1, verbose: int | str = "auto",
        callbacks=None, validation_split: float = 0.0, validation_data=None, shuffle: bool = True,
        class_weight: dict | None = None, sample_weight=None, initial_epoch: int = 0,
        steps_per_epoch: int | None = None, validation_steps: int | None = None,
        validation_batch_size: int | None = None, validation_freq: int | Collection[int] = 1,
    ) -> History:  # fmt: skip
        """Train for a number of passes over the data.

        Parameters
        ----------
        x : array_like, shape (N, ...), or iterable
            Samples; or a generator or other iterable of batches, (x, y) or (x, y, sample_weight), that is no list.
        y : array_like, shape (N, ...)
            Targets, if x is an array.
        batch_size : int, default 32
            For arrays.
        epochs : int, default 1
            The epoch at which to end, counted with ``initial_epoch``.
        verbose : {"auto", 0, 1, 2}
            0 is silent; 2 prints a line per epoch; 1 (auto) does so too, and on a terminal draws a bar in the course
            of an epoch.
        callbacks : list of Callback, optional
        validation_split : float, default 0
            The part of the samples, from the end of x and y, on which the model is evaluated and not trained.
        validation_data : tuple (x, y) or (x, y, sample_weight), or iterable of batches, optional
            Data on which the model is evaluated after each epoch.
        shuffle : bool, default True
            Whether arrays are put in a new random order for each epoch.
        class_weight : dict of int to float, optional
            Weights of samples by their class, or of steps where each has its class, in training alone; 1 for classes
            that it lacks. Refused where rows of targets are not one-hot.
        sample_weight : array_like, shape (N,) or (N, T), optional
            Weights of samples, or of steps, in the loss.
        initial_epoch : int, default 0
        steps_per_epoch : int, optional
            Batches in an epoch, where it is not a pass over the data.
        validation_steps : int, optional
            Batches of an evaluation; all by default.
        validation_batch_size : int, optional
            ``batch_size`` by default.
        validation_freq : int or list of int, default 1
            Epochs from one evaluation to the next, or the epochs, counted from 1, that have one.

        Returns
        -------
        History
            Its ``history`` has the loss and metrics of each epoch, ``val_`` before those of validation.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described, data and model do not fit, or a number is not finite or out of range.
        RuntimeError
            If the model is not compiled, or a fit of it is under way, as where a callback calls this.

        Notes
        -----
        Ctrl-C ends the fit between two batches: a note on stderr says where, and the history so far is returned.
        """
        self._need_compiled("fit")
        if self._fitting:
            raise RuntimeError(
                "fit() is called while another fit of this model runs, which would lose its place; call it behind that "
                "one, or on copy.deepcopy(model)"
            )
        epochs = validate.positive_integer("epochs", epochs)
        first, shown = validate.whole_number("initial_epoch", initial_epoch), verbosity(verbose)
        every = _validated_epochs(validation_freq)
        batches, held_out = self.training_batches(
            x, y, sample_weight, class_weight, batch_size, steps_per_epoch, shuffle,
            0.0 if validation_data is not None else validation_split,
        )  # fmt: skip
        size = batch_size if validation_batch_size is None else validation_batch_size
        validation = self.validation_batches(validation_data, held_out, size, validation_steps)
        self.check_validation(batches, validation)
        run = loop.Loop(self, batches, callbacks, epochs, first, shown, validation, every)
        if self.built:  # else the first batch of an iterable tells the layers' parameters
            self._prepare()
        self._foresee(sample_weight is not None or class_weight is not None)
        self._fitting = True
        try:
            with self.measured(whole=True):
                return run.run()
        finally:
            self._fitting = False

    def evaluate(
        self, x=None, y=None, batch_size: int | None = None, verbose: int | str = "auto", sample_weight=None,
        steps: int | None = None, callbacks=None, return_dict: bool = False,
    ) -> Any:  # fmt: skip
        """The loss and the metrics on some data.

        Parameters
        ----------
        x, y, batch_size, verbose, sample_weight, callbacks
            As in `fit`.
        steps : int, optional
            Batches; all by default.
        return_dict : bool, default False

        Returns
        -------
        float, list of float or dict of str to float
            The loss, if there are no metrics; else the loss and the metrics, with their names as a dict.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As in `fit`.
        """
        self._need_compiled("evaluate")
        shown, return_dict = verbosity(verbose), validate.flag("return_dict", return_dict)
        batches = self.batches(x, y, sample_weight, batch_size, steps)
        listed = CallbackList(callbacks, self, {"epochs": 1, "steps": batches.steps, "verbose": shown})
        progress = Progress(shown, "", batches.steps)

        def run() -> dict[str, float] | None:
            with self.measured() as objective:
                return loop.evaluate(self, objective, batches, listed, progress)

        try:
            logs = self._whole(batches, callbacks, run)
            if logs is None:
                raise ValueError("the evaluation got no batch; give an iterable of (x, y) batches that is not empty")
            progress.line(logs)
        finally:
            progress.close()
        return logs if return_dict else _flat(logs)

    def predict(
        self, x, batch_size: int | None = None, verbose: int | str = "auto", steps: int | None = None, callbacks=None
    ) -> np.ndarray:
        """The outputs for some data.

        Parameters
        ----------
        x : array_like, shape (N, ...), or iterable
            Samples; or an iterable of batches, x or (x, ...).
        batch_size : int, default 32
        verbose : {"auto", 0, 1, 2}
            1 (auto) shows a bar while it runs, on a terminal and if there are several batches.
        steps : int, optional
            Batches; all by default.
        callbacks : list of Callback, optional

        Returns
        -------
        ndarray, shape (N, ...)

        Raises
        ------
        TypeError, ValueError
            If x does not fit the model.

        Notes
        -----
        Many threads may predict at once, and another may set the parameters meanwhile (`set_weights`, `load_weights`,
        `load_state`): each array is predicted with the old ones or with the new ones, and so is each batch of an
        iterable, or where there are callbacks.
        """
        size = BATCH_SIZE if batch_size is None else validate.positive_integer("batch_size", batch_size)
        shown = verbosity(verbose)
        if isinstance(x, np.ndarray) and x.ndim and len(x) <= size and steps is None and not callbacks:
            return self.predict_on_batch(x)
        batches = self.input_batches(x, batch_size, steps)
        listed = CallbackList(callbacks, self, {"epochs": 1, "steps": batches.steps, "verbose": shown})

        def run() -> np.ndarray:
            return loop.predict(self, batches, listed, Progress(min(shown, 1), "", batches.steps))

        return self._whole(batches, callbacks, run)

    def _whole(self, batches, callbacks, run: Callable[[], Any]) -> Any:
        """What ``run()`` gives, of all parameters as they were at one moment, unless others see its batches too.

        Then each batch has parameters of one moment.
        """
        seen = callbacks or not isinstance(batches, ArrayBatches) or self._keeps_states
        return run() if seen else self.at_one_moment(run)

    def predict_on_batch(self, x) -> np.ndarray:
        """The output for one batch, shape (B, ...)."""
        x = self.converted(x)
        y = self.inferred(x)[0]
        return y.copy() if y is x or (y.base is not None and np.may_share_memory(x, y)) else y

    def train_on_batch(
        self, x, y=None, sample_weight=None, class_weight: dict | None = None, return_dict: bool = False
    ) -> Any:
        """One step of the optimizer; loss and metrics of this batch, before it, as `evaluate` returns them."""
        self._need_compiled("train_on_batch")
        return_dict = validate.flag("return_dict", return_dict)
        data = self.samples(x, y, sample_weight, class_weight)
        self._prepare()
        with self.measured() as objective:
            objective.reset()
            self.train_step(data.x, data.y, data.weight, objective)
            return objective.logs() if return_dict else _flat(objective.logs())

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch, as `evaluate` returns them."""
        self._need_compiled("test_on_batch")
        return_dict = validate.flag("return_dict", return_dict)
        data = self.samples(x, y, sample_weight, None)
        with self.measured() as objective:
            objective.reset()
            self.test_step(data.x, data.y, data.weight, objective)
            return objective.logs() if return_dict else _flat(objective.logs())


def _validated_epochs(validation_freq) -> int | set[int]:
    fix = "give the epochs from one validation to the next, 1 or more, or a list of epochs, counted from 1"
    if not isinstance(validation_freq, Iterable) or isinstance(validation_freq, str):
        return validate.positive_integer("validation_freq", validation_freq, fix)
    return {validate.positive_integer("an epoch of validation_freq", epoch, fix) for epoch in validation_freq}


def _flat(logs: dict[str, float]) -> Any:
    values = list(logs.values())
    return values[0] if len(values) == 1 else values
