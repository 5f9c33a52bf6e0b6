"""Recurrent layers: what they share with nn, what they keep, save and carry over; masks, steps one by one, threads."""

import gc
import json
import threading
import warnings

import numpy as np
import pytest
from tolerances import DTYPES, OUTPUT, assert_close

import nblstm
from nblstm import layers, nn
from nblstm.layers import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dense,
    SimpleRNN,
    TimeDistributed,
    activations,
    constraints,
    register_cell,
)  # fmt: skip

RNG = np.random.default_rng(0)
GAPS = np.array([[0, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]], bool)
X = RNG.normal(size=(3, 6, 2))
SEQUENCES = {"return_sequences": True}


@register_cell
@nblstm.cell(gates="f n", states="h", vectors="p")
def registered(f, n, h, p):
    """A cell that a saved layer can name."""
    f = nblstm.sigmoid(f + p * h)
    return f * h + (1 - f) * nblstm.tanh(n)


def built(layer, I=2):
    """The layer, with parameters that are 0 nowhere."""
    layer.build((None, None, I), np.random.default_rng(1))
    for view in layer.parameters().values():
        view += np.random.default_rng(2).normal(size=view.shape) * 0.3
    return layer


# --- beside nn ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_lstm_is_that_of_nn_with_transposed_weights(dtype):
    layer = built(LSTM(5, **SEQUENCES, return_state=True, dtype=dtype))
    kernel, recurrent_kernel, bias = layer.get_weights()
    torch_like = nn.LSTM(2, 5, batch_first=True, dtype=dtype)
    torch_like.load_state_dict(
        {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent_kernel.T, "bias_ih_l0": bias, "bias_hh_l0": 0 * bias}
    )
    lengths = np.array([3, 6, 0])
    mask = np.arange(6) < lengths[:, None]
    dy, dh, dc = RNG.normal(size=(3, 6, 5)), RNG.normal(size=(3, 5)), RNG.normal(size=(3, 5))
    (y, h, c), tape = layer.forward(X, mask=mask)
    expected, (h_n, c_n), torch_tape = torch_like.forward(X, lengths=lengths)
    assert np.array_equal(np.where(mask[..., None], y, 0), expected)
    assert np.array_equal(h, h_n[0])
    assert np.array_equal(c, c_n[0])
    dy[~mask] = 0
    dx, gradients = layer.backward(tape, [dy, dh, dc])
    right = torch_like.backward(torch_tape, dy, (dh[None], dc[None]))
    assert np.array_equal(dx, right.x)
    assert np.array_equal(gradients.params["kernel"].T, right.params["weight_ih_l0"])
    assert np.array_equal(gradients.params["recurrent_kernel"].T, right.params["weight_hh_l0"])
    assert np.array_equal(gradients.params["bias"], right.params["bias_ih_l0"])


def test_a_layer_of_any_cell_is_recurrent_of_that_cell():
    layer = built(RNN("lstm_peephole", 4, **SEQUENCES, dtype="float64"))
    own = layer.state_dict()
    network = nn.Recurrent(nblstm.cells.lstm_peephole, 2, 4, batch_first=True, dtype="float64")
    network.load_state_dict(
        {"weight_ih_l0": own["kernel"].T, "weight_hh_l0": own["recurrent_kernel"].T, "bias_ih_l0": own["bias"],
         "bias_hh_l0": 0 * own["bias"]} | {f"{name}_l0": own[name] for name in ("p_i", "p_f", "p_o")}
    )  # fmt: skip
    assert np.array_equal(layer(X), network(X)[0])
    assert list(own) == ["kernel", "recurrent_kernel", "bias", "p_i", "p_f", "p_o"]


def test_a_gru_is_that_of_nn_but_for_the_order_of_gates():
    layer = built(GRU(4, **SEQUENCES, dtype="float64"))
    kernel, recurrent_kernel, bias = layer.get_weights()

    def reordered(w):  # z r n to r z n
        z, r, n = np.split(w.T, 3, axis=0)
        return np.concatenate([r, z, n])

    network = nn.GRU(2, 4, batch_first=True, dtype="float64")
    network.load_state_dict(
        {"weight_ih_l0": reordered(kernel), "weight_hh_l0": reordered(recurrent_kernel),
         "bias_ih_l0": reordered(bias[0]), "bias_hh_l0": reordered(bias[1])}
    )  # fmt: skip
    assert_close(layer(X), network(X)[0], OUTPUT["float64"])


# --- parameters -----------------------------------------------------------------------------------


def test_initial_values():
    layer = LSTM(6)
    layer.build((None, 4, 3))
    kernel, recurrent_kernel, bias = layer.get_weights()
    bound = (6 / (3 + 24)) ** 0.5  # glorot_uniform of the whole kernel, as in Keras
    assert 0.5 * bound < np.abs(kernel).max() <= bound
    assert_close(recurrent_kernel @ recurrent_kernel.T, np.eye(6), OUTPUT["float32"])
    assert bias.tolist() == [0] * 6 + [1] * 6 + [0] * 12
    plain = LSTM(6, unit_forget_bias=False, bias_initializer="ones", learn_initial_state=True)
    plain.build((None, 4, 3))
    assert plain.get_weights()[2].tolist() == [1] * 24
    assert list(plain.parameters()) == ["kernel", "recurrent_kernel", "bias", "initial_h", "initial_c"]
    assert not plain.get_weights()[3].any()


@pytest.mark.parametrize("make", [lambda: LSTM(3), lambda: Bidirectional(GRU(3)), lambda: RNN(registered, 3)])
def test_weights_go_out_and_in(make):
    layer, other = built(make()), built(make(), 2)
    weights = layer.get_weights()
    for w in other.weights:
        w *= 2
    assert not np.array_equal(other(X), layer(X))
    other.set_weights(weights)
    assert np.array_equal(other(X), layer(X))
    assert layer.count_params() == sum(w.size for w in weights) == layer.flat_parameters().size


@pytest.mark.parametrize("make", [lambda: LSTM(3), lambda: Bidirectional(LSTM(3))])
def test_what_is_written_to_views_is_seen_by_the_next_call(make):
    layer = built(make())
    y = layer(X)
    view = layer.weights[0]
    assert np.array_equal(layer(X), y)
    view[0] += 1
    assert not np.array_equal(layer(X), y)
    view[0] -= 1
    flat = layer.flat_parameters()
    del view
    gc.collect()
    again = layer(X)
    flat += 0.5
    assert not np.array_equal(layer(X), again)
    flat *= 0
    assert not layer(X).any()


def test_views_of_a_part_and_of_the_whole_are_of_the_same_numbers():
    layer = built(Bidirectional(LSTM(3)))
    inner = layer.backward_layer.parameters()["kernel"]
    outer = layer.parameters()["backward_kernel"]
    assert np.shares_memory(inner, outer)
    y = layer(X)
    inner += 1
    assert not np.array_equal(layer(X), y)
    del outer
    gc.collect()
    y = layer(X)
    inner += 1  # the part is still lent when the whole no longer is
    assert not np.array_equal(layer(X), y)
    layer.load_state_dict({name: np.zeros_like(w) for name, w in layer.state_dict().items()})
    assert not layer(X).any()
    layer.forward_layer.set_weights([np.ones_like(w) for w in layer.forward_layer.get_weights()])
    assert [bool(half.any()) for half in np.split(layer(X), 2, axis=-1)] == [True, False]


@pytest.mark.parametrize("wrap", [lambda layer: layer, Bidirectional])
def test_constraints(wrap):
    layer = built(wrap(LSTM(3, kernel_constraint=constraints.MaxNorm(0.1), bias_constraint="non_neg")))
    y = layer(X)
    layer.apply_constraints()
    for name, w in layer.state_dict().items():
        if name.endswith("bias"):
            assert w.min() == 0
        elif "recurrent" not in name:
            assert np.linalg.norm(w, axis=0).max() < 0.1001
    assert not np.array_equal(layer(X), y)


def test_weights_are_packed_once(monkeypatch):
    layer, count = built(LSTM(3)), []
    packed = layer._packed
    monkeypatch.setattr(layer, "_packed", lambda *args: count.append(1) or packed(*args))
    gc.collect()
    for _ in range(3):
        layer(X)
    assert len(count) == 1
    layer.set_weights(layer.get_weights())
    layer(X)
    assert len(count) == 2


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


# --- activations ----------------------------------------------------------------------------------

SCALARS = [name for name, function in activations.FUNCTIONS.items() if function.scalar is not None]


@pytest.mark.parametrize("name", SCALARS)
def test_a_cell_is_compiled_with_the_same_function(name):
    points = np.array([-30.0, -3.0, -1.0, -0.3, 0.2, 0.8, 1.0, 4.0, 7.0])
    function = activations.get(name)
    assert_close(np.array([function.scalar(x) for x in points.tolist()]), function(points), OUTPUT["float64"])
    assert LSTM(2, name, name).cell is LSTM(3, name, name).cell  # traced, and shared
    assert GRU(2, name, name).activation is SimpleRNN(2, name).activation is function


def test_defaults_share_the_cells_of_nn():
    assert LSTM(2).cell is nblstm.cells.lstm
    assert SimpleRNN(2).cell is nblstm.cells.rnn_tanh
    assert SimpleRNN(2, "relu").cell is nblstm.cells.rnn_relu


def test_an_activation_of_your_own():
    cube = activations.ActivationFunction(
        "cube", lambda x: x**3, lambda x, dy: 3 * dy * x**2, "input", scalar=lambda x: x**3
    )
    layer = built(SimpleRNN(4, cube, dtype="float64"))
    kernel, recurrent_kernel, bias = layer.get_weights()
    h = np.zeros((3, 4))
    for t in range(6):
        h = (X[:, t] @ kernel + h @ recurrent_kernel + bias) ** 3
    assert_close(layer(X), h, OUTPUT["float64"])


# --- step by step ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [LSTM, GRU, SimpleRNN, lambda n, **options: RNN("lstm_peephole", n, **options)])
def test_step_by_step(make):
    layer = built(make(4, **SEQUENCES, learn_initial_state=True))
    step = layer.stepper(3)
    y = np.stack([step(X[:, t]).copy() for t in range(6)], axis=1)
    assert np.array_equal(y, layer(X))
    kept = step.state
    assert [state.shape for state in kept] == [(3, 4)] * len(layer.cell.states)
    following = step(X[:, 0]).copy()
    step.state = kept
    assert np.array_equal(step(X[:, 0]), following)
    step.reset()
    assert np.array_equal(step(X[:, 0]), y[:, 0])
    layer.set_weights([2 * w for w in layer.get_weights()])
    step.reset()
    assert np.array_equal(step(X[:, 0]), layer(X)[:, 0])
    one = layer.stepper()
    assert np.array_equal(one(X[1, 0]), layer(X)[1, 0])


# --- saving ---------------------------------------------------------------------------------------

SAVED = [
    LSTM(3),
    LSTM(
        3, "relu", "hard_sigmoid", dropout=0.1, recurrent_dropout=0.2, seed=4, unit_forget_bias=False, use_cudnn=False
    ),
    GRU(3, reset_after=False, **SEQUENCES, zero_output_for_mask=True, kernel_regularizer="l2", input_shape=(None, 2)),
    SimpleRNN(3, None, return_state=True, stateful=True, batch_input_shape=(4, 5, 2), dtype="float64", name="simple"),
    RNN("gru", 3, learn_initial_state=True),
    RNN(registered, 3, go_backwards=True, vectors_initializer="ones", trainable=False),
    Bidirectional(LSTM(3, seed=1, **SEQUENCES), merge_mode="mul", input_shape=(6, 2)),
    Bidirectional(RNN(registered, 3), None, backward_layer=GRU(3, go_backwards=True)),
    TimeDistributed(LSTM(3)),
]


@pytest.mark.parametrize("layer", SAVED, ids=lambda layer: type(layer).__name__)
def test_a_config_makes_the_layer_again(layer):
    record = layers.serialize(layer)
    text = json.dumps(record, allow_nan=False)
    assert json.loads(text) == record  # no tuples, no NumPy numbers
    again = layers.deserialize(json.loads(text))
    assert type(again) is type(layer)
    assert layers.serialize(again) == record
    assert (again.name, again.dtype, again.trainable) == (layer.name, layer.dtype, layer.trainable)
    assert again.batch_input_shape == layer.batch_input_shape
    if not isinstance(layer, TimeDistributed):
        layer.build((4, None, 2))
        again.build((4, None, 2))
        again.set_weights(layer.get_weights())
        x = np.random.default_rng(0).normal(size=(4, 5, 2))
        for one, other in zip(_list(layer(x)), _list(again(x)), strict=True):
            assert np.array_equal(one, other)


def _list(y):
    return y if isinstance(y, list) else [y]


def test_a_cell_may_be_defined_again_and_be_registered_under_another_name():
    def define(slope):
        @register_cell
        @nblstm.cell(gates="a", states="h")
        def defined_again(a, h):
            return slope * h + nblstm.tanh(a)

        return defined_again

    define(0.5)
    second = define(0.25)
    assert RNN("defined_again", 2).cell is second
    third = nblstm.cells.lstm_with("softsign")
    assert register_cell(third, "soft") is third
    assert RNN(third, 2).get_config()["cell"] == "soft"
    assert RNN("soft", 2).cell is third


def test_names_of_both_directions():
    layer = Bidirectional(LSTM(2, name="inner"))
    assert (layer.forward_layer.name, layer.backward_layer.name) == ("forward_inner", "backward_inner")
    again = layers.deserialize(layers.serialize(layer))
    assert (again.forward_layer.name, again.backward_layer.name) == ("forward_inner", "backward_inner")
    assert Bidirectional(LSTM(2, input_shape=(5, 3))).batch_input_shape == (None, 5, 3)
    kernels = [np.ones((3, 8)), np.ones((2, 8)), np.ones(8)] * 2
    layer = Bidirectional(LSTM(2), weights=kernels)
    layer.build((None, 5, 3))
    assert all(np.array_equal(w, right) for w, right in zip(layer.get_weights(), kernels, strict=True))


# --- among other layers, and threads --------------------------------------------------------------


def test_a_sequence_of_sequences():
    layer, inner = TimeDistributed(LSTM(3)), LSTM(3)
    x = RNG.normal(size=(2, 4, 5, 2))
    y, tape = layer.forward(x)
    inner.build((None, 5, 2))
    inner.set_weights(layer.get_weights())
    assert np.array_equal(y, np.stack([inner(x[:, t]) for t in range(4)], axis=1))
    dx, gradients = layer.backward(tape, np.ones_like(y))
    assert dx.shape == x.shape
    assert gradients.params["kernel"].any()


def test_a_dense_layer_behind_and_another_recurrent_one():
    chain = [LSTM(4, **SEQUENCES, dtype="float64"), GRU(3, **SEQUENCES, dtype="float64"), Dense(2, dtype="float64")]
    x, tapes = X, []
    for layer in chain:
        x, tape = layer.forward(x, mask=GAPS if layer is not chain[2] else None)
        tapes.append(tape)
    d = np.ones_like(x)
    for layer, tape in zip(reversed(chain), reversed(tapes), strict=True):
        d, _ = layer.backward(tape, d)
    assert d.shape == X.shape
    assert d[GAPS].any()
    assert not d[~GAPS].any()


def test_threads_that_call_at_once():
    layer = built(Bidirectional(LSTM(4, **SEQUENCES)))
    right, wrong = layer(X, mask=GAPS), []

    def call():
        for _ in range(50):
            if not np.array_equal(layer(X, mask=GAPS), right):
                wrong.append(1)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_layout_and_dtype_of_data(dtype):
    layer = built(LSTM(4, **SEQUENCES, dtype=dtype))
    x = np.round(X * 4)
    right = layer(x)
    assert right.dtype == dtype
    read_only = x.copy()
    read_only.flags.writeable = False
    for same in (x.tolist(), x.astype("int8"), np.asfortranarray(x), x[::-1][::-1], read_only, x.astype(">f4")):
        assert np.array_equal(layer(same), right)
