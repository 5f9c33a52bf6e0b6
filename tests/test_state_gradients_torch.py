"""Clipped, cut and measured gradients of states against torch's autograd: a loop over steps, with hooks."""

import numpy as np
import pytest

from nblstm import cells, nn

torch = pytest.importorskip("torch")

T, B, I, H = 11, 3, 4, 5


class Clip(torch.autograd.Function):
    """The identity; its gradient is clipped."""

    @staticmethod
    def forward(ctx, state, kind, limit):
        ctx.kind, ctx.limit = kind, limit
        return state.clone()

    @staticmethod
    def backward(ctx, d):
        if ctx.kind == "value":
            return d.clamp(-ctx.limit, ctx.limit), None, None
        norm = d.norm(dim=-1, keepdim=True)
        return torch.where(norm > ctx.limit, d * (ctx.limit / norm), d), None, None


def peephole(a, states, p):
    _, c = states
    i, f, g, o = a.chunk(4, dim=-1)
    c_new = torch.sigmoid(f + p["p_f"] * c) * c + torch.sigmoid(i + p["p_i"] * c) * torch.tanh(g)
    return [torch.sigmoid(o + p["p_o"] * c_new) * torch.tanh(c_new), c_new]


@pytest.mark.parametrize("truncate", [None, 1, 4])
@pytest.mark.parametrize("clip", [None, ("value", 0.05), ("norm", 0.2)])
def test_gradients_are_those_of_autograd_with_hooks(clip, truncate):
    net, rng = nn.Recurrent(cells.lstm_peephole, I, H, dtype="float64", seed=0), np.random.default_rng(1)
    x, dh, dc = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H)), rng.normal(size=(T, B, H))
    first, dstate = ([rng.normal(size=(1, B, H)) for _ in range(2)] for _ in range(2))
    _, _, tape = net.forward(x, tuple(first), all_states=True)
    found = net.backward(tape, dh, tuple(dstate), dstates=(None, dc), clip=clip, truncate=truncate, steps=True)

    p = {
        name.removesuffix("_l0"): torch.tensor(np.array(v), requires_grad=True) for name, v in net.parameters().items()
    }
    inputs = torch.tensor(x, requires_grad=True)
    initial = [torch.tensor(value[0], requires_grad=True) for value in first]
    states, loss, norms = list(initial), 0.0, np.zeros((2, T, B))

    def measuring(k, t):
        def hook(d):
            norms[k, t] = d.norm(dim=-1).numpy()

        return hook

    for t in range(T):
        a = inputs[t] @ p["weight_ih"].T + p["bias_ih"] + states[0] @ p["weight_hh"].T + p["bias_hh"]
        states = [state.clone() for state in peephole(a, states, p)]  # what leaves the step
        for k, state in enumerate(states):
            state.register_hook(measuring(k, t))
        loss = loss + (states[0] * torch.tensor(dh[t])).sum() + (states[1] * torch.tensor(dc[t])).sum()
        if clip is not None:
            states = [Clip.apply(state, *clip) for state in states]
        if truncate is not None and (t + 1) % truncate == 0 and t + 1 < T:
            states = [state.detach() for state in states]
    loss = loss + sum((state * torch.tensor(d[0])).sum() for state, d in zip(states, dstate, strict=True))
    loss.backward()

    for name, own in p.items():
        np.testing.assert_allclose(found.params[f"{name}_l0"], own.grad.numpy(), rtol=0, atol=1e-11, err_msg=name)
    np.testing.assert_allclose(found.x, inputs.grad.numpy(), rtol=0, atol=1e-11)
    for k in range(2):
        np.testing.assert_allclose(found.state[k][0], initial[k].grad.numpy(), rtol=0, atol=1e-11)
        np.testing.assert_allclose(found.steps[k][0], norms[k], rtol=0, atol=1e-11)


def test_gradients_of_each_sequence_are_those_of_torchs_module():
    ours, rng = nn.LSTM(I, H, 2, bidirectional=True, dtype="float64", seed=0), np.random.default_rng(0)
    theirs = torch.nn.LSTM(I, H, 2, bidirectional=True, dtype=torch.float64)
    theirs.load_state_dict({name: torch.tensor(np.array(value)) for name, value in ours.parameters().items()})
    x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, 2 * H))
    _, _, tape = ours.forward(x)
    found = ours.per_sample_gradients(tape, dy)
    for b in range(B):
        theirs.zero_grad()
        theirs(torch.tensor(x[:, [b]]))[0].backward(torch.tensor(dy[:, [b]]))
        for name, parameter in theirs.named_parameters():
            np.testing.assert_allclose(found.params[name][b], parameter.grad.numpy(), rtol=0, atol=1e-12)
