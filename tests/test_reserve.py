"""The memory that a training pass keeps for BPTT, given by the caller."""

import numpy as np
import pytest
from language_cells import timed
from messages import message_of
from networks import CELLS

from nblstm import nn

T, B, I, H = 7, 3, 4, 5
LENGTHS = [4, 7, 0]
MASK = np.random.default_rng(5).random((T, B)) < 0.6
RESETS = np.random.default_rng(6).random((T, B)) < 0.3


def made(cell="lstm", seed=0, **options):
    """Two networks that are alike, with the same random numbers to come, and what to give them."""
    pair = [nn.Recurrent(CELLS[cell][0], I, H, seed=seed, dtype="float64", **options) for _ in range(2)]
    rng = np.random.default_rng(seed)
    D = 1 + pair[0].bidirectional
    shape = (B, T) if pair[0].batch_first else (T, B)
    x, dy = rng.normal(size=(*shape, I)), rng.normal(size=(*shape, D * H))
    return *pair, x, dy


def results(gradients):
    return [gradients.flat, gradients.x, *gradients.state]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before", "lstm_peephole"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"lengths": LENGTHS},
        {"checkpoint": 3},
        {"lengths": LENGTHS, "checkpoint": 2},
        {"mask": MASK},
        {"resets": RESETS},
        {"resets": RESETS, "lengths": LENGTHS, "checkpoint": 2},
        {"resets": RESETS, "mask": MASK},
    ],
    ids=["plain", "lengths", "checkpoint", "both", "mask", "resets", "resets, lengths", "resets, mask"],
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bidirectional": True, "num_layers": 2, "dropout": 0.4, "recurrent_dropout": 0.3, "learn_initial_state": True},
        {"batch_first": True, "bias": False, "reverse": True},
    ],
    ids=["plain", "all", "reverse"],
)
def test_the_same_bits_as_without(cell, given, options):
    """From the tape, and from a copy of the reserve alone, once the first is overwritten."""
    net, other, x, dy = made(cell, **options)
    given = {
        name: value.T if name in ("mask", "resets") and net.batch_first else value for name, value in given.items()
    }
    y, states, tape = net.forward(x, **given)
    expected = results(net.backward(tape, dy))
    reserve = np.full(other.reserve_size(T, B, **given), 255, "uint8")
    y_2, states_2, tape = other.forward(x, **given, reserve=reserve)
    assert_same([y_2, *states_2], [y, *states])
    x[...] = np.nan  # it is in the reserve
    assert_same(results(other.backward(tape, dy)), expected)
    copy = reserve.copy()
    reserve.fill(0)
    assert_same([y_2], [y])  # outputs are not
    for _ in range(2):
        assert_same(results(other.backward(None, dy, reserve=copy)), expected)


def test_small_copies_hold_all_that_bptt_reads():
    """A reserve that is smaller by a byte is refused, and nothing is written behind one that is larger."""
    net, _, x, dy = made()
    size = net.reserve_size(T, B)
    larger = np.full(size + 64, 7, "uint8")
    net.backward(net.forward(x, reserve=larger)[2], dy)
    assert (larger[size:] == 7).all()
    message_of(ValueError, lambda: net.forward(x, reserve=larger[: size - 1]), f"{size - 1} bytes; give {size}")


def test_of_an_input_without_a_batch():
    net, other, x, dy = made()
    mask = MASK[:, 0]
    expected = results(net.backward(net.forward(x[:, 0], mask=mask)[2], dy[:, 0]))
    reserve = np.zeros(other.reserve_size(T, 1, mask=mask), "uint8")
    other.forward(x[:, 0], mask=mask, reserve=reserve)
    assert_same(results(other.backward(None, dy[:, 0], reserve=reserve)), expected)


@pytest.mark.parametrize(
    ("cell", "sizes", "options"),
    [
        ("gru", (I, H), {}), ("rnn_tanh", (I, H), {}), ("lstm", (I, H - 1), {}), ("lstm", (I - 1, H), {}),
        ("lstm", (I, H), {"reverse": True}), ("lstm", (I, H), {"bias": False}), ("lstm", (I, H), {"dtype": "float32"}),
        ("lstm", (I, H), {"recurrent_dropout": 0.5}), ("lstm_peephole", (I, H), {}),
    ],
)  # fmt: skip
def test_of_another_network(cell, sizes, options):
    """Even where its size would do."""
    net, _, x, dy = made()
    reserve = np.zeros(2 * net.reserve_size(T, B), "u1")
    net.forward(x, reserve=reserve)
    other = nn.Recurrent(CELLS[cell][0], *sizes, **{"dtype": "float64", **options})
    message_of(ValueError, lambda: other.backward(None, dy, reserve=reserve), "filled by a network of another cell")


def test_a_reserve_that_was_filled_again():
    net, _, x, dy = made()
    reserve = np.zeros(net.reserve_size(T, B), "u1")
    tape = net.forward(x, reserve=reserve)[2]
    net.backward(tape, dy)
    second = net.forward(2 * x, reserve=reserve)[2]
    message_of(ValueError, lambda: net.backward(tape, dy), "filled by another forward()")
    net.backward(second, dy)


@pytest.mark.parametrize("byte", range(8, 104, 3))
def test_a_damaged_header(byte):
    net, _, x, dy = made()
    reserve = np.zeros(net.reserve_size(T, B), "u1")
    net.forward(x, reserve=reserve)
    reserve[byte] ^= 0x55
    message_of(ValueError, lambda: net.backward(None, dy, reserve=reserve), "reserve was overwritten")


def test_a_checkpoint_needs_less():
    net = made()[0]
    whole, some = net.reserve_size(400, 16), net.reserve_size(400, 16, checkpoint=100)
    assert some < 0.6 * whole
    assert net.reserve_size(T, B, LENGTHS) < net.reserve_size(T, B)


def test_what_is_no_reserve():
    net, _, x, dy = made()
    size = net.reserve_size(T, B)
    message_of(TypeError, lambda: net.forward(x, reserve=size), f"give a NumPy array of {size} bytes")
    message_of(ValueError, lambda: net.forward(x, reserve=np.empty((size, 2), "u1")[:, 0]), "reserve is not contiguous")
    fixed = np.zeros(size, "u1")
    fixed.flags.writeable = False
    message_of(ValueError, lambda: net.forward(x, reserve=fixed), "cannot be written to")
    message_of(ValueError, lambda: net.forward(x, reserve=np.empty(size + 8, "u1")[1:][:size]), "multiple of 8")
    message_of(ValueError, lambda: net.backward(None, dy, reserve=np.zeros(size, "u1")), "was not filled by forward")
    message_of(ValueError, lambda: net.backward(None, dy), "tape is not from this network's forward()")
    reserve = np.zeros(size, "u1")
    tape = net.forward(x, reserve=reserve)[2]
    message_of(ValueError, lambda: net.backward(tape, dy, reserve=reserve), "tape and reserve are both given")
    message_of(ValueError, lambda: net.backward(None, dy, reserve=reserve[:-64]), "bytes; give")
    message_of(ValueError, lambda: net.reserve_size(-1, B), "T is -1")
    message_of(ValueError, lambda: net.backward(reserve, dy), "or a reserve by name")


@pytest.mark.parametrize(("T", "B"), [(0, 3), (4, 0)])
def test_of_an_empty_batch(T, B):
    net = made()[0]
    reserve = np.zeros(net.reserve_size(T, B), "u1")
    y = net.forward(np.zeros((T, B, I)), reserve=reserve)[0]
    gradients = net.backward(None, np.zeros_like(y), reserve=reserve)
    assert gradients.x.shape == (T, B, I)
    assert not gradients.flat.any()


@pytest.mark.parametrize("given", [{}, {"lengths": LENGTHS}, {"mask": MASK}], ids=["plain", "lengths", "mask"])
@pytest.mark.parametrize("wide", [(False, True), (True, False)], ids=str)
def test_signals_and_their_gradients(given, wide):
    """BPTT from a copy of the reserve gives the gradients of the signals in their shapes."""
    rng = np.random.default_rng(1)
    pair = [nn.Recurrent(timed, I, H, 2, bidirectional=True, seed=0, dtype="float64") for _ in range(2)]
    x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, 2 * H))
    signals = {name: rng.random((T, B, *(H,) * each)) for name, each in zip(timed.signals, wide, strict=True)}
    net, other = pair
    _, _, tape = net.forward(x, signals=signals, **given)
    expected = net.backward(tape, dy)
    reserve = np.zeros(other.reserve_size(T, B, **given), "uint8")
    other.forward(x, signals=signals, **given, reserve=reserve)
    found = other.backward(None, dy, reserve=reserve.copy())
    assert_same([*results(found), *found.signals.values()], [*results(expected), *expected.signals.values()])
    assert {name: each.shape for name, each in found.signals.items()} == {k: v.shape for k, v in signals.items()}
    message_of(
        ValueError, lambda: other.forward(x, signals=signals, checkpoint=2, reserve=reserve), "checkpoint=", "signals"
    )
