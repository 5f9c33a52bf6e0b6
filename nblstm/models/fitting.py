"""Compile, fit, evaluate and predict, with Keras's arguments: methods of `Sequential`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.arguments import validate
from nblstm.engine.device import backend_of
from nblstm.models import data
from nblstm.models.step import check_truncation, measured, prepare
from nblstm.training import loop, optimizers
from nblstm.training.batches import ArrayBatches, Samples
from nblstm.training.callbacks import History
from nblstm.training.callbacks.base_callback import CallbackList
from nblstm.training.objective import Objective
from nblstm.training.optimizers import Optimizer
from nblstm.training.progress import Progress, verbosity

if TYPE_CHECKING:
    from nblstm.models.sequential import Sequential


def compile(
    model: Sequential, optimizer: str | Optimizer | type[Optimizer] | dict[str, Any] = "rmsprop", loss=None,
    loss_weights=None, metrics=None, weighted_metrics=None, run_eagerly: bool = False, steps_per_execution: int = 1,
    jit_compile: bool | str = "auto", auto_scale_loss: bool = True, *, bptt_steps: int | None = None,
) -> None:  # fmt: skip
    """Say how the model is trained and measured; the parameters stay as they are.

    Parameters
    ----------
    optimizer : str, Optimizer, type or dict, default "rmsprop"
    loss : str, Loss, type, dict or callable
        See `nblstm.training.losses.get`.
    metrics : list, optional
        Names such as ``"accuracy"``, which is binary, categorical or sparse categorical accuracy by the shapes of
        predictions and targets; objects, or functions of y_true and y_pred.
    weighted_metrics : list, optional
        Likewise, weighted by ``sample_weight`` or ``class_weight``.
    bptt_steps : int, optional
        Truncated backpropagation through time: batches of sequences (B, T, ...) with a target for each step are
        trained in chunks of so many steps. Recurrent layers begin a chunk with the states in which they ended the
        one before, through which no gradient flows, and the optimizer makes a step after each chunk.
    loss_weights, run_eagerly, steps_per_execution, jit_compile, auto_scale_loss
        Keras's; not supported, and refused unless they have their defaults.
    """
    validate.only("loss_weights", loss_weights, None)
    validate.only("run_eagerly", run_eagerly, False)
    validate.only("steps_per_execution", steps_per_execution, 1)
    validate.only("jit_compile", jit_compile, "auto")
    validate.only("auto_scale_loss", auto_scale_loss, True)
    if loss is None:
        raise ValueError("loss is None; give a name, such as 'mse', or an object of nblstm.training.losses")
    steps = None if bptt_steps is None else validate.positive_integer("bptt_steps", bptt_steps)
    if steps is not None:
        check_truncation(model)
    objective, optimizer = Objective(loss, metrics, weighted_metrics), optimizers.get(optimizer)
    model.objective, model.optimizer, model._bptt_steps = objective, optimizer, steps
    model._objective_token = [True]


def fit(
    model: Sequential, x=None, y=None, batch_size: int | None = None, epochs: int = 1, verbose: int | str = "auto",
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
    need_compiled(model, "fit")
    if model._fitting:
        raise RuntimeError(
            "fit() is called while another fit of this model runs, which would lose its place; call it behind that "
            "one, or on copy.deepcopy(model)"
        )
    epochs = validate.positive_integer("epochs", epochs)
    first, shown = validate.whole_number("initial_epoch", initial_epoch), verbosity(verbose)
    every = _validated_epochs(validation_freq)
    batches, held_out = data.training_batches(
        model, x, y, sample_weight, class_weight, batch_size, steps_per_epoch, shuffle,
        0.0 if validation_data is not None else validation_split,
    )  # fmt: skip
    size = batch_size if validation_batch_size is None else validation_batch_size
    validation = data.validation_batches(model, validation_data, held_out, size, validation_steps)
    data.check_validation(model, batches, validation)
    run = loop.Loop(model, batches, callbacks, epochs, first, shown, validation, every)
    if model.built:  # else the first batch of an iterable tells the layers' parameters
        prepare(model)
    weighted = sample_weight is not None or class_weight is not None or model.makes_masks
    for function, *arguments in _kernels(model, weighted):  # the first step needs them last: compiled meanwhile
        backend_of("cpu").compile_while_waiting(function, *arguments)
    model._fitting = True
    try:
        with measured(model, whole=True):
            return run.run()
    finally:
        model._fitting = False


def evaluate(
    model: Sequential, x=None, y=None, batch_size: int | None = None, verbose: int | str = "auto", sample_weight=None,
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
    """
    need_compiled(model, "evaluate")
    shown, return_dict = verbosity(verbose), validate.flag("return_dict", return_dict)
    batches = data.evaluation_batches(model, x, y, sample_weight, batch_size, steps)
    listed = CallbackList(callbacks, model, {"epochs": 1, "steps": batches.steps, "verbose": shown})
    progress = Progress(shown, "", batches.steps)

    def run() -> dict[str, Any] | None:
        with measured(model) as objective:
            return loop.evaluate(model, objective, batches, listed, progress)

    try:
        logs = _run_at_one_moment(model, batches, callbacks, run)
        if logs is None:
            raise ValueError("the evaluation got no batch; give an iterable of (x, y) batches that is not empty")
        progress.line(logs)
    finally:
        progress.close()
    return logs if return_dict else _flat(logs)


def predict(
    model: Sequential, x, batch_size: int | None = None, verbose: int | str = "auto", steps: int | None = None,
    callbacks=None,
) -> np.ndarray:  # fmt: skip
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

    Notes
    -----
    Many threads may predict at once, and another may set the parameters meanwhile (`set_weights`, `load_weights`,
    `load_state`): each array is predicted with the old ones or with the new ones, and so is each batch of an
    iterable, or where there are callbacks.
    """
    size = data.BATCH_SIZE if batch_size is None else validate.positive_integer("batch_size", batch_size)
    shown = verbosity(verbose)
    if isinstance(x, np.ndarray) and x.ndim and len(x) <= size and steps is None and not callbacks:
        return model.predict_on_batch(x)
    batches = data.input_batches(model, x, batch_size, steps)
    listed = CallbackList(callbacks, model, {"epochs": 1, "steps": batches.steps, "verbose": shown})

    def run() -> np.ndarray:
        return loop.predict(model, batches, listed, Progress(min(shown, 1), "", batches.steps))

    return _run_at_one_moment(model, batches, callbacks, run)


def predict_on_batch(model: Sequential, x) -> np.ndarray:
    """The output for one batch, shape (B, ...)."""
    x = data.converted(model, x)
    y = model._infer(x)[0]
    return y.copy() if y is x or (y.base is not None and np.may_share_memory(x, y)) else y


def train_on_batch(
    model: Sequential, x, y=None, sample_weight=None, class_weight: dict | None = None, return_dict: bool = False
) -> Any:
    """One step of the optimizer; loss and metrics of this batch, before it, as `evaluate` returns them."""
    need_compiled(model, "train_on_batch")
    return_dict = validate.flag("return_dict", return_dict)
    batch = data.samples(model, x, y, sample_weight, class_weight)
    prepare(model)
    return _measured_batch(model, model.train_step, batch, return_dict)


def test_on_batch(model: Sequential, x, y=None, sample_weight=None, return_dict: bool = False) -> Any:  # noqa: PT028
    """Loss and metrics of one batch, as `evaluate` returns them."""
    need_compiled(model, "test_on_batch")
    return_dict = validate.flag("return_dict", return_dict)
    return _measured_batch(model, model.test_step, data.samples(model, x, y, sample_weight, None), return_dict)


def _measured_batch(model: Sequential, step: Callable, batch: Samples, return_dict: bool) -> Any:
    with measured(model) as objective:
        objective.reset()
        step(batch.x, batch.y, batch.weight, objective)
        found = objective.logs()
    return found if return_dict else _flat(found)


def warmup(model: Sequential) -> None:
    """Compile every kernel that `predict`, and of a compiled model `fit`, can need; they are kept in the cache.

    A layer's serve any size, so the model need not be built.
    """
    for layer in model._layers:
        layer.warmup()
    if model.compiled:
        for function, *arguments in (*_kernels(model, False), *_kernels(model, True)):
            function(*arguments)


def reset_metrics(model: Sequential) -> None:
    """Forget what was measured."""
    assert model.objective is not None
    model.objective.reset()


def logs(model: Sequential) -> dict[str, Any]:
    """The loss and the metrics since `reset_metrics`, by name."""
    assert model.objective is not None
    return model.objective.logs()


def need_compiled(model: Sequential, method: str) -> None:
    """Refuse to go on, in ``method``, with a model that is not compiled."""
    if not model.compiled:
        raise RuntimeError(f"the model is not compiled; call compile(optimizer, loss) before {method}()")


def _kernels(model: Sequential, weighted: bool) -> list[tuple]:
    """List the functions that compile the kernels of losses, metrics and the optimizer, each with its arguments."""
    objective: Any = model.objective
    optimizer: Any = model.optimizer
    dtypes = dict.fromkeys(layer.dtype for layer in model._layers)
    return [call for dtype in dtypes for call in (*objective.kernels(dtype, weighted), *optimizer.kernels(dtype))]


def _run_at_one_moment(model: Sequential, batches, callbacks, run: Callable[[], Any]) -> Any:
    """Return ``run()``, of all parameters as they were at one moment, unless others see its batches too.

    Then each batch has parameters of one moment.
    """
    seen = callbacks or not isinstance(batches, ArrayBatches) or model._stateful
    return run() if seen else model._parameters_lock.read(run)


def _validated_epochs(validation_freq) -> int | set[int]:
    fix = "give the epochs from one validation to the next, 1 or more, or a list of epochs, counted from 1"
    if not isinstance(validation_freq, Iterable) or isinstance(validation_freq, str):
        return validate.positive_integer("validation_freq", validation_freq, fix)
    return {validate.positive_integer("an epoch of validation_freq", epoch, fix) for epoch in validation_freq}


def _flat(logs: dict[str, Any]) -> Any:
    values = list(logs.values())
    return values[0] if len(values) == 1 else values
