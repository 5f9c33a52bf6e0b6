"""RecurrentClassifier: classes of sequences, or of each of their steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_consistent_length, check_is_fitted

from nblstm.sklearn.estimator import LEARNING_RATE, RecurrentEstimator
from nblstm.sklearn.sequences import Sequences
from nblstm.training.losses import BinaryCrossentropy, Loss, SparseCategoricalCrossentropy


class RecurrentClassifier(ClassifierMixin, RecurrentEstimator):
    """Classes of sequences, or of each of their steps, by a recurrent network."""

    def __init__(
        self, cell="lstm", hidden_size=32, num_layers=1, bidirectional=False, dropout=0.0, optimizer="adam",
        learning_rate=LEARNING_RATE, batch_size=32, max_epochs=100, early_stopping=False, validation_fraction=0.1,
        n_iter_no_change=10, tol=1e-4, warm_start=False, callbacks=None, verbose=0, random_state=None, model=None,
        class_weight=None,
    ):  # fmt: skip
        super().__init__(
            cell, hidden_size, num_layers, bidirectional, dropout, optimizer, learning_rate, batch_size, max_epochs,
            early_stopping, validation_fraction, n_iter_no_change, tol, warm_start, callbacks, verbose, random_state,
            model,
        )  # fmt: skip
        self.class_weight = class_weight

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for one epoch, going on from what was learned.

        Parameters
        ----------
        X, y, sample_weight
            See `fit`.
        classes : array_like, optional
            All classes that there will be; needed in the first call.
        """
        if not hasattr(self, "model_"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit: all that there will be")
            self._classes = np.unique(classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes is {np.unique(classes)}, and the first call got {self.classes_}; give the same")
        return self._train(X, y, sample_weight, 1, hasattr(self, "model_"), False)

    def predict(self, X):
        """The most probable class of each sequence, (N,).

        If each step has a class: a list of arrays (T_i,), or (N, T) for an array of sequences.
        """
        x, probabilities = self._probabilities(X)
        classes = self.classes_[probabilities.argmax(axis=-1)]
        return x.parts(classes) if self._each_step else classes

    def predict_proba(self, X):
        """The probability of each of ``classes_``, (N, C); of each step as from `predict`, with a last dimension C."""
        x, probabilities = self._probabilities(X)
        return x.parts(probabilities) if self._each_step else probabilities

    def predict_log_proba(self, X):
        """The logarithm of `predict_proba`."""
        found = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return [np.log(part) for part in found] if isinstance(found, list) else np.log(found)

    def score(self, X, y, sample_weight=None):
        """The part of the sequences, or of all steps, that get their class; by weight."""
        x, outputs = self._raw(X)
        if self._each_step:
            labels = self._labels_of_steps(y, x)
            if labels is None:
                raise ValueError("y has no class for each step, on which the estimator was fitted; give (T_i,) for each")
            y = np.concatenate(labels)
            sample_weight = None if sample_weight is None else np.asarray(sample_weight).repeat(x.lengths)
        return float(accuracy_score(y, self.classes_[self._by_class(outputs).argmax(axis=-1)], sample_weight=sample_weight))

    @property
    def _each_step(self) -> bool:
        return len(self.model_.output_shape) == 3

    def _probabilities(self, X) -> tuple[Sequences, np.ndarray]:
        x, outputs = self._raw(X)
        return x, self._by_class(outputs)

    def _by_class(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs (R, C) or (R, 1), those of a sigmoid, as probabilities (R, C) whose sum is 1."""
        if outputs.shape[1] == 1:
            return np.concatenate([1 - outputs, outputs], axis=1)
        return outputs / outputs.sum(axis=1, keepdims=True)

    def _score_of(self, targets, outputs, weight):
        found = self._by_class(outputs).argmax(axis=-1)
        return float(accuracy_score(targets.ravel(), found, sample_weight=None if weight is None else weight.ravel()))

    def _labels_of_steps(self, y, x: Sequences) -> list[np.ndarray] | None:
        """The labels of each step, one array (T_i,) for each sequence; None if y has one for each sequence."""
        listed = isinstance(y, list | tuple) and len(y) and all(getattr(part, "ndim", 0) == 1 for part in y)
        if not listed and not (getattr(y, "ndim", 0) == 2 and y.shape[1] > 1):
            return None
        labels = [np.asarray(part) for part in (y if listed else np.asarray(y))]
        check_consistent_length(x.lengths, labels)
        for n, (part, T) in enumerate(zip(labels, x.lengths, strict=True)):
            if len(part) != T:
                raise ValueError(f"y has {len(part)} labels for sequence {n}, which has {T} steps; give one for each")
        return labels

    def _targets(self, y, x, reset):
        labels = self._labels_of_steps(y, x)
        if labels is None:
            y = column_or_1d(y, warn=True)
            check_consistent_length(x.lengths, y)
        else:
            y = np.concatenate(labels)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        classes, numbers = np.unique(y, return_inverse=True)
        if reset:
            self.classes_ = vars(self).pop("_classes", classes)
            if len(self.classes_) < 2:
                raise ValueError(f"y has one class, {self.classes_[0]!r}; give labels of two classes or more")
        elif (labels is not None) != self._each_step:
            raise ValueError("y has labels of steps where sequences had them in the first fit, or the other way round")
        place = np.searchsorted(self.classes_, classes).clip(max=len(self.classes_) - 1)
        unknown = classes[self.classes_[place] != classes]
        if len(unknown):
            raise ValueError(f"y has the label {unknown[0]!r}, which is not among the classes {self.classes_.tolist()}")
        numbers = place[numbers]
        return numbers if labels is None else x.like(numbers)

    def _weighted(self, weight, targets):
        if self.class_weight is None:
            return weight
        numbers = targets.flat()[:, 0].astype(int) if isinstance(targets, Sequences) else targets
        by_class = compute_sample_weight(self.class_weight, self.classes_[numbers]).astype(np.float32)
        if not isinstance(targets, Sequences):
            return by_class if weight is None else weight * by_class
        return targets.like(by_class if weight is None else weight.repeat(targets.lengths) * by_class)

    def _strata(self, targets):
        return None if isinstance(targets, Sequences) else targets

    def _outputs(self, targets):
        C = len(self.classes_)
        return (1, "sigmoid") if C == 2 else (C, "softmax")

    def _possible_outputs(self, outputs):
        return (1, 2) if outputs == 1 else (outputs,)

    def _loss(self, outputs: int) -> Loss:
        return BinaryCrossentropy() if outputs == 1 else SparseCategoricalCrossentropy()
