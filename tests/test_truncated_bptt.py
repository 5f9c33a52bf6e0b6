"""Truncated backpropagation through time: no gradient flows through the states between chunks of so many steps."""

from itertools import pairwise

import numpy as np
import pytest
from messages import message_of
from networks import CELLS
from tolerances import GRADIENT, assert_close

from nblstm import nn

RNG = np.random.default_rng(0)
D = {"dtype": "float64"}
T, B, I, H = 11, 4, 3, 5
X, DY = RNG.normal(size=(T, B, I)), RNG.normal(size=(T, B, 2 * H))
LENGTHS = np.array([11, 4, 8, 0])


def chunk_by_chunk(net, x, state, dy, d_state, truncate, lengths=None):
    """Gradients by hand: a pass for each chunk, which begins with the states of the one before as constants."""
    flat, dx, d_initial = 0, np.zeros_like(x), None
    edges = [*range(0, len(x), truncate), len(x)]
    chunks = list(pairwise(edges))
    lengths = np.full(x.shape[1], len(x)) if lengths is None else lengths
    passes = []
    for first, last in chunks:
        *_, state, tape = net.forward(x[first:last], state, np.clip(lengths - first, 0, last - first))
        passes.append((first, last, tape))
    d_initial = tuple(np.zeros_like(own) for own in d_state)
    first_read = np.zeros(len(lengths))
    for first, last, tape in passes:
        # The final states of a sequence are those behind its last step, whose chunk has their gradient.
        last_read = lengths - 1
        ends = (first <= last_read) & (last_read < last) | (lengths == 0) & (first == 0)
        gradients = net.backward(tape, dy[first:last], tuple(own * ends[:, None] for own in d_state))
        flat = flat + gradients.flat
        dx[first:last] = gradients.x
        begins = (first <= first_read) & (first_read < last) | (lengths == 0) & (first == 0)
        d_initial = tuple(a + b * begins[:, None] for a, b in zip(d_initial, gradients.state, strict=True))
    return flat, dx, d_initial


@pytest.mark.parametrize(("lengths", "checkpoint"), [(None, None), (LENGTHS, 3)], ids=["plain", "lengths"])
@pytest.mark.parametrize("truncate", [1, 4, 20])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}], ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "lstm_peephole"])
def test_chunks_by_hand(name, options, truncate, checkpoint, lengths):
    net = nn.Recurrent(CELLS[name][0], I, H, seed=0, **D, **options)
    state = tuple(RNG.normal(size=(len(net.cell.states), net.num_layers, B, H)))
    d_state, dy = tuple(RNG.normal(size=np.shape(state))), DY[..., :H]
    expected = chunk_by_chunk(net, X, state, dy, d_state, truncate, lengths)
    *_, tape = net.forward(X, state, lengths, checkpoint=checkpoint)
    whole = net.backward(tape, dy, d_state)
    for _ in range(2):
        gradients = net.backward(tape, dy, d_state, truncate=truncate)
        assert_close(gradients.flat, expected[0], GRADIENT["float64"])
        assert_close(gradients.x, expected[1], GRADIENT["float64"])
        for ours, right in zip(gradients.state, expected[2], strict=True):
            assert_close(ours, right, GRADIENT["float64"])
    again = net.backward(tape, dy, d_state)  # another number, and none, on the same tape
    np.testing.assert_array_equal(again.flat, whole.flat)
    if truncate >= T:
        np.testing.assert_array_equal(gradients.flat, whole.flat)


def test_both_directions_by_torch():
    """With states that are detached between chunks; the second layer reads both directions."""
    torch = pytest.importorskip("torch")
    net = nn.LSTM(I, H, 2, bidirectional=True, seed=0, **D)
    theirs = {name: torch.tensor(value, requires_grad=True) for name, value in net.state_dict().items()}
    x = out = torch.tensor(X, requires_grad=True)
    for layer in range(2):
        ways = []
        for end in (f"_l{layer}", f"_l{layer}_reverse"):
            W, R, b, c = (theirs[f"{name}{end}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            h = cell = torch.zeros(B, H, dtype=torch.float64)
            ys = [None] * T
            for t in reversed(range(T)) if end.endswith("reverse") else range(T):
                edge = T - 1 - t if end.endswith("reverse") else t  # steps are counted as they are read
                if edge % 4 == 0 and 0 < edge < T:
                    h, cell = h.detach(), cell.detach()
                i, f, g, o = (out[t] @ W.T + h @ R.T + b + c).chunk(4, -1)
                cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
                ys[t] = h = o.sigmoid() * cell.tanh()
            ways.append(torch.stack(ys))
        out = torch.cat(ways, -1)
    (out * torch.tensor(DY)).sum().backward()
    y, _, tape = net.forward(X)
    assert_close(y, out.detach().numpy(), 1e-12)
    gradients = net.backward(tape, DY, truncate=4)
    assert_close(gradients.x, x.grad.numpy(), GRADIENT["float64"])
    for name, parameter in theirs.items():
        assert_close(gradients.params[name], parameter.grad.numpy(), GRADIENT["float64"])


@pytest.mark.parametrize(("steps", "rows", "truncate"), [(300, 9, 7), (40, 120, 16), (600, 2, 100)])
def test_many_rows(steps, rows, truncate):
    """More than one segment, threads by rows and by units, and in a reserve."""
    net = nn.GRU(5, 64, learn_initial_state=True, seed=0, **D)
    x, dy = RNG.normal(size=(steps, rows, 5)), RNG.normal(size=(steps, rows, 64))
    reserve = np.empty(net.reserve_size(steps, rows), "u1")
    *_, tape = net.forward(x, reserve=reserve)
    gradients = net.backward(tape, dy, truncate=truncate)
    state, flat = None, 0
    for first in range(0, steps, truncate):
        _, state, own = net.forward(x[first : first + truncate], state)
        flat = flat + net.backward(own, dy[first : first + truncate]).flat
    assert_close(gradients.flat, flat, GRADIENT["float64"])
    again = net.backward(None, dy, truncate=truncate, reserve=reserve)
    np.testing.assert_array_equal(again.flat, gradients.flat)


def test_of_a_stack():
    stack = nn.Stack([nn.LSTM(I, H, seed=0, **D), nn.GRU(H, H, seed=1, **D)], residual=True)
    *_, tape = stack.forward(X)
    gradients = stack.backward(tape, DY[..., :H], truncate=4)
    state, flat = None, 0
    for first in range(0, T, 4):
        _, state, own = stack.forward(X[first : first + 4], state)
        flat = flat + stack.backward(own, DY[first : first + 4, :, :H]).flat
    assert_close(gradients.flat, flat, GRADIENT["float64"])


def test_numbers_that_are_no_steps():
    net = nn.GRU(I, H, seed=0)
    *_, tape = net.forward(X)
    message_of(ValueError, lambda: net.backward(tape, None, truncate=0), "truncate is 0")
    message_of(TypeError, lambda: net.backward(tape, None, truncate=2.5), "truncate is 2.5")
