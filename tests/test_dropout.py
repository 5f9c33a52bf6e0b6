"""Dropout between layers: what it drops is seen through layers that compute nothing, then given to the oracle."""

import numpy as np
import pytest
import reference
from tolerances import DIFFERENCES, OUTPUT, assert_close

from nblstm import cell, nn

P = 0.3


@cell(gates="a", states="h")
def identity(a, h):
    return a


def pipe(layers=2, H=6, seed=5, dropout=P, dtype="float64"):
    """A network whose layers hand on their input: all it does is to drop."""
    net = nn.Recurrent(identity, H, H, layers, bias=False, dropout=dropout, dtype=dtype, seed=seed)
    net.load_state_dict({name: np.eye(H) * name.startswith("weight_ih") for name in net.state_dict()})
    return net


def drawn(T, B, H, **options):
    """The factors that a network of this seed draws behind its first layer."""
    return pipe(H=H, **options).forward(np.ones((T, B, H)))[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_and_scale(p, dtype):
    factors = drawn(50, 20, 40, dropout=p, dtype=dtype)
    assert factors.dtype == dtype
    kept = factors != 0
    np.testing.assert_allclose(factors[kept], 1 / (1 - p), rtol=np.finfo(dtype).eps)
    assert kept.mean() == pytest.approx(1 - p, abs=5 * (p * (1 - p) / factors.size) ** 0.5)
    assert factors.mean() == pytest.approx(1, abs=5 * (p / (1 - p) / factors.size) ** 0.5)


def test_every_step_row_and_unit_is_drawn_on_its_own():
    kept = drawn(30, 25, 20) != 0
    for axis in range(3):
        share = kept.mean(axis=axis)
        assert 0 < share.std() < 0.2
        assert len(np.unique(kept.swapaxes(0, axis).reshape(kept.shape[axis], -1), axis=0)) == kept.shape[axis]


def test_seeds_decide():
    np.testing.assert_array_equal(drawn(5, 3, 7), drawn(5, 3, 7))
    assert (drawn(5, 3, 7, seed=5) != drawn(5, 3, 7, seed=6)).any()
    net = pipe()
    assert (net.forward(np.ones((5, 3, 6)))[0] != net.forward(np.ones((5, 3, 6)))[0]).any()


def test_none_at_inference():
    net, x = pipe(layers=3), np.ones((5, 3, 6))
    np.testing.assert_array_equal(net(x)[0], x)
    assert (net.forward(x)[0] != x).any()
    step = net.stepper(batch_size=3)
    np.testing.assert_array_equal(step(x[0]), x[0])


def test_inference_draws_nothing():
    net, other, x = pipe(), pipe(), np.ones((5, 3, 6))
    net(x)
    np.testing.assert_array_equal(net.forward(x)[0], other.forward(x)[0])


def test_none_behind_the_last_layer():
    x = np.ones((5, 3, 6))
    with pytest.warns(UserWarning, match="it does nothing here"):
        one = pipe(layers=1)
    np.testing.assert_array_equal(one.forward(x)[0], x)
    # Two layers between which something is dropped leave factors 0 and 1 / (1 - p); three would leave its square too.
    assert set(np.unique(drawn(9, 9, 9).round(12))) == {0, round(1 / (1 - P), 12)}
    assert round((1 - P) ** -2, 12) in np.unique(drawn(9, 9, 9, layers=3).round(12))


def test_states_are_those_of_the_whole_layers():
    x = np.ones((5, 3, 6))
    y, (h_n,), _ = pipe().forward(x)
    np.testing.assert_array_equal(h_n[0], x[-1])
    np.testing.assert_array_equal(h_n[1], y[-1])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_outputs_and_gradients_with_what_is_dropped(bidirectional):
    T, B, I, H = 4, 3, 2, 3
    D = 1 + bidirectional
    rng = np.random.default_rng(0)
    lstm = reference.CELLS["lstm"]
    params = reference.random_parameters(lstm, I, H, 2, bidirectional, rng)
    x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, D * H))
    mask = drawn(T, B, D * H, seed=8)

    def oracle(params, x):
        first = {name: p for name, p in params.items() if "_l0" in name}
        second = {name.replace("_l1", "_l0"): p for name, p in params.items() if "_l1" in name}
        hidden, _ = reference.forward(lstm, first, x, bidirectional=bidirectional)
        return reference.forward(lstm, second, hidden * mask, bidirectional=bidirectional)[0]

    net = nn.LSTM(I, H, 2, dropout=P, bidirectional=bidirectional, dtype="float64", seed=8)
    net.load_state_dict(params)
    y, _, tape = net.forward(x)
    assert_close(y, oracle(params, x), OUTPUT["float64"])
    gradients = net.backward(tape, dy)

    def difference(array):
        out = np.empty_like(array)
        for k in range(array.size):
            value = array.flat[k]
            array.flat[k] = value + 1e-5
            above = oracle(params, x)
            array.flat[k] = value - 1e-5
            out.flat[k] = np.sum((above - oracle(params, x)) * dy) / 2e-5
            array.flat[k] = value
        return out

    for name in ("weight_ih_l0", "bias_hh_l0", "weight_ih_l1", "weight_hh_l1"):
        assert_close(gradients.params[name], difference(params[name]), DIFFERENCES["float64"])
    assert_close(gradients.x, difference(x), DIFFERENCES["float64"])


def test_ragged_batches():
    net, lengths = pipe(), np.array([3, 0, 5])
    y, _, tape = net.forward(np.ones((5, 3, 6)), lengths=lengths)
    inside = np.arange(5)[:, None] < lengths
    assert (y[~inside] == 0).all()
    assert set(np.unique(y[inside].round(12))) == {0, round(1 / (1 - P), 12)}
    np.testing.assert_array_equal(net.backward(tape, np.ones_like(y)).x, y)  # the layers hand gradients on as well
