"""Networks of `nn` trained on inputs of one shape, again and again: the bits of the first time, in new arrays."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest
import reference
from networks import CELLS, Case, expected_gradients, expected_outputs, network, problem
from tolerances import DIFFERENCES, OUTPUT, assert_close

import nblstm
from nblstm import nn
from nblstm.buffers.pool import COPIES

CASES = {
    "lstm": ("lstm", Case(T=5, B=3, I=4, H=7)),
    "gru": ("gru", Case(T=1, B=1, I=5, H=6)),
    "two_products": ("gru_reset_before", Case(T=4, B=2, I=1, H=5, bias=False)),
    "vectors": ("lstm_peephole", Case(T=3, B=4, I=3, H=9)),
    "both_directions": ("lstm", Case(T=6, B=3, I=4, H=5, bidirectional=True)),
    "both_with_vectors": ("lstm_peephole", Case(T=3, B=2, I=4, H=5, bidirectional=True, bias=False)),
}
EVERY = pytest.mark.parametrize("name", CASES)


def made(name, dtype="float64"):
    """A network, its oracle's cell and case, and x, states, dy and dstates in its dtype."""
    cell, case = CASES[name]
    oracle = reference.CELLS[cell]
    p = problem(oracle, case)
    arrays = p.x.astype(dtype), tuple(s.astype(dtype) for s in p.states), p.dy.astype(dtype)
    return (
        network(CELLS[cell][0], oracle, case, dtype),
        oracle,
        case,
        (*arrays, tuple(d.astype(dtype) for d in p.dstates)),
    )


def again(net, x, state=None):
    """A forward pass that replays, whatever came before."""
    for _ in range(3):
        y, finals, tape = net.forward(x, state)
    assert tape.made.kept
    return y, finals, tape


def first_time(net, x, state, dy, dstate):
    """All results of a network with these parameters that has seen no input before."""
    other = copy.deepcopy(net)
    y, finals, tape = other.forward(x, state)
    assert not tape.made.kept
    return [y, *listed(finals), *gradients(other.backward(tape, dy, dstate))]


def listed(states):
    return list(states) if isinstance(states, tuple) else [states]


def gradients(g):
    return [g.flat, *g.params.values(), g.x, *listed(g.state)]


def assert_same(results, expected):
    assert len(results) == len(expected)
    for one, other in zip(results, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@EVERY
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_replays_against_the_oracle(name, dtype):
    net, oracle, case, (x, states, dy, dstates) = made(name, dtype)
    y, finals, tape = again(net, x, states)
    found = net.backward(tape, dy, dstates)
    expected_y, expected_finals = expected_outputs(oracle, case)
    for ours, theirs in zip((y, *finals), (expected_y, *expected_finals), strict=True):
        assert_close(ours, theirs, OUTPUT[dtype])
    expected = expected_gradients(oracle, case, 4)
    for parameter, gradient in found.params.items():
        assert_close(gradient, expected[parameter], DIFFERENCES[dtype])
    for ours, theirs in zip((found.x, *found.state), (expected["x"], *expected["state"]), strict=True):
        assert_close(ours, theirs, DIFFERENCES[dtype])


@EVERY
def test_the_same_bits_as_the_first_time(name):
    """Several tapes at once, used in any order and twice, with and without states, while the parameters change."""
    net, _, _, (x, states, dy, dstates) = made(name)
    passes = []
    for k in range(COPIES + 2):
        given = (x * (k + 1), (states, None)[k % 2], (dy, None, -dy)[k % 3], (dstates, dstates, None)[k % 3])
        expected = first_time(net, *given)
        x_k = given[0].copy()
        y, finals, tape = again(net, x_k, given[1])
        passes.append(([y, *finals], tape, given, expected))
        x_k[...] = np.nan  # the tape does not read it
        net.load_state_dict({key: 0.9 * value for key, value in net.state_dict().items()})
    for k in [*reversed(range(len(passes))), 0, 2]:
        outputs, tape, (_, _, dy_k, dstates_k), expected = passes[k]
        assert_same([*outputs, *gradients(net.backward(tape, dy_k, dstates_k))], expected)


@EVERY
def test_results_are_the_callers(name):
    """A later pass changes nothing that an earlier one returned."""
    net, _, _, (x, states, dy, dstates) = made(name)
    y, finals, tape = again(net, x, states)
    kept = [y, *finals, *gradients(net.backward(tape, dy, dstates)), *gradients(net.backward(tape, 2 * dy))]
    before = copy.deepcopy(kept)
    del tape
    *_, tape = again(net, -x)
    net.backward(tape, -dy, dstates)
    assert_same(kept, before)
    assert not y.flags.writeable
    assert all(array.flags.writeable for array in kept[1:])


@pytest.mark.parametrize("batch_first", [False, True])
def test_other_arrays(batch_first):
    """Any layout; what is no array of the network's dtype is converted, and takes the general way where need be."""
    net, rng = nn.RNN(3, 4, batch_first=batch_first, seed=0), np.random.default_rng(0)
    x, h, dy, dh = (rng.normal(size=s).astype("f4") for s in ((2, 6, 3), (1, 6, 4), (2, 6, 4), (1, 6, 4)))
    if batch_first:
        x, dy = x.swapaxes(0, 1), dy.swapaxes(0, 1)
    expected = first_time(net, x, h, dy, dh)
    y, h_n, tape = again(net, x, h)
    for form in (np.copy, np.asfortranarray, np.ndarray.tolist, lambda a: a.astype("f8"), lambda a: a.astype(">f4")):
        assert_same([y, h_n, *gradients(net.backward(tape, form(dy), form(dh)))], expected)
        y_k, h_k, tape_k = net.forward(form(x), form(h))
        assert_same([y_k, h_k, *gradients(net.backward(tape_k, dy, dh))], expected)


def test_passes_that_are_not_kept():
    x = np.ones((4, 2, 3), "f4")
    net, deep = nn.LSTM(3, 5, seed=0), nn.LSTM(3, 5, 2, seed=0)
    for _ in range(3):
        for one, given, options in (
            (net, x, {"checkpoint": 2}), (net, np.ones((4, 400, 3), "f4"), {"lengths": [4, 2] * 200}),
            (deep, np.ones((4, 90_000, 3), "f4"), {}),
        ):  # fmt: skip
            *_, tape = one.forward(given, **options)
            assert not tape.made.kept
            one.backward(tape, None)


def test_bad_input_is_refused_as_ever_and_changes_nothing():
    net, _, _, (x, states, dy, dstates) = made("lstm")
    expected = first_time(net, x, states, dy, dstates)
    y, finals, tape = again(net, x, states)
    for bad in ((states[0],), (states[0], states[1][:, :2]), states[0], (states[0], "c")):
        with pytest.raises((ValueError, TypeError), match="state"):
            net.forward(x, bad)
        with pytest.raises((ValueError, TypeError), match="dstate"):
            net.backward(tape, dy, bad)
    for wrong in (dy[:, :1], dy[0], dy.astype(complex), "dy"):
        with pytest.raises((ValueError, TypeError), match="dy"):
            net.backward(tape, wrong)
    with pytest.raises(ValueError, match="features"):
        net.forward(x[..., :1])
    with pytest.raises(ValueError, match="tape is not from this network"):
        copy.deepcopy(net).backward(tape, dy)
    assert_same([y, *finals, *gradients(net.backward(tape, dy, dstates))], expected)
    y, finals, tape = net.forward(x, states)
    assert_same([y, *finals, *gradients(net.backward(tape, dy, dstates))], expected)


def test_parameters_that_are_lent():
    """While a view of the parameters is alive, each pass takes them as they are."""
    net, _, _, (x, states, dy, dstates) = made("lstm")
    again(net, x, states)
    flat = net.flat_parameters()
    for scale in (0.5, 2.0, 0.25):
        flat *= scale
        y, finals, tape = net.forward(x, states)
        assert tape.made.kept
        assert_same([y, *finals, *gradients(net.backward(tape, dy, dstates))], first_time(net, x, states, dy, dstates))


def test_threads_at_once():
    """Of one network, and of one tape, with any number of threads to compute on."""
    net, _, _, (x, states, dy, dstates) = made("both_directions")
    expected, wrong, before = first_time(net, x, states, dy, dstates), [], nblstm.num_threads()
    *_, shared = again(net, x, states)

    def work():
        try:
            for _ in range(40):
                y, finals, tape = net.forward(x, states)
                assert_same([y, *finals, *gradients(net.backward(tape, dy, dstates))], expected)
                assert_same(gradients(net.backward(shared, dy, dstates)), expected[3:])
        except AssertionError as error:
            wrong.append(error)

    try:
        for count in (1, 3):
            nblstm.set_num_threads(count)
            threads = [threading.Thread(target=work) for _ in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        nblstm.set_num_threads(before)
    assert not wrong


def test_bptt_within_bptt_is_refused():
    """As a signal's handler could ask for, which would overwrite what the other has half done."""
    net, _, _, (x, states, dy, dstates) = made("lstm")
    *_, tape = again(net, x, states)
    expected = gradients(net.backward(tape, dy, dstates))
    with tape.made.lock, pytest.raises(RuntimeError, match=r"backward\(\) of this tape is under way on this thread"):
        net.backward(tape, -dy, dstates)
    assert_same(gradients(net.backward(tape, dy, dstates)), expected)


def test_tapes_that_are_gone_leave_few_passes():
    net, _, _, (x, *_) = made("lstm")
    again(net, x)
    tapes = [net.forward(x)[2] for _ in range(3 * COPIES)]
    passes = [weakref.ref(tape.made) for tape in tapes]
    del tapes
    gc.collect()
    assert sum(one() is not None for one in passes) == COPIES


def test_copies():
    net, _, _, (x, states, dy, dstates) = made("gru")
    *_, tape = again(net, x, states)
    expected = gradients(net.backward(tape, dy, dstates))
    for copied in (copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))):
        assert_same(first_time(copied(net), x, states, dy, dstates)[2:], expected)
        with pytest.raises(TypeError, match="a tape cannot be copied or pickled"):
            copied(tape)
