"""Cells with hundreds of constants and operations: numbers, gradients, files, and what BPTT saves of them."""

import pickle

import numpy as np
from differences import differences
from tolerances import DIFFERENCES, OUTPUT, assert_close

from nblstm import cell, nn, sigmoid, tanh
from nblstm.cells import pickling
from nblstm.symbolic import as_text

N = 400
CONSTANTS = np.random.default_rng(0).uniform(-1, 1, N)


@cell(gates="a f", states="h c")
def polynomial(a, f, h, c):
    """A polynomial of degree 399 in tanh(a), by Horner's rule."""
    a, value = tanh(a), 0.0
    for constant in CONSTANTS.tolist():
        value = value * a + constant
    return tanh(value) + 0.1 * h, sigmoid(f) * c + value


def run(net, x):
    p = {name: np.array(value) for name, value in net.parameters().items()}
    h = c = np.zeros((2, 5))
    for x_t in x:
        z = x_t @ p["weight_ih_l0"].T + p["bias_ih_l0"] + h @ p["weight_hh_l0"].T + p["bias_hh_l0"]
        a, f = np.split(z, 2, axis=1)
        value = np.polyval(CONSTANTS, np.tanh(a))
        h, c = np.tanh(value) + 0.1 * h, c / (1 + np.exp(-f)) + value
    return h, c


def test_hundreds_of_constants(tmp_path):
    net = nn.Recurrent(polynomial, 3, 5, dtype="float64", seed=0)
    x = np.random.default_rng(1).normal(size=(3, 2, 3))
    y, (h, c), tape = net.forward(x)
    for found, wanted in zip((y[-1], h[0], c[0]), (run(net, x)[0], *run(net, x)), strict=True):
        assert_close(found, wanted, OUTPUT["float64"])
    found = net.backward(tape, np.cos(y)).x
    assert_close(found, differences(lambda: (net(x)[0] * np.cos(y)).sum(), x), DIFFERENCES["float64"])
    net.save(tmp_path / "net.safetensors")
    as_text.known.clear()  # as in another process
    loaded = nn.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(loaded(x)[0], net(x)[0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(net))(x)[0], net(x)[0])


def test_what_bptt_saves_of_long_equations():
    """Each tanh once: neither their hundreds of arguments nor products of them."""

    @cell(gates="a b", states="h c")
    def features(a, b, h, c):
        value = 0.0
        for k, constant in enumerate(CONSTANTS.tolist()):
            value = value + constant * tanh(constant * (a if k % 2 else b) + k)
        return value + h, 0.5 * c + value

    graph = features.graph
    assert {node.op for node in graph.saved} == {"tanh"}
    assert len(graph.saved) == N
    assert 20_000 < len(pickling.as_data(features)["equations"]) < 50_000
