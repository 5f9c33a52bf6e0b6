"""Write zoo.npz: outputs and gradients of nblstm's cells, by torchrecurrent 0.2.5 or by loops from papers.

Run by hand, with torch and torchrecurrent installed: ``python tests/golden/make_zoo.py``. The tests read the file and
need neither. Nothing of nblstm is imported; weights have its names, shapes and order, and each case below says how
torchrecurrent's are made of them. All is float64; derivatives are torch's, of

    sum(dy * y) + sum over states of sum(dstate * final state)

Each case has x (T, B, I), initial/s and final/s (B, H), signals/s, weights/p, y, dy, dfinal/s, and the gradients dx,
dinitial/s, dsignals/s, dweights/p; see `pack`. NaN in a gradient: torchrecurrent has no such parameter.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torchrecurrent
from torch.func import functional_call

sys.path.insert(0, str(Path(__file__).parent))
from zoo_papers import PAPERS, Case, H, I

T, B = 5, 3


class HardSigmoid(torch.nn.Module):
    """clip(x / 6 + 1/2, 0, 1): the derivative of torch's own has 1/6 in float32, in float64 too."""

    def forward(self, x):
        return torch.clip(x / 6 + 0.5, 0, 1)


def with_one(x):
    """The input with a feature that is always 1: its weights are biases that torchrecurrent does not have."""
    return torch.cat([x, torch.ones_like(x[:, :1])], 1)


def by_torchrecurrent(name, cell, ih, hh="", states="h", *, weights, call=None, one=False, options=None, **case):
    """A case whose step is a cell of torchrecurrent.

    Parameters
    ----------
    name : str
        In nblstm.
    cell : str
        In torchrecurrent, without ``Cell``.
    ih, hh : str
        Gates with rows of weight_ih, and of weight_hh, in nblstm.
    states : str
    weights : callable
        From nblstm's weights to torchrecurrent's, by name; both as blocks.
    call : callable, optional
        From the cell as a function of (x, state), x and nblstm's states to nblstm's new states; one state, or two if
        ``states`` are two, pass as they are otherwise.
    one : bool
        Whether the cell is given `with_one` of the input.
    options : dict, optional
        Of the cell.
    """
    size = case.get("input_size", I)
    made = getattr(torchrecurrent, f"{cell}Cell")(size + one, H, dtype=torch.float64, **(options or {}))

    def step(w, x, s, signals):
        given = weights(w)
        unknown = set(given) - {n for n, _ in [*made.named_parameters(), *made.named_buffers()]}
        assert not unknown, (name, unknown)
        missing = {n for n, _ in made.named_parameters()} - set(given)
        assert not missing, (name, missing)

        def run(x, *state):
            return functional_call(made, given, (with_one(x) if one else x, *state))

        if call is not None:
            return call(run, x, s)
        new = run(x, s if len(s) > 1 else s[0])
        return new if isinstance(new, tuple) else (new,)

    return Case(name, ih, hh, states, step=step, **case)


def blocks(ih, hh="", bias_ih=None, bias_hh=None):
    """Weights that have the same names in torchrecurrent, of these gates in this order."""

    def weights(w):
        found = {"weight_ih": w.W(ih), "bias_ih": w.b(ih if bias_ih is None else bias_ih)}
        if hh:
            found |= {"weight_hh": w.R(hh), "bias_hh": w.c(hh if bias_hh is None else bias_hh)}
        return found

    return weights


def plain(name, cell, gates, hh=None, states="h", **case):
    """A case with the same weights in both."""
    hh = gates if hh is None else hh
    return by_torchrecurrent(name, cell, gates, hh, states, weights=blocks(gates, hh), **case)


def joined(first, second):
    """Two vectors of blocks as one."""
    return torch.cat([first, second])


def originallstm(run, x, s):
    """The paper's c is twice torchrecurrent's."""
    h, c = run(x, (s[0], s[1] / 2))
    return h, 2 * c


def strongly_typed(w):
    """The weights of the previous input, and its biases: nblstm adds them from the second step on."""
    later = "z_next f_next o_next"
    return {
        "weight_ih": w.W1("z f o"), "weight_hh": w.W1(later),
        "bias_ih": torch.zeros(3 * H, dtype=torch.float64), "bias_hh": torch.zeros(3 * H, dtype=torch.float64),
    }  # fmt: skip


class Previous:
    """Calls of T-GRU and T-LSTM, whose state is the previous input: zero at first, and so without its 1."""

    def __init__(self, states):
        self.states = states

    def __call__(self, run, x, s):
        held = s[self.states :]
        previous = held[0].input if hasattr(held[0], "input") else torch.zeros(B, I + 1, dtype=torch.float64)
        out = run(x, (s[0] if self.states == 1 else s[1], previous))
        new = (out[0],) if self.states == 1 else (out[0], out[1][0])
        kept = torch.full((B, H), torch.nan, dtype=torch.float64)
        kept.input = with_one(x)
        return *new, kept, kept, kept


LAST = "z_last f_last o_last"
TYPED = "z f o z_next f_next o_next"

CASES = [
    plain("antisymmetricrnn", "AntisymmetricRNN", "a", options={"gamma": 0.0}),
    plain("antisymmetricrnn_with(0.5,0.3)", "AntisymmetricRNN", "a", options={"epsilon": 0.5, "gamma": 0.3}),
    by_torchrecurrent(
        "gatedantisymmetricrnn", "GatedAntisymmetricRNN", "z v", "a",
        weights=lambda w: {"weight_ih": w.W("z v"), "weight_hh": w.R("a"), "bias_hh": w.c("a"),
                           "bias_ih": joined(w.b("z") + w.c("a"), w.b("v"))},
    ),
    plain("atr", "ATR", "p", "q"),
    by_torchrecurrent(
        "br", "BR", "a c n", vectors="w_a w_c", options={"recurrent_bias": False},
        weights=lambda w: {"weight_ih": w.W("a c n"), "bias_ih": w.b("a c n"), "weight_hh": joined(w["w_a"], w["w_c"])},
    ),
    plain("nbr", "NBR", "a c n", "a c"),
    plain("cfn", "CFN", "theta eta v", "theta eta"),
    plain("sgu", "SGU", "g z", options={"gate_nonlinearity": HardSigmoid()}),
    by_torchrecurrent(
        "dsgu", "DSGU", "g z", "g z o", no_bias="o", options={"gate_nonlinearity": HardSigmoid()},
        weights=lambda w: blocks("g z", "g z")(w) | {"weight_ho": w.R("o")},
    ),
    by_torchrecurrent(
        "fastrnn", "FastRNN", "a", "a", scalars="alpha beta",
        weights=lambda w: blocks("a", "a")(w) | {"alpha": w["alpha"], "beta": w["beta"]},
    ),
    by_torchrecurrent(
        "fastgrnn", "FastGRNN", "a", "a", bias=False, vectors="b_z b_h", scalars="zeta nu",
        options={"nonlinearity": "sigmoid", "recurrent_bias": False},
        weights=lambda w: {"weight_ih": w.W("a"), "weight_hh": w.R("a"), "bias_ih": joined(w["b_z"], w["b_h"]),
                           "zeta": w["zeta"], "nu": w["nu"]},
    ),
    *(
        by_torchrecurrent(
            name, "IndRNN", "a", vectors="u", options={"nonlinearity": activation, "recurrent_bias": False},
            weights=lambda w: blocks("a")(w) | {"vector_u": w["u"]},
        ) for name, activation in (("indrnn", "relu"), ("indrnn_with('tanh')", "tanh"))
    ),
    plain("intersectionrnn", "IntersectionRNN", "y_in h_in g_y g_h", states="h y", output="y", input_size=H,
          call=lambda run, x, s: run(x, s[0])[::-1]),
    by_torchrecurrent("janet", "JANET", "s c_in", "s c_in", "c", call=lambda run, x, s: run(x, (s[0], s[0]))[:1],
                      weights=lambda w: blocks("s c_in", "s c_in")(w) | {"beta": torch.tensor(1.0)}),
    *(
        by_torchrecurrent(
            f"lem{tag}", "LEM", "t1 t2 z_in y_in", "t1 t2 z_in y_in", "y z", options={"dt": dt},
            weights=lambda w: blocks("t2 t1 z_in y_in", "t2 t1 z_in")(w)
            | {"weight_ch": w.R("y_in"), "bias_ch": w.c("y_in")},
        ) for tag, dt in (("/torchrecurrent", 0.7),)
    ),
    plain("ligru", "LiGRU", "z n"),
    plain("lightru", "LightRU", "n f", "f"),
    plain("mclstm", "MCLSTM", "f i o m n", states="v c h", output="h",
          call=lambda run, x, s: (lambda h, vc: (*vc, h))(*run(x, s[:2]))),
    plain("mgu", "MGU", "f n"),
    by_torchrecurrent(
        "minimalrnn", "MinimalRNN", "z", "u v",
        weights=lambda w: blocks("z", "u")(w) | {"weight_mm": w.R("v"), "bias_hh": w.c("u") + w.c("v")},
    ),
    plain("miru1", "MiRU1", "r n"),
    plain("miru1_with(0.3)", "MiRU1", "r n", options={"update_coefficient": 0.3}),
    plain("miru2", "MiRU2", "n"),
    plain("miru2_with(0.3,0.8)", "MiRU2", "n", options={"update_coefficient": 0.3, "reset_coefficient": 0.8}),
    by_torchrecurrent(
        "multiplicativelstm", "MultiplicativeLSTM", "m i f g o", "m i f g o", "h c",
        weights=lambda w: blocks("m i f g o", "m")(w) | {"weight_mh": w.R("i f g o"), "bias_mh": w.c("i f g o")},
    ),
    plain("mut1_with(True)", "MUT1", "z r n", "r n"),
    plain("mut2_with(True)", "MUT2", "z r n"),
    plain("mut3", "MUT3", "z r n"),
    plain("nas/torchrecurrent", "NAS", "g1 g2 g3 g4 g5 g6 g7 g8", states="h c"),
    by_torchrecurrent(
        "originallstm", "OriginalLSTM", "i g o", "i g o", "h c", call=originallstm,
        weights=lambda w: {k: torch.cat([v[:H], v[H : 2 * H] / 2, v[2 * H :]])
                           for k, v in blocks("i g o", "i g o")(w).items()},
    ),
    by_torchrecurrent(
        "peepholelstm", "PeepholeLSTM", "i f g o", "i f g o", "h c", vectors="p_i p_f p_o",
        weights=lambda w: blocks("i f g o", "i f g o")(w) | {"weight_ph": w.all("p_i p_f p_o")},
    ),
    by_torchrecurrent(
        "ran", "RAN", "n i f", "i f", "h c", one=True,
        weights=lambda w: {"weight_ih": w.W1("n i f"), "weight_hh": w.R("i f"), "bias_hh": w.c("i f"),
                           "bias_ih": torch.zeros(2 * H, dtype=torch.float64)},
    ),
    by_torchrecurrent(
        "reslstm", "ResLSTM", "i f g o m", "i f g o m", "h c", vectors="p_i p_f p_o", one=True,
        weights=lambda w: {"weight_ih": w.W1("i f g o"), "weight_hh": w.R("i f g o"), "bias_hh": w.c("i f g o"),
                           "bias_ih": torch.zeros(4 * H, dtype=torch.float64), "weight_proj": w.R("m"),
                           "weight_res": torch.cat([w.W("m"), (w.b("m") + w.c("m"))[:, None]], 1),
                           "weight_ph": w.all("p_i p_f p_o")},
    ),
    *(
        by_torchrecurrent(
            name, "coRNN", "a", "a w", "y z", options=options,
            weights=lambda w: blocks("a", "a")(w) | {"weight_ch": w.R("w"), "bias_ch": w.c("w")},
        ) for name, options in (
            ("cornn", {}), ("cornn_with(0.2,1.5,0.7)", {"dt": 0.2, "gamma": 1.5, "epsilon": 0.7})
        )
    ),
    by_torchrecurrent(
        "scrn/torchrecurrent", "SCRN", "b a", "a p u v", "h s", scalars="alpha",
        weights=lambda w: blocks("b a", "a u")(w) | {"weight_ch": w.R("p v"), "bias_ch": w.c("p v"),
                                                     "alpha": w["alpha"][0]},
    ),
    plain("sgrn", "SGRN", "a"),
    plain("star", "STAR", "z k", "k"),
    *(
        plain(name, "tauGRU", "u z g a", states=" ".join(["h", *(f"h_{k + 1}" for k in range(delay))]),
              call=lambda run, x, s: (run(x, s[0], s[-1]), s[0], *s[1:-1]))
        for name, delay in (("taugru", 1), ("taugru_with(3)", 3))
    ),
    by_torchrecurrent("trnn", "TRNN", "z f", weights=blocks("z f")),
    by_torchrecurrent("tgru", "TGRU", TYPED, "", f"h {LAST}", one=True, call=Previous(1), weights=strongly_typed,
                      starting=LAST),
    by_torchrecurrent("tlstm", "TLSTM", TYPED, "", f"h c {LAST}", one=True, call=Previous(2), weights=strongly_typed,
                      starting=LAST),
    plain("ugrnn", "UGRNN", "c g"),
    *(
        by_torchrecurrent(
            name, "UnICORNN", "v", "", "y z", vectors="w c", options=options,
            weights=lambda w: blocks("v")(w) | {"weight_hh": w["w"], "weight_ch": w["c"]},
        ) for name, options in (("unicornn", {}), ("unicornn_with(0.2,0.9)", {"dt": 0.2, "alpha": 0.9}))
    ),
    by_torchrecurrent(
        "wmclstm", "WMCLSTM", "i f g o", "i f g o m_i m_f m_o", "h c",
        weights=lambda w: blocks("i f g o", "i f g o")(w)
        | {"weight_mh": w.R("m_i m_f m_o"), "bias_mh": w.c("m_i m_f m_o")},
    ),
    *PAPERS,
]  # fmt: skip


class Weights(dict):
    """Weights by nblstm's names, and blocks of them by gates: W and b of the input, R and c of the recurrence."""

    def __init__(self, case, arrays):
        super().__init__({name.removesuffix("_l0"): array for name, array in arrays.items()})
        self.case = case

    def _rows(self, name, gates, of):
        of, H = of.split(), self.case.hidden_size
        array = self[name] if name in self else torch.zeros(len(of) * H, dtype=torch.float64)
        return torch.cat([array[of.index(g) * H :][:H] for g in gates.split()])

    def W(self, gates):
        return self._rows("weight_ih", gates, self.case.ih)

    def R(self, gates):
        return self._rows("weight_hh", gates, self.case.hh)

    def b(self, gates):
        return self._rows("bias_ih", gates, self.case.ih)

    def c(self, gates):
        return self._rows("bias_hh", gates, self.case.hh)

    def W1(self, gates):
        """W beside b: for `with_one` of the input."""
        return torch.cat([self.W(gates), self.b(gates)[:, None]], 1)

    def all(self, names):
        return torch.cat([self[name] for name in names.split()])


def drawn(rng, *shape, low=-0.8, high=0.8):
    """Random numbers of few bits, which take little room."""
    return np.round(rng.uniform(low, high, shape) * 64) / 64


def pack(name, inputs, results, arrays):
    """Numbers of a case as two vectors, 64ths as integers and float64, and the shapes of the parts, as JSON."""
    shapes = [{key: value.shape for key, value in part.items()} for part in (inputs, results)]
    flat = [np.concatenate([value.ravel() for value in part.values()]) for part in (inputs, results)]
    whole = (flat[0] * 64).astype(np.int16)
    assert (whole / 64 == flat[0]).all()
    arrays |= {f"{name}|shapes": json.dumps(shapes), f"{name}|inputs": whole, f"{name}|results": flat[1]}


def write(case, arrays, rng):
    size, H = case.input_size, case.hidden_size
    gates_ih, gates_hh = len(case.ih.split()), len(case.hh.split())
    given = {"x": drawn(rng, T, B, size, low=-1.5, high=1.5)}
    shapes = {"weight_ih": (gates_ih * H, size), "weight_hh": (gates_hh * H, case.columns or H)}
    shapes |= {"bias_ih": (gates_ih * H,), "bias_hh": (gates_hh * H,)} if case.bias else {}
    shapes |= dict.fromkeys(case.vectors.split(), (H,)) | dict.fromkeys(case.scalars.split(), (1,))
    shapes |= case.parameters
    given |= {f"weights/{name}_l0": drawn(rng, *shape) for name, shape in shapes.items() if shape[0]}
    for gate in case.no_bias.split():
        at = case.hh.split().index(gate) * H
        given["weights/bias_hh_l0"][at : at + H] = 0
    for state in case.states.split():
        given[f"initial/{state}"] = drawn(rng, B, H) * (state not in case.starting.split())
    for state, low in case.least.items():
        given[f"initial/{state}"] = drawn(rng, B, H, low=low, high=low + 1)
    for signal, kind in case.signals.items():
        shape = (T, B, size) if kind in ("feature", "mask") else (T, B, H) if kind == "unit" else (T, B)
        given[f"signals/{signal}"] = drawn(rng, *shape, low=-1.5 if kind == "unit" else 0, high=2)
        if kind == "unit":
            given[f"signals/{signal}"][given[f"signals/{signal}"] == 0] = 1 / 64  # at 0 is a kink
        if kind == "mask":
            given[f"signals/{signal}"] = (given[f"signals/{signal}"] > 1).astype(float)
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in given.items()}
    w = Weights(case, {n.removeprefix("weights/"): a for n, a in leaves.items() if n.startswith("weights/")})
    states = case.states.split()
    s = tuple(leaves[f"initial/{state}"] for state in states)
    y = []
    for t in range(T):
        s = tuple(case.step(w, leaves["x"][t], s, {k: leaves[f"signals/{k}"][t] for k in case.signals}))
        y.append(s[states.index(case.output)] if case.output else s[0])
    results = {"y": torch.stack(y)} | {f"final/{k}": v for k, v in zip(states, s, strict=True)}
    results = {k: v for k, v in results.items() if not torch.isnan(v).any()}
    drawn_names = {*given, *(f"d{key}" for key in results)}
    loss = torch.zeros((), dtype=torch.float64)
    for key, value in results.items():
        given[f"d{key}"] = drawn(rng, *value.shape)
        loss = loss + (value * torch.tensor(given[f"d{key}"])).sum()
    known = [k for k in leaves if k not in {f"initial/{state}" for state in case.starting.split()}]
    gradients = torch.autograd.grad(loss, [leaves[k] for k in known], allow_unused=True)
    for key, gradient in zip(known, gradients, strict=True):
        given[f"d{key}"] = (torch.zeros_like(leaves[key]) if gradient is None else gradient).numpy()
    for gate in case.no_bias.split():
        at = case.hh.split().index(gate) * H
        given["dweights/bias_hh_l0"][at : at + H] = np.nan
    given |= {key: value.detach().numpy() for key, value in results.items()}
    exact = {key: value for key, value in given.items() if key in drawn_names}
    pack(case.name, exact, {key: value for key, value in given.items() if key not in drawn_names}, arrays)


def main() -> None:
    arrays = {}
    for number, case in enumerate(CASES):
        write(case, arrays, np.random.default_rng(number))
    path = Path(__file__).with_name("zoo.npz")
    np.savez_compressed(path, **arrays)
    print(path, path.stat().st_size, "bytes,", len(CASES), "cases")


if __name__ == "__main__":
    main()
