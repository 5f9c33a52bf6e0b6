"""Pictures of networks: gates and states against the network's own outputs and the papers' equations; what is drawn."""

import copy

import numpy as np
import pytest
import reference
from messages import message_of
from networks import CELLS, Case, network, problem
from processes import run_python
from tolerances import OUTPUT, assert_close

import nblstm
from nblstm import cells, layers, nn
from nblstm.models import Sequential

matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib, the extra 'plots'")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

from nblstm import plots  # noqa: E402
from nblstm.plots.networks import as_network  # noqa: E402
from nblstm.plots.trajectory import trajectory  # noqa: E402

T, B, I, H = 7, 3, 4, 5
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(T, B, I))
LENGTHS = (5, 7, 0)


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# --- gates and states as numbers ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CELLS)
def test_states_are_the_networks_own(name, dtype):
    """Outputs of both directions of the last of two layers, and the final states of both layers; the oracle's too."""
    cell, oracle = CELLS[name]
    case = Case(T, B, I, H, num_layers=2, bidirectional=True, lengths=LENGTHS)
    given, net = problem(oracle, case), network(cell, oracle, case, dtype)
    y, finals = net(given.x, given.states, LENGTHS)
    expected, _ = reference.forward(oracle, given.params, given.x, given.states, **case.options)
    finals = finals if isinstance(finals, tuple) else (finals,)
    there = np.arange(T)[:, None] < np.array(LENGTHS)
    for layer in range(2):
        for direction in range(2):
            found = trajectory(net, given.x, given.states, LENGTHS, None, None, layer, direction)
            assert list(found.gates) == list(cell.gates)
            assert list(found.states) == list(cell.states)
            for values in (*found.gates.values(), *found.states.values()):
                assert values.shape == (T, B, H)
                np.testing.assert_array_equal(np.isnan(values), np.broadcast_to(~there[..., None], values.shape))
            for values, final in zip(found.states.values(), finals, strict=True):
                for b, length in enumerate(LENGTHS[:2]):
                    last = 0 if direction else length - 1
                    assert_close(final[2 * layer + direction, b], values[last, b], OUTPUT[dtype])
            if layer:
                columns = slice(direction * H, (direction + 1) * H)
                output = np.nan_to_num(found.states[cell.output])
                assert_close(y[..., columns], output, OUTPUT[dtype])
                assert_close(output, expected[..., columns], OUTPUT[dtype])


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_mask_with_gaps_and_one_sequence(batch_first):
    net = nn.LSTM(I, H, 2, batch_first=batch_first, seed=0, dtype="float64")
    mask = np.random.default_rng(1).random((T, B)) < 0.6
    x, shown = (X.swapaxes(0, 1), mask.T) if batch_first else (X, mask)
    y, _ = net(x, mask=shown)
    found = trajectory(net, x, mask=shown, layer=1).states["h"]
    np.testing.assert_array_equal(np.isnan(found).all(axis=-1), ~mask)
    assert_close(y.swapaxes(0, 1) if batch_first else y, np.nan_to_num(found), OUTPUT["float64"])
    one = trajectory(net, X[:, 0], layer=1).states["c"]
    assert one.shape == (T, 1, H)
    assert_close(net(X[:, 0])[1][1][1], one[-1, 0], OUTPUT["float64"])


def test_learned_initial_states_and_those_of_the_cell():
    @nblstm.cell(gates="f g", states="h n", output="h", initial={"n": 1.0})
    def normalized(f, g, h, n):
        n = n * nblstm.sigmoid(f) + 1
        return nblstm.tanh(g) / n, n

    for learned in (False, True):
        net = nn.Recurrent(normalized, I, H, reverse=True, learn_initial_state=learned, seed=0, dtype="float64")
        if learned:
            net.load_state_dict({name: value + 0.1 for name, value in net.state_dict().items()})
        found = trajectory(net, X)
        assert_close(net(X)[0], found.states["h"], OUTPUT["float64"])


def test_gates_are_the_papers():
    net = nn.LSTM(I, H, seed=0, dtype="float64")
    p, found = net.state_dict(), trajectory(net, X)
    h = np.concatenate([np.zeros((1, B, H)), found.states["h"][:-1]])
    c = np.concatenate([np.zeros((1, B, H)), found.states["c"][:-1]])
    z = X @ p["weight_ih_l0"].T + p["bias_ih_l0"] + h @ p["weight_hh_l0"].T + p["bias_hh_l0"]
    i, f, g, o = np.split(z, 4, axis=-1)
    for name, expected in {"i": sigmoid(i), "f": sigmoid(f), "g": np.tanh(g), "o": sigmoid(o)}.items():
        assert_close(found.gates[name], expected, OUTPUT["float64"])
    assert_close(found.states["c"], found.gates["f"] * c + found.gates["i"] * found.gates["g"], OUTPUT["float64"])


@pytest.mark.parametrize("cell", [cells.gru, cells.gru_reset_before], ids=lambda cell: cell.name)
def test_gates_of_split_and_called_candidates(cell):
    """h = (1 - z) n + z h, whichever way n is computed."""
    net = nn.Recurrent(cell, I, H, seed=0, dtype="float64")
    found = trajectory(net, X)
    h = np.concatenate([np.zeros((1, B, H)), found.states["h"][:-1]])
    z, n = found.gates["z"], found.gates["n"]
    assert_close(found.states["h"], (1 - z) * n + z * h, OUTPUT["float64"])
    p = {name: np.split(value, 3) for name, value in net.state_dict().items()}
    a, b = (X @ W.T + k for W, k in zip(p["weight_ih_l0"][::2], p["bias_ih_l0"][::2], strict=True))
    r = sigmoid(a + h @ p["weight_hh_l0"][0].T + p["bias_hh_l0"][0])
    assert_close(found.gates["r"], r, OUTPUT["float64"])
    R, k = p["weight_hh_l0"][2], p["bias_hh_l0"][2]
    inner = r * (h @ R.T + k) if cell is cells.gru else (r * h) @ R.T + k
    assert_close(n, np.tanh(b + inner), OUTPUT["float64"])


def test_a_gate_of_an_rnn_is_its_preactivation():
    net = nn.RNN(I, H, seed=0, dtype="float64")
    found = trajectory(net, X)
    assert_close(found.states["h"], np.tanh(found.gates["a"]), OUTPUT["float64"])


def test_a_gate_without_one_activation():
    """A gate that is used in two ways, and a split one in none, are shown as their pre-activations."""

    @nblstm.cell(gates="f n", states="h", split="n")
    def twice(f, n_x, n_h, h):
        return nblstm.sigmoid(f) * h + nblstm.tanh(f) * n_x + n_h

    net = nn.Recurrent(twice, I, H, seed=0, dtype="float64")
    found = trajectory(net, X)
    assert {name: value.op for name, value in found.values.items()} == {"f": "input", "n": "add"}
    h = np.concatenate([np.zeros((1, B, H)), found.states["h"][:-1]])
    f, p = found.gates["f"], net.state_dict()
    from_input = X @ p["weight_ih_l0"][H:].T + p["bias_ih_l0"][H:]
    expected = sigmoid(f) * h + np.tanh(f) * from_input + found.gates["n"] - from_input
    assert_close(found.states["h"], expected, OUTPUT["float64"])


@pytest.mark.parametrize("limit", [1.0, 0.1])
def test_a_limit_before_an_activation_is_none(limit):
    @nblstm.cell(gates="f g", states="h")
    def limited(f, g, h):
        return nblstm.sigmoid(nblstm.clip(f, -limit, limit)) * h + nblstm.relu(g)

    found = trajectory(nn.Recurrent(limited, I, H, seed=0), X)
    assert {name: value.op for name, value in found.values.items()} == {"f": "sigmoid", "g": "maximum"}


# --- layers with Keras's names --------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        layers.LSTM(H, return_sequences=True, dropout=0.5, unit_forget_bias=True),
        layers.GRU(H, return_sequences=True, go_backwards=True),
        layers.GRU(H, return_sequences=True, reset_after=False),
        layers.SimpleRNN(H, return_sequences=True, use_bias=False),
        layers.RNN(cells.lstm_peephole, H, return_sequences=True, learn_initial_state=True),
        layers.Bidirectional(layers.GRU(H, return_sequences=True, recurrent_dropout=0.5)),
    ],
    ids=["lstm", "gru", "reset_before", "rnn", "peephole", "bidirectional"],
)
def test_layers(layer):
    x = X.swapaxes(0, 1).astype(np.float32)
    layer.build(x.shape, np.random.default_rng(2))
    layer.set_weights([np.random.default_rng(k).normal(0, 0.4, p.shape) for k, p in enumerate(layer.get_weights())])
    y = layer(x)
    y = y[:, ::-1] if getattr(layer, "go_backwards", False) else y
    assert_close(as_network(layer)(x)[0], y, OUTPUT["float32"])
    directions = 2 if isinstance(layer, layers.Bidirectional) else 1
    found = [trajectory(as_network(layer), x, direction=d).states["h"] for d in range(directions)]
    assert_close(y, np.concatenate(found, axis=-1).swapaxes(0, 1), OUTPUT["float32"])
    assert plots.gates(layer, x).axes


def test_a_layer_of_a_model():
    """Behind an Embedding that masks, and a layer that carries its states on, which stay as they are."""
    model = Sequential(
        [
            layers.Embedding(9, I, mask_zero=True),
            layers.LSTM(H, return_sequences=True, stateful=True, name="first"),
            layers.GRU(H, name="second"),
            layers.Dense(1),
        ],
        seed=0,
    )
    words = np.array([[1, 2, 0, 4, 0], [3, 0, 8, 0, 0]])
    model.build(words.shape)
    figure = plots.gates(model, words, layer="second", sequence=1)
    shown = figure.axes[3].images[0].get_array()
    np.testing.assert_array_equal(np.isnan(shown).all(axis=0), words[1] == 0)
    assert model.get_layer("first").states is None
    expected = Sequential(model.layers[:3]).predict(words)
    assert_close(expected[1], shown[:, 2], OUTPUT["float32"])
    again = plots.gates(model, words, layer=1, sequence=1)
    np.testing.assert_array_equal(again.axes[3].images[0].get_array(), shown)


# --- pictures of gates ----------------------------------------------------------------------------


def check_image(image, expected):
    """Compare what is drawn with numbers, of which those that are NaN are blank."""
    shown = np.ma.filled(image.get_array(), np.nan)
    np.testing.assert_array_equal(np.isnan(shown), np.isnan(expected))
    assert_close(np.nan_to_num(shown), np.nan_to_num(expected), OUTPUT["float64"])


def test_a_panel_for_each_gate_and_state():
    net = nn.LSTM(I, H, seed=0)
    figure = plots.gates(net, X, lengths=LENGTHS, sequence=0)
    assert isinstance(figure, matplotlib.figure.Figure)
    panels = [axes for axes in figure.axes if axes.images]
    titles = [axes.get_title(loc="left") for axes in panels]
    assert titles == ["sigmoid(i)", "sigmoid(f)", "tanh(g)", "sigmoid(o)", "h", "c"]
    found = trajectory(net, X, lengths=LENGTHS)
    for name, axes in zip([*net.cell.gates, *net.cell.states], panels, strict=True):
        [image] = axes.images
        check_image(image, ({**found.gates, **found.states})[name][:, 0].T)
        low, high = image.get_clim()
        assert (low, high) == {"i": (0, 1), "f": (0, 1), "o": (0, 1), "g": (-1, 1)}.get(name, (-high, high))
    assert panels[0].images[0].get_array().mask[:, 5:].all()
    assert panels[-1].get_xlabel() == "step"
    figure.canvas.draw()


def test_what_is_drawn_where():
    net = nn.GRU(I, H, 2, bidirectional=True, seed=0)
    figure = matplotlib.figure.Figure(layout="constrained")
    left, right = figure.subfigures(1, 2)
    assert plots.gates(net, X, layer=-1, direction=1, names="h z", sequence=-1, fig=left) is left
    assert plots.gates(net, X, names="n", fig=right) is right
    assert [axes.get_title(loc="left") for axes in left.axes if axes.images] == ["h", "sigmoid(z)"]
    expected = trajectory(net, X, layer=1, direction=1).states["h"][:, -1].T
    check_image(left.axes[0].images[0], expected)
    assert right.axes[0].get_title(loc="left") == "tanh(n_x + sigmoid(r) * n_h)"
    assert not pyplot.get_fignums()


def test_titles_are_short():
    figure = plots.gates(nn.Recurrent(cells.lstm_with("softplus", "hard_sigmoid"), I, H, seed=0), X)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:4] == [
        "clip(i / 6 + 0.5, 0, 1)",
        "clip(f / 6 + 0.5, 0, 1)",
        "activation of g",
        "clip(o / 6 + 0.5, 0, 1)",
    ]
    assert [axes.images[0].get_clim() for axes in figure.axes[:2]] == [(0, 1), (0, 1)]
    peephole = plots.gates(nn.Recurrent(cells.lstm_peephole, I, H, seed=0), X, names="o")
    assert peephole.axes[0].get_title(loc="left") == "sigmoid(o + p_o * new_c)"


def test_the_network_stays_as_it_is():
    net = nn.LSTM(I, H, 2, dropout=0.5, stateful=True, seed=0)
    other = copy.deepcopy(net)
    for one in (net, other):
        one(X)
    plots.gates(net, X)
    a, b = (one.forward(X)[0] for one in (net, other))
    np.testing.assert_array_equal(a, b)


def test_messages():
    net = nn.LSTM(I, H, seed=0)
    model = Sequential([layers.Input((I,)), layers.Dense(2)])
    different = layers.Bidirectional(layers.LSTM(H), backward_layer=layers.LSTM(H + 1, go_backwards=True))
    different.build((None, T, I))
    message_of(TypeError, lambda: plots.gates(3, X), "network is 3; give a network of nblstm.nn")
    message_of(ValueError, lambda: plots.gates(layers.LSTM(3, name="l"), X), "layer 'l' is not built; call build(")
    message_of(ValueError, lambda: plots.gates(different, X), "give one of them, its forward_layer or backward_layer")
    message_of(ValueError, lambda: plots.gates(model, X[0]), "has no recurrent layer")
    message_of(ValueError, lambda: plots.gates(net, X, names=["x"]), "names has 'x'", "give one of i, f, g, o, h, c")
    message_of(ValueError, lambda: plots.gates(net, X, names=[]), "names is empty; give some of i, f, g, o, h, c")
    message_of(ValueError, lambda: plots.gates(net, X, layer=1), "layer is 1; there is 1, so give 0")
    message_of(TypeError, lambda: plots.gates(net, X, layer="lstm"), "layer is 'lstm'; give a whole number")
    message_of(ValueError, lambda: plots.gates(net, X, sequence=3), "sequence is 3; there are 3, so give 0 to 2")
    message_of(ValueError, lambda: plots.gates(net, X[..., 1:]), "x has 3 features")
    message_of(ValueError, lambda: plots.gates(net, X[:0]), "x has 0 steps of 3 sequences; give one of each at least")
    message_of(ValueError, lambda: plots.gates(net, X, lengths=[9, 1, 1]), "lengths contains 9")
    recurrent = Sequential([layers.LSTM(H, input_shape=(T, I), name="lstm")])
    message_of(ValueError, lambda: plots.gates(recurrent, X, layer="lst"), "layer is 'lst' (did you mean")
    message_of(ValueError, lambda: plots.gates(recurrent, X, lengths=[1]), "a model takes no state, lengths or signals")
    message_of(TypeError, lambda: plots.gates(net, X, fig=3), "fig is 3 of type int; give a Figure or SubFigure of mat")
    message_of(TypeError, lambda: plots.gates(net, X, names=3), "names is 3 of type int; give some of i, f, g, o, h, c")
    assert not pyplot.get_fignums()


# --- gradients ------------------------------------------------------------------------------------


class Steps:
    """In place of `backward`, for what is drawn of any norms: random ones, and a note of how it was called."""

    def __init__(self, net):
        self.net, self.shape = net, (net.num_layers * (1 + net.bidirectional), T, B)
        self.steps = tuple(RANDOM.uniform(0.1, 1, self.shape) for _ in net.cell.states)
        net.backward = self

    def __call__(self, tape, dy, dstate, *, steps):
        assert tape.network is self.net._network
        assert steps
        self.dy, self.dstate = dy, dstate
        return self


def test_lines_by_state_layer_and_direction():
    net = nn.LSTM(I, H, 2, bidirectional=True, seed=0)
    given, dy = Steps(net), np.ones((T, B, 2 * H))
    axes = plots.gradient_flow(net, X, dy, label="mine")
    assert given.dy is dy
    assert axes.get_yscale() == "log"
    labels = [line.get_label() for line in axes.lines]
    assert labels[:3] == [
        "mine: dL/dh, layer 0, forward",
        "mine: dL/dc, layer 0, forward",
        "mine: dL/dh, layer 0, reverse",
    ]
    assert len(labels) == 8
    for k, line in enumerate(axes.lines):
        np.testing.assert_allclose(line.get_ydata(), np.sqrt((given.steps[k % 2][k // 2] ** 2).sum(axis=-1)))
        assert line.get_linestyle() == "-"[: k % 2 == 0] + "--" * (k % 2)
        assert line.get_color() == axes.lines[k - k % 2].get_color()
    assert len({line.get_color() for line in axes.lines}) == 4
    given.steps[1][:, 2:4] = 0
    again = plots.gradient_flow(net, X, dy, names="c", sequence=1, ax=axes)
    assert again is axes
    line = axes.lines[8]
    np.testing.assert_array_equal(np.isnan(line.get_ydata()), [t in (2, 3) for t in range(T)])
    np.testing.assert_array_equal(line.get_ydata()[4:], given.steps[1][0, 4:, 1])
    axes.figure.canvas.draw()


def test_small_norms_are_not_zero():
    net = nn.RNN(I, H, seed=0)
    given = Steps(net)
    given.steps[0][...] = 3e-300
    [line] = plots.gradient_flow(net, X, np.ones((T, B, H))).lines
    np.testing.assert_allclose(line.get_ydata(), 3e-300 * np.sqrt(B))


def test_zeros_alone_can_be_drawn():
    net = nn.RNN(I, H, seed=0)
    given = Steps(net)
    given.steps[0][...] = 0
    axes = plots.gradient_flow(net, X, None, dstate=np.ones((1, B, H)))
    assert [line.get_label() for line in axes.lines] == ["dL/dh"]
    axes.figure.canvas.draw()
    message_of(ValueError, lambda: plots.gradient_flow(net, X, None, names=["c"]), "names has 'c'", "give one of h")
    message_of(ValueError, lambda: plots.gradient_flow(net, X, None, sequence=B), "sequence is 3; there are 3")
    pyplot.close("all")
    message_of(TypeError, lambda: plots.gradient_flow(net, X, None, ax=3), "ax is 3 of type int; give an Axes of matp")
    message_of(TypeError, lambda: plots.gradient_flow(net, X, None, ax=np.ones(2)), "ax is ndarray; give an Axes of")
    message_of(TypeError, lambda: plots.gradient_flow(net, X, None, names=3), "names is 3 of type int; give some of h")
    message_of(ValueError, lambda: plots.gradient_flow(net, X, None, names=[]), "names is empty; give some of h")
    for empty, came in ((X[:0], "0 steps of 3"), (X[:, :0], "7 steps of 0")):
        for drawn in (lambda: plots.gradient_flow(net, empty, None), lambda: plots.gates(net, empty)):  # noqa: B023
            message_of(ValueError, drawn, f"x has {came} sequences; give one of each at least")
    assert not pyplot.get_fignums()


def test_lines_of_a_model():
    model = Sequential([
        layers.Dense(I, input_shape=(T, I)), layers.LSTM(H, return_sequences=True, name="low"), layers.Masking(),
        layers.Bidirectional(layers.GRU(H, return_sequences=True), name="high"), layers.Dense(1),
    ], seed=0)  # fmt: skip
    x = RANDOM.normal(size=(B, T, I)).astype("f4")
    below = model.layers[0](x)
    dy, first = np.cos(np.ones((B, T, H))), model.layers[1](below)
    axes = plots.gradient_flow(model, x, dy)
    wanted = plots.gradient_flow(model.layers[1], below, dy)
    for one, other in zip(axes.lines, wanted.lines, strict=True):
        np.testing.assert_array_equal(one.get_ydata(), other.get_ydata())
    dy = np.concatenate([dy, dy], axis=2)
    wanted = plots.gradient_flow(model.layers[3], first, dy)
    for layer in ("high", 1):
        axes = plots.gradient_flow(model, x, dy, layer=layer)
        assert [line.get_label() for line in axes.lines] == ["dL/dh, forward", "dL/dh, reverse"]
        for one, other in zip(axes.lines, wanted.lines, strict=True):
            np.testing.assert_array_equal(one.get_ydata(), other.get_ydata())
    net = nn.LSTM(I, H, 2, seed=0)
    axes = plots.gradient_flow(net, X, np.ones((T, B, H)), layer=1)
    assert [line.get_label() for line in axes.lines] == ["dL/dh, layer 1", "dL/dc, layer 1"]
    message_of(ValueError, lambda: plots.gradient_flow(net, X, None, layer=2), "layer is 2; there are 2, so give 0")
    message_of(
        ValueError, lambda: plots.gradient_flow(model, x, dy, lengths=[1]), "a model takes no state, lengths or signals"
    )


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "rnn_tanh"])
def test_norms_against_central_differences(name):
    """dL/dstate_t of one layer: that of the states with which the oracle goes on from step t, and dy of that step."""
    cell, oracle = CELLS[name]
    case = Case(T, 1, I, H, states=False)
    given, net = problem(oracle, case), network(cell, oracle, case, "float64")
    axes = plots.gradient_flow(net, given.x, given.dy, dstate=given.dstates)
    found = trajectory(net, given.x)
    for k, state in enumerate(cell.states):
        for t in range(T):
            d_state = np.array(given.dstates[k])
            if t + 1 < T:
                at = tuple(values[t][None] for values in found.states.values())
                rest = given.x[t + 1 :], given.dy[t + 1 :], given.dstates, at
                d_state = np.array(reference.loss_gradients(oracle, given.params, *rest)["state"][k])
            d_state = d_state[0] + (given.dy[t] if state == cell.output else 0)
            np.testing.assert_allclose(axes.lines[k].get_ydata()[t], np.linalg.norm(d_state), rtol=1e-6)


# --- the whole language of cells ------------------------------------------------------------------


@nblstm.cell(gates="a n m g p", states="h c", output="c", split="n", called="m n", input_only="g", recurrent_only="p",
             vectors="gain", scalars="alpha", signals="dt keep")  # fmt: skip
def everything(a, n_x, n_h, m, g, p, h, c, x, dt, keep, gain, alpha):
    z = nblstm.softmax(a) + x
    first = nblstm.tanh(m(z * h))
    second = nblstm.tanh(n_x + nblstm.sigmoid(g) * n_h(first + nblstm.mean(c)))
    c = nblstm.exp(-alpha * alpha * dt) * c + keep * nblstm.layer_norm(second + p, gain)
    return nblstm.sigmoid(p) * nblstm.tanh(c), c * nblstm.noise.bernoulli(0.9) + nblstm.stop_gradient(h)


@nblstm.cell(gates="i f g", states="h", matrix=cells.heads(2))
def normalized(i, f, g, h):
    return nblstm.sigmoid(nblstm.layer_norm(f)) * h + nblstm.sigmoid(i - nblstm.mean(i)) * nblstm.tanh(g)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cell", [everything, normalized], ids=lambda cell: cell.name)
def test_stages_signals_noise_and_functions_of_units(cell, batch_first):
    both = not cell.takes_x  # of two directions, I is not H in the second layer
    net = nn.Recurrent(cell, 4, 4, 2, bidirectional=both, batch_first=batch_first, seed=0, dtype="float64")
    random = np.random.default_rng(1)
    given = {"dt": random.random((T, B)), "keep": random.random((T, B, 4))} if cell.signals else None
    x, lengths = random.normal(size=(T, B, 4)), [5, 7, 1]
    if batch_first:
        x = x.swapaxes(0, 1)
        given = given and {name: own.swapaxes(0, 1) for name, own in given.items()}
    y, _ = net(x, lengths=lengths, signals=given)
    y = y.swapaxes(0, 1) if batch_first else y
    for direction in range(1 + net.bidirectional):
        found = trajectory(net, x, None, lengths, None, given, net.num_layers - 1, direction)
        shown = np.nan_to_num(found.states[cell.output])
        assert_close(y[..., direction * 4 : direction * 4 + 4], shown, OUTPUT["float64"])
    figure = plots.gates(net, x, lengths=lengths, signals=given)
    titles = [axes.get_title(loc="left") for axes in figure.axes[: len(cell.gates)]]
    assert (
        titles
        == {
            "everything": ["activation of a", "tanh(n_x + sigmoid(g) * n_h)", "tanh(m)", "sigmoid(g)", "p"],
            "normalized": ["sigmoid(i - mean(i))", "activation of f", "tanh(g)"],
        }[cell.name]
    )
    if cell is everything:
        np.testing.assert_allclose(trajectory(net, x, None, lengths, None, given).gates["a"][0].sum(axis=-1), 1)


def test_without_matplotlib():
    code = """
import sys
sys.modules["matplotlib"] = None
try:
    from nblstm import plots
except ImportError as error:
    print(error)
"""
    said = "nblstm.plots needs matplotlib, which cannot be imported; pip install -e '.[plots]' in nblstm's folder\n"
    assert run_python(code) == said
