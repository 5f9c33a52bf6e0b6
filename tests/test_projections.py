"""``proj_size``: torch's LSTM with projections, and any other cell."""

import numpy as np
import pytest
from differences import differences
from tolerances import DIFFERENCES, DTYPES, GRADIENT, OUTPUT, assert_close

import nblstm
from nblstm import CellError, cell, cells, nn

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
    with pytest.raises(CellError, match="'gru_reset_before' calls 'n' with something else, of H features"):
        nn.Recurrent(cells.gru_reset_before, I, H, proj_size=P)


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
