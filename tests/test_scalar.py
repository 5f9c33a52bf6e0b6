"""The compiled scalar functions over their whole range, against NumPy in longer numbers."""

import ctypes

import numpy as np
import pytest
from numba import types
from test_target import address_of
from tolerances import DTYPES

from nblstm.codegen.scalar import BOUNDS, scalar_functions

TRUTH = {
    "exp": np.exp,
    "expm1": np.expm1,
    "sigmoid": lambda x: np.where(x < 0, np.exp(-np.abs(x)), 1) / (1 + np.exp(-np.abs(x))),
    "tanh": np.tanh,
    "log": np.log,
    "log1p": np.log1p,
}
LIMITS = {  # at -inf, -0, 0, inf
    "exp": (0, 1, 1, np.inf),
    "expm1": (-1, 0, 0, np.inf),
    "sigmoid": (0, 0.5, 0.5, 1),
    "tanh": (-1, 0, 0, 1),
    "log": (np.nan, -np.inf, -np.inf, np.inf),
    "log1p": (np.nan, 0, 0, np.inf),
}
#: Below this a function is NaN.
LOWEST = {"log": 0, "log1p": -1}


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


def long_enough(dtype):
    return dtype == "float32" or np.finfo(np.longdouble).nmant >= 60


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TRUTH)
def test_error_bound(name, dtype):
    if not long_enough(dtype):
        pytest.skip("this platform's long double is no longer than a double")
    x = arguments(dtype, LOWEST.get(name, -np.inf))
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
@pytest.mark.parametrize("name", [name for name in TRUTH if name != "log"])
def test_subnormal_arguments(name, dtype):
    tiny = np.finfo(dtype).tiny
    x = np.array([tiny / 2, tiny / 8, np.finfo(dtype).smallest_subnormal], dtype)
    x = np.concatenate([x, -x])
    expected = x if name in ("expm1", "log1p", "tanh") else np.full_like(x, LIMITS[name][2])
    np.testing.assert_allclose(on_arrays(name, dtype)(x), expected, rtol=0, atol=np.finfo(dtype).smallest_subnormal)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logarithms_of_subnormal_and_of_negative_numbers(dtype):
    tiny = np.finfo(dtype).tiny
    x = np.array([tiny / 2, tiny / 8, np.finfo(dtype).smallest_subnormal], dtype)
    np.testing.assert_allclose(on_arrays("log", dtype)(x), np.log(x), rtol=2 * np.finfo(dtype).eps)
    assert np.isnan(on_arrays("log", dtype)(-x)).all()
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
def test_library_functions(dtype):
    x = np.random.default_rng(1).uniform(0.001, 30, 2000).astype(dtype)
    wide = x.astype(np.longdouble)
    for name, exact in (("sqrt", np.sqrt(wide)), ("abs", wide)):
        np.testing.assert_allclose(on_arrays(name, dtype)(x), exact.astype(dtype), rtol=2 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(on_arrays("abs", dtype)([-2.5, -np.inf, -0.0]), [2.5, np.inf, 0.0])
