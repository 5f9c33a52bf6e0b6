"""Biases that begin with a number beside the random one: `forget_bias` and `initial_bias`."""

import numpy as np
import pytest
from messages import message_of

from nblstm import cells, nn


def biases(net):
    return {name: value for name, value in net.state_dict().items() if name.startswith("bias_ih")}


def test_the_forget_gate_alone_begins_elsewhere():
    options = dict(input_size=3, hidden_size=5, num_layers=2, bidirectional=True, seed=0, dtype="float64")
    plain, net = nn.LSTM(**options), nn.LSTM(**options, forget_bias=1.5)
    same = nn.Recurrent(cells.lstm, **options, initial_bias={"f": 1.5})
    expected = plain.state_dict()
    assert len(biases(net)) == 4
    for name in biases(net):
        expected[name][5:10] += 1.5
    for found in (net, same):
        for name, value in found.state_dict().items():
            np.testing.assert_array_equal(value, expected[name])


def test_several_gates():
    plain = nn.GRU(3, 5, seed=0)
    net = nn.GRU(3, 5, initial_bias={"z": -2, "n": 0.5}, seed=0)
    (before,), (after,) = biases(plain).values(), biases(net).values()
    np.testing.assert_array_equal(after, before + np.repeat(np.float32([0, -2, 0.5]), 5))


def test_files_have_the_parameters_and_not_what_they_began_with(tmp_path):
    net = nn.LSTM(3, 5, forget_bias=1.0, seed=0)
    net.save(tmp_path / "lstm.npz")
    other = nn.load(tmp_path / "lstm.npz")
    np.testing.assert_array_equal(other.flat_parameters(), net.flat_parameters())
    assert repr(other) == repr(net) == "LSTM(3, 5)"


@pytest.mark.parametrize("make", [nn.GRU, lambda *sizes, **options: nn.Recurrent(cells.gru, *sizes, **options)])
def test_what_does_not_fit(make):
    message_of(TypeError, lambda: make(3, 5, initial_bias=1.0), "initial_bias is 1.0", "{'r': 1.0}")
    message_of(ValueError, lambda: make(3, 5, initial_bias={"f": 1.0}), "initial_bias has 'f'", "r, z, n")
    message_of(ValueError, lambda: make(3, 5, bias=False, initial_bias={"z": 1.0}), "bias is False", "leave one out")
    message_of(ValueError, lambda: make(3, 5, initial_bias={"z": np.nan}), "initial_bias['z'] is nan")
    message_of(ValueError, lambda: nn.LSTM(3, 5, bias=False, forget_bias=1), "forget_bias is 1.0 and bias is False")
    both = dict(forget_bias=1, initial_bias={"i": 1.0})
    message_of(ValueError, lambda: nn.LSTM(3, 5, **both), "forget_bias is 1.0 and initial_bias is given too")
    message_of(TypeError, lambda: nn.LSTM(3, 5, forget_bias="one"), "forget_bias is 'one'")
    nn.LSTM(3, 5, bias=False, forget_bias=0.0)
