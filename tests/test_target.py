"""The targets that kernels are compiled for: nblstm's small one beside Numba's, and Numba's own in its place."""

import ctypes
from itertools import count

import numba
import numpy as np
import pytest
from numba import types
from processes import run_python
from tolerances import DTYPES

from nblstm import nn
from nblstm.codegen import machine, target
from nblstm.codegen.intrinsics import larger, smaller, square_root
from nblstm.codegen.target import inlined, object_code

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


_numbers = count()


def address_of(function, signature):
    """Address of a kernel that is compiled now."""
    symbol = f"test_{next(_numbers)}"
    return machine.load(object_code(function, signature, symbol), symbol)


def called(function, *arguments):
    """A kernel, called with arrays and integers."""
    kinds = {"d": types.CPointer(types.float64), "f": types.CPointer(types.float32)}
    signature = types.void(*(kinds[a.dtype.char] if isinstance(a, np.ndarray) else types.int64 for a in arguments))
    passed = [(ctypes.c_void_p, a.ctypes.data) if isinstance(a, np.ndarray) else (ctypes.c_int64, a) for a in arguments]
    kernel = ctypes.CFUNCTYPE(None, *(kind for kind, _ in passed))(address_of(function, signature))
    kernel(*(value for _, value in passed))


@pytest.mark.parametrize("dtype", DTYPES)
def test_square_root(dtype):
    a = np.array([0.0, -0.0, 2.0, 3.0, np.inf, np.nan, -1.0, -np.inf, 1e-40, 0.3, 7.0], dtype)
    roots = np.empty_like(a)

    @inlined
    def root(x):
        return square_root(x)

    def apply(n, a, roots):
        for k in range(n):
            roots[k] = root(a[k])

    called(apply, a.size, a, roots)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(roots, np.sqrt(a))
    np.testing.assert_array_equal(np.signbit(roots[:2]), [False, True])


def test_smaller_and_larger():
    out = np.empty(4)

    def apply(a, b, out):
        out[0], out[1], out[2], out[3] = smaller(a, b), larger(a, b), smaller(b, a), larger(b, 7)

    called(apply, -3, 5, out)
    assert out.tolist() == [-3, 5, -3, 7]


# --- Numba's own target ---------------------------------------------------------------------------

#: Results in bytes: layers, ragged rows, two products, an own cell, all threads; losses and optimizers.
BITS = """
import hashlib
import sys
import numpy as np
import nblstm
from nblstm import cell, cells, layers, nn, optimizers, sigmoid, tanh
from nblstm.models import Sequential
from nblstm.codegen import background, compiler, target

background.cores = lambda: 1
built = []
build = compiler._build
compiler._build = lambda name, file, make: built.append(name) or build(name, file, make)

@cell(gates="a b", states="h c", vectors="v")
def own(a, b, h, c, v):
    c = sigmoid(a + v * c) * c + tanh(b)
    return tanh(c) * h + c, c

nblstm.set_num_threads(2)
digest, rng = hashlib.sha256(), np.random.default_rng(0)
for kind, dtype in ((cells.lstm, "float32"), (cells.gru_reset_before, "float64"), (own, "float32")):
    for T, B, I, H in ((5, 3, 4, 17), (9, 30, 6, 40)):
        net = nn.Recurrent(kind, I, H, 2, bidirectional=True, seed=1, dtype=dtype)
        x, lengths = rng.standard_normal((T, B, I)).astype(dtype), rng.integers(1, T + 1, B)
        y, _, tape = net.forward(x, lengths=lengths)
        gradients = net.backward(tape, np.cos(y))
        digest.update(y.tobytes() + gradients.flat.tobytes() + gradients.x.tobytes() + net(x)[0].tobytes())
x, y = rng.standard_normal((8, 6, 5)), rng.uniform(0.1, 0.9, (8, 3))
for optimizer, loss in (("adam", "binary_crossentropy"), ("rmsprop", "huber"), ("sgd", "mae")):
    nblstm.utils.set_random_seed(3)
    model = Sequential([layers.LSTM(7), layers.Dense(3, "gelu"), layers.Dense(3, "sigmoid")])
    model.compile(optimizer, loss)
    model.fit(x, y, epochs=3, batch_size=4, shuffle=False, verbose=0)
    digest.update(b"".join(weight.tobytes() for weight in model.get_weights()))
print(digest.hexdigest(), len(built), target.why_plain() or "small")
"""


def bits(folder, before="", **variables):
    """A hash of results, how many kernels were compiled, and why for Numba's own target."""
    same, built, why = run_python(before + BITS, NBLSTM_CACHE_DIR=str(folder), **variables).strip().split(" ", 2)
    return same, int(built), why


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with kernels for the small target, and what `bits` said."""
    folder = tmp_path_factory.mktemp("small")
    return folder, bits(folder)


def test_numbas_own_gives_the_same_bits_and_has_files_of_its_own(small):
    folder, (expected, compiled, why) = small
    assert compiled > 20
    assert why == "small"
    files = set(folder.iterdir())
    for built in (compiled, 0):  # and none of its object files needs anything of Numba to be loaded
        assert bits(folder, NBLSTM_PLAIN_NUMBA="1") == (expected, built, "NBLSTM_PLAIN_NUMBA is set")
    assert len(set(folder.iterdir())) == len(files) + compiled
    assert bits(folder) == (expected, 0, "small")


#: Ways in which another Numba may differ, and what is said of each.
CHANGES = {
    "a module": ("del core.fastmathpass; sys.modules['numba.core.fastmathpass'] = None", "(ModuleNotFoundError: "),
    "a class": ("numba.njit(lambda: 0); del core.codegen.JITCPUCodegen", "(AttributeError: "),
    "arguments": (
        "make = CFunc.__init__\n"
        "CFunc.__init__ = lambda self, function, signature, *, locals, options: make("
        "self, function, signature, locals, options)",
        "(TypeError: ",
    ),
    "results": (
        "function = small_target.function\n"
        "small_target.function = lambda python, options: function(lambda x, k: (x, k + 1), options)",
        "compiles a kernel wrongly",
    ),
}
CHANGED = """
import sys
import numba
import numpy as np
from numba import core
from numba.core.ccallback import CFunc
from nblstm import nn
from nblstm.codegen import background, target

background.cores = lambda: 1
{}
x = np.sin(np.arange(24, dtype="f4")).reshape(4, 2, 3)
print(nn.RNN(3, 5, seed=0)(x)[0].tobytes().hex())
print(target.why_plain())
"""


@pytest.mark.parametrize("change", CHANGES)
def test_other_internals_change_no_result(change, tmp_path):
    code, said = CHANGES[change]
    if change == "results":
        code = f"from nblstm.codegen import small_target\n{code}"
    printed, why = run_python(CHANGED.format(code), NBLSTM_CACHE_DIR=str(tmp_path)).splitlines()
    x = np.sin(np.arange(24, dtype="f4")).reshape(4, 2, 3)
    assert printed == nn.RNN(3, 5, seed=0)(x)[0].tobytes().hex()
    assert why.startswith(f"numba {numba.__version__} ")
    assert said in why


@pytest.mark.parametrize("error", [MemoryError(), OSError(24, "Too many open files")])
def test_what_says_nothing_of_numba_is_raised(error, monkeypatch):
    def fail(made):
        raise error

    monkeypatch.setattr(target, "_is_right", fail)
    with pytest.raises(type(error)):
        target._failure.__wrapped__()


#: Oracles of other tests, for Numba's own target.
ORACLES = """
from test_compiled_losses import test_any_number_of_numbers
from test_custom_cells import test_whole_cells
from test_optimizers import test_adam
from test_oracle import test_gradients, test_outputs, test_work_that_is_cut_into_segments_and_parts
from test_sparse import test_outputs as test_sparse_outputs
from test_threads import test_eight_python_threads_at_once, test_same_bits_for_any_number_of_threads
from test_two_products import test_keras
from nblstm.codegen import target

for case in ("bidirectional", "ragged_deep", "hundred_units"):
    test_outputs("lstm", case, "float32")
    test_gradients("lstm", case, "float32")
test_work_that_is_cut_into_segments_and_parts("lstm", "ragged_bidirectional", "float32")
test_sparse_outputs("ragged", "scattered", "float32")
test_keras("plain", "float32")
test_whole_cells("vectors", "float32")
test_any_number_of_numbers((67, 3), "float32")
test_adam({}, "float32")
test_same_bits_for_any_number_of_threads("few_rows", "lstm", "float32")
test_eight_python_threads_at_once(True)
print(target.why_plain())
"""


def test_oracles_for_numbas_own():
    assert run_python(ORACLES, NBLSTM_PLAIN_NUMBA="1").strip() == "NBLSTM_PLAIN_NUMBA is set"
