"""All derivatives of a stack of different cells with residual connections, against torch's loop and autograd."""

import numpy as np
import pytest
from kinds_of_cells import CELLS, signals_of
from messages import message_of
from tolerances import GRADIENT, OUTPUT, assert_close

from nblstm import nn

RNG = np.random.default_rng(0)
T, B = 6, 3
D = {"dtype": "float64"}
MASK, RESETS = RNG.random((T, B)) < 0.7, RNG.random((T, B)) < 0.3
RESETS[0, 1] = True
KINDS, LAYERS, BOTH = ("lstm", "gru", "lstm"), (1, 2, 1), (False, True, False)


def made(**options):
    """LSTM 3 to 4, GRU of two layers 4 to 2 + 2, LSTM 4 to 4: sums behind the second and the last."""
    return nn.Stack(
        [
            nn.LSTM(3, 4, seed=0, learn_initial_state=True, **D, **options),
            nn.GRU(4, 2, 2, bidirectional=True, seed=1, **D, **options),
            nn.LSTM(4, 4, seed=2, **D, **options),
        ],
        residual=True,
    )


def tupled(states):
    return states if isinstance(states, tuple) else (states,)


def leaves(nested):
    return [leaf for part in nested for leaf in leaves(part)] if isinstance(nested, tuple) else [nested]


def like(nested):
    return tuple(map(like, nested)) if isinstance(nested, tuple) else RNG.normal(size=nested.shape)


def given(stack, x):
    """Gradients of everything that a call gives: outputs, states of each step, final states."""
    every, finals = stack(x, all_states=True)
    return RNG.normal(size=every[0].shape), like(every), like(finals)


def in_torch(p, x, state, mask, resets, leave=None):
    """The stack in torch: every state of the last layer at each step, and the final states of all."""
    import torch_loops

    finals = []
    for k, (kind, layers, both) in enumerate(zip(KINDS, LAYERS, BOTH, strict=True)):
        own = {name.removeprefix(f"{k}."): value for name, value in p.items() if name.startswith(f"{k}.")}
        start = None if state is None else state[k]
        hook = None if leave is None else leave(k)
        every, final = torch_loops.network(
            kind, own, x, start, mask, resets, layers, (False, True)[: 1 + both], leave=hook
        )
        finals.append(final)
        x = every[0] + x if k else every[0]
    return [x, *every[1:]], finals


def tensors(nested, grad=False):
    import torch

    if isinstance(nested, dict):
        return {name: tensors(value, grad) for name, value in nested.items()}
    if isinstance(nested, tuple):
        return tuple(tensors(value, grad) for value in nested)
    return torch.tensor(nested, requires_grad=grad)


def total(values, weights):
    return sum((value * weight).sum() for value, weight in zip(values, weights, strict=True))


@pytest.mark.parametrize("how", [{}, {"mask": MASK, "resets": RESETS}], ids=["plain", "mask and resets"])
def test_gradients_of_all_states_and_of_each_sequence(how):
    torch = pytest.importorskip("torch")
    stack, x = made(), RNG.normal(size=(T, B, 3))
    dy, d_every, d_finals = given(stack, x)
    state = like(stack(x)[1])
    every, _, tape = stack.forward(x, state, all_states=True, **how)
    found = stack.backward(tape, dy, d_finals, dstates=d_every)
    samples = stack.per_sample_gradients(stack.forward(x, state, **how)[2], dy, d_finals)
    flags = (
        torch.tensor(how.get("mask", np.ones((T, B), bool))),
        torch.tensor(how.get("resets", np.zeros((T, B), bool))),
    )

    def theirs(rows):
        p, start = tensors(stack.state_dict(), True), tensors(tuple(tupled(own) for own in state), True)
        inputs = torch.tensor(x[:, rows], requires_grad=True)
        whole, last = in_torch(
            p, inputs, [[part[:, rows] for part in own] for own in start], *(own[:, rows] for own in flags)
        )
        of_finals = total(last, [torch.stack([torch.tensor(d[:, rows]) for d in tupled(own)]) for own in d_finals])
        return p, inputs, start, whole, of_finals + (whole[0] * torch.tensor(dy[:, rows])).sum()

    p, inputs, start, whole, loss = theirs(slice(None))
    for one, other in zip(every, whole, strict=True):
        assert_close(one, other.detach().numpy(), OUTPUT["float64"])
    for one, other in ((stack(x, state, **how)[0], every[0]), (stack.forward(x, state, **how)[0], every[0])):
        np.testing.assert_array_equal(one, other)
    right = torch.autograd.grad(loss + total(whole, tensors(d_every)), [*p.values(), inputs, *leaves(start)])
    own = [*found.params.values(), found.x, *leaves(found.state)]
    for one, other in zip(own, right, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=0, atol=1e-10)
    plain = stack.backward(tape, dy, d_finals)
    np.testing.assert_array_equal(samples.x, plain.x)
    assert samples.flat.shape == (B, plain.flat.size)
    for b in range(B):
        p, *_, loss = theirs([b])
        for (name, value), own in zip(
            p.items(), torch.autograd.grad(loss, [*p.values()], allow_unused=True), strict=True
        ):
            expected = np.zeros(value.shape) if own is None else own.numpy()
            np.testing.assert_allclose(samples.params[name][b], expected, rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")  # torch's own use
@pytest.mark.parametrize("start", [False, True], ids=["initial", "given"])
def test_forward_mode_and_double_backward(start):
    torch = pytest.importorskip("torch")
    stack, x = made(), RNG.normal(size=(T, B, 3))
    state, how = like(stack(x)[1]) if start else None, {"mask": MASK, "resets": RESETS}
    now = {**stack.state_dict(), "x": x}
    moved, d_state = {name: RNG.normal(size=value.shape) for name, value in now.items()}, like(state) if start else None
    names = list(now)[:-1]

    def run(values, start):
        own = None if start is None else [tupled(part) for part in start]
        every, finals = in_torch(values, values["x"], own, torch.tensor(MASK), torch.tensor(RESETS))
        return every[0], tuple(finals)

    theirs, begin, vectors = tensors(now, True), tensors(state, True) if start else None, tensors(moved)
    if start:
        (y, finals), (d_y, d_finals) = torch.func.jvp(run, (theirs, begin), (vectors, tensors(d_state)))
    else:
        (y, finals), (d_y, d_finals) = torch.func.jvp(lambda values: run(values, None), (theirs,), (vectors,))
    every = [*theirs.values(), *(leaves(begin) if start else ())]
    directions = [*vectors.values(), *(leaves(tensors(d_state)) if start else ())]
    first = torch.autograd.grad((run(theirs, begin)[0] ** 3).sum(), every, create_graph=True)
    second = torch.autograd.grad(total(first, directions), every)

    direction = nn.Direction({name: moved[name] for name in names}, moved["x"], d_state)
    ours = stack.jvp(x, direction, state, **how)
    for own, right in zip(ours, ((y, finals), (d_y, d_finals)), strict=True):
        assert_close(own[0], right[0].detach().numpy(), GRADIENT["float64"])
        for one, other in zip(own[1], right[1], strict=True):
            assert_close(np.stack(tupled(one)), other.detach().numpy(), GRADIENT["float64"])
    np.testing.assert_array_equal(ours[0][0].shape, stack(x, state, **how)[0].shape)
    for own, right in zip(
        stack.hvp(x, direction, lambda y, d_y: (3 * y**2, 6 * y * d_y), state, **how), (first, second), strict=True
    ):
        found = [*own.params.values(), own.x, *(leaves(own.state) if start else ())]
        for one, other in zip(found, right, strict=True):
            assert_close(one, other.detach().numpy(), GRADIENT["float64"])


@pytest.mark.parametrize("clip", [None, ("norm", 0.3), (("value", 0.1), 0.2, {"c": ("norm", 0.1)})], ids=str)
def test_clipped_and_measured(clip):
    torch = pytest.importorskip("torch")
    from test_state_gradients_torch import Clip

    stack, x = made(), RNG.normal(size=(T, B, 3))
    dy, d_every, d_finals = given(stack, x)
    _, _, tape = stack.forward(x, resets=RESETS, all_states=True)
    found = stack.backward(tape, dy, d_finals, dstates=d_every, clip=clip, steps=True)
    norms = {(0, 0): np.zeros((2, T, B)), (2, 0): np.zeros((2, T, B))}
    own_clips = [clip] * 3 if clip is None or clip[0] == "norm" else clip

    def leave(k):
        def on(t, states):
            if k != 1:
                for n, state in enumerate(states):
                    state.register_hook(lambda d, n=n: norms[k, 0].__setitem__((n, t), d.norm(dim=-1).numpy()))
            limits = own_clips[k]
            by_name = limits if isinstance(limits, dict) else dict.fromkeys("hc", limits)
            made = []
            for name, state in zip("hc", states, strict=False):
                limit = by_name.get(name)
                limit = ("value", limit) if isinstance(limit, float) else limit
                made.append(state if limit is None else Clip.apply(state, *limit))
            return made

        return on

    p, inputs = tensors(stack.state_dict(), True), torch.tensor(x, requires_grad=True)
    whole, last = in_torch(p, inputs, None, torch.ones(T, B, dtype=bool), torch.tensor(RESETS), leave)
    loss = total(last, [torch.stack([torch.tensor(d) for d in tupled(own)]) for own in d_finals])
    loss = loss + (whole[0] * torch.tensor(dy)).sum() + total(whole, tensors(d_every))
    right = torch.autograd.grad(loss, [*p.values(), inputs])
    for one, other in zip([*found.params.values(), found.x], right, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=0, atol=1e-10)
    assert [len(own) for own in found.steps] == [2, 1, 2]
    assert found.steps[1][0].shape == (4, T, B)
    for (k, _), own in norms.items():
        np.testing.assert_allclose(np.stack([each[0] for each in found.steps[k]]), own, rtol=0, atol=1e-10)


def test_layouts_and_a_stateful_stack():
    stack, turned, x = made(), made(batch_first=True), RNG.normal(size=(T, B, 3))
    direction, dy = nn.Direction({"1.weight_hh_l1": np.ones((6, 2))}, x), RNG.normal(size=(T, B, 4))
    (y, _), (d_y, _) = stack.jvp(x, direction)
    flags = {"mask": MASK.T, "resets": RESETS.T}
    other = turned.jvp(x.swapaxes(0, 1), direction._replace(x=x.swapaxes(0, 1)), **flags)
    right = stack.jvp(x, direction, mask=MASK, resets=RESETS)
    np.testing.assert_array_equal(other[1][0].swapaxes(0, 1), right[1][0])
    one = stack.jvp(x[:, 1], direction._replace(x=x[:, 1]))
    assert_close(one[1][0], d_y[:, 1], OUTPUT["float64"])
    assert one[1][1][1].shape == (4, 2)
    every, _ = turned(x.swapaxes(0, 1), all_states=True)
    np.testing.assert_array_equal(every[0].swapaxes(0, 1), y)
    assert every[1].shape == (B, T, 4)
    products = stack.hvp(x[:, 1], direction._replace(x=x[:, 1]), lambda y, d_y: (y, None))[1]
    assert products.x.shape == (T, 3)

    going = made(stateful=True)
    _, finals = stack(x[:2])
    going(x[:2])
    np.testing.assert_array_equal(
        going.jvp(x[2:], nn.Direction(x=x[2:]))[1][0], stack.jvp(x[2:], nn.Direction(x=x[2:]), finals)[1][0]
    )
    np.testing.assert_array_equal(going(x[2:])[0], stack(x[2:], finals)[0])
    gradients = stack.backward(stack.forward(x)[2], None, dstates=(dy, None), truncate=2)
    np.testing.assert_array_equal(gradients.flat, stack.backward(stack.forward(x)[2], dy, truncate=2).flat)
    assert gradients.steps == ()


def test_signals():
    decay = CELLS["decay"]
    stack = nn.Stack([nn.LSTM(3, 4, seed=0, **D), nn.Recurrent(decay, 4, 4, seed=1, **D)], residual=True)
    x, own = RNG.normal(size=(T, B, 3)), signals_of(decay, (T, B), 4, RNG)
    moved = {name: RNG.normal(size=value.shape) for name, value in own.items()}
    direction = nn.Direction(signals=(None, moved))
    (_, _), (d_y, _) = stack.jvp(x, direction, signals=(None, own))
    step = 1e-5
    y = [
        stack(x, signals=(None, {name: value + e * moved[name] for name, value in own.items()}))[0]
        for e in (step, -step)
    ]
    assert_close(d_y, (y[0] - y[1]) / (2 * step), 1e-8)
    gradients, products = stack.hvp(x, direction, lambda y, d_y: (y, d_y), signals=(None, own))
    assert list(gradients.signals) == list(products.signals) == [f"1.{name}" for name in own]


def test_mistakes():
    stack, x = made(), RNG.normal(size=(T, B, 3))
    _, _, tape = stack.forward(x)
    dy = np.ones((T, B, 4))
    message_of(TypeError, lambda: stack.jvp(x, {"x": x}), "direction is dict; give nn.Direction(")
    message_of(
        ValueError, lambda: stack.jvp(x, nn.Direction({"weight_hh_l0": x})), "direction.params has 'weight_hh_l0'"
    )
    message_of(
        ValueError, lambda: stack.jvp(x, nn.Direction({"2.bias_ih_l0": x})), "direction.params['2.bias_ih_l0'] has"
    )
    message_of(ValueError, lambda: stack.jvp(x, nn.Direction(state=(None,))), "direction.state is", "a tuple of 3")
    message_of(
        ValueError, lambda: stack.jvp(x, nn.Direction(signals={"dt": x})), "direction.signals is", "a tuple of 3"
    )
    message_of(TypeError, lambda: stack.hvp(x, nn.Direction(), lambda y, d_y: y), "loss_gradient returned ndarray")
    message_of(
        ValueError, lambda: stack.per_sample_gradients(made().forward(x)[2], dy), "tape is not from this stack's"
    )
    message_of(ValueError, lambda: stack.backward(tape, dy, clip=(1.0, 2.0)), "clip is", "a tuple of 3")
    message_of(ValueError, lambda: stack.backward(tape, dy, clip={"c": 1.0}), "clip has 'c'", "h")
    message_of(ValueError, lambda: stack.backward(tape, dy, clip=np.ones(4)), "clip is ndarray", "with H = 2")
    message_of(ValueError, lambda: stack.backward(tape, dy, dstates=(dy,)), "dstates is", "a tuple of 2")
    message_of(ValueError, lambda: stack.backward(tape, dy, dstates=(dy[:2], None)), "dstates 'h' has shape")
    message_of(ValueError, lambda: stack.backward(tape, dy, truncate=0), "truncate is 0")
    message_of(TypeError, lambda: stack.backward(tape, dy, steps="all"), "steps is 'all'")
    for call in (stack, stack.forward):
        message_of(TypeError, lambda call=call: call(x, all_states="h"), "all_states is 'h'; give True or False")
