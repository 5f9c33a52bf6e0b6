"""RecurrentEstimator: what classifier and regressor share, from the arguments to training and raw predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from nblstm.arguments import validate
from nblstm.sklearn.loss_curve import LossCurve
from nblstm.sklearn.networks import masks_padding, network, optimizer_of, padding_of
from nblstm.sklearn.reading import read
from nblstm.sklearn.sequences import Sequences, TrainingBatches, batch_of, subset
from nblstm.training.losses import Loss


class RecurrentEstimator(BaseEstimator):
    """Base of `RecurrentClassifier` and `RecurrentRegressor`, which say what targets, outputs and scores are."""

    _learning_rate: Any  # of the last fit

    def __init__(
        self, cell, hidden_size, num_layers, bidirectional, dropout, optimizer, learning_rate, batch_size, max_epochs,
        early_stopping, validation_fraction, n_iter_no_change, tol, warm_start, callbacks, verbose, random_state, model,
    ):  # fmt: skip
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state
        self.model = model

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def fit(self, X, y, sample_weight=None):
        """Train for ``max_epochs`` epochs, or until it no longer improves.

        Parameters
        ----------
        X : list of array_like (T_i, F), or array_like (N, T, F) or (N, T)
            Sequences: T_i steps of F features each. A table (N, T), such as a DataFrame with a column for each step,
            has sequences of one feature. Also a pandas Series of arrays or Series, or a DataFrame with an index of two
            levels, sequence and step.
        y : array_like
            Targets; see the class.
        sample_weight : array_like, shape (N,), optional
            Weights of sequences in the loss.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described, or there is NaN or infinity.
        """
        go_on = validate.flag("warm_start", self.warm_start) and hasattr(self, "model_")
        epochs = validate.positive_integer("max_epochs", self.max_epochs)
        return self._train(X, y, sample_weight, epochs, go_on, validate.flag("early_stopping", self.early_stopping))

    def _train_one_epoch(self, X, y, sample_weight, classes=None):
        """Train for one epoch, going on from what was learned."""
        if self.early_stopping:
            raise ValueError("early_stopping is True, and partial_fit trains for one epoch; leave it out, or call fit")
        return self._train(X, y, sample_weight, 1, hasattr(self, "model_"), False, classes)

    def _train(self, X, y, sample_weight, epochs: int, go_on: bool, holds_out: bool, classes=None):
        """Train, from new parameters on or going on with those that there are."""
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        batch_size = validate.positive_integer("batch_size", self.batch_size)
        x = read(self, X, reset=not go_on)
        targets = self._targets(y, x, classes, reset=not go_on)
        weight = self._weighted(None if sample_weight is None else _weights(sample_weight, len(x)), targets)
        if not go_on:
            self._begin(x, targets)
        elif self.learning_rate != self._learning_rate:
            self.model_.optimizer.learning_rate = self.learning_rate
        self._learning_rate = self.learning_rate
        model = self.model_
        x.pad_with(padding_of(model))
        trained, held_out = np.arange(len(x)), None
        if holds_out:
            trained, held_out = self._split(targets)
        curve = LossCurve(self, x, targets, weight, held_out)
        data: list[Any] = [subset(part, trained) for part in (x, targets, weight)]
        if data[0].uniform:  # arrays, which are checked once and not batch by batch
            data = [None if part is None else batch_of(part, np.arange(len(trained))) for part in data]
        else:
            data = [TrainingBatches(data, batch_size, model.generator, masks_padding(model)), None, None]
        model.fit(
            data[0], data[1], sample_weight=data[2], batch_size=batch_size, initial_epoch=self.n_iter_,
            epochs=self.n_iter_ + epochs, verbose=self.verbose,
            callbacks=[[] if self.callbacks is None else self.callbacks, curve],
        )  # fmt: skip
        return self

    def _begin(self, x: Sequences, targets) -> None:
        """Make the model, and forget what was measured."""
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        outputs, activation = self._outputs(targets)
        each_step = isinstance(targets, Sequences)
        made = network(self, x.features, outputs, activation, each_step, not x.uniform, seed)
        loss = self._loss(self._check_outputs(made, outputs, each_step))
        made.compile(optimizer_of(self.optimizer, self.learning_rate), loss)
        self.model_: Any = made
        self.n_iter_, self.loss_curve_ = 0, list[float]()
        for name in ("validation_scores_", "best_validation_score_"):
            if hasattr(self, name):
                delattr(self, name)

    def _check_outputs(self, model, outputs: int, each_step: bool) -> int:
        """The number of outputs of the model, which is one that is wanted."""
        shape: Any = model.output_shape
        ndim = 3 if each_step else 2
        if len(shape) != ndim or shape[-1] not in self._possible_outputs(outputs):
            wanted = f"({'N, T' if each_step else 'N'}, {outputs})"
            raise ValueError(f"model has outputs of shape {shape}; let its last layers give {wanted}")
        return shape[-1]

    def _possible_outputs(self, outputs: int) -> tuple[int, ...]:
        return (outputs,)

    def _split(self, targets) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the sequences to train on, and of those held out."""
        fraction = validate.number("validation_fraction", self.validation_fraction, 0, 1, above=True, below=True)
        seed = int(self.model_.generator.integers(np.iinfo(np.int32).max))
        strata = self._strata(targets)
        try:
            chosen, held_out = train_test_split(
                np.arange(len(targets)), test_size=fraction, random_state=seed, stratify=strata
            )
        except ValueError:
            classes = "" if strata is None else " with all classes in both"
            raise ValueError(
                f"early_stopping holds out {fraction:g} of the sequences, and {len(targets)} are too few for two parts"
                f"{classes}; give more, another validation_fraction, or early_stopping=False"
            ) from None
        return np.sort(chosen), np.sort(held_out)

    def _strata(self, targets) -> np.ndarray | None:
        """Classes that have the same part in what is held out as in all."""
        return None

    def _weighted(self, weight: np.ndarray | None, targets) -> np.ndarray | None:
        """Weights of sequences, by their classes too."""
        return weight

    def _targets(self, y, x: Sequences, classes, reset: bool) -> Any:
        """Targets as the loss takes them, (N,), (N, K), or `Sequences` of the targets of each step."""
        raise NotImplementedError

    def _outputs(self, targets) -> tuple[int, str | None]:
        """Number of outputs, and their activation."""
        raise NotImplementedError

    def _loss(self, outputs: int) -> Loss:
        """The loss of predictions with so many outputs."""
        raise NotImplementedError

    def _score_of(self, targets: np.ndarray, outputs: np.ndarray, weight: np.ndarray | None) -> float:
        """The score of outputs of the model, (N, K) or those of all steps (R, K)."""
        raise NotImplementedError

    @property
    def _each_step(self) -> bool:
        """True if there is an output for each step, not for each sequence."""
        check_is_fitted(self)
        return len(self.model_.output_shape) == 3

    def _raw(self, X) -> tuple[Sequences, np.ndarray]:
        """Sequences of what is given, and the model's outputs for them."""
        check_is_fitted(self)
        x = read(self, X, reset=False)
        return x, self._raw_of(x)

    def _raw_of(self, x: Sequences) -> np.ndarray:
        """The model's outputs, (N, K), or those of all steps (R, K) in the order of ``x.flat()``."""
        each_step, model = self._each_step, self.model_
        x.pad_with(padding_of(model))
        outputs = np.empty((int(x.lengths.sum()) if each_step else len(x), model.output_shape[-1]))
        ends = x.lengths.cumsum()
        for chosen in x.batches(masks_padding(model)):
            y = model.predict_on_batch(x.padded(chosen))
            if not each_step:
                outputs[chosen] = y
                continue
            for n, part in zip(chosen, y, strict=True):
                outputs[ends[n] - x.lengths[n] : ends[n]] = part[: x.lengths[n]]
        return outputs


def _weights(sample_weight, N: int) -> np.ndarray:
    """Weights of N sequences."""
    weight = validate.real_array("sample_weight", sample_weight, "float32")
    if weight.shape != (N,):
        raise ValueError(f"sample_weight has shape {weight.shape}; X has {N} sequences, so give shape ({N},)")
    if not (weight >= 0).all() or not np.isfinite(weight).all():
        raise ValueError("sample_weight has numbers below 0 or that are not finite; give weights of 0 or more")
    if not weight.any():
        raise ValueError("sample_weight has weights of zero alone; give some above")
    return weight


def weights_of_steps(sample_weight, x: Sequences) -> np.ndarray | None:
    """The weight of each step, in the order of ``x.flat()``, from those of sequences."""
    return None if sample_weight is None else _weights(sample_weight, len(x)).repeat(x.lengths)
