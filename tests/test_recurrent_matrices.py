"""Recurrent matrices that are made of parameters, against NumPy loops and central differences."""

import pickle

import numpy as np
import pytest
from differences import differences
from tolerances import DIFFERENCES, DTYPES, OUTPUT, assert_close

from nblstm import CellError, cell, cells, nn, sigmoid, tanh

T, B, I, H = 4, 3, 3, 6


def made_with(matrix):
    @cell(gates="a b", states="h", split="b", matrix=matrix)
    def with_matrix(a, b_x, b_h, h):
        return tanh(a) * sigmoid(b_x + b_h) + 0.2 * h

    return with_matrix


def antisymmetric(parameters):
    W = parameters["weight_hh_l0"].reshape(2, H, H)
    return W - W.transpose(0, 2, 1) - 0.1 * np.eye(H)


def heads(parameters):
    R = np.zeros((2, H, H))
    for g, own in enumerate(parameters["weight_hh_l0"].reshape(2, 3, 2, 2)):
        for k in range(3):
            R[g, 2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = own[k]
    return R


def low_rank(parameters):
    U, V = parameters["weight_hh_l0"].reshape(2, H, 2), parameters["weight_hh_right_l0"].reshape(2, 2, H)
    return np.stack([U[g] @ V[g] for g in range(2)])


MATRICES = {
    "antisymmetric": (cells.antisymmetric(0.1), antisymmetric, {"weight_hh_l0": (12, 6)}),
    "heads": (cells.heads(3), heads, {"weight_hh_l0": (12, 2)}),
    "low_rank": (cells.low_rank(2), low_rank, {"weight_hh_l0": (12, 2), "weight_hh_right_l0": (4, 6)}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", MATRICES)
def test_outputs(kind, dtype):
    matrix, oracle, shapes = MATRICES[kind]
    net = nn.Recurrent(made_with(matrix), I, H, dtype=dtype, seed=1)
    w = {name: value.astype("f8") for name, value in net.parameters().items()}
    assert {name: w[name].shape for name in shapes} == shapes
    x = np.random.default_rng(0).normal(size=(T, B, I)).astype("f4").astype("f8")
    R, h, expected = oracle(w), np.zeros((B, H)), []
    for t in range(T):
        a, b = (x[t] @ W.T for W in np.split(w["weight_ih_l0"], 2))
        a = a + h @ R[0].T + (w["bias_ih_l0"] + w["bias_hh_l0"])[:H]
        b = b + h @ R[1].T + (w["bias_ih_l0"] + w["bias_hh_l0"])[H:]
        h = np.tanh(a) / (1 + np.exp(-b)) + 0.2 * h
        expected.append(h)
    for _ in range(5):
        assert_close(net(x)[0], np.array(expected), OUTPUT[dtype])
    step = net.stepper(B)
    assert_close(np.array([step(x_t).copy() for x_t in x]), np.array(expected), OUTPUT[dtype])
    net.parameters()["weight_hh_l0"][:] *= 2  # is seen by the next call
    assert np.abs(net(x)[0] - expected).max() > 1e-3


@pytest.mark.parametrize("kind", MATRICES)
def test_gradients(kind):
    net = nn.Recurrent(made_with(MATRICES[kind][0]), I, H, 2, bidirectional=True, dtype="float64", seed=1)
    x = np.random.default_rng(0).normal(size=(T, B, I))
    y, _, tape = net.forward(x, lengths=[2, 4, 3])
    dy = np.random.default_rng(1).normal(size=y.shape)
    gradients = net.backward(tape, dy)
    names = [name for name in net.state_dict() if "hh" in name] + ["weight_ih_l1_reverse"]
    for name in names:
        expected = differences(lambda: (net(x, lengths=[2, 4, 3])[0] * dy).sum(), net.parameters()[name])
        assert_close(gradients.params[name], expected, DIFFERENCES["float64"])
    assert_close(gradients.x, differences(lambda: (net(x, lengths=[2, 4, 3])[0] * dy).sum(), x), DIFFERENCES["float64"])


@pytest.mark.parametrize("kind", MATRICES)
def test_files_and_pickles(kind, tmp_path):
    net = nn.Recurrent(made_with(MATRICES[kind][0]), I, H, seed=1)
    x = np.ones((T, B, I))
    net.save(tmp_path / "net.safetensors")
    for copy in (nn.load(tmp_path / "net.safetensors"), pickle.loads(pickle.dumps(net))):
        assert copy.cell.matrix == net.cell.matrix
        np.testing.assert_array_equal(copy(x)[0], net(x)[0])


def test_a_block_for_each_head_is_a_network_of_its_own():
    """Heads share nothing: the first one's outputs do not depend on the others' states."""
    net = nn.Recurrent(cells.rnn_tanh.with_matrix(cells.heads(2)), I, H, dtype="float64", seed=0)
    x, h = np.random.default_rng(0).normal(size=(T, 1, I)), np.zeros((1, 1, H))
    before = net(x, (h,))[0][..., :3]
    h[..., 3:] = 1
    after = net(x, (h,))[0]
    np.testing.assert_array_equal(after[..., :3], before)
    assert np.abs(after[..., 3:]).max() > 0


def test_mistakes():
    with pytest.raises(ValueError, match="hidden_size is 6; give a multiple of 4, the number of heads"):
        nn.Recurrent(made_with(cells.heads(4)), I, H)
    with pytest.raises(ValueError, match="gamma is -1"):
        cells.antisymmetric(-1)
    with pytest.raises(ValueError, match="rank is 0"):
        cells.low_rank(0)
    for rank in (6, 7):
        with pytest.raises(ValueError, match=f"hidden_size is 6, and low_rank has rank {rank}; give a rank below"):
            nn.Recurrent(cells.lstm.with_matrix(cells.low_rank(rank)), 3, 6)
    with pytest.raises(CellError, match=r"has matrix=3; give one of nblstm\.cells"):
        made_with(3)
    with pytest.raises(CellError, match=r"proj_size makes .* P columns, and heads\(count=2\) of"):
        nn.Recurrent(made_with(cells.heads(2)), I, H, proj_size=2)


def test_a_cell_shows_its_matrix():
    assert repr(cells.lstm) == "<cell lstm: gates i f g o, states h c>"
    made = cells.lstm.with_matrix(cells.heads(2))
    assert str(made) == repr(made) == "<cell lstm: gates i f g o, states h c, matrix heads(count=2)>"
