"""RecurrentClassifier: classes of sequences, or of each of their steps."""

from __future__ import annotations

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_consistent_length

from nblstm.sklearn.estimator import RecurrentEstimator, weights_of_steps
from nblstm.sklearn.networks import LEARNING_RATE
from nblstm.sklearn.reading import listed
from nblstm.sklearn.sequences import Sequences
from nblstm.training.losses import BinaryCrossentropy, Loss, SparseCategoricalCrossentropy


class RecurrentClassifier(ClassifierMixin, RecurrentEstimator):
    """Classes of sequences, or of each of their steps, by a recurrent network.

    Without ``model``, the network is ``num_layers`` recurrent layers and, behind the last step, `Dense` with a softmax
    over the classes (with a sigmoid if there are two). The loss is the cross-entropy.

    Parameters
    ----------
    cell : str or Cell, default "lstm"
        ``"lstm"``, ``"gru"``, ``"rnn"``, another name of `nblstm.cells`, or a cell of your own.
    hidden_size : int, default 32
        Units of each recurrent layer, of each direction.
    num_layers : int, default 1
        Recurrent layers.
    bidirectional : bool, default False
        Whether each layer reads sequences in both directions.
    dropout : float, default 0
        Part of each recurrent layer's outputs that is set to 0 in training.
    optimizer : str or Optimizer, default "adam"
        A name of `nblstm.optimizers`; an object is copied, and its learning rate is its own.
    learning_rate : float or schedule, default 3e-3
        Of an optimizer that is given by name.
    batch_size : int, default 32
        Sequences in a batch.
    max_epochs : int, default 100
        Passes over the data, at most.
    early_stopping : bool, default False
        Whether a part of the sequences is held out, and the training ends when the loss on it no longer falls; the
        parameters of the epoch with the smallest are kept. Without, the training ends when the loss on the training
        data no longer falls.
    validation_fraction : float, default 0.1
        The part that is held out for ``early_stopping``; of each class alike.
    n_iter_no_change : int, default 10
        Epochs without a fall of the loss by more than ``tol`` after which the training ends.
    tol : float, default 1e-4
    warm_start : bool, default False
        Whether `fit` goes on from what an earlier call has learned, for ``max_epochs`` more and with the same network;
        ``learning_rate``, ``batch_size`` and all that follows may be others.
    callbacks : list of Callback, optional
        Of `nblstm.callbacks`; they see ``model_`` train.
    verbose : {0, 1, 2, "auto"}, default 0
        As of `Sequential.fit`.
    random_state : int, RandomState or None, default None
        Fixes the initial parameters, the order of sequences, dropout and what is held out.
    model : Sequential or callable, optional
        Layers to train in the place of those that the arguments from ``cell`` to ``dropout`` describe. Of a
        `Sequential`, new layers of the same arguments are made; a function is called as ``model(features, outputs)``
        and returns a `Sequential`. Its output has a column for each class, of probabilities, or for two classes a
        single one, that of the second.
    class_weight : dict, "balanced" or None, default None
        Weights of classes in the loss, ``{label: weight}``; ``"balanced"``: such that all classes count alike.

    Attributes
    ----------
    classes_ : ndarray, shape (C,)
        The labels, sorted.
    n_features_in_ : int
        Features of a step; of a table (N, T), the number of its columns.
    feature_names_in_ : ndarray of str
        Names of columns, where the data has any that are strings.
    n_iter_ : int
        Epochs.
    loss_curve_ : list of float
        The loss of each epoch.
    validation_scores_ : list of float
        With ``early_stopping``, the accuracy on what is held out, after each epoch.
    best_validation_score_ : float
        That of the epoch whose parameters are kept.
    model_ : Sequential
        The network: save it, export it, step it in a stream.

    Notes
    -----
    Sequences of different lengths are computed without their padding. ``model_`` begins with a `Masking` layer then,
    whose ``mask_value`` is the smallest float32: data that has it is refused. Where ``model`` begins with a `Masking`
    of its own, its ``mask_value`` is the padding.

    Examples
    --------
    >>> import numpy as np
    >>> from nblstm.sklearn import RecurrentClassifier
    >>> random = np.random.default_rng(0)
    >>> X = [random.normal(size=(T, 3)) for T in random.integers(5, 20, size=500)]
    >>> y = np.where([x[:, 0].mean() > 0 for x in X], "up", "down")
    >>> classifier = RecurrentClassifier(random_state=0).fit(X[:400], y[:400])
    >>> bool(classifier.score(X[400:], y[400:]) > 0.9)
    True
    """

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
        given = self.class_weight
        if isinstance(given, str):
            raise ValueError(
                f"class_weight is {given!r}, and partial_fit sees a part of the data; give a dict of weights"
            )
        if not hasattr(self, "model_"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit: all that there will be")
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            came, known = np.unique(classes).tolist(), self.classes_.tolist()
            raise ValueError(f"classes is {came}, and the first call got {known}; give the same")
        return self._train_one_epoch(X, y, sample_weight, classes)

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
        if not self._each_step:
            return super().score(X, y, sample_weight)
        x, outputs = self._raw(X)
        labels = self._labels_of_steps(y, x)
        if labels is None:
            raise ValueError("y has no label for each step, as in fit; give an array (T_i,) for each sequence")
        found = self.classes_[self._by_class(outputs).argmax(axis=-1)]
        return float(accuracy_score(np.concatenate(labels), found, sample_weight=weights_of_steps(sample_weight, x)))

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
        parts = listed("y", y)
        if parts is None:
            table = np.asarray(y) if isinstance(y, list | tuple) else y
            if getattr(table, "ndim", 0) != 2 or table.shape[1] == 1:
                return None
            parts = list(np.asarray(table))
        check_consistent_length(x.lengths, parts)
        labels = [_column(n, np.asarray(part)) for n, part in enumerate(parts)]
        wrong = next((n for n, part in enumerate(labels) if len(part) != x.lengths[n]), None)
        if wrong is not None:
            raise ValueError(
                f"y has {len(labels[wrong])} labels for sequence {wrong}, which has {x.lengths[wrong]} steps; "
                "give a label for each sequence, (N,), or one for each step"
            )
        return labels

    def _targets(self, y, x, classes, reset):
        labels = self._labels_of_steps(y, x)
        if labels is None:
            y = column_or_1d(y, warn=True)
            check_consistent_length(x.lengths, y)
        else:
            y = np.concatenate(labels)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        found, numbers = np.unique(y, return_inverse=True)
        if reset:
            self.classes_ = found if classes is None else np.unique(classes)
            if len(self.classes_) < 2:
                raise ValueError(f"y has one class, {self.classes_.tolist()[0]!r}; give labels of two classes or more")
        elif (labels is not None) != self._each_step:
            raise ValueError(
                "y has labels of steps and the first fit had labels of sequences, or the other way round; give the same"
            )
        place = np.searchsorted(self.classes_, found).clip(max=len(self.classes_) - 1)
        unknown = found[self.classes_[place] != found]
        if len(unknown):
            raise ValueError(
                f"y has the label {unknown.tolist()[0]!r}, which is not among the classes {self.classes_.tolist()}"
            )
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
        if isinstance(targets, Sequences):
            return None
        alone = np.flatnonzero(np.bincount(targets) == 1)
        if len(alone):
            raise ValueError(
                f"y has one sequence of the class {self.classes_[alone].tolist()[0]!r}, and early_stopping holds out "
                "some of each class; give two or more, or early_stopping=False"
            )
        return targets

    def _outputs(self, targets):
        C = len(self.classes_)
        return (1, "sigmoid") if C == 2 else (C, "softmax")

    def _possible_outputs(self, outputs):
        return (1, 2) if outputs == 1 else (outputs,)

    def _loss(self, outputs: int) -> Loss:
        return BinaryCrossentropy() if outputs == 1 else SparseCategoricalCrossentropy()


def _column(n: int, labels: np.ndarray) -> np.ndarray:
    """Labels of the steps of sequence n, (T_i,) or (T_i, 1), as (T_i,)."""
    if labels.ndim > 1 and labels.shape[1:] != (1,):
        raise ValueError(f"y[{n}] has shape {labels.shape}; give a label for each step, (T_i,)")
    return labels.reshape(-1)
