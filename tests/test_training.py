"""Loss, read-out, clipping and Adam against ten lines of NumPy each; ten steps of training against the oracle's."""

import math

import numpy as np
import pytest
import reference
from golden import make_loss_trace
from tolerances import DIFFERENCES, DTYPES, OUTPUT, TRACE, assert_close

from nblstm import cells, nn
from nblstm.training import Adam, clip_by_global_norm, mean_squared_error

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


# --- loss -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7,), (3, 2, 5), (1,), (4, 1)])
def test_mean_squared_error(shape, dtype):
    prediction, target = RNG.normal(size=shape).astype(dtype), RNG.normal(size=shape).astype(dtype)
    loss, gradient = mean_squared_error(prediction, target)
    wide, exact = prediction.astype(np.float64), target.astype(np.float64)
    assert isinstance(loss, float)
    assert loss == pytest.approx(sum((wide - exact).ravel() ** 2) / wide.size, rel=OUTPUT[dtype])
    assert gradient.dtype == dtype
    assert_close(gradient, differences(lambda p: np.mean((p - exact) ** 2), wide), DIFFERENCES[dtype])


@pytest.mark.parametrize(
    ("prediction", "target", "said"),
    [
        (np.zeros((3, 1)), np.zeros(3), r"\(3,\).*\(3, 1\)"),
        (np.zeros(3), 0.0, r"shape \(\)"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "at least one"),
    ],
)
def test_mean_squared_error_broadcasts_nothing(prediction, target, said):
    with pytest.raises(ValueError, match=said):
        mean_squared_error(prediction, target)


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


# --- clipping -------------------------------------------------------------------------------------


def gradients_of(*arrays):
    return [nn.Gradients({}, array, np.zeros(0)) for array in arrays]


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping(dtype):
    a, b = RNG.normal(size=7).astype(dtype), RNG.normal(size=(3)).astype(dtype)
    norm = math.sqrt(sum(float(v) ** 2 for v in (*a, *b)))
    clipped = gradients_of(a.copy(), b.copy())
    assert clip_by_global_norm(clipped, norm / 4) == pytest.approx(norm, rel=OUTPUT[dtype])
    assert_close(clipped[0].flat, a.astype(np.float64) / 4, OUTPUT[dtype])
    assert_close(clipped[1].flat, b.astype(np.float64) / 4, OUTPUT[dtype])


def test_a_small_gradient_is_not_changed():
    a = RNG.normal(size=7)
    (kept,) = gradients_of(a.copy())
    clip_by_global_norm([kept], 100.0)
    np.testing.assert_array_equal(kept.flat, a)


def test_clipping_reaches_the_named_gradients():
    net = nn.LSTM(3, 5, dtype="float64", seed=0)
    y, _, tape = net.forward(RNG.normal(size=(4, 2, 3)))
    gradients = net.backward(tape, y)
    clip_by_global_norm([gradients], 1e-3)
    assert math.sqrt(sum((value**2).sum() for value in gradients.params.values())) == pytest.approx(1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_reported_not_hidden(value):
    gradients = gradients_of(np.array([1.0, value]))
    assert not math.isfinite(clip_by_global_norm(gradients, 1.0))
    np.testing.assert_array_equal(gradients[0].flat, [1.0, value])


@pytest.mark.parametrize("max_norm", [0, -1.0, np.nan, "1", None])
def test_max_norm(max_norm):
    with pytest.raises(ValueError, match=r"max_norm is .*above 0"):
        clip_by_global_norm([], max_norm)


# --- Adam -----------------------------------------------------------------------------------------


def numpy_adam(p, gradients, rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(gradients, start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g * g
        alpha = rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        p = p - alpha * m / (np.sqrt(v) + epsilon)
    return p


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, dict(beta_1=0.5, beta_2=0.9, epsilon=0.1), dict(beta_1=0.0)])
def test_adam(options, dtype):
    layers = [nn.Linear(5, 3, dtype=dtype, seed=0), nn.Linear(2, 4, dtype=dtype, seed=1)]
    before = [layer.flat_parameters().astype(np.float64) for layer in layers]
    drawn = [[RNG.normal(size=p.size).astype(np.float32) for p in before] for _ in range(6)]
    optimizer = Adam(layers, 0.01, **options)
    for flats in drawn:
        optimizer.step(gradients_of(*(flat.astype(dtype) for flat in flats)))
    assert optimizer.iterations == 6
    for k, layer in enumerate(layers):
        expected = numpy_adam(before[k], [flats[k].astype(np.float64) for flats in drawn], 0.01, **options)
        assert_close(layer.flat_parameters() - before[k], expected - before[k], OUTPUT[dtype])


def test_adam_of_one_module():
    layer, other = nn.Linear(5, 3, seed=0), nn.Linear(5, 3, seed=0)
    (gradients,) = gradients_of(np.ones(18, np.float32))
    Adam(layer).step(gradients)
    Adam([other]).step([gradients])
    np.testing.assert_array_equal(layer.flat_parameters(), other.flat_parameters())


def test_learning_rate_may_be_changed():
    layer = nn.Linear(5, 3, dtype="float64", seed=0)
    before = layer.flat_parameters().copy()
    optimizer = Adam([layer])
    optimizer.learning_rate = 0.0
    optimizer.step(gradients_of(np.ones(18)))
    np.testing.assert_array_equal(layer.flat_parameters(), before)


@pytest.mark.parametrize(
    ("gradients", "said"),
    [((np.ones(18),), r"\(18,\).*\(18,\), \(4,\)"), ((np.ones(4), np.ones(18)), "order"), ((), "numbers")],
)
def test_gradients_that_do_not_fit_change_nothing(gradients, said):
    layers = [nn.Linear(5, 3, dtype="float64"), nn.Linear(3, 1, dtype="float64")]
    before = [layer.flat_parameters().copy() for layer in layers]
    optimizer = Adam(layers)
    with pytest.raises(ValueError, match=said):
        optimizer.step(gradients_of(*gradients))
    assert optimizer.iterations == 0
    for layer, flat in zip(layers, before, strict=True):
        np.testing.assert_array_equal(layer.flat_parameters(), flat)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (dict(learning_rate=-1.0), ValueError, "learning_rate is -1.0"),
        (dict(learning_rate=np.nan), ValueError, "learning_rate is nan"),
        (dict(learning_rate="0.1"), ValueError, "learning_rate is '0.1'"),
        (dict(beta_1=1.0), ValueError, "beta_1 is 1.0"),
        (dict(beta_2=-0.1), ValueError, "beta_2 is -0.1"),
        (dict(epsilon=np.inf), ValueError, "epsilon is inf"),
        (dict(modules=[]), TypeError, "modules has nothing"),
        (dict(modules=[np.ones(3)]), TypeError, "modules has ndarray"),
    ],
)
def test_adam_arguments(options, error, said):
    with pytest.raises(error, match=said):
        Adam(**{"modules": [nn.Linear(2, 2)], **options})


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
        loss, d_prediction = mean_squared_error(prediction, target)
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
        loss, d_prediction = mean_squared_error(prediction, x.cumsum(axis=0))
        d_readout = readout.backward(readout_tape, d_prediction)
        optimizer.step([net.backward(tape, d_readout.x), d_readout])
    assert loss < 0.02  # the sums have a variance of 1.5
    params = {name: value.astype(np.float64) for name, value in net.state_dict().items()}
    h, _ = reference.forward(reference.CELLS[cell], params, x)
    assert_close(net(x)[0], h, OUTPUT["float32"])
