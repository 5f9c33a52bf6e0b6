"""Cells that use each part of the language, for tests of what steps a network."""

from nblstm import cell, cells, exp, layer_norm, maximum, mean, noise, sigmoid, softmax, stop_gradient, sum, tanh


@cell(gates="r z n", states="h", called="z n")
def three_stages(r, z, n, h):
    z = sigmoid(z(sigmoid(r) * h))
    return (1 - z) * tanh(n(z * h)) + z * h


@cell(gates="a b", states="h c", called="a")
def product_of_another_state(a, b, h, c):
    c = 0.5 * c + 0.5 * tanh(a(c))
    return sigmoid(b) * c, c


@cell(gates="r n", states="h", split="n", called="n")
def called_half(r, n_x, n_h, h):
    r = sigmoid(r)
    return 0.5 * h + 0.5 * tanh(n_x + r * n_h(r * h))


@cell(gates="u p g", states="h", input_only="u", recurrent_only="p")
def one_sided_gates(u, p, g, h):
    return sigmoid(u) * h + (1 - sigmoid(p)) * tanh(g)


@cell(gates="t g", states="h", recurrent_only="g")
def highway(t, g, h, x):
    t = sigmoid(t)
    return t * tanh(g) + (1 - t) * x


@cell(gates="a", states="h", vectors="u", scalars="alpha beta")
def scalars(a, h, u, alpha, beta):
    return (1 - sigmoid(alpha)) * h + beta * tanh(a + u * h)


@cell(gates="a", states="h", matrix=cells.antisymmetric(0.1))
def antisymmetric(a, h):
    return h + 0.1 * tanh(a)


@cell(gates="r n", states="h", called="n", matrix=cells.heads(2))
def heads(r, n, h):
    return tanh(n(sigmoid(r) * h))


@cell(gates="z g", states="h", matrix=cells.low_rank(2))
def low_rank(z, g, h):
    z = sigmoid(z)
    return z * h + (1 - z) * tanh(g)


@cell(gates="i f g o", states="h c", vectors="gain shift")
def layer_norm_lstm(i, f, g, o, h, c, gain, shift):
    c = sigmoid(layer_norm(f)) * c + sigmoid(layer_norm(i)) * tanh(g)
    return sigmoid(o) * tanh(layer_norm(c, 1 + gain, shift)), c


@cell(gates="a n", states="h", called="n")
def attention(a, n, h):
    weights = softmax(a)
    return 0.5 * h + tanh(n(weights * h) + mean(h) * sum(weights * h))


@cell(gates="f g", states="h", signals="dt keep", vectors="w")
def decay(f, g, h, dt, keep, w):
    h = exp(-maximum(w * w * dt, 0.0)) * h
    return keep * h + (1 - keep) * sigmoid(f) * tanh(g)


@cell(gates="r n", states="h m", signals="dt", called="n", scalars="s", output="m", initial={"h": 0.5})
def everything(r, n, h, m, x, dt, s):
    r = sigmoid(layer_norm(r) + dt)
    new = tanh(n(r * h) * mean(x) + s * x)
    return new, 0.5 * m + stop_gradient(r) * new


@cell(gates="", states="h")
def no_gates(h, x):
    return 0.5 * h + x


@cell(gates="g", states="h", split="g")
def noisy(g_x, g_h, h):
    keep = noise.bernoulli(0.3)
    return keep * h + (1 - keep) * tanh(g_x + noise.bernoulli(0.5, per="sequence") * g_h) + noise.normal(0.1)


CELLS = {name: made for name, made in list(vars().items()) if type(made).__name__ == "Cell"}


def signals_of(made, shape, H, rng, dtype="float64"):
    """Signals of a cell: the first a number for each step, the others one for each unit too."""
    shapes = [shape if not k else (*shape, H) for k in range(len(made.signals))]
    return {name: rng.uniform(0.1, 0.9, own).astype(dtype) for name, own in zip(made.signals, shapes, strict=True)}
