"""The model that an estimator trains: of layers named by its arguments, or like the one that it is given."""

from __future__ import annotations

from typing import Any

from nblstm.arguments import validate
from nblstm.cells import Cell
from nblstm.layers import GRU, LSTM, RNN, Bidirectional, Dense, Dropout, Input, Layer, Masking, Recurrent, SimpleRNN
from nblstm.models import Sequential
from nblstm.sklearn.sequences import PADDING

#: Layers whose initial values are Keras's; other names are those of cells, as `RNN` takes them.
NAMED = {"lstm": LSTM, "gru": GRU, "rnn": SimpleRNN, "simple_rnn": SimpleRNN}


def network(
    estimator: Any, features: int, outputs: int, activation: str | None, each_step: bool, masks: bool, seed: int
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
    masks : bool
        Whether there will be steps of `PADDING`.
    seed : int
    """
    given = estimator.model
    if given is None:
        layers = [*_layers(estimator, each_step), Dense(outputs, activation=activation)]
    else:
        layers = _layers_of(given, features, outputs)
    if masks and not any(layer.makes_masks for layer in layers):
        layers = [Masking(PADDING), *layers]
    made = Sequential([Input((None, features)), *layers], seed=seed)
    made.build()
    return made


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


def _layers_of(given, features: int, outputs: int) -> list[Layer]:
    """New layers like those of a user's model, or those of one that the user's function makes."""
    if isinstance(given, Sequential):
        return [layer.unbuilt() for layer in given.layers]
    if not callable(given):
        raise TypeError(f"model is {given!r}; give a Sequential, or a function of features and outputs that makes one")
    made = given(features, outputs)
    if not isinstance(made, Sequential):
        raise TypeError(f"model made {made!r} of {features} features and {outputs} outputs; let it return a Sequential")
    return [layer.unbuilt() for layer in made.layers]
