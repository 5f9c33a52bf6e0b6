"""Recurrent networks of different cells and sizes one after another."""

import copy
import pickle

import kinds_of_cells
import numpy as np
import pytest
from backends import chosen
from differences import differences
from messages import message_of
from numba import typeof
from numba.core.errors import NumbaTypeError
from tolerances import DIFFERENCES, GRADIENT, OUTPUT, assert_close

import nblstm
from nblstm import cell, cells, nn, optimizers, sigmoid, tanh
from nblstm.files import tensors

RNG = np.random.default_rng(0)
T, B = 5, 3
D = {"dtype": "float64"}
X = RNG.normal(size=(T, B, 3))
MASK = RNG.random((T, B)) < 0.7
GIVEN = [{}, {"lengths": [5, 2, 0]}, {"mask": MASK}, {"resets": ~MASK}, {"resets": ~MASK, "lengths": [3, 5, 1]}]


@cell(gates="a b", states="h n", initial={"n": 1.0})
def averaging(a, b, h, n):
    n = sigmoid(b) * n + 0.25
    return tanh(a) / n + 0.5 * h, n


def made(residual=True, directions=(False, False, False), **options):
    """LSTM 3 to 4, own cell of two layers 4 to 4, GRU 4 to 4, RNN 4 to 2; of two directions each half."""
    sizes = [4 // (1 + both) for both in directions]
    return nn.Stack(
        [
            nn.LSTM(3, sizes[0], bidirectional=directions[0], seed=0, **D, **options),
            nn.Recurrent(averaging, 4, sizes[1], 2, bidirectional=directions[1], seed=1, **D, **options),
            nn.GRU(4, sizes[2], bidirectional=directions[2], learn_initial_state=True, seed=2, **D, **options),
            nn.RNN(4, 2, seed=3, **D, **options),
        ],
        residual=residual,
    )


def by_hand(stack, x, state=None, **given):
    """Layer by layer, with the sums of the residual connections in the place of the option."""
    states = []
    for k, layer in enumerate(stack.layers):
        y, final = layer(x, None if state is None else state[k], **given)
        x = y + x if stack.residual and k and y.shape == x.shape else y
        states.append(final)
    return x, tuple(states)


def leaves(nested):
    return [leaf for part in nested for leaf in leaves(part)] if isinstance(nested, tuple) else [nested]


def random_like(nested):
    if isinstance(nested, tuple):
        return tuple(map(random_like, nested))
    return RNG.uniform(0.1, 1, nested.shape)


@pytest.mark.parametrize("given", GIVEN, ids=["plain", "lengths", "mask", "resets", "both"])
@pytest.mark.parametrize("directions", [(False,) * 3, (True, False, True)], ids=["one", "two"])
@pytest.mark.parametrize("residual", [False, True])
def test_layers_one_after_another(residual, directions, given):
    stack = made(residual, directions)
    state = random_like(stack(X)[1])
    for start in (None, state):
        expected, finals = by_hand(stack, X, start, **given)
        assert expected.shape == (T, B, 2)
        for y, states in (stack(X, start, **given), stack.forward(X, start, **given)[:2]):
            np.testing.assert_array_equal(y, expected)
            for ours, right in zip(leaves(states), leaves(finals), strict=True):
                np.testing.assert_array_equal(ours, right)
    assert [isinstance(own, tuple) for own in finals] == [True, True, False, False]


@pytest.mark.parametrize(
    ("directions", "given"),
    [((False,) * 3, {"checkpoint": 2}), ((True, False, True), GIVEN[4])],
    ids=["checkpoint", "two directions, resets and lengths"],
)
def test_gradients(directions, given):
    """By central differences: parameters, input and initial states, of outputs and final states."""
    stack, x = made(True, directions), X.copy()
    state = random_like(stack(X)[1])
    dy, d_final = RNG.normal(size=(T, B, 2)), random_like(state)
    called = {name: value for name, value in given.items() if name != "checkpoint"}

    def loss():
        y, finals = stack(x, state, **called)
        return (y * dy).sum() + sum((a * b).sum() for a, b in zip(leaves(finals), leaves(d_final), strict=True))

    gradients = stack.backward(stack.forward(x, state, **given)[2], dy.tolist(), d_final)
    assert_close(gradients.x, differences(loss, x), DIFFERENCES["float64"])
    assert list(gradients.params) == list(stack.state_dict())
    for name, parameter in stack.parameters().items():
        assert_close(gradients.params[name], differences(loss, parameter), DIFFERENCES["float64"])
    for ours, own in zip(leaves(gradients.state), leaves(state), strict=True):
        assert_close(ours, differences(loss, own), DIFFERENCES["float64"])


def test_torch_agrees():
    """Four LSTMs as GNMT has them: sums from the second on."""
    torch = pytest.importorskip("torch")
    stack = nn.Stack([nn.LSTM(3, 4, seed=k, **D) if not k else nn.LSTM(4, 4, seed=k, **D) for k in range(4)], True)
    theirs = torch.nn.ModuleList([torch.nn.LSTM(4 if k else 3, 4, dtype=torch.float64) for k in range(4)])
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in stack.state_dict().items()})
    x = out = torch.tensor(X, requires_grad=True)
    for k, layer in enumerate(theirs):
        y, _ = layer(out)
        out = y + out if k else y
    dy = RNG.normal(size=(T, B, 4))
    (out * torch.tensor(dy)).sum().backward()
    y, _, tape = stack.forward(X)
    assert_close(y, out.detach().numpy(), OUTPUT["float64"])
    gradients = stack.backward(tape, dy)
    assert_close(gradients.x, x.grad.numpy(), GRADIENT["float64"])
    for name, parameter in theirs.named_parameters():
        assert_close(gradients.params[name], parameter.grad.numpy(), GRADIENT["float64"])


def test_dropout_is_on_what_a_layer_reads_and_not_on_the_sum():
    stack = made()
    stack.dropout = 0.4
    x, generator, dy = X.copy(), copy.deepcopy(stack._generator), RNG.normal(size=(T, B, 2))

    def forward():
        stack._generator = copy.deepcopy(generator)
        return stack.forward(x)

    y, _, tape = forward()
    out = x
    for k, layer in enumerate(stack.layers):
        read = out if not k else out * tape.factors[k]
        own, _ = layer(read)
        out = own + out if k and own.shape == out.shape else own
        assert not k or set(np.unique(tape.factors[k]).round(9)) <= {0, round(1 / 0.6, 9)}
    assert_close(y, out, OUTPUT["float64"])
    assert tape.factors[0] is None
    gradients = stack.backward(tape, dy)
    assert_close(gradients.x, differences(lambda: (forward()[0] * dy).sum(), x), DIFFERENCES["float64"])
    name = "1.weight_hh_l1"
    right = differences(lambda: (forward()[0] * dy).sum(), stack.parameters()[name])
    assert_close(gradients.params[name], right, DIFFERENCES["float64"])
    np.testing.assert_array_equal(stack(x)[0], made()(x)[0])  # inference drops nothing
    one, other = (nn.Stack([nn.GRU(3, 4, seed=0), nn.GRU(4, 4, seed=1)], dropout=0.5, seed=7) for _ in range(2))
    np.testing.assert_array_equal(one.forward(X)[0], other.forward(X)[0])


def test_layouts_and_one_sequence():
    stack, turned = made(), made(batch_first=True)
    y, states = stack(X)
    found, turned_states = turned(X.swapaxes(0, 1))
    np.testing.assert_array_equal(found.swapaxes(0, 1), y)
    one, one_states = stack(X[:, 1])
    np.testing.assert_array_equal(one, y[:, 1])
    for whole, same, part in zip(leaves(states), leaves(turned_states), leaves(one_states), strict=True):
        np.testing.assert_array_equal(same, whole)
        np.testing.assert_array_equal(part, whole[:, 1])
    assert turned.batch_first
    assert (stack.input_size, stack.output_size, stack.dtype) == (3, 2, "float64")


def test_parameters_are_those_of_the_layers():
    stack = made()
    flat = stack.flat_parameters()
    names = list(stack.parameters())
    assert names[0] == "0.weight_ih_l0"
    assert "1.weight_hh_l1" in names
    assert sum(layer.flat_parameters().size for layer in stack.layers) == flat.size
    before = stack(X)[0]
    stack.layers[2].parameters()["weight_hh_l0"][...] *= 2  # seen by the stack
    assert not np.array_equal(stack(X)[0], before)
    stack.parameters()["2.weight_hh_l0"][...] /= 2  # and the other way round
    np.testing.assert_array_equal(stack(X)[0], before)
    other = made()
    state = {name: RNG.normal(size=value.shape) for name, value in stack.state_dict().items()}
    for each in (stack, other):
        each.load_state_dict(state)
    np.testing.assert_array_equal(stack(X)[0], other(X)[0])
    np.testing.assert_array_equal(stack(X)[0], by_hand(stack, X)[0])


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda stack: pickle.loads(pickle.dumps(stack))])
def test_copies_are_of_their_own(copied):
    stack = made()
    other, y = copied(stack), stack(X)[0]
    np.testing.assert_array_equal(other(X)[0], y)
    other.parameters()["0.weight_ih_l0"][...] = 0
    np.testing.assert_array_equal(stack(X)[0], y)
    np.testing.assert_array_equal(other.layers[0].state_dict()["weight_ih_l0"], 0)
    assert repr(other) == repr(stack)


def test_an_optimizer_trains_it():
    stack = made()
    rule = optimizers.Adam([stack], learning_rate=0.02)
    target, losses = RNG.normal(size=(T, B, 2)) * 0.5, []
    for _ in range(60):
        y, _, tape = stack.forward(X)
        losses.append(((y - target) ** 2).mean())
        rule.step([stack.backward(tape, 2 * (y - target) / y.size)])
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_files(tmp_path, suffix):
    stack = made(stateful=True)
    path = tmp_path / f"stack.{suffix}"
    stack.save(path)
    found = nn.load(path)
    assert repr(found) == repr(stack)
    np.testing.assert_array_equal(found(X)[0], stack(X)[0])
    other = made()
    other.parameters()["3.bias_ih_l0"][...] = 9
    other.load(path)
    np.testing.assert_array_equal(other.flat_parameters(), stack.flat_parameters())
    first = nn.load(path, prefix="0.")
    np.testing.assert_array_equal(first(X)[0], made().layers[0](X)[0])
    assert nn.load(path, batch_first=True).batch_first
    message_of(ValueError, lambda: nn.load(path, cell=cells.gru), "it has a Stack", "leave out cell")


def test_files_that_are_no_stack(tmp_path):
    """Names with numbers in a file that has no description of a Stack."""
    stack = made()
    np.savez(tmp_path / "plain.npz", **stack.state_dict())
    message_of(ValueError, lambda: nn.load(tmp_path / "plain.npz"), "prefix='0.'", "prefix='3.'")
    path = str(tmp_path / "stack.safetensors")
    stack.save(path)
    arrays, metadata = tensors.read(path)
    del arrays["3.bias_hh_l0"]
    tensors.write(path, arrays, metadata)
    message_of(ValueError, lambda: nn.load(path), "cannot be loaded", "bias_hh_l0")
    arrays["4.bias_hh_l0"] = arrays["3.bias_ih_l0"]
    tensors.write(path, arrays, metadata)
    message_of(ValueError, lambda: nn.load(path), "'4.bias_hh_l0'", "4 layers")
    tensors.write(path, stack.state_dict(), {"nblstm": '{"class_name": "GRU", "config": {}}'})
    message_of(ValueError, lambda: nn.load(path), "cannot be loaded")
    for wrong in ('{"layers": [1], "residual": true, "dropout": 0.0}', '{"layers": [], "residual": 1, "dropout": 0.0}'):
        tensors.write(path, stack.state_dict(), {"nblstm": f'{{"class_name": "Stack", "config": {wrong}}}'})
        message_of(ValueError, lambda: nn.load(path), "cannot be loaded")


def test_step_by_step():
    stack = made()
    y, finals = stack(X)
    step = stack.stepper(B)
    for t in range(T):
        if t == 2:
            step = pickle.loads(pickle.dumps(step))
        assert_close(step(X[t]), y[t], OUTPUT["float64"])
    for ours, right in zip(leaves(step.state), leaves(finals), strict=True):
        assert_close(ours, right, OUTPUT["float64"])
    one = stack.stepper()
    for t in range(T):
        assert_close(one(X[t, 1]), y[t, 1], OUTPUT["float64"])
    with_resets, _ = stack(X, resets=~MASK)
    step.reset()
    for t in range(T):
        step.reset(rows=~MASK[t])
        assert_close(step(X[t]), with_resets[t], OUTPUT["float64"])
    before = step.state
    message_of(ValueError, lambda: step.reset((before[0], before[1], before[2], np.zeros((1, B, 9)))), "state 'h'")
    with pytest.raises(ValueError, match="x_t"):
        step(np.zeros((B, 4)))
    for ours, right in zip(leaves(step.state), leaves(before), strict=True):
        np.testing.assert_array_equal(ours, right)
    message_of(ValueError, made(True, (True, False, False)).stepper, "bidirectional")


def test_a_step_is_taken_by_all_layers_or_by_none():
    stack = made()
    step = stack.stepper(B)
    step(X[0])
    before = step.state
    third = step._layers[2]

    def interrupted(x_t, signals):
        raise KeyboardInterrupt

    step._layers[2] = (interrupted, *third[1:])
    with pytest.raises(KeyboardInterrupt):
        step(X[1])
    step._layers[2] = third
    for ours, right in zip(leaves(step.state), leaves(before), strict=True):
        np.testing.assert_array_equal(ours, right)


def test_signals_of_steps():
    cells = kinds_of_cells.CELLS
    stack = nn.Stack([nn.Recurrent(cells["decay"], 6, 6, seed=0), nn.LSTM(6, 6, seed=1)])
    rng = np.random.default_rng(0)
    x, signals = rng.normal(size=(4, 3, 6)), kinds_of_cells.signals_of(cells["decay"], (4, 3), 6, rng)
    y, step = stack(x, signals=(signals, None))[0], stack.stepper(3)
    for t in range(4):
        np.testing.assert_array_equal(step(x[t], ({name: own[t] for name, own in signals.items()}, None)), y[t])
    message_of(ValueError, stack.compiled, "a stack whose cells take signals")


def test_stateful_layers():
    whole, stack = made(), made(stateful=True)
    y = whole(X)[0]
    assert_close(stack(X[:2])[0], y[:2], OUTPUT["float64"])
    bad = (None, None, None, np.zeros((1, B, 9)))
    message_of(ValueError, lambda: stack(X[2:3], bad), "state 'h'")  # no layer has gone on
    assert_close(stack.forward(X[2:])[0], y[2:], OUTPUT["float64"])
    stack.reset_state()
    assert_close(stack(X)[0], y, OUTPUT["float64"])
    message_of(ValueError, whole.reset_state, "stateful=True")


def test_compiled():
    stack = made(residual=False)
    y, _ = stack(X[:, 0])
    net = stack.compiled()
    s = net.zero_state()
    for t in range(T):
        assert_close(net.step(X[t, 0], s), y[t], OUTPUT["float64"])
    message_of(ValueError, made().compiled, "residual=True", "stepper()")
    with pytest.raises(NumbaTypeError, match=r"compiled\(\)"):
        typeof(stack)


def test_what_does_not_fit():
    def lstm(I, H, **options):
        return nn.LSTM(I, H, seed=0, **options)

    message_of(TypeError, lambda: nn.Stack(lstm(3, 4)), "layers is", "give a list of networks")
    message_of(TypeError, lambda: nn.Stack(3), "layers is")
    message_of(ValueError, lambda: nn.Stack([]), "layers is empty")
    message_of(TypeError, lambda: nn.Stack([nn.LSTM]), "layers[0] is the class LSTM")
    message_of(TypeError, lambda: nn.Stack([lstm(3, 4), nn.Linear(4, 2)]), "layers[1] is of type Linear")
    message_of(ValueError, lambda: nn.Stack([lstm(3, 4), lstm(3, 4)]), "layers[1] has input_size 3", "4 features")
    message_of(ValueError, lambda: nn.Stack([lstm(3, 4, bidirectional=True), lstm(4, 4)]), "8 features")
    message_of(ValueError, lambda: nn.Stack([lstm(3, 4), lstm(4, 4, dtype="float64")]), "dtype='float64'", "the same")
    message_of(ValueError, lambda: nn.Stack([lstm(3, 4), lstm(4, 4, batch_first=True)]), "batch_first=True")
    message_of(ValueError, lambda: nn.Stack([lstm(3, 4), lstm(4, 5)], residual=True), "residual is True", "input_size")
    same = lstm(4, 4)
    message_of(ValueError, lambda: nn.Stack([same, same]), "layers[1] is layers[0] once more")
    nn.Stack([same])
    message_of(ValueError, lambda: nn.Stack([same]), "in another stack already", "deepcopy")
    with pytest.warns(UserWarning, match="layers has one network"):
        nn.Stack([lstm(3, 4)], dropout=0.5)
    stack = made()
    message_of(ValueError, lambda: stack(X, (None, None)), "state is", "a tuple of 4")
    message_of(ValueError, lambda: stack.backward(stack.forward(X)[2], None, (None,)), "dstate is", "a tuple of 4")
    message_of(ValueError, lambda: stack.backward(made().forward(X)[2], None), "tape is not from this stack's")
    message_of(ValueError, lambda: stack.backward(stack.forward(X)[2], np.zeros((T, B, 3))), "dy has shape")
    with pytest.raises(TypeError, match="cannot be copied"):
        pickle.dumps(stack.forward(X)[2])


def test_warmup_compiles_all_layers(monkeypatch):
    stack, warmed = made(), []
    monkeypatch.setattr(nn.Recurrent, "warmup", lambda layer: warmed.append(layer))
    nblstm.warmup(stack)
    assert warmed == list(stack.layers)


def test_on_a_gpu():
    """Simulated, against the CPU, with the same draws of dropout."""

    def small():
        layers = [nn.LSTM(3, 4, seed=0), nn.GRU(4, 4, seed=1), nn.GRU(4, 4, seed=2)]
        return nn.Stack(layers, residual=True, dropout=0.4, seed=3)

    host, dy = small(), RNG.normal(size=(T, B, 4)).astype("f4")
    with chosen("simulated steps"):
        stack = small()
        *expected, host_tape = host.forward(X)
        *found, tape = stack.forward(X)
        for ours, right in zip(leaves(tuple(found)), leaves(tuple(expected)), strict=True):
            assert_close(ours, right, OUTPUT["float32"])
        gradients, right = stack.backward(tape, dy), host.backward(host_tape, dy)
        assert_close(gradients.flat, right.flat, GRADIENT["float32"])
        assert_close(gradients.x, right.x, GRADIENT["float32"])
        step, other = stack.stepper(B), host.stepper(B)
        for x in X:
            assert_close(step(x), other(x), OUTPUT["float32"])


@cell(gates="a b", states="h c", signals="dt")
def decaying(a, b, h, c, dt):
    c = sigmoid(b - dt) * c + tanh(a) * dt
    return tanh(c), c


def test_signals_by_layer_and_projections():
    layers = [nn.LSTM(3, 6, proj_size=4, seed=0, **D), nn.Recurrent(decaying, 4, 4, seed=1, **D)]
    stack, dt, dy = nn.Stack(layers, residual=True), RNG.random((T, B)), RNG.normal(size=(T, B, 4))

    def loss():
        return (stack(X, signals=(None, {"dt": dt}))[0] * dy).sum()

    gradients = stack.backward(stack.forward(X, signals=(None, {"dt": dt}))[2], dy)
    assert list(gradients.signals) == ["1.dt"]
    assert_close(gradients.signals["1.dt"], differences(loss, dt), DIFFERENCES["float64"])
    for name, parameter in stack.parameters().items():
        assert_close(gradients.params[name], differences(loss, parameter), DIFFERENCES["float64"])
    message_of(ValueError, lambda: stack(X, signals={"dt": dt}), "signals is", "a tuple of 2")
