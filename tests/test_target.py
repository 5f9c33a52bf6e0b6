"""The target that kernels are compiled for, beside Numba's own in one process."""

import ctypes

import numpy as np
import pytest
from numba import types
from processes import run_python
from tolerances import DTYPES

from nblstm.codegen.instructions import larger, smaller
from nblstm.codegen.target import inlined, kernel

USER = """
@numba.njit
def user(x):
    total = 0.0
    for k in range(min(3, x.size)):
        total += max(np.sqrt(x[k]), np.maximum(x[k], 0.5))
    return total + np.maximum(x, 0.5).sum() + np.sqrt(x).max()

x = np.array([0.25, 4.0, 1.0, 9.0])
assert user(x) == user.py_func(x) == 23.0
"""
KERNELS = """
net = nn.LSTM(3, 5, seed=0)
adam = optimizers.Adam(net)
y, _, tape = net.forward(np.ones((4, 2, 3), "f4"))
adam.step([net.backward(tape, y)])
print(float(y.sum()), float(net.flat_parameters().sum()))
"""
IMPORTS = "import sys\nimport numba\nimport numpy as np\nfrom nblstm import nn, optimizers\n"
#: What Numba's own target imports to compile anything, for 0.1 s.
NOT_NEEDED = "assert not {'scipy.linalg', 'numba.np.arraymath'} & sys.modules.keys()"


def test_it_goes_with_numbas_own_and_needs_less(tmp_path):
    programs = {"alone": KERNELS + NOT_NEEDED, "first": KERNELS + USER, "second": USER + KERNELS}
    printed = {run_python(IMPORTS + text, NBLSTM_CACHE_DIR=str(tmp_path / name)) for name, text in programs.items()}
    assert len(printed) == 1


def called(function, *arguments):
    """A kernel, called with arrays and integers."""
    kinds = {"d": types.CPointer(types.float64), "f": types.CPointer(types.float32)}
    signature = types.void(*(kinds[a.dtype.char] if isinstance(a, np.ndarray) else types.int64 for a in arguments))
    made = kernel(function, signature)
    passed = [(ctypes.c_void_p, a.ctypes.data) if isinstance(a, np.ndarray) else (ctypes.c_int64, a) for a in arguments]
    ctypes.CFUNCTYPE(None, *(kind for kind, _ in passed))(made.address)(*(value for _, value in passed))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_functions_of_numpy_that_optimizers_use(dtype):
    a = np.array([0.0, 2.0, 3.0, np.inf, np.nan, 1.0, np.nan, 0.3], dtype)
    b = np.array([1.0, -2.0, 3.0, 5.0, 1.0, np.nan, np.nan, 0.4], dtype)
    roots, larger_ones = np.empty_like(a), np.empty_like(a)

    @inlined
    def both(x, y):
        return np.sqrt(x), np.maximum(x, y)

    def apply(n, a, b, roots, larger_ones):
        for k in range(n):
            roots[k], larger_ones[k] = both(a[k], b[k])

    called(apply, a.size, a, b, roots, larger_ones)
    np.testing.assert_array_equal(roots, np.sqrt(a))
    np.testing.assert_array_equal(larger_ones, np.maximum(a, b))


def test_smaller_and_larger():
    out = np.empty(4)

    def apply(a, b, out):
        out[0], out[1], out[2], out[3] = smaller(a, b), larger(a, b), smaller(b, a), larger(b, 7)

    called(apply, -3, 5, out)
    assert out.tolist() == [-3, 5, -3, 7]
