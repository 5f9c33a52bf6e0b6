"""Losses and scores, epoch by epoch, and the end of a training that no longer improves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.files import content
from nblstm.sklearn.sequences import Sequences, subset
from nblstm.training.callbacks import Callback


class LossCurve(Callback):
    """Keeps the loss of each epoch and ends a fit when it no longer falls.

    Where sequences are held out, that is their loss, and when the fit ends the model gets the parameters of the epoch
    in which it was smallest.

    Parameters
    ----------
    estimator : RecurrentEstimator
        Its ``loss_curve_``, ``n_iter_`` and the scores of validation are written to.
    x, targets, weight
        All data.
    held_out : ndarray of int or None
        Numbers of the sequences on which the model is not trained.
    """

    def __init__(self, estimator: Any, x: Sequences, targets, weight, held_out: np.ndarray | None):
        super().__init__()
        self._estimator = estimator
        self._patience = validate.positive_integer("n_iter_no_change", estimator.n_iter_no_change)
        self._tol = validate.number("tol", estimator.tol, 0)
        self._best, self._waited = math.inf, 0
        self._weights: list[np.ndarray] | None = None
        self._held_out: tuple | None = None
        if held_out is None:
            return
        estimator.validation_scores_ = getattr(estimator, "validation_scores_", [])
        estimator.best_validation_score_ = 0.0
        found = [subset(part, held_out) for part in (x, targets, weight)]
        if isinstance(targets, Sequences):
            if weight is not None and not isinstance(weight, Sequences):
                found[2] = found[2].repeat(found[1].lengths)
            found[1:] = [part.flat() if isinstance(part, Sequences) else part for part in found[1:]]
        if found[2] is not None and not np.any(found[2]):
            raise ValueError(
                f"sample_weight is 0 for all {len(held_out)} sequences that early_stopping holds out; leave those of "
                "weight 0 out of X, or give early_stopping=False"
            )
        self._held_out = tuple(found)

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Keep the loss, and end the fit if it has not fallen by ``tol`` for ``n_iter_no_change`` epochs."""
        estimator, loss = self._estimator, float((logs or {})["loss"])
        if not math.isfinite(loss):
            raise ValueError(f"the loss is {loss} in epoch {epoch + 1}; scale X and y, or lower the learning rate")
        estimator.loss_curve_.append(loss)
        estimator.n_iter_ += 1
        if self._held_out is not None:
            x, targets, weight = self._held_out
            outputs = estimator._raw_of(x)
            loss = self.model.loss(targets, outputs, weight)
            score = estimator._score_of(targets, outputs, weight)
            estimator.validation_scores_.append(score)
            if loss < self._best:
                self._weights, estimator.best_validation_score_ = self.model.get_weights(), score
        self._waited = 0 if loss < self._best - self._tol else self._waited + 1
        self._best = min(self._best, loss)
        if self._waited >= self._patience:
            self.model.stop_training = True

    def on_train_end(self, logs=None) -> None:
        """Set the parameters of the best epoch, if sequences are held out."""
        if self._weights is not None:
            self.model.set_weights(self._weights)

    def state(self) -> dict[str, Any]:
        """The curve, and all else that a fit needs to go on after it was killed."""
        estimator, best = self._estimator, self._best
        return {
            "losses": list(estimator.loss_curve_),
            "scores": list(getattr(estimator, "validation_scores_", ())),
            "best_score": float(getattr(estimator, "best_validation_score_", 0)),
            "best": None if math.isinf(best) else best,
            "waited": self._waited,
            "weights": self._weights,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        content.expect(
            "the loss curve", state, losses=list, scores=list, best_score=float, best=float | None, waited=int,
            weights=list | None,
        )  # fmt: skip
        estimator = self._estimator
        estimator.loss_curve_, estimator.n_iter_ = state["losses"], len(state["losses"])
        if self._held_out is not None:
            estimator.validation_scores_, estimator.best_validation_score_ = state["scores"], state["best_score"]
        self._best = math.inf if state["best"] is None else state["best"]
        self._waited, self._weights = state["waited"], state["weights"]
