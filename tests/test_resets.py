"""Resets: within a sequence, states are set back to the initial ones, as if another sequence began there."""

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
import reference
from backends import chosen
from differences import differences
from messages import message_of
from networks import CELLS
from tolerances import DIFFERENCES, GRADIENT, OUTPUT, assert_close

from nblstm import cell, nn, sigmoid, tanh
from nblstm.buffers.batch import PackedBatch
from nblstm.engine import engine

RNG = np.random.default_rng(0)
T, B, I, H = 7, 5, 3, 4
D = {"dtype": "float64"}

#: Resets (T, B): none; at the first step alone; here and there; at every step; at the last.
RESETS = np.zeros((T, B), bool)
RESETS[0, 1] = RESETS[[2, 3, 6], 2] = RESETS[:, 3] = RESETS[[0, 6], 4] = True

LENGTHS = np.array([7, 4, 3, 6, 0])
MASK = RNG.random((T, B)) < 0.6
MASK[:, 0] = True
MASK[2, 2] = MASK[3:, 4] = MASK[:2, 3] = False  # at a reset; behind the last valid step; at the front

X, DY = RNG.normal(size=(T, B, I)), RNG.normal(size=(T, B, 2 * H))

OPTIONS = [
    {}, {"num_layers": 2, "bidirectional": True}, {"reverse": True}, {"num_layers": 2, "learn_initial_state": True},
    {"bidirectional": True, "learn_initial_state": True},
]  # fmt: skip


@cell(gates="a b", states="h n", initial={"n": 1.0, "h": -0.5})
def normalised(a, b, h, n):
    """As in an xLSTM: a sum divided by what it was weighted with."""
    n = sigmoid(b) * n + 0.25
    return tanh(a) / n + 0.5 * h, n


def network(name="lstm", **options):
    """A network, and initial states that differ from zero."""
    net = nn.Recurrent(normalised if name == "normalised" else CELLS[name][0], I, H, seed=0, **D, **options)
    L, S = net.num_layers * (1 + net.bidirectional), len(net.cell.states)
    if net.learn_initial_state:
        flat = net.flat_parameters()
        flat[...] = np.random.default_rng(1).uniform(-0.5, 0.5, flat.size)
    return net, tuple(np.random.default_rng(2).normal(size=(S, L, B, H)))


def valid_steps(given, b):
    """For each step of sequence b that is not beyond its length, whether it is valid."""
    if "lengths" in given:
        return np.ones(given["lengths"][b], bool)
    return given["mask"][:, b] if "mask" in given else np.ones(T, bool)


def piece_by_piece(net, x, resets, state, **given):
    """Outputs and final states of each piece of each sequence, by calls of the network without resets.

    Pieces lie between resets. Who reads forwards enters the first with the given state, unless there is a reset at step
    0, and leaves the last; who reads backwards enters the last and leaves the first.
    """
    L, Dn, S = net.num_layers, 1 + net.bidirectional, len(net.cell.states)
    y = np.zeros((T, B, Dn * H))
    finals = np.zeros((S, L * Dn, B, H))
    backwards = np.array([net.reverse, True][:Dn])
    initial = net._network.initial_states(net._flat)  # (S, L D, H)
    begin = np.broadcast_to(initial[:, :, None], (S, L * Dn, B, H)) if state is None else np.array(state)
    for b in range(B):
        steps = valid_steps(given, b)
        cuts = [0, *[t for t in range(1, len(steps)) if resets[t, b]], len(steps)]
        pieces = list(pairwise(cuts))
        for k, (first, last) in enumerate(pieces):
            start = initial.copy()
            for d in range(Dn):
                enters = k == (len(pieces) - 1 if backwards[d] else 0)
                if enters and (backwards[d] or not len(steps) or not resets[0, b]):
                    start[:, d::Dn] = begin[:, d::Dn, b]
            inside = np.flatnonzero(steps[first:last]) + first
            out, final = net(x[inside, b], tuple(start))
            y[inside, b] = out
            for d in range(Dn):
                if k == (0 if backwards[d] else len(pieces) - 1):
                    finals[:, d::Dn, b] = np.array(final)[:, d::Dn]
    return y, finals


GIVEN = [{}, {"lengths": LENGTHS}, {"mask": MASK}]


@pytest.mark.parametrize("given", GIVEN, ids=["plain", "lengths", "mask"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru", "normalised"])
def test_pieces_are_sequences_of_their_own(name, options, given):
    """Each piece is run by itself; from the first call and from the fifth, with given states and without."""
    net, state = network(name, **options)
    for start in (state, None):
        expected, finals = piece_by_piece(net, X, RESETS, start, **given)
        for _ in range(5):
            for y, states in (
                net(X, start, resets=RESETS, **given), net.forward(X, start, resets=RESETS, **given)[:2]
            ):  # fmt: skip
                assert_close(y, expected, OUTPUT["float64"])
                for ours, right in zip(states, finals, strict=True):
                    assert_close(ours, right, OUTPUT["float64"])


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn_tanh", "lstm_peephole"])
def test_the_oracle_agrees(name):
    """The NumPy reference over each piece; two layers, both directions."""
    net, state = network(name, num_layers=2, bidirectional=True)
    params, oracle = net.state_dict(), CELLS[name][1]
    y, finals = net(X, state, resets=RESETS)
    for b in range(B):
        cuts = [0, *[t for t in range(1, T) if RESETS[t, b]], T]
        for first, last in pairwise(cuts):
            start = [np.zeros((4, 1, H)) for _ in state]
            for own, given in zip(start, state, strict=True):
                if first == 0 and not RESETS[0, b]:
                    own[::2, 0] = given[::2, b]
                if last == T:
                    own[1::2, 0] = given[1::2, b]
            right, ends = reference.forward(
                oracle, params, X[first:last, b : b + 1], start, num_layers=2, bidirectional=True
            )
            assert_close(y[first:last, b : b + 1], right, OUTPUT["float64"])
            for ours, end in zip(finals, ends, strict=True):
                if last == T:
                    assert_close(ours[::2, b], end[::2, 0], OUTPUT["float64"])
                if first == 0:
                    assert_close(ours[1::2, b], end[1::2, 0], OUTPUT["float64"])


def test_torch_agrees_with_the_gradients():
    """torch's LSTM over each piece, with autograd through all of them."""
    torch = pytest.importorskip("torch")
    net, state = network("lstm", num_layers=2, bidirectional=True)
    theirs = torch.nn.LSTM(I, H, 2, bidirectional=True, dtype=torch.float64)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in net.state_dict().items()})
    x = torch.tensor(X, requires_grad=True)
    begin = [torch.tensor(own, requires_grad=True) for own in state]
    d_states = tuple(RNG.normal(size=(2, 4, B, H)))
    total = 0
    for b in range(B):
        cuts = [0, *[t for t in range(1, T) if RESETS[t, b]], T]
        for first, last in pairwise(cuts):
            forwards = torch.tensor([float(first == 0 and not RESETS[0, b]), float(last == T)] * 2)[:, None]
            start = [(own[:, b] * forwards).contiguous() for own in begin]
            y, ends = theirs(x[first:last, b], start)
            total = total + (y * torch.tensor(DY[first:last, b])).sum()
            leaves = torch.tensor([float(last == T), float(first == 0)] * 2)[:, None]
            for end, d_end in zip(ends, d_states, strict=True):
                total = total + (end * leaves * torch.tensor(d_end[:, b])).sum()
    total.backward()
    for checkpoint in (None, 2):
        *_, tape = net.forward(X, state, resets=RESETS, checkpoint=checkpoint)
        gradients = net.backward(tape, DY, d_states)
        assert_close(gradients.x, x.grad.numpy(), GRADIENT["float64"])
        for ours, right in zip(gradients.state, begin, strict=True):
            assert_close(ours, right.grad.numpy(), GRADIENT["float64"])
        for name, right in theirs.named_parameters():
            assert_close(gradients.params[name], right.grad.numpy(), GRADIENT["float64"])


@pytest.mark.parametrize("start", [True, False], ids=["given", "initial"])
@pytest.mark.parametrize("given", GIVEN, ids=["plain", "lengths", "mask"])
@pytest.mark.parametrize("options", OPTIONS[1:], ids=str)
def test_gradients(options, given, start):
    """By central differences, those of learned initial states and of given ones among them."""
    net, state = network("gru", **options)
    x, state = X.copy(), state if start else None
    dy, dh = DY[..., : H * (1 + net.bidirectional)], RNG.normal(size=network("gru", **options)[1][0].shape)

    def loss():
        y, (h,) = net(x, state, resets=RESETS, **given)
        return (y * dy).sum() + (h * dh).sum()

    *_, tape = net.forward(x, state, resets=RESETS, **given)
    gradients = net.backward(tape, dy, (dh,))
    assert_close(gradients.x, differences(loss, x), DIFFERENCES["float64"])
    if start:
        assert_close(gradients.state[0], differences(loss, state[0]), DIFFERENCES["float64"])
        if not (net.bidirectional or net.reverse):
            assert (gradients.state[0][:, RESETS[0] & (LENGTHS > 0)] == 0).all()
    for key, parameter in net.parameters().items():
        assert_close(gradients.params[key], differences(loss, parameter), DIFFERENCES["float64"])


def test_gradients_of_a_loss_of_the_final_states_alone():
    net, state = network("lstm", num_layers=2)
    d_state = (None, RNG.normal(size=(2, B, H)))
    gradients = net.backward(net.forward(X, state, resets=RESETS)[2], None, d_state)

    def loss():
        return (net(X, state, resets=RESETS)[1][1] * d_state[1]).sum()

    for ours, given in zip(gradients.state, state, strict=True):
        assert_close(ours, differences(loss, given), DIFFERENCES["float64"])
        assert (ours[:, [1, 2, 3, 4]] == 0).all()  # a reset is between


def test_step_by_step():
    """The definition, as a loop: where resets[t, b], states are the initial ones before step t, masked or not."""
    net, state = network("normalised", num_layers=2)
    y, finals = net(X, state, resets=RESETS, mask=MASK)
    now, initial = np.array(state), net._network.initial_states(net._flat)[:, :, None]
    for t in range(T):
        now = np.where(RESETS[t, :, None], initial, now)
        out, after = net(X[t : t + 1], tuple(now))
        now = np.where(MASK[t, :, None], after, now)
        assert_close(y[t], np.where(MASK[t, :, None], out[0], 0), OUTPUT["float64"])
    for ours, right in zip(finals, now, strict=True):
        assert_close(ours, right, OUTPUT["float64"])


@pytest.mark.parametrize(
    "options", [{"dropout": 0.4, "num_layers": 2}, {"recurrent_dropout": 0.3, "bidirectional": True}], ids=str
)
def test_dropout(options):
    """Differences with the same draws; a sequence keeps its factors of recurrent dropout through its resets."""
    net, state = network("lstm", learn_initial_state=True, **options)
    x, generator = X.copy(), copy.deepcopy(net._generator)
    dy = DY[..., : H * (1 + net.bidirectional)]

    def forward():
        net._generator = copy.deepcopy(generator)
        return net.forward(x, state, resets=RESETS)

    gradients = net.backward(forward()[2], dy)
    assert_close(gradients.x, differences(lambda: (forward()[0] * dy).sum(), x), DIFFERENCES["float64"])
    for key, parameter in net.parameters().items():
        right = differences(lambda: (forward()[0] * dy).sum(), parameter)
        assert_close(gradients.params[key], right, DIFFERENCES["float64"])
    if "recurrent_dropout" in options:
        recurrent = forward()[2].made.dropout.recurrent
        (same,) = {len(np.unique(recurrent[0], axis=0))} - {0}
        assert same <= B


def test_no_reset_is_the_network_without():
    net, state = network("lstm", num_layers=2)
    nothing = np.zeros((T, B), bool)
    y, states = net(X, state)
    for found in (net(X, state, resets=nothing), net.forward(X, state, resets=nothing)[:2]):
        np.testing.assert_array_equal(found[0], y)
        np.testing.assert_array_equal(found[1], states)
    beyond = np.arange(T)[:, None] >= LENGTHS
    y, states = net(X, state, LENGTHS)
    found = net(X, state, LENGTHS, resets=beyond)  # resets beyond the lengths do nothing
    np.testing.assert_array_equal(found[0], y)
    np.testing.assert_array_equal(found[1], states)


def test_resets_lie_as_x_does():
    net, state = network()
    batch_first, _ = network(batch_first=True)
    y, states = net(X, state, resets=RESETS)
    turned, turned_states = batch_first(X.swapaxes(0, 1), state, resets=RESETS.T)
    np.testing.assert_array_equal(turned.swapaxes(0, 1), y)
    np.testing.assert_array_equal(turned_states, states)
    one, one_states = net(X[:, 2], tuple(own[:, 2] for own in state), resets=RESETS[:, 2])
    np.testing.assert_array_equal(one, y[:, 2])
    np.testing.assert_array_equal(one_states, [own[:, 2] for own in states])
    np.testing.assert_array_equal(net(X, state, resets=RESETS.astype("u1").tolist())[0], y)
    gradients = batch_first.backward(batch_first.forward(X.swapaxes(0, 1), state, resets=RESETS.T)[2], y.swapaxes(0, 1))
    right = net.backward(net.forward(X, state, resets=RESETS)[2], y)
    np.testing.assert_array_equal(gradients.x.swapaxes(0, 1), right.x)
    np.testing.assert_array_equal(gradients.flat, right.flat)


def test_stateful_networks_go_on_but_for_resets():
    """Chunks of a stream, which are cut anywhere, give the same as the whole."""
    whole, _ = network()
    net, _ = network(stateful=True)
    y, _ = whole(X, resets=RESETS)
    for first, last in ((0, 2), (2, 3), (3, 7)):
        assert_close(net(X[first:last], resets=RESETS[first:last])[0], y[first:last], OUTPUT["float64"])


@pytest.mark.parametrize("shape", [(1, 3), (1, 70), (300, 2), (40, 64)])
def test_many_shapes_in_turn(shape):
    """Passes of few sizes are used again for other resets: for each the same bits as a network that has none yet."""
    rng, (steps, rows) = np.random.default_rng(3), shape
    net = nn.GRU(I, H, seed=0)
    x = rng.normal(size=(steps, rows, I)).astype("f4")
    dy, state = rng.normal(size=(steps, rows, H)).astype("f4"), rng.normal(size=(1, rows, H)).astype("f4")
    for share in (0.02, 0.5, 1.0, 0.5, 0.5, 0.03, 0.5):
        resets = rng.random(shape) < share
        fresh = pickle.loads(pickle.dumps(net))
        y, h = net(x, state, resets=resets)
        expected = fresh.forward(x, state, resets=resets)
        np.testing.assert_array_equal(y, expected[0])
        np.testing.assert_array_equal(h, expected[1])
        gradients = net.backward(net.forward(x, state, resets=resets)[2], dy, h)
        right = fresh.backward(expected[2], dy, h)
        np.testing.assert_array_equal(gradients.flat, right.flat)
        np.testing.assert_array_equal(gradients.x, right.x)
        np.testing.assert_array_equal(gradients.state, right.state)


def test_resets_that_do_not_fit():
    net, _ = network()
    for call in (net, net.forward):
        message_of(ValueError, lambda call=call: call(X, resets=RESETS.T), "resets has shape (5, 7)", "(T, B)")
        message_of(TypeError, lambda call=call: call(X, resets=RESETS * 1.0), "resets has dtype float64", "bools")
    packed = PackedBatch(np.array([2, 1]), np.array([0, 1]))
    message_of(ValueError, lambda: engine.infer(net, X[:3, 0], None, packed, resets=RESETS), "resets", "packed rows")
    assert net(X[:0], resets=RESETS[:0])[0].shape == (0, B, H)
    assert net(X[:, :0], resets=RESETS[:, :0])[0].shape == (T, 0, H)


def test_a_stepper_resets_some_rows():
    net, state = network("normalised", num_layers=2, learn_initial_state=True)
    whole, _ = net(X, resets=RESETS)
    step = net.stepper(B)
    for t in range(T):
        step.reset(rows=RESETS[t])
        assert_close(step(X[t]), whole[t], OUTPUT["float64"])
    before = step.state
    step.reset(state, rows=[1, -1])
    for own, old, given in zip(step.state, before, state, strict=True):
        np.testing.assert_array_equal(own[:, [1, 4]], given[:, [1, 4]])
        np.testing.assert_array_equal(own[:, [0, 2, 3]], old[:, [0, 2, 3]])
    step.reset(rows=[])
    step.reset(rows=np.zeros(B, bool))
    message_of(ValueError, lambda: step.reset(rows=[True, False]), "rows has shape (2,)", "(5,)")
    message_of(ValueError, lambda: step.reset(rows=[5]), "rows has 5", "0 to 4")
    message_of(TypeError, lambda: step.reset(rows=[0.5]), "rows has dtype float64")


@pytest.mark.parametrize("given", [{}, {"mask": MASK}], ids=["plain", "mask"])
def test_on_a_gpu(given):
    """Simulated, against the CPU: both directions, given and learned initial states, and a stepper."""
    options = dict(bidirectional=True, learn_initial_state=True, recurrent_dropout=0.3, seed=0)
    host = nn.LSTM(I, H, **options)
    state = tuple(np.random.default_rng(2).normal(size=(2, 2, B, H)))
    with chosen("simulated steps"):
        net = nn.LSTM(I, H, **options)
        for start in (state, None):
            *expected, host_tape = host.forward(X, start, resets=RESETS, **given)
            *found, tape = net.forward(X, start, resets=RESETS, **given)
            right, gradients = host.backward(host_tape, DY, state), net.backward(tape, DY, state)
            pairs = [*zip((found[0], *found[1]), (expected[0], *expected[1]), strict=True)]
            for ours, theirs in pairs:
                assert_close(ours, theirs, OUTPUT["float32"])
            for ours, theirs in [
                (gradients.flat, right.flat),
                (gradients.x, right.x),
                *zip(gradients.state, right.state, strict=True),
            ]:
                assert_close(ours, theirs, GRADIENT["float32"])
        message_of(
            ValueError,
            lambda: net.backward(tape, DY, truncate=3),
            "truncate, steps and dstates are for",
        )
        step = nn.GRU(I, H, seed=0).stepper(B)
        step(X[0])
        step.reset(rows=RESETS[2])
        assert (step.state[:, RESETS[2]] == 0).all()
        assert (step.state[:, ~RESETS[2]] != 0).all()


@cell(gates="a b", states="h c", signals="dt")
def decaying(a, b, h, c, dt):
    c = sigmoid(b - dt) * c + tanh(a) * dt
    return tanh(c), c


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}, {"proj_size": 2}], ids=str)
def test_with_signals_and_projections(options):
    net = nn.Recurrent(decaying, I, H, seed=0, **D, **options)
    dt, x = RNG.random((T, B)), X.copy()
    dy = DY[..., : net(X, signals={"dt": dt})[0].shape[2]]

    def loss():
        return (net(x, resets=RESETS, mask=MASK, signals={"dt": dt})[0] * dy).sum()

    y, _ = net(x, resets=RESETS, signals={"dt": dt})
    for b in range(B):
        for first, last in pairwise([0, *[t for t in range(1, T) if RESETS[t, b]], T]):
            right, _ = net(x[first:last, b], signals={"dt": dt[first:last, b]})
            assert_close(y[first:last, b], right, OUTPUT["float64"])
    *_, tape = net.forward(x, resets=RESETS, mask=MASK, signals={"dt": dt})
    gradients = net.backward(tape, dy)
    assert_close(gradients.x, differences(loss, x), DIFFERENCES["float64"])
    assert_close(gradients.signals["dt"], differences(loss, dt), DIFFERENCES["float64"])
    for key, parameter in net.parameters().items():
        assert_close(gradients.params[key], differences(loss, parameter), DIFFERENCES["float64"])
