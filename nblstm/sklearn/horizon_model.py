"""The network of a forecaster: its training on windows, and its outputs for the steps of the horizon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from nblstm.arguments import validate
from nblstm.models import Sequential
from nblstm.sklearn.networks import network, optimizer_of
from nblstm.sklearn.windows import Known, Windowing, widening
from nblstm.training.callbacks import EarlyStopping
from nblstm.training.losses import Quantile


class HorizonModel:
    """A network that reads windows and gives all steps of the horizon, with the scale of its outputs.

    Parameters
    ----------
    forecaster : RecurrentForecaster
        Its arguments say what the network is like and how it is trained.
    known : list of Known
        Series, before differences.
    windowing : Windowing
    levels : tuple of float, or None
        Quantiles in ascending order; None for means.

    Attributes
    ----------
    model : Sequential
    log : dict of str to list of float
        Losses of each epoch.
    widening : ndarray, shape (H, K, Q)
        See `windows.widening`.
    """

    def __init__(self, forecaster: Any, known: list[Known], windowing: Windowing, levels: tuple[float, ...] | None):
        self.lags, self.horizon, self.difference = windowing.lags, windowing.horizon, windowing.difference
        self.levels = levels
        trained, held_out = zip(*[windowing.origins(len(one.series)) for one in known], strict=True)
        self._columns, self._each_step = known[0].series.values.shape[1], known[0].columns.shape[1] > 0
        x, corrections = self._data(known, trained)
        self._center, unit = corrections.mean(axis=0), corrections.std(axis=0)
        self._unit = np.where(unit > 1e-12 * np.abs(corrections).max(axis=0), unit, 0.0)  # 0: always the same
        self.model = self._made(forecaster, x.shape[2])
        callbacks, validation = [[] if forecaster.callbacks is None else forecaster.callbacks], None
        if windowing.fraction:
            x_held_out, corrections_held_out = self._data(known, held_out)
            validation = self._samples(x_held_out, corrections_held_out)
            patience = validate.positive_integer("n_iter_no_change", forecaster.n_iter_no_change)
            least = validate.number("tol", forecaster.tol, 0)
            callbacks.append(EarlyStopping(min_delta=least, patience=patience, restore_best_weights=True))
        x, y, *weight = self._samples(x, corrections)
        self.log = self.model.fit(
            x, y, validate.positive_integer("batch_size", forecaster.batch_size),
            validate.positive_integer("max_epochs", forecaster.max_epochs), forecaster.verbose, callbacks,
            validation_data=validation, sample_weight=weight[0] if weight else None,
        ).history  # fmt: skip
        if not np.isfinite(self.log.get("loss", [0.0])[-1]):
            raise ValueError(f"the loss is {self.log['loss'][-1]} after training; lower the learning rate")
        self.widening = np.zeros((self.horizon, self._columns, self._quantiles))
        if windowing.fraction and levels is not None:
            z = self._standardised(corrections_held_out)
            self.widening = widening(z[..., None] - self._outputs(x_held_out, self.horizon), levels)

    def forecasts(self, known: list[Known], horizon: int) -> np.ndarray:
        """Forecasts behind the last steps of N series, (N, horizon, K, Q)."""
        last = [np.array([len(one.series) - 1]) for one in known]
        parts = list(zip(known, last, strict=True))
        x = np.concatenate([one.inputs(at, self.lags, horizon, self.difference) for one, at in parts])
        z = np.sort(self._outputs(x, horizon) + self.widening[:horizon], axis=-1)
        corrections = self._center[:horizon, :, None] + self._unit[:horizon, :, None] * z
        start = np.concatenate([one.start(at, horizon, self.difference) for one, at in parts])
        unit = np.stack([one.scale.unit for one in known])
        return start[..., None] + unit[:, None, :, None] * corrections

    @property
    def _quantiles(self) -> int:
        return len(self.levels) if self.levels else 1

    def _made(self, forecaster: Any, features: int) -> Sequential:
        """The network with new parameters, compiled."""
        outputs = (1 if self._each_step else self.horizon) * self._columns * self._quantiles
        seed = int(check_random_state(forecaster.random_state).randint(np.iinfo(np.int32).max))
        made = network(forecaster, features, outputs, None, self._each_step, False, seed)
        shape: Any = made.output_shape
        if len(shape) != 2 + self._each_step or shape[-1] != outputs:
            wanted = f"({'N, T' if self._each_step else 'N'}, {outputs})"
            raise ValueError(f"model has outputs of shape {shape}; let its last layers give {wanted}")
        loss = "mse" if self.levels is None else Quantile(self.levels)
        made.compile(optimizer_of(forecaster.optimizer, forecaster.learning_rate), loss)
        return made

    def _data(self, known: list[Known], origins: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (N, T, F) of the windows with these origins, and the corrections (N, H, K) that are right."""
        parts = list(zip(known, origins, strict=True))
        x = np.concatenate([one.inputs(at, self.lags, self.horizon, self.difference) for one, at in parts])
        return x, np.concatenate([one.corrections(at, self.horizon, self.difference) for one, at in parts])

    def _standardised(self, corrections: np.ndarray) -> np.ndarray:
        return (corrections - self._center) / np.where(self._unit, self._unit, 1.0)

    def _samples(self, x: np.ndarray, corrections: np.ndarray) -> tuple[np.ndarray, ...]:
        """Inputs, targets, and where there is an output at each step, the weights that leave the horizon."""
        z = self._standardised(corrections).astype(np.float32)
        if not self._each_step:
            return x, z.reshape(len(z), -1)
        T = self.lags + self.horizon
        target, weight = np.zeros((len(z), T, z.shape[2]), np.float32), np.zeros((len(z), T), np.float32)
        target[:, self.lags :] = z
        weight[:, self.lags :] = T / self.horizon  # so that the mean over all steps is that over the horizon
        return x, target, weight

    def _outputs(self, x: np.ndarray, horizon: int) -> np.ndarray:
        """The network's outputs without crossings, (N, horizon, K, Q)."""
        z = self.model.predict(x, 1024, verbose=0).astype(np.float64)
        if self._each_step:
            z = z[:, self.lags :]
        return np.sort(z.reshape(len(z), -1, self._columns, self._quantiles)[:, :horizon], axis=-1)
