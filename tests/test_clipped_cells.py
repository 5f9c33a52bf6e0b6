"""Cells with clipped states and pre-activations: against loops in NumPy, ONNX's cells and central differences."""

import pickle

import numpy as np
import pytest
from bptt_reference import sigmoid

import nblstm
from nblstm import cells, nn
from nblstm.cells.onnx_forms import Activation, gru_form, lstm_form, rnn_form

T, B, I, H = 8, 3, 4, 5
RANDOM = np.random.default_rng(0)
X = 2 * RANDOM.normal(size=(T, B, I))
SIGMOID, TANH = Activation("Sigmoid"), Activation("Tanh")


def network(cell, layers=1, **options):
    return nn.Recurrent(cell, I, H, layers, dtype="float64", seed=0, **options)


def test_a_clipped_cell_state_is_what_the_output_reads():
    net = network(cells.clipped(cells.lstm, {"c": 0.25}))
    p = {name: np.array(value) for name, value in net.parameters().items()}
    h, c, found = np.zeros((B, H)), np.zeros((B, H)), 0
    y, _ = net(X)
    for t in range(T):
        a = X[t] @ p["weight_ih_l0"].T + p["bias_ih_l0"] + h @ p["weight_hh_l0"].T + p["bias_hh_l0"]
        i, f, g, o = np.split(a, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        found += (np.abs(c) > 0.25).sum()
        c = np.clip(c, -0.25, 0.25)
        h = sigmoid(o) * np.tanh(c)
        np.testing.assert_allclose(y[t], h, rtol=0, atol=1e-14)
    assert found > 10


@pytest.mark.parametrize(
    ("base", "form"),
    [
        (cells.lstm, lstm_form((SIGMOID, TANH, TANH), 0.3, False, False)),
        (cells.lstm_peephole, lstm_form((SIGMOID, TANH, TANH), 0.3, False, True)),
        (lstm_form((Activation("HardSigmoid", 0.2, 0.5), Activation("Relu"), TANH), None, True, False),
         lstm_form((Activation("HardSigmoid", 0.2, 0.5), Activation("Relu"), TANH), 0.3, True, False)),
        (cells.gru, gru_form((SIGMOID, TANH), 0.3, True)),
        (cells.gru_reset_before, gru_form((SIGMOID, TANH), 0.3, False)),
        (cells.rnn_tanh, rnn_form(TANH, 0.3)),
        (rnn_form(Activation("ThresholdedRelu", 0.1), None), rnn_form(Activation("ThresholdedRelu", 0.1), 0.3)),
        (cells.rnn_with("softplus"), None),
    ],
    ids=lambda own: own.name if own else "",
)  # fmt: skip
def test_clipped_preactivations_are_those_of_onnx(base, form):
    if form is None:

        @nblstm.cell(gates="a", states="h")
        def form(a, h):
            return nblstm.softplus(nblstm.clip(a, -0.3, 0.3))

    one, other = network(cells.clipped(base, preactivation=0.3)), network(form)
    (y, _, tape), (y_2, _, tape_2) = one.forward(X), other.forward(X)
    np.testing.assert_array_equal(y, y_2)
    assert (network(base)(X)[0] != y).any()
    np.testing.assert_allclose(one.backward(tape, X[..., :1] + y).flat, other.backward(tape_2, X[..., :1] + y).flat)


@nblstm.cell(gates="a n g", states="h c", called="n", vectors="v", scalars="alpha", signals="dt")
def whole(a, n, g, h, c, dt, v, alpha):
    c = nblstm.sigmoid(a - dt) * c + nblstm.tanh(n(v * h + nblstm.mean(c)))
    return nblstm.softmax(c) * nblstm.tanh(alpha + g) + h, c


@pytest.mark.parametrize(
    "options", [{"states": 0.4}, {"states": {"c": 0.3}, "preactivation": 0.5}, {"preactivation": 1}]
)
@pytest.mark.parametrize("base", [cells.lstm_peephole, cells.gru, whole], ids=lambda cell: cell.name)
def test_gradients_are_those_of_central_differences(base, options):
    """Of values that are not within 1e-5 of a limit, which these are not."""
    if not isinstance(options.get("states", 1.0), float) and "c" not in base.states:
        options = {"states": {"h": 0.3}, "preactivation": 0.5}
    net = network(cells.clipped(base, **options))
    signals = {"dt": RANDOM.random((T, B))} if base.signals else None
    y, _, tape = net.forward(X, signals=signals)
    dy = RANDOM.normal(size=y.shape)
    gradients = net.backward(tape, dy)
    for name, array in net.parameters().items():
        for at in np.random.default_rng(1).choice(array.size, min(4, array.size), replace=False):
            place, rise = np.unravel_index(at, array.shape), []
            value = array[place]
            for delta in (1e-6, -1e-6):
                array[place] = value + delta
                rise.append((net(X, signals=signals)[0] * dy).sum())
            array[place] = value
            np.testing.assert_allclose(gradients.params[name][place], (rise[0] - rise[1]) / 2e-6, rtol=0, atol=2e-8)


def test_limits_that_nothing_reaches_change_nothing():
    for base in (cells.lstm, cells.gru, cells.lstm_peephole, cells.gru_reset_before):
        plain, same = network(base, 2), network(cells.clipped(base, 1e6, 1e6), 2)
        np.testing.assert_array_equal(plain(X)[0], same(X)[0])


def test_a_clipped_cell_is_called_with_numbers_pickled_and_stepped():
    made = cells.clipped(cells.lstm, {"c": 0.5}, 2.0)
    assert made is cells.clipped(cells.lstm, {"c": 0.5}, preactivation=2.0)
    h, c = made(9.0, 9.0, 9.0, 9.0, 0.0, 0.1)
    gate = 1 / (1 + np.exp(-2.0))
    assert c == 0.5
    assert h == pytest.approx(gate * np.tanh(0.5))
    net = network(made)
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again(X)[0], net(X)[0])
    stepper = net.stepper(B)
    np.testing.assert_allclose([stepper(x).copy() for x in X], net(X)[0], rtol=0, atol=1e-14)
    twice = network(cells.recurrent_dropout(cells.clipped(made, {"h": 0.1})))
    assert np.abs(twice(X)[0]).max() == 0.1


def test_zoneout_is_drawn_within_a_clipped_cell():
    @nblstm.cell(gates="a", states="h")
    def kept(a, h):
        keep = nblstm.noise.bernoulli(0.5)
        return keep * h + (1 - keep) * nblstm.tanh(a)

    one, other = network(kept), network(cells.clipped(kept, 1e3))
    np.testing.assert_array_equal(one.forward(X)[0], other.forward(X)[0])
    np.testing.assert_array_equal(one(X)[0], other(X)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lstm", 1.0), "clipped got 'lstm'; give a cell"),
        ((cells.lstm,), "clipped has no limits; give states="),
        ((cells.lstm, {"x": 1.0}), "clipped has a limit of 'x', and 'lstm' has states h c"),
        ((cells.lstm, -1.0), "clipped has the limit -1.0 of 'h'; give a finite number above 0"),
        ((cells.lstm, {"c": "3"}), "clipped has the limit '3' of 'c'"),
        ((cells.lstm, None, np.inf), "clipped has the limit inf of 'preactivation'"),
    ],
)
def test_bad_limits_have_one_sentence(arguments, message):
    with pytest.raises(nblstm.CellError, match=message):
        cells.clipped(*arguments)


def test_a_gate_without_an_activation_has_no_preactivation_to_clip():
    @nblstm.cell(gates="z n", states="h")
    def linear(z, n, h):
        z = nblstm.sigmoid(z)
        return (1 - z) * h + z * n

    with pytest.raises(nblstm.CellError, match="the gate 'n' of 'linear' goes through none"):
        cells.clipped(linear, preactivation=1.0)
    assert np.abs(network(cells.clipped(linear, 0.1))(X)[0]).max() == 0.1
