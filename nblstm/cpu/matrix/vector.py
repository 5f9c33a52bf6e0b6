"""The vector unit of this machine: how wide it is, how many registers it has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numba
from llvmlite import binding

from nblstm.codegen.machine import processor, target_machine


@dataclass(frozen=True)
class VectorUnit:
    """Properties of a vector unit that decide the shape of the matrix kernel.

    Attributes
    ----------
    name : str
        Instruction set, for people.
    bytes : int
        Width of a register.
    registers : int
    fma : bool
        True where one instruction computes ``a * b + c``.
    """

    name: str
    bytes: int
    registers: int
    fma: bool

    def lanes(self, dtype: str) -> int:
        """Numbers of a dtype in one register."""
        return self.bytes // (4 if dtype == "float32" else 8)


@cache
def vector_unit() -> VectorUnit:
    """The vector unit that Numba compiles for (``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` are respected)."""
    triple, _, features = processor()
    if triple.startswith(("aarch64", "arm64")):
        return VectorUnit("NEON", 16, 32, fma=True)
    if numba.config.CPU_NAME is None and numba.config.CPU_FEATURES is None:
        has = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    else:
        has = _features_used()
    if "avx512f" in has:
        return VectorUnit("AVX-512", 64, 32, fma=True)
    if "avx" in has:
        return VectorUnit("AVX2" if "avx2" in has else "AVX", 32, 16, fma="fma" in has)
    return VectorUnit("128-bit", 16, 16, fma="fma" in has)


_PROBE = """
define <16 x float> @products(<16 x float> %a, <16 x float> %b, <16 x float> %c) {
  %product = fmul contract <16 x float> %a, %b
  %sum = fadd contract <16 x float> %product, %c
  ret <16 x float> %sum
}
define <8 x i32> @integers(<8 x i32> %a, <8 x i32> %b) {
  %sum = add <8 x i32> %a, %b
  ret <8 x i32> %sum
}
"""


def _features_used() -> set[str]:
    """Instruction sets that LLVM uses for the processor's name and features, each of which may imply or exclude others.

    They are read off the instructions that it emits, in 3 ms: there is no list of what a name implies.
    """
    module = binding.parse_assembly(_PROBE)
    module.triple = processor()[0]
    text = target_machine(*processor()).emit_assembly(module)
    used = {"avx512f": "zmm" in text, "avx": "ymm" in text, "avx2": "vpaddd\t%ymm" in text, "fma": "vfmadd" in text}
    return {feature for feature, found in used.items() if found}
