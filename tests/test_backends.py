"""What every backend must do, on small shapes: the CPU, CUDA's kernels in the simulator, and a GPU if there is one."""

import numpy as np
import pytest
import reference
from backends import backend  # noqa: F401  used by each test
from networks import CELLS, Case, check_gradients, check_outputs, problem, waves
from reference import make_cell
from test_custom_cells import ODD, WHOLE
from test_dropout import pipe
from tolerances import GRADIENT, OUTPUT, assert_close

from nblstm import nn

SMALL = Case(T=3, B=2, I=3, H=5)
RAGGED = Case(T=5, B=4, I=3, H=7, num_layers=2, bidirectional=True, lengths=(2, 0, 5, 3))
#: H fills two groups of weights of a lane, so that some of them are in shared memory; B fills several chunks.
WIDE = Case(T=3, B=7, I=2, H=21, bias=False)
LSTM = CELLS["lstm"]


def lstm(dtype="float32", case=RAGGED, **options):
    made = nn.LSTM(case.I, case.H, case.num_layers, bidirectional=case.bidirectional, dtype=dtype, **options)
    made.load_state_dict(problem(LSTM[1], case).params)
    return made


# --- cells ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_cells(cell):
    for case in (SMALL, RAGGED):
        check_outputs(*CELLS[cell], case, "float32")
        check_gradients(*CELLS[cell], case, "float32")


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before"])
def test_cells_in_float64(cell):
    check_outputs(*CELLS[cell], RAGGED, "float64")
    check_gradients(*CELLS[cell], RAGGED, "float64")


def test_functions_that_no_cell_has():
    rng = np.random.default_rng(4)
    x, dy = rng.normal(size=(3, 4, 3)), rng.normal(size=(3, 4, 5))
    (y, found), (expected_y, expected) = (
        (made(x)[0], made.backward(made.forward(x)[2], dy))
        for made in (nn.Recurrent(waves, 3, 5, dtype="float64", seed=0, **device) for device in ({}, {"device": "cpu"}))
    )
    assert_close(y, expected_y, OUTPUT["float64"])
    assert_close(found.flat, expected.flat, GRADIENT["float64"])
    assert_close(found.x, expected.x, GRADIENT["float64"])


@pytest.mark.parametrize("name", WHOLE)
def test_a_users_cell(name):
    check_outputs(*WHOLE[name], RAGGED, "float32")
    check_gradients(*WHOLE[name], RAGGED, "float32")


@pytest.mark.parametrize("name", ODD)
def test_results_that_are_no_expression_of_their_own(name):
    made, step, gates = ODD[name]
    oracle = make_cell(step, gates, "h c")._replace(name=name)
    check_outputs(made, oracle, SMALL, "float32")
    check_gradients(made, oracle, SMALL, "float32")


@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm_peephole"])
def test_more_units_and_rows(cell):
    check_outputs(*CELLS[cell], WIDE, "float32")
    check_gradients(*CELLS[cell], WIDE, "float32")


# --- options --------------------------------------------------------------------------------------


def test_same_bits_from_run_to_run():
    p, net = problem(LSTM[1], RAGGED), lstm()
    results = []
    for _ in range(2):  # the simulator takes threads in another order each time
        y, states, tape = net.forward(p.x, p.states, RAGGED.lengths)
        gradients = net.backward(tape, p.dy, p.dstates)
        results.append([y, *states, gradients.flat, gradients.x, *gradients.state])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("every", [1, 2, 5, 9])
def test_checkpoints(every):
    p, net = problem(LSTM[1], RAGGED), lstm()
    y, states, tape = net.forward(p.x, p.states, RAGGED.lengths)
    expected = net.backward(tape, p.dy, p.dstates)
    y_checked, states_checked, tape = net.forward(p.x, p.states, RAGGED.lengths, checkpoint=every)
    gradients = net.backward(tape, p.dy, p.dstates)
    assert_close(y_checked, y, OUTPUT["float32"])
    for ours, theirs in zip((*states_checked, *gradients.state), (*states, *expected.state), strict=True):
        assert_close(ours, theirs, GRADIENT["float32"])
    assert_close(gradients.flat, expected.flat, GRADIENT["float32"])
    assert_close(gradients.x, expected.x, GRADIENT["float32"])


def test_a_checkpoint_in_which_one_direction_has_no_row():
    lengths, rng = [1, 2, 0], np.random.default_rng(0)
    x, dy = rng.normal(size=(6, 3, 4)), rng.normal(size=(6, 3, 14))
    net = nn.LSTM(4, 7, bidirectional=True, seed=0)
    _, _, tape = net.forward(x, lengths=lengths)
    expected = net.backward(tape, dy).flat
    _, _, tape = net.forward(x, lengths=lengths, checkpoint=2)
    assert_close(net.backward(tape, dy).flat, expected, GRADIENT["float32"])


def test_dropout_between_layers():
    p = problem(LSTM[1], RAGGED)
    outputs = []
    for seed in (1, 1, 2):
        net = lstm(dropout=0.5, seed=seed)
        y, _, tape = net.forward(p.x)
        outputs.append(y)
        gradients = net.backward(tape, p.dy)
        assert np.isfinite(gradients.flat).all()
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert (outputs[0] != outputs[2]).any()
    assert_close(lstm(dropout=0.5)(p.x)[0], lstm()(p.x)[0], OUTPUT["float32"])


def test_what_dropout_drops_has_no_gradient():
    """Layers that hand on their input show what was drawn between them, in both directions of time."""
    net, x = pipe(dtype="float32"), np.ones((4, 3, 6), "float32")
    factors, _, tape = net.forward(x)
    assert (factors == 0).any()
    dy = np.random.default_rng(0).normal(size=x.shape).astype("float32")
    assert_close(net.backward(tape, dy).x, factors * dy, GRADIENT["float32"])


def test_steps():
    net = nn.GRU(3, 7, 2, dtype="float32", seed=0)
    x = np.random.default_rng(0).normal(size=(4, 2, 3)).astype("float32")
    y, h = net(x)
    step = net.stepper(batch_size=2)
    for x_t, y_t in zip(x, y, strict=True):
        assert_close(step(x_t), y_t, OUTPUT["float32"])
    assert_close(step.state, h, OUTPUT["float32"])
    step.reset()
    assert_close(step(x[0].tolist()), y[0], OUTPUT["float32"])
    step.state = h
    assert_close(step(x[0]), net(x[:1], h)[0][0], OUTPUT["float32"])
    net.load_state_dict({name: 2 * value for name, value in net.state_dict().items()})
    expected = net(x[:1], step.state)[0][0]
    assert_close(step(x[0]), expected, OUTPUT["float32"])  # with the new weights
    one = net.stepper()
    assert one(x[0, 0]).shape == (7,)


def test_one_sequence_and_batch_first():
    p, net = problem(LSTM[1], RAGGED), lstm()
    y, states, tape = net.forward(p.x, p.states)
    gradients = net.backward(tape, p.dy, p.dstates)
    batch_major = lstm(batch_first=True)
    y_b, states_b, tape = batch_major.forward(p.x.swapaxes(0, 1), p.states)
    assert_close(y_b.swapaxes(0, 1), y, OUTPUT["float32"])
    assert_close(states_b[1], states[1], OUTPUT["float32"])
    assert_close(batch_major.backward(tape, p.dy.swapaxes(0, 1), p.dstates).flat, gradients.flat, GRADIENT["float32"])
    y_1, states_1 = net(p.x[:, 1], tuple(s[:, 1] for s in p.states))
    assert_close(y_1, y[:, 1], OUTPUT["float32"])
    assert_close(states_1[0], states[0][:, 1], OUTPUT["float32"])


@pytest.mark.unlaunched
@pytest.mark.parametrize(("T", "B"), [(0, 3), (4, 0), (0, 0)])
def test_nothing_to_do(T, B):
    net, states = lstm(), tuple(np.ones((4, B, 7), "float32") for _ in range(2))
    y, finals, tape = net.forward(np.zeros((T, B, 3)), states)
    assert y.shape == (T, B, 14)
    gradients = net.backward(tape, y, finals)
    assert (gradients.flat == 0).all()
    assert gradients.x.shape == (T, B, 3)
    np.testing.assert_array_equal(gradients.state[1], states[1])


@pytest.mark.parametrize("lengths", [(0, 0, 0, 0), (5, 5, 5, 5), (1, 2, 3, 4)])
@pytest.mark.unlaunched
def test_lengths(lengths):
    p, net = problem(LSTM[1], RAGGED), lstm()
    y, finals, tape = net.forward(p.x, p.states, lengths)
    expected, expected_finals = reference.forward(
        LSTM[1], p.params, p.x, p.states, lengths, num_layers=2, bidirectional=True
    )
    assert_close(y, expected, OUTPUT["float32"])
    for ours, theirs in zip(finals, expected_finals, strict=True):
        assert_close(ours, theirs, OUTPUT["float32"])
    x, dy = p.x.copy(), p.dy.copy()
    for b, n in enumerate(lengths):
        x[n:, b] = dy[n:, b] = np.nan  # what lies beyond a length is never read
    gradients = net.backward(tape, p.dy, p.dstates)
    y_nan, _, tape = net.forward(x, p.states, lengths)
    np.testing.assert_array_equal(y_nan, y)
    np.testing.assert_array_equal(net.backward(tape, dy, p.dstates).flat, gradients.flat)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_row(value):
    p, net = problem(LSTM[1], RAGGED), lstm()
    x = p.x.copy()
    x[2, 1, 0] = value
    y, expected = net(x, p.states)[0], net(p.x, p.states)[0]
    np.testing.assert_array_equal(y[:, [0, 2, 3]], expected[:, [0, 2, 3]])


@pytest.mark.parametrize("given", [list, np.asfortranarray, lambda x: x[::-1].copy()[::-1], lambda x: x.astype(">f8")])
def test_layouts_and_dtypes(given):
    p = problem(LSTM[1], RAGGED)
    expected = lstm()(p.x)[0]
    y, _ = lstm()(given(p.x))
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, expected)


def test_tapes_stay_valid():
    p, net = problem(LSTM[1], RAGGED), lstm()
    x, states = p.x.astype("float32"), tuple(s.astype("float32") for s in p.states)
    y, finals, tape = net.forward(x, states)
    before = net.backward(tape, p.dy, p.dstates)
    for array in (x, y, *states, *finals):
        if array.flags.writeable:
            array -= 1
    after = net.backward(tape, p.dy, p.dstates)
    np.testing.assert_array_equal(after.flat, before.flat)


@pytest.mark.unlaunched
def test_errors_come_before_any_work():
    net = lstm()
    for x in (np.zeros((5, 4)), np.zeros((5, 4, 2)), np.zeros((5, 4, 3), complex), [[1, 2], [3]]):
        with pytest.raises((TypeError, ValueError), match="x "):
            net(x)
    with pytest.raises(ValueError, match="lengths contains 6"):
        net(np.zeros((5, 4, 3)), lengths=[6, 0, 0, 0])
