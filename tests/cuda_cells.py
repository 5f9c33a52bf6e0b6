"""Cells that between them have all of the language, for the tests of CUDA's kernels of one step."""

from nblstm import cell, cells, layer_norm, mean, noise, relu, sigmoid, softmax, sum, tanh


@cell(gates="i f g o", states="h c", vectors="gain bias")
def normed(i, f, g, o, h, c, gain, bias):
    """Sums over units of pre-activations, one after another within a kernel."""
    i, f, g, o = (layer_norm(z, gain, bias) for z in (i, f, g, o))
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(layer_norm(c)), c


@cell(gates="a b n", states="h c", split="a", called="a n", input_only="b", signals="dt keep", scalars="alpha")
def all_parts(a_x, a_h, b, n, h, c, x, dt, keep, alpha):
    """Three products with different operands, x itself, signals, a scalar, noise and softmax."""
    r = sigmoid(a_x + a_h(c * noise.bernoulli(0.7)))
    p = softmax(n(r * h) * dt + alpha * h)
    return tanh(p + b) * x + noise.normal(0.1, per="sequence"), keep * h * sigmoid(b) + sum(c) / 8


@cell(gates="a b", states="h", vectors="v", signals="dt keep")
def scheduled(a, b, h, dt, keep, v):
    """Noise whose probability and deviation are computed in the step."""
    k = noise.bernoulli(0.5 * dt + 0.2 * h)
    new = tanh(a + noise.normal(v * keep)) * noise.bernoulli(sigmoid(b), per="sequence")
    return k * h + (1 - k) * new


@cell(gates="a b p", states="h", called="a p", recurrent_only="a p", input_only="b", signals="dt")
def copied(a, b, p, h, x, dt):
    """Products of what the kernel is given: x, a pre-activation; and a sum of a signal."""
    return tanh(a(b) + p(x) + mean(dt) + 0.5 * h)


@cell(gates="a", states="h", input_only="a", vectors="u")
def independent(a, h, u):
    """No product at all."""
    return relu(a + u * h)


@cell(gates="z n", states="h", input_only="n", scalars="zeta nu")
def plain(z, n, h, zeta, nu):
    """One product, scalars and a gate without a recurrence: a kernel of a whole sequence."""
    kept = sigmoid(z)
    return (sigmoid(zeta) * (1 - kept) + sigmoid(nu)) * tanh(n) + kept * h


@cell(gates="a b", states="h c", recurrent_only="a b", signals="dt", output="c", initial={"h": 0.3})
def without_input(a, b, h, c, dt):
    """No gate that the input feeds."""
    return tanh(a + dt), 0.5 * c + sigmoid(b) * h


STEPS = {made.name: made for made in (normed, all_parts, copied, independent, without_input)}
STEPS["lstm_zoneout"] = cells.zoneout(cells.lstm, 0.1, 0.5)
STEPS["scheduled"] = scheduled
STEPS["gru_variational"] = cells.variational(cells.gru, 0.3, per_gate=True)
