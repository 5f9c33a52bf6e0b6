"""The read-out against a line of NumPy; ten steps of training against the oracle's; a task that is learned."""

import numpy as np
import pytest
import reference
from golden import make_loss_trace
from tolerances import DIFFERENCES, DTYPES, OUTPUT, TRACE, assert_close

from nblstm import cells, nn
from nblstm.training import Adam, clip_by_global_norm
from nblstm.training.losses import MeanSquaredError

RNG = np.random.default_rng(0)

#: What golden/make_loss_trace.py prints.
LOSSES = [
    0.079309570541,
    0.060114098979,
    0.052848530858,
    0.044495531235,
    0.035174558534,
    0.027604064638,
    0.021820405084,
    0.016189904225,
    0.010832890201,
    0.007339288289,
    0.007320522727,
]


def differences(loss, array):
    """The gradient of a function of one array, by central differences."""
    out = np.empty_like(array)
    for k in np.ndindex(array.shape):
        step = np.zeros_like(array)
        step[k] = 1e-5
        out[k] = (loss(array + step) - loss(array - step)) / 2e-5
    return out


# --- linear ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (4, 5), (3, 2, 5)])
def test_linear(shape, bias, dtype):
    layer = nn.Linear(5, 3, bias=bias, dtype=dtype, seed=0)
    params = {name: value.astype(np.float64) for name, value in layer.state_dict().items()}
    assert {name: value.shape for name, value in params.items()} == {"weight": (3, 5)} | (
        {"bias": (3,)} if bias else {}
    )
    x, dy = (RNG.normal(size=s).astype(np.float32).astype(np.float64) for s in (shape, (*shape[:-1], 3)))

    def apply(x, weight, bias=0.0):
        return np.einsum("...i,oi->...o", x, weight) + bias

    y, tape = layer.forward(x)
    assert y.dtype == dtype
    assert_close(y, apply(x, **params), OUTPUT[dtype])
    np.testing.assert_array_equal(layer(x), y)
    gradients = layer.backward(tape, dy)
    assert_close(gradients.x, differences(lambda x: np.sum(dy * apply(x, **params)), x), DIFFERENCES[dtype])
    for name, value in params.items():
        expected = differences(lambda p, name=name: np.sum(dy * apply(x, **(params | {name: p}))), value)
        assert_close(gradients.params[name], expected, DIFFERENCES[dtype])


# --- together -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_ten_steps_of_training(dtype):
    params, x, target = make_loss_trace.problem()
    lstm, readout = nn.LSTM(make_loss_trace.I, make_loss_trace.H, dtype=dtype), nn.Linear(3, 1, dtype=dtype)
    readout.load_state_dict({"weight": params.pop("W"), "bias": params.pop("b")})
    lstm.load_state_dict(params)
    optimizer = Adam([lstm, readout], make_loss_trace.RATE)
    losses = []
    for _ in LOSSES:
        h, _, tape = lstm.forward(x)
        prediction, readout_tape = readout.forward(h)
        loss, d_prediction = MeanSquaredError().value_and_gradient(target, prediction)
        d_readout = readout.backward(readout_tape, d_prediction)
        gradients = [lstm.backward(tape, d_readout.x), d_readout]
        clip_by_global_norm(gradients, make_loss_trace.MAX_NORM)
        optimizer.step(gradients)
        losses.append(loss)
    np.testing.assert_allclose(losses, LOSSES, rtol=TRACE[dtype])


def test_the_expected_losses_are_those_of_the_oracle():
    np.testing.assert_allclose(make_loss_trace.losses(), LOSSES, rtol=TRACE["float64"])


@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm_peephole"])
def test_a_sum_is_learned(cell):
    rng = np.random.default_rng(1)
    net, readout = nn.Recurrent(getattr(cells, cell), 1, 12, seed=0), nn.Linear(12, 1, seed=1)
    optimizer = Adam([net, readout], 0.02)
    for _ in range(150):
        x = rng.uniform(-1, 1, (8, 32, 1)).astype(np.float32)
        h, _, tape = net.forward(x)
        prediction, readout_tape = readout.forward(h)
        loss, d_prediction = MeanSquaredError().value_and_gradient(x.cumsum(axis=0), prediction)
        d_readout = readout.backward(readout_tape, d_prediction)
        optimizer.step([net.backward(tape, d_readout.x), d_readout])
    assert loss < 0.02  # the sums have a variance of 1.5
    params = {name: value.astype(np.float64) for name, value in net.state_dict().items()}
    h, _ = reference.forward(reference.CELLS[cell], params, x)
    assert_close(net(x)[0], h, OUTPUT["float32"])
