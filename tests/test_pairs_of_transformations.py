"""Cells made of cells made of cells: each pair of transformations, in both orders, against a loop in NumPy.

Noise is given by the caller: while the cells are made, `noise` has functions that return signals.
"""

import itertools

import numpy as np
import pytest
from bptt_reference import sigmoid
from tolerances import OUTPUT, assert_close

from nblstm import CellError, cell, cells, nn, noise, tanh
from nblstm import sigmoid as traced_sigmoid
from nblstm.symbolic.graph import Value

T, B, I, H = 6, 3, 4, 5
RANDOM = np.random.default_rng(0)
X = 2 * RANDOM.normal(size=(T, B, I))
MASK = RANDOM.choice([0.0, 2.0], (B, H))
SIGNALS = {"keep_h": RANDOM.choice([0.0, 1.0], (T, B, H)), "keep_c": RANDOM.choice([0.0, 1.0], (T, B, H)),
           "ones": RANDOM.choice([0.0, 1.0], (T, B, H)), "bell": RANDOM.normal(size=(T, B, H))}  # fmt: skip
GAMMA, LIMIT, LIMIT_OF_Z = 0.2, 0.15, 0.4


def equations(i, f, g, o, h, c, keep_h, keep_c, ones, bell):
    c = traced_sigmoid(f) * c + traced_sigmoid(i) * tanh(g)
    return traced_sigmoid(o) * tanh(c), c


MADE = {
    "zoneout": lambda made: cells.zoneout(made, 0.1, 0.2),
    "variational": lambda made: cells.variational(made, 0.25),
    "per_gate": lambda made: cells.variational(made, 0.25, per_gate=True),
    "gaussian_noise": lambda made: cells.gaussian_noise(made, 0.5),
    "clipped": lambda made: cells.clipped(made, LIMIT),
    "preactivation": lambda made: cells.clipped(made, preactivation=LIMIT_OF_Z),
    "projected": cells.projected,
    "recurrent_dropout": cells.recurrent_dropout,
    "matrix": lambda made: made.with_matrix(cells.antisymmetric(GAMMA)),
}

REFUSED = {
    ("recurrent_dropout", "projected"): r"give cells\.recurrent_dropout\(cells\.projected\(equations\)\), or equations "
    r"with the network's proj_size= and recurrent_dropout=",
    ("matrix", "projected"): r"proj_size makes recurrent weights of P columns, and antisymmetric\(gamma=0.2\) of",
    ("projected", "projected"): "has a projection already; leave one out",
    ("recurrent_dropout", "recurrent_dropout"): "recurrent_dropout adds the states .* uses such a name",
}


@pytest.fixture
def noise_of_signals(monkeypatch):
    names = {0.1: "keep_h", 0.2: "keep_c", 0.75: "ones"}
    monkeypatch.setattr(noise, "bernoulli", lambda p, per="step": Value("input", names[p]))
    monkeypatch.setattr(noise, "normal", lambda deviation, per="step": deviation * Value("input", "bell"))


def reference(order, w):
    """Outputs of an LSTM with transformations, from the innermost to the outermost; h and c without ``projected``."""
    W, R = w["weight_ih_l0"], w["weight_hh_l0"].reshape(-1, H, H)
    if "matrix" in order:
        R = R - R.swapaxes(1, 2) - GAMMA * np.eye(H)
    h, c, first, ys, zoned = np.zeros((B, H)), np.zeros((B, H)), np.zeros((B, H)), [], "zoneout" in order
    for t in range(T):
        n = {name: own[t] for name, own in SIGNALS.items()}
        noisy = "projected" in order[1:] and order[0] in ("variational", "per_gate", "gaussian_noise")
        seen = h if noisy else first  # signals are no noise, so what they are in has a projection of its own
        for name in order:
            if name in ("variational", "per_gate"):
                seen = seen * n["ones"] / 0.75
            elif name == "gaussian_noise":
                seen = seen + 0.5 * n["bell"]
            elif name == "recurrent_dropout":
                seen = seen * MASK
        seen = seen @ R[5].T if noisy else seen
        z = X[t] @ W.T + seen @ R[:4].reshape(4 * H, H).T
        if "preactivation" in order:
            z = np.clip(z, -LIMIT_OF_Z, LIMIT_OF_Z)
        i, f, g, o = np.split(z, 4, axis=1)
        new_c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        if "clipped" in order and not (zoned and order.index("zoneout") < order.index("clipped")):
            new_c = np.clip(new_c, -LIMIT, LIMIT)
        new_h = new_first = sigmoid(o) * np.tanh(new_c)
        stays = zoned and order.index("zoneout") < order.index("projected") if "projected" in order else False
        for k, name in enumerate(order):
            before = first if "projected" in order[:k] else h
            if name == "projected":
                new_h = new_first
                if stays and "clipped" in order[k:]:  # what else is computed from a new state gets the clipped one
                    new_h = np.clip(new_h, -LIMIT, LIMIT)
                new_first = new_h @ R[4].T
            elif name == "zoneout":
                new_first = n["keep_h"] * before + (1 - n["keep_h"]) * new_first
                new_c = n["keep_c"] * c + (1 - n["keep_c"]) * new_c
            elif name == "clipped":
                new_first, new_c = np.clip(new_first, -LIMIT, LIMIT), np.clip(new_c, -LIMIT, LIMIT)
        h, c, first = (new_h if "projected" in order else new_first), new_c, new_first
        ys.append(first)
    return np.array(ys)


def outputs(made):
    net = nn.Recurrent(made, I, H, bias=False, dtype="float64", seed=0)
    net._flat[:] *= 2
    state = None
    if "mask" in made.states:
        zeros = np.zeros((1, B, H))
        state = tuple(MASK[None] if name == "mask" else zeros for name in made.states)
    return net.state_dict(), net(X, state, signals=SIGNALS)[0]


@pytest.mark.parametrize("order", list(itertools.product(MADE, MADE)), ids="-".join)
def test_pairs(order, noise_of_signals):
    made = cell(gates="i f g o", states="h c", signals="keep_h keep_c ones bell")(equations)
    made = MADE[order[0]](made)
    if order in REFUSED:
        with pytest.raises(CellError, match=REFUSED[order]):
            MADE[order[1]](made)
        return
    if order[0] == order[1] and order[0] in ("zoneout", "clipped", "preactivation"):
        return  # of one signal, twice is once
    w, y = outputs(MADE[order[1]](made))
    assert_close(y, reference(order, w), OUTPUT["float64"])


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["zoneout", "clipped", "recurrent_dropout", "projected"]))
)
def test_four(order, noise_of_signals):
    def made():
        found = cell(gates="i f g o", states="h c", signals="keep_h keep_c ones bell")(equations)
        for name in order:
            found = MADE[name](found)
        return found

    if order.index("recurrent_dropout") < order.index("projected"):
        with pytest.raises(CellError, match="a projection is made before the mask"):
            made()
        return
    w, y = outputs(made())
    assert_close(y, reference(order, w), OUTPUT["float64"])
