"""What is no cell: one sentence that names the cell, what it does, and what to write instead."""

import math
import operator
import random
import time

import numpy as np
import pytest
from messages import message_of

import nblstm
from nblstm import CellError, cell, cells, layers, maximum, minimum, nn, relu, sigmoid, tanh, where


def tried(equations, **declaration):
    """The error of a cell with these equations, as a user meets it: where the network is made."""
    equations.__name__ = "mine"
    with pytest.raises(CellError) as caught:
        nn.Recurrent(cell(**{"gates": "a b", "states": "h", **declaration})(equations), 2, 3)
    message = str(caught.value)
    assert "'mine'" in message
    assert "\n" not in message
    return message


def branches(a, b, h):
    return a if a > 0 else b


def negates(a, b, h):
    return a * (not b > 0)


def chained(a, b, h):
    return nblstm.where(-1 < a < 1, a, b)


def python_max(a, b, h):
    return max(a, b)


@pytest.mark.parametrize("equations", [branches, negates, chained, python_max])
def test_decisions(equations):
    assert "nblstm.where(condition, a, b)" in tried(equations)


@pytest.mark.parametrize("equations", [lambda a, b, h: nblstm.where(a == 0, b, h), lambda a, b, h: h if a != b else a])
def test_equality(equations):
    assert "==" in tried(equations)


def test_functions_of_math():
    message = tried(lambda a, b, h: math.exp(a) + b)
    assert "function of the same name from nblstm" in message


@pytest.mark.parametrize("function", ["tanh", "exp", "maximum", "floor"])
def test_functions_of_numpy(function):
    arity = 2 if function == "maximum" else 1
    message = tried(lambda a, b, h: getattr(np, function)(*(a, b)[:arity]))
    assert f"numpy.{function}" in message
    assert ("write nblstm." in message) == (function != "floor")


def test_a_function_that_there_is_none_of_gets_those_that_there_are():
    names = ", ".join(nblstm.symbolic.functions.__all__)
    for equations in (
        lambda a, b, h: np.tan(a) * b, lambda a, b, h: math.floor(a) * b,
    ):  # fmt: skip
        assert f" has {names}" in tried(equations)


@pytest.mark.parametrize(
    "equations",
    [
        lambda a, b, h: pow(a, 2, 3),
        lambda a, b, h: setattr(a, "name", 1),
        lambda a, b, h: unknown_function(a),  # noqa: F821
    ],
)
def test_what_symbols_cannot_do(equations):
    assert "nblstm" in tried(equations)


@pytest.mark.parametrize(
    ("equations", "said"),
    [
        (lambda a, b, h: a - h.mean(), "takes .mean of a value, but a cell sees one unit of one sequence"),
        (lambda a, b, h: a * h.shape[0], "takes .shape of a value, but a cell sees one unit"),
        (lambda a, b, h: a @ h.T, "takes .T of a value, but a cell sees one unit"),
        (lambda a, b, h: a.tanh() * b, "write nblstm.tanh(x)"),
        (lambda a, b, h: a.sigmoid() * b, "write nblstm.sigmoid(x)"),
        (lambda a, b, h: a[0], "as if it had elements, but a cell sees one unit"),
        (lambda a, b, h: a[..., None] * b, "as if it had elements, but a cell sees one unit"),
        (lambda a, b, h: a / len(a), "as if it had elements, but a cell sees one unit"),
        (lambda a, b, h: sum(a), "as if it had elements, but a cell sees one unit"),
        (lambda a, b, h: next(iter(a)), "as if it had elements, but a cell sees one unit"),
        (lambda a, b, h: a * (1 in b), "as if it had elements, but a cell sees one unit"),
        (lambda a, b, h: a - np.mean(h), "calls numpy.mean on a traced value, but a cell sees one unit"),
        (lambda a, b, h: a / np.linalg.norm(h), "calls numpy.linalg.norm on a traced value, but a cell sees one unit"),
        (lambda a, b, h: np.dot(a, h), "calls numpy.dot on a traced value"),
        (lambda a, b, h: np.clip(a, 0, 1), "calls numpy.clip on a traced value"),
        (lambda a, b, h: np.where(a > 0, b, h), "calls numpy.where on a traced value"),
        (lambda a, b, h: np.stack([a, b]), "calls numpy.stack on a traced value"),
        (lambda a, b, h: np.asarray(a) * b, "makes a NumPy array of a value, but a cell sees one unit"),
        (lambda a, b, h: np.mean([a, b]), "makes a NumPy array of a value, but a cell sees one unit"),
        (lambda a, b, h: a @ b, "uses %, //, @"),
        (lambda a, b, h: a % 2, "uses %, //, @"),
        (lambda a, b, h: 7 // a, "uses %, //, @"),
        (lambda a, b, h: divmod(a, 2)[0], "uses %, //, @"),
        (lambda a, b, h: a << 1, "<< or >> on a traced value"),
        (lambda a, b, h: math.trunc(a) * b, "function that wants a number"),
        (lambda a, b, h: next(reversed(a)), "as if it had elements, but a cell sees one unit"),
        (lambda a, b, h: a.__array__(copy=True), "makes a NumPy array of a value"),
        (lambda a, b, h: nblstm.where((a > 0) & (b > 0), a, h), "joins conditions with &, |, ^ or ~"),
        (lambda a, b, h: nblstm.where(~(a > 0), a, h), "joins conditions with &, |, ^ or ~"),
        (lambda a, b, h: int(a) * b, "function that wants a number"),
        (lambda a, b, h: round(a, 2) * b, "rounds to digits; write round(100 * x) / 100 with nblstm.round"),
        (lambda a, b, h: math.floor(a) * b, "function that wants a number"),
        (lambda a, b, h: complex(a).real * b, "function that wants a number"),
        (lambda a, b, h: b * len(range(a)), "function that wants a number"),
        (lambda a, b, h: b if math.isnan(a) else a, "function that wants a number"),
        (lambda a, b, h: b if f"{a:.3f}" else a, "formats a traced value as '.3f', but it has no digits yet"),
    ],
)
def test_what_arrays_and_numbers_can_do(equations, said):
    assert said in tried(equations)


def test_looking_is_no_error(capsys):
    """Symbols may be printed, put into sets, and asked what they are."""

    @cell(gates="a", states="h")
    def looking(a, h):
        print(a, f"{h} {a!r}", {a, h}, hasattr(a, "shape"), getattr(a, "dtype", None))
        return a

    looking.check()
    assert "input(a) input(h) input(a)" in capsys.readouterr().out


COUNT, GENERATOR = iter(range(10**6)), np.random.default_rng()


@pytest.mark.parametrize(
    "equations",
    [
        lambda a, b, h: a * (np.random.rand() > 0.5) * 2 + np.random.rand() * b,  # noqa: NPY002
        lambda a, b, h: tanh(a) + GENERATOR.normal() * b,
        lambda a, b, h: a + random.gauss(0, 0.1),
        lambda a, b, h: a * time.perf_counter(),
        lambda a, b, h: a * next(COUNT),
        lambda a, b, h: a if next(COUNT) % 2 else b,
        lambda a, b, h: a * id(object()) + hash(str(GENERATOR.random())),
        lambda a, b, h: (a if GENERATOR.random() < 0.5 else b) * (h if GENERATOR.random() < 0.5 else a),
    ],
)
def test_what_changes_from_run_to_run(equations):
    """Such a number would be drawn once, and be the same for ever."""
    message = tried(equations)
    assert "computes something else each time it runs" in message
    assert "draw in a cell by nblstm.noise, and give it what else changes as a signal" in message


@pytest.mark.parametrize(
    ("equations", "needed"),
    [
        (lambda a, b, h: a * nblstm.noise.bernoulli(2) + b, "p is 2; give a number, 0 or more and at most 1"),
        (lambda a, b, h: a * nblstm.noise.bernoulli("b") + b, "p is 'b' of type str; give a number"),
        (lambda a, b, h: a * nblstm.noise.normal(0.1, per="batch") + b, "per is 'batch'; give one of step, sequence"),
        (lambda a, b, h: nblstm.layer_norm(a, weight=b), "layer_norm() got an unexpected keyword argument 'weight'"),
        (lambda a, b, h: tanh(a, b), "tanh() takes 1 positional argument but 2 were given"),
        (lambda a, b, h: nblstm.round(a, 2) + b, "round() takes 1 positional argument but 2 were given"),
    ],
)
def test_arguments_of_functions(equations, needed):
    """The error of the argument says all: no advice on operators behind it."""
    assert tried(equations).startswith(f"cell 'mine' calls a function with a wrong argument: {needed}")


@pytest.mark.parametrize(
    ("equations", "came"),
    [(lambda a, b, h: a * b(), 0), (lambda a, b, h: b(a, h), 2), (lambda a, b, h: a * b(operand=h), 1)],
)
def test_called_gates_have_one_operand(equations, came):
    message = tried(equations, called="b")
    assert message.endswith(f"with {came} operands; its weights multiply one, an expression such as b(r * h)")


@pytest.mark.parametrize("base", [cells.mingru, cells.indrnn, cells.gru_d_input], ids=lambda base: base.name)
def test_what_changes_recurrent_weights_needs_some(base):
    made = {
        "matrix": lambda: base.with_matrix(cells.dropconnect(0.5)),
        "variational": lambda: cells.variational(base, 0.5),
        "gaussian_noise": lambda: cells.gaussian_noise(base, 0.5),
        "recurrent_dropout": lambda: nn.Recurrent(base, 3, 3, recurrent_dropout=0.5),
    }
    for what, make in made.items():
        message = message_of(CellError, make)
        assert message == f"{what} is of recurrent weights, and no gate of the cell {base.name!r} has any; leave it out"
    with pytest.raises(CellError, match=r"^matrix is of recurrent weights, and no gate of the cell 'gated' has any"):

        @cell(gates="a", states="h", input_only="a", matrix=cells.heads(2))
        def gated(a, h):
            return tanh(a) + h


def test_operands_that_change():
    assert "each time it runs" in tried(lambda a, b, h: b(h * GENERATOR.random()) * a, called="b")


def test_a_variable_that_has_changed():
    """A network made later would have the value of the first one."""
    factor = 0.5

    @cell(gates="a", states="h")
    def scaled(a, h):
        return factor * tanh(a)

    nn.Recurrent(scaled, 2, 3)
    nn.Recurrent(scaled, 2, 3)
    factor = 0.25
    for make in (lambda: nn.Recurrent(scaled, 2, 3), lambda: layers.RNN(scaled, 3)):
        with pytest.raises(CellError, match="cell 'scaled' computes something else than when it was first used"):
            make()


@pytest.mark.parametrize(
    ("equations", "said"),
    [
        (lambda a, b, h: a + nblstm.sqrt(-1.0), "math domain error"),
        (lambda a, b, h: a * 10**400, "int too large"),
        (lambda a, b, h: a + 1 / 0, "division by zero"),
        (lambda a, b, h: [a][3], "list index out of range"),
        (lambda a, b, h: a * math.inf, "has the constant inf, or comes to it; use finite numbers"),
        (lambda a, b, h: a * np.float32("nan"), "has the constant nan"),
        (lambda a, b, h: nblstm.maximum(a, -1e200 * nblstm.exp(500.0)), "has the constant -inf"),
    ],
)
def test_what_has_no_value(equations, said):
    assert said in tried(equations)


def test_long_equations():
    """More operations in a row than Python's functions may call each other."""

    @cell(gates="a", states="h")
    def long(a, h):
        for _ in range(5000):
            a = 0.5 * (a + h)
        return a

    compile(long.source(), "long", "exec")


def test_what_is_decorated():
    for thing in (3, "a", dict, len, tanh(0.5)):
        with pytest.raises(CellError, match=r"cell\(\) decorates .*; put it above a function of scalars"):
            cell(gates="a", states="h")(thing)


def test_the_dtype_of_source():
    with pytest.raises(ValueError, match="dtype is 'float16'; nblstm computes in float32 or float64"):
        nblstm.cells.lstm.source(dtype="float16")


@pytest.mark.parametrize("base", [0, -2.5])
def test_traced_powers(base):
    said = f"raises {base:g} to a traced power; give a number above 0, or a traced value"
    assert said in tried(lambda a, b, h: base**a)


def test_division_by_a_constant_zero():
    assert "divides by the constant 0" in tried(lambda a, b, h: a / 0)


def test_foreign_operands():
    assert "str" in tried(lambda a, b, h: a + "b")
    assert "ndarray" in tried(lambda a, b, h: a * np.ones(3))


def test_where_without_a_comparison():
    assert "x > 0" in tried(lambda a, b, h: nblstm.where(a, b, h))


@pytest.mark.parametrize(
    ("equations", "states", "came", "needed"),
    [
        (lambda a, b, h, c: h, "h c", "1", "2"),
        (lambda a, b, h: (a, b), "h", "2", "1"),
        (lambda a, b, h, c: (), "h c", "0", "2"),
    ],
)
def test_wrong_number_of_results(equations, states, came, needed):
    message = tried(equations, states=states)
    assert f"returns {came} values" in message
    assert f"need {needed}" in message


@pytest.mark.parametrize("result", [None, "h", [np.ones(3)]])
def test_results_that_are_no_scalars(result):
    assert "return" in tried(lambda a, b, h: result)


# --- called gates ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "equations",
    [
        lambda a, b, h: tanh(b) * a,
        lambda a, b, h: a + b,
        lambda a, b, h: 2.0 - b,
        lambda a, b, h: b / 2,
        lambda a, b, h: -b,
        lambda a, b, h: np.float32(3) * b,
        lambda a, b, h: nblstm.where(a > b, a, h),
        lambda a, b, h: nblstm.maximum(b, h),
        lambda a, b, h: a if b else h,
        lambda a, b, h: b[0],
        lambda a, b, h: np.mean(b),
        lambda a, b, h: a * np.asarray(b),
        lambda a, b, h: b(b),
        lambda a, b, h: b % 2,
        lambda a, b, h: 7 // b,
        lambda a, b, h: 1.5 @ b,
        lambda a, b, h: nblstm.where(b == 2, a, h),
        lambda a, b, h: nblstm.where(b & (a > 0), a, h),
        lambda a, b, h: ~b,
        lambda a, b, h: 2**b,
        lambda a, b, h: int(b) * a,
        lambda a, b, h: round(b),
        lambda a, b, h: divmod(b, 2)[0],
        lambda a, b, h: 1 in b,
        lambda a, b, h: operator.setitem(b, 0, a),
        lambda a, b, h: b.mean(),
        lambda a, b, h: a * b.shape[0],
        lambda a, b, h: np.tanh(b),
        lambda a, b, h: np.add(1.5, b, dtype="f4"),
        lambda a, b, h: b << a,
    ],
)
def test_called_gates_are_no_numbers(equations):
    said = "uses the called gate 'b' as a number; call it with what its weights multiply"
    assert said in tried(equations, called="b")


def test_called_gates_that_are_not_called():
    assert "never calls its gate 'b'; call it with what its weights multiply" in tried(
        lambda a, b, h: tanh(a) * h, called="b"
    )
    assert "returns CalledGate" in tried(lambda a, b, h: b, called="b")


def test_other_gates_are_no_functions():
    assert "only gates named in called= are" in tried(lambda a, b, h: a(h) + b(h), called="b")
    assert "only gates named in called= are" in tried(lambda a, b, h: a(h) + b)


def test_operands():
    assert "gives the gate 'b' two operands; its weights multiply one in each step" in tried(
        lambda a, b, h: b(h) + b(a * h), called="b"
    )
    assert "str 'h'; only numbers can be" in tried(lambda a, b, h: b("h"), called="b")


# --- declarations, which fail where the cell is made ----------------------------------------------


def test_wrong_argument_count():
    message = tried(lambda a, h: a)
    assert "takes 2 arguments (a h)" in message
    assert "3: a b h" in message


def test_wrong_argument_order():
    assert "the order is a b h" in tried(lambda b, a, h: a)


def test_split_needs_two_arguments():
    assert "a_x a_h b h" in tried(lambda a, b, h: a, split="a")


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "real", "v0", "v12", "saved_0", "new_h", "dh"])
def test_reserved_names(name):
    assert f"uses the name {name!r}" in tried(eval(f"lambda {name}, b, h: b"), gates=f"{name} b")


@pytest.mark.parametrize(
    ("declaration", "said"),
    [
        (dict(gates=""), "at least one gate"),
        (dict(states=""), "at least one gate and one state"),
        (dict(gates="a a"), "twice"),
        (dict(gates="a h"), "twice"),
        (dict(split="z"), "has split='z', which is not one of its gates"),
        (dict(called="z"), "has called='z', which is not one of its gates"),
        (dict(input_only="a z"), "has input_only='z', which is not one of its gates"),
        (dict(recurrent_only="h"), "has recurrent_only='h', which is not one of its gates"),
        (dict(split="b", input_only="b"), "has 'b' in split and in input_only, which exclude each other"),
        (dict(split="b", recurrent_only="b"), "has 'b' in split and in recurrent_only, which exclude each other"),
        (dict(input_only="a b", recurrent_only="b"), "has 'b' in input_only and in recurrent_only, which exclude"),
        (dict(called="b", input_only="b"), "has 'b' in called and in input_only, which exclude each other"),
        (dict(signals="b"), "uses a name twice"),
        (dict(scalars="a"), "uses a name twice"),
        (dict(scalars="bias_hh"), "has a vector or scalar 'bias_hh', as networks name a parameter of theirs"),
        (dict(vectors="da"), "uses the name 'da', which generated code needs; choose another"),
        (dict(matrix="orthogonal"), "has matrix='orthogonal'; give one of nblstm.cells, such as antisymmetric(0.01)"),
        (dict(gates="operand_1 b", called="b"), "uses the name 'operand_1', which generated code needs"),
        (dict(gates="kept_1 b"), "uses the name 'kept_1', which generated code needs"),
        (dict(signals="mean_1"), "uses the name 'mean_1', which generated code needs"),
        (dict(gates="a 1b"), "'1b'"),
        (dict(gates="a if"), "'if'"),
        (dict(gates="a __debug__"), "'__debug__'"),
        (dict(gates="µ μ"), "uses a name twice"),  # Python reads both signs as the same letter
        (dict(gates="ﬁ fi"), "uses a name twice"),
        (dict(gates="a b", vectors="weight_ih"), "has a vector or scalar 'weight_ih', as networks name"),
        (dict(gates=["a", "b"]), "in one string"),
        (dict(vectors=3), "in one string"),
        (dict(output="c"), "has the output 'c'; name one of its states, h"),
        (dict(output=("h",)), "has the output ('h',); name one of its states, h"),
    ],
)
def test_declarations(declaration, said):
    assert said in tried(lambda a, b, h: a, **declaration)


async def coroutine(a, b, h):
    return a


def generator(a, b, h):
    yield a


async def asynchronous_generator(a, b, h):
    yield a


@pytest.mark.parametrize("equations", [coroutine, generator, asynchronous_generator])
def test_equations_that_wait(equations):
    assert "is written with async or yield; write a plain function that returns" in tried(equations)


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "\ud800", "tab\there", "\u2028"])
def test_names_that_cannot_be_printed(name):
    def equations(a, h):
        return a

    equations.__name__ = name
    with pytest.raises(CellError, match="has a name that cannot be printed; give the function another __name__"):
        cell(gates="a", states="h")(equations)


def test_a_function_is_no_cell():
    def plain(a, h):
        return sigmoid(a)

    with pytest.raises(TypeError, match=r"decorator nblstm\.cell"):
        nn.Recurrent(plain, 2, 3)


def test_unknown_activation():
    with pytest.raises(
        ValueError, match=r"no activation named 'tahn' \(did you mean 'tanh'\?\); give one of elu, .*tanh"
    ):
        nblstm.cells.lstm_with("tahn")
    with pytest.raises(ValueError, match=r"'softmax' does not act on each number alone.* scalar="):
        nblstm.cells.gru_with(nblstm.activations.softmax)


@cell(gates="a", states="h")
def simple(a, h):
    return tanh(a + h)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("tanh", lambda x: tanh(x)),
        ("where", lambda x: where(x > 0, 1.0, 2.0)),
        ("where", lambda x: where(True, x, 2.0)),
        ("maximum", lambda x: maximum(x, 0.0)),
        ("maximum", lambda x: relu(x)),
        ("minimum", lambda x: minimum(1.0, x)),
        ("tanh", lambda x: simple(x, x)),
    ],
)
def test_functions_of_numbers_say_what_to_do_about_arrays(name, call):
    """Nothing is traced here."""
    message_of(
        TypeError, lambda: call(np.zeros(3)), f"nblstm.{name} is called on an array of shape (3,)", "activations"
    )
    assert np.isfinite(call(np.float32(0.5)))
