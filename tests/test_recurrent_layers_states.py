"""Recurrent layers: masks with gaps, states between batches, dropout."""

import warnings

import numpy as np
import pytest
from recurrent_layers import GAPS, SEQUENCES, X, built
from tolerances import OUTPUT, assert_close

from nblstm.layers import GRU, LSTM, Bidirectional, SimpleRNN

# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backwards", [False, True])
def test_masked_steps_are_as_if_they_were_not_there(backwards):
    layer = built(LSTM(4, **SEQUENCES, go_backwards=backwards, dtype="float64"))
    y = layer(X, mask=GAPS)
    mask = GAPS[:, ::-1] if backwards else GAPS
    for b, row in enumerate(mask):
        alone = layer(X[b : b + 1, GAPS[b]])[0] if row.any() else None
        last, k = np.zeros(4), 0
        for t, valid in enumerate(row):
            if valid:
                last, k = alone[k], k + 1
            assert_close(y[b, t] + 1, last + 1, OUTPUT["float64"])
    final = built(LSTM(4, go_backwards=backwards, dtype="float64"))(X, mask=GAPS)
    assert np.array_equal(final, y[:, -1])


@pytest.mark.parametrize("make", [lambda: LSTM(4, **SEQUENCES), lambda: Bidirectional(LSTM(4, **SEQUENCES))])
def test_masked_steps_may_hold_anything(make):
    layer = built(make())
    spoiled = np.where(GAPS[..., None], X, np.nan)
    assert np.array_equal(layer(spoiled, mask=GAPS), layer(X, mask=GAPS))
    y, tape = layer.forward(spoiled, mask=GAPS)
    dx, gradients = layer.backward(tape, np.ones_like(y))
    assert np.isfinite(gradients.flat).all()
    assert not dx[~GAPS].any()


def test_a_mask_of_ones_is_none():
    layer = built(GRU(4))
    assert np.array_equal(layer(X, mask=np.ones((3, 6), bool)), layer(X))
    assert np.array_equal(layer(X, mask=GAPS.astype(int)), layer(X, mask=GAPS))


@pytest.mark.parametrize("wrap", [lambda layer: layer, Bidirectional])
def test_which_masks_are_passed_on(wrap):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert wrap(LSTM(3, **SEQUENCES)).compute_mask(X, GAPS) is GAPS
        assert wrap(LSTM(3)).compute_mask(X, GAPS) is None


def test_nothing_valid_at_all():
    layer = built(LSTM(3, **SEQUENCES, return_state=True))
    start = [np.ones((3, 3)), np.full((3, 3), 2.0)]
    y, h, c = layer(X, mask=np.zeros((3, 6), bool), initial_state=start)
    assert (y.any(), h.tolist(), c.tolist()) == (False, start[0].tolist(), start[1].tolist())
    (y, *_), tape = layer.forward(X, mask=np.zeros((3, 6), bool), initial_state=start)
    dx, gradients = layer.backward(tape, [np.ones_like(y), start[0], start[1]])
    assert not dx.any()
    assert not gradients.flat.any()
    assert gradients.state[1].tolist() == start[1].tolist()


@pytest.mark.parametrize("make", [lambda: LSTM(3), lambda: GRU(3, **SEQUENCES), lambda: Bidirectional(SimpleRNN(3))])
def test_batches_and_sequences_may_be_empty(make):
    layer = built(make())
    assert layer(np.ones((0, 6, 2))).shape[0] == 0
    assert not layer(np.ones((3, 0, 2))).any()


# --- states ---------------------------------------------------------------------------------------


def test_states_are_carried_over():
    whole = built(LSTM(4, **SEQUENCES))
    layer = LSTM(4, **SEQUENCES, stateful=True)
    layer.build((3, None, 2))
    layer.set_weights(whole.get_weights())
    y = whole(X)
    halves = [layer(X[:, :2]), layer.forward(X[:, 2:5])[0]]
    kept = layer.states
    halves.append(layer(X[:, 5:]))
    assert np.array_equal(np.concatenate(halves, axis=1), y)
    layer.states = kept
    assert np.array_equal(layer(X[:, 5:]), y[:, 5:])
    layer.reset_states()
    assert layer.states is None
    assert np.array_equal(layer(X[:, :2]), y[:, :2])
    layer.states[0][...] = 9  # a copy
    assert np.array_equal(layer(X[:, 2:]), y[:, 2:])
    layer.reset_state(kept)
    assert np.array_equal(layer.states, kept)


def test_both_directions_carry_states_over():
    layer = built(Bidirectional(GRU(4, stateful=True), merge_mode=None))
    first, kept = layer(X), layer.states
    assert [state.shape for state in kept] == [(3, 4)] * 2
    again = layer(X)
    assert not np.array_equal(again, first)
    layer.reset_states(kept)
    assert np.array_equal(layer(X), again)
    layer.reset_states()
    assert layer.states is None
    assert np.array_equal(layer(X), first)


def test_what_comes_back_with_the_states():
    layer = built(GRU(4, **SEQUENCES, return_state=True))
    y, h = layer(X, initial_state=np.ones((3, 4)))
    assert np.array_equal(y[:, -1], h)
    assert np.array_equal(layer(X, initial_state=[np.ones((3, 4))])[0], y)
    again, h_again = layer(X[:, 3:], initial_state=layer(X[:, :3])[1])
    assert np.array_equal(again, layer(X)[0][:, 3:])
    assert np.array_equal(h_again, layer(X)[1])


def test_a_learned_start_is_for_whoever_gets_no_other():
    layer = built(LSTM(4, learn_initial_state=True, stateful=True))
    start = [np.broadcast_to(layer.state_dict()[f"initial_{name}"], (3, 4)) for name in "hc"]
    first = layer(X)
    second = layer(X)
    layer.reset_states()
    assert np.array_equal(layer(X), first)
    assert np.array_equal(layer(X), second)
    assert np.array_equal(layer(X, initial_state=start), first)
    bare = LSTM(4)
    bare.build((None, None, 2))
    bare.set_weights(layer.get_weights()[:3])
    assert np.array_equal(bare(X, initial_state=start), first)
    assert not np.array_equal(bare(X), first)


# --- dropout --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [LSTM, lambda n, **options: Bidirectional(LSTM(n, **options))])
def test_dropout(make):
    layer = built(make(4, dropout=0.5, recurrent_dropout=0.5, seed=7))
    plain = built(make(4))
    assert np.array_equal(layer(X), plain(X))
    assert np.array_equal(layer.forward(X)[0], plain(X))
    state = layer.generator.bit_generator.state
    first, second = layer.forward(X, training=True)[0], layer.forward(X, training=True)[0]
    assert not np.array_equal(first, second)
    layer.generator.bit_generator.state = state
    assert np.array_equal(layer.forward(X, training=True)[0], first)
    seedless = built(make(4, dropout=0.5))
    assert seedless.generator is None
    one, same = (seedless.forward(X, training=True, generator=np.random.default_rng(3))[0] for _ in range(2))
    assert np.array_equal(one, same)


def test_dropout_is_the_same_in_all_steps():
    layer = LSTM(4, dropout=0.5, seed=0)
    x = np.ones((20, 6, 8))
    y, tape = layer.forward(x, training=True)
    dx, _ = layer.backward(tape, np.ones_like(y))
    dropped = (dx == 0).all(axis=1)  # (B, I)
    assert 0.3 < dropped.mean() < 0.7
    assert np.array_equal(dx == 0, np.broadcast_to(dropped[:, None], dx.shape))


@pytest.mark.parametrize(
    "options", [{}, {"return_sequences": True, "go_backwards": True}, {"learn_initial_state": True}]
)
def test_calls_with_the_same_shape_give_what_forward_gives(options):
    """From the third on they use memory of their own, also when the weights have changed meanwhile."""
    layer = LSTM(5, return_state=True, **options)
    random = np.random.default_rng(2)
    for k in range(8):
        x = random.normal(size=(3, 7, 4)).astype("float32")
        if k == 5:
            layer.set_weights([random.normal(size=w.shape) for w in layer.get_weights()])
        results, expected = layer(x), layer.forward(x)[0]
        for ours, theirs in zip(results, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            ours[...] = np.nan  # what comes out is the caller's
    mask = np.tile(np.arange(7) < 4, (3, 1))
    for ours, theirs in zip(layer(x, mask), layer.forward(x, mask=mask)[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)
