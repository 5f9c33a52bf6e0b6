"""Products with Jacobian and Hessian where names and sizes are unusual, and a saved network without any gate."""

import numpy as np
import pytest

from nblstm import cells, nn


def test_a_vector_named_like_half_a_gate_is_a_vector():
    net = nn.Recurrent(cells.layer_norm_gru, 3, 4, dtype="float64", seed=0)
    rng = np.random.default_rng(0)
    x, dx = rng.normal(size=(2, 4, 2, 3))
    (_, _), (d_y, _) = net.jvp(x, nn.Direction(x=dx))
    expected = (net(x + 1e-6 * dx)[0] - net(x - 1e-6 * dx)[0]) / 2e-6
    np.testing.assert_allclose(d_y, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("shape", [(5, 0, 3), (0, 2, 3)])
@pytest.mark.parametrize("proj_size", [0, 2])
def test_a_batch_of_nothing(shape, proj_size):
    net = nn.LSTM(3, 4, bidirectional=True, proj_size=proj_size, dtype="float64", seed=0)
    x = np.zeros(shape)
    (y, _), (d_y, _) = net.jvp(x, nn.Direction(x=x))
    assert y.shape == d_y.shape == (*shape[:2], 2 * (proj_size or 4))
    for found in net.hvp(x, nn.Direction(x=x), lambda y, d_y: (y, d_y)):
        assert found.x.shape == shape
        assert not found.flat.any()


@pytest.mark.parametrize("bias", [True, False])
def test_a_network_without_gates_is_loaded(tmp_path, bias):
    net = nn.Recurrent(cells.gru_d_input, 4, 4, bias=bias, seed=0)
    net.save(tmp_path / "net.safetensors")
    assert nn.load(tmp_path / "net.safetensors").bias is bias
