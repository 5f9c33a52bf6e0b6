"""Training on batches of one shape, again and again: the same bits as the first time, whoever else is at it."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest
from recurrent_layers import registered

import nblstm
from nblstm import nn
from nblstm.buffers.pool import COPIES
from nblstm.engine.caller_layout import CallerLayout
from nblstm.layers import GRU, LSTM, RNN, Bidirectional, SimpleRNN

B, T, I, H = 5, 6, 3, 4
SEQUENCES, STATE = {"return_sequences": True}, {"return_state": True}

CASES = {
    "lstm": lambda: LSTM(H),
    "lstm_sequences": lambda: LSTM(H, **SEQUENCES, dtype="float64"),
    "lstm_states": lambda: LSTM(H, **SEQUENCES, **STATE, go_backwards=True),
    "gru": lambda: GRU(H, **STATE, use_bias=False),
    "gru_two_products": lambda: GRU(H, reset_after=False, **SEQUENCES),
    "rnn": lambda: SimpleRNN(H, "relu", go_backwards=True),
    "own": lambda: RNN(registered, H, vectors_initializer="glorot_uniform", **SEQUENCES),
    "dropout_that_rests": lambda: LSTM(H, dropout=0.4),
    "both": lambda: Bidirectional(LSTM(H, **SEQUENCES)),
}


def made(case, seed=0):
    layer, rng = CASES[case](), np.random.default_rng(seed)
    layer.build((None, None, I), rng)
    return layer


def data(layer, seed, steps=T, rows=B):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, steps, I)).astype(layer.dtype)
    y = layer.forward(x)[0]
    one = [rng.normal(size=part.shape) for part in y] if isinstance(y, list) else rng.normal(size=y.shape)
    return x, one


def first_time(layer, x, dy):
    """What a layer with these parameters gives that has seen no batch before."""
    other = type(layer).from_config(layer.get_config())
    other.build((None, None, I))
    other.set_weights(layer.get_weights())
    y, tape = other.forward(x)
    assert not is_kept(tape)
    return [y, *results(other.backward(tape, dy))]


def results(returned):
    dx, gradients = returned
    return [dx, gradients.flat, *gradients.state]


def same(a, b):
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a.dtype == b.dtype and np.array_equal(a, b)


def is_kept(tape):
    return tape.saved.tape.made.kept


@pytest.mark.parametrize("case", CASES)
def test_the_same_bits_as_the_first_time(case):
    """Several tapes at once, used in any order and twice, while the parameters change."""
    layer = made(case)
    expected, passes = [], []
    for k in range(COPIES + 2):
        x, dy = data(layer, k)
        layer.forward(x)
        y, tape = layer.forward(x)
        assert is_kept(tape)
        passes.append((y, tape, dy))
        expected.append(first_time(layer, x, dy))
        layer.set_weights([w * 0.9 for w in layer.get_weights()])
        x[...] = np.nan  # the tape does not read it
    for k in [*reversed(range(len(passes))), 0, 2]:
        y, tape, dy = passes[k]
        got = [y, *results(layer.backward(tape, dy))]
        assert same(got, expected[k]), k


def test_a_signal_ends_the_first_backward(monkeypatch):
    """Wherever it comes, the pass can be used again."""
    net, x = nn.LSTM(I, H, batch_first=True, seed=0), np.ones((B, T, I), "f4")
    y, _, tape = net.forward(x)
    expected = net.backward(tape, y).flat
    net.forward(x)
    y, _, tape = net.forward(x)

    def interrupted(*_):
        raise TimeoutError

    with monkeypatch.context() as within:
        within.setattr(CallerLayout, "in_layout", interrupted)
        with pytest.raises(TimeoutError):
            net.backward(tape, y)
    for _ in range(3):
        np.testing.assert_array_equal(net.backward(tape, y).flat, expected)


@pytest.mark.parametrize("case", CASES)
def test_the_input_gradient_can_be_left_out(case):
    layer = made(case)
    x, dy = data(layer, 1)
    layer.forward(x)
    _, tape = layer.forward(x)
    _, wanted, *_ = results(layer.backward(tape, dy))
    for _ in range(2):
        dx, gradients = layer.backward(tape, dy, input_gradient=False)
        assert dx is None
        assert np.array_equal(gradients.flat, wanted)


def test_results_are_the_callers():
    """A later pass changes nothing that an earlier one returned."""
    layer = made("lstm_states")
    x, dy = data(layer, 1)
    layer.forward(x)
    y, tape = layer.forward(x)
    kept = [y, *results(layer.backward(tape, dy))]
    before = copy.deepcopy(kept)
    del tape
    other, d_other = data(layer, 2)
    _, tape = layer.forward(other)
    layer.backward(tape, d_other)
    assert is_kept(tape)
    assert same(kept, before)


def test_parameters_that_are_lent():
    """While views of the parameters are alive, each pass takes them as they are."""
    layer = made("lstm")
    x, dy = data(layer, 1)
    for _ in range(2):
        layer.forward(x)
    kernel = layer.parameters()["kernel"]
    for scale in (0.5, 2.0, 0.25):
        kernel *= scale
        y, tape = layer.forward(x)
        assert is_kept(tape)
        assert same([y, *results(layer.backward(tape, dy))], first_time(layer, x, dy))


def test_a_mask_that_leaves_nothing_out():
    layer = made("lstm")
    x, dy = data(layer, 1)
    layer.forward(x)
    y, tape = layer.forward(x, mask=np.ones((B, T), bool))
    assert is_kept(tape)
    assert same([y, *results(layer.backward(tape, dy))], first_time(layer, x, dy))


def test_what_is_not_the_same_each_time():
    """Given states and dropout need no other pass; one over masked steps is made for them."""
    layer, random = made("dropout_that_rests"), np.random.default_rng(0)
    x, _ = data(layer, 1)
    layer.forward(x)
    assert is_kept(layer.forward(x)[1])
    mask = np.ones((B, T), bool)
    mask[2, 3:] = False
    for options, kept in (
        ({"mask": mask}, False),
        ({"initial_state": [np.zeros((B, H))] * 2}, True),
        ({"training": True, "generator": random}, True),
    ):
        assert is_kept(layer.forward(x, **options)[1]) == kept


def test_shapes_in_turn():
    """Sequences without steps among them."""
    layer = made("lstm_sequences")
    for _ in range(3):
        for steps in range(10):
            x, dy = data(layer, steps, steps)
            y, tape = layer.forward(x)
            assert same([y, *results(layer.backward(tape, dy))], first_time(layer, x, dy)), steps


def test_large_batches_are_not_kept():
    layer = made("lstm")
    x, _ = data(layer, 0, 40, 12_000)
    for _ in range(3):
        assert not is_kept(layer.forward(x)[1])


def test_the_number_of_threads_changes():
    layer, before = made("lstm_sequences"), nblstm.num_threads()
    x, dy = data(layer, 1, 9, 64)
    layer.forward(x)
    _, tape = layer.forward(x)
    expected = first_time(layer, x, dy)
    try:
        for count in (1, 3, 2):
            nblstm.set_num_threads(count)
            assert same(results(layer.backward(tape, dy)), expected[1:])
            y, again = layer.forward(x)
            assert same([y, *results(layer.backward(again, dy))], expected)
    finally:
        nblstm.set_num_threads(before)


def test_threads_at_once():
    """Of one layer, and of one tape."""
    layer = made("lstm_sequences")
    x, dy = data(layer, 1)
    layer.forward(x)
    _, shared = layer.forward(x)
    expected, wrong = first_time(layer, x, dy), []

    def work():
        for _ in range(50):
            y, tape = layer.forward(x)
            if not same([y, *results(layer.backward(tape, dy))], expected):
                wrong.append("own tape")
            if not same(results(layer.backward(shared, dy)), expected[1:]):
                wrong.append("shared tape")

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_tapes_that_are_gone_leave_few_passes():
    layer = made("lstm")
    x, _ = data(layer, 1)
    layer.forward(x)
    tapes = [layer.forward(x)[1] for _ in range(3 * COPIES)]
    passes = [weakref.ref(tape.saved.tape.made) for tape in tapes]
    del tapes
    gc.collect()
    assert sum(one() is not None for one in passes) == COPIES


def test_copies():
    layer = made("lstm")
    x, dy = data(layer, 1)
    layer.forward(x)
    _, tape = layer.forward(x)
    for copied in (copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))):
        other = copied(layer)
        assert same(results(layer.backward(tape, dy)), first_time(other, x, dy)[1:])
        with pytest.raises(TypeError, match="a tape cannot be copied or pickled"):
            copied(tape.saved.tape)
