"""Four programs like those in examples/, with their kinds of models, sizes and arguments of `fit`, on seeded numbers.

They are written once, for Keras and nblstm: a contender gives its library.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np


class Library:
    """The modules of ``keras`` or ``nblstm`` that a program needs, under the same names."""

    def __init__(self, name: str):
        self.layers, self.models, self.optimizers = (
            import_module(f"{name}.{part}") for part in ("layers", "models", "optimizers")
        )


@dataclass(frozen=True)
class Task:
    """What a program does.

    Attributes
    ----------
    fit : dict
        Arguments of ``model.fit`` but for ``epochs`` and ``verbose``.
    row : ndarray, shape (1, ...)
        What `predict` is asked for.
    epochs : int
        Of one timed call of `fit`: as short an epoch as program 6 has is one of many in a fit.
    """

    fit: Callable[[], dict[str, Any]]
    row: np.ndarray
    epochs: int = 1


def compiled(name: str, library: Library):
    """The model of a program, with weights that depend on their shapes alone."""
    layers, compilation = PROGRAMS[name].model(library)
    model = library.models.Sequential(layers)
    model.compile(**compilation)
    generator = np.random.default_rng(0)

    def weights(shape):
        bound = np.sqrt(6 / (np.prod(shape[:-1]) + shape[-1])) if len(shape) > 1 else 0.1
        return generator.uniform(-bound, bound, shape).astype(np.float32)

    model.set_weights([weights(tuple(w.shape)) for w in model.get_weights()])
    return model


def _count_digits(library):
    layers = library.layers
    chain = [layers.Input((10, 64)), layers.LSTM(32), layers.Dense(1, activation="sigmoid")]
    return chain, {"loss": "binary_crossentropy", "optimizer": "adam", "metrics": ["accuracy"]}


def _count_digits_task(generator) -> Task:
    x, y = generator.random((10_000, 10, 64), np.float32), generator.integers(2, size=10_000)
    return Task(lambda: {"x": x, "y": y}, x[:1], epochs=5)


def _digits_row_by_row(library):
    layers = library.layers
    chain = [
        layers.Input((8, 8)),
        layers.LSTM(128, activation="relu", return_sequences=True),
        layers.LSTM(64, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]
    return chain, {"loss": "sparse_categorical_crossentropy", "optimizer": "adam", "metrics": ["accuracy"]}


def _digits_row_by_row_task(generator) -> Task:
    x, y = generator.random((1_797, 8, 8), np.float32), generator.integers(10, size=1_797)
    return Task(lambda: {"x": x[:1_437], "y": y[:1_437], "validation_data": (x[1_437:], y[1_437:])}, x[:1], epochs=4)


MAXLEN, CHARACTERS = 40, 103


def _generate_text(library):
    layers = library.layers
    chain = [layers.Input((MAXLEN, CHARACTERS)), layers.LSTM(128), layers.Dense(CHARACTERS, activation="softmax")]
    return chain, {"loss": "sparse_categorical_crossentropy", "optimizer": library.optimizers.Adam(0.004)}


def _generate_text_task(generator) -> Task:
    text, held_out = generator.integers(CHARACTERS, size=290_000), generator.integers(CHARACTERS, size=32_500)
    one_hot = np.eye(CHARACTERS, dtype=np.float32)

    def windows(numbers, starts):
        return one_hot[numbers[starts[:, None] + np.arange(MAXLEN)]], numbers[starts + MAXLEN]

    def batches():
        starts = np.random.default_rng(1)
        while True:
            yield windows(text, starts.integers(len(text) - MAXLEN, size=128))

    held_out_windows = windows(held_out, np.arange(0, len(held_out) - MAXLEN, 10))
    fit = {"steps_per_epoch": 500, "shuffle": False, "validation_data": held_out_windows}
    return Task(lambda: {"x": batches(), **fit}, held_out_windows[0][:1])


def _forecast_months(library):
    layers, optimizers = library.layers, library.optimizers
    rate = optimizers.schedules.CosineDecay(0.003, 2_400)
    chain = [layers.Input((None, 1)), layers.LSTM(100, activation="relu"), layers.Dense(1)]
    return chain, {"loss": "mse", "optimizer": optimizers.Adam(rate, clipnorm=1.0)}


def _forecast_months_task(generator) -> Task:
    record = generator.standard_normal((420, 1), np.float32)

    def batches():
        # Each length in turn: Keras on TensorFlow takes two batches of different shapes as the sign that they vary.
        for k, ends in enumerate(np.random.default_rng(1).integers(48, 420, size=(10_000, 32))):
            yield record[ends[:, None] + np.arange(-12 * (k % 4 + 1), 0)], record[ends]

    return Task(lambda: {"x": batches(), "steps_per_epoch": 12, "shuffle": False}, record[None, :24], epochs=50)


@dataclass(frozen=True)
class Program:
    """One of the programs.

    Attributes
    ----------
    title : str
    model : callable
        From a library to a list of layers and the arguments of ``compile``.
    """

    title: str
    model: Callable[[Library], tuple[list, dict[str, Any]]]
    _task: Callable[[np.random.Generator], Task] = field(repr=False)

    def task(self) -> Task:
        """Its data, the same in every process."""
        return self._task(np.random.default_rng(7))


PROGRAMS = {
    "count_digits": Program("LSTM(32) on (10, 64), 10,000 samples by 32", _count_digits, _count_digits_task),
    "digits_row_by_row": Program(
        "LSTM(128), LSTM(64) on (8, 8), relu, 1,437 samples by 32, 360 to validate",
        _digits_row_by_row, _digits_row_by_row_task,
    ),
    "generate_text": Program(
        "LSTM(128) on (40, 103), 500 batches of 128, 3,246 samples to validate", _generate_text, _generate_text_task
    ),
    "forecast_months": Program(
        "LSTM(100) on (12 to 48, 1), relu, 12 batches of 32", _forecast_months, _forecast_months_task
    ),
}  # fmt: skip


class Running:
    """A program in some library: its first epoch, those after it, and predictions for one row.

    Parameters
    ----------
    name : str
    library : str
        ``"keras"`` or ``"nblstm"``.
    """

    def __init__(self, name: str, library: str):
        self._model, self._task = compiled(name, Library(library)), PROGRAMS[name].task()

    def first_epoch(self) -> dict[str, list[float]]:
        """Losses of an epoch with the batches in order, by their names in the history; for comparison."""
        arguments = self._task.fit() | {"shuffle": False}
        measured = self._model.fit(**arguments, epochs=1, verbose=0).history
        return {name: values for name, values in measured.items() if "loss" in name}

    def epoch(self) -> float:
        """Seconds of an epoch, one of as many as the task says."""
        begin = time.perf_counter()
        self._model.fit(**self._task.fit(), epochs=self._task.epochs, verbose=0)
        return (time.perf_counter() - begin) / self._task.epochs

    def predict(self) -> np.ndarray:
        return self._model.predict(self._task.row, verbose=0)

    def predict_on_batch(self) -> np.ndarray:
        return self._model.predict_on_batch(self._task.row)
