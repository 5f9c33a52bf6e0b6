"""State-space matrices of a compiled network's step, against the oracle's central differences and nn's gradients."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import reference
from networks import CELLS
from numba import njit
from numba.core.errors import TypingError
from processes import run_python

from nblstm import Sequential, cell, cos, erf, exp, exp2, layers, log2, nn, sigmoid, sin, tanh, where

#: Against central differences, which are exact to about 1e-9.
DIFFERENCES = 1e-6


@njit
def jacobian(net, x, s):
    return net.jacobian(x, s)


@njit(nogil=True)
def rows(net, x, s, first, last, A, D):
    for k in range(first, last):
        A[k], _, _, D[k] = net.jacobian(x[k], s[k])


def central_differences(step, v):
    """The derivatives of a function of a vector."""
    columns = []
    for k in range(v.size):
        more, less = v.copy(), v.copy()
        more[k] += 1e-5
        less[k] -= 1e-5
        columns.append((step(more) - step(less)) / 2e-5)
    return np.stack(columns, axis=1)


def assert_is(matrices, expected, n):
    """Compare A, B, C, D with all derivatives in one matrix."""
    A, B, C, D = matrices
    assert A.shape[0] == n
    np.testing.assert_allclose(np.block([[A, B], [C, D]]), expected, rtol=0, atol=DIFFERENCES)


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("name", CELLS)
def test_jacobian_is_the_oracles(name, num_layers):
    (made, oracle), I, H, rng = CELLS[name], 3, 4, np.random.default_rng(5)
    bias = num_layers == 1
    parameters = reference.random_parameters(oracle, I, H, num_layers, False, rng, bias)
    network = nn.Recurrent(made, I, H, num_layers, bias, dtype="float64", device="cpu")
    for key, value in parameters.items():
        network.parameters()[key][...] = value * 2
    net = network.compiled()
    n, x = net.recurrent_size, rng.normal(size=I)
    s = net.zero_state()
    s[:n] = rng.normal(size=n)

    def step(v):
        states = tuple(v[:n].reshape(len(oracle.states), num_layers, 1, H))
        doubled = {key: 2 * value for key, value in parameters.items()}
        y, new = reference.forward(
            oracle, doubled, v[n:].reshape(1, 1, I), states, num_layers=num_layers, bias=bias
        )  # fmt: skip
        return np.concatenate([np.stack(new).ravel(), y.ravel()])

    before, matrices = s.copy(), net.jacobian(x, s)
    assert_is(matrices, central_differences(step, np.concatenate([s[:n], x])), n)
    np.testing.assert_array_equal(s, before)
    for compiled, plain in zip(jacobian(net, x, s), matrices, strict=True):
        np.testing.assert_array_equal(compiled, plain)
        assert compiled.flags.c_contiguous
    np.testing.assert_array_equal(s, before)


def test_rows_are_what_backpropagation_gives():
    network, rng = nn.LSTM(3, 5, num_layers=2, dtype="float64", device="cpu", seed=0), np.random.default_rng(0)
    h, c = rng.normal(size=(2, 2, 1, 5))
    x = rng.normal(size=(1, 1, 3))
    _, _, tape = network.forward(x, (h, c))
    net = network.compiled()
    s = net.zero_state()
    net.set_states(s, (h, c))
    A, B, C, D = net.jacobian(x[0, 0], s)
    for k in range(net.recurrent_size):
        d_states = np.zeros((2, 2, 1, 5))
        d_states.reshape(-1)[k] = 1
        found = network.backward(tape, None, tuple(d_states))
        np.testing.assert_allclose(A[k], np.concatenate([part.ravel() for part in found.state]), atol=1e-14)
        np.testing.assert_allclose(B[k], found.x.ravel(), atol=1e-14)
    for k in range(5):
        dy = np.zeros((1, 1, 5))
        dy[..., k] = 1
        found = network.backward(tape, dy)
        np.testing.assert_allclose(C[k], np.concatenate([part.ravel() for part in found.state]), atol=1e-14)
        np.testing.assert_allclose(D[k], found.x.ravel(), atol=1e-14)


@cell(gates="a b m", states="c h w", split="a", called="b m", vectors="p", output="w")
def everything(a_x, a_h, b, m, c, h, w, p):
    operand = where(h > 0, c * sigmoid(a_x * p), h - w)
    w = tanh(b(operand)) * exp(-(m(operand) ** 2)) + 0.5 * w
    return sigmoid(a_h) * c + w * p, h * c, w


def state_of(net, seed=1):
    rng, s = np.random.default_rng(seed), net.zero_state()
    s[: net.recurrent_size] = rng.normal(size=net.recurrent_size)
    return s, rng.normal(size=net.input_size)


def differences_of(net, x, s):
    """Central differences of the network's own step, which has tests of its own."""
    n = net.recurrent_size

    def step(v):
        t = s.copy()
        t[:n] = v[:n]
        y = net.step(v[n:] if v.size > n else x, t)
        return np.concatenate([t[:n], y])

    return central_differences(step, np.concatenate([s[:n], np.ravel(x)]) if np.ndim(x) else s[:n].copy())


@cell(gates="a b", states="h")
def wavy(a, b, h):
    base = exp2(-b * b)
    return sin(a + h) * cos(b) + 0.25 * erf(a * h) + base ** sigmoid(h) + 0.1 * log2(1.5 + h * h)


@pytest.mark.parametrize("own", [everything, wavy], ids=lambda own: own.name)
def test_a_cell_of_ones_own(own):
    net = nn.Recurrent(own, 2, 3, num_layers=2, dtype="float64", device="cpu", seed=3).compiled()
    s, x = state_of(net)
    assert_is(jacobian(net, x, s), differences_of(net, x, s), net.recurrent_size)


ACTIVATIONS = "elu", "gelu", "hard_sigmoid", "leaky_relu", "mish", "relu", "selu", "softplus", "softsign", "swish"


F8 = {"dtype": "float64"}


@pytest.mark.parametrize(
    "stack",
    [
        [layers.LSTM(4, return_sequences=True, **F8), layers.Dense(3, activation="softmax", **F8)],
        [layers.Dense(3, activation="tanh", **F8), layers.LayerNormalization(**F8),
         layers.GRU(4, reset_after=False, return_sequences=True, **F8)],
        [layers.LayerNormalization(**F8), layers.GRU(2, return_sequences=True, **F8),
         layers.LSTM(3, return_sequences=True, **F8), layers.LayerNormalization(**F8),
         layers.Dense(2, activation="log_softmax", **F8)],
        [layers.SimpleRNN(3, return_sequences=True, **F8), *(layers.Activation(name, **F8) for name in ACTIVATIONS)],
        [layers.Dense(3, use_bias=False, **F8), layers.Dense(2, **F8)],
        [layers.Normalization(mean=[1, 2, 3], variance=[4, 1, 2], **F8), layers.GRU(4, return_sequences=True, **F8),
         layers.BatchNormalization(moving_variance_initializer=layers.initializers.Constant(9), **F8),
         layers.PReLU(shared_axes=[1], **F8), layers.ReLU(0.4, 0.1, 0.2, **F8), layers.Softmax(**F8)],
    ],
    ids=["head", "in_front", "between", "activations", "no_states", "numbers"],
)  # fmt: skip
def test_models(stack):
    model = Sequential([layers.Input((None, 3)), *stack])
    rng = np.random.default_rng(2)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    for view in model.non_trainable_weights:  # a variance among them
        np.abs(view, out=view)
    net = model.compiled()
    s, x = state_of(net)
    assert_is(net.jacobian(x, s), differences_of(net, x, s), net.recurrent_size)
    for compiled, plain in zip(jacobian(net, x, s), net.jacobian(x, s), strict=True):
        np.testing.assert_array_equal(compiled, plain)


def test_an_index_has_no_derivative():
    model = Sequential([layers.Input((None,)), layers.Embedding(6, 3), layers.LSTM(4, return_sequences=True)])
    net = model.compiled()
    s, _ = state_of(net)
    for A, B, C, D in (jacobian(net, 2, s), net.jacobian(2, s)):
        assert (A.shape, B.shape, C.shape, D.shape) == ((8, 8), (8, 0), (4, 8), (4, 0))
        np.testing.assert_array_equal(C, A[:4])
        assert A.any()


def test_float32_and_inputs_that_are_converted():
    network = nn.GRU(3, 20, num_layers=2, dtype="float32", device="cpu", seed=0)
    double = nn.GRU(3, 20, num_layers=2, dtype="float64", device="cpu")
    for name, value in network.parameters().items():
        double.parameters()[name][...] = value
    net, exact = network.compiled(), double.compiled()
    s, x = state_of(exact)
    s32 = net.zero_state()
    s32[: net.recurrent_size] = s[: net.recurrent_size]
    for given in (x.astype("f4"), np.repeat(x, 2)[::2]):
        for result in (jacobian(net, given, s32), net.jacobian(given, s32)):
            for found, expected in zip(result, exact.jacobian(x, s), strict=True):
                assert found.dtype == np.float32
                np.testing.assert_allclose(found, expected, atol=1e-5)


def test_threads_share_a_network():
    net = nn.LSTM(3, 8, dtype="float64", device="cpu", seed=0).compiled()
    rng, n = np.random.default_rng(0), net.recurrent_size
    x, s = rng.normal(size=(4000, 3)), rng.normal(size=(4000, net.state_size))
    A, D = np.empty((4000, n, n)), np.empty((4000, 8, 3))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda k: rows(net, x, s, k, k + 100, A, D), range(0, 4000, 100)))
    for k in range(0, 4000, 17):
        expected = net.jacobian(x[k], s[k])
        np.testing.assert_array_equal(A[k], expected[0])
        np.testing.assert_array_equal(D[k], expected[3])


def test_new_parameters_and_copies():
    network = nn.LSTM(2, 3, dtype="float64", device="cpu", seed=0)
    net = network.compiled()
    s, x = state_of(net)
    before = net.jacobian(x, s)
    network.parameters()["weight_hh_l0"][...] *= 2
    net.update(network)
    assert np.abs(net.jacobian(x, s)[0] - before[0]).max() > 0.01
    np.testing.assert_array_equal(net.jacobian(x, s)[0], network.compiled().jacobian(x, s)[0])


def test_without_compilation():
    code = """
import numpy as np
from numba import njit
from numba.core.errors import TypingError
from nblstm import nn

@njit
def linearised(net, x):
    s = net.zero_state()
    net.step(x, s)
    A, B, C, D = net.jacobian(x, s)
    return A.sum() + 2 * B.sum() + 3 * C.sum() + 4 * D.sum()

net = nn.LSTM(2, 3, dtype="float64", device="cpu", seed=0).compiled()
print(linearised(net, np.array([0.5, -1.0])))
"""
    net = nn.LSTM(2, 3, dtype="float64", device="cpu", seed=0).compiled()
    s, x = net.zero_state(), np.array([0.5, -1.0])
    net.step(x, s)
    A, B, C, D = jacobian(net, x, s)
    expected = A.sum() + 2 * B.sum() + 3 * C.sum() + 4 * D.sum()
    assert math.isclose(float(run_python(code, NUMBA_DISABLE_JIT="1")), expected, rel_tol=1e-13)


def test_mistakes():
    net, two = nn.LSTM(3, 4, device="cpu").compiled(), nn.LSTM(3, 4, device="cpu").compiled(batch_size=2)
    s, x = net.zero_state(), np.zeros(3, "f4")
    for call in (jacobian, lambda net, x, s: net.jacobian(x, s)):
        with pytest.raises(ValueError, match="jacobian\\(\\) is of one row, but the network has batch_size 2"):
            call(two, x, two.zero_state())
        with pytest.raises(ValueError, match="give"):
            call(net, np.zeros(4, "f4"), s)
        with pytest.raises(ValueError, match="s has 3 numbers"):
            call(net, x, np.zeros(3, "f4"))
        with pytest.raises((TypeError, ValueError, TypingError), match="give"):
            call(net, np.zeros((1, 3, 1), "f4"), s)
        with pytest.raises((TypeError, ValueError, TypingError), match="give"):
            call(net, np.zeros(3, complex), s)
