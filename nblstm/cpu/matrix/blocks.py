"""The vector unit of this machine, and block sizes of the matrix kernel: what stays in registers, what in the L2 cache.

Dimension letters: C (M, N) = init + A (M, K) B (K, N). A *vector* is as many numbers as one register holds; a *panel*
is as many columns of B as one block of C takes. ``asv run --quick -E existing -b FractionOfPeak`` measures what other
sizes do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numba
from llvmlite import binding

from nblstm.codegen.machine import processor, target_machine

#: Rows, and vectors across, of the block of C that `microkernel` keeps in registers, by how many registers there are.
#: 6 x 4 vectors need 24 accumulators, 4 vectors of B and 1 for A: 29 of 32 registers; 6 x 2 need 15 of 16.
REGISTER_BLOCK = {32: (6, 4), 16: (6, 2)}

#: Inner dimension of one pass of `gemm`: a slice of a panel (64 columns x 384 x 4 bytes = 96 KB) and the rows of A that
#: it meets stay in a 1 MB L2 cache.
K_BLOCK = 384


def register_block() -> tuple[int, int]:
    """Look up `REGISTER_BLOCK` for this machine: rows, and vectors across."""
    return REGISTER_BLOCK[vector_unit().registers]


def panel_columns(dtype: str) -> int:
    """Columns of B that one block of C takes."""
    return register_block()[1] * vector_unit().lanes(dtype)


def padded(columns: int, dtype: str) -> int:
    """``columns`` rounded up to whole panels."""
    panel = panel_columns(dtype)
    return -(-columns // panel) * panel


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
    bfloat16 : bool, default False
        True where one instruction computes ``a[0] * b[0] + a[1] * b[1] + c`` of pairs of bfloat16.
    """

    name: str
    bytes: int
    registers: int
    fma: bool
    bfloat16: bool = False

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
        return VectorUnit("AVX-512", 64, 32, fma=True, bfloat16="avx512bf16" in has)
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
