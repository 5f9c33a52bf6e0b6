"""Combinations of cells, options, calls and requests to BPTT that were once wrong, and random ones beside a loop."""

import copy
import pickle

import numpy as np
import pytest
from differences import differences
from kinds_of_cells import CELLS, signals_of
from messages import message_of
from tolerances import DIFFERENCES, GRADIENT, OUTPUT, assert_close

import nblstm
from nblstm import cells, nn
from nblstm.cpu import thresholds

D = {"dtype": "float64", "seed": 0}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3, 4))


def tupled(states):
    return states if isinstance(states, tuple) else (states,)


# --- what was once wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("make", [
    lambda **options: nn.LSTM(4, 6, proj_size=3, **options),
    lambda **options: nn.Recurrent(CELLS["antisymmetric"], 4, 6, **options),
], ids=["projection", "matrix"])  # fmt: skip
def test_recurrent_dropout_leaves_the_places_of_learned_states(make):
    """The cell of recurrent dropout has more states, and gradients were written where there were no parameters."""
    net = make(num_layers=2, bidirectional=True, learn_initial_state=True, recurrent_dropout=0.4, **D)
    generator = copy.deepcopy(net._generator)

    def loss():
        net._generator = copy.deepcopy(generator)
        return (net.forward(X)[0] ** 2).sum() / 2

    net._generator = copy.deepcopy(generator)
    y, _, tape = net.forward(X)
    gradients = net.backward(tape, y)
    np.testing.assert_array_equal(net.backward(tape, y).flat, gradients.flat)
    for name in ("initial_h_l1_reverse", "weight_hh_l1_reverse", "weight_ih_l0_reverse"):
        assert_close(gradients.params[name], differences(loss, net.parameters()[name]), DIFFERENCES["float64"])


@pytest.mark.parametrize("name", ["no_gates", "input_only"])
def test_a_projection_that_alone_recurs(name):
    made = CELLS["no_gates"]
    if name == "input_only":
        made = nblstm.cell(gates="a", states="h c", input_only="a")(lambda a, h, c: (nblstm.tanh(a + c), 0.5 * c + a))
    net = nn.Recurrent(made, 4, 4, proj_size=2, bidirectional=True, **D)
    y, states = net(X)
    of_h = net.parameters()["weight_hr_l0"]
    if name == "no_gates":
        assert_close(states[0][0], states[1][0] @ of_h.T, OUTPUT["float64"])
    assert (y != 0).all()


def test_x_itself_and_projections():
    made = CELLS["highway"]
    assert nn.Recurrent(made, 4, 4, proj_size=2)(X)[0].shape == (5, 3, 2)
    message_of(
        ValueError, lambda: nn.Recurrent(made, 4, 4, 2, proj_size=2), "behind proj_size=2 a layer has 2 features, not 4"
    )
    assert nn.Recurrent(made, 4, 4, 2, bidirectional=True, proj_size=2)(X)[0].shape == (5, 3, 4)


@pytest.mark.parametrize("made", [cells.gru_reset_before, CELLS["three_stages"], cells.variational(cells.gru, 0.2)])
def test_projections_are_for_weights_of_the_first_state_alone(made):
    """The weights of a called gate would have multiplied the first P of H units."""
    message_of(
        nblstm.CellError, lambda: nn.Recurrent(made, 4, 6, proj_size=3), "proj_size has the recurrent weights", "calls"
    )  # fmt: skip


def test_reserves_are_not_for_dropconnect():
    net = nn.Recurrent(cells.lstm.with_matrix(cells.dropconnect(0.3)), 4, 6, **D)
    block = np.empty(net.reserve_size(5, 3), np.uint8)
    message_of(ValueError, lambda: net.forward(X, reserve=block), "reserve is not for a cell with noise in its matrix=")


@pytest.mark.parametrize("options", [{}, {"proj_size": 2}], ids=str)
def test_per_sample_gradients_of_learned_states_after_a_first_reset(options):
    net, resets = nn.LSTM(4, 6, learn_initial_state=True, **options, **D), np.zeros((5, 3), bool)
    resets[0, 1:] = True
    for state in (None, tuple(RNG.normal(size=(1, 3, size)) for size in net._network.state_sizes)):
        y, _, tape = net.forward(X, state, resets=resets, lengths=[3, 5, 2])
        samples = net.per_sample_gradients(tape, y)
        assert_close(samples.flat.sum(axis=0), net.backward(tape, y).flat, GRADIENT["float64"])
        if state is not None:
            assert not samples.params["initial_h_l0"][0].any()


@pytest.mark.parametrize("shape", [(5, 0), (0, 3), (0, 0)])
@pytest.mark.parametrize("how", [{}, {"checkpoint": 2}], ids=str)
@pytest.mark.parametrize("options", [{}, {"proj_size": 2, "bidirectional": True, "num_layers": 2}], ids=str)
def test_batches_of_nothing(shape, how, options, monkeypatch):
    for name in ("SERIAL_WORK", "SERIAL_WORK_GRADIENTS"):
        monkeypatch.setattr(thresholds, name, 0)
    net = nn.LSTM(4, 6, **options, **D)
    for _ in range(3):
        y, states, tape = net.forward(np.zeros((*shape, 4)), **how)
        assert y.shape == (*shape, net._network.D * net._network.output_size)
        for asked in ({}, {"steps": True}, {"clip": ("norm", 1.0), "truncate": 1}):
            gradients = net.backward(tape, y, states, **asked)
            assert not gradients.flat.any()
            assert gradients.x.shape == (*shape, 4)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("change", [
    cells.projected, lambda made: cells.variational(made, 0.2, per_gate=True), cells.recurrent_dropout,
], ids=["projected", "variational", "recurrent_dropout"])  # fmt: skip
def test_changed_cells_have_a_text(name, change):
    """A stage of a product may need a sum over units, whichever the equations had first."""
    try:
        made = change(CELLS[name])
    except nblstm.CellError:
        return
    again = pickle.loads(pickle.dumps(made))
    assert again.source() == made.source()


def test_names_with_an_underscore_are_saved(tmp_path):
    made = nblstm.cell(gates="_a", states="_h __c")(lambda _a, _h, __c: (nblstm.tanh(_a + __c), 0.5 * __c + _a))
    net = nn.Recurrent(made, 4, 6, **D)
    net.save(tmp_path / "net.npz")
    np.testing.assert_array_equal(nn.load(tmp_path / "net.npz")(X)[0], net(X)[0])
