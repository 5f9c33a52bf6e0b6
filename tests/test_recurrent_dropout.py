"""Recurrent dropout: a transformation of any cell, whose output is not the state that recurs."""

import numpy as np
import pytest
import reference
from networks import Case, check_gradients, check_outputs
from reference import make_cell, sigmoid
from tolerances import DIFFERENCES, OUTPUT, assert_close

import nblstm
from nblstm import CellError, cell, cells, nn
from nblstm.cells import recurrent_dropout

SMALL = Case(T=3, B=2, I=3, H=5)
RAGGED = Case(T=4, B=3, I=3, H=7, num_layers=2, bidirectional=True, lengths=(2, 0, 4))


def masked(oracle, equations):
    """The oracle's cell with recurrent dropout, of equations that take and return one more state at either end."""
    states = " ".join((f"masked_{oracle.states[0]}", *oracle.states, "mask"))
    made = make_cell(equations, " ".join(oracle.gates), states, " ".join(oracle.split), " ".join(oracle.vectors),
                     oracle.output)  # fmt: skip
    return made._replace(name=f"{oracle.name}_recurrent_dropout")


def gru_step(r, z, n_x, n_h, masked_h, h, mask):
    (h,) = reference.gru(r, z, n_x, n_h, h)
    return mask * h, h, mask


def peephole_step(i, f, g, o, masked_h, h, c, mask, p_i, p_f, p_o):
    h, c = reference.lstm_peephole(i, f, g, o, h, c, p_i, p_f, p_o)
    return mask * h, h, c, mask


@pytest.mark.parametrize(("name", "step"), [("gru", gru_step), ("lstm_peephole", peephole_step)])
def test_of_split_gates_and_vectors(name, step):
    oracle = masked(reference.CELLS[name], step)
    for case in (SMALL, RAGGED):
        check_outputs(recurrent_dropout(getattr(cells, name)), oracle, case, "float64")
        check_gradients(recurrent_dropout(getattr(cells, name)), oracle, case, "float64")


def test_the_recurrent_product_alone_is_masked():
    rng = np.random.default_rng(0)
    net = nn.Recurrent(recurrent_dropout(cells.gru), 3, 7, dtype="float64", seed=0)
    W, R, b_x, b_h = net.state_dict().values()
    x, h = rng.normal(size=(6, 4, 3)), rng.normal(size=(4, 7))
    mask = (rng.random((4, 7)) >= 0.4) / 0.6
    y, finals = net(x, ((mask * h)[None], h[None], mask[None]))
    for t in range(6):
        a, recurrent = x[t] @ W.T + b_x, (mask * h) @ R.T + b_h
        r, z = sigmoid(a[:, :7] + recurrent[:, :7]), sigmoid(a[:, 7:14] + recurrent[:, 7:14])
        h = (1 - z) * np.tanh(a[:, 14:] + r * recurrent[:, 14:]) + z * h
        assert_close(y[t], h, OUTPUT["float64"])
    for final, expected in zip(finals, (mask * h, h, mask), strict=True):
        assert_close(final[0], expected, OUTPUT["float64"])


@pytest.mark.parametrize("checkpoint", [None, 40])
@pytest.mark.parametrize("B", [2, 9])
def test_a_mask_of_ones_is_the_cell_itself(B, checkpoint):
    rng = np.random.default_rng(0)
    plain = nn.LSTM(5, 37, 2, bidirectional=True, seed=0)
    dropped = nn.Recurrent(recurrent_dropout(cells.lstm), 5, 37, 2, bidirectional=True, seed=0)
    x, dy = rng.normal(size=(130, B, 5)), rng.normal(size=(130, B, 74))
    h, c, dh, dc = rng.normal(size=(4, 4, B, 37)).astype("f4")
    y, (h_n, c_n), tape = plain.forward(x, (h, c), checkpoint=checkpoint)
    y_ours, finals, tape_ours = dropped.forward(x, (h, h, c, np.ones_like(h)), checkpoint=checkpoint)
    np.testing.assert_array_equal(y_ours, y)
    for ours, theirs in zip(finals, (h_n, h_n, c_n, np.ones_like(h)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    expected = plain.backward(tape, dy, (dh, dc))
    gradients = dropped.backward(tape_ours, dy, (np.zeros_like(dh), dh, dc, np.zeros_like(dh)))
    assert_close(gradients.flat, expected.flat, DIFFERENCES["float32"])
    assert_close(gradients.x, expected.x, DIFFERENCES["float32"])
    assert_close(gradients.state[0] + gradients.state[1], expected.state[0], DIFFERENCES["float32"])


def test_a_mask_of_zeros_cuts_every_recurrent_connection():
    net = nn.Recurrent(recurrent_dropout(cells.lstm), 3, 5, dtype="float64", seed=0)
    y, _, tape = net.forward(np.random.default_rng(0).normal(size=(6, 2, 3)), [np.zeros((1, 2, 5))] * 4)
    gradients = net.backward(tape, np.ones_like(y))
    assert (gradients.params["weight_hh_l0"] == 0).all()
    assert (gradients.params["weight_ih_l0"] != 0).any()


def test_an_output_of_ones_own():
    @cell(gates="a b", states="h s", output="s")
    def summed(a, b, h, s):
        h = nblstm.tanh(a)
        return h, 0.5 * s + nblstm.sigmoid(b) * h

    def summed_oracle(a, b, h, s):
        h = np.tanh(a)
        return h, 0.5 * s + sigmoid(b) * h

    for case in (SMALL, RAGGED):
        check_outputs(summed, make_cell(summed_oracle, "a b", "h s", output="s"), case, "float64")
        check_gradients(summed, make_cell(summed_oracle, "a b", "h s", output="s"), case, "float64")


def test_is_made_once():
    assert recurrent_dropout(cells.lstm) is recurrent_dropout(cells.lstm)
    assert recurrent_dropout(cells.lstm).arguments == ("i", "f", "g", "o", "masked_h", "h", "c", "mask")


def test_errors():
    with pytest.raises(CellError, match="recurrent_dropout got 'lstm'; give a cell"):
        recurrent_dropout("lstm")
    with pytest.raises(CellError, match=r"adds the states .* but 'lstm_recurrent_dropout' uses such a name"):
        recurrent_dropout(recurrent_dropout(cells.lstm))

    @cell(gates="a", states="h")
    def wrong(a, h):
        return a, h

    with pytest.raises(CellError, match="cell 'wrong' returns 2 values"):
        recurrent_dropout(wrong)
