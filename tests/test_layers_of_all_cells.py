"""Keras-named layers of cells of the whole language: the bits of nn, signals among the columns of x with gradients."""

import copy
import pickle

import kinds_of_cells
import numpy as np
import pytest
from numba import njit
from test_jacobian import assert_is, central_differences, differences_of, state_of

import nblstm
from nblstm import Sequential, cells, layers, models, nn

CELLS = kinds_of_cells.CELLS
H, I = 6, 6


def columns(made):
    """Places of signals among the columns of x: the first one column in front, the others one for each unit behind."""
    behind = {name: [1 + I + H * k + u for u in range(H)] for k, name in enumerate(made.signals[1:])}
    return {made.signals[0]: 0, **behind} if made.signals else None


def given(made, B=3, T=5, dtype="float64"):
    """x (B, T, all columns), its features, and the signals."""
    rng = np.random.default_rng(B)
    features = rng.normal(size=(B, T, I)).astype(dtype)
    signals = kinds_of_cells.signals_of(made, (B, T), H, rng, dtype)
    parts = [features, *(own if own.ndim == 3 else own[..., None] for own in signals.values())]
    if signals:
        parts[:2] = parts[1::-1]
    return np.concatenate(parts, axis=2), features, signals


def pair(name, wrapped=False, **options):
    """A layer, built, and the nn network that it is."""
    made = CELLS[name]
    layer = layers.RNN(made, H, return_sequences=True, dtype="float64", signals=columns(made), **options)
    layer = layers.Bidirectional(layer) if wrapped else layer
    layer.build((None, None, given(made)[0].shape[-1]), np.random.default_rng(0))
    rng = np.random.default_rng(7)
    layer.set_weights([rng.normal(size=w.shape) * 0.5 for w in layer.get_weights()])
    network = nn.Recurrent(made, I, H, batch_first=True, bidirectional=wrapped, dtype="float64", device="cpu")
    for key, value in layer._network.layout.views(layer._flat).items():
        network.parameters()[key][...] = value
    for key in network.parameters().keys() - layer._network.layout.shapes.keys():
        assert key.startswith("bias_hh")  # which adds to what bias_ih is
        network.parameters()[key][...] = 0
    return layer, network


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_a_layer_is_nns(name, wrapped):
    layer, network = pair(name, wrapped)
    x, features, signals = given(CELLS[name])
    y, tape = layer.forward(x)
    expected, _, their_tape = network.forward(features, signals=signals or None)
    if not network._network.is_noisy:  # of which training in nn has some
        np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(layer(x), network(features, signals=signals or None)[0])
    if network._network.is_noisy:
        return
    dy = np.random.default_rng(2).normal(size=y.shape)
    dx, gradients = layer.backward(tape, dy)
    theirs = network.backward(their_tape, dy)
    views = layer._network.layout.views(gradients.flat)
    for key, value in views.items():
        np.testing.assert_array_equal(value, theirs.params[key])
    if not signals:
        np.testing.assert_array_equal(dx, theirs.x)
        return
    np.testing.assert_array_equal(dx[..., 1 : 1 + I], theirs.x)
    for key, where in columns(CELLS[name]).items():
        np.testing.assert_array_equal(dx[..., where], theirs.signals[key])
    assert layer.backward(tape, dy, input_gradient=False)[0] is None


def test_two_networks_add_their_gradients_of_signals():
    made = CELLS["decay"]
    one = layers.RNN(made, H, return_sequences=True, dtype="float64", signals=columns(made))
    other = one.unbuilt(use_bias=False, go_backwards=True, name="other")
    layer = layers.Bidirectional(one, backward_layer=other)
    x, _, _ = given(made, T=3)
    layer.build(x.shape, np.random.default_rng(0))
    y, tape = layer.forward(x)
    dx, _ = layer.backward(tape, np.ones_like(y))
    found = central_differences(lambda v: np.atleast_1d(layer(v.reshape(x.shape)).sum()), x.ravel())
    np.testing.assert_allclose(dx.ravel(), found[0], atol=1e-7)
    with pytest.raises(ValueError, match=r"^layer has signals=.* and backward_layer .*; give both the same"):
        layers.Bidirectional(one, backward_layer=one.unbuilt(go_backwards=True, signals={"dt": 1, "keep": 0}, name="z"))


def test_a_column_may_be_two_signals():
    made = CELLS["decay"]
    layer = layers.RNN(made, H, dtype="float64", signals={"dt": -1, "keep": -1})
    x = np.random.default_rng(0).uniform(0.1, 0.9, (2, 3, 4))
    y, tape = layer.forward(x)
    dx, _ = layer.backward(tape, np.ones_like(y))
    found = central_differences(lambda v: np.atleast_1d(layer(v.reshape(x.shape)).sum()), x.ravel())
    np.testing.assert_allclose(dx.ravel(), found[0], atol=1e-7)
    assert layer.described["kernel"].shape == (3, 2 * H)


@pytest.mark.parametrize("name", CELLS)
def test_steps_of_layers_and_models(name):
    made = CELLS[name]
    layer, _ = pair(name)
    x, _, _ = given(made)
    expected = layer(x)
    step = layer.stepper(3)
    for t in range(x.shape[1]):
        np.testing.assert_array_equal(step(x[:, t]), expected[:, t])
    one = layer.stepper()
    np.testing.assert_array_equal(one(x[0, 0]), layer.stepper()(x[:1, 0])[0])
    head = layers.Dense(2, dtype="float64")
    model = Sequential([layers.Input((None, x.shape[-1])), layer.unbuilt(name="first"), head])
    model.layers[0].set_weights(layer.get_weights())
    predicted, model_step, net = model.predict(x, verbose=0), model.stepper(3), model.compiled(3)

    @njit
    def rolled(net, x, y):
        s = net.zero_state()
        for t in range(x.shape[1]):
            y[:, t] = net.step(x[:, t], s)

    y = np.empty_like(predicted)
    rolled(net, x, y)
    np.testing.assert_allclose(y, predicted, rtol=1e-13, atol=1e-15)
    for t in range(x.shape[1]):
        np.testing.assert_array_equal(model_step(x[:, t]), y[:, t])


@pytest.mark.parametrize("name", ["decay", "attention", "highway", "one_sided_gates"])
def test_jacobian_of_a_model(name):
    layer, _ = pair(name)
    width = layer.input_shape[-1]
    front = layers.Dense(width, dtype="float64")
    for before in ([], [front]):
        model = Sequential([layers.Input((None, width)), *before, layer.unbuilt(), layers.Dense(2, dtype="float64")])
        net = model.compiled()
        s, x = state_of(net)
        assert_is(net.jacobian(x, s), differences_of(net, x, s), net.recurrent_size)


@pytest.mark.parametrize("name", CELLS)
def test_a_model_is_trained_saved_and_copied(name, tmp_path):
    made = layers.register_cell(CELLS[name], f"kinds_{name}")
    x, _, _ = given(made, dtype="float32")
    model = Sequential([layers.Input(x.shape[1:]), layers.RNN(made, H, signals=columns(made)), layers.Dense(1)], seed=0)
    model.compile("adam", "mse")
    before = model.evaluate(x, np.ones((3, 1)), verbose=0)
    model.fit(x, np.ones((3, 1)), epochs=20, verbose=0)
    assert model.evaluate(x, np.ones((3, 1)), verbose=0) < before
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model.nblstm")
    copies = [models.load_model(tmp_path / "model.nblstm"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for other in copies:
        np.testing.assert_array_equal(other.predict(x, verbose=0), expected)
        assert other.layers[0].signals == columns(made)


def test_noise_is_drawn_in_training():
    made = CELLS["noisy"]
    layer = layers.RNN(made, H, dtype="float64", seed=3)
    again = layers.RNN(made, H, dtype="float64", seed=3)
    x, _, _ = given(made)
    layer.build(x.shape, np.random.default_rng(0))
    again.build(x.shape, np.random.default_rng(0))
    first, second = layer.forward(x, training=True)[0], layer.forward(x, training=True)[0]
    assert (first != second).any()
    np.testing.assert_array_equal(first, again.forward(x, training=True)[0])
    np.testing.assert_array_equal(layer(x), layer.forward(x)[0])


@pytest.mark.parametrize(
    ("name", "signals", "error", "message"),
    [
        ("decay", None, ValueError, "^signals is None, and the cell 'decay' takes 2; give a dict from 'dt', 'keep' to"),
        ("decay", {"dt": 0}, ValueError, "^signals is {'dt': 0}, and the cell 'decay' takes 2; give"),
        ("decay", 3, ValueError, "^signals is 3, and the cell 'decay' takes 2; give"),
        ("scalars", {"dt": 0}, ValueError, "^signals is {'dt': 0}, and the cell 'scalars' takes 0; give None"),
        ("decay", {"dt": 0, "keep": [1, 2]}, ValueError, r"^signals\['keep'\] has 2 columns; give one, or 6, one"),
        ("decay", {"dt": 0, "keep": 1.0}, TypeError, r"^signals\['keep'\] is 1.0; give the number of a column"),
        ("decay", {"dt": True, "keep": 1}, TypeError, r"^signals\['dt'\] is True; give the number"),
    ],
)  # fmt: skip
def test_wrong_signals(name, signals, error, message):
    with pytest.raises(error, match=message):
        layers.RNN(CELLS[name], H, signals=signals)


def test_inputs_that_do_not_fit():
    made = CELLS["decay"]
    with pytest.raises(ValueError, match=r"^signals\['dt'\] is column 7 of x, which has 7; give another$"):
        layers.RNN(made, H, signals={"dt": 7, "keep": 0})(np.ones((1, 2, 7)))
    with pytest.raises(ValueError, match=r"^x has 2 columns, all of them signals; give the layer features too$"):
        layers.RNN(made, H, signals={"dt": 0, "keep": -1})(np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match=r"^the cell 'highway' takes x itself, .* x has 5 for 6 units; give as many$"):
        layers.RNN(CELLS["highway"], H)(np.ones((1, 2, 5)))
    with pytest.raises(ValueError, match=r"^hidden_size is 5; give a multiple of 2, the number of heads"):
        layers.RNN(CELLS["heads"], 5)(np.ones((1, 2, 5)))
    layer, _ = pair("decay")
    with pytest.raises(ValueError, match=r"^x_t has shape \(6,\)"):
        layer.stepper()(np.ones(6))
    with pytest.raises(ValueError, match=r"^signals are columns of x in RNN 'rnn.*'; leave them out$"):
        layer.stepper()(np.ones(13), {"dt": 1.0, "keep": 1.0})


@pytest.mark.parametrize("name", CELLS)
def test_stateful_layers_go_on(name):
    """Two halves of a sequence are the whole one, in inference and in training; so is a reset beginning."""
    made = CELLS[name]
    layer, network = pair(name, stateful=True)
    x, features, signals = given(made, T=6)
    halves = x[:, :2], x[:, 2:]
    whole = network(features, signals=signals or None)[0]
    for run in (layer, lambda part: layer.forward(part)[0]):
        layer.reset_states()
        np.testing.assert_array_equal(np.concatenate([run(part) for part in halves], axis=1), whole)
    assert (layer(halves[0]) != whole[:, :2]).any() or not made.recurrent_gates
    model = Sequential([layers.Input(batch_shape=(3, None, x.shape[-1])), layer.unbuilt(name="first")])
    model.layers[0].set_weights(layer.get_weights())
    parts = [model.predict(part, batch_size=3, verbose=0) for part in halves]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    if network._network.is_noisy:
        return
    # BPTT of the second half is that of nn from the states that the first has left.
    layer.reset_states()
    layer(halves[0])
    y, tape = layer.forward(halves[1])
    cut = lambda own: {key: value[:, own] for key, value in signals.items()} or None  # noqa: E731
    _, states = network(features[:, :2], signals=cut(slice(2)))
    _, _, their_tape = network.forward(features[:, 2:], states, signals=cut(slice(2, None)))
    _, gradients = layer.backward(tape, np.cos(y))
    theirs = network.backward(their_tape, np.cos(y))
    for key, value in layer._network.layout.views(gradients.flat).items():
        np.testing.assert_array_equal(value, theirs.params[key])


NOISY = {
    "zoneout": cells.zoneout(cells.lstm, 0.2, 0.4), "variational": cells.variational(cells.gru, 0.3, per_gate=True),
    "gaussian_noise": cells.gaussian_noise(cells.lstm, 0.3),
    "dropconnect": cells.lstm.with_matrix(cells.dropconnect(0.3)),
}  # fmt: skip


@pytest.mark.parametrize("name", NOISY)
def test_a_seed_gives_the_same_fit_with_noise(name):
    """A model's seed, or `set_random_seed`, for any number of threads; another seed gives another fit."""
    x = np.random.default_rng(0).normal(size=(24, 5, 3))
    y, threads = x.sum(axis=(1, 2))[:, None], nblstm.num_threads()

    def losses(seed=None):
        model = Sequential([layers.RNN(NOISY[name], 9, input_shape=(5, 3)), layers.Dense(1)], seed=seed)
        model.compile("adam", "mse")
        first = model.fit(x, y, epochs=2, batch_size=8, verbose=0).history["loss"]
        return first, model.get_weights()[1].tobytes(), model.predict(x, verbose=0).tobytes()

    found = []
    try:
        for number in (1, 2):
            nblstm.set_num_threads(number)
            found.append(losses(5))
    finally:
        nblstm.set_num_threads(threads)
    assert found[0] == found[1] != losses(6)
    for _ in range(2):
        nblstm.set_random_seed(8)
        found.append(losses())
    assert found[2] == found[3]


@pytest.mark.parametrize(
    "name", ["slstm", "phased_lstm", "mingru", "layer_norm_lstm", "cfc", "rhn", "fastgrnn", "scrn"]
)
def test_compiled_models_of_the_literature(name):
    made, B, T = getattr(cells, name), 2, 6
    signals = dict.fromkeys(made.signals, 3) or None
    rng = np.random.default_rng(0)
    x = rng.uniform(0.1, 0.9, size=(B, T, 3 + bool(signals)))
    first = layers.RNN(made, 8, return_sequences=True, dtype="float64", signals=signals)
    model = Sequential([layers.Input((None, x.shape[-1])), first, layers.Dense(2, "tanh", dtype="float64")], seed=0)
    network = nn.Recurrent(made, 3, 8, batch_first=True, dtype="float64")
    for key, value in first._network.layout.views(first._flat).items():
        network.parameters()[key][...] = value
    for key in network.parameters().keys() - first._network.layout.shapes.keys():
        network.parameters()[key][...] = 0
    given_signals = dict.fromkeys(made.signals, x[..., -1]) or None
    W, b = model.get_weights()[-2:]
    expected = np.tanh(network(x[..., :3], signals=given_signals)[0] @ W + b)
    net = model.compiled(B)
    s = net.zero_state()
    found = np.stack([net.step(np.ascontiguousarray(x[:, t]), s).copy() for t in range(T)], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-12, atol=1e-14)
