"""From equations to graphs: simplification, derivatives, what BPTT saves, and the generated source."""

import math

import numpy as np
import pytest
import reference
from networks import CELLS

from nblstm import (
    abs,
    cell,
    clip,
    cos,
    exp,
    exp2,
    log,
    log2,
    maximum,
    minimum,
    sigmoid,
    sign,
    sin,
    softplus,
    sqrt,
    stop_gradient,
    tanh,
    where,
)
from nblstm.cells.stages import saved_names
from nblstm.symbolic import functions
from nblstm.symbolic.differentiate import gradients
from nblstm.symbolic.emit import OPERATORS, Dialect, Form, emit_function
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
    "sin": sin(a * b) * b, "cos": cos(3 * a) + cos(b), "exp2": exp2(a - b), "log2": log2(a * a + b),
    "sign": sign(a) * b, "power_of_power": b**a, "power_of_number": 2**a + 3 ** (a * b), "number": 1**a * b,
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


def test_gradients_that_are_none_of_the_functions_own():
    d = Value("input", "d")
    assert gradients([functions.round(a) * b], [d], [a])[0] is d * b
    assert round(a) is functions.round(a)
    assert gradients([stop_gradient(a * b) * a], [d], [a, b]) == [d * stop_gradient(a * b), ZERO]
    assert gradients([sign(a)], [d], [a]) == [ZERO]


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


@pytest.mark.parametrize("kind", [None, "rows", "cuda"])
def test_a_stopped_gradient_is_no_instruction(kind):
    @cell(gates="a", states="h")
    def stopped(a, h):
        kept = sigmoid(stop_gradient(h))
        return tanh(a) * stop_gradient(kept) + stop_gradient(kept)

    assert "stop_gradient" not in stopped.source(kind)
    assert stopped.source(kind).count("sigmoid(") == 1


def test_expensive_functions_are_never_computed_twice():
    for name, (made, _) in CELLS.items():
        backward = made.source(dtype="float64").partition("def backward")[2]
        assert not any(f"{function}(" in backward for function in ("exp", "tanh", "sigmoid", "log")), name


# --- source ---------------------------------------------------------------------------------------


def by_name(function, values):
    """Call a generated function, whose arguments are those that it needs."""
    return function(*(values[name] for name in function.__code__.co_varnames[: function.__code__.co_argcount]))


def backward_values(made, results, d_states, scalars):
    """What a generated backward function may be given, by name: ``results`` are new states and saved values."""
    n = len(made.states)
    values = {f"d{name}": d for name, d in zip(made.states, d_states, strict=True)}
    values |= dict(zip(saved_names(made), results[n:], strict=True))
    values |= {name: scalars[name] for name in (*made.states, *made.vectors)}
    return values | {f"new_{name}": new for name, new in zip(made.states, results, strict=False)}


RUNNING = {name: lambda *x, f=f: float(f(*x)) for name, f in NUMERIC.items()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name, (made, _) in CELLS.items() if not made.functions])
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
    results = by_name(namespace["forward"], scalars)
    np.testing.assert_allclose(results[:n], np.ravel(oracle.step(*scalars.values())), rtol=1e-13)

    d_states = rng.normal(size=n)
    derived = by_name(namespace["backward"], backward_values(made, results, d_states, scalars))
    for k, argument in enumerate(made.arguments):
        above = oracle.step(*(scalars | {argument: scalars[argument] + 1e-5}).values())
        below = oracle.step(*(scalars | {argument: scalars[argument] - 1e-5}).values())
        rise = sum(d * (p - m) for d, p, m in zip(d_states, above, below, strict=True))
        assert derived[k] == pytest.approx(float(rise) / 2e-5, rel=1e-7, abs=1e-9)


PYTHON = {**RUNNING, "real": float, "inlined": lambda f: f, "distinct": lambda: None, "offset": lambda a, k: a[k:]}


@pytest.mark.parametrize("name", ["lstm", "lstm_peephole", "gru", "lstm_recurrent_dropout"])
def test_all_kinds_of_source_compute_the_same(name):
    """Rows and tuples, run as they are printed, by Python."""
    made, rng = CELLS[name][0], np.random.default_rng(5)
    rows, H, P, S, V, K = 3, 2, len(made.preactivations), len(made.states), len(made.vectors), len(made.graph.saved)
    scalar, tuples = ({**PYTHON} for _ in range(2))
    exec(made.source(), scalar)
    exec(made.source("cuda"), tuples)
    forward, backward = ({**PYTHON} for _ in range(2))
    source = made.source("rows")
    exec(source[: source.index("# Generated", 1)], forward)
    exec(source[source.index("# Generated", 1) :], backward)
    z, state, vectors = (rng.normal(size=shape) for shape in ((rows, P, H), (S, rows, H), (V, H)))
    before, y, tape, saved = state.copy(), np.zeros((rows, H)), np.zeros((S - 1, rows, H)), np.zeros((rows, K, H))
    flat = [array.reshape(-1) for array in (z, state, vectors, y, tape, saved)]
    forward["rows"](rows, 0, H, H, flat[0], P * H, flat[1], rows * H, H, flat[2], flat[3], H, flat[4], rows * H, H,
                    flat[5], K * H)  # fmt: skip
    d_state, dy = rng.normal(size=(S, rows, H)), rng.normal(size=(rows, H))
    d_before, d_vectors, dz = d_state.copy(), np.zeros((rows, V, H)), np.zeros((rows, P, H))
    order = [made.states.index(name) for name in made.taped]
    y_all, tape_all = before[order[0]].copy(), before[order[1:]].copy()
    flat = [a.reshape(-1) for a in (d_before, dy, saved, y, tape, y_all, tape_all, vectors, d_vectors, dz)]
    # Previous states are planes of their own here: those of step 0.
    backward["rows"](rows, 0, H, H, flat[0], rows * H, H, flat[1], H, flat[2], K * H, flat[3], H, flat[4], rows * H, H,
                     flat[5], flat[6], np.arange(rows), flat[7], flat[8], V * H, flat[9], P * H)  # fmt: skip
    for b, u in np.ndindex(rows, H):
        of_name = dict(zip(made.preactivations, z[b, :, u], strict=True))
        of_name |= dict(zip(made.states, before[:, b, u], strict=True))
        of_name |= dict(zip(made.vectors, vectors[:, u], strict=True))
        results = by_name(scalar["forward"], of_name)
        assert [*state[:, b, u], *saved[b, :, u]] == [*results]
        new, kept = tuples["cell_forward"](z[b, :, u], before[:, b, u], vectors[:, u])
        assert [*new, *kept] == [*results]
        d_new = d_state[:, b, u] + dy[b, u] * (np.arange(S) == order[0])
        derived = by_name(scalar["backward"], backward_values(made, results, d_new, of_name))
        of_name = dict(zip(made.arguments, derived, strict=True))
        assert [*dz[b, :, u]] == [of_name[name] for name in made.preactivations]
        assert [*d_before[:, b, u], *d_vectors[b, :, u]] == [of_name[name] for name in (*made.states, *made.vectors)]
        _, *parts = tuples["cell_backward"]((), d_new, kept, before[:, b, u], new, vectors[:, u])
        assert [*parts[0], *parts[1], *parts[2]] == [*dz[b, :, u], *d_before[:, b, u], *d_vectors[b, :, u]]


def test_source_reads_as_it_would_be_written():
    forward, backward = CELLS["lstm"][0].source("forward"), CELLS["lstm"][0].source("backward")
    assert "    new_c = sigmoid_f * c + sigmoid_i * tanh_g\n" in forward
    assert "    new_h = sigmoid_o * tanh_new_c\n" in forward
    assert "    df = dc_total * c * (sigmoid_f * (real(1.0) - sigmoid_f))\n" in backward
    assert "    dc_previous = dc_total * sigmoid_f\n" in backward
    assert CELLS["lstm"][0].source() == forward + "\n\n" + backward.partition("\n\n")[2]
    with pytest.raises(ValueError, match="kind is 'ptx'; give 'forward', 'backward', 'rows', 'cuda', or None"):
        CELLS["lstm"][0].source("ptx")


def test_names_of_values_avoid_those_of_gates():
    @cell(gates="a sigmoid_a da", states="h h_previous")
    def crowded(a, sigmoid_a, da, h, h_previous):
        h = sigmoid(a) * sigmoid_a + da * sigmoid(sigmoid_a) * h
        return h, h * h_previous * da

    names = {**RUNNING, "real": float}
    exec(crowded.source(dtype="float64"), names)
    values = dict(zip(crowded.arguments, (0.3, -0.2, 0.7, 0.4, -0.6), strict=True))
    new = crowded(*values.values())
    results = by_name(names["forward"], values)
    assert results[:2] == pytest.approx(new, rel=1e-14)
    derived = by_name(names["backward"], backward_values(crowded, results, (1.0, 0.5), values))
    for derivative, name in zip(derived, values, strict=True):
        above, below = (crowded(*(values | {name: values[name] + delta}).values()) for delta in (1e-5, -1e-5))
        assert derivative == pytest.approx(((above[0] - below[0]) + 0.5 * (above[1] - below[1])) / 2e-5, rel=1e-8)


# --- other targets --------------------------------------------------------------------------------

#: What a target needs: a table.
TORCH = Dialect({**OPERATORS, "where": Form("torch.where({}, {}, {})"), "tanh": Form("torch.tanh({})")})
ASSEMBLER = Dialect(
    {op: Form(f"{op}.f32 {{{{name}}}}, {', '.join(['{}'] * n)};") for op, n in (("add", 2), ("mul", 2), ("tanh", 1))},
    "0f{!r}", "    {value}\n", "{name}({arguments}) {{\n{lines}    ret {results};\n}}\n", longest=0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        (TORCH, "def f(a, b):\n    y = torch.where(a > b, torch.tanh(a + b) * 2.0, b)\n    return y\n"),
        (
            ASSEMBLER,
            "f(a, b) {\n    add.f32 a_plus_b, a, b;\n    tanh.f32 tanh_a_plus_b, a_plus_b;\n"
            "    mul.f32 y, tanh_a_plus_b, 0f2.0;\n    ret y;\n}\n",
        ),
    ],
)
def test_a_target_is_a_table(dialect, text):
    result = tanh(a + b) * 2
    result = result if dialect is ASSEMBLER else where(a > b, result, b)
    assert emit_function("f", ["a", "b"], {a: "a", b: "b"}, [("y", result)], dialect) == text


# --- identity -------------------------------------------------------------------------------------


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
