"""Resets in modules of torch: every way that a pass is computed, against the equations as operations of torch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import nblstm.torch as nbt  # noqa: E402
from nblstm import cell, nn, sigmoid, tanh  # noqa: E402

T, B, I, H = 6, 4, 3, 5
RNG = np.random.default_rng(0)
RESETS = torch.tensor(RNG.random((T, B)) < 0.35)
RESETS[0, 1], RESETS[:, 0], RESETS[:, 2] = True, False, True
X, DY = torch.tensor(RNG.normal(size=(T, B, I))), torch.tensor(RNG.normal(size=(T, B, 2 * H)))


@cell(gates="a b", states="h n", initial={"n": 1.0})
def averaging(a, b, h, n):
    n = sigmoid(b) * n + 0.25
    return tanh(a) / n + 0.5 * h, n


MADE = {
    "lstm": lambda **options: nbt.LSTM(I, H, dtype=torch.float64, **options),
    "gru": lambda **options: nbt.GRU(I, H, dtype=torch.float64, **options),
    "own": lambda **options: nbt.Recurrent(averaging, I, H, dtype=torch.float64, **options),
}


def results(module, x, given, lengths=None, resets=RESETS, own=None):
    """Outputs, final states and all gradients."""
    x = x.clone().requires_grad_()
    given = None if given is None else [state.clone().requires_grad_() for state in given]
    hx = None if given is None else given[0] if own._bare_state else tuple(given)
    y, final = module(x, hx, lengths, resets=resets)
    final = [final] if own._bare_state else list(final)
    loss = (y * DY[..., : y.shape[-1]].reshape(-1)[: y.numel()].reshape(y.shape)).sum()
    loss = loss + sum((k + 1) * state.sin().sum() for k, state in enumerate(final))
    leaves = [x, *own.parameters(), *(given or [])]
    return [y, *final, *torch.autograd.grad(loss, leaves)]


def alike(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("lengths", [None, [4, 6, 5, 0]])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}], ids=str)
@pytest.mark.parametrize("name", MADE)
def test_against_the_equations(name, options, lengths):
    torch.manual_seed(0)
    module = MADE[name](**options)
    L = module.num_layers * (1 + module.bidirectional)
    given = [torch.randn(L, B, H, dtype=torch.float64).abs() for _ in module.cell.states]
    for state in (given, None):
        expected = results(nbt.reference(module), X, state, lengths, own=module)
        alike(results(module, X, state, lengths, own=module), expected)
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
            alike(results(module, X, state, lengths, own=module), expected)  # by torch's operators
        with torch.no_grad():
            hx = None if state is None else state[0] if module._bare_state else tuple(state)
            torch.testing.assert_close(module(X, hx, lengths, resets=RESETS)[0], expected[0])


def test_compiled_by_torch():
    torch.manual_seed(0)
    module = MADE["lstm"](num_layers=2)
    expected = results(module, X, None, own=module)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    alike(results(compiled, X, None, own=module), expected)
    exported = torch.export.export(module, (X,), {"resets": RESETS})
    torch.testing.assert_close(exported.module()(X, resets=RESETS)[0], expected[0])


def test_the_networks_of_nn_agree():
    torch.manual_seed(0)
    module = MADE["lstm"](bidirectional=True)
    y, (h, c) = module(X, resets=RESETS)
    right, states = module.to_nn()(X.numpy(), resets=RESETS.numpy())
    for found, expected in zip((y, h, c), (right, *states), strict=True):
        np.testing.assert_array_equal(found.detach().numpy(), expected)
    step = MADE["gru"]().stepper(B)
    step(X[0])
    before = step.state
    step.reset(rows=RESETS[1])
    assert (step.state[:, RESETS[1]] == 0).all()
    assert torch.equal(step.state[:, ~RESETS[1]], before[:, ~RESETS[1]])
    assert isinstance(module.to_nn(), nn.LSTM)


def test_layouts():
    torch.manual_seed(0)
    module, turned = MADE["gru"](), MADE["gru"](batch_first=True)
    turned.load_state_dict(module.state_dict())
    y, h = module(X, resets=RESETS)
    other, other_h = turned(X.transpose(0, 1), resets=RESETS.T.tolist())
    torch.testing.assert_close(other.transpose(0, 1), y, rtol=0, atol=0)
    torch.testing.assert_close(other_h, h, rtol=0, atol=0)
    one, one_h = module(X[:, 3], resets=RESETS[:, 3])
    torch.testing.assert_close(one, y[:, 3], rtol=0, atol=0)
    torch.testing.assert_close(one_h, h[:, 3], rtol=0, atol=0)
    one, _ = nbt.reference(module)(X[:, 3], resets=RESETS[:, 3])
    torch.testing.assert_close(one, y[:, 3])


def test_what_does_not_fit():
    module = MADE["lstm"]()
    with pytest.raises(TypeError, match=r"resets are torch.float64 on cpu; give bools"):
        module(X, resets=RESETS.double())
    with pytest.raises(ValueError, match=r"resets have shape \(4, 6\); give \(6, 4\), that of input"):
        module(X, resets=RESETS.T)
    packed = torch.nn.utils.rnn.pack_padded_sequence(X, [6, 5, 5, 2])
    for each in (module, nbt.reference(module)):
        with pytest.raises(ValueError, match="resets are given beside a PackedSequence"):
            each(packed, resets=RESETS)
