"""Recurrent layers: bad arguments, shapes and states get one sentence, before anything changes."""

import numpy as np
import pytest
from messages import message_of

import nblstm
from nblstm import layers
from nblstm.layers import GRU, LSTM, RNN, Bidirectional, Dense, SimpleRNN, activations, register_cell

X = np.ones((3, 6, 2))


@nblstm.cell(gates="a", states="h")
def nameless(a, h):
    """A cell that nobody registered."""
    return nblstm.tanh(a)


unnamed = nblstm.cell(gates="a", states="h")(lambda a, h: nblstm.tanh(a))


@pytest.mark.parametrize(
    ("error", "make", "needed"),
    [
        (ValueError, lambda: LSTM(0), ("units is 0", "give a whole number, 1 or more")),
        (TypeError, lambda: GRU(3.5), ("units is 3.5",)),
        (ValueError, lambda: LSTM(3, "softmax"), ("'softmax' does not act on each number alone",)),
        (ValueError, lambda: GRU(3, recurrent_activation="log_softmax"), ("'log_softmax' does not act",)),
        (ValueError, lambda: SimpleRNN(3, "spam"), ("no activation named 'spam'",)),
        (ValueError, lambda: LSTM(3, dropout=1.5), ("dropout is 1.5",)),
        (ValueError, lambda: LSTM(3, recurrent_dropout=-0.1), ("recurrent_dropout is -0.1",)),
        (ValueError, lambda: LSTM(3, seed=-1), ("seed is -1",)),
        (ValueError, lambda: LSTM(3, unroll=True), ("unroll is True", "leave it at False")),
        (ValueError, lambda: LSTM(3, use_cudnn=True), ("use_cudnn is True", "leave it at 'auto'")),
        (ValueError, lambda: LSTM(3, activity_regularizer="l2"), ("activity_regularizer is 'l2'",)),
        (TypeError, lambda: LSTM(3, time_major=True), ("LSTM got the unknown argument 'time_major'",)),
        (TypeError, lambda: SimpleRNN(3, use_cudnn="auto"), ("SimpleRNN got the unknown argument 'use_cudnn'",)),
        (ValueError, lambda: LSTM(3, kernel_initializer="spam"), ("no initializer named 'spam'",)),
        (TypeError, lambda: RNN(3, 4), ("cell is 3", "nblstm.cell")),
        (ValueError, lambda: RNN("spam", 4), ("no cell named 'spam'", "register_cell")),
        (TypeError, lambda: RNN(nameless, True), ("units is True",)),
        (TypeError, RNN(unnamed, 4).get_config, ("'<lambda>' is not registered", "register_cell")),
        (TypeError, lambda: register_cell(len), ("register_cell got", "@nblstm.cell")),
        (TypeError, lambda: register_cell(nameless, ""), ("name is ''",)),
        (ValueError, lambda: register_cell(nameless, "lstm"), ("'lstm' is registered already",)),
        (TypeError, lambda: Bidirectional(Dense(3)), ("layer is", "such as LSTM(10)")),
        (TypeError, lambda: Bidirectional(LSTM(3), backward_layer=3), ("backward_layer is 3",)),
        (
            ValueError,
            lambda: Bidirectional(LSTM(3), "product"),
            ("merge_mode is 'product'", "concat, sum, mul, ave, or None"),
        ),
        (ValueError, lambda: Bidirectional(LSTM(3, go_backwards=True)), ("go_backwards=True", "False and True")),
        (ValueError, lambda: Bidirectional(LSTM(3), backward_layer=LSTM(3)), ("go_backwards=False",)),
        (ValueError, lambda: Bidirectional(LSTM(3), dtype="float64"), ("dtype is float64", "give it to the latter")),
        (
            ValueError,
            lambda: Bidirectional(LSTM(3), backward_layer=LSTM(3, go_backwards=True, return_sequences=True)),
            ("return_sequences=False and backward_layer True",),
        ),
        (
            ValueError,
            lambda: Bidirectional(LSTM(3), "sum", backward_layer=GRU(4, go_backwards=True)),
            ("3 units and backward_layer 4", "'sum' needs as many"),
        ),
    ],
)
def test_arguments(error, make, needed):
    message_of(error, make, *needed)


def test_names_of_parameters_that_would_meet():
    @nblstm.cell(gates="a", states="h", vectors="bias")
    def biased(a, h, bias):
        return nblstm.tanh(a + bias)

    message_of(ValueError, lambda: RNN(biased, 3), "'biased' has a vector named 'bias'", "another name")


def test_equations_are_traced_when_the_layer_is_made():
    @nblstm.cell(gates="a", states="h")
    def wrong(a, h):
        return np.tanh(a)

    message_of(nblstm.CellError, lambda: RNN(wrong, 3), "cell 'wrong' calls numpy.tanh")


@pytest.mark.parametrize(
    ("x", "options", "needed"),
    [
        (np.ones((3, 2)), {}, ("got shape (3, 2)", "needs 3 dimensions, batch included")),
        (np.ones((3, 6, 5)), {}, ("x of shape (3, 6, 5)", "give 2 in dimension -1")),
        (X, {"mask": np.ones((3, 5), bool)}, ("mask has shape (3, 5)", "(B, T)")),
        (X, {"mask": np.ones((3, 6, 2), bool)}, ("mask has shape (3, 6, 2)", "(B, T)")),
        (X, {"initial_state": np.ones((3, 4))}, ("initial_state is ndarray", "a list of 2 (h, c)")),
        (X, {"initial_state": [np.ones((3, 4))]}, ("initial_state is 1 arrays", "a list of 2 (h, c)")),
        (X, {"initial_state": [np.ones((3, 4)), np.ones((2, 4))]}, ("initial_state 'c' has shape (2, 4)", "(3, 4)")),
    ],
)
def test_calls(x, options, needed):
    layer = LSTM(4)
    layer.build((None, None, 2))
    for call in (layer, layer.forward):
        message_of(ValueError, lambda call=call: call(x, **options), *needed)


def test_masks_of_numbers():
    message_of(TypeError, lambda: LSTM(4)(X, mask=np.ones((3, 6))), "mask has dtype float64")


def test_states_of_both_directions():
    layer = Bidirectional(LSTM(4))
    message_of(ValueError, lambda: layer(X, initial_state=[np.ones((3, 4))] * 2), "2 arrays", "a list of 4")


def test_shapes_that_parameters_depend_on():
    message_of(ValueError, lambda: LSTM(4).build((None, 5, None)), "give a size of 1 or more in dimension -1")
    layer = LSTM(4)
    layer.build((None, 5, 3))
    message_of(ValueError, lambda: layer.build((None, 5, 2)), "was built for inputs of shape (None, 5, 3)")
    message_of(ValueError, lambda: Bidirectional(LSTM(4)).build((5, 2)), "needs 3 dimensions")


def test_a_stateful_layer_has_one_batch_size():
    layer = LSTM(4, stateful=True)
    layer(X)
    before = layer.states
    message_of(ValueError, lambda: layer(X[:2]), "stateful with a batch size of 3 and got 2 sequences")
    assert np.array_equal(layer.states, before)
    layer.reset_states()
    layer(X[:2])
    declared = GRU(4, stateful=True, batch_input_shape=(3, None, 2))
    message_of(ValueError, lambda: declared(X[:2]), "batch size of 3 and got 2")
    message_of(ValueError, lambda: declared.reset_states(np.ones((2, 4))), "states 'h' has shape (2, 4)", "(3, 4)")
    message_of(ValueError, lambda: layer.reset_states([np.ones((2, 4))]), "states is 1 arrays", "list of 2 (h, c)")
    message_of(ValueError, LSTM(4).reset_states, "keeps no states", "stateful=True")


def test_gradients_that_do_not_fit():
    layer, other = LSTM(4, return_state=True), LSTM(4)
    (y, h, c), tape = layer.forward(X)
    for call in (lambda: layer.backward(tape, y), lambda: layer.backward(tape, [y, h])):
        message_of(ValueError, call, "give a list of 3 like the output")
    message_of(ValueError, lambda: layer.backward(tape, [y, h[:2], c]), "dy of the state 'h' has shape (2, 4)")
    message_of(ValueError, lambda: layer.backward(tape, [y[:, :2], h, c]), "dy has shape (3, 2)", "(3, 4)")
    message_of(ValueError, lambda: other.backward(tape, y), "tape is not from the forward()")
    both = Bidirectional(LSTM(4), merge_mode=None)
    y, tape = both.forward(X)
    message_of(ValueError, lambda: both.backward(tape, y[0]), "give a list of 2 like the output")
    message_of(ValueError, lambda: both.backward(tape, [y[0], y[1][:2]]), "dy has shape (2, 4)")


def test_steppers():
    message_of(ValueError, LSTM(4).stepper, "is not built")
    layer = LSTM(4, go_backwards=True)
    layer(X)
    message_of(ValueError, layer.stepper, "goes backwards and needs whole sequences")
    forwards = LSTM(4)
    forwards(X)
    message_of(ValueError, lambda: forwards.stepper(0), "batch_size is 0")
    step = forwards.stepper(3)
    message_of(ValueError, lambda: step(np.ones((3, 3))), "x_t has shape (3, 3)")
    message_of(ValueError, lambda: step.reset([np.ones((3, 4))]), "list of 2 (h, c)")


def test_weights_that_do_not_fit_change_nothing():
    for layer in (LSTM(4), Bidirectional(LSTM(4))):
        layer(X)
        before = layer.get_weights()
        wrong = [*before[:-1], np.ones(3)]
        message_of(ValueError, lambda layer=layer, wrong=wrong: layer.set_weights(wrong), "has shape (3,)")
        message_of(ValueError, lambda layer=layer, few=before[:1]: layer.set_weights(few), "got 1 arrays")
        assert all(np.array_equal(w, old) for w, old in zip(layer.get_weights(), before, strict=True))


def test_a_saved_layer_of_an_unknown_cell():
    record = {"class_name": "RNN", "config": {"cell": "gone", "units": 3}}
    message_of(ValueError, lambda: layers.deserialize(record), "no cell named 'gone'", "register_cell")
    own = activations.ActivationFunction("own", np.sin, lambda x, dy: dy * np.cos(x), "input")
    message_of(ValueError, lambda: LSTM(3, own), "'own' does not act on each number alone", "scalar=")
    scalar = activations.ActivationFunction("a b", np.sin, lambda x, dy: dy * np.cos(x), "input", scalar=nblstm.tanh)
    message_of(TypeError, LSTM(3, scalar).get_config, "'a b' is your own and cannot be saved")


@pytest.mark.parametrize("make", [lambda: LSTM(4, return_state=True), lambda: Bidirectional(LSTM(4), merge_mode=None)])
def test_lists_of_outputs_are_no_input(make):
    message_of(ValueError, lambda: Dense(2).build(make().compute_output_shape((None, 6, 2))), "list of outputs")
    message_of(ValueError, lambda: nblstm.models.Sequential([make(), Dense(2)]).build((None, 6, 2)), "return")
    layer = layers.TimeDistributed(make())
    message_of(ValueError, lambda: layer(np.ones((2, 3, 6, 2))), "list of outputs")
    assert not layer.built


def test_an_activation_that_has_changed():
    """In a cell of nblstm's whose own equations never change."""
    slope = 1.0

    def sloped(x):
        return slope * x

    own = activations.ActivationFunction("sloped", lambda x: slope * x, lambda y, dy: slope * dy, scalar=sloped)
    for kind in (LSTM, GRU, SimpleRNN):
        slope = 1.0
        kind(2, own)
        slope = 2.0
        message_of(nblstm.CellError, lambda kind=kind: kind(2, own), "computes something else than when it was first")
