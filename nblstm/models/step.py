"""Passes through a model, and a step of training: forward, loss, backward, penalties, optimizer, constraints.

Truncated backpropagation through time makes several steps of a batch of long sequences: they are cut into chunks, from
one to the next of which states are carried on and gradients are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nblstm.layers import Layer, Recurrent, Tape
from nblstm.layers.base.holding import with_all_held
from nblstm.nn import Gradients
from nblstm.training.objective import Objective

if TYPE_CHECKING:
    from nblstm.models.sequential import Sequential


@dataclass(slots=True, eq=False)
class Tapes:
    """Tapes of all layers, for `Sequential.backward`, and the mask of the output."""

    tapes: list[Tape]
    mask: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Roles:
    """Indices of a built model's layers that have parameters, penalties of them, and constraints.

    ``trained`` are those with parameters that gradients change, ``measuring`` the layers, held ones too, with others.
    """

    parametric: list[int]
    trained: list[int]
    penalized: list[int]
    constrained: list[int]
    measuring: list[Layer]

    @classmethod
    def of(cls, layers: list[Layer]) -> Roles:
        """The roles of these layers."""
        described = [layer.described.values() for layer in layers]
        return cls(
            [k for k, found in enumerate(described) if found],
            [k for k, found in enumerate(described) if any(p.trainable for p in found)],
            [k for k, found in enumerate(described) if any(p.regularizer is not None for p in found)],
            [k for k, found in enumerate(described) if any(p.constraint is not None for p in found)],
            [
                each for layer in layers for each in with_all_held(layer)
                if not all(p.trainable for p in each.described.values())
            ],
        )  # fmt: skip


def infer(model: Sequential, x: np.ndarray, mask=None) -> tuple[np.ndarray, np.ndarray | None]:
    """The output and its mask, without what training needs; of all parameters as they were at one moment."""
    if not model._stateful:
        return model._parameters_lock.read(_pass, model, x, mask)
    with model._parameters_lock.lock:  # a second pass would begin where the first has ended
        return _pass(model, x, mask)


def _pass(model: Sequential, x: np.ndarray, mask) -> tuple[np.ndarray, np.ndarray | None]:
    for layer in model._layers:
        y = layer(x, mask=mask)
        mask = layer.compute_mask(x, mask)
        x = y
    return x, mask


def forward(model: Sequential, x: np.ndarray, *, training: bool = True, mask=None) -> tuple[np.ndarray, Tapes]:
    """The output, and what `backward` needs."""
    tapes = []
    for layer in model._roles.measuring if training and model._roles is not None else ():
        layer.measured = None  # by a step that failed
    for layer in model._layers:
        y, tape = layer.forward(x, training=training, mask=mask, generator=model.generator)
        mask = layer.compute_mask(x, mask)
        tapes.append(tape)
        x = y
    return x, Tapes(tapes, mask)


def backward(
    model: Sequential, tape: Tapes, dy: np.ndarray, into: list[Gradients | None] | None = None
) -> list[Gradients | None]:  # fmt: skip
    """The gradients of each layer's parameters, None where there are none or they are not trained.

    The way back ends at the first layer that is trained: gradients of what lies before it are never computed. What
    is in ``into``, from an earlier call, is overwritten.
    """
    layers = model._layers
    into = into or [None] * len(layers)
    d: Any = dy
    gradients: list[Gradients | None] = [None] * len(layers)
    first = next((k for k in model.roles.trained if layers[k].trainable), len(layers))
    for k in range(len(layers) - 1, first - 1, -1):
        layer = layers[k]
        d, found = layer.backward(tape.tapes[k], d, input_gradient=k > first, into=into[k])
        if found is not None and layer.trainable:
            found.x, gradients[k] = None, found  # else the inputs' gradients would live on with the others
        if d is None and k > first:
            raise ValueError(f"layer {layer.name!r} has no gradient for its input; put it first")
    return gradients


def train_step(model: Sequential, x: np.ndarray, y, weight, objective: Objective) -> None:
    """Forward, backward and one step of the optimizer, with a batch that has been checked; a subclass may override it.

    Parameters
    ----------
    x, y : ndarray
    weight : ndarray or None
        Of samples or steps.
    objective : Objective
        Has the loss, and takes what is measured.
    """
    prepare(model)
    if model._bptt_steps is not None and x.shape[1] > model._bptt_steps:
        _train_in_chunks(model, x, y, weight, model._bptt_steps, objective)
        return
    prediction, tape = model.forward(x)
    value, d_prediction = objective.loss.value_and_gradient(y, prediction, weight, tape.mask)
    objective.add(y, prediction, weight, tape.mask, value + penalty(model))
    _learn(model, tape, d_prediction)


def test_step(model: Sequential, x: np.ndarray, y, weight, objective: Objective) -> None:
    """Take a batch that has been checked into the measurements; arguments as for `train_step`."""
    prediction, mask = model._infer(x)
    value = objective.loss(y, prediction, weight, mask)
    objective.add(y, prediction, weight, mask, value + penalty(model))


@contextmanager
def measured(model: Sequential, whole: bool = False) -> Iterator[Objective]:
    """``with measured(model) as objective:`` the model's loss and metrics, or copies while others use these.

    So a callback or another thread can evaluate the model without a trace in the measurements of an epoch. A fit needs
    the ``whole``, the model's: it gets new ones where an evaluation has them.
    """
    assert model.objective is not None
    free = model._objective_token
    try:
        free.pop()  # one operation, whatever other threads do
    except IndexError:
        if not whole:
            yield model.objective.copy()
            return
        model.objective, model._objective_token = model.objective.copy(), []
        free = model._objective_token
    try:
        yield model.objective
    finally:
        free.append(True)


def penalty(model: Sequential) -> float:
    """The sum of all layers' penalties."""
    penalized = model.roles.penalized
    return sum([model._layers[k].regularization_loss() for k in penalized], 0.0) if penalized else 0.0


def prepare(model: Sequential) -> None:
    """Give the optimizer the layers that have parameters, unless it has them and its state already."""
    optimizer: Any = model.optimizer
    roles = model.roles
    modules = [model._layers[k] for k in roles.parametric]
    if not roles.trained:
        raise ValueError("no layer has parameters, so there is nothing to train; add one, such as Dense(1)")
    if optimizer.modules != modules:
        if optimizer.modules and optimizer.iterations:
            raise ValueError(
                f"the optimizer has taken {optimizer.iterations} steps with other layers, whose state it would "
                "lose; call compile() with one of this model's own, also after add() or pop()"
            )
        optimizer.build(modules)


def _learn(model: Sequential, tape: Tapes, d_prediction: np.ndarray) -> None:
    """Backward, and a step of the optimizer."""
    optimizer: Any = model.optimizer
    layers, roles = model._layers, model.roles
    model._gradients = gradients = model.backward(tape, d_prediction, model._gradients)
    for k in roles.penalized:
        if (gradient := gradients[k]) is not None:
            layers[k].add_regularization_gradient(gradient)
    optimizer.step([gradients[k] for k in roles.parametric])
    for k in roles.constrained:
        if gradients[k] is not None:
            layers[k].apply_constraints()


def check_truncation(model: Sequential) -> None:
    """Refuse truncated BPTT through layers that mix steps in another way than from the past to the future."""
    for layer in model._layers:
        if not layer.keeps_steps_apart:
            raise ValueError(
                f"bptt_steps needs layers whose output at a step depends on this step and those before it, and "
                f"{layer.name!r} ({type(layer).__name__}) is none; leave bptt_steps out, or give recurrent layers "
                "return_sequences=True"
            )


def _train_in_chunks(model: Sequential, x: np.ndarray, y: np.ndarray, weight, steps: int, objective: Objective) -> None:
    check_truncation(model)
    predictions: list[np.ndarray] = []
    masks: list[Any] = []
    penalties = penalty(model)
    with _states_carried(model):
        for x_part, y_part, weight_part in _chunks(x, y, weight, steps):
            prediction, tape = model.forward(x_part)
            predictions.append(prediction)
            masks.append(tape.mask)
            if tape.mask is None or tape.mask.any():  # else it is all padding
                _, d_prediction = objective.loss.value_and_gradient(y_part, prediction, weight_part, tape.mask)
                _learn(model, tape, d_prediction)
    prediction = np.concatenate(predictions, axis=1)
    mask = None if masks[0] is None else np.concatenate(masks, axis=1)
    objective.add(y, prediction, weight, mask, objective.loss(y, prediction, weight, mask) + penalties)


def _chunks(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, steps: int):
    """Parts of a batch of sequences, ``steps`` long and the last maybe shorter; a weight per row goes with each."""
    T = x.shape[1]
    if y.ndim < 2 or y.shape[1] != T:
        raise ValueError(f"bptt_steps needs a target for each step, and y has shape {y.shape} for {T} steps in x")
    per_step = weight is not None and weight.ndim > 1
    for start in range(0, T, steps):
        part = slice(start, start + steps)
        yield x[:, part], y[:, part], weight[:, part] if per_step and weight is not None else weight


@contextmanager
def _states_carried(model: Sequential):
    """Have recurrent layers begin where they ended; those that are not stateful begin anew with the first chunk."""
    with ExitStack() as after:
        for layer in model._layers:
            if isinstance(layer, Recurrent) and not layer.stateful:
                after.callback(_stop_carrying, layer)
                layer.stateful = True
                layer.reset_states()
        yield


def _stop_carrying(layer: Recurrent) -> None:
    layer.reset_states()
    layer.stateful = False
