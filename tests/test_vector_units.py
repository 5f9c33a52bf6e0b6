"""Kernels for narrower vector units than this machine's, each in a process that pretends to have no other."""

import platform

import llvmlite.binding
import pytest
from processes import run_python

SSE2 = "+sse,+sse2,+cx8,+fxsr,+mmx"
AVX = f"{SSE2},+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+avx"
AVX2 = f"{AVX},+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe"

#: Name for LLVM, its features, those of them that are telling, and the cells to compile.
UNITS = {
    "AVX2": ("haswell", AVX2, ("avx2", "fma"), ("lstm", "gru")),
    "AVX": ("sandybridge", AVX, ("avx",), ("gru",)),
    "128-bit": ("x86-64", SSE2, ("sse2",), ("lstm", "gru")),
}

CHECK = """
import sys
from test_golden import test_gradients
from test_scalar import test_error_bound
from test_sparse import test_outputs, test_same_bits_as_with_dense_neighbours
from nblstm.cpu.vector import vector_unit

for cell in sys.argv[1:]:
    for case in ("wide", "ragged_deep", "one_unit"):
        for dtype in ("float64", "float32"):
            test_gradients(f"{cell}_{case}", dtype)
for dtype in ("float64", "float32") if "lstm" in sys.argv else ():
    test_outputs("ragged", "scattered", dtype)
    test_same_bits_as_with_dense_neighbours("few_rows", "scattered", dtype)
if not vector_unit().fma:  # rounding differs
    for dtype in ("float64", "float32"):
        for name in ("exp", "sigmoid", "tanh"):
            test_error_bound(name, dtype)
print(vector_unit().name)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="these are units of x86-64")
@pytest.mark.parametrize("unit", UNITS)
def test_golden_vectors_on(unit):
    name, features, needed, cells = UNITS[unit]
    here = llvmlite.binding.get_host_cpu_features()
    if not all(here.get(feature) for feature in needed):
        pytest.skip(f"this machine lacks {unit}")
    printed = run_python(CHECK, *cells, NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features)
    assert printed.strip() == unit
