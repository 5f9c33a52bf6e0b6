"""nblstm's functions and cells inside users' ``@njit`` functions, against the oracle and against plain Python."""

import math
import re
import shutil
from pathlib import Path

import kinds_of_cells
import numba
import numpy as np
import pytest
import reference
from numba import njit, prange
from processes import run_python
from test_scalar import LOWEST, TRUTH, arguments, long_enough
from tolerances import DTYPES, OUTPUT, assert_close

import nblstm
from nblstm import CellError, cell, cells, sigmoid, tanh
from nblstm.codegen.scalar import BOUNDS
from nblstm.symbolic import functions

ORACLE = {
    "abs": np.abs, "clip": lambda x: np.clip(x, -0.5, 0.25), "elu": reference.elu, "exp": np.exp,
    "gelu": reference.gelu, "hard_sigmoid": reference.hard_sigmoid, "hard_tanh": reference.hard_tanh,
    "leaky_relu": reference.leaky_relu, "log": lambda x: np.log(np.abs(x)),
    "maximum": lambda x: np.maximum(x, 0.5 * x), "minimum": lambda x: np.minimum(x, 0.5 * x),
    "relu": reference.relu, "selu": reference.selu, "sigmoid": reference.sigmoid, "softplus": reference.softplus,
    "softsign": reference.softsign, "sqrt": lambda x: np.sqrt(np.abs(x)), "swish": reference.swish, "tanh": np.tanh,
    "where": lambda x: np.where(np.less(x, 0.25), x, -x), "sin": np.sin, "cos": np.cos,
    "erf": reference.FUNCTIONS["erf"], "exp2": np.exp2, "log2": lambda x: np.log2(np.abs(x)), "sign": np.sign,
    "round": np.rint, "stop_gradient": np.copy,
}  # fmt: skip
NAMES = [*ORACLE]


@njit
def all_functions(x, y):
    """Each function of each number; constants are products with numbers of x's type, so that float32 stays float32."""
    for k in range(x.size):
        v, half = x[k], x[k] * x.dtype.type(0.5)
        y[0, k] = nblstm.abs(v)
        y[1, k] = nblstm.clip(v, -0.5, 0.25)
        y[2, k] = nblstm.elu(v)
        y[3, k] = nblstm.exp(v)
        y[4, k] = nblstm.gelu(v)
        y[5, k] = nblstm.hard_sigmoid(v)
        y[6, k] = nblstm.hard_tanh(v)
        y[7, k] = nblstm.leaky_relu(v)
        y[8, k] = nblstm.log(nblstm.abs(v))
        y[9, k] = nblstm.maximum(v, half)
        y[10, k] = nblstm.minimum(v, half)
        y[11, k] = nblstm.relu(v)
        y[12, k] = nblstm.selu(v)
        y[13, k] = nblstm.sigmoid(v)
        y[14, k] = nblstm.softplus(v)
        y[15, k] = nblstm.softsign(v)
        y[16, k] = nblstm.sqrt(nblstm.abs(v))
        y[17, k] = nblstm.swish(v)
        y[18, k] = nblstm.tanh(v)
        y[19, k] = nblstm.where(v < 0.25, v, -v)
        y[20, k] = nblstm.sin(v)
        y[21, k] = nblstm.cos(v)
        y[22, k] = nblstm.erf(v)
        y[23, k] = nblstm.exp2(v)
        y[24, k] = nblstm.log2(nblstm.abs(v))
        y[25, k] = nblstm.sign(v)
        y[26, k] = nblstm.round(v)
        y[27, k] = nblstm.stop_gradient(v)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_function_is_the_oracles(dtype):
    x = np.random.default_rng(0).normal(size=500).astype(dtype) * 3
    y = np.empty((len(NAMES), x.size), dtype)
    all_functions(x, y)
    assert set(NAMES) == set(functions.__all__)
    for name, result in zip(NAMES, y, strict=True):
        with np.errstate(over="ignore"):
            assert_close(result, ORACLE[name](x.astype("f8")), OUTPUT[dtype])


@njit
def bounded_functions(x, positive, y):
    for k in range(x.size):
        y[0, k] = nblstm.exp(x[k])
        y[1, k] = sigmoid(x[k])
        y[2, k] = tanh(x[k])
        y[3, k] = nblstm.log(positive[k])


@pytest.mark.parametrize("dtype", DTYPES)
def test_errors_are_within_the_bounds_of_kernels(dtype):
    if not long_enough(dtype):
        pytest.skip("this platform's long double is no longer than a double")
    x, positive = arguments(dtype), arguments(dtype, LOWEST["log"])
    positive = np.resize(positive, x.shape)
    y = np.empty((4, x.size), dtype)
    bounded_functions(x, positive, y)
    for name, result in zip(("exp", "sigmoid", "tanh", "log"), y, strict=True):
        with np.errstate(over="ignore", under="ignore"):
            exact = TRUTH[name]((positive if name == "log" else x).astype(np.longdouble))
            rounded = exact.astype(dtype)
        normal = np.isfinite(rounded) & (np.abs(rounded) >= np.finfo(dtype).tiny)
        ulps = np.abs(result[normal] - exact[normal]) / np.spacing(np.abs(rounded[normal]))
        assert ulps.max() <= BOUNDS[dtype][name], name


@njit
def with_arguments(x):
    return (
        nblstm.leaky_relu(x, negative_slope=0.25), nblstm.elu(x, 0.5), nblstm.clip(low=-1, high=1, x=x),
        nblstm.where((x > -9) * (x < 9), x, 0), nblstm.maximum(x, 0), nblstm.sigmoid(x=x),
    )  # fmt: skip


@pytest.mark.parametrize("x", [-0.5, np.float32(-0.5), -3, 2, np.int8(-2), True, 0.0])
def test_arguments_are_given_as_in_python(x):
    np.testing.assert_allclose(with_arguments(x), with_arguments.py_func(float(x)), rtol=1e-6)


def test_numbers_are_float32_where_all_arguments_are_else_float64():
    @njit
    def kinds(a, b):
        return nblstm.maximum(a, b), nblstm.where(True, a, b), sigmoid(a), nblstm.elu(b)

    def results(a, b):
        kinds(a, b)
        return [str(kind) for kind in kinds.nopython_signatures[-1].return_type]

    assert results(np.float32(1), np.float32(2)) == ["float32"] * 4
    assert results(np.float32(1), 2.0) == ["float64", "float64", "float32", "float64"]
    assert results(1, True) == ["float64"] * 4
    assert results(np.float32(1), np.int16(2)) == ["float64", "float64", "float32", "float64"]


def test_ends_of_the_range():
    @njit
    def ends(x):
        return nblstm.exp(x), sigmoid(x), tanh(x), nblstm.log(x), nblstm.sqrt(x), nblstm.softplus(x)

    np.testing.assert_array_equal(ends(np.inf), [np.inf, 1, 1, np.inf, np.inf, np.inf])
    np.testing.assert_array_equal(ends(-np.inf), [0, 0, -1, np.nan, np.nan, 0])
    assert np.isnan(ends(np.nan)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_users_loop_becomes_vector_code(dtype):
    @njit
    def loop(x, h, c):
        for k in range(x.size):
            h[k], c[k] = cells.lstm(x[k], x[k], x[k], x[k], h[k], c[k])

    x = np.linspace(-3, 3, 100, dtype=dtype)
    loop(x, x.copy(), x.copy())
    [code] = loop.inspect_llvm().values()
    number = {"float32": "float", "float64": "double"}[dtype]
    assert re.search(rf"fdiv .*<\d+ x {number}>", code), "the divisions of sigmoid are one by one"


@njit(parallel=True, fastmath=True)
def in_parallel(x, h, c):
    for k in prange(x.size):
        h[k], c[k] = cells.lstm(x[k], x[k], x[k], sigmoid(x[k]), h[k], c[k])


def test_in_parallel_with_fast_mathematics():
    x = np.random.default_rng(3).normal(size=1000)
    h, c = x * 0.5, x * 0.25
    new = reference.lstm(x, x, x, reference.sigmoid(x), h, c)
    in_parallel(x, h, c)
    assert_close(h, new[0], OUTPUT["float64"])
    assert_close(c, new[1], OUTPUT["float64"])


# --- cells ----------------------------------------------------------------------------------------------


def scaled(scale):
    @cell(gates="f g", states="h")
    def own(f, g, h):
        return (sigmoid(f) * h + scale * tanh(g),)

    return own


@njit
def linear(operand):
    return 0.3 * operand + 0.1


PLAIN = [c for c in (*(getattr(cells, name) for name in cells.__all__), scaled(0.5))
         if isinstance(c, nblstm.Cell) and not c.called and "sums over units" not in c.uses]  # fmt: skip


@pytest.mark.parametrize("of", PLAIN, ids=lambda c: c.name)
def test_every_cell_computes_what_it_does_in_python(of):
    @njit
    def step(scalars):
        return of(*scalars)

    for dtype, tolerance in OUTPUT.items():
        scalars = np.random.default_rng(1).normal(size=len(of.arguments)).astype(dtype)
        result, expected = step(tuple(scalars)), of(*map(float, scalars))
        assert isinstance(result, tuple) == isinstance(expected, tuple)
        np.testing.assert_allclose(result, expected, rtol=tolerance * 10)
        kinds = step.nopython_signatures[-1].return_type
        assert {str(kind) for kind in (kinds if isinstance(expected, tuple) else [kinds])} == {dtype}


def test_a_cell_is_the_oracles():
    @njit
    def run(gates, h, c):
        for t in range(len(gates)):
            h, c = cells.lstm(gates[t, 0], gates[t, 1], gates[t, 2], gates[t, 3], h, c=c)
        return h, c

    gates, expected = np.random.default_rng(2).normal(size=(20, 4)), (0.1, -0.2)
    for row in gates:
        expected = reference.lstm(*row, *expected)
    np.testing.assert_allclose(run(gates, 0.1, -0.2), expected, rtol=1e-13)


def test_a_called_gate_is_a_function():
    @njit
    def by_name(r, z, h):
        return cells.gru_reset_before(r, z, linear, h)

    @njit
    def on_the_spot(r, z, h):
        return cells.gru_reset_before(r, z, lambda operand: 0.3 * operand + 0.1, h)

    expected = cells.gru_reset_before(0.1, -0.2, linear.py_func, 0.3)
    r, z = reference.sigmoid(0.1), reference.sigmoid(-0.2)
    assert math.isclose(expected, (1 - z) * np.tanh(0.3 * r * 0.3 + 0.1) + z * 0.3, rel_tol=1e-14)
    assert math.isclose(by_name(0.1, -0.2, 0.3), expected, rel_tol=1e-14)
    assert math.isclose(on_the_spot(0.1, -0.2, 0.3), expected, rel_tol=1e-14)
    assert math.isclose(by_name(np.float32(0.1), np.float32(-0.2), np.float32(0.3)), expected, rel_tol=1e-6)


UNITS = "layer_norm_lstm", "attention", "everything"


@pytest.mark.parametrize("name", [name for name in kinds_of_cells.CELLS if name not in UNITS])
def test_cells_of_all_kinds(name):
    """Several called gates, x, signals, scalars; noise is its mean."""
    of = kinds_of_cells.CELLS[name]
    source = ", ".join(f"lambda v: 0.3 * v + {k + 1}" if name in of.functions else f"numbers[{k}]"
                       for k, name in enumerate(of.arguments))  # fmt: skip
    scope = {"of": of}
    exec(f"def step(numbers):\n    return of({source})", scope)
    for dtype, tolerance in OUTPUT.items():
        numbers = np.random.default_rng(1).uniform(-1, 1, len(of.arguments)).astype(dtype)
        result, expected = njit(scope["step"])(numbers), scope["step"](numbers.astype("f8"))
        np.testing.assert_allclose(result, expected, rtol=tolerance * 10)


@pytest.mark.parametrize("name", UNITS)
def test_cells_with_sums_over_units_are_refused(name):
    of = kinds_of_cells.CELLS[name]
    numbers = [0.1 if name not in of.functions else linear for name in of.arguments]
    with pytest.raises(numba.TypingError, match=f"the cell '{name}' has sums over units, and is called on the numbers"):
        njit(lambda *numbers: of(*numbers))(*numbers)
    with pytest.raises(CellError, match=r"^m\w+ is for the equations of a cell, where units stand side by"):
        of(*(0.1 if number is linear else number for number in numbers))


def test_cells_of_one_name_are_told_apart_and_can_be_arguments():
    def run(of):
        @njit
        def step(f, g, h):
            return of(f, g, h)

        return step(0.1, 0.2, 0.3)

    @njit
    def given(of, f, g, h):
        return of(f, g, h)

    for scale in (0.5, 2.0):
        own = scaled(scale)
        np.testing.assert_allclose(run(own), own(0.1, 0.2, 0.3), rtol=1e-14)
        np.testing.assert_allclose(given(own, 0.1, 0.2, 0.3), own(0.1, 0.2, 0.3), rtol=1e-14)


# --- caches -----------------------------------------------------------------------------------------------

CELLS = """
from nblstm import cell, sigmoid

@cell(gates="f", states="h")
def own(f, h):
    return {factor} * sigmoid(f) * h
"""

PROGRAM = """
import sys
import numpy as np
from numba import njit, prange
import nblstm
from cells_of_mine import own

def kept(of):
    @njit(cache=True)
    def in_closure(f, h):
        return of(f, h)
    return in_closure

@njit(cache=True)
def called(x):
    return nblstm.sigmoid(x)

@njit(cache=True)
def calling(x):
    return called(x) + 1

@njit(cache=True, parallel=True, fastmath=True)
def parallel(x):
    y = np.empty_like(x)
    for k in prange(x.size):
        y[k] = own(x[k], x[k])
    return y.sum()

if __name__ == "__main__":
    in_closure = kept(own)
    print("misses", calling(0.5), parallel(np.ones(5)), in_closure(1.0, 1.0), *(
        sum(f.stats.cache_misses.values()) for f in (calling, parallel, in_closure)))
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "cells_of_mine.py").write_text(CELLS.format(factor=2))
    (tmp_path / "program.py").write_text(PROGRAM)
    package = tmp_path / "installed" / "nblstm"
    shutil.copytree(Path(nblstm.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))

    def run():
        """What the program prints, and how many functions of three were not in the cache."""
        paths = f"{tmp_path / 'installed'}:{tmp_path}"
        output = run_python(
            f"import sys, runpy; sys.path[:0] = {paths.split(':')!r}; "
            f"runpy.run_path({str(tmp_path / 'program.py')!r}, run_name='__main__')",
            NUMBA_CACHE_DIR=str(tmp_path / "cache"), PYTHONDONTWRITEBYTECODE="1",
        )  # fmt: skip
        *results, first, second, third = output.split()[1:]
        return [float(result) for result in results], int(first) + int(second) + int(third)

    return run, tmp_path, package


def test_a_users_cache_hits_in_the_next_process_and_misses_after_an_upgrade(program):
    run, folder, package = program
    results, misses = run()
    s = reference.sigmoid
    np.testing.assert_allclose(results, [s(0.5) + 1, 5 * 2 * s(1.0), 2 * s(1.0)], rtol=1e-14)
    assert misses == 3
    assert run() == (results, 0)
    # Another nblstm: sigmoid computes something else.
    file = package / "codegen" / "scalar.py"
    file.write_text(file.read_text().replace("return (z if x < ZERO else ONE) / (ONE + z)", "return TWO"))
    changed, misses = run()
    assert (changed, misses) == ([3.0, 20.0, 4.0], 3)
    assert run() == (changed, 0)
    # Another cell in another file than the function's, which Numba alone doesn't see.
    (folder / "cells_of_mine.py").write_text(CELLS.format(factor=3))
    changed, misses = run()
    assert changed == [3.0, 30.0, 6.0]
    assert misses == 2


def test_the_same_program_without_compilation():
    code = """
from numba import njit
import nblstm
from nblstm import cells

@njit
def step(i, f, g, o, h, c):
    h, c = cells.lstm(i, f, g, o, h, c)
    return nblstm.sigmoid(h) + cells.gru(i, f, g, o, c)

print(step(0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
"""
    compiled, plain = (float(run_python(code, NUMBA_DISABLE_JIT=disabled)) for disabled in (None, "1"))
    assert math.isclose(compiled, plain, rel_tol=1e-13)


# --- mistakes -----------------------------------------------------------------------------------------------


def refused(function, *arguments):
    with pytest.raises(numba.TypingError) as error:
        njit(function)(*arguments)
    return str(error.value)


def test_an_argument_that_is_no_number_is_refused_in_one_sentence():
    array = np.ones(3)
    assert (
        "nblstm.sigmoid got array(float64, 1d, C), and computes one number at a time; call it in a loop over the "
        "array's numbers"
    ) in refused(lambda x: sigmoid(x), array)
    assert "nblstm.tanh got complex128; give real numbers: floats, integers or booleans" in refused(
        lambda x: tanh(x), 1j
    )
    assert "nblstm.where got unicode_type; give real" in refused(lambda x: nblstm.where(x, 1.0, 2.0), "text")
    assert "the cell 'rnn_tanh' got complex128; give real" in refused(lambda x: cells.rnn_tanh(x, x), 1j)
    assert "missing a required argument" in refused(lambda x: cells.lstm(x, x), 1.0)
    assert "missing a required argument: 'b'" in refused(lambda x: nblstm.maximum(x), 1.0)
    assert (
        "the cell 'gru_reset_before' got float64 for its called gate 'n'; give a function compiled by @njit, from its "
        "operand to its pre-activation"
    ) in refused(lambda x: cells.gru_reset_before(x, x, x, x), 1.0)


def test_a_cell_that_cannot_be_traced_says_so():
    @cell(gates="a", states="h")
    def branches(a, h):
        return h if a > 0 else a

    with pytest.raises(CellError, match="decides with `if`"):
        njit(lambda x: branches(x, x))(1.0)
