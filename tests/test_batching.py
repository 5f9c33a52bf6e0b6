"""What inputs may look like: layouts, dtypes, lengths, and no batch at all."""

from itertools import combinations_with_replacement, pairwise

import numpy as np
import pytest
import reference
from networks import CELLS, Case, network, problem
from tolerances import OUTPUT, assert_close

from nblstm import cells, nn
from nblstm.buffers.batch import Batch
from nblstm.cpu.arrays import HostBatch
from nblstm.cpu.partition import row_bounds

LSTM = reference.CELLS["lstm"]
CASE = Case(T=5, B=3, I=4, H=7, num_layers=2, bidirectional=True)
P = problem(LSTM, CASE)


def net(dtype="float64", batch_first=False):
    made = nn.LSTM(4, 7, 2, bidirectional=True, batch_first=batch_first, dtype=dtype)
    made.load_state_dict(P.params)
    return made


def oracle(x, lengths=None, states=P.states):
    return reference.forward(LSTM, P.params, x, states, lengths, num_layers=2, bidirectional=True)


def rows_by_hand(x, lengths):
    """Packed rows of a time-major batch, step by step, the longest sequence first, equal ones in their order."""
    order = sorted(range(len(lengths)), key=lambda b: -lengths[b])
    return np.array([x[t, b] for t in range(len(x)) for b in order if t < lengths[b]]).reshape(-1, x.shape[2])


@pytest.mark.parametrize(("shape", "lengths"), [
    ((5, 4, 3), [3, 0, 5, 3]), ((7, 3, 1), [1, 2, 1]), ((3, 2, 5), [0, 0]),
    ((61, 9, 67), [61, 3, 59, 7, 0, 60, 31, 5, 2]),
])  # fmt: skip
@pytest.mark.parametrize("layout", ["time first", "batch first", "every other feature"])
def test_rows_are_packed_and_unpacked(shape, lengths, layout):
    T, B, K = shape
    wide = np.random.default_rng(1).normal(size=(T, B, 2 * K)).astype("float32")
    x = {"time first": wide[..., :K].copy(), "batch first": wide[..., :K].swapaxes(0, 1).copy().swapaxes(0, 1),
         "every other feature": wide[..., ::2]}[layout]  # fmt: skip
    batch = HostBatch(T, B, np.array(lengths))
    rows = batch.pack(x)
    np.testing.assert_array_equal(rows, rows_by_hand(x, lengths))
    padded = np.where(np.arange(T)[:, None, None] < np.array(lengths)[None, :, None], x, 0)
    np.testing.assert_array_equal(batch.unpack(rows), padded)


@pytest.mark.parametrize("lengths", [[3, 0, 5, 3], [0, 0], [1], [7, 4, 7, 2], [6, 1, 0, 6, 0, 2, 3, 2, 5]])
def test_how_a_batch_is_arranged(lengths):
    T, B = 7, len(lengths)
    batch = Batch(T, B, np.array(lengths))
    order = sorted(range(B), key=lambda b: -lengths[b])
    index = [t * B + b for t in range(T) for b in order if t < lengths[b]]
    active = [sum(n > t for n in lengths) for t in range(T)]
    expected = {
        "order": order, "rank": [order.index(b) for b in range(B)], "lengths": [lengths[b] for b in order],
        "active": active, "offset": [sum(active[:t]) for t in range(T)], "index": index, "N": len(index),
        "steps": max(lengths), "uniform": False,
    }  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_array_equal(getattr(batch, name), value, name)
    state = np.random.default_rng(0).normal(size=(2, 3, B, 5))
    np.testing.assert_array_equal(batch.sort(state), state[:, :, order])
    np.testing.assert_array_equal(batch.unsort(state[:, :, order]), state)


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
@pytest.mark.parametrize("steps", [(0, 9), (2, 5), (7, 9), (4, 4)])
@pytest.mark.parametrize("lengths", [[8, 4, 3, 2, 1], [9, 9, 9, 9, 9], [7, 7, 1, 0, 0], [9], [3, 3, 2, 2, 2, 1]])
def test_rows_are_cut_into_parts_of_about_the_same_work(lengths, steps, parts):
    B = len(lengths)
    work = np.clip(lengths, *steps) - steps[0]
    bounds = row_bounds(Batch(9, B, np.array(lengths)), parts, steps)
    assert len(bounds) == parts + 1
    assert (bounds[0], bounds[-1]) == (0, B)
    every_cut = ((0, *inner, B) for inner in combinations_with_replacement(range(B + 1), parts - 1))
    most = [max(sum(work[a:b]) for a, b in pairwise(cut)) for cut in (bounds, *every_cut)]
    assert most[0] == min(most)


def test_batch_first():
    time_major, batch_major = net(), net(batch_first=True)
    y, states, tape = time_major.forward(P.x, P.states)
    y_b, states_b, tape_b = batch_major.forward(P.x.swapaxes(0, 1), P.states)
    assert_close(y_b.swapaxes(0, 1), oracle(P.x)[0], OUTPUT["float64"])
    np.testing.assert_array_equal(y_b.swapaxes(0, 1), y)
    np.testing.assert_array_equal(batch_major(P.x.swapaxes(0, 1), P.states)[0], y_b)
    for ours, theirs in zip(states_b, states, strict=True):  # states keep their shape (L D, B, H), as in torch
        np.testing.assert_array_equal(ours, theirs)
    gradients, gradients_b = time_major.backward(tape, P.dy), batch_major.backward(tape_b, P.dy.swapaxes(0, 1))
    np.testing.assert_array_equal(gradients_b.flat, gradients.flat)
    np.testing.assert_array_equal(gradients_b.x.swapaxes(0, 1), gradients.x)


@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sequence_without_a_batch(batch_first):
    one, batch = net(batch_first=batch_first), net()
    states = tuple(s[:, 1] for s in P.states)
    y, finals, tape = one.forward(P.x[:, 1], states)
    expected, expected_finals = oracle(P.x[:, 1:2], states=tuple(s[:, 1:2] for s in P.states))
    assert_close(y, expected[:, 0], OUTPUT["float64"])
    for final, e in zip(finals, expected_finals, strict=True):
        assert_close(final, e[:, 0], OUTPUT["float64"])
    np.testing.assert_array_equal(one(P.x[:, 1], states)[0], y)

    dstates = tuple(d[:, 1] for d in P.dstates)
    gradients = one.backward(tape, P.dy[:, 1], dstates)
    _, _, tape = batch.forward(P.x[:, 1:2], tuple(s[:, 1:2] for s in P.states))
    batched = batch.backward(tape, P.dy[:, 1:2], tuple(d[:, 1:2] for d in P.dstates))
    np.testing.assert_array_equal(gradients.flat, batched.flat)
    np.testing.assert_array_equal(gradients.x, batched.x[:, 0])
    for state, state_batched in zip(gradients.state, batched.state, strict=True):
        np.testing.assert_array_equal(state, state_batched[:, 0])


def test_one_state_is_given_and_returned_bare():
    gru = nn.GRU(4, 7, dtype="float64", seed=0)
    h = np.random.default_rng(0).normal(size=(1, 3, 7))
    y, h_n, tape = gru.forward(P.x, h)
    expected, (expected_h,) = reference.forward(reference.CELLS["gru"], gru.state_dict(), P.x, (h,))
    assert_close(y, expected, OUTPUT["float64"])
    assert_close(h_n, expected_h, OUTPUT["float64"])
    assert gru.backward(tape, y, h_n).state.shape == (1, 3, 7)
    recurrent = nn.Recurrent(cells.gru, 4, 7, dtype="float64", seed=0)
    y_tuple, (h_tuple,) = recurrent(P.x, (h,))
    np.testing.assert_array_equal(y_tuple, y)
    np.testing.assert_array_equal(h_tuple, h_n)


# --- layouts and dtypes ---------------------------------------------------------------------------


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def strided(x):
    wide = np.full((2 * x.shape[0], x.shape[1], 3 * x.shape[2]), np.nan)
    wide[::2, :, 1::3] = x
    return wide[::2, :, 1::3]


LAYOUTS = {
    "read_only": read_only,
    "strided": strided,
    "fortran": np.asfortranarray,
    "reversed": lambda x: x[::-1].copy()[::-1],
    "transposed": lambda x: x.T.copy().T,
    "big_endian": lambda x: x.astype(">f8"),
    "float32": lambda x: x.astype(np.float32),
    "list": lambda x: x.tolist(),
    "masked": lambda x: np.ma.masked_array(x),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    make = LAYOUTS[layout]
    plain, other = net(), net()
    y, _, tape = plain.forward(P.x, P.states)
    y_other, _, tape_other = other.forward(make(P.x), tuple(make(s) for s in P.states))
    assert type(y_other) is np.ndarray
    np.testing.assert_array_equal(y_other, y)
    np.testing.assert_array_equal(other(make(P.x), tuple(make(s) for s in P.states))[0], y)
    gradients = plain.backward(tape, P.dy, P.dstates)
    gradients_other = other.backward(tape_other, make(P.dy), tuple(make(d) for d in P.dstates))
    np.testing.assert_array_equal(gradients_other.flat, gradients.flat)
    np.testing.assert_array_equal(gradients_other.x, gradients.x)
    np.testing.assert_array_equal(gradients_other.state[1], gradients.state[1])


@pytest.mark.parametrize("given", ["int8", "uint64", "int32", "bool", "float16", ">f4", ">i2", "longdouble"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes_are_converted(given, dtype):
    x = np.random.default_rng(0).integers(0, 2, size=(5, 3, 4)).astype(given)
    y, _ = net(dtype)(x, P.states)
    assert y.dtype == dtype
    assert_close(y, oracle(x.astype(np.float64))[0], OUTPUT[dtype])


def test_inputs_are_not_changed():
    network_, x, dy = net(), P.x.copy(), P.dy.copy()
    states, dstates = tuple(s.copy() for s in P.states), tuple(d.copy() for d in P.dstates)
    for lengths in (None, np.array([2, 5, 0])):
        _, _, tape = network_.forward(x, states, lengths)
        network_.backward(tape, dy, dstates)
    for ours, theirs in zip((x, dy, *states, *dstates), (P.x, P.dy, *P.states, *P.dstates), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(lengths, [2, 5, 0])


def test_results_do_not_share_memory_with_inputs_or_the_next_results():
    network_ = net()
    y, states = network_(P.x, P.states, lengths=[5, 0, 3])
    kept = y.copy(), states[0].copy()
    network_(2 * P.x, P.states, lengths=[5, 0, 3])
    np.testing.assert_array_equal(y, kept[0])
    np.testing.assert_array_equal(states[0], kept[1])
    assert not any(np.shares_memory(state, given) for state in states for given in P.states)


@pytest.mark.parametrize("lengths", [None, [2, 5, 3]])
def test_a_tape_does_not_see_what_becomes_of_the_arrays(lengths):
    network_, x, states = net(), P.x.copy(), tuple(s.copy() for s in P.states)
    y, finals, tape = network_.forward(x, states, lengths)
    before = network_.backward(tape, P.dy, P.dstates)
    for array in (x, y, *states, *finals):
        if array.flags.writeable:  # y may refuse, as BPTT reads it
            array -= 1
    after = network_.backward(tape, P.dy, P.dstates)
    np.testing.assert_array_equal(after.flat, before.flat)
    np.testing.assert_array_equal(after.x, before.x)


# --- lengths --------------------------------------------------------------------------------------

ROWS = Case(T=6, B=7, I=4, H=9, num_layers=2, bidirectional=True)


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before", "lstm_peephole", "lstm_recurrent_dropout"])
@pytest.mark.parametrize("lengths", [(2, 6, 0, 1, 6, 3, 0), (0,) * 7, (6,) * 7, (1, 2, 3, 4, 5, 6, 6)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ragged_rows_have_the_bits_of_each_row_alone(cell, lengths, dtype):
    oracle_cell = reference.CELLS[cell]
    ragged, p = network(CELLS[cell][0], oracle_cell, ROWS, dtype), problem(oracle_cell, ROWS)
    y, finals, tape = ragged.forward(p.x, p.states, lengths)
    np.testing.assert_array_equal(ragged(p.x, p.states, lengths)[0], y)
    gradients = ragged.backward(tape, p.dy, p.dstates)
    for b, n in enumerate(lengths):
        row_states = tuple(s[:, b : b + 1] for s in p.states)
        y_row, finals_row, tape = ragged.forward(p.x[:n, b : b + 1], row_states)
        row = ragged.backward(tape, p.dy[:n, b : b + 1], tuple(d[:, b : b + 1] for d in p.dstates))
        np.testing.assert_array_equal(y[:n, b], y_row[:, 0])
        np.testing.assert_array_equal(y[n:, b], 0)
        np.testing.assert_array_equal(gradients.x[:n, b], row.x[:, 0])
        np.testing.assert_array_equal(gradients.x[n:, b], 0)
        for k in range(len(finals)):
            np.testing.assert_array_equal(finals[k][:, b], finals_row[k][:, 0])
            np.testing.assert_array_equal(gradients.state[k][:, b], row.state[k][:, 0])


def test_what_lies_beyond_a_length_is_never_read():
    x, dy = P.x.copy(), P.dy.copy()
    y, finals, tape = net().forward(P.x, P.states, [2, 5, 0])
    gradients = net_gradients(tape, P.dy)
    for b, n in enumerate([2, 5, 0]):
        x[n:, b] = dy[n:, b] = np.nan
    y_nan, finals_nan, tape = net().forward(x, P.states, [2, 5, 0])
    np.testing.assert_array_equal(y_nan, y)
    np.testing.assert_array_equal(finals_nan[1], finals[1])
    np.testing.assert_array_equal(net_gradients(tape, dy).flat, gradients.flat)


def net_gradients(tape, dy):
    """Gradients through a network of its own for each tape: a tape belongs to the network that made it."""
    from nblstm.engine import engine

    return engine.backward(tape, dy, P.dstates)


@pytest.mark.parametrize("lengths", [[2, 5, 0], (2.0, 5.0, 0.0), np.array([2, 5, 0], "u1"), np.array([2, 5, 0], ">i8")])
def test_kinds_of_lengths(lengths):
    assert_close(net()(P.x, P.states, lengths)[0], oracle(P.x, [2, 5, 0])[0], OUTPUT["float64"])


def test_length_of_one_sequence():
    expected, _ = oracle(P.x[:2, :1], states=tuple(s[:, :1] for s in P.states))
    for length in (2, [2]):
        y, _ = net()(P.x[:, 0], tuple(s[:, 0] for s in P.states), length)
        assert_close(y[:2], expected[:, 0], OUTPUT["float64"])
        assert (y[2:] == 0).all()


@pytest.mark.parametrize(("T", "B"), [(0, 3), (5, 0), (0, 0)])
def test_nothing_to_do(T, B):
    network_ = net()
    states = tuple(s[:, :B] for s in P.states)
    y, finals, tape = network_.forward(np.zeros((T, B, 4)), states)
    assert y.shape == (T, B, 14)
    gradients = network_.backward(tape, y, finals)
    assert (gradients.flat == 0).all()
    assert gradients.x.shape == (T, B, 4)
    for k in range(2):
        np.testing.assert_array_equal(finals[k], states[k])
        np.testing.assert_array_equal(gradients.state[k], finals[k])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_row(value):
    x = P.x.copy()
    x[2, 1, 0] = value
    y, expected = net()(x, P.states)[0], net()(P.x, P.states)[0]
    np.testing.assert_array_equal(y[:, [0, 2]], expected[:, [0, 2]])
    if np.isnan(value):
        assert np.isnan(y[:, 1]).all()  # bidirectional, two layers: everywhere in the row
    else:
        assert (np.abs(y[:, 1]) <= 1).all() or np.isnan(y[:, 1]).any()


def test_networks_of_equal_sizes_do_not_mix():
    names = ["lstm", "lstm_complement", "lstm_peephole"]
    nets = [network(getattr(cells, name), reference.CELLS[name], ROWS, "float64") for name in names]
    for _ in range(2):
        for name, one in zip(names, nets, strict=True):
            p = problem(reference.CELLS[name], ROWS)
            expected, _ = reference.forward(
                reference.CELLS[name], p.params, p.x, p.states, num_layers=2, bidirectional=True
            )
            assert_close(one(p.x, p.states)[0], expected, OUTPUT["float64"])
            y, _, tape = one.forward(p.x, p.states)
            assert_close(y, expected, OUTPUT["float64"])
            one.backward(tape, p.dy)
