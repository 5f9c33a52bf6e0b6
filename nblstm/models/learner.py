"""How a model learns from one batch: compile, and the step that it sets up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from nblstm.arguments import signatures, validate
from nblstm.engine.device import backend_of
from nblstm.models import truncation
from nblstm.models.chain import Tape
from nblstm.models.feed import Feed
from nblstm.nn import Gradients
from nblstm.training import optimizers
from nblstm.training.callbacks.history import History
from nblstm.training.data import weights
from nblstm.training.objective import Objective
from nblstm.training.optimizers.optimizer import Optimizer


class Learner(Feed):
    """A chain of layers that learns from batches.

    Attributes
    ----------
    objective : Objective or None
        Loss and metrics, and what they have measured; None before `compile`.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse steps that a fit cannot call, such as Keras's of one argument."""
        super().__init_subclass__(**options)
        signatures.overridden(cls, Learner, "train_step", "test_step")

    def __init__(self, layers, generator: np.random.Generator):
        self.optimizer: Optimizer | None = None
        self.objective: Objective | None = None
        self._bptt_steps: int | None = None
        self._gradients: list[Gradients | None] | None = None  # of the last step, for the next one to overwrite
        self.history: History | None = None
        self.stop_training = False
        self._free, self._fitting = [True], False  # whether anybody measures by the model's own loss and metrics
        super().__init__(layers, generator)

    def compile(
        self, optimizer: str | Optimizer | type[Optimizer] | dict[str, Any] = "rmsprop", loss=None, loss_weights=None,
        metrics=None, weighted_metrics=None, run_eagerly: bool = False, steps_per_execution: int = 1,
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

        Raises
        ------
        TypeError, ValueError
            If an argument is not known.
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
            truncation.check(self)
        objective, optimizer = Objective(loss, metrics, weighted_metrics), optimizers.get(optimizer)
        self.objective, self.optimizer, self._bptt_steps = objective, optimizer, steps
        self._free = [True]

    def _changed(self) -> None:
        super()._changed()
        self._gradients = None

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles have too: all but what was measured, and what is made again."""
        return super().__getstate__() | {"_gradients": None, "history": None, "_free": [True], "_fitting": False}

    @property
    def compiled(self) -> bool:
        """Whether `compile` has been called."""
        return self.objective is not None

    @property
    def loss(self):
        """The loss; None before `compile`."""
        return None if self.objective is None else self.objective.loss

    @property
    def metrics(self) -> list:
        """The metrics; empty before `compile`."""
        return [] if self.objective is None else [*self.objective.metrics, *self.objective.weighted_metrics]

    @property
    def metrics_names(self) -> list[str]:
        """What `evaluate` returns, by name."""
        return list(self.logs()) if self.compiled else []

    @contextmanager
    def measured(self, whole: bool = False) -> Iterator[Objective]:
        """``with model.measured() as objective:`` the model's loss and metrics, or copies while others use these.

        So a callback or another thread can evaluate the model without a trace in the measurements of an epoch.

        Parameters
        ----------
        whole : bool, default False
            Whether they have to be the model's, as for a fit: it gets new ones where an evaluation has them.
        """
        assert self.objective is not None
        free = self._free
        try:
            free.pop()  # one operation, whatever other threads do
        except IndexError:
            if not whole:
                yield self.objective.apart()
                return
            self.objective, self._free = self.objective.apart(), []
            free = self._free
        try:
            yield self.objective
        finally:
            free.append(True)

    def unbuild(self) -> None:
        """Take the parameters of all layers away, and the optimizer's state of them."""
        super().unbuild()
        if self.optimizer is not None:
            self.optimizer.modules = []

    def train_step(self, x: np.ndarray, y, weight, objective: Objective) -> None:
        """Forward, backward and one step of the optimizer, with a batch that has been checked."""
        self._prepare()
        if self._bptt_steps is not None and x.shape[1] > self._bptt_steps:
            self._train_in_chunks(x, y, weight, self._bptt_steps, objective)
            return
        prediction, tape = self.forward(x)
        value, d_prediction = objective.loss.value_and_gradient(y, prediction, weight, tape.mask)
        objective.add(y, prediction, weight, tape.mask, value + self._penalty())
        self._learn(tape, d_prediction)

    def _train_in_chunks(self, x: np.ndarray, y: np.ndarray, weight, steps: int, objective: Objective) -> None:
        truncation.check(self)
        predictions: list[np.ndarray] = []
        masks: list[Any] = []
        penalty = self._penalty()
        with truncation.carried_states(self):
            for x_part, y_part, weight_part in truncation.chunks(x, y, weight, steps):
                prediction, tape = self.forward(x_part)
                predictions.append(prediction)
                masks.append(tape.mask)
                if tape.mask is None or tape.mask.any():  # else it is all padding
                    _, d_prediction = objective.loss.value_and_gradient(y_part, prediction, weight_part, tape.mask)
                    self._learn(tape, d_prediction)
        prediction = np.concatenate(predictions, axis=1)
        mask = None if masks[0] is None else np.concatenate(masks, axis=1)
        objective.add(y, prediction, weight, mask, objective.loss(y, prediction, weight, mask) + penalty)

    def _learn(self, tape: Tape, d_prediction: np.ndarray) -> None:
        """Backward, and a step of the optimizer."""
        optimizer: Any = self.optimizer
        gradients, layers = self.backward(tape, d_prediction, self._gradients), self._layers
        self._gradients = gradients
        parametric, penalized, constrained = self.particular
        for k in penalized:
            if (gradient := gradients[k]) is not None:
                layers[k].add_regularization_gradient(gradient)
        optimizer.step([gradients[k] for k in parametric])
        for k in constrained:
            if gradients[k] is not None:
                layers[k].apply_constraints()

    def test_step(self, x: np.ndarray, y, weight, objective: Objective) -> None:
        """Take a batch that has been checked into the measurements."""
        prediction, mask = self.inferred(x)
        value = objective.loss(y, prediction, weight, mask)
        objective.add(y, prediction, weight, mask, value + self._penalty())

    def warmup(self) -> None:
        """Compile every kernel that `predict`, and of a compiled model `fit`, can need; they are kept in the cache.

        A layer's serve any size, so the model need not be built.
        """
        for layer in self._layers:
            layer.warmup()
        if self.compiled:
            for function, *arguments in (*self._kernels(False), *self._kernels(True)):
                function(*arguments)

    def _kernels(self, weighted: bool) -> list[tuple]:
        """Those of losses, metrics and the optimizer: functions that compile them, each with its arguments."""
        objective, optimizer = self.objective, self.optimizer
        assert objective is not None
        assert optimizer is not None
        dtypes = dict.fromkeys(layer.dtype for layer in self._layers)
        return [call for dtype in dtypes for call in (*objective.kernels(dtype, weighted), *optimizer.kernels(dtype))]

    def _foresee(self, weighted: bool) -> None:
        """Have the kernels of loss and optimizer, which the first step needs last, compiled meanwhile."""
        for function, *arguments in self._kernels(weighted or self.makes_masks):
            backend_of("cpu").foresee(function, *arguments)

    def reset_metrics(self) -> None:
        """Forget what was measured."""
        assert self.objective is not None
        self.objective.reset()

    def logs(self) -> dict[str, float]:
        """The loss and the metrics since `reset_metrics`, by name."""
        assert self.objective is not None
        return self.objective.logs()

    def _penalty(self) -> float:
        penalized = self.particular[1]
        return sum([self._layers[k].regularization_loss() for k in penalized], 0.0) if penalized else 0.0

    def check_targets(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Refuse targets of a wrong shape or out of range, and weights of a wrong shape, before training.

        Where there are masks, what is masked may be anything, and only batches can tell.
        """
        shape = self.output_shape
        if self.objective is None or shape is None or shape[-1] is None:
            return
        known = (None, *shape[1:])  # even where a batch has a fixed size: these are the samples of all batches
        sizes = [n or (y.shape[axis] if axis < y.ndim else 1) for axis, n in enumerate(known)]
        prediction = np.broadcast_to(np.zeros((), self.layers[-1].dtype), sizes)
        mask = np.broadcast_to(np.array(False), sizes[:-1]) if self.makes_masks else None
        self.objective.loss.checked_target(y, prediction, mask)
        if weight is not None:
            weights.aligned("sample_weight", weight, tuple(sizes[:-1] or sizes))

    def _prepare(self) -> None:
        """Give the optimizer the layers that have parameters, unless it has them and its state already.

        Raises
        ------
        ValueError
            If there are none, or it keeps the state of others, which would be lost.
        """
        optimizer: Any = self.optimizer
        modules = [self._layers[k] for k in self.particular[0]]
        if not modules:
            raise ValueError("no layer has parameters, so there is nothing to train; add one, such as Dense(1)")
        if optimizer.modules != modules:
            if optimizer.modules and optimizer.iterations:
                raise ValueError(
                    f"the optimizer has taken {optimizer.iterations} steps with other layers, whose state it would "
                    "lose; call compile() with one of this model's own, also after add() or pop()"
                )
            optimizer.build(modules)

    def _need_compiled(self, method: str) -> None:
        if not self.compiled:
            raise RuntimeError(f"the model is not compiled; call compile(optimizer, loss) before {method}()")
