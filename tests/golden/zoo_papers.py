"""Steps of recurrent cells in torch, written from their papers, for `make_zoo`: cells that torchrecurrent has not.

Nor does it have these as the papers have them: LEM, SCRN, MUT1, MUT2 and, by its authors' own program, NAS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import exp, log, relu, sigmoid, tanh
from torch.nn.functional import layer_norm, logsigmoid, softplus

I, H = 4, 5


class Case(NamedTuple):
    """A cell as nblstm declares it, and its step.

    Attributes
    ----------
    name : str
        An expression for the cell in nblstm.cells; what follows a slash tells variants apart.
    ih, hh : str
        Gates with rows of weight_ih, and of weight_hh.
    states : str
    step : callable
        From weights, x (B, I), states and signals by name to the new states.
    vectors, scalars : str
    output : str
        The state that is the output; the first if empty.
    signals : mapping of str to str
        Their kinds: "step", "feature", "unit" or "mask".
    input_size, hidden_size : int
    bias : bool
    columns : int
        Of weight_hh, if not H.
    no_bias : str
        A gate of ``hh`` whose bias the oracle lacks: it is 0 there.
    starting : str
        States that are 0 at first.
    least : mapping of str to float
        The lowest initial value of a state, where it is not -0.8.
    parameters : mapping of str to tuple of int
        Shapes of other parameters.
    """

    name: str
    ih: str
    hh: str
    states: str
    step: Callable
    vectors: str = ""
    scalars: str = ""
    output: str = ""
    signals: Mapping[str, str] = MappingProxyType({})
    input_size: int = I
    hidden_size: int = H
    bias: bool = True
    columns: int = 0
    no_bias: str = ""
    starting: str = ""
    least: Mapping[str, float] = MappingProxyType({})
    parameters: Mapping[str, tuple[int, ...]] = MappingProxyType({})


def W(w, gate, x):
    return x @ w.W(gate).T + w.b(gate)


def R(w, gate, h):
    return h @ w.R(gate).T + w.c(gate)


def both(w, gates, x, h):
    return [W(w, gate, x) + R(w, gate, h) for gate in gates.split()]


def lem(dt):
    def step(w, x, s, signals):
        y, z = s
        dt_n, dt_bar = (dt * sigmoid(v) for v in both(w, "t1 t2", x, y))
        z = (1 - dt_n) * z + dt_n * tanh(W(w, "z_in", x) + R(w, "z_in", y))
        return (1 - dt_bar) * y + dt_bar * tanh(R(w, "y_in", z) + W(w, "y_in", x)), z

    return step


def scrn(alpha, f):
    def step(w, x, states, signals):
        h, s, _ = states
        s = (1 - alpha) * W(w, "b", x) + alpha * s
        h = sigmoid(R(w, "p", s) + W(w, "a", x) + R(w, "a", h))
        return h, s, f(R(w, "u", h) + R(w, "v", s))

    return step


def mut1(w, x, s, signals):
    (h,) = s
    z = sigmoid(W(w, "z", x))
    r = sigmoid(W(w, "r", x) + R(w, "r", h))
    return (tanh(R(w, "n", r * h) + tanh(x)) * z + h * (1 - z),)


def mut2(w, x, s, signals):
    (h,) = s
    z = sigmoid(W(w, "z", x) + R(w, "z", h))
    r = sigmoid(x + R(w, "r", h))
    return (tanh(R(w, "n", r * h) + W(w, "n", x)) * z + h * (1 - z),)


def nas(w, x, s, signals):
    m, c = s
    l1 = [W(w, f"g{k}", x) + R(w, f"g{k}", m) if k != 4 else W(w, "g4", x) * R(w, "g4", m) for k in range(1, 9)]
    l1 = [f(z) for f, z in zip([sigmoid, relu, sigmoid, relu, tanh, sigmoid, tanh, sigmoid], l1, strict=True)]
    l2 = [tanh(l1[0] * l1[1]), tanh(l1[2] + l1[3]), tanh(l1[4] * l1[5]), sigmoid(l1[6] + l1[7])]
    c = tanh(l2[0] + c) * l2[1]
    return tanh(c * tanh(l2[2] + l2[3])), c


def slstm(exponential, heads=1):
    def step(w, x, s, signals):
        h, c, n, m = s

        def pre(gate):
            rows = w.R(gate).reshape(heads, len(h[0]) // heads, -1)
            parts = h.reshape(len(h), heads, -1)
            return W(w, gate, x) + torch.einsum("bkj,kij->bki", parts, rows).reshape(h.shape) + w.c(gate)

        i, f, z, o = map(pre, "ifzo")
        f = f if exponential else logsigmoid(f)
        new_m = torch.maximum(f + m, i)
        stable_i, stable_f = exp(i - new_m), exp(f + m - new_m)
        c = stable_f * c + stable_i * tanh(z)
        n = stable_f * n + stable_i
        return sigmoid(o) * (c / n), c, n, new_m

    return step


def gru_d_input(w, x, s, signals):
    _, last = s
    m, delta = signals["m"].detach(), signals["gap"]
    gamma = exp(-torch.clamp(w["w"] * delta + w["b"], min=0))
    return m * x + (1 - m) * (gamma * last + (1 - gamma) * w["mean"]), m * x + (1 - m) * last


def gru_d(w, x, s, signals):
    h = exp(-torch.clamp(signals["gap"], min=0)) * s[0]
    r, z = (sigmoid(v) for v in both(w, "r z", x, h))
    return ((1 - z) * h + z * tanh(W(w, "n", x) + R(w, "n", r * h)),)


def time_aware_lstm(w, x, s, signals):
    h, c = s
    short = tanh(R(w, "d", c))
    discounted = short * (1 / log(math.e + signals["gap"]))[:, None]
    adjusted = (c - short) + discounted
    i, f, g, o = both(w, "i f g o", x, h)
    c = sigmoid(f) * adjusted + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def phased_lstm(r_on, alpha):
    def step(w, x, s, signals):
        h, c = s
        tau = exp(w["log_tau"])
        since = signals["t"][:, None] - w["s"]
        phi = (since - tau * torch.floor(since / tau).detach()) / tau
        k = torch.where(phi < r_on / 2, 2 * phi / r_on, torch.where(phi < r_on, 2 - 2 * phi / r_on, alpha * phi))
        i, f, g, o = both(w, "i f g o", x, h)
        new_c = sigmoid(f + w["p_f"] * c) * c + sigmoid(i + w["p_i"] * c) * tanh(g)
        new_h = sigmoid(o + w["p_o"] * new_c) * tanh(new_c)
        return k * new_h + (1 - k) * h, k * new_c + (1 - k) * c

    return step


def ct_lstm(w, x, s, signals):
    h, c, c_bar = s
    i, f, z, o, i_bar, f_bar, delta = both(w, "i f z o i_bar f_bar delta", x, h)
    z, delta = 2 * sigmoid(z) - 1, softplus(delta)
    at_event = sigmoid(f) * c + sigmoid(i) * z
    target = sigmoid(f_bar) * c_bar + sigmoid(i_bar) * z
    c = target + (at_event - target) * exp(-delta * signals["gap"][:, None])
    return sigmoid(o) * (2 * sigmoid(2 * c) - 1), c, target


def cfc(backbone):
    def step(w, x, s, signals):
        (h,) = s
        if backbone:
            z = 1.7159 * tanh(0.6666666666666666 * (W(w, "k1", x) + R(w, "k1", h)))
            for k in range(2, backbone + 1):
                z = 1.7159 * tanh(0.6666666666666666 * R(w, f"k{k}", z))
            f, g, a, b = (R(w, gate, z) for gate in "fgab")
        else:
            f, g, a, b = both(w, "f g a b", x, h)
        t = sigmoid(a * signals["gap"][:, None] + b)
        return (tanh(f) * (1 - t) + t * tanh(g),)

    return step


def norm(z, weight):
    return layer_norm(z, (z.shape[1],), weight=weight)


def layer_norm_lstm(w, x, s, signals):
    h, c = s
    z = norm(x @ w["weight_ih"].T, w.all("w_i w_g w_f w_o")) + norm(h @ w["weight_hh"].T, w.all("r_i r_g r_f r_o"))
    i, g, f, o = (z + w.all("b_i b_g b_f b_o")).chunk(4, 1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(norm(c, w["gain"]) + w["shift"]), c


def layer_norm_gru(w, x, s, signals):
    (h,) = s
    recurrent_bias = torch.cat([0 * w["b_rn"], 0 * w["b_rn"], w["b_rn"]])
    vx = (norm(x @ w["weight_ih"].T, w.all("w_z w_r w_n")) + w.all("b_z b_r b_n")).chunk(3, 1)
    vh = (norm(h @ w["weight_hh"].T, w.all("r_z r_r r_n")) + recurrent_bias).chunk(3, 1)
    z, r = sigmoid(vx[0] + vh[0]), sigmoid(vx[1] + vh[1])
    return (z * h + (1 - z) * tanh(vx[2] + r * vh[2]),)


def mingru(w, x, s, signals):
    z = sigmoid(W(w, "z", x))
    return ((1 - z) * s[0] + z * W(w, "n", x),)


def minlstm(w, x, s, signals):
    f, i = sigmoid(W(w, "f", x)), sigmoid(W(w, "i", x))
    return (f / (f + i) * s[0] + i / (f + i) * W(w, "n", x),)


def rhn(depth):
    def step(w, x, states, signals):
        (s,) = states
        for layer in range(1, depth + 1):
            n, t = R(w, f"n{layer}", s), R(w, f"t{layer}", s)
            if layer == 1:
                n, t = n + W(w, "n1", x), t + W(w, "t1", x)
            t = sigmoid(t)
            s = tanh(n) * t + s * (1 - t)
        return (s,)

    return step


def sru(w, x, s, signals):
    c, _ = s
    f, r = sigmoid(W(w, "f", x) + w["v_f"] * c), sigmoid(W(w, "r", x) + w["v_r"] * c)
    c = f * c + (1 - f) * W(w, "n", x)
    return c, r * c + (1 - r) * x


def fastgrnn_low_rank(w, x, s, signals):
    (h,) = s
    a = x @ w.W("a").T + h @ (w["weight_hh"] @ w["weight_hh_right"]).T
    z = sigmoid(a + w["b_z"])
    return ((sigmoid(w["zeta"]) * (1 - z) + sigmoid(w["nu"])) * tanh(a + w["b_h"]) + z * h,)


ALL_8 = "g1 g2 g3 g4 g5 g6 g7 g8"
HAWKES = "i f z o i_bar f_bar delta"
LN_LSTM = "w_i w_g w_f w_o r_i r_g r_f r_o b_i b_g b_f b_o gain shift"
POSITIVE = {"n": 0.5}

PAPERS = [
    Case("lem", "t1 t2 z_in y_in", "t1 t2 z_in y_in", "y z", lem(1.0)),
    Case("lem_with(0.7)", "t1 t2 z_in y_in", "t1 t2 z_in y_in", "y z", lem(0.7)),
    Case("scrn", "b a", "a p u v", "h s y", scrn(0.95, lambda y: y), output="y"),
    Case("scrn_with(0.8,'tanh')", "b a", "a p u v", "h s y", scrn(0.8, tanh), output="y"),
    Case("mut1", "z r", "r n", "h", mut1, input_size=H),
    Case("mut2", "z n", "z r n", "h", mut2, input_size=H),
    Case("nas", ALL_8, ALL_8, "h c", nas),
    Case("fastgrnn_with(2)", "a", "a", "h", fastgrnn_low_rank, vectors="b_z b_h", scalars="zeta nu", bias=False,
         columns=2, parameters={"weight_hh_right": (2, H)}),
    Case("slstm", "i f z o", "i f z o", "h c n m", slstm(False), least=POSITIVE),
    Case("slstm_with(1,'exp')", "i f z o", "i f z o", "h c n m", slstm(True), least=POSITIVE),
    Case("slstm_with(2)", "i f z o", "i f z o", "h c n m", slstm(False, 2), hidden_size=6, columns=3, least=POSITIVE),
    Case("gru_d_input", "", "", "x_hat last", gru_d_input, vectors="w b mean", input_size=H,
         signals={"m": "mask", "gap": "feature"}),
    Case("gru_d", "r z n", "r z n", "h", gru_d, signals={"gap": "unit"}),
    Case("time_aware_lstm", "i f g o", "i f g o d", "h c", time_aware_lstm, signals={"gap": "step"}),
    Case("phased_lstm", "i f g o", "i f g o", "h c", phased_lstm(0.05, 0.001), vectors="p_i p_f p_o log_tau s",
         signals={"t": "step"}),
    Case("phased_lstm_with(0.6,0.01)", "i f g o", "i f g o", "h c", phased_lstm(0.6, 0.01),
         vectors="p_i p_f p_o log_tau s", signals={"t": "step"}),
    Case("ct_lstm", HAWKES, HAWKES, "h c c_bar", ct_lstm, signals={"gap": "step"}),
    Case("cfc", "k1", "k1 f g a b", "h", cfc(1), signals={"gap": "step"}),
    Case("cfc_with(0)", "f g a b", "f g a b", "h", cfc(0), signals={"gap": "step"}),
    Case("cfc_with(2)", "k1", "k1 k2 f g a b", "h", cfc(2), signals={"gap": "step"}),
    Case("layer_norm_lstm", "i g f o", "i g f o", "h c", layer_norm_lstm, vectors=LN_LSTM, bias=False),
    Case("layer_norm_gru", "z r n", "z r n", "h", layer_norm_gru, bias=False,
         vectors="w_z w_r w_n r_z r_r r_n b_z b_r b_n b_rn"),
    Case("mingru", "z n", "", "h", mingru),
    Case("minlstm", "f i n", "", "h", minlstm),
    Case("rhn", "n1 t1", "n1 t1 n2 t2 n3 t3", "s", rhn(3)),
    Case("rhn_with(1)", "n1 t1", "n1 t1", "s", rhn(1)),
    Case("rhn_with(2)", "n1 t1", "n1 t1 n2 t2", "s", rhn(2)),
    Case("sru", "n f r", "", "c h", sru, vectors="v_f v_r", output="h", input_size=H),
]  # fmt: skip
