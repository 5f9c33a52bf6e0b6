"""The cells of the literature in nblstm.cells, against torchrecurrent and loops from the papers: golden/make_zoo.py."""

import ast
import json
import math
import os
import pickle
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from differences import differences
from tolerances import DIFFERENCES, GRADIENT, OUTPUT, assert_close

from nblstm import Cell, cell, cells, nn, relu, sigmoid, tanh

ARCHIVE = np.load(Path(__file__).with_name("golden") / "zoo.npz")
CASES = [name.partition("|")[0] for name in ARCHIVE.files if name.endswith("|shapes")]

#: The classes of torchrecurrent 0.2.5, without ``Cell``.
TORCHRECURRENT = [
    "AntisymmetricRNN", "GatedAntisymmetricRNN", "ATR", "BR", "NBR", "CFN", "DSGU", "FastRNN", "FastGRNN", "IndRNN",
    "IntersectionRNN", "JANET", "LEM", "LiGRU", "LightRU", "MCLSTM", "MGU", "MinimalRNN", "MiRU1", "MiRU2",
    "MultiplicativeLSTM", "MUT1", "MUT2", "MUT3", "NAS", "OriginalLSTM", "PeepholeLSTM", "RAN", "ResLSTM", "coRNN",
    "SCRN", "SGU", "SGRN", "STAR", "tauGRU", "TRNN", "TGRU", "TLSTM", "UGRNN", "UnICORNN", "WMCLSTM",
]  # fmt: skip

#: Cases whose cells have biases of their own.
WITHOUT_BIAS = ("fastgrnn", "layer_norm")

# --- torchrecurrent's equations where they differ from the paper's ---------------------------------------------------


@cell(gates="t1 t2 z_in y_in", states="y z", called="y_in")
def lem(t1, t2, z_in, y_in, y, z):
    """LEM, the candidate of y seeing the previous z, for dt = 0.7."""
    t1, t2 = 0.7 * sigmoid(t1), 0.7 * sigmoid(t2)
    return (1 - t2) * y + t2 * tanh(y_in(z)), (1 - t1) * z + t1 * tanh(z_in)


@cell(
    gates="b a p u v", states="h s", input_only="b", recurrent_only="p u v", called="p u v", scalars="alpha"
)  # fmt: skip
def scrn(b, a, p, u, v, h, s, alpha):
    """SCRN whose output recurs, with a learned alpha."""
    s = (1 - alpha) * b + alpha * s
    return tanh(u(sigmoid(a + p(s))) + v(s)), s


@cell(gates="g1 g2 g3 g4 g5 g6 g7 g8", states="h c")
def nas(g1, g2, g3, g4, g5, g6, g7, g8, h, c):
    """NAS with a sum in the fourth leaf."""
    c = tanh(tanh(sigmoid(g1) * relu(g2)) + c) * tanh(sigmoid(g3) + relu(g4))
    return tanh(c * tanh(tanh(tanh(g5) * sigmoid(g6)) + sigmoid(tanh(g7) + sigmoid(g8)))), c


VARIANTS = {"lem": lem, "scrn": scrn, "nas": nas}


def cell_of(case: str) -> Cell:
    """The cell of a case, whose name is an expression or a variant's."""
    name, _, variant = case.partition("/")
    if variant:
        return VARIANTS[name]
    name, _, arguments = name.partition("(")
    found = getattr(cells, name)
    return found(*ast.literal_eval(f"[{arguments[:-1]}]")) if arguments else found


@cache
def golden(case: str) -> dict[str, np.ndarray]:
    """The arrays of a case by name."""
    found = {}
    flat = ARCHIVE[f"{case}|inputs"] / 64, ARCHIVE[f"{case}|results"]
    for shapes, numbers in zip(json.loads(str(ARCHIVE[f"{case}|shapes"])), flat, strict=True):
        start = 0
        for name, shape in shapes.items():
            found[name] = numbers[start : start + math.prod(shape)].reshape(shape)
            start += math.prod(shape)
    return found


def part(case: str, kind: str) -> dict[str, np.ndarray]:
    """The arrays of a case that begin with ``kind/``, by the rest of their names."""
    return {name.partition("/")[2]: array for name, array in golden(case).items() if name.startswith(f"{kind}/")}


def network_of(case: str, dtype: str) -> nn.Recurrent:
    """A network with the weights of a case."""
    made, I = cell_of(case), golden(case)["x"].shape[2]
    H = next(iter(part(case, "initial").values())).shape[1]
    network = nn.Recurrent(made, I, H, bias=not case.startswith(WITHOUT_BIAS), dtype=dtype)
    network.load_state_dict(part(case, "weights"))
    return network


def initial(case: str) -> tuple[np.ndarray, ...]:
    return tuple(array[None] for array in part(case, "initial").values())


#: One of each kind: a bias and states that torchrecurrent does not have, matrices made of parameters, norms, signals.
DIFFERED = [
    "dsgu", "tgru", "tlstm", "taugru_with(3)", "antisymmetricrnn_with(0.5,0.3)", "slstm_with(2)", "fastgrnn_with(2)",
    "layer_norm_lstm", "layer_norm_gru", "phased_lstm_with(0.6,0.01)", "ct_lstm", "gru_d", "mut1", "rhn", "scrn", "sru",
]  # fmt: skip

#: In float32, which compiles everything once more; NBLSTM_ZOO=all is for releases.
FLOAT32 = CASES if os.environ.get("NBLSTM_ZOO") == "all" else DIFFERED


@pytest.mark.parametrize(
    ("case", "dtype"), [*((case, "float64") for case in CASES), *((case, "float32") for case in FLOAT32)]
)
def test_torchrecurrent_and_papers(case, dtype):
    found, network = golden(case), network_of(case, dtype)
    x, state, signals = found["x"], initial(case), part(case, "signals") or None
    y, final, tape = network.forward(x, state, signals=signals)
    assert_close(y, found["y"], OUTPUT[dtype])
    names = network.cell.states
    known = part(case, "final")
    for name, array in zip(names, final, strict=True):
        if name in known:
            assert_close(array[0], known[name], OUTPUT[dtype])
    dstates = part(case, "dfinal")
    dstate = tuple(dstates[name][None] if name in dstates else np.zeros_like(state[0]) for name in names)
    gradients = network.backward(tape, found["dy"], dstate)
    assert_close(gradients.x, found["dx"], GRADIENT[dtype])
    known = part(case, "dinitial")
    for name, array in zip(names, gradients.state, strict=True):
        if name in known:
            assert_close(array[0], known[name], GRADIENT[dtype])
    known = part(case, "dweights")
    assert known.keys() == gradients.params.keys()
    for name, array in gradients.params.items():
        assert_close(array, known[name], GRADIENT[dtype])
    known = part(case, "dsignals")
    for name, array in known.items():
        assert_close(gradients.signals[name], array, GRADIENT[dtype])


@pytest.mark.parametrize("case", DIFFERED)
def test_central_differences(case):
    network = network_of(case, "float64")
    x, state = golden(case)["x"].copy(), tuple(array.copy() for array in initial(case))
    signals = {name: array.copy() for name, array in part(case, "signals").items()} or None
    rng = np.random.default_rng(0)
    y, final, tape = network.forward(x, state, signals=signals)
    dy, dstate = rng.normal(size=y.shape), tuple(rng.normal(size=array.shape) for array in final)

    def loss():
        y, final = network(x, state, signals=signals)
        return (y * dy).sum() + sum((a * d).sum() for a, d in zip(final, dstate, strict=True))

    np.testing.assert_array_equal(network(x, state, signals=signals)[0], y)
    gradients = network.backward(tape, dy, dstate)
    assert_close(gradients.x, differences(loss, x), DIFFERENCES["float64"])
    for array, gradient in zip(state, gradients.state, strict=True):
        assert_close(gradient, differences(loss, array), DIFFERENCES["float64"])
    for name, array in (signals or {}).items():
        assert_close(gradients.signals[name], differences(loss, array), DIFFERENCES["float64"])
    for name, array in network.parameters().items():
        assert_close(gradients.params[name], differences(loss, array), DIFFERENCES["float64"])


# --- declarations ----------------------------------------------------------------------------------------------------


def test_names_are_torchrecurrents_in_lower_case():
    for name in TORCHRECURRENT:
        assert isinstance(getattr(cells, name.lower()), Cell), name
    assert len(TORCHRECURRENT) == 41


#: Cells of other files' tests.
OLDER = ("lstm", "lstm_complement", "gru", "rnn_relu", "rnn_tanh")
PUBLIC = [name for name in cells.__all__ if isinstance(getattr(cells, name), Cell)]


def test_the_page_has_the_numbers_of_parameters():
    """docs/cells.md: 4 H I + 4 H² + 11 H, of each cell."""
    page = (Path(__file__).parent.parent / "docs/cells.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\| ([^|]*H[^|]*) \|[^|]*\| \d+ \|", page, flags=re.MULTILINE)
    assert {name.lower() for name in TORCHRECURRENT} < {name for name, _ in rows}
    for name, formula in rows:
        made = getattr(cells, name)
        I, H = (5, 5) if made.takes_x else (3, 5)
        network = nn.Recurrent(made, I, H, bias=not name.startswith(WITHOUT_BIAS))
        sizes = {"H I": H * I, "H²": H * H, "H": H, "": 1}
        terms = re.findall(r"(\d*) ?(H I|H²|H|)(?: \+ |$)", formula)
        expected = sum(int(count or 1) * sizes[kind] for count, kind in terms if count or kind)
        assert sum(array.size for array in network.parameters().values()) == expected, name


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings_name_a_paper_and_its_year(name):
    for documented in (getattr(cells, name), getattr(cells, f"{name}_with", None)):
        if documented is not None and name not in OLDER:
            assert re.search(r"\b(19|20)\d\d\b", documented.__doc__)


def test_equations_take_a_dozen_lines_at_most():
    for file in Path(cells.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            decorators = getattr(node, "decorator_list", [])
            if any(getattr(getattr(d, "func", None), "id", "") == "cell" for d in decorators):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                assert body[-1].end_lineno - body[0].lineno < 12, f"{file.name}: {node.name}"


@pytest.mark.parametrize("name", [name for name in PUBLIC if hasattr(cells, f"{name}_with")])
def test_factories_give_the_cell_itself_for_the_defaults(name):
    assert getattr(cells, f"{name}_with")() is getattr(cells, name)


@pytest.mark.parametrize(
    ("factory", "arguments", "message"),
    [
        ("janet_with", ("1",), "beta is '1' of type str"),
        ("lem_with", (math.nan,), "dt is nan"),
        ("miru1_with", (1.5,), "update is 1.5"),
        ("miru2_with", (0.5, -1), "reset is -1"),
        ("scrn_with", (2,), "alpha is 2"),
        ("scrn_with", (0.5, "tan"), "no activation named 'tan'"),
        ("taugru_with", (0,), "delay is 0"),
        ("rhn_with", (2.5,), "depth is 2.5"),
        ("cfc_with", (-1,), "backbone is -1"),
        ("slstm_with", (1, "relu"), "forget is 'relu'"),
        ("slstm_with", (0,), "heads is 0"),
        ("fastgrnn_with", (0,), "rank is 0"),
        ("phased_lstm_with", (0,), "r_on is 0"),
        ("mut1_with", ("yes",), "project is 'yes'"),
        ("antisymmetricrnn_with", (1.0, -0.1), "gamma is -0.1"),
    ],
)
def test_arguments(factory, arguments, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        getattr(cells, factory)(*arguments)


@pytest.mark.parametrize("name", PUBLIC)
def test_cells_come_back_from_pickles(name):
    """By name, or, from a factory, by equations: as a cell that is known to have them."""
    made = getattr(cells, name)
    assert pickle.loads(pickle.dumps(made)) is made


@pytest.mark.parametrize("name", ["wmclstm", "scrn", "tlstm", "layer_norm_lstm"])
def test_stacks_of_both_directions(name):
    """Sequences of a batch alone, and beside others of other lengths."""
    network = nn.Recurrent(
        getattr(cells, name), 3, 4, num_layers=2, bidirectional=True, dtype="float64", seed=1,
        bias=not name.startswith(WITHOUT_BIAS),
    )  # fmt: skip
    x, lengths = np.random.default_rng(2).normal(size=(6, 3, 3)), [4, 6, 1]
    y, states, tape = network.forward(x, lengths=lengths)
    dy = np.random.default_rng(3).normal(size=y.shape)
    gradients, sums = network.backward(tape, dy), 0
    for b, length in enumerate(lengths):
        alone, last, tape = network.forward(x[:length, b : b + 1])
        np.testing.assert_allclose(y[:length, b : b + 1], alone, rtol=0, atol=1e-13)
        assert not y[length:, b].any()
        for state, own in zip(states, last, strict=True):
            np.testing.assert_allclose(state[:, b : b + 1], own, rtol=0, atol=1e-13)
        own = network.backward(tape, dy[:length, b : b + 1])
        np.testing.assert_allclose(gradients.x[:length, b : b + 1], own.x, rtol=0, atol=1e-12)
        sums = sums + own.params["weight_ih_l1"]
    np.testing.assert_allclose(gradients.params["weight_ih_l1"], sums, rtol=0, atol=1e-11)


def test_slstm_takes_any_first_input():
    """Gates of exp(200) and exp(-200) overflow and vanish in float32; their ratio does neither."""
    for bias in (200.0, -200.0):
        network = nn.Recurrent(cells.slstm, 2, 4, seed=1)
        network.parameters()["bias_ih_l0"][:4] = bias
        y, _, tape = network.forward(np.ones((6, 2, 2)))
        assert np.isfinite(y).all()
        assert np.abs(y).max() > 0.01
        gradients = network.backward(tape, np.ones_like(y))
        assert all(np.isfinite(gradient).all() for gradient in gradients.params.values())


def test_gru_d_reads_past_missing_values():
    """The two parts and the decays' Linear together: what x is where nothing is observed changes nothing."""
    rng = np.random.default_rng(3)
    T, B, features, H = 6, 2, 3, 5
    x, m = rng.normal(size=(T, B, features)), rng.integers(0, 2, (T, B, features))
    signals = {"m": m, "gap": rng.uniform(0, 2, (T, B, features))}
    imputed = nn.Recurrent(cells.gru_d_input, features, features, dtype="float64", seed=1)
    network = nn.Recurrent(cells.gru_d, 2 * features, H, dtype="float64", seed=2)
    decay = nn.Linear(features, H, dtype="float64", seed=3)
    x_hat, _ = imputed(x, signals=signals)
    np.testing.assert_array_equal(x_hat[m == 1], x[m == 1])
    np.testing.assert_array_equal(imputed(np.where(m == 1, x, 1e300), signals=signals)[0], x_hat)
    y, _, tape = network.forward(np.concatenate([x_hat, m], axis=2), signals={"gap": decay(signals["gap"])})
    gradients = network.backward(tape, np.ones_like(y))
    assert gradients.signals["gap"].shape == (T, B, H)
    assert gradients.signals["gap"].any()
