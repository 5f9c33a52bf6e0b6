"""Cells for events at irregular times: GRU-D, T-LSTM, phased LSTM, CT-LSTM, CfC."""

import math
from functools import cache

from nblstm.arguments import validate
from nblstm.cells.cell import Cell, cell
from nblstm.cells.variadic import with_arguments
from nblstm.symbolic.functions import exp, log, relu, round, sigmoid, softplus, stop_gradient, tanh, where


@cell(gates="", states="x_hat last", signals="m gap", vectors="w b mean")
def gru_d_input(x_hat, last, x, m, gap, w, b, mean):
    """GRU-D's input: missing features decay to their mean; for I = H (Che et al. 2016, arXiv 1606.01865).

    ``x_hat = m x + (1 - m) (decay last + (1 - decay) mean)``. The signals have one number for each feature: ``m`` is 1
    where it is observed, ``gap`` is the time since then. The output goes to `gru_d`. ``mean`` is a parameter: set it to
    the features' means.
    """
    decay = exp(-relu(w * gap + b))
    x_hat = where(m > 0.5, x, decay * last + (1 - decay) * mean)
    return x_hat, where(m > 0.5, x, last)


@cell(gates="r z n", states="h", called="r z n", signals="gap")
def gru_d(r, z, n, h, gap):
    """GRU-D: a GRU whose state decays over time gaps (Che et al. 2016, arXiv 1606.01865).

    Its input has `gru_d_input`'s output and the mask side by side, ``W [x_hat, m]`` being the paper's ``W x_hat + V
    m``. The signal ``gap``, one number for each unit, is the paper's ``W_gamma delta + b_gamma``: an `nn.Linear` of the
    time gaps, to which its gradient, ``gradients.signals["gap"]``, goes back.
    """
    h = exp(-relu(gap)) * h
    r, z = sigmoid(r(h)), sigmoid(z(h))
    return (1 - z) * h + z * tanh(n(r * h))


@cell(gates="i f g o d", states="h c", recurrent_only="d", called="d", signals="gap")
def time_aware_lstm(i, f, g, o, d, h, c, gap):
    """T-LSTM: short-term memory fades over time gaps (Baytas et al. 2017, doi 10.1145/3097983.3097997).

    ``gap`` is the time since the previous step; its weight is the paper's 1 / log(e + gap).
    """
    short = tanh(d(c))
    c = c - short + short / log(math.e + gap)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return h, c


def phased_lstm_with(r_on: float = 0.05, alpha: float = 0.001) -> Cell:
    """Phased LSTM: units that update in a phase of their rhythm (Neil, Pfeiffer & Liu 2016, arXiv 1610.09513).

    Parameters
    ----------
    r_on : float
        The open part of a period.
    alpha : float
        The leak while the gate is closed; the paper sets it to 0 after training.

    Returns
    -------
    Cell
        The signal ``t`` is the time of the step. A unit's period is exp(log_tau), its shift is ``s``; draw ``log_tau``
        from the logarithms of the time scales in the data. The LSTM has peepholes.
    """
    return _phased_lstm(validate.number("r_on", r_on, 0.0, 1.0, above=True), validate.number("alpha", alpha))


@cache
def _phased_lstm(r_on: float, alpha: float) -> Cell:
    @cell(gates="i f g o", states="h c", signals="t", vectors="p_i p_f p_o log_tau s")
    def phased_lstm(i, f, g, o, h, c, t, p_i, p_f, p_o, log_tau, s):
        """Phased LSTM: units update in a phase of their own rhythm (Neil, Pfeiffer & Liu 2016, arXiv 1610.09513)."""
        periods = (t - s) * exp(-log_tau)
        phase = periods - _floor(periods)
        leak, rise = alpha * phase, 2 * phase / r_on
        k = where(phase < r_on / 2, rise, where(phase < r_on, 2 - rise, leak))
        c_lstm = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * tanh(g)
        h_lstm = sigmoid(o + p_o * c_lstm) * tanh(c_lstm)
        return k * h_lstm + (1 - k) * h, k * c_lstm + (1 - k) * c

    return phased_lstm


def _floor(x):
    nearest = stop_gradient(round(x))
    return where(nearest > x, nearest - 1, nearest)


@cell(gates="i f z o i_bar f_bar delta", states="h c c_bar", signals="gap")
def ct_lstm(i, f, z, o, i_bar, f_bar, delta, h, c, c_bar, gap):
    """CT-LSTM: memory that decays to a target between events (Mei & Eisner 2017, arXiv 1612.09328).

    The neural Hawkes process: a step reads an event; ``gap`` is the time until the next one, and states are those just
    before it.
    """
    z = 2 * sigmoid(z) - 1
    c = sigmoid(f) * c + sigmoid(i) * z
    c_bar = sigmoid(f_bar) * c_bar + sigmoid(i_bar) * z
    c = c_bar + (c - c_bar) * exp(-softplus(delta) * gap)
    h = sigmoid(o) * (2 * sigmoid(2 * c) - 1)
    return h, c, c_bar


def cfc_with(backbone: int = 1) -> Cell:
    """CfC: closed-form continuous-time network (Hasani, Lechner et al. 2022, doi 10.1038/s42256-022-00556-7).

    ``h' = (1 - s) tanh(f) + s tanh(g)`` with ``s = sigmoid(a gap + b)``.

    Parameters
    ----------
    backbone : int, default 1
        Layers of H units, ``1.7159 tanh(2/3 z)``, of input and state, before f, g, a and b; with 0, these see input and
        state themselves.

    Returns
    -------
    Cell
        The signal ``gap`` is the time since the previous step. The step is that of ncps, which has 0.666 for 2/3.
    """
    return _cfc(validate.whole_number("backbone", backbone))


@cache
def _cfc(backbone: int) -> Cell:
    layers = [f"k{k}" for k in range(1, backbone + 1)]
    heads = ["f", "g", "a", "b"]

    def cfc(*arguments):
        """CfC: closed-form continuous-time network (Hasani et al. 2022, doi 10.1038/s42256-022-00556-7)."""
        *given, f, g, a, b, _, gap = arguments
        if backbone:
            z = given[0]
            for layer in given[1:]:
                z = layer(_lecun_tanh(z))
            f, g, a, b = (head(_lecun_tanh(z)) for head in (f, g, a, b))
        s = sigmoid(a * gap + b)
        return (1 - s) * tanh(f) + s * tanh(g)

    later = " ".join([*layers[1:], *heads]) if backbone else ""
    with_arguments(cfc, [*layers, *heads, "h", "gap"])
    return cell(gates=" ".join([*layers, *heads]), states="h", recurrent_only=later, called=later, signals="gap")(cfc)


def _lecun_tanh(x):
    return 1.7159 * tanh(2 / 3 * x)


phased_lstm = phased_lstm_with()
cfc = cfc_with()
