"""Noise in equations, and the cells made with it: its statistics, its gradients, its absence in inference."""

import numpy as np
import pytest
from differences import differences
from tolerances import DIFFERENCES, OUTPUT, assert_close

import nblstm
from nblstm import CellError, cell, cells, nn, noise, sigmoid, tanh
from nblstm.cells import pickling

T, B, I, H = 23, 5, 3, 301


@cell(gates="a", states="h")
def ones(a, h):
    return noise.bernoulli(0.3) + 0 * a


@cell(gates="a", states="h")
def ones_per_sequence(a, h):
    return noise.bernoulli(0.3, per="sequence") + 0 * a


@cell(gates="a", states="h")
def bells(a, h):
    return noise.normal(2.0) + 0 * a


@cell(gates="a", states="p q", called="a")
def two_sources(a, p, q):
    return noise.bernoulli(0.5) + 0 * a(q), noise.bernoulli(0.5)


def drawn(made, seed=1, shape=(T, B, H), **options):
    net = nn.Recurrent(made, I, shape[2], seed=seed, **options)
    return net.forward(np.zeros((*shape[:2], I)))[0]


def correlation(one, other):
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


def test_ones_have_their_probability_and_no_pattern():
    y = drawn(ones)
    assert set(np.unique(y)) == {0.0, 1.0}
    assert abs(y.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / y.size)
    for one, other in ((y[1:], y[:-1]), (y[:, 1:], y[:, :-1]), (y[..., 1:], y[..., :-1]), (y[..., 2:], y[..., :-2])):
        assert abs(correlation(one, other)) < 4 / np.sqrt(one.size)
    counts = y.sum(axis=2)  # of a binomial distribution
    assert 0.6 < counts.var() / (H * 0.3 * 0.7) < 1.5


def test_ones_for_a_sequence_stay():
    y = drawn(ones_per_sequence)
    np.testing.assert_array_equal(y, np.broadcast_to(y[0], y.shape))
    assert 0.2 < y[0].mean() < 0.4
    assert abs(correlation(y[0, 0], y[0, 1])) < 0.25


def test_normal_numbers_have_their_moments():
    y = drawn(bells, dtype="float64") / 2
    n = y.size
    assert abs(y.mean()) < 4 / np.sqrt(n)
    assert abs(y.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs((y**3).mean()) < 4 * np.sqrt(15 / n)
    assert abs((y**4).mean() - 3) < 4 * np.sqrt(96 / n)
    assert abs(correlation(y[..., 1:], y[..., :-1])) < 4 / np.sqrt(n)


def test_sources_passes_layers_and_directions_differ():
    net = nn.Recurrent(two_sources, I, H, num_layers=2, bidirectional=True, seed=3)
    x = np.zeros((T, B, I))
    y, (p, q), _ = net.forward(x)
    assert abs(correlation(p, q)) < 0.1
    assert abs(correlation(p[0], p[1])) < 0.15
    assert abs(correlation(p[0], p[2])) < 0.15
    assert abs(correlation(y[..., :H], y[..., H:])) < 0.05
    assert abs(correlation(y, net.forward(x)[0])) < 0.05


def test_a_seed_gives_the_same_numbers_for_any_threads():
    threads, found = nblstm.num_threads(), []
    made = cells.zoneout(cells.lstm, 0.2, 0.4)
    x = np.random.default_rng(0).normal(size=(T, 2, I)).astype("f4")
    try:
        for number in (1, 2, 2):
            nblstm.set_num_threads(number)
            net = nn.Recurrent(made, I, H, seed=7)
            y, _, tape = net.forward(x)
            found.append((y.copy(), net.backward(tape, np.cos(y)).flat))
    finally:
        nblstm.set_num_threads(threads)
    for y, flat in found[1:]:
        np.testing.assert_array_equal(y, found[0][0])
        np.testing.assert_array_equal(flat, found[0][1])


def test_checkpoints_draw_the_same_again():
    x = np.random.default_rng(0).normal(size=(T, B, I))
    flats = []
    for checkpoint in (None, 4):
        net = nn.Recurrent(cells.zoneout(cells.gru, 0.3), I, 7, dtype="float64", seed=2)
        y, _, tape = net.forward(x, checkpoint=checkpoint)
        flats.append(net.backward(tape, np.cos(y)).flat)
    np.testing.assert_array_equal(*flats)


MADE = {
    "zoneout": cells.zoneout(cells.lstm, 0.3, 0.6),
    "variational": cells.variational(cells.gru, 0.4),
    "variational_per_gate": cells.variational(cells.lstm, 0.4, per_gate=True),
    "variational_called": cells.variational(cells.gru_reset_before, 0.4),
    "gaussian_noise": cells.gaussian_noise(cells.lstm_peephole, 0.5),
    "dropconnect": cells.lstm.with_matrix(cells.dropconnect(0.4)),
}


@pytest.mark.parametrize("kind", MADE)
def test_gradients_are_those_of_what_was_drawn(kind):
    x = np.random.default_rng(1).normal(size=(3, 2, I))
    parameters = nn.Recurrent(MADE[kind], I, 5, 2, dtype="float64", seed=4).state_dict()

    def forward():
        net = nn.Recurrent(MADE[kind], I, 5, 2, dtype="float64", seed=4)  # the same generator, so the same numbers
        net.load_state_dict(parameters)
        return net, *net.forward(x)

    net, y, _, tape = forward()
    dy = np.random.default_rng(2).normal(size=y.shape)
    gradients = net.backward(tape, dy)

    def loss():
        return (forward()[1] * dy).sum()

    assert_close(gradients.x, differences(loss, x), DIFFERENCES["float64"])
    for name in ("weight_hh_l0", "bias_ih_l1"):
        assert_close(gradients.params[name], differences(loss, parameters[name]), DIFFERENCES["float64"])


@pytest.mark.parametrize("kind", [kind for kind in MADE if kind != "zoneout"])
def test_inference_is_the_cells_own(kind):
    base = {"variational": cells.gru, "variational_called": cells.gru_reset_before,
            "gaussian_noise": cells.lstm_peephole}.get(kind, cells.lstm)  # fmt: skip
    x = np.random.default_rng(1).normal(size=(4, 2, I))
    one, other = (nn.Recurrent(c, I, 5, dtype="float64", seed=4) for c in (MADE[kind], base))
    assert_close(one(x)[0], other(x)[0], OUTPUT["float64"])
    step = one.stepper(2)
    assert_close(np.array([step(x_t).copy() for x_t in x]), other(x)[0], OUTPUT["float64"])
    assert np.abs(one.forward(x)[0] - other(x)[0]).max() > 1e-3


def test_zoneout_keeps_states_and_has_their_mean_in_inference():
    """Equations 3 to 5 of Krueger et al. 2017, with the candidate c before zoneout in h's formula."""
    p_h, p_c = 0.3, 0.6
    net = nn.Recurrent(MADE["zoneout"], I, 4, dtype="float64", seed=0)
    x = np.random.default_rng(1).normal(size=(6, 2, I))
    w = net.parameters()
    h = c = np.zeros((2, 4))
    for t in range(6):
        z = x[t] @ w["weight_ih_l0"].T + h @ w["weight_hh_l0"].T + w["bias_ih_l0"] + w["bias_hh_l0"]
        i, f, g, o = (k(part) for k, part in zip((gate, gate, np.tanh, gate), np.split(z, 4, axis=1), strict=True))
        candidate = f * c + i * g
        h, c = p_h * h + (1 - p_h) * o * np.tanh(candidate), p_c * c + (1 - p_c) * candidate
    y, (h_n, c_n) = net(x)
    assert_close(h_n[0], h, OUTPUT["float64"])
    assert_close(c_n[0], c, OUTPUT["float64"])
    wide = nn.Recurrent(MADE["zoneout"], I, 500, seed=0)
    y = wide.forward(np.random.default_rng(1).normal(size=(30, 4, I)))[0]
    assert abs((y[1:] == y[:-1]).mean() - p_h) < 0.01


def gate(z):
    return 1 / (1 + np.exp(-z))


def test_half_of_the_weights_are_dropped_in_each_pass():
    net = nn.Recurrent(cells.rnn_tanh.with_matrix(cells.dropconnect(0.5)), I, 40, dtype="float64", seed=0)
    x = np.random.default_rng(1).normal(size=(3, 2, I))
    zeros = []
    for _ in range(2):
        y, _, tape = net.forward(x)
        zeros.append(net.backward(tape, np.ones_like(y)).params["weight_hh_l0"] == 0)
        assert 0.4 < zeros[-1].mean() < 0.6
    assert (zeros[0] != zeros[1]).mean() > 0.3
    reserve = np.empty(net.reserve_size(3, 2), "uint8")
    y, _, tape = net.forward(x, reserve=reserve)
    wanted = net.backward(tape, np.ones_like(y)).flat
    np.testing.assert_array_equal(net.backward(None, np.ones_like(y), reserve=reserve.copy()).flat, wanted)
    other = nn.Recurrent(cells.rnn_tanh.with_matrix(cells.dropconnect(0.4)), I, 40, dtype="float64")
    with pytest.raises(ValueError, match="reserve was filled by a network of another cell"):
        other.backward(None, np.ones_like(y), reserve=reserve)


def test_mistakes():
    with pytest.raises(CellError, match=r"noise\.bernoulli is for the equations of a cell"):
        noise.bernoulli(0.5)
    with pytest.raises(ValueError, match=r"p is 1\.5; give a number, 0 or more and at most 1"):
        noise.bernoulli(1.5)
    with pytest.raises(ValueError, match="per is 'unit'"):
        noise.normal(1.0, per="unit")
    with pytest.raises(CellError, match="zoneout got 2 probabilities for the states h; give one for each"):
        cells.zoneout(cells.gru, 0.1, 0.2)
    with pytest.raises(CellError, match="zoneout got 'lstm'; give a cell"):
        cells.zoneout("lstm", 0.1)
    with pytest.raises(ValueError, match="p is 1; give a number"):
        cells.dropconnect(1)
    with pytest.raises(CellError, match=r"with_matrix got 0\.5; give one of nblstm\.cells"):
        cells.lstm.with_matrix(0.5)


@cell(gates="a", states="h")
def summed(a, h):
    return tanh(nblstm.mean(a) * sigmoid(h))


def test_functions_of_units_and_noise_are_for_cells():
    with pytest.raises(CellError, match="mean is for the equations of a cell"):
        nblstm.mean(0.5)
    with pytest.raises(CellError, match="mean is for the equations of a cell"):
        summed(0.1, 0.2)


@cell(gates="a", states="h", signals="p")
def scheduled(a, h, p):
    return noise.bernoulli(p) + 0 * a


def test_probabilities_that_each_step_is_given():
    """Of T steps from -0.5 to 1.5: 0 below, 1 above."""
    p = np.linspace(-0.5, 1.5, T)
    net = nn.Recurrent(scheduled, I, H, seed=1)
    signals = {"p": np.repeat(p[:, None], B, axis=1)}
    y = net.forward(np.zeros((T, B, I)), signals=signals)[0]
    assert set(np.unique(y)) == {0.0, 1.0}
    wanted = np.clip(p, 0, 1)
    found = y.reshape(T, -1).mean(axis=1)
    assert (np.abs(found - wanted) <= 4 * np.sqrt(wanted * (1 - wanted) / (B * H))).all()
    assert abs(correlation(y[1:] - found[1:, None, None], y[:-1] - found[:-1, None, None])) < 4 / np.sqrt(y[1:].size)
    inference = net(np.zeros((T, B, I)), signals=signals)[0]
    assert_close(inference, np.broadcast_to(wanted[:, None, None], y.shape), OUTPUT["float32"])
    assert scheduled(0.1, 0.2, 1.5) == 1.0
    assert scheduled(0.1, 0.2, 0.25) == 0.25


@cell(gates="a b", states="h", signals="p", vectors="v", scalars="s")
def computed(a, b, h, p, v, s):
    keep = noise.bernoulli(p * sigmoid(b))
    return keep * h + (1 - keep) * (tanh(a) + noise.normal(v) * s) * noise.bernoulli(abs(h) + 0.5, per="sequence")


def test_computed_probabilities_and_deviations():
    """No gradient goes through a draw, and that with respect to a deviation is the normal number."""
    x = np.random.default_rng(1).normal(size=(4, 2, I))
    signals = {"p": np.random.default_rng(2).random((4, 2, 5))}
    parameters = nn.Recurrent(computed, I, 5, 2, dtype="float64", seed=4).state_dict()

    def forward():
        net = nn.Recurrent(computed, I, 5, 2, dtype="float64", seed=4)
        net.load_state_dict(parameters)
        return net, *net.forward(x, signals=signals)

    net, y, _, tape = forward()
    dy = np.random.default_rng(2).normal(size=y.shape)
    gradients = net.backward(tape, dy)
    for name in ("weight_hh_l0", "v_l0", "s_l0"):
        found = differences(lambda: (forward()[1] * dy).sum(), parameters[name])
        assert_close(gradients.params[name], found, DIFFERENCES["float64"])
    assert not gradients.signals["p"].any()
    rows = slice(5, 10)  # of b, which only the draw sees
    assert not gradients.params["weight_ih_l0"][rows].any()
    # In inference p is an expression like any other, and so is its derivative.
    direction = nn.Direction(signals={"p": np.ones((4, 2, 5))})
    (_, _), (d_y, _) = net.jvp(x, direction, signals=signals)
    above, below = (net(x, signals={"p": signals["p"] + e})[0] for e in (1e-5, -1e-5))
    assert_close(d_y, (above - below) / 2e-5, DIFFERENCES["float64"])


@pytest.mark.parametrize("made", [scheduled, computed, cells.clipped(computed, 0.5)], ids=lambda own: own.name)
def test_computed_probabilities_in_files_and_on_any_threads(made, tmp_path):
    threads, found = nblstm.num_threads(), []
    x, signals = np.random.default_rng(0).normal(size=(T, 2, I)), {"p": np.random.default_rng(1).random((T, 2))}
    net = nn.Recurrent(made, I, H, seed=7)
    net.save(tmp_path / "net.safetensors")
    loaded = nn.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(loaded(x, signals=signals)[0], net(x, signals=signals)[0])
    again = pickling.from_data(type(made), pickling.as_data(cells.clipped(made, 9.0)))
    try:
        for number, own in ((1, made), (2, made), (2, again)):
            nblstm.set_num_threads(number)
            net = nn.Recurrent(own, I, H, seed=7)
            y, _, tape = net.forward(x, signals=signals)
            found.append((y.copy(), net.backward(tape, np.cos(y)).flat))
    finally:
        nblstm.set_num_threads(threads)
    for y, flat in found[1:]:
        np.testing.assert_array_equal(y, found[0][0])
        np.testing.assert_array_equal(flat, found[0][1])
