"""The compiled scalar functions over their whole range, against NumPy in longer numbers."""

import ctypes
import re

import numpy as np
import pytest
from numba import types
from scipy.special import erf
from test_target import address_of
from tolerances import DTYPES

from nblstm.codegen import target
from nblstm.codegen.intrinsics import distinct
from nblstm.codegen.scalar import BOUNDS, functions_for, scalar_functions
from nblstm.codegen.sine import REDUCED

TRUTH = {
    "exp": np.exp,
    "expm1": np.expm1,
    "sigmoid": lambda x: np.where(x < 0, np.exp(-np.abs(x)), 1) / (1 + np.exp(-np.abs(x))),
    "tanh": np.tanh,
    "log": np.log,
    "log1p": np.log1p,
    "exp2": np.exp2,
    "log2": np.log2,
    "sin": np.sin,
    "cos": np.cos,
}
LIMITS = {  # at -inf, -0, 0, inf
    "exp": (0, 1, 1, np.inf),
    "expm1": (-1, 0, 0, np.inf),
    "sigmoid": (0, 0.5, 0.5, 1),
    "tanh": (-1, 0, 0, 1),
    "log": (np.nan, -np.inf, -np.inf, np.inf),
    "log1p": (np.nan, 0, 0, np.inf),
    "exp2": (0, 1, 1, np.inf),
    "log2": (np.nan, -np.inf, -np.inf, np.inf),
    "sin": (np.nan, 0, 0, np.nan),
    "cos": (np.nan, 1, 1, np.nan),
}
#: Below this a function is NaN.
LOWEST = {"log": 0, "log1p": -1, "log2": 0}


def on_arrays(name, dtype):
    """The compiled function over an array, in a loop as kernels have it."""
    scalar = scalar_functions(dtype)[name]

    def loop(size, x, y):
        for k in range(size):
            y[k] = scalar(x[k])

    pointer = types.CPointer(getattr(types, dtype))
    kernel = address_of(loop, types.void(types.int64, pointer, pointer))
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(kernel)

    def evaluate(x):
        x = np.ascontiguousarray(x, dtype)
        y = np.empty_like(x)
        call(x.size, x.ctypes.data, y.ctypes.data)
        return y

    return evaluate


def arguments(dtype, lowest=-np.inf):
    """Both signs: every magnitude, densely where the functions bend and around the reduction's steps, and the ends."""
    rng, limits = np.random.default_rng(0), np.finfo(dtype)
    top = 110.0 if dtype == "float32" else 760.0
    magnitudes = np.concatenate([
        np.exp(rng.uniform(np.log(limits.tiny), np.log(limits.max / 2), 60_000)),
        rng.uniform(0, 1, 60_000),
        rng.uniform(0, 20, 60_000),
        rng.uniform(0, top, 60_000),
        (np.arange(2300)[:, None] / 2 * np.log(2) + rng.uniform(-1e-6, 1e-6, (2300, 8))).ravel().clip(0),
        1 + np.exp(rng.uniform(np.log(limits.eps), 0, 20_000)),
        1 - np.exp(rng.uniform(np.log(limits.eps), 0, 20_000)),
        [limits.tiny, limits.max, limits.eps, 87.0, 88.0, 88.7, 88.8, 103.9, 708.0, 709.0, 709.7, 709.9, 745.0],
    ])  # fmt: skip
    magnitudes = magnitudes.astype(dtype)
    both = np.concatenate([magnitudes, -magnitudes])
    return both[both > lowest]


def around_multiples(dtype):
    """Numbers beside multiples of pi / 2, where sine or cosine is nearly 0, and all others up to where they hold."""
    rng, largest = np.random.default_rng(1), REDUCED[dtype]
    multiples = int(largest / (np.pi / 2))
    k = np.concatenate([np.arange(1, 40_000), rng.integers(1, multiples, 40_000)]).astype(np.longdouble)
    # pi / 2 in two float64: the second is what the first leaves.
    beside = (k * np.longdouble(1.5707963267948966) + k * np.longdouble(6.123233995736766e-17)).astype(dtype)
    beside = np.concatenate([beside, np.nextafter(beside, np.array(np.inf, dtype)), np.arange(0, 3000)])
    x = np.concatenate([beside, -beside, rng.uniform(-largest, largest, 200_000)]).astype(dtype)
    return x[np.abs(x) <= largest]


def long_enough(dtype):
    return dtype == "float32" or np.finfo(np.longdouble).nmant >= 60


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TRUTH)
def test_error_bound(name, dtype):
    if not long_enough(dtype):
        pytest.skip("this platform's long double is no longer than a double")
    x = arguments(dtype, LOWEST.get(name, -np.inf))
    if name in ("sin", "cos"):
        x = np.concatenate([x[np.abs(x) <= REDUCED[dtype]], around_multiples(dtype)])
    with np.errstate(over="ignore", under="ignore"):
        exact = TRUTH[name](x.astype(np.longdouble))
        rounded = exact.astype(dtype)
    y = on_arrays(name, dtype)(x)
    assert not np.isnan(y).any()
    overflows = np.isinf(rounded)
    np.testing.assert_array_equal(y[overflows], rounded[overflows])
    normal = ~overflows & (np.abs(rounded) >= np.finfo(dtype).tiny)
    assert normal.sum() > 100_000
    ulps = np.abs(y[normal] - exact[normal]) / np.spacing(np.abs(rounded[normal]))
    worst = ulps.argmax()
    assert ulps[worst] <= BOUNDS[dtype][name], f"{ulps[worst]:.2f} ulp at {x[normal][worst]!r}"
    # Below the normal numbers a result may be anything as small: 0 for exp of -100, the argument itself for tanh.
    assert (np.abs(y[~normal & ~overflows]) <= np.finfo(dtype).tiny).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TRUTH)
def test_infinities_zeros_and_nan(name, dtype):
    function = on_arrays(name, dtype)
    np.testing.assert_array_equal(function([-np.inf, -0.0, 0.0, np.inf]), np.array(LIMITS[name], dtype))
    assert np.isnan(function([np.nan, -np.nan])).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in TRUTH if name not in ("log", "log2")])
def test_subnormal_arguments(name, dtype):
    tiny = np.finfo(dtype).tiny
    x = np.array([tiny / 2, tiny / 8, np.finfo(dtype).smallest_subnormal], dtype)
    x = np.concatenate([x, -x])
    expected = x if name in ("expm1", "log1p", "tanh", "sin") else np.full_like(x, LIMITS[name][2])
    np.testing.assert_allclose(on_arrays(name, dtype)(x), expected, rtol=0, atol=np.finfo(dtype).smallest_subnormal)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logarithms_of_subnormal_and_of_negative_numbers(dtype):
    tiny = np.finfo(dtype).tiny
    x = np.array([tiny / 2, tiny / 8, np.finfo(dtype).smallest_subnormal], dtype)
    np.testing.assert_allclose(on_arrays("log", dtype)(x), np.log(x), rtol=2 * np.finfo(dtype).eps)
    np.testing.assert_allclose(on_arrays("log2", dtype)(x), np.log2(x), rtol=2 * np.finfo(dtype).eps)
    assert np.isnan(on_arrays("log", dtype)(-x)).all()
    assert np.isnan(on_arrays("log2", dtype)(-x)).all()
    assert np.isnan(on_arrays("log1p", dtype)([-1.5, -3, -1e30])).all()
    np.testing.assert_array_equal(on_arrays("log1p", dtype)([-1.0]), np.array([-np.inf], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_values_stay_within_their_range_and_are_odd(name, dtype):
    x = arguments(dtype)
    y, mirrored = on_arrays(name, dtype)(x), on_arrays(name, dtype)(-x)
    assert (np.abs(y) <= 1).all()
    if name == "tanh":
        np.testing.assert_array_equal(mirrored, -y)
    else:
        assert (y >= 0).all()
        np.testing.assert_allclose(y + mirrored, 1, rtol=0, atol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sine_and_cosine_far_out_are_numbers_from_minus_1_to_1(dtype):
    x = arguments(dtype)
    for name in ("sin", "cos"):
        y, mirrored = on_arrays(name, dtype)(x), on_arrays(name, dtype)(-x)
        assert (np.abs(y) <= 1).all()
        near = np.abs(x) <= REDUCED[dtype]
        np.testing.assert_array_equal(mirrored[near], (-y if name == "sin" else y)[near])


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_of_2_are_exact(dtype):
    n = np.arange(np.finfo(dtype).minexp, np.finfo(dtype).maxexp)
    powers = np.ldexp(np.ones(n.size, dtype), n)
    np.testing.assert_array_equal(on_arrays("exp2", dtype)(n), powers)
    np.testing.assert_array_equal(on_arrays("log2", dtype)(powers), n)


@pytest.mark.parametrize("dtype", DTYPES)
def test_error_function(dtype):
    """Against SciPy's in float64 for float32, and against mpmath's for float64."""
    function, limits = on_arrays("erf", dtype), np.finfo(dtype)
    np.testing.assert_array_equal(function([-np.inf, -6, 0, 6, np.inf]), np.array([-1, -1, 0, 1, 1], dtype))
    assert np.isnan(function([np.nan])).all()
    rng = np.random.default_rng(2)
    if dtype == "float32":
        x = np.concatenate([arguments(dtype), rng.uniform(-4.5, 4.5, 200_000).astype(dtype)])
        exact = erf(x.astype(np.float64))
    else:
        mpmath = pytest.importorskip("mpmath", reason="this needs mpmath, which torch brings along")
        x = np.concatenate([rng.uniform(-6.1, 6.1, 3000), np.exp(rng.uniform(np.log(limits.tiny), 1.5, 1000))])
        with mpmath.workdps(40):
            exact = [mpmath.erf(mpmath.mpf(float(number))) for number in x]
            exact = np.array([np.longdouble(mpmath.nstr(number, 30)) for number in exact])
    y = function(x)
    normal = np.abs(exact) >= 2 * limits.tiny
    ulps = np.abs(y - exact)[normal] / np.spacing(np.abs(exact[normal]).astype(dtype))
    assert ulps.max() <= BOUNDS[dtype]["erf"], f"{ulps.max():.2f} ulp at {x[normal][ulps.argmax()]!r}"
    np.testing.assert_array_equal(function(-x), -y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sign_and_round(dtype):
    x = np.concatenate([arguments(dtype), np.arange(-2000, 2001) / 4]).astype(dtype)
    for name, exact in (("sign", np.sign), ("round", np.rint)):
        given = np.concatenate([x, np.array([-np.inf, -0.0, 0.0, np.inf, np.nan], dtype)])
        np.testing.assert_array_equal(on_arrays(name, dtype)(given), exact(given))
        everywhere = functions_for(dtype, lambda function: function, None, None)[name]  # as CUDA's kernels have it
        few = given[:: len(given) // 300]
        np.testing.assert_array_equal([everywhere(number) for number in (*few, *given[-4005:])],
                                      exact(np.concatenate([few, given[-4005:]])))  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*TRUTH, "erf", "sign", "round", "sqrt"])
def test_loops_become_vector_code(name, dtype):
    scalar = scalar_functions(dtype)[name]

    def loop(size, x, y):
        distinct()
        for k in range(size):
            y[k] = scalar(x[k])

    pointer = types.CPointer(getattr(types, dtype))
    module, _ = target._target().llvm_code(loop, types.void(types.int64, pointer, pointer), target._KERNEL)
    kinds = {"float32": "float|i32", "float64": "double|i64"}[dtype]
    assert re.search(rf"store <\d+ x (?:{kinds})>", str(module)), "numbers are stored one by one"
    assert not re.search(rf"call \w+ @(?:{name}|rint)f?\(", str(module)), "a function of a library is called"


@pytest.mark.parametrize("dtype", DTYPES)
def test_library_functions(dtype):
    x = np.random.default_rng(1).uniform(0.001, 30, 2000).astype(dtype)
    wide = x.astype(np.longdouble)
    for name, exact in (("sqrt", np.sqrt(wide)), ("abs", wide)):
        np.testing.assert_allclose(on_arrays(name, dtype)(x), exact.astype(dtype), rtol=2 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(on_arrays("abs", dtype)([-2.5, -np.inf, -0.0]), [2.5, np.inf, 0.0])
