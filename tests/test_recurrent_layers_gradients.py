"""Gradients of every recurrent layer and option against central differences in float64; masks with gaps included."""

import numpy as np
import pytest
from differences import differences
from tolerances import DIFFERENCES, assert_close

from nblstm import cell, sigmoid, softsign, tanh
from nblstm.layers import GRU, LSTM, RNN, Bidirectional, SimpleRNN

B, T, I, H = 4, 5, 2, 3

#: Gaps at the front, within and at the end; a full row; nothing.
GAPS = np.array([[0, 1, 0, 1, 1], [1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0]], bool)

SEQUENCES, STATE, BACKWARDS = {"return_sequences": True}, {"return_state": True}, {"go_backwards": True}
D = {"dtype": "float64"}


@cell(gates="f n", states="c h", split="n", vectors="p q", output="h")
def unusual(f, n_x, n_h, c, h, p, q):
    """Everything that a cell can have: a split gate, vectors, an output that is not what recurs."""
    f = sigmoid(f + p * c)
    c = f * c + (1 - f) * tanh(n_x + q * n_h)
    return c, softsign(c) + 0.1 * h


def lstm(**options):
    return LSTM(H, **D, **options)


def both(layer, **options):
    return Bidirectional(layer, **options)


#: name: (layer, mask, whether initial states are given)
CASES = {
    "rnn": (lambda: SimpleRNN(H, "softsign", **D), None, True),
    "rnn_gaps": (lambda: SimpleRNN(H, **SEQUENCES, **D), GAPS, False),
    "gru": (lambda: GRU(H, **SEQUENCES, **D), None, True),
    "gru_gaps": (lambda: GRU(H, **SEQUENCES, **STATE, **D), GAPS, True),
    "gru_before": (lambda: GRU(H, reset_after=False, use_bias=False, **D), GAPS, True),
    "gru_before_dropout": (lambda: GRU(H, reset_after=False, recurrent_dropout=0.4, seed=1, **D), GAPS, True),
    "lstm": (lambda: lstm(), None, False),
    "lstm_states": (lambda: lstm(**STATE), None, True),
    "lstm_gaps": (lambda: lstm(), GAPS, False),
    "lstm_gaps_sequences": (lambda: lstm(**SEQUENCES), GAPS, False),
    "lstm_gaps_zeros": (lambda: lstm(zero_output_for_mask=True, **SEQUENCES), GAPS, True),
    "lstm_gaps_backwards": (lambda: lstm(**SEQUENCES, **STATE, **BACKWARDS), GAPS, True),
    "lstm_backwards": (lambda: lstm(**BACKWARDS), None, False),
    "lstm_no_bias": (lambda: lstm(use_bias=False, **SEQUENCES), None, False),
    "lstm_activations": (lambda: lstm(activation="elu", recurrent_activation="mish"), None, False),
    "lstm_learned": (lambda: lstm(learn_initial_state=True, **SEQUENCES), GAPS, False),
    "lstm_learned_unused": (lambda: lstm(learn_initial_state=True), None, True),
    "lstm_learned_dropout": (
        lambda: lstm(learn_initial_state=True, dropout=0.3, recurrent_dropout=0.4, seed=2, **SEQUENCES), GAPS, False,
    ),
    "lstm_dropout": (lambda: lstm(dropout=0.3, recurrent_dropout=0.4, seed=2, **STATE, **BACKWARDS), GAPS, True),
    "lstm_stateful": (lambda: lstm(stateful=True), None, False),
    "own": (lambda: RNN(unusual, H, vectors_initializer="glorot_uniform", **SEQUENCES, **STATE, **D), GAPS, True),
    "own_dropout": (
        lambda: RNN(unusual, H, vectors_initializer="ones", recurrent_dropout=0.4, seed=3, **STATE, **D), GAPS, True,
    ),
    "both": (lambda: both(lstm()), GAPS, False),
    "both_sum": (lambda: both(GRU(H, **SEQUENCES, **D), merge_mode="sum"), GAPS, True),
    "both_mul": (lambda: both(lstm(**SEQUENCES), merge_mode="mul"), GAPS, True),
    "both_ave": (lambda: both(lstm(**SEQUENCES, **STATE), merge_mode="ave"), None, True),
    "both_lists": (lambda: both(lstm(**SEQUENCES), merge_mode=None), GAPS, False),
    "both_lists_states": (lambda: both(lstm(**STATE), merge_mode=None), GAPS, True),
    "both_dropout": (lambda: both(lstm(dropout=0.3, recurrent_dropout=0.4, seed=4, **SEQUENCES)), GAPS, False),
    "both_two": (
        lambda: both(lstm(**SEQUENCES), backward_layer=GRU(2, learn_initial_state=True, **SEQUENCES, **BACKWARDS, **D)),
        GAPS, False,
    ),
}  # fmt: skip


class Problem:
    """A layer, its input, and a pass in training mode with the same randomness and start each time."""

    def __init__(self, case):
        make, self.mask, starts = CASES[case]
        rng = np.random.default_rng(len(case))
        self.layer = make()
        self.layer.build((None, T, I), rng)
        for view in self.layer.parameters().values():
            view += rng.normal(size=view.shape) * 0.3  # biases and learned states are 0 at first
        self.x = rng.normal(size=(B, T, I))
        self.states = None
        if starts:
            pair = [self.layer.forward_layer, self.layer.backward_layer] if "both" in case else [self.layer]
            self.states = [rng.normal(size=(B, one.units)) for one in pair for _ in one.cell.states]
        if "stateful" in case:
            self.layer(self.x)
            self.carried = self.layer.states
        y = self.forward()[0]
        self.dy = [rng.normal(size=one.shape) for one in y] if isinstance(y, list) else rng.normal(size=y.shape)

    def forward(self):
        if self.layer.generator is not None:
            self.layer.generator.bit_generator.state = np.random.default_rng(5).bit_generator.state
        if getattr(self, "carried", None) is not None:
            self.layer.reset_states(self.carried)
        return self.layer.forward(self.x, training=True, mask=self.mask, initial_state=self.states)

    def loss(self):
        y = self.forward()[0]
        pairs = zip(y, self.dy, strict=True) if isinstance(y, list) else [(y, self.dy)]
        return sum(np.sum(one * d) for one, d in pairs)

    def check(self, gradient, array):
        """Gradients that are 0 are so exactly: nothing is said of how large they would be."""
        expected = differences(self.loss, array)
        if expected.any():
            assert_close(gradient, expected, DIFFERENCES["float64"])
        else:
            assert not gradient.any()


@pytest.mark.parametrize("case", CASES)
def test_against_differences(case):
    problem = Problem(case)
    dx, gradients = problem.layer.backward(problem.forward()[1], problem.dy)
    problem.check(dx, problem.x)
    for name, parameter in problem.layer.parameters().items():
        problem.check(gradients.params[name], parameter)
    for gradient, state in zip(gradients.state, problem.states or [], strict=problem.states is not None):
        problem.check(gradient, state)
    if "learned_unused" not in case:
        assert all(gradient.any() for gradient in gradients.params.values())


@pytest.mark.parametrize("case", CASES)
def test_the_input_gradient_can_be_left_out(case):
    problem = Problem(case)
    _, tape = problem.forward()
    _, gradients = problem.layer.backward(tape, problem.dy)
    dx, again = problem.layer.backward(tape, problem.dy, input_gradient=False)
    assert dx is None
    assert np.array_equal(gradients.flat, again.flat)


@pytest.mark.parametrize("case", CASES)
def test_a_tape_is_used_up_by_nothing(case):
    """Two backward passes, a forward pass between, give the same bits; x is not written to."""
    problem = Problem(case)
    before = problem.x.copy()
    _, tape = problem.forward()
    dx, gradients = problem.layer.backward(tape, problem.dy)
    problem.layer.forward(problem.x[:, ::-1].copy(), training=True)
    dx_again, gradients_again = problem.layer.backward(tape, problem.dy)
    assert np.array_equal(problem.x, before)
    assert np.array_equal(dx, dx_again)
    assert np.array_equal(gradients.flat, gradients_again.flat)


@pytest.mark.parametrize("case", CASES)
def test_gradients_go_where_others_were(case):
    problem = Problem(case)
    _, tape = problem.forward()
    dx, gradients = problem.layer.backward(tape, problem.dy)
    _, old = problem.layer.backward(tape, problem.dy)
    old.flat.fill(np.nan)
    dx_again, again = problem.layer.backward(tape, problem.dy, into=old)
    assert again is old
    assert np.array_equal(gradients.flat, again.flat)
    assert np.array_equal(dx, dx_again)
    for state, state_again in zip(gradients.state, again.state, strict=True):
        assert np.array_equal(state, state_again)


@pytest.mark.parametrize("case", ["gru_gaps", "lstm_states", "both_ave", "both_lists_states"])
def test_none_is_a_gradient_of_zeros(case):
    problem = Problem(case)
    _, tape = problem.forward()
    for k in range(len(problem.dy)):
        dy = [d if one != k else None for one, d in enumerate(problem.dy)]
        zeros = [d if one != k else np.zeros_like(d) for one, d in enumerate(problem.dy)]
        _, gradients = problem.layer.backward(tape, dy)
        assert np.array_equal(gradients.flat, problem.layer.backward(tape, zeros)[1].flat)


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_penalties(penalty):
    options = {f"{name}_regularizer": penalty for name in ("kernel", "recurrent", "bias")}
    for layer in (lstm(**options), both(lstm(**options))):
        y, tape = layer.forward(np.ones((2, 3, 4)))
        _, gradients = layer.backward(tape, np.zeros_like(y))
        layer.add_regularization_gradient(gradients)
        for name, parameter in layer.parameters().items():
            expected = differences(layer.regularization_loss, parameter)
            known = np.abs(parameter) > 1e-4  # where |w| has a derivative, also a step away
            assert_close(gradients.params[name][known], expected[known], DIFFERENCES["float64"])
        layer.trainable = False
        assert layer.regularization_loss() == 0
