"""The model that an estimator trains: layers named by its arguments, or like those it is given; and its optimizer."""

from __future__ import annotations

import copy
import inspect
from typing import Any

from nblstm.arguments import validate
from nblstm.cells import Cell
from nblstm.layers import GRU, LSTM, RNN, Bidirectional, Dense, Dropout, Input, Layer, Masking, Recurrent, SimpleRNN
from nblstm.models import Sequential
from nblstm.sklearn.sequences import PADDING
from nblstm.training import optimizers
from nblstm.training.optimizers import Optimizer

#: The learning rate of an optimizer that is given by name, unless another is given.
LEARNING_RATE = 3e-3

#: Layers whose initial values are Keras's; other names are those of cells, as `RNN` takes them.
NAMED = {"lstm": LSTM, "gru": GRU, "rnn": SimpleRNN, "simple_rnn": SimpleRNN}


def network(
    estimator: Any, features: int, outputs: int, activation: str | None, each_step: bool, ragged: bool, seed: int
) -> Sequential:
    """The estimator's network, built, with new parameters.

    Parameters
    ----------
    estimator : RecurrentClassifier or RecurrentRegressor
    features, outputs : int
        Of a step of the input; of the output.
    activation : str or None
        Of the output.
    each_step : bool
        Whether there is an output for each step, not for each sequence.
    ragged : bool
        Whether sequences have different lengths; if so, the first layer is a `Masking`.
    seed : int
    """
    given, T = estimator.model, None
    if given is None:
        layers = [*_layers(estimator, each_step), Dense(outputs, activation=activation)]
    else:
        _check_defaults(estimator)
        like = _given_model(given, features, outputs)
        layers = [layer.unbuilt() for layer in like.layers]
        T = like.input_shape[1] if like.input_shape and len(like.input_shape) == 3 else None
    if ragged and not isinstance(layers[0], Masking):
        layers = [Masking(PADDING), *layers]
    made = Sequential([Input((T, features)), *layers], seed=seed)
    made.build()
    return made


def padding_of(model: Sequential) -> float:
    """The value of steps behind the end of a sequence, for a model that `network` made."""
    first = model.layers[0]
    return first.mask_value if isinstance(first, Masking) else PADDING


def masks_padding(model: Sequential) -> bool:
    """Return whether a model that `network` made leaves such steps out."""
    return isinstance(model.layers[0], Masking)


def optimizer_of(given, learning_rate) -> Optimizer:
    """A new optimizer like the one given, or of the name given, with the learning rate."""
    if isinstance(given, str):
        return optimizers.get({"class_name": given, "config": {"learning_rate": copy.deepcopy(learning_rate)}})
    if learning_rate != LEARNING_RATE:
        raise ValueError(
            f"learning_rate is {learning_rate!r}, and optimizer is {given!r}, which has its own; give the name of an "
            "optimizer, or leave learning_rate out"
        )
    made = optimizers.get(given)
    return type(made).from_config(made.get_config())


def _layers(estimator: Any, each_step: bool) -> list[Layer]:
    """The recurrent layers, each followed by dropout if there is any."""
    count = validate.positive_integer("num_layers", estimator.num_layers)
    bidirectional = validate.flag("bidirectional", estimator.bidirectional)
    rate = validate.probability("dropout", estimator.dropout)
    layers: list[Layer] = []
    for k in range(count):
        layer = _recurrent(estimator.cell, estimator.hidden_size, each_step or k < count - 1)
        layers.append(Bidirectional(layer) if bidirectional else layer)
        if rate:
            layers.append(Dropout(rate))
    return layers


def _recurrent(cell: Cell | str, units: int, sequences: bool) -> Recurrent:
    units = validate.positive_integer("hidden_size", units)
    if isinstance(cell, Cell):
        return RNN(cell, units, return_sequences=sequences)
    if not isinstance(cell, str):
        raise TypeError(f"cell is {cell!r}; give a name, such as 'lstm', or a cell made by the decorator nblstm.cell")
    if cell in NAMED:
        return NAMED[cell](units, return_sequences=sequences)
    return RNN(cell, units, return_sequences=sequences)


def _given_model(given, features: int, outputs: int) -> Sequential:
    """A user's model, or the one that a user's function makes."""
    made = given
    if not isinstance(given, Sequential):
        if not callable(given):
            raise TypeError(
                f"model is {given!r}; give a Sequential, or a function of features and outputs that makes one"
            )
        made = given(features, outputs)
    if not isinstance(made, Sequential) or not made.layers:
        raise TypeError(
            f"model is {made!r} for {features} features and {outputs} outputs; let it be a Sequential of layers"
        )
    return made


def _check_defaults(estimator: Any) -> None:
    """Refuse arguments that describe layers beside a model that has them."""
    defaults = inspect.signature(type(estimator).__init__).parameters
    for name in ("cell", "hidden_size", "num_layers", "bidirectional", "dropout"):
        value = getattr(estimator, name)
        if value != defaults[name].default:
            raise ValueError(
                f"{name} is {value!r}, and model is given, which has layers of its own; leave one of them out"
            )
