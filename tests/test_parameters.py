"""Parameters in and out, under torch's names; a change is seen by the next call, whichever way it was made."""

import gc

import numpy as np
import pytest
import reference
from tolerances import OUTPUT, assert_close

from nblstm import cells, nn
from nblstm.training import Adam

X = np.random.default_rng(0).normal(size=(5, 2, 3))
LSTM = reference.CELLS["lstm"]


def lstm(**options):
    return nn.LSTM(3, 5, dtype="float64", seed=1, **options)


def oracle(params):
    return reference.forward(LSTM, params, X)[0]


def assert_computes_with(net, params):
    """Inference, training and a new stepper use exactly these parameters."""
    expected = oracle(params)
    assert_close(net(X)[0], expected, OUTPUT["float64"])
    assert_close(net.forward(X)[0], expected, OUTPUT["float64"])
    step = net.stepper(batch_size=2)
    assert_close(np.stack([step(x_t).copy() for x_t in X]), expected, OUTPUT["float64"])


# --- names and shapes -----------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh", "lstm_peephole", "lstm_coupled"])
@pytest.mark.parametrize(("layers", "bidirectional", "bias"), [(1, False, True), (2, True, True), (2, False, False)])
def test_names_and_shapes(cell, layers, bidirectional, bias):
    net = nn.Recurrent(getattr(cells, cell), 3, 5, layers, bias, bidirectional=bidirectional)
    expected = reference.parameter_shapes(reference.CELLS[cell], 3, 5, layers, bidirectional, bias)
    for parameters in (net.parameters(), net.state_dict()):
        assert {name: value.shape for name, value in parameters.items()} == expected
        assert list(parameters) == list(expected)
        assert all(value.dtype == np.float32 for value in parameters.values())


def test_initial_values():
    flat = nn.LSTM(30, 64, seed=3).flat_parameters()
    bound = 64**-0.5
    assert np.abs(flat).max() <= bound
    assert np.abs(flat).max() > 0.99 * bound
    assert abs(flat.mean()) < 0.02 * bound
    assert flat.std() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_seeds():
    same, other, free = nn.GRU(3, 5, seed=3), nn.GRU(3, 5, seed=4), nn.GRU(3, 5)
    np.testing.assert_array_equal(same.flat_parameters(), nn.GRU(3, 5, seed=3).flat_parameters())
    assert (same.flat_parameters() != other.flat_parameters()).any()
    assert (free.flat_parameters() != nn.GRU(3, 5).flat_parameters()).any()


def test_one_buffer_holds_them_all():
    net = lstm()
    flat = net.flat_parameters()
    assert flat.flags.c_contiguous
    assert flat.ndim == 1
    assert sum(value.size for value in net.parameters().values()) == flat.size
    assert all(np.shares_memory(value, flat) for value in net.parameters().values())
    np.testing.assert_array_equal(np.concatenate([v.ravel() for v in net.state_dict().values()]), flat)


def test_gradients_lie_in_one_buffer_in_the_same_order():
    net = lstm(num_layers=2)
    y, _, tape = net.forward(X)
    gradients = net.backward(tape, y)
    assert gradients.flat.shape == net.flat_parameters().shape
    assert list(gradients.params) == list(net.parameters())
    assert all(np.shares_memory(value, gradients.flat) for value in gradients.params.values())
    np.testing.assert_array_equal(np.concatenate([v.ravel() for v in gradients.params.values()]), gradients.flat)


# --- in and out -----------------------------------------------------------------------------------


def test_state_dict_is_a_copy():
    net = lstm()
    before = net(X)[0]
    for value in net.state_dict().values():
        value[...] = 7
    np.testing.assert_array_equal(net(X)[0], before)


class Tensor:
    """An array as torch's tensors are: by ``__array__``."""

    def __init__(self, value):
        self.value = value

    def __array__(self, dtype=None, copy=None):
        return np.array(self.value, dtype)


def test_state_dict_of_torch_goes_in():
    net, given = lstm(), lstm().state_dict()
    net.load_state_dict({name: Tensor(value) for name, value in given.items()})
    assert_computes_with(net, given)


def test_state_dict_of_another_dtype_goes_in():
    net, single = lstm(), nn.LSTM(3, 5, seed=2)
    net.load_state_dict(single.state_dict())
    assert_computes_with(net, {name: value.astype(np.float64) for name, value in single.state_dict().items()})
    single.load_state_dict({name: value.tolist() for name, value in net.state_dict().items()})
    assert_close(single(X)[0], oracle(net.state_dict()), OUTPUT["float32"])


def test_loading_does_not_keep_the_arrays():
    net, given = lstm(), lstm().state_dict()
    net.load_state_dict(given)
    expected = oracle(given)
    given["weight_hh_l0"][...] = 9
    assert_close(net(X)[0], expected, OUTPUT["float64"])


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda d: d.pop("bias_hh_l0"), ValueError, "lacks bias_hh_l0"),
        (lambda d: d.clear(), ValueError, "weight_hh_l0, weight_ih_l0"),
        (lambda d: d.update(weight_ih_l1=np.zeros(2)), ValueError, "has unknown weight_ih_l1"),
        (
            lambda d: [d.update({"encoder.lstm." + name: d.pop(name)}) for name in list(d)],
            ValueError,
            r"names begin with 'encoder.lstm.', .* {name.removeprefix\('encoder.lstm.'\): value",
        ),
        (
            lambda d: d.update(bias_hh_l0=np.zeros(21)),
            ValueError,
            r"'bias_hh_l0' has shape \(21,\).*needs shape \(20,\)",
        ),
        (lambda d: d.update(bias_hh_l0=d["bias_hh_l0"][None]), ValueError, r"\(1, 20\).*\(20,\)"),
        (lambda d: d.update(bias_hh_l0=1j * d["bias_hh_l0"]), TypeError, "'bias_hh_l0' has dtype complex128"),
        (lambda d: d.update(bias_hh_l0=None), TypeError, "is None"),
        (lambda d: d.update(bias_hh_l0=["a"] * 20), TypeError, "give real numbers"),
    ],
)
def test_a_wrong_state_changes_nothing(change, error, said):
    net = lstm()
    before = net.state_dict()
    bad = lstm().state_dict()
    for value in bad.values():
        value += 1
    change(bad)
    with pytest.raises(error, match=said):
        net.load_state_dict(bad)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert_computes_with(net, before)


@pytest.mark.parametrize("state", [None, [1, 2], "weights"])
def test_a_state_that_is_no_dict(state):
    with pytest.raises(TypeError, match="give a dict"):
        lstm().load_state_dict(state)


# --- no stale weights -----------------------------------------------------------------------------


def change_held_view(net, held):
    held["weight_hh_l0"] *= -1.5


def change_dropped_view(net, held):
    net.parameters()["weight_ih_l0"][1:7] += 0.25


def change_slice_of_a_view(net, held):
    tail = net.parameters()["bias_ih_l0"].reshape(4, 5).T[2:]
    gc.collect()
    net(X)  # packs the weights anew while only this slice of a view is alive
    tail += 0.5


def change_flat_buffer(net, held):
    net.flat_parameters()[:] *= 0.5


def change_by_loading(net, held):
    net.load_state_dict({name: value + 0.125 for name, value in net.state_dict().items()})


def change_by_training(net, held):
    optimizer = Adam([net], learning_rate=0.1)
    y, _, tape = net.forward(X)
    optimizer.step([net.backward(tape, y)])


CHANGES = [change_held_view, change_dropped_view, change_slice_of_a_view, change_flat_buffer, change_by_loading,
           change_by_training]  # fmt: skip


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_seen(change, hold):
    net = lstm()
    held = net.parameters() if hold or change is change_held_view else None
    step = net.stepper(batch_size=2)
    for _ in range(2):
        before = net.state_dict()
        assert_computes_with(net, before)
        step.reset()
        step(X[0])
        change(net, held)
        params = net.state_dict()
        assert any((params[name] != before[name]).any() for name in params)
        step.reset()
        assert_close(np.stack([step(x_t).copy() for x_t in X]), oracle(params), OUTPUT["float64"])
        assert_computes_with(net, params)


def test_views_see_loads_and_steps():
    net = lstm()
    held = net.parameters()
    net.load_state_dict({name: np.full_like(value, 0.5) for name, value in held.items()})
    assert all((value == 0.5).all() for value in held.values())
    change_by_training(net, None)
    np.testing.assert_array_equal(held["weight_hh_l0"], net.state_dict()["weight_hh_l0"])


@pytest.mark.parametrize("change", CHANGES)
def test_a_tape_keeps_the_weights_of_its_forward_pass(change):
    net = lstm(num_layers=2)
    held = net.parameters()
    _, _, tape = net.forward(X)
    dy = np.random.default_rng(1).normal(size=(5, 2, 5))
    before = net.backward(tape, dy)
    change(net, held)
    after = net.backward(tape, dy)
    np.testing.assert_array_equal(after.flat, before.flat)
    np.testing.assert_array_equal(after.x, before.x)


def test_arguments_can_be_read():
    net = nn.GRU(3, 5, num_layers=2, bias=False, batch_first=True, dropout=0.25, bidirectional=True, dtype="float64")
    read = (net.input_size, net.hidden_size, net.num_layers, net.bias, net.batch_first, net.dropout, net.bidirectional)
    assert read == (3, 5, 2, False, True, 0.25, True)
    with pytest.raises(AttributeError):
        net.hidden_size = 7
    assert repr(net) == (
        "GRU(3, 5, num_layers=2, bias=False, batch_first=True, dropout=0.25, bidirectional=True, dtype='float64')"
    )
    assert repr(nn.LSTM(3, 5)) == "LSTM(3, 5)"
    assert repr(nn.RNN(3, 5, nonlinearity="relu", bias=False)) == "RNN(3, 5, nonlinearity='relu', bias=False)"
    assert repr(nn.Recurrent(cells.lstm_peephole, 3, 5)) == "Recurrent(lstm_peephole, 3, 5)"
    assert repr(nn.Linear(3, 2, bias=False, dtype="float64")) == "Linear(3, 2, bias=False, dtype='float64')"
