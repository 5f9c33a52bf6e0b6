"""Cells that use what the language has beside gates, states and vectors: for tests of what reads graphs."""

from __future__ import annotations

import nblstm
from nblstm import cell, cells, noise, sigmoid, tanh


@cell(gates="a b c", states="h s", called="b c", vectors="p")
def three_stages(a, b, c, h, s, p):
    """Two operands, of which one depends on the other's gate, and a product of another state."""
    n = tanh(b(sigmoid(a) * s))
    return tanh(c(n * p)) + 0.5 * h, n + 0.25 * s


@cell(gates="r n q", states="h", split="n", called="n q")
def called_halves(r, n_x, n_h, q, h):
    """A half that is called, and a called gate whose operand is the first state itself."""
    return tanh(n_x + sigmoid(r) * n_h(h * h)) + sigmoid(q(h)) * h


@cell(gates="i p g", states="h c", input_only="i", recurrent_only="p", scalars="alpha beta", output="c")
def one_sided(i, p, g, h, c, alpha, beta):
    """Gates of the input alone and of the recurrence alone, and learned scalars."""
    c = sigmoid(i) * c + alpha * tanh(g)
    return tanh(c + beta * p), c


@cell(gates="p q", states="h c", recurrent_only="p q", called="q", signals="dt")
def no_input(p, q, h, c, dt):
    """No gate that the input feeds."""
    return tanh(p + dt), tanh(q(c * dt)) + 0.5 * c


@cell(gates="f g", states="h", signals="dt keep", initial={"h": 0.25})
def timed(f, g, h, dt, keep):
    """A time gap and a mask."""
    h = h * nblstm.exp(-nblstm.softplus(f) * dt)
    return keep * tanh(g + h) + (1 - keep) * h


@cell(gates="t g", states="h", signals="dt", scalars="scale")
def highway(t, g, h, x, dt, scale):
    """The input itself."""
    t = sigmoid(t + scale * dt)
    return t * tanh(g) + (1 - t) * x + 0.125 * h


@cell(gates="f g o", states="h c", vectors="gain bias")
def normed(f, g, o, h, c, gain, bias):
    """Layer normalisation, of a gate and of a state."""
    c = sigmoid(nblstm.layer_norm(f, gain, bias)) * c + tanh(g)
    return sigmoid(o) * tanh(nblstm.layer_norm(c)), c


@cell(gates="a n", states="h m", called="n", signals="u", vectors="v")
def sums(a, n, h, m, u, v):
    """A softmax over units, sums of what is the same for all units, and an operand that is a sum."""
    weights = nblstm.softmax(a)
    total = nblstm.sum(weights * h) + 0.125 * nblstm.mean(u) + 0.0625 * nblstm.sum(v * v)
    return tanh(n(weights + total)), total


@cell(gates="a g", states="h", matrix=cells.antisymmetric(0.05))
def still(a, g, h):
    """An antisymmetric recurrence."""
    return h + 0.1 * tanh(g) * sigmoid(a)


@cell(gates="i g", states="h", called="g", matrix=cells.heads(2))
def headed(i, g, h):
    """A recurrence of two heads."""
    return tanh(g(sigmoid(i) * h))


@cell(gates="z g", states="h", scalars="zeta nu", matrix=cells.low_rank(2))
def fast(z, g, h, zeta, nu):
    """A recurrence of rank 2."""
    z = sigmoid(z)
    return (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * tanh(g) + z * h


@cell(gates="i f g o", states="h c")
def noisy(i, f, g, o, h, c):
    """Zoneout of one state, one mask for a sequence, and Gaussian noise."""
    keep = noise.bernoulli(0.25)
    new = sigmoid(f) * c + sigmoid(i) * tanh(g) * noise.bernoulli(0.5, "sequence") + 0.1 * noise.normal()
    c = keep * c + (1 - keep) * new
    return sigmoid(o) * tanh(c), c


CELLS = [
    three_stages, called_halves, one_sided, no_input, timed, highway, normed, sums, still, headed, fast, noisy,
]  # fmt: skip
