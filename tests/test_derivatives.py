"""Derivatives in a direction and of the gradient, against central differences and torch."""

import numpy as np
import pytest
from messages import message_of
from tolerances import GRADIENT, assert_close

from nblstm import cell, cells, exp, layer_norm, mean, nn, relu, sigmoid, softmax, tanh

RNG = np.random.default_rng(0)
T, B, I, H = 5, 3, 4, 5
STEP = 1e-4
#: Of a fourth-order difference of numbers of size 1.
TOLERANCE = 1e-8


@cell(gates="decay r n", states="h", called="r n", input_only="decay", vectors="gain", scalars="alpha")
def staged(decay, r, n, h, gain, alpha):
    h = exp(-relu(decay + 0.3)) * h
    return layer_norm(h + tanh(n(sigmoid(r(h)) * h)), gain, alpha)


@cell(gates="a b", states="h c", split="a", called="a", recurrent_only="b", signals="dt keep")
def given(a_x, a_h, b, h, c, x, dt, keep):
    c = keep * c + softmax(a_x + dt * a_h(c + x))
    return tanh(b) + mean(c) * x, c


CASES = {
    "lstm": (cells.lstm, {"num_layers": 2, "bidirectional": True}),
    "gru": (cells.gru, {"num_layers": 2, "learn_initial_state": True, "batch_first": True}),
    "gru_reset_before": (cells.gru_reset_before, {"reverse": True}),
    "projected": (cells.lstm_peephole, {"num_layers": 2, "proj_size": 2}),
    "no bias": (cells.rnn_tanh, {"bias": False}),
    "staged": (staged, {"num_layers": 2}),
    "given": (given, {}),
    "antisymmetric": (cells.gru.with_matrix(cells.antisymmetric(0.1)), {}),
    "low_rank": (cells.lstm.with_matrix(cells.low_rank(2)), {"num_layers": 2}),
}


def problem(name):
    made, options = CASES[name]
    I_ = H if made.takes_x else I
    net = nn.Recurrent(made, I_, H, dtype="float64", seed=1, **options)
    signals = {"dt": 0.5 + RNG.random((T, B)), "keep": RNG.random((T, B, H))} if made.signals else None
    shape = (B, T, I_) if net.batch_first else (T, B, I_)
    now = net.state_dict(), RNG.normal(size=shape), signals
    moved = (
        {key: RNG.normal(size=value.shape) for key, value in now[0].items()}, RNG.normal(size=shape),
        None if signals is None else {key: RNG.normal(size=value.shape) for key, value in signals.items()},
    )  # fmt: skip
    return net, now, moved


def at(net, now, moved, e):
    """The network, its input and signals, moved in the direction."""
    parameters, x, signals = now
    net.load_state_dict({key: value + e * moved[0][key] for key, value in parameters.items()})
    extra = {} if signals is None else {"signals": {key: v + e * moved[2][key] for key, v in signals.items()}}
    return x + e * moved[1], extra


def slope(f):
    """The derivative at 0 by a fourth-order difference."""
    return (8 * (f(STEP) - f(-STEP)) - (f(2 * STEP) - f(-2 * STEP))) / (12 * STEP)


@pytest.mark.parametrize("lengths", [None, (2, 5, 0)])
@pytest.mark.parametrize("name", CASES)
def test_jacobian_vector_product(name, lengths):
    net, now, moved = problem(name)
    (y, states), (d_y, d_states) = net.jvp(
        now[1], nn.Direction(moved[0], moved[1], signals=moved[2]), lengths=lengths, signals=now[2]
    )

    def outputs(e):
        x, extra = at(net, now, moved, e)
        y, states = net(x, lengths=lengths, **extra)
        states = states if isinstance(states, tuple) else (states,)
        return np.concatenate([y.ravel(), *(each.ravel() for each in states)])

    every = [np.concatenate([one.ravel(), *(each.ravel() for each in group)]) for one, group in
             ((y, states), (d_y, d_states))]  # fmt: skip
    assert_close(every[0], outputs(0), 1e-12)
    assert_close(every[1], slope(outputs), TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_hessian_vector_product(name):
    net, now, moved = problem(name)
    target = RNG.normal(size=net(now[1], **({} if now[2] is None else {"signals": now[2]}))[0].shape)
    direction = nn.Direction(moved[0], moved[1], signals=moved[2])
    gradients, products = net.hvp(now[1], direction, lambda y, d_y: (y - target, d_y), signals=now[2])

    def gradient(e):
        x, extra = at(net, now, moved, e)
        y, _, tape = net.forward(x, **extra)
        found = net.backward(tape, y - target)
        state = found.state if isinstance(found.state, tuple) else (found.state,)
        more = [found.signals[key].ravel() for key in now[2] or ()]
        return np.concatenate([found.flat, found.x.ravel(), *(each.ravel() for each in state), *more])

    for found, expected, tolerance in (
        (gradients, gradient(0), GRADIENT["float64"]),
        (products, slope(gradient), 1e-6),
    ):
        own = [found.flat, found.x.ravel(), *(each.ravel() for each in found.state)]
        own += [found.signals[key].ravel() for key in now[2] or ()]
        assert_close(np.concatenate(own), expected, tolerance)


def test_torch():
    """Double backward, which torch has for its operators alone."""
    torch = pytest.importorskip("torch")
    net = nn.GRU(I, H, dtype="float64", seed=0)
    theirs = {key: torch.tensor(value, requires_grad=True) for key, value in net.state_dict().items()}
    x = torch.tensor(RNG.normal(size=(T, B, I)), requires_grad=True)
    h = torch.zeros(B, H, dtype=torch.float64)
    total = 0
    for x_t in x:
        a = x_t @ theirs["weight_ih_l0"].T + theirs["bias_ih_l0"]
        b = h @ theirs["weight_hh_l0"].T + theirs["bias_hh_l0"]
        (r_x, z_x, n_x), (r_h, z_h, n_h) = a.chunk(3, 1), b.chunk(3, 1)
        z = (z_x + z_h).sigmoid()
        h = (1 - z) * (n_x + (r_x + r_h).sigmoid() * n_h).tanh() + z * h
        total = total + (h**3).sum()
    names = list(theirs)
    first = torch.autograd.grad(total, [*theirs.values(), x], create_graph=True)
    vectors = [torch.tensor(RNG.normal(size=tuple(each.shape))) for each in first]
    product = sum((each * vector).sum() for each, vector in zip(first, vectors, strict=True))
    second = torch.autograd.grad(product, [*theirs.values(), x])
    direction = nn.Direction(dict(zip(names, (v.numpy() for v in vectors), strict=False)), vectors[-1].numpy())
    gradients, products = net.hvp(x.detach().numpy(), direction, lambda y, d_y: (3 * y**2, 6 * y * d_y))
    for key, one, two in zip(names, first, second, strict=False):
        assert_close(gradients.params[key], one.detach().numpy(), GRADIENT["float64"])
        assert_close(products.params[key], two.numpy(), GRADIENT["float64"])
    assert_close(products.x, second[-1].numpy(), GRADIENT["float64"])


def test_given_states_and_parts_of_a_direction():
    net = nn.LSTM(I, H, dtype="float64", seed=0)
    x, state, moved = RNG.normal(size=(T, B, I)), RNG.normal(size=(2, 1, B, H)), RNG.normal(size=(2, 1, B, H))
    (_, _), (d_y, _) = net.jvp(x, nn.Direction(state=tuple(moved)), tuple(state))
    assert_close(d_y, slope(lambda e: net(x, tuple(state + e * moved))[0]), TOLERANCE)
    one = net.jvp(x[:, 0], nn.Direction(x=x[:, 1]))
    assert one[0][0].shape == one[1][0].shape == (T, H)
    assert not net.jvp(x, nn.Direction())[1][0].any()
    single = nn.LSTM(I, H, seed=0)
    assert single.jvp(x, nn.Direction(x=x))[1][0].dtype == np.float32


def test_mistakes():
    net = nn.GRU(I, H, seed=0)
    x = np.ones((T, B, I))
    message_of(ValueError, lambda: net.jvp(x[..., :2], nn.Direction()), "with I = 4")
    message_of(ValueError, lambda: net.jvp(x, nn.Direction(x=x[:2])), "shape (2, 3, 4)")
    message_of(ValueError, lambda: net.jvp(x, nn.Direction({"weight": x})), "direction.params has 'weight'")
    message_of(TypeError, lambda: net.jvp(x, nn.Direction([x])), "direction.params is list; give a dict")
    message_of(TypeError, lambda: net.jvp(x, {"x": x}), "direction is dict; give nn.Direction(")
    message_of(TypeError, lambda: net.hvp(x, nn.Direction(), lambda y, d_y: y), "loss_gradient returned ndarray")
    message_of(TypeError, lambda: net.hvp(x, nn.Direction(), 3), "loss_gradient is 3 of type int; give a function that")
    message_of(ValueError, lambda: net.jvp(x, nn.Direction(x=x), signals={"dt": x}), "signals has 'dt'; give none, as")

    @cell(gates="a", states="h", signals="dt")
    def timed(a, h, dt):
        return tanh(a) * dt

    net = nn.Recurrent(timed, 4, 5, dtype="float64")
    message_of(
        ValueError, lambda: net.jvp(x, nn.Direction(x=x)), "no signals are given; give a dict of arrays for 'dt'"
    )
