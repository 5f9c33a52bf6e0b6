"""From equations to graphs: simplification, derivatives, what BPTT saves, and the generated source."""

import math

import numpy as np
import pytest
import reference
from networks import CELLS

from nblstm import abs, cell, clip, exp, log, maximum, minimum, sigmoid, softplus, sqrt, tanh, where
from nblstm.symbolic import functions
from nblstm.symbolic.differentiate import gradients
from nblstm.symbolic.functions import gelu
from nblstm.symbolic.graph import ONE, ZERO, Value, as_value

# --- simplification -------------------------------------------------------------------------------

a, b = Value("input", "a"), Value("input", "b")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (a + 0, a), (0 + a, a), (a - 0, a), (0 - a, -a), (a * 1, a), (1 * a, a), (a * 0, ZERO), (0 * a, ZERO),
        (a / 1, a), (0 / a, ZERO), (+a, a), (a + -b, a - b), (-a + b, b - a), (a - -b, a + b),
        (-a * b, -(a * b)), (a * -b, -(a * b)), (-a / b, -(a / b)), (-(a - b), b - a),
        (0 - (0 - a), a), (a**0, ONE), (a**1, a), (a**2, a * a), (a**4, (a * a) * (a * a)), (a**-1, 1 / a),
        (a**0.5, sqrt(a)),
        (where(a > b, a, a), a), (a * (as_value(2) * 3), a * 6), (exp(as_value(0)), ONE), (a + (b * 0), a),
    ],
)  # fmt: skip
def test_simplification(written, meant):
    assert written is meant


def test_equal_expressions_are_one():
    assert sigmoid(a * b) + a is sigmoid(a * b) + a
    assert a * b is not b * a or a is b  # order is kept: floating-point sums may not be reordered
    assert as_value(0.0) is not as_value(-0.0)


def test_constants_fold_at_their_own_precision():
    assert (2 * as_value(0.1) + 0.3).args[0] == 2 * 0.1 + 0.3
    assert tanh(as_value(0.7)).args[0] == math.tanh(0.7)


# --- derivatives ----------------------------------------------------------------------------------

NUMERIC = reference.FUNCTIONS | {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "lt": np.less,
    "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "expm1": np.expm1, "log1p": np.log1p,
    "erf": np.vectorize(math.erf),
}  # fmt: skip


def evaluated(value, inputs):
    """A graph on numbers, by recursion."""
    if value.op == "input":
        return inputs[value.args[0]]
    if value.op == "constant":
        return value.args[0]
    return float(NUMERIC[value.op](*(evaluated(operand, inputs) for operand in value.args)))


EXPRESSIONS = {
    "add": a + b, "sub": a - b, "mul": a * b, "div": a / b, "neg": -a * b, "power": (a * a + b) ** 1.7,
    "reciprocal": b**-3, "exp": exp(a * b), "log": log(a * a + b), "sqrt": sqrt(b), "abs": abs(a) * abs(b),
    "sigmoid": sigmoid(a - b), "tanh": tanh(a * b), "erf": gelu(a + b), "log1p": softplus(a * b),
    "minimum": minimum(a, b) * a, "maximum": maximum(b, a) / b, "clip": clip(a * b, -0.1, 0.1) + clip(a, -9, 9),
    "where": where(a > b, a * b, a / b) + where(a <= 0.5, b * b, a), "shared": (a * b) * (a * b) + tanh(a * b),
    "nested": sigmoid(tanh(a) * exp(-b)) / (1 + abs(a)),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPRESSIONS)
@pytest.mark.parametrize("point", [(0.3, 0.8), (-0.7, 0.4), (1.4, 0.9)])
def test_derivative(name, point):
    expression, d = EXPRESSIONS[name], Value("input", "d")
    derived = gradients([expression], [d], [a, b])
    inputs = {"a": point[0], "b": point[1], "d": 1.5}
    delta = 1e-5
    for variable, derivative in zip("ab", derived, strict=True):
        above = evaluated(expression, inputs | {variable: inputs[variable] + delta})
        below = evaluated(expression, inputs | {variable: inputs[variable] - delta})
        assert evaluated(derivative, inputs) == pytest.approx(1.5 * (above - below) / (2 * delta), rel=1e-8, abs=1e-9)


def test_derivative_of_several_outputs_adds_up():
    d1, d2 = Value("input", "d1"), Value("input", "d2")
    derived = gradients([a * b, a + a], [d1, d2], [a, b])
    inputs = {"a": 2.0, "b": 3.0, "d1": 5.0, "d2": 7.0}
    assert [evaluated(value, inputs) for value in derived] == [5 * 3 + 7 * 2, 5 * 2]


def test_derivative_of_what_does_not_depend_is_zero():
    assert gradients([a * 2], [Value("input", "d")], [b])[0] is ZERO


@pytest.mark.parametrize("function", [abs, lambda x: maximum(x, 0.0)])
def test_subgradient_at_zero_is_zero(function):
    (derivative,) = gradients([function(a)], [Value("input", "d")], [a])
    assert evaluated(derivative, {"a": 0.0, "d": 1.0}) == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("softplus", 0.5), ("log_sigmoid", 0.5), ("swish", 0.5), ("gelu", 0.5), ("mish", 0.6), ("elu", 1.0),
        ("selu", 1.0507009873554805 * 1.6732632423543772), ("softsign", 1.0), ("hard_swish", 0.5), ("relu", 0.0),
    ],
)  # fmt: skip
def test_derivative_at_zero(name, expected):
    """Where both cases of a function meet, and where a cell is that has seen only zeros."""
    (derivative,) = gradients([functions.ACTIVATIONS[name](a)], [Value("input", "d")], [a])
    assert evaluated(derivative, {"a": 0.0, "d": 1.0}) == pytest.approx(expected, rel=1e-12)


# --- what is saved --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("rnn_tanh", 0),  # the derivative needs h alone, which is kept anyway
        ("rnn_relu", 0),
        ("lstm", 5),  # i f g o and tanh(c)
        ("lstm_peephole", 5),
        ("lstm_complement", 5),
        ("lstm_coupled", 4),
        ("lstm_recurrent_dropout", 5),  # as lstm: the mask is a state
        ("gru", 4),  # r z n and n_h
        ("gru_reset_before", 3),  # r z n
        ("lstm_relu_hard_sigmoid", 4),  # i f g o: relu(c) follows from c
    ],
)
def test_number_of_saved_values(name, count):
    assert len(CELLS[name][0].graph.saved) == count


def test_a_sum_is_saved_instead_of_its_terms():
    @cell(gates="a b c d", states="h")
    def summed(a, b, c, d, h):
        return (a + b * c + d) ** 2 * h

    assert len(summed.graph.saved) == 3  # the sum, b and c


def test_expensive_functions_are_never_computed_twice():
    for name, (made, _) in CELLS.items():
        backward = made.source(dtype="float64").partition("def backward")[2]
        assert not any(f"{function}(" in backward for function in ("exp", "tanh", "sigmoid", "log")), name


# --- source ---------------------------------------------------------------------------------------

RUNNING = {name: lambda *x, f=f: float(f(*x)) for name, f in NUMERIC.items()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name, (made, _) in CELLS.items() if made.stages == 1])
def test_source_runs(name, dtype):
    made, oracle = CELLS[name]
    source = made.source(dtype=dtype)
    assert made.name in source
    assert dtype in source
    namespace = {**RUNNING, "real": float}
    exec(compile(source, f"<{name}>", "exec"), namespace)

    rng = np.random.default_rng(3)
    scalars = dict(zip(made.arguments, rng.normal(size=len(made.arguments)), strict=True))
    n = len(made.states)
    results = namespace["forward"](*scalars.values())
    np.testing.assert_allclose(results[:n], np.ravel(oracle.step(*scalars.values())), rtol=1e-13)

    d_states = rng.normal(size=n)
    previous, vectors = [scalars[s] for s in made.states], [scalars[v] for v in made.vectors]
    derived = namespace["backward"](*d_states, *results[n:], *previous, *results[:n], *vectors)
    for k, argument in enumerate(made.arguments):
        above = oracle.step(*(scalars | {argument: scalars[argument] + 1e-5}).values())
        below = oracle.step(*(scalars | {argument: scalars[argument] - 1e-5}).values())
        rise = sum(d * (p - m) for d, p, m in zip(d_states, above, below, strict=True))
        assert derived[k] == pytest.approx(float(rise) / 2e-5, rel=1e-7, abs=1e-9)


def test_source_tells_constants_apart():
    def scaled(alpha):
        @cell(gates="a", states="h")
        def unit(a, h):
            return alpha * a

        return unit

    assert scaled(0.1).source() != scaled(np.nextafter(0.1, 1)).source()
    assert scaled(0.5).source() == scaled(0.5).source()


def test_docstring_and_names_are_kept():
    lstm = CELLS["lstm"][0]
    assert "Hochreiter" in lstm.__doc__
    assert lstm.arguments == ("i", "f", "g", "o", "h", "c")
    assert CELLS["gru"][0].arguments == ("r", "z", "n_x", "n_h", "h")
