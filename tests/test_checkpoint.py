"""BPTT that keeps few states and computes the rest again: the same bits as with all of them kept."""

import numpy as np
import pytest
import reference
from networks import CELLS, Case, network, problem
from tolerances import OUTPUT, assert_close

from nblstm import cells, nn
from nblstm.cpu import thresholds

CASES = {
    "uniform": Case(T=257, B=9, I=5, H=19, num_layers=2),
    "bidirectional": Case(T=190, B=11, I=5, H=7, bidirectional=True),
    "ragged": Case(T=311, B=9, I=7, H=13, num_layers=2, bidirectional=True,
                   lengths=(311, 17, 0, 250, 311, 1, 90, 200, 128)),
    "no_steps": Case(T=3, B=2, I=3, H=5, lengths=(0, 0)),
    "one_long_row": Case(T=2500, B=1, I=2, H=3),
}  # fmt: skip


def gradients(net, p, lengths, checkpoint):
    y, finals, tape = net.forward(p.x, p.states, lengths, checkpoint=checkpoint)
    computed = net.backward(tape, p.dy, p.dstates)
    return [y, *finals, computed.flat, computed.x, *computed.state]


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before", "lstm_peephole", "lstm_recurrent_dropout"])
@pytest.mark.parametrize("case", CASES)
def test_same_bits(case, cell):
    case, oracle = CASES[case], CELLS[cell][1]
    net, p = network(CELLS[cell][0], oracle, case, "float32"), problem(oracle, case)
    expected = gradients(net, p, case.lengths, None)
    for checkpoint in (1, 50, 10_000):
        for ours, theirs in zip(gradients(net, p, case.lengths, checkpoint), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_dropout_is_drawn_once():
    x, results = np.random.default_rng(0).normal(size=(300, 8, 3)), []
    for checkpoint in (None, 1):
        net = nn.LSTM(3, 5, 3, dropout=0.5, dtype="float64", seed=0)
        y, _, tape = net.forward(x, checkpoint=checkpoint)
        results.append(net.backward(tape, np.ones_like(y)).flat)
    np.testing.assert_array_equal(*results)


def test_a_tape_keeps_its_weights_and_can_be_used_again():
    net, x = nn.LSTM(3, 5, dtype="float64", seed=0), np.random.default_rng(0).normal(size=(300, 8, 3))
    y, _, tape = net.forward(x, checkpoint=10)
    dy = np.ones_like(y)
    before = net.backward(tape, dy).flat
    net.parameters()["weight_hh_l0"][...] = 0
    x[...] = 0
    np.testing.assert_array_equal(net.backward(tape, dy).flat, before)


@pytest.mark.parametrize(
    ("checkpoint", "error"), [(0, ValueError), (-5, ValueError), (2.5, TypeError), ("9", TypeError)]
)
def test_checkpoints_that_cannot_be(checkpoint, error):
    with pytest.raises(error, match=r"checkpoint is .*whole number, 1 or more"):
        nn.LSTM(3, 5).forward(np.zeros((4, 2, 3)), checkpoint=checkpoint)


def test_the_oracle_agrees_on_a_long_row():
    case, oracle = CASES["one_long_row"], reference.CELLS["gru"]
    p, net = problem(oracle, case), network(CELLS["gru"][0], oracle, case, "float64")
    y, _, _ = net.forward(p.x, p.states, checkpoint=100)
    expected, _ = reference.forward(oracle, p.params, p.x, p.states)
    assert_close(y, expected, OUTPUT["float64"])


def test_gradients_of_signals_have_the_same_bits_with_checkpoints(monkeypatch):
    # Sums over layers and directions, of which another direction comes first to a step where spans are walked.
    monkeypatch.setattr(thresholds, "BPTT_SEGMENT_ROWS", 8)
    T, B, I, H = 41, 3, 4, 5
    network = nn.Recurrent(cells.time_aware_lstm, I, H, num_layers=3, bidirectional=True, dtype="float64", seed=0)
    rng = np.random.default_rng(0)
    x, dy, signals = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, 2 * H)), {"gap": rng.uniform(size=(T, B))}
    found = []
    for checkpoint in (None, 2, 3, 7):
        tape = network.forward(x, signals=signals, checkpoint=checkpoint)[2]
        found.append(network.backward(tape, dy).signals["gap"])
    for own in found[1:]:
        np.testing.assert_array_equal(own, found[0])
