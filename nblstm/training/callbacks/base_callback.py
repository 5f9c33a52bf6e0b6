"""Callback, whose methods a fit calls in its course; one made of functions; and the list of those of a fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nblstm.arguments import signatures, validate


class Callback(signatures.KnownArguments):
    """Base class: a subclass overrides what it needs, with Keras's names.

    Each method gets ``logs``, a dict of the values measured so far: of the epoch in ``on_epoch_end``, with those of
    validation; of the epoch's batches until now in ``on_train_batch_end``. Setting ``self.model.stop_training = True``
    ends the fit.

    Attributes
    ----------
    model : Sequential
        Set by `fit`.
    params : dict
        ``epochs``, ``steps`` (None if not known), ``verbose`` and ``do_validation``.
    """

    model: Any = None
    params: dict[str, Any] = {}  # noqa: RUF012, replaced and never changed

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse methods that cannot be called as they will be."""
        super().__init_subclass__(**options)
        signatures.overridden(cls, Callback, *(name for name in vars(Callback) if name.startswith("on_")))

    def __init__(self) -> None:
        pass

    def set_model(self, model) -> None:
        """Called before the fit begins."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called before the fit begins."""
        self.params = params

    def on_train_begin(self, logs=None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs=None) -> None:
        """After the last epoch, also if the fit was stopped or interrupted."""

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Before an epoch, counted from 0."""

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """After an epoch and its validation; what is added to ``logs`` comes into the history."""

    def on_train_batch_begin(self, batch: int, logs=None) -> None:
        """Before a batch, counted from 0; by default `on_batch_begin`."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        """After a batch; by default `on_batch_end`."""
        self.on_batch_end(batch, logs)

    def on_batch_begin(self, batch: int, logs=None) -> None:
        """Short for `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs=None) -> None:
        """Short for `on_train_batch_end`."""

    def on_test_begin(self, logs=None) -> None:
        """Before an evaluation, also that of an epoch."""

    def on_test_end(self, logs=None) -> None:
        """After an evaluation."""

    def on_test_batch_begin(self, batch: int, logs=None) -> None:
        """Before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs=None) -> None:
        """After a batch of an evaluation."""

    def on_predict_begin(self, logs=None) -> None:
        """Before predictions."""

    def on_predict_end(self, logs=None) -> None:
        """After predictions."""

    def on_predict_batch_begin(self, batch: int, logs=None) -> None:
        """Before a batch of predictions."""

    def on_predict_batch_end(self, batch: int, logs=None) -> None:
        """After a batch of predictions; ``logs["outputs"]`` has them."""

    def state(self) -> dict[str, Any]:
        """The values from which the callback can go on after an interruption; see `load_state`.

        Returns
        -------
        dict
            Of numbers, strings, None, arrays, and lists and dicts of these; empty by default.
        """
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`; called after `on_train_begin` when a fit is taken up again."""


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


class CallbackList:
    """The callbacks of one fit, evaluation or prediction, called in order."""

    def __init__(self, callbacks, model, params: dict[str, Any]):
        self.callbacks: list[Any] = _checked(callbacks)
        for callback in self.callbacks:
            callback.set_model(model)
            callback.set_params(params)
        self._called: dict[str, list] = {}

    def __call__(self, event: str, *arguments, logs=None) -> None:
        """Call ``event`` of all that override it."""
        for method in self.overriding(event):
            method(*arguments, logs)

    def overriding(self, event: str) -> list:
        """The methods for ``event`` that do something: a loop over batches passes over the others."""
        if event not in self._called:
            methods = [getattr(callback, event) for callback in self.callbacks]
            self._called[event] = [method for method in methods if not _idle(method, event)]
        return self._called[event]


#: For the first event, `Callback` itself calls the method of the second.
_PASSED_ON = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}


def _idle(method, event: str) -> bool:
    """True if the method is `Callback`'s own, which does nothing."""
    if getattr(method, "__func__", None) is not getattr(Callback, event):
        return False
    passed_on = _PASSED_ON.get(event)
    return passed_on is None or _idle(getattr(method.__self__, passed_on), passed_on)


def _checked(callbacks) -> list[Callback]:
    if callbacks is None:
        return []
    given = [callbacks] if isinstance(callbacks, Callback) else callbacks
    if not isinstance(given, Iterable):
        raise TypeError(f"callbacks is {callbacks!r}; give a list of objects such as EarlyStopping()")
    flat: list[Callback] = []
    for callback in given:
        if isinstance(callback, list | tuple):
            flat += _checked(callback)
        elif isinstance(callback, Callback):
            flat.append(callback)
        else:
            raise TypeError(
                f"callbacks has {callback!r}; give objects of nblstm.training.Callback, such as EarlyStopping()"
            )
    return flat
