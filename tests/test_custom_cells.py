"""A user's own cells: gradients as exact as those of the built-in ones, whatever the equations are made of."""

import re

import numpy as np
import pytest
import reference
from networks import Case, check_gradients, check_outputs
from reference import FUNCTIONS, make_cell
from tolerances import DTYPES

import nblstm
from nblstm import cell, sigmoid, tanh, where

SMALL = Case(T=3, B=2, I=3, H=5)
RAGGED = Case(T=4, B=3, I=3, H=7, num_layers=2, bidirectional=True, lengths=(2, 0, 4))

# --- whole cells: nblstm's on scalars, the oracle's on arrays -------------------------------------


@cell(gates="i f g o", states="h c", vectors="p_i p_f p_o")
def my_peephole(i, f, g, o, h, c, p_i, p_f, p_o):
    i = sigmoid(i + p_i * c)
    f = sigmoid(f + p_f * c)
    c = f * c + i * tanh(g)
    o = sigmoid(o + p_o * c)
    return o * tanh(c), c


@cell(gates="g", states="h", vectors="decay scale")
def decayed(g, h, decay, scale):
    keep = sigmoid(decay)
    return keep * h + (1 - keep) * tanh(g) * scale


def decayed_oracle(g, h, decay, scale):
    keep = reference.sigmoid(decay)
    return (keep * h + (1 - keep) * np.tanh(g) * scale,)


@cell(gates="u n k", states="h", split="u k")
def two_splits(u_x, u_h, n, k_x, k_h, h):
    u = sigmoid(u_x * u_h + u_x)
    return u * h + (1 - u) * tanh(n + k_x * k_h - k_h)


def two_splits_oracle(u_x, u_h, n, k_x, k_h, h):
    u = reference.sigmoid(u_x * u_h + u_x)
    return (u * h + (1 - u) * np.tanh(n + k_x * k_h - k_h),)


@cell(gates="a b", states="h s m")
def three_states(a, b, h, s, m):
    s_new = 0.9 * s + sigmoid(b) * m
    return tanh(a) + 0.5 * s_new, s_new, h - s * tanh(b)


def three_states_oracle(a, b, h, s, m):
    s_new = 0.9 * s + reference.sigmoid(b) * m
    return np.tanh(a) + 0.5 * s_new, s_new, h - s * np.tanh(b)


WHOLE = {
    "peephole": (my_peephole, reference.CELLS["lstm_peephole"]),
    "vectors": (decayed, make_cell(decayed_oracle, "g", "h", vectors="decay scale")),
    "splits": (two_splits, make_cell(two_splits_oracle, "u n k", "h", split="u k")),
    "three_states": (three_states, make_cell(three_states_oracle, "a b", "h s m")),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", WHOLE)
def test_whole_cells(name, dtype):
    for case in (SMALL, RAGGED):
        check_outputs(*WHOLE[name], case, dtype)
        check_gradients(*WHOLE[name], case, dtype)


# --- results that are no expression of their own --------------------------------------------------


@cell(gates="a", states="h c")
def swapped(a, h, c):
    return c + tanh(a), h


@cell(gates="a", states="h c")
def twins(a, h, c):
    new = tanh(a) * c
    return new, new


@cell(gates="a", states="h c")
def constant(a, h, c):
    return tanh(a) * c + h, 0.25


@cell(gates="a b", states="h c")
def idle(a, b, h, c):
    return a, c


ODD = {
    "swapped": (swapped, lambda a, h, c: (c + np.tanh(a), h), "a"),
    "twins": (twins, lambda a, h, c: (np.tanh(a) * c, np.tanh(a) * c), "a"),
    "constant": (constant, lambda a, h, c: (np.tanh(a) * c + h, np.full_like(h, 0.25)), "a"),
    "idle": (idle, lambda a, b, h, c: (a, c), "a b"),
}


@pytest.mark.parametrize("name", ODD)
def test_states_that_are_inputs_twins_or_constants(name):
    made, step, gates = ODD[name]
    oracle = make_cell(step, gates, "h c")._replace(name=name)
    check_outputs(made, oracle, SMALL, "float64")
    check_gradients(made, oracle, SMALL, "float64")


# --- factories ------------------------------------------------------------------------------------


def leaky(alpha):
    @cell(gates="a", states="h")
    def leaky_unit(a, h):
        return (1 - alpha) * h + alpha * tanh(a)

    return leaky_unit


def leaky_oracle(alpha):
    def leaky_unit(a, h):
        return ((1 - alpha) * h + alpha * np.tanh(a),)

    return make_cell(leaky_unit, "a", "h")._replace(name=f"leaky_{alpha}")


def test_constants_of_a_factory_never_mix():
    check_outputs(leaky(0.3), leaky_oracle(0.3), SMALL, "float64")
    check_outputs(leaky(0.7), leaky_oracle(0.7), SMALL, "float64")
    check_gradients(leaky(0.7), leaky_oracle(0.7), SMALL, "float64")
    check_gradients(leaky(0.3), leaky_oracle(0.3), SMALL, "float64")


@pytest.mark.parametrize(("activation", "gate"), [("softsign", "hard_sigmoid"), ("gelu", "sigmoid")])
def test_lstm_with_chosen_activations(activation, gate):
    made = nblstm.cells.lstm_with(activation, gate)
    assert made is nblstm.cells.lstm_with(activation, gate)
    check_outputs(made, reference.lstm_activations(activation, gate), SMALL, "float64")
    check_gradients(made, reference.lstm_activations(activation, gate), SMALL, "float64")


# --- every function -------------------------------------------------------------------------------

#: How a cell uses each function; ``f`` holds nblstm's functions or the oracle's.
USES = {name: lambda f, a, h, name=name: f[name](a) for name in FUNCTIONS} | {
    "log": lambda f, a, h: f["log"](a * a + 0.5),
    "log2": lambda f, a, h: f["log2"](a * a + 0.5),
    "round": lambda f, a, h: f["round"](4 * a) * 0.25,
    "sqrt": lambda f, a, h: f["sqrt"](a * a + 0.5),
    "minimum": lambda f, a, h: f["minimum"](a, h) + f["minimum"](0.1, a),
    "maximum": lambda f, a, h: f["maximum"](a, h) * f["maximum"](h, -0.1),
    "clip": lambda f, a, h: f["clip"](a, -0.4, 0.6) + f["clip"](h, a, 1.0),
    "where": lambda f, a, h: (
        f["where"](a > h, a * h, a - h) + f["where"](h + 0.2 <= a, f["where"](h < a, h, 1.0), a * a)
    ),
}
OURS = {name: getattr(nblstm, name) for name in FUNCTIONS}


def function_cell(name):
    """``h = 0.5 function(a) + 0.25 h``, nblstm's and the oracle's."""

    def equations(a, h):
        return 0.5 * USES[name](OURS, a, h) + 0.25 * h

    equations.__name__ = f"uses_{name}"
    oracle = make_cell(lambda a, h: (0.5 * USES[name](FUNCTIONS, a, h) + 0.25 * h,), "a", "h")
    return cell(gates="a", states="h")(equations), oracle._replace(name=f"uses_{name}")


def test_cells_with_activation_functions():
    """They compute with the equation of one number."""
    activations, cells = nblstm.activations, nblstm.cells
    assert cells.lstm_with(activations.tanh, activations.sigmoid) is cells.lstm
    bump = activations.ActivationFunction("bump", scalar=lambda x: x / (1 + x * x))
    for make in (cells.lstm_with, cells.gru_with, cells.rnn_with):
        assert make(bump) is make(bump.scalar)


def test_all_exported_functions_are_used():
    assert set(nblstm.symbolic.functions.__all__) == set(USES) <= set(nblstm.__all__)


#: Functions whose gradients are not those of their values; tests/test_torch.py checks them, in the cell `waves`.
APART = {"round", "stop_gradient"}


@pytest.mark.parametrize("name", USES)
def test_function(name):
    check_outputs(*function_cell(name), SMALL, "float64")
    if name not in APART:
        check_gradients(*function_cell(name), SMALL, "float64", samples=20)


def test_all_functions_in_float32():
    def everything(f, a, h):
        return sum(0.1 * use(f, a, h) for name, use in USES.items() if name not in APART)

    made = cell(gates="a", states="h")(lambda a, h: everything(OURS, a, h))
    check_gradients(made, make_cell(lambda a, h: (everything(FUNCTIONS, a, h),), "a", "h"), SMALL, "float32")


@pytest.mark.parametrize("name", USES)
def test_cells_and_functions_take_plain_numbers(name):
    made, oracle = function_cell(name)
    for a, h in ((0.375, -0.5), (-1.25, 0.75), (0, 1)):
        assert made(a, h) == pytest.approx(float(oracle.step(a, h)[0]), rel=1e-14, abs=1e-15)


def test_powers():
    def equations(a, h):
        above = a * a + 0.5
        return (
            0.1 * a**3 + 0.2 * a**2 + 0.1 * above**0.5 + 0.1 * above**-1 + 0.1 * above**1.5 - 0.1 * above**-0.75
            + 0.01 * above**7 + 0.1 * a**0 + 0.1 * h**1 + 0.1 * (-a) ** 4
        )  # fmt: skip

    made, calm = cell(gates="a", states="h")(equations), Case(T=3, B=2, I=3, H=5, scale=0.25)
    check_gradients(made, make_cell(lambda a, h: (equations(a, h),), "a", "h"), calm, "float64", samples=20)


def test_traced_powers():
    def equations(a, h, p):
        above = a * a + 0.5
        return 0.2 * above**p + 0.2 * 2**a - 0.1 * 0.75 ** (a * p) + 0.1 * np.float64(1.5) ** h + 0.1 * 1.0**a

    made, calm = cell(gates="a", states="h", vectors="p")(equations), Case(T=3, B=2, I=3, H=5, scale=0.5)
    oracle = make_cell(lambda a, h, p: (equations(a, h, p),), "a", "h", vectors="p")
    check_gradients(made, oracle, calm, "float64", samples=20)


def test_powers_of_numbers_that_are_not_above_0():
    """As the docstring of `symbolic.graph.power` says."""
    net = nblstm.nn.Recurrent(cell(gates="a p", states="h")(lambda a, p, h: nblstm.maximum(a, -9) ** p), 2, 1, seed=0)
    net.parameters()["weight_ih_l0"][...] = np.eye(2)
    net.parameters()["weight_hh_l0"][...] = 0
    for name in ("bias_ih_l0", "bias_hh_l0"):
        net.parameters()[name][...] = 0
    x = np.array([[[-1.0, 2.0], [0.0, 2.0], [0.0, -2.0], [4.0, 0.5]]], "f4").reshape(1, 4, 2)
    y, _, tape = net.forward(x)
    np.testing.assert_allclose(y[0, :, 0], [np.nan, 0, np.inf, 2], rtol=1e-6)
    dx = net.backward(tape, np.ones_like(y)).x[0]
    assert np.isnan(dx[:2]).any(1).all()
    np.testing.assert_allclose(dx[3], [0.25, 2 * np.log(4)], rtol=1e-6)


def test_operators_with_numbers_on_either_side():
    two = np.float64(2.0)

    def equations(a, h):
        return (1 - a) / (2 + a * a) + two * h - +a + 3 / (two + h * h) - (h - 1) * np.float32(0.25) - (-a / 4)

    made = cell(gates="a", states="h")(equations)
    check_gradients(made, make_cell(lambda a, h: (equations(a, h),), "a", "h"), SMALL, "float64", samples=20)


def held(condition):
    """1.0 where it holds, else 0.0."""
    return np.where(condition, 1.0, 0.0)


#: Cells that reckon with comparisons, and what they mean.
COMPARED = {
    "mask": (lambda a, h: (a > 0.1) * h + 0.5 * a, lambda a, h: held(a > 0.1) * h + 0.5 * a),
    "both": (
        lambda a, h: where((a > 0.1) * (h <= a) > 0, a, h * a),
        lambda a, h: np.where((a > 0.1) & (h <= a), a, h * a),
    ),
    "product": (
        lambda a, h: where((a > 0.1) * (h <= a) * (h < 0.3), a, h * a),
        lambda a, h: np.where((a > 0.1) & (h <= a) & (h < 0.3), a, h * a),
    ),
    "complement": (
        lambda a, h: (1 - (a > h)) * tanh(a) + (a >= h) / 2 - (-(h < a)),
        lambda a, h: held(a <= h) * np.tanh(a) + held(a >= h) / 2 + held(h < a),
    ),
    "of_functions": (
        lambda a, h: tanh(a < 0.1) * a + nblstm.exp(-(a < h)) + nblstm.maximum(a > h, h),
        lambda a, h: np.tanh(held(a < 0.1)) * a + np.exp(-held(a < h)) + np.maximum(held(a > h), h),
    ),
    "of_comparisons": (
        lambda a, h: where((a > 0.1) > (h > 0.1), a, h),
        lambda a, h: np.where((a > 0.1) & (h <= 0.1), a, h),
    ),
    "power": (lambda a, h: a * (2 - (h > 0.1)) ** 2, lambda a, h: a * np.where(h > 0.1, 1.0, 4.0)),
    "alone": (lambda a, h: a > h, lambda a, h: held(a > h)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COMPARED)
def test_comparisons_are_numbers(name, dtype):
    """1 where they hold, else 0, with no gradient of their own."""
    equations, step = COMPARED[name]
    oracle = make_cell(lambda a, h: (step(a, h),), "a", "h")._replace(name=name)
    check_outputs(cell(gates="a", states="h")(equations), oracle, SMALL, dtype)
    check_gradients(cell(gates="a", states="h")(equations), oracle, SMALL, dtype, samples=20)


# --- names ----------------------------------------------------------------------------------------

#: Gates and states by the names of what generated code and its reader have.
TAKEN, TAKEN_STATES = "_ x u b y units range rows match λ backward offset", "operand state tape"


def test_gates_and_states_may_have_any_name():
    gates, states = TAKEN.split(), TAKEN_STATES.split()

    def step(*scalars):
        gates, states = scalars[:-3], scalars[-3:]
        total = sum((1 + 0.1 * k) * gate for k, gate in enumerate(gates)) / len(gates)
        return tuple(0.5 * state + total * (k + 1) * 0.1 for k, state in enumerate(states))

    source = f"def equations({', '.join(gates + states)}):\n    return step({', '.join(gates + states)})"
    scope = {"step": step}
    exec(source, scope)
    made = cell(gates=TAKEN, states=TAKEN_STATES)(scope["equations"])
    check_gradients(made, make_cell(step, TAKEN, TAKEN_STATES), SMALL, "float64", samples=10)


def test_a_split_gate_and_a_state_of_one_name():
    def step(h_x, h_h, h):
        return (h_x * h_h + 0.5 * h,)

    made = cell(gates="h", states="h", split="h")(lambda h_x, h_h, h: step(h_x, h_h, h))
    check_gradients(made, make_cell(step, "h", "h", split="h"), SMALL, "float64", samples=10)


@pytest.mark.parametrize(
    "name",
    ['"""', "'", "\\", "a/../../b", "leaky(0.5)", "{x} %s", "x" * 500, "класс ячейки 🙂", "", "-", 'f"""; 1/0; """'],
)
def test_cells_may_have_any_name_that_can_be_printed(name, monkeypatch, tmp_path):
    check_outputs(nblstm.cells.rnn_tanh, reference.CELLS["rnn_tanh"], SMALL, "float32")  # so what they share is there
    monkeypatch.setenv("NBLSTM_CACHE_DIR", str(tmp_path))

    def equations(a, h):
        return tanh(a) + len(name) / 1000 * h

    equations.__name__ = name
    made = cell(gates="a", states="h")(equations)
    assert name in repr(made)
    compile(made.source(), "source", "exec")
    oracle = make_cell(lambda a, h: (np.tanh(a) + len(name) / 1000 * h,), "a", "h")
    check_outputs(made, oracle, SMALL, "float32")
    kept = [path.name for path in tmp_path.iterdir()]
    assert kept
    assert all(re.fullmatch(r"\w+-[0-9a-f]{32}\.kernel", file, re.ASCII) for file in kept)
