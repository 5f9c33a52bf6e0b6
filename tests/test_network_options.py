"""Options of networks that Keras-named layers have too: masks, reverse, recurrent dropout, learned and kept states."""

import copy
import inspect
import pickle

import numpy as np
import pytest
import reference
from differences import differences
from messages import message_of
from networks import CELLS
from test_recurrent_layers_golden import GOLDEN, METADATA, arrays
from tolerances import DIFFERENCES, DTYPES, GRADIENT, OUTPUT, assert_close

from nblstm import cell, cells, nn, tanh

RNG = np.random.default_rng(0)

#: A mask (B, T) with gaps at the front, within and at the end; a full row; nothing.
GAPS = np.array([[0, 1, 0, 1, 1], [1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0]], bool)
X = RNG.normal(size=(5, 4, 3))
DY = RNG.normal(size=(5, 4, 12))
D = {"dtype": "float64"}


def network(name="lstm", **options):
    """A network of one of the cells, and the oracle's cell."""
    made, oracle = CELLS[name]
    return nn.Recurrent(made, 3, 6, seed=0, **D, **options), oracle


# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mask_with_gaps_is_that_of_keras(dtype):
    case = "LSTM gaps zeros"
    assert METADATA["cases"][case]["arguments"]["zero_output_for_mask"]
    x, mask = GOLDEN[f"{case}/x"], GOLDEN[f"{case}/mask"]
    kernel, recurrent_kernel, bias = arrays(case, "weights")
    net = nn.LSTM(x.shape[2], recurrent_kernel.shape[0], batch_first=True, dtype=dtype)
    net.load_state_dict(
        {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent_kernel.T, "bias_ih_l0": bias, "bias_hh_l0": 0 * bias}
    )
    state = tuple(initial[None] for initial in arrays(case, "initial"))
    y, _, tape = net.forward(x, state, mask=mask)
    (expected,) = arrays(case, "y")
    assert_close(y, expected, OUTPUT[dtype])
    np.testing.assert_array_equal(net(x, state, mask=mask)[0], y)
    (dy,) = arrays(case, "dy")
    gradients = net.backward(tape, dy)
    d_kernel, d_recurrent, d_bias = arrays(case, "grads")
    assert_close(gradients.x, GOLDEN[f"{case}/grads/x"], GRADIENT[dtype])
    assert_close(gradients.params["weight_ih_l0"].T, d_kernel, GRADIENT[dtype])
    assert_close(gradients.params["weight_hh_l0"].T, d_recurrent, GRADIENT[dtype])
    assert_close(gradients.params["bias_ih_l0"], d_bias, GRADIENT[dtype])
    for ours, right in zip(gradients.state, arrays(case, "grads/initial"), strict=True):
        assert_close(ours[0], right, GRADIENT[dtype])


def without_gaps(array):
    """Time-major arrays whose valid steps have moved to the front, and the lengths."""
    result = np.zeros_like(array)
    for b, row in enumerate(GAPS):
        result[: row.sum(), b] = array[row, b]
    return result


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}, {"reverse": True}], ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru", "lstm_peephole"])
def test_masked_steps_are_as_if_they_were_not_there(name, options):
    """Against the oracle, which is given the valid steps alone; from the first call and from the fifth."""
    net, oracle = network(name, **options)
    lengths, x = GAPS.sum(axis=1), without_gaps(X)
    if "reverse" in options:
        x = flipped(x, lengths)
        packed, finals = reference.forward(oracle, net.state_dict(), x, lengths=lengths)
        packed = flipped(packed, lengths)
    else:
        packed, finals = reference.forward(oracle, net.state_dict(), x, lengths=lengths, **options)
    expected = np.zeros_like(packed)
    for b, row in enumerate(GAPS):
        expected[row, b] = packed[: row.sum(), b]
    for _ in range(5):
        for y, states in (net(X, mask=GAPS.T), net.forward(X, mask=GAPS.T)[:2]):
            assert_close(y, expected, OUTPUT["float64"])
            assert (y[~GAPS.T] == 0).all()
            for ours, right in zip(states, finals, strict=True):
                assert_close(ours, right, OUTPUT["float64"])


@pytest.mark.parametrize("checkpoint", [None, 2])
@pytest.mark.parametrize("options", [{"bidirectional": True, "num_layers": 2}, {"reverse": True}], ids=str)
def test_gradients_of_masked_steps(options, checkpoint):
    net, _ = network("gru", **options)
    x, directions = X.copy(), 1 + net.bidirectional
    dy, dh = DY[..., : 6 * directions], RNG.normal(size=(net.num_layers * directions, 4, 6))

    def loss():
        y, (h,) = net(x, mask=GAPS.T)
        return (y * dy).sum() + (h * dh).sum()

    _, _, tape = net.forward(x, mask=GAPS.T, checkpoint=checkpoint)
    gradients = net.backward(tape, dy, (dh,))
    assert_close(gradients.x, differences(loss, x), DIFFERENCES["float64"])
    assert (gradients.x[~GAPS.T] == 0).all()
    for key, parameter in net.parameters().items():
        assert_close(gradients.params[key], differences(loss, parameter), DIFFERENCES["float64"])


def test_a_mask_lies_as_x_does():
    time_first, _ = network()
    batch_first, _ = network(batch_first=True)
    y, _ = time_first(X, mask=GAPS.T)
    np.testing.assert_array_equal(batch_first(X.swapaxes(0, 1), mask=GAPS)[0].swapaxes(0, 1), y)
    np.testing.assert_array_equal(time_first(X[:, 2], mask=GAPS[2])[0], y[:, 2])
    np.testing.assert_array_equal(time_first(X, mask=GAPS.T.astype(int))[0], y)
    np.testing.assert_array_equal(time_first(X, mask=np.ones((5, 4), bool))[0], time_first(X)[0])


def test_masks_that_do_not_fit():
    net, _ = network()
    for call in (net, net.forward):
        message_of(ValueError, lambda call=call: call(X, lengths=[1] * 4, mask=GAPS.T), "lengths and mask", "give one")
        message_of(ValueError, lambda call=call: call(X, mask=GAPS), "mask has shape (4, 5)", "(T, B)")
        message_of(TypeError, lambda call=call: call(X, mask=np.ones((5, 4))), "mask has dtype float64")


# --- reverse --------------------------------------------------------------------------------------


def flipped(array, lengths):
    """Time-major arrays of which each sequence is turned round."""
    result = array.copy()
    for b, length in enumerate(lengths):
        result[:length, b] = array[:length, b][::-1]
    return result


@pytest.mark.parametrize("lengths", [None, (3, 0, 5, 1)])
def test_reverse_is_to_turn_sequences_round(lengths):
    """Beside the same network on sequences that are turned round by hand: the same bits, and the oracle's numbers."""
    steps = lengths or [5] * 4
    (net, oracle), (forwards, _) = network(num_layers=2, reverse=True), network(num_layers=2)
    y, states = net(X, lengths=lengths)
    # Of two layers the second reads what the first gave in reverse, so both read from the last step.
    expected, finals = reference.forward(oracle, net.state_dict(), flipped(X, steps), lengths=steps, num_layers=2)
    assert_close(y, flipped(expected, steps), OUTPUT["float64"])
    for ours, right in zip(states, finals, strict=True):
        assert_close(ours, right, OUTPUT["float64"])
    turned, turned_states, turned_tape = forwards.forward(flipped(X, steps), lengths=lengths)
    y, states, tape = net.forward(X, lengths=lengths)
    np.testing.assert_array_equal(y, flipped(turned, steps))
    np.testing.assert_array_equal(states, turned_states)
    dy, d_states = DY[..., :6], tuple(RNG.normal(size=(2, 2, 4, 6)))
    gradients = net.backward(tape, dy, d_states)
    right = forwards.backward(turned_tape, flipped(dy, steps), d_states)
    assert_close(gradients.flat, right.flat, GRADIENT["float64"])  # weights' are summed in another order
    assert_close(gradients.x, flipped(right.x, steps), GRADIENT["float64"])
    np.testing.assert_array_equal(gradients.state, right.state)


def test_what_reverse_does_not_go_with():
    message_of(ValueError, lambda: nn.GRU(3, 6, bidirectional=True, reverse=True), "both True", "give one")
    message_of(TypeError, lambda: nn.GRU(3, 6, reverse="yes"), "reverse")
    message_of(ValueError, nn.LSTM(3, 6, reverse=True).stepper, "reverse=True needs whole sequences")


# --- recurrent dropout ----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "dropout": 0.3}], ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru", "gru_reset_before"])
def test_recurrent_dropout_is_that_of_the_cell_with_masks(name, options):
    """By hand: `cells.recurrent_dropout`, and factors drawn in the same order."""
    net, _ = network(name, recurrent_dropout=0.4, **options)
    hand = nn.Recurrent(cells.recurrent_dropout(net.cell), 3, 6, seed=0, **D, **options)
    np.testing.assert_array_equal(net(X)[0], hand(X)[0])  # inference drops nothing
    L, S = net.num_layers * (1 + net.bidirectional), len(net.cell.states)
    initial = RNG.normal(size=(S, L, 4, 6))
    for _ in range(4):
        generator = copy.deepcopy(net._generator)
        mask = np.stack([(generator.random((4, 6)) >= 0.4) / 0.6 for _ in range(L)])
        hand._generator = generator  # which goes on with what is between layers
        y, finals, tape = net.forward(X, tuple(initial))
        right, right_finals, right_tape = hand.forward(X, (mask * initial[0], *initial, mask))
        np.testing.assert_array_equal(y, right)
        np.testing.assert_array_equal(finals, right_finals[1:-1])
        dy, d_finals = DY[..., : y.shape[2]], tuple(RNG.normal(size=(S, L, 4, 6)))
        gradients = net.backward(tape, dy, d_finals)
        zeros = np.zeros((L, 4, 6))
        expected = hand.backward(right_tape, dy, (zeros, *d_finals, zeros))
        np.testing.assert_array_equal(gradients.flat, expected.flat)
        np.testing.assert_array_equal(gradients.x, expected.x)
        assert_close(gradients.state[0], expected.state[1] + mask * expected.state[0], GRADIENT["float64"])


def test_recurrent_dropout_is_the_same_for_each_seed_and_another_in_each_call():
    one, other = (nn.LSTM(3, 6, recurrent_dropout=0.5, seed=3) for _ in range(2))
    first = one.forward(X)[0]
    np.testing.assert_array_equal(first, other.forward(X)[0])
    assert not np.array_equal(first, one.forward(X)[0])
    message_of(ValueError, lambda: nn.LSTM(3, 6, recurrent_dropout=1.5), "recurrent_dropout is 1.5")


# --- learned initial states -----------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"recurrent_dropout": 0.4}], ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_learned_states_are_parameters(name, options):
    net, _ = network(name, learn_initial_state=True, **options)
    plain, _ = network(name, **{k: v for k, v in options.items() if k != "recurrent_dropout"})
    ends = ["_l0"] if "num_layers" not in options else ["_l0", "_l0_reverse", "_l1", "_l1_reverse"]
    names = [f"initial_{state}{end}" for end in ends for state in net.cell.states]
    own = net.parameters()
    assert sorted(own.keys() - plain.state_dict().keys()) == sorted(names)
    assert all(own[key].shape == (6,) and not own[key].any() for key in names)
    for key in names:
        own[key][...] = RNG.normal(size=6)
    plain.load_state_dict({key: value for key, value in own.items() if key not in names})
    state = tuple(
        np.stack([np.broadcast_to(own[f"initial_{one}{end}"], (4, 6)) for end in ends]) for one in net.cell.states
    )
    for _ in range(3):
        np.testing.assert_array_equal(net(X)[0], plain(X, state)[0])
    generator = net._generator
    dy = DY[..., : 6 * (1 + net.bidirectional)]

    def loss():
        net._generator = copy.deepcopy(generator)
        return (net.forward(X, lengths=(3, 0, 5, 1))[0] * dy).sum()

    net._generator = copy.deepcopy(generator)
    gradients = net.backward(net.forward(X, lengths=(3, 0, 5, 1))[2], dy)
    for key in names:
        assert_close(gradients.params[key], differences(loss, own[key]), DIFFERENCES["float64"])
    given = net.backward(net.forward(X, state)[2], dy)
    assert not any(given.params[key].any() for key in names)


def test_a_stepper_starts_from_learned_states():
    net, _ = network("gru", learn_initial_state=True)
    net.parameters()["initial_h_l0"][...] = RNG.normal(size=6)
    step = net.stepper(4)
    np.testing.assert_array_equal([step(x).copy() for x in X], net(X)[0])
    step.reset()
    np.testing.assert_array_equal(step(X[0]), net(X)[0][0])


def test_learned_states_begin_as_the_cells_initial_ones():
    @cell(gates="a", states="h n", initial={"n": 1.0})
    def counted(a, h, n):
        return tanh(a) / n, n + 1

    own = nn.Recurrent(counted, 3, 6, learn_initial_state=True).state_dict()
    assert (own["initial_h_l0"].tolist(), own["initial_n_l0"].tolist()) == ([0] * 6, [1] * 6)

    @cell(gates="a", states="h", vectors="initial_h")
    def taken(a, h, initial_h):
        return tanh(a + initial_h)

    message_of(
        ValueError, lambda: nn.Recurrent(taken, 3, 6, learn_initial_state=True), "a vector named 'initial_h'",
        "give it another name",
    )  # fmt: skip
    nn.Recurrent(taken, 3, 6)


# --- states from call to call ---------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_calls_of_a_stateful_network_are_one_long_sequence(kind, batch_first):
    net = kind(3, 6, 2, batch_first=batch_first, stateful=True, seed=0, **D)
    whole = kind(3, 6, 2, batch_first=batch_first, seed=0, **D)
    axis, x = (1, X.swapaxes(0, 1)) if batch_first else (0, X)
    y, state = whole(x)
    for _ in range(2):
        first, carried = net(x[:, :2] if batch_first else x[:2])
        for one in carried if kind is nn.LSTM else [carried]:
            one[...] = np.nan  # what comes out is the caller's
        second, _, _ = net.forward(x[:, 2:4] if batch_first else x[2:4])
        third, last = net(x[:, 4:] if batch_first else x[4:])
        assert_close(np.concatenate([first, second, third], axis=axis), y, OUTPUT["float64"])
        assert_close(np.array(last), np.array(state), OUTPUT["float64"])
        net.reset_state()


def test_a_stateful_network_takes_what_it_is_given():
    net, plain = (nn.GRU(3, 6, stateful=stateful, seed=0, **D) for stateful in (True, False))
    net(X)
    h = RNG.normal(size=(1, 4, 6))
    y, h_n = plain(X, h)
    np.testing.assert_array_equal(net(X, h)[0], y)
    np.testing.assert_array_equal(net(X)[0], plain(X, h_n)[0])
    net.reset_state()
    np.testing.assert_array_equal(net(X[:, 0])[1], plain(X[:, 0])[1])
    assert_close(net(X[:, 0])[0], plain(X[:, 0], plain(X[:, 0])[1])[0], OUTPUT["float64"])


def test_a_stateful_network_needs_as_many_sequences():
    net = nn.LSTM(3, 6, stateful=True, **D)
    net(X)
    for call in (net, net.forward):
        message_of(
            ValueError, lambda call=call: call(X[:, :2]), "last call had 4 sequences and x has 2 sequences",
            "call reset_state() first",
        )  # fmt: skip
        message_of(ValueError, lambda call=call: call(X[:, 0]), "x has one without a batch dimension")
        message_of(ValueError, lambda call=call: call(X[0, 0]), "x has 1 dimensions")
    net.reset_state()
    net(X[:, :0])
    net(X[:, :2])
    message_of(ValueError, nn.LSTM(3, 6).reset_state, "keeps no states", "stateful=True")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_go_on_from_the_same_states(copied):
    net = nn.LSTM(3, 6, stateful=True, recurrent_dropout=0.2, learn_initial_state=True, reverse=True, seed=0)
    net.forward(X)
    other = copied(net)
    np.testing.assert_array_equal(other.forward(X)[0], net.forward(X)[0])
    other.reset_state()
    assert not np.array_equal(other(X)[0], net(X)[0])


def test_options_are_shown_and_the_same_for_all_networks():
    net = nn.GRU(3, 6, reverse=True, recurrent_dropout=0.5, learn_initial_state=True, stateful=True)
    assert repr(net) == ("GRU(3, 6, reverse=True, recurrent_dropout=0.5, learn_initial_state=True, stateful=True)")
    assert repr(nn.LSTM(3, 6)) == "LSTM(3, 6)"
    expected = [*inspect.signature(nn.Recurrent).parameters.values()][1:]
    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        assert [
            p for p in inspect.signature(kind).parameters.values() if p.name not in ("nonlinearity", "forget_bias")
        ] == expected
