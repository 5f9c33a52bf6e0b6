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
    "projected operand": (cells.gru_reset_before.with_matrix(cells.low_rank(2)), {"proj_size": 2}),
}

MASK, RESETS = RNG.random((T, B)) < 0.7, RNG.random((T, B)) < 0.4
RESETS[0, 1] = RESETS[3, 2] = True
HOW = [{}, {"lengths": (2, 5, 0)}, {"mask": MASK}, {"resets": RESETS, "lengths": (2, 5, 0)},
       {"mask": MASK, "resets": RESETS}]  # fmt: skip


def in_layout(net, how):
    """Arguments of a call, where mask and resets are in the layout of x."""
    return {name: own.T if net.batch_first and name != "lengths" else own for name, own in how.items()}


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


@pytest.mark.parametrize("how", HOW, ids=list)
@pytest.mark.parametrize("name", CASES)
def test_jacobian_vector_product(name, how):
    net, now, moved = problem(name)
    called = in_layout(net, how)
    (y, states), (d_y, d_states) = net.jvp(
        now[1], nn.Direction(moved[0], moved[1], signals=moved[2]), signals=now[2], **called
    )

    def outputs(e):
        x, extra = at(net, now, moved, e)
        y, states = net(x, **called, **extra)
        states = states if isinstance(states, tuple) else (states,)
        return np.concatenate([y.ravel(), *(each.ravel() for each in states)])

    every = [np.concatenate([one.ravel(), *(each.ravel() for each in group)]) for one, group in
             ((y, states), (d_y, d_states))]  # fmt: skip
    assert_close(every[0], outputs(0), 1e-12)
    assert_close(every[1], slope(outputs), TOLERANCE)


@pytest.mark.parametrize("how", HOW[::2], ids=list)
@pytest.mark.parametrize("name", CASES)
def test_hessian_vector_product(name, how):
    net, now, moved = problem(name)
    called = in_layout(net, how)
    target = RNG.normal(size=net(now[1], **({} if now[2] is None else {"signals": now[2]}))[0].shape)
    direction = nn.Direction(moved[0], moved[1], signals=moved[2])
    gradients, products = net.hvp(now[1], direction, lambda y, d_y: (y - target, d_y), signals=now[2], **called)

    def gradient(e):
        x, extra = at(net, now, moved, e)
        y, _, tape = net.forward(x, **called, **extra)
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


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")  # torch's own use
@pytest.mark.parametrize("given", [False, True], ids=["learned", "given"])
@pytest.mark.parametrize(("kind", "layers", "both"), [("lstm", 2, True), ("gru", 2, False), ("gru", 1, True)])
def test_torch(kind, layers, both, given):
    """Forward mode and double backward through torch's loop, with a mask and resets."""
    torch = pytest.importorskip("torch")
    import torch_loops

    net = nn.Recurrent(
        getattr(cells, kind), I, H, layers, bidirectional=both, learn_initial_state=True, dtype="float64", seed=0
    )
    names, D = list(net.state_dict()), 1 + both
    size = (layers * D, B, H)
    now = {**net.state_dict(), "x": RNG.normal(size=(T, B, I))}
    now |= {key: RNG.normal(size=size) for key in net.cell.states if given}
    moved = {key: RNG.normal(size=value.shape) for key, value in now.items()}
    mask, resets = torch.tensor(MASK), torch.tensor(RESETS)

    def run(values):
        state = [values[key] for key in net.cell.states] if given else None
        every, finals = torch_loops.network(
            kind, values, values["x"], state, mask, resets, layers, (False, True)[: 1 + both]
        )
        return every[0], finals

    theirs = {key: torch.tensor(value, requires_grad=True) for key, value in now.items()}
    vectors = {key: torch.tensor(value) for key, value in moved.items()}
    (y, finals), (d_y, d_finals) = torch.func.jvp(run, (theirs,), (vectors,))
    first = torch.autograd.grad((run(theirs)[0] ** 3).sum(), [*theirs.values()], create_graph=True)
    product = sum((each * vectors[key]).sum() for key, each in zip(theirs, first, strict=True))
    second = torch.autograd.grad(product, [*theirs.values()])

    state = tuple(now[key] for key in net.cell.states) if given else None
    d_state = tuple(moved[key] for key in net.cell.states) if given else None
    direction = nn.Direction({key: moved[key] for key in names}, moved["x"], d_state)
    how = {"mask": MASK, "resets": RESETS}
    for own, right in zip(net.jvp(now["x"], direction, state, **how), ((y, finals), (d_y, d_finals)), strict=True):
        assert_close(own[0], right[0].detach().numpy(), GRADIENT["float64"])
        assert_close(np.stack(own[1]), right[1].detach().numpy(), GRADIENT["float64"])
    both = net.hvp(now["x"], direction, lambda y, d_y: (3 * y**2, 6 * y * d_y), state, **how)
    for own, right in zip(both, (first, second), strict=True):
        found = {**own.params, "x": own.x, **dict(zip(net.cell.states, own.state, strict=True))}
        for key, each in zip(theirs, right, strict=True):
            assert_close(found[key], each.detach().numpy(), GRADIENT["float64"])


def test_given_states_and_parts_of_a_direction():
    net = nn.LSTM(I, H, dtype="float64", seed=0)
    x, state, moved = RNG.normal(size=(T, B, I)), RNG.normal(size=(2, 1, B, H)), RNG.normal(size=(2, 1, B, H))
    (_, _), (d_y, _) = net.jvp(x, nn.Direction(state=tuple(moved)), tuple(state))
    assert_close(d_y, slope(lambda e: net(x, tuple(state + e * moved))[0]), TOLERANCE)
    one = net.jvp(x[:, 0], nn.Direction(x=x[:, 1]))
    assert one[0][0].shape == one[1][0].shape == (T, H)
    assert not net.jvp(x, nn.Direction())[1][0].any()
    learns = nn.LSTM(I, H, learn_initial_state=True, dtype="float64", seed=0)
    params = {"initial_h_l0": RNG.normal(size=H), "initial_c_l0": RNG.normal(size=H)}
    of_both, of_params, of_state = (
        learns.jvp(x, own)[1][0]
        for own in (nn.Direction(params, state=tuple(moved)), nn.Direction(params), nn.Direction(state=tuple(moved)))
    )
    assert_close(of_both, of_params + of_state, GRADIENT["float64"])
    assert not learns.jvp(x, nn.Direction(params), tuple(state))[1][0].any()  # other states were given
    single = nn.LSTM(I, H, seed=0)
    assert single.jvp(x, nn.Direction(x=x))[1][0].dtype == np.float32


def test_a_stateful_network_begins_where_it_is():
    whole, net = (nn.LSTM(I, H, stateful=own, dtype="float64", seed=0) for own in (False, True))
    x = RNG.normal(size=(T, B, I))
    _, state = whole(x[:2])
    net(x[:2])
    (y, _), (d_y, _) = net.jvp(x[2:], nn.Direction(x=x[2:]))
    (right, _), (d_right, _) = whole.jvp(x[2:], nn.Direction(x=x[2:]), state)
    np.testing.assert_array_equal(y, right)
    np.testing.assert_array_equal(d_y, d_right)
    np.testing.assert_array_equal(net(x[2:])[0], whole(x[2:], state)[0])  # it has carried nothing on


def test_mistakes():
    net = nn.GRU(I, H, seed=0)
    x = np.ones((T, B, I))
    message_of(ValueError, lambda: net.jvp(x[..., :2], nn.Direction()), "with I = 4")
    message_of(ValueError, lambda: net.jvp(x, nn.Direction(x=x[:2])), "shape (2, 3, 4)")
    message_of(ValueError, lambda: net.jvp(x, nn.Direction(), mask=np.ones((B, T), bool)), "mask has shape", "(T, B)")
    message_of(TypeError, lambda: net.jvp(x, nn.Direction(), resets=np.ones((T, B))), "resets has dtype float64")
    flags = np.arange(T * B).reshape(T, B) % 2 == 0
    message_of(ValueError, lambda: net.jvp(x, nn.Direction(), None, [1, 2, 3], mask=flags), "lengths and mask")
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
