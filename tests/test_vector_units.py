"""Kernels for narrower vector units than this machine's, each in a process that pretends to have no other."""

import platform

import llvmlite.binding
import numba
import pytest
from processes import run_python

from nblstm.cpu.matrix import blocks

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
from nblstm.cpu.matrix.blocks import vector_unit

for cell in sys.argv[1:]:
    for case in ("wide", "ragged_deep", "one_unit"):
        for dtype in ("float64", "float32"):
            test_gradients(f"{cell}_{case}", dtype)
for dtype in ("float64", "float32") if "lstm" in sys.argv else ():
    test_outputs("ragged", "scattered", dtype)
    test_same_bits_as_with_dense_neighbours("few_rows", "scattered", dtype)
if not vector_unit().fma:  # rounding differs
    for dtype in ("float64", "float32"):
        for name in ("exp", "sigmoid", "tanh", "exp2", "log2", "sin", "cos"):
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


NAMED = {
    ("skylake-avx512", ""): ("AVX-512", True),
    ("x86-64-v4", "-avx512f"): ("AVX2", True),
    ("haswell", ""): ("AVX2", True),
    ("x86-64-v3", "-fma"): ("AVX2", False),
    ("ivybridge", ""): ("AVX", False),
    ("nehalem", ""): ("128-bit", False),
    ("nehalem", "+avx512f"): ("AVX-512", True),
    ("x86-64", "+avx2,+fma"): ("AVX2", True),
    ("generic", ""): ("128-bit", False),
}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="these are units of x86-64")
@pytest.mark.parametrize(("name", "features"), NAMED)
def test_what_a_name_and_features_come_to(name, features, monkeypatch):
    """Kernels are shaped for the unit that LLVM uses, which the name brings along; features add to it and take away."""
    triple, _, _ = blocks.processor()
    monkeypatch.setattr(blocks, "processor", lambda: (triple, name, features))
    monkeypatch.setattr(numba.config, "CPU_NAME", name)
    unit = blocks.vector_unit.__wrapped__()
    assert (unit.name, unit.fma) == NAMED[name, features]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="these are units of x86-64")
def test_llvm_uses_what_this_machine_has():
    here = llvmlite.binding.get_host_cpu_features()
    assert blocks._features_used() == {feature for feature in ("avx512f", "avx2", "avx", "fma") if here.get(feature)}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="these are units of x86-64")
def test_a_name_without_features():
    code = "from nblstm.cpu.matrix.blocks import vector_unit; print(vector_unit().name)"
    assert run_python(code, NUMBA_CPU_NAME="x86-64-v3", NUMBA_CPU_FEATURES="").strip() == "AVX2"
