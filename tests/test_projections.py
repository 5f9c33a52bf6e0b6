"""``proj_size``: torch's LSTM with projections, and any other cell."""

import copy
import pickle

import numpy as np
import pytest
from differences import differences
from tolerances import DIFFERENCES, DTYPES, GRADIENT, OUTPUT, assert_close

import nblstm
from nblstm import CellError, cell, cells, nn, noise

T, B, I, H, P = 5, 3, 4, 7, 3


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstmp(x, w, h, c):
    """Equations of Sak et al. 2014 as torch has them: h is the projection of o * tanh(c)."""
    ys = []
    for x_t in x:
        z = x_t @ w["weight_ih_l0"].T + w["bias_ih_l0"] + h @ w["weight_hh_l0"].T + w["bias_hh_l0"]
        i, f, g, o = np.split(z, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = (sigmoid(o) * np.tanh(c)) @ w["weight_hr_l0"].T
        ys.append(h)
    return np.array(ys), h, c


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_lstm_with_projections(dtype):
    net = nn.LSTM(I, H, proj_size=P, dtype=dtype, seed=0)
    assert list(net.parameters()) == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_hr_l0"]
    assert net.parameters()["weight_hh_l0"].shape == (4 * H, P)
    assert repr(net).startswith("LSTM(4, 7, proj_size=3")
    rng = np.random.default_rng(0)
    x, h, c = (rng.normal(size=s).astype("f4") for s in ((T, B, I), (1, B, P), (1, B, H)))
    w = {name: value.astype("f8") for name, value in net.parameters().items()}
    y, h_n, c_n = lstmp(x.astype("f8"), w, h[0].astype("f8"), c[0].astype("f8"))
    for _ in range(5):
        own, (own_h, own_c) = net(x, (h, c))
        assert own.shape == (T, B, P)
        for one, other in ((own, y), (own_h[0], h_n), (own_c[0], c_n)):
            assert_close(one, other, OUTPUT[dtype])
    step = net.stepper(B)
    step.state = (h, c)
    assert_close(np.array([step(x_t).copy() for x_t in x]), y, OUTPUT[dtype])
    assert [state.shape for state in step.state] == [(1, B, P), (1, B, H)]


@pytest.mark.parametrize(("layers", "both"), [(1, False), (2, True), (3, False)])
def test_torch(layers, both):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.LSTM(I, H, layers, bidirectional=both, proj_size=P).double()
    net = nn.LSTM(I, H, layers, bidirectional=both, proj_size=P, dtype="float64")
    net.load_state_dict({name: value.detach().numpy() for name, value in theirs.state_dict().items()})
    D = layers * (1 + both)
    given = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((T, B, I), (D, B, P), (D, B, H))]
    y, final = theirs(given[0], tuple(given[1:]))
    weights = [torch.randn_like(value) for value in (y, *final)]
    sum((value * weight).sum() for value, weight in zip((y, *final), weights, strict=True)).backward()
    x, *state = (value.detach().numpy() for value in given)
    own, own_final, tape = net.forward(x, tuple(state))
    gradients = net.backward(tape, weights[0].numpy(), tuple(weight.numpy() for weight in weights[1:]))
    for one, other in zip((own, *own_final), (y, *final), strict=True):
        assert_close(one, other.detach().numpy(), OUTPUT["float64"])
    for one, other in zip((gradients.x, *gradients.state), given, strict=True):
        assert_close(one, other.grad.numpy(), GRADIENT["float64"])
    for name, parameter in theirs.named_parameters():
        assert_close(gradients.params[name], parameter.grad.numpy(), GRADIENT["float64"])


@pytest.mark.parametrize("made", [cells.gru, cells.rnn_tanh, cells.lstm_peephole])
def test_any_cell(made):
    """Where the equations use h itself, as a GRU's do, it stays a state of H features beside its projection."""
    net = nn.Recurrent(
        made, I, H, 2, bidirectional=True, proj_size=P, learn_initial_state=True, dtype="float64", seed=0
    )
    x = np.random.default_rng(0).normal(size=(T, B, I))
    y, states, tape = net.forward(x, lengths=[5, 2, 4])
    assert y.shape == (T, B, 2 * P)
    assert states[0].shape == (4, B, P)
    assert [state.shape[2] for state in states[1:]] == [H] * (len(states) - 1)
    assert len(states) == len(made.states) + (made is cells.gru)
    dy, dstate = np.cos(y), tuple(np.sin(state) for state in states)
    gradients = net.backward(tape, dy, dstate)

    def loss():
        y, states = net(x, lengths=[5, 2, 4])
        return (y * dy).sum() + sum((a * b).sum() for a, b in zip(states, dstate, strict=True))

    for name in ("weight_hr_l0", "weight_hh_l1_reverse", "weight_ih_l1", f"initial_{net._network.cell.states[0]}_l0"):
        assert_close(gradients.params[name], differences(loss, net.parameters()[name]), DIFFERENCES["float64"])


def test_operands_of_called_gates_are_projected():
    """``R W_hr v`` for ``n(v)``: a GRU with its reset before, as a loop of torch's operators, two layers."""
    torch = pytest.importorskip("torch")
    net = nn.Recurrent(cells.gru_reset_before, I, H, 2, proj_size=P, dtype="float64", seed=0)
    rng = np.random.default_rng(0)
    x, state = rng.normal(size=(T, B, I)), tuple(rng.normal(size=(2, B, size)) for size in (P, H))
    w = {name: torch.tensor(value, requires_grad=True) for name, value in net.state_dict().items()}
    inputs, start = torch.tensor(x, requires_grad=True), [torch.tensor(own, requires_grad=True) for own in state]
    seen, finals = inputs, []
    for k in range(2):
        W, b, R, b_h = (w[f"{name}_l{k}"] for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh"))
        W_hr, p, h, ys = w[f"weight_hr_l{k}"], start[0][k], start[1][k], []
        R_r, R_z, R_n = R.chunk(3)
        for x_t in seen:
            r, z, n = (x_t @ W.T + b + b_h).chunk(3, 1)
            r, z = (r + p @ R_r.T).sigmoid(), (z + p @ R_z.T).sigmoid()
            n = (n + (r * h) @ W_hr.T @ R_n.T).tanh()
            h = (1 - z) * n + z * h
            p = h @ W_hr.T
            ys.append(p)
        seen = torch.stack(ys)
        finals.append((p, h))
    y, own_finals, tape = net.forward(x, state)
    assert_close(y, seen.detach().numpy(), OUTPUT["float64"])
    for k, own in enumerate(own_finals):
        assert_close(own, torch.stack([final[k] for final in finals]).detach().numpy(), OUTPUT["float64"])
    values = [*w.values(), inputs, *start]
    first = torch.autograd.grad((seen**3).sum(), values, create_graph=True)
    vectors = [torch.tensor(rng.normal(size=each.shape)) for each in first]
    second = torch.autograd.grad(sum((a * v).sum() for a, v in zip(first, vectors, strict=True)), values)
    moved = [own.numpy() for own in vectors]
    direction = nn.Direction(dict(zip(w, moved, strict=False)), moved[-3], tuple(moved[-2:]))
    both = net.hvp(x, direction, lambda y, d_y: (3 * y**2, 6 * y * d_y), state)
    for found, right in zip((net.backward(tape, 3 * y**2), *both), (first, first, second), strict=True):
        for own, other in zip([*found.params.values(), found.x, *found.state], right, strict=True):
            assert_close(own, other.detach().numpy(), GRADIENT["float64"])


def test_a_gate_that_is_called_with_the_first_state_has_the_projection():
    """Beside equations that use the state itself, it had the first P of its H features."""

    @cell(gates="z n", states="h", called="n")
    def calling(z, n, h):
        return nblstm.sigmoid(z) * h + nblstm.tanh(n(h))

    @cell(gates="z n", states="h")
    def plain(z, n, h):
        return nblstm.sigmoid(z) * h + nblstm.tanh(n)

    x = np.random.default_rng(0).normal(size=(T, B, I))
    one, other = (nn.Recurrent(own, I, H, proj_size=P, dtype="float64", seed=0)(x)[0] for own in (calling, plain))
    assert_close(one, other, OUTPUT["float64"])


def several(a, b, c, h, m):
    m = nblstm.sigmoid(a(m * h)) * m + nblstm.tanh(b(m * h))
    return nblstm.tanh(c(m) + h), m


def mixed(a, b, c, d, h):
    r = nblstm.sigmoid(a(noise.bernoulli(0.6) / 0.6 * h + noise.normal(0.1)))
    return nblstm.tanh(b(r * h) + c(0.5 - h / 4) + d(h**2) + nblstm.mean(noise.bernoulli(0.5) * h))


mixed = cell(gates="a b c d", states="h", called="a b c d")(mixed)


def test_operands_with_noise_and_others():
    """Linear in the first state: with its projection; else projected. In inference, as a loop in NumPy."""
    made = cells.projected(mixed)
    assert made.projection == ("projection", "projection_1", "projection_2")
    assert cells.recurrent_dropout(made).projection == made.projection
    assert made.seeing_gates == ("a", "b", "c", "d")
    net = nn.Recurrent(mixed, I, H, proj_size=P, dtype="float64", seed=0)
    x, w = np.random.default_rng(0).normal(size=(T, B, I)), net.state_dict()
    (R_a, R_b, R_c, R_d), W_hr = np.split(w["weight_hh_l0"], 4), w["weight_hr_l0"].T
    p, h = np.full((B, P), 0.2), np.full((B, H), -0.3)
    y, _ = net(x, (p[None], h[None]))
    for x_t, y_t in zip(x, y, strict=True):
        a, b, c, d = np.split(x_t @ w["weight_ih_l0"].T + w["bias_ih_l0"] + w["bias_hh_l0"], 4, axis=1)
        r = sigmoid(a + p @ R_a.T)
        z = b + (r * h) @ W_hr @ R_b.T + c + (0.5 - p / 4) @ R_c.T + d + h**2 @ W_hr @ R_d.T
        h = np.tanh(z + h.mean(axis=1, keepdims=True) / 2)
        p = h @ W_hr
        assert_close(y_t, p, OUTPUT["float64"])


def another(a, b, h, c):
    c = c / 2 + nblstm.tanh(a(c)) / 2
    return nblstm.sigmoid(b) * c, c


@pytest.mark.parametrize("made", [
    mixed, cells.lstm.with_matrix(cells.low_rank(2)), cells.gru_reset_before.with_matrix(cells.low_rank(2)),
    cells.gru.with_matrix(cells.dropconnect(0.4)), cell(gates="a b c", states="h m", called="a b c")(several),
    cell(gates="a b", states="h c", called="a")(another),
], ids=["mixed", "low rank", "low rank, called", "dropconnect", "several", "another state"])  # fmt: skip
def test_recurrent_matrices_and_several_operands(made, tmp_path):
    """By central differences in training, with the same draws; per-sample gradients, both files and inference."""
    net = nn.Recurrent(made, I, H, 2, bidirectional=True, proj_size=P, dtype="float64", seed=0)
    x, generator = np.random.default_rng(0).normal(size=(T, B, I)), copy.deepcopy(net._generator)

    def forward():
        net._generator = copy.deepcopy(generator)
        return net.forward(x, lengths=[5, 2, 4])

    y, _, tape = forward()
    dy = np.cos(y)
    gradients = net.backward(tape, dy)
    for name in ("weight_hh_l1_reverse", "weight_hh_right_l0", "weight_hr_l0", "weight_ih_l1"):
        if name in gradients.params:
            right = differences(lambda: (forward()[0] * dy).sum(), net.parameters()[name])
            assert_close(gradients.params[name], right, DIFFERENCES["float64"])
    assert_close(net.per_sample_gradients(tape, dy).flat.sum(axis=0), gradients.flat, GRADIENT["float64"])
    net.save(tmp_path / "net.npz")
    for copied in (nn.load(tmp_path / "net.npz"), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(copied(x)[0], net(x)[0])
    one = nn.Recurrent(made, I, H, proj_size=P, dtype="float64", seed=0)
    step = one.stepper(B)
    assert_close(np.array([step(x_t).copy() for x_t in x]), one(x)[0], OUTPUT["float64"])


def test_a_recurrent_network_with_one_bare_state_gets_two():
    assert nn.RNN(I, H, proj_size=P)(np.zeros((T, B, I)))[1].shape == (1, B, P)
    y, (projected, h) = nn.GRU(I, H, proj_size=P)(np.zeros((T, B, I)))
    assert (y.shape, projected.shape, h.shape) == ((T, B, P), (1, B, P), (1, B, H))


def test_files(tmp_path):
    net = nn.LSTM(I, H, 2, proj_size=P, seed=0)
    net.save(tmp_path / "net.safetensors")
    copy, x = nn.load(tmp_path / "net.safetensors"), np.ones((T, B, I))
    assert repr(copy) == repr(net)
    np.testing.assert_array_equal(copy(x)[0], net(x)[0])


def test_mistakes():
    with pytest.raises(ValueError, match="proj_size is 7, and hidden_size 7; give fewer features, or 0 for none"):
        nn.LSTM(I, H, proj_size=7)
    with pytest.raises(ValueError, match=r"state 'h' has shape \(1, 3, 7\)"):
        nn.LSTM(I, H, proj_size=P)(np.zeros((T, B, I)), (np.zeros((1, B, H)), np.zeros((1, B, H))))

    @cell(gates="a", states="s h", output="h")
    def another_output(a, s, h):
        return a, a + s

    with pytest.raises(CellError, match="proj_size projects the first state"):
        nn.Recurrent(another_output, I, H, proj_size=P)
    with pytest.raises(
        CellError, match=r"P columns, and antisymmetric\(gamma=0.01\) of 'gru' makes square ones, \(H, H"
    ):
        nn.Recurrent(cells.gru.with_matrix(cells.antisymmetric()), I, H, proj_size=P)

    @cell(gates="a projection_1", states="h", called="a")
    def taken(a, projection_1, h):
        return nblstm.tanh(a(h * projection_1))

    with pytest.raises(CellError, match="proj_size adds the name 'projection_1', but 'taken' uses that name"):
        nn.Recurrent(taken, I, H, proj_size=P)


@cell(gates="g t", states="h")
def highway(g, t, h, x):
    t = 1 / (1 + nblstm.exp(-t))
    return t * nblstm.tanh(g) + (1 - t) * x


@pytest.mark.parametrize("bidirectional", [False, True])
def test_x_itself_above_a_projection_is_refused(bidirectional):
    """The second layer has P features, or 2 P for as many units, which lie apart."""
    assert nn.Recurrent(highway, 8, 8, proj_size=4)(np.ones((T, B, 8)))[0].shape == (T, B, 4)
    with pytest.raises(ValueError, match=r"^the cell 'highway' takes x itself, .*, one layer or no proj_size, not 8"):
        nn.Recurrent(highway, 8, 8, num_layers=2, proj_size=4, bidirectional=bidirectional)


NOISY = {
    "variational": lambda made: cells.variational(made, 0.4),
    "per_gate": lambda made: cells.variational(made, 0.4, per_gate=True),
    "gaussian_noise": lambda made: cells.gaussian_noise(made, 0.5),
    "zoneout": lambda made: cells.zoneout(made, 0.3, 0.4),
}


@pytest.mark.parametrize("kind", NOISY)
@pytest.mark.parametrize("base", [cells.lstm, cells.gru], ids=lambda made: made.name)
def test_cells_with_noise(kind, base):
    """Noise is of the projection where it recurs: what a projection of all H features has in the first P."""
    base = NOISY[kind](base) if base is cells.lstm or kind != "zoneout" else cells.zoneout(base, 0.3)
    x = np.random.default_rng(0).normal(size=(T, B, I))

    def forward(parameters=None):
        net = nn.Recurrent(base, I, H, proj_size=P, dtype="float64", seed=3)
        net.load_state_dict(parameters or net.state_dict())
        return net, *net.forward(x)

    net, y, _, tape = forward()
    whole = nn.Recurrent(cells.projected(base), I, H, dtype="float64", seed=3)
    state, own = {name: np.zeros_like(value) for name, value in whole.state_dict().items()}, net.state_dict()
    rows = len(own["weight_hh_l0"])
    state["weight_ih_l0"], state["bias_ih_l0"] = own["weight_ih_l0"], own["bias_ih_l0"]
    state["weight_hh_l0"][:rows, :P], state["bias_hh_l0"][:rows] = own["weight_hh_l0"], own["bias_hh_l0"]
    state["weight_hh_l0"][rows : rows + P] = own["weight_hr_l0"]
    whole.load_state_dict(state)
    np.testing.assert_array_equal(y, whole.forward(x)[0][..., :P])
    assert np.abs(net(x)[0] - y).max() > 1e-3
    if kind != "zoneout":
        plain = nn.Recurrent(cells.lstm if "lstm" in base.name else cells.gru, I, H, proj_size=P, dtype="float64")
        plain.load_state_dict(own)
        assert_close(net(x)[0], plain(x)[0], OUTPUT["float64"])
    dy = np.cos(y)
    gradients = net.backward(tape, dy)
    for name in ("weight_hh_l0", "weight_hr_l0"):
        found = differences(lambda: (forward(own)[1] * dy).sum(), own[name])
        assert_close(gradients.params[name], found, DIFFERENCES["float64"])


def test_recurrent_dropout_masks_the_projection_alone():
    """``R (mask * p_{t-1})``, and ``W_hr h_t`` as it is."""
    net = nn.LSTM(I, H, proj_size=P, recurrent_dropout=0.999999, dtype="float64", seed=0)
    assert np.abs(net.forward(np.ones((T, B, I)))[0][0]).max() > 1e-3
    plain = nn.LSTM(I, H, proj_size=P, dtype="float64", seed=0)
    x = np.random.default_rng(0).normal(size=(T, B, I))
    w = plain.state_dict()
    w["weight_hh_l0"][...] = 0
    plain.load_state_dict(w)
    assert_close(net.forward(x)[0], plain(x)[0], OUTPUT["float64"])
