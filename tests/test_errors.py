"""Bad input: the right exception, in one sentence that says what came and what is needed, before anything changes."""

import numpy as np
import pytest

import nblstm
from nblstm import layers, nn

X = np.random.default_rng(0).normal(size=(4, 2, 3))
H = np.zeros((1, 2, 5))


def lstm(**options):
    return nn.LSTM(3, 5, dtype="float64", seed=0, **options)


def message_of(error, call, *needed):
    """The one sentence of the exception that ``call`` raises; it must contain all of ``needed``."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) in (error, nblstm.CellError)
    assert "\n" not in message
    assert 20 < len(message) < 300
    for part in needed:
        assert part in message, message
    return message


# --- making a network -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["input_size", "hidden_size", "num_layers"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError), (-3, ValueError), (2.5, TypeError), (3.0, TypeError), (np.nan, TypeError),
        (np.inf, TypeError), ("3", TypeError), (None, TypeError), (True, TypeError), ([3], TypeError),
    ],
)  # fmt: skip
def test_sizes(name, value, error):
    sizes = {"input_size": 3, "hidden_size": 5, name: value}
    message_of(error, lambda: nn.GRU(**sizes), f"{name} is {value!r}", "give a whole number, 1 or more")


def test_layers_without_end():
    message_of(ValueError, lambda: nn.GRU(3, 5, num_layers=10**9), "num_layers is 1000000000; give 10000 or fewer")


def test_dropout_that_has_nothing_to_do():
    with pytest.warns(UserWarning, match="dropout is 0.5 and num_layers is 1; it acts between layers") as caught:
        nn.LSTM(3, 5, dropout=0.5)
    assert caught[0].filename == __file__


def test_sizes_may_be_numpy_integers():
    y, _ = nn.GRU(np.int64(3), np.uint8(5), num_layers=np.int32(2))(X)
    assert y.shape == (4, 2, 5)


@pytest.mark.parametrize(
    ("value", "error"),
    [(1, ValueError), (1.0, ValueError), (-0.1, ValueError), (np.nan, ValueError), ("a", TypeError), (True, TypeError)],
)
def test_dropout(value, error):
    message_of(error, lambda: lstm(dropout=value), f"dropout is {value!r}", "0 or more and below 1")


@pytest.mark.parametrize("name", ["bias", "batch_first", "bidirectional"])
@pytest.mark.parametrize("value", ["no", None, 2, 1.0, np.array([True])])
def test_flags(name, value):
    message_of(TypeError, lambda: lstm(**{name: value}), f"{name} is {value!r}; give True or False")


def test_flags_may_be_numpy_bools():
    assert nn.GRU(3, 5, bidirectional=np.True_, batch_first=0)(X)[0].shape == (4, 2, 10)


@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), (1.5, TypeError), ("a", TypeError), (True, TypeError), ([1, 2], TypeError)]
)
def test_seed(value, error):
    for make in (lambda: nn.GRU(3, 5, seed=value), lambda: nn.Linear(3, 5, seed=value)):
        message_of(error, make, f"seed is {value!r}", "give a whole number, 0 or more")


@pytest.mark.parametrize("H", [10**9, 10**18, 10**400])
def test_sizes_that_no_memory_holds(H):
    for make in (lambda: nn.GRU(3, H), lambda: nn.Linear(H, H), lambda: layers.Dense(H).build((None, H))):
        message_of(MemoryError, make, "there would be", "parameters, more than the memory holds; choose smaller sizes")


@pytest.mark.parametrize("value", ["float16", "int32", "complex64", "nonsense", object, None, 3])
def test_dtype(value):
    for make in (lambda: nn.LSTM(3, 5, dtype=value), lambda: nn.Linear(3, 5, dtype=value)):
        message_of(ValueError, make, "dtype is", "float32 or float64")


def test_nonlinearity():
    message_of(ValueError, lambda: nn.RNN(3, 5, nonlinearity="relo"), "'relo'", "'tanh' or 'relu'")


def test_cell():
    message_of(TypeError, lambda: nn.Recurrent("lstm", 3, 5), "cell is 'lstm'", "nblstm.cells")
    message_of(TypeError, lambda: nn.Recurrent(nn.LSTM, 3, 5), "decorator nblstm.cell")


# --- calling it -----------------------------------------------------------------------------------


def calls(net, x, **options):
    """Both ways to run a network."""
    return [lambda: net(x, **options), lambda: net.forward(x, **options)]


@pytest.mark.parametrize(
    ("x", "error", "said"),
    [
        (3.0, ValueError, ("0 dimensions", "(T, B, I)")),
        (X[0, 0], ValueError, ("1 dimensions, shape (3,)", "(T, B, I)", "(T, I) for one sequence")),
        (X[None], ValueError, ("4 dimensions, shape (1, 4, 2, 3)",)),
        (X[..., :2], ValueError, ("2 features, shape (4, 2, 2)", "input_size=3")),
        (X[..., :0], ValueError, ("0 features", "input_size=3")),
        (X.astype(object), TypeError, ("dtype object", "real numbers", "astype(float)")),
        (X + 0j, TypeError, ("dtype complex128", "real numbers")),
        (X.astype(str), TypeError, ("dtype <U", "real numbers")),
        (np.zeros((4, 2, 3), "M8[s]"), TypeError, ("datetime64", "real numbers")),
        (None, TypeError, ("x is None", "real numbers")),
        ([[1.0, 2.0, 3.0], [4.0]], ValueError, ("ragged nest", "lengths=")),
    ],
)
def test_x(x, error, said):
    for call in calls(lstm(), x):
        message_of(error, call, "x ", *said)


def test_x_of_a_batch_first_network():
    message_of(ValueError, lambda: lstm(batch_first=True)(X[..., :2]), "(B, T, I)")


@pytest.mark.parametrize(
    ("lengths", "error", "said"),
    [
        ([1], ValueError, ("shape (1,)", "2 sequences", "shape (2,)")),
        ([1, 2, 3], ValueError, ("shape (3,)", "shape (2,)")),
        ([[1, 2]], ValueError, ("shape (1, 2)",)),
        ([[1], [2, 3]], ValueError, ("ragged nest", "2 integers from 0 to 4")),
        (3, ValueError, ("2 sequences",)),
        ([5, 2], ValueError, ("contains 5", "4 steps", "from 0 to 4")),
        ([2, -1], ValueError, ("contains -1", "from 0 to 4")),
        ([2, 2**40], ValueError, (f"contains {2**40}",)),
        ([np.nan, 2], ValueError, ("contains nan", "whole numbers from 0 to 4")),
        ([2, np.inf], ValueError, ("contains inf",)),
        ([1.5, 2], TypeError, ("float64", "integers from 0 to 4")),
        (["1", "2"], TypeError, ("integers from 0 to 4",)),
        ([True, False], TypeError, ("bool", "integers from 0 to 4")),
        ([None, 2], TypeError, ("object", "integers from 0 to 4")),
    ],
)
def test_lengths(lengths, error, said):
    for call in calls(lstm(), X, lengths=lengths):
        message_of(error, call, "lengths ", *said)


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [
        (H, ValueError, ("state is ndarray", "tuple of 2 (h, c)")),
        ((H,), ValueError, ("tuple of 2 (h, c)",)),
        ((H, H, H), ValueError, ("3", "tuple of 2 (h, c)")),
        ({"h": H, "c": H}, ValueError, ("dict", "tuple of 2 (h, c)")),
        ((H, H[0]), ValueError, ("state 'c' has shape (2, 5)", "(1, 2, 5)", "(num_layers * directions, B, H)")),
        ((H[:, :1], H), ValueError, ("state 'h' has shape (1, 1, 5)", "(1, 2, 5)")),
        ((H, np.zeros((2, 2, 5))), ValueError, ("state 'c' has shape (2, 2, 5)",)),
        ((H, H + 0j), TypeError, ("state 'c' has dtype complex128",)),
        ((H, None), TypeError, ("state 'c' is None",)),
    ],
)
def test_state(state, error, said):
    for call in calls(lstm(), X, state=state):
        message_of(error, call, *said)


def test_state_of_one_sequence_has_no_batch():
    message_of(ValueError, lambda: lstm()(X[:, 0], (H, H)), "shape (1, 5)", "(num_layers * directions, H)")


def test_state_of_one_state():
    message_of(ValueError, lambda: nn.GRU(3, 5)(X, H[0]), "state 'h' has shape (2, 5)", "(1, 2, 5)")
    for state in ((H,), [H], (H, H)):
        came = f"state 'h' is a {type(state).__name__} of {len(state)}; give the array by itself, of shape (1, 2, 5)"
        for call in calls(nn.GRU(3, 5), X, state=state):
            message_of(ValueError, call, came)


# --- going back -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dy", "error", "said"),
    [
        (np.zeros((4, 2, 4)), ValueError, ("shape (4, 2, 4)", "(4, 2, 5)", "that of y")),
        (np.zeros((2, 5)), ValueError, ("shape (2, 5)", "(4, 2, 5)")),
        (np.zeros((2, 4, 5)), ValueError, ("shape (2, 4, 5)",)),
        (1.0, ValueError, ("shape ()", "(4, 2, 5)")),
        (np.zeros((4, 2, 5), complex), TypeError, ("complex128", "real numbers")),
        ("a", TypeError, ("real numbers",)),
    ],
)
def test_dy(dy, error, said):
    net = lstm()
    _, _, tape = net.forward(X)
    message_of(error, lambda: net.backward(tape, dy), "dy ", *said)


def test_dstate():
    net = lstm()
    y, _, tape = net.forward(X)
    message_of(ValueError, lambda: net.backward(tape, y, H), "dstate is ndarray", "tuple of 2 (h, c)")
    message_of(ValueError, lambda: net.backward(tape, y, (H, H[0])), "dstate 'c' has shape (2, 5)", "(1, 2, 5)")


def test_no_gradient_given_is_zero():
    net = lstm()
    _, _, tape = net.forward(X)
    assert (net.backward(tape, None).flat == 0).all()


def test_tape():
    net, other = lstm(), lstm()
    y, _, tape = other.forward(X)
    for bad in (None, y, tape):
        message_of(ValueError, lambda bad=bad: net.backward(bad, y), "this network's forward()")


def test_errors_change_nothing():
    net, untouched = lstm(dropout=0.5, num_layers=2), lstm(dropout=0.5, num_layers=2)
    before = net.state_dict()
    for options in (dict(lengths=[9, 9]), dict(state=(H, H[0])), dict(x=X[..., :1])):
        with pytest.raises(ValueError, match=r"shape|lengths"):
            net.forward(**{"x": X, **options})
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    np.testing.assert_array_equal(net.forward(X)[0], untouched.forward(X)[0])  # nor was dropout drawn


# --- the linear layer, threads --------------------------------------------------------------------


@pytest.mark.parametrize("x", [np.zeros((2, 4)), np.zeros(()), np.zeros(0)])
def test_linear_x(x):
    message_of(ValueError, lambda: nn.Linear(3, 2)(x), f"x has shape {x.shape}", "3 in_features")


def test_linear_dy():
    layer = nn.Linear(3, 2)
    _, tape = layer.forward(np.zeros((4, 3)))
    message_of(ValueError, lambda: layer.backward(tape, np.zeros((4, 3))), "dy has shape (4, 3)", "(4, 2)")


@pytest.mark.parametrize("name", ["in_features", "out_features"])
def test_linear_sizes(name):
    message_of(ValueError, lambda: nn.Linear(**{"in_features": 3, "out_features": 2, name: 0}), f"{name} is 0")


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", None, True, 10**6])
def test_thread_counts(count):
    message_of(ValueError, lambda: nblstm.set_num_threads(count), repr(count), "from 1 to ")


def test_warmup():
    message_of(TypeError, lambda: nblstm.warmup(3), "cells is 3", "nblstm.cell")
    message_of(TypeError, lambda: nblstm.warmup(["lstm"]), "cells contains 'lstm'", "nblstm.cells")
    message_of(ValueError, lambda: nblstm.warmup(dtype="float16"), "dtype is float16")
