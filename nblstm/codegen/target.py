"""Compilation of Python functions to machine code: Numba's options, and the choice between two targets.

Kernels are compiled for `small_target`; where Numba's internals are not as that one knows them, for `plain_target`,
more slowly and with the same results. A process that has something to compile tries the first with a tiny kernel.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from types import ModuleType

import numba
from numba import types

from nblstm.codegen import machine, plain_target
from nblstm.codegen.intrinsics import larger
from nblstm.process.uninterrupted import uninterrupted

# All options are set: Numba takes those that a callee leaves open from whichever caller compiles it first.
_KERNEL = {
    # "contract" alone lets a * b + c become one fused multiply-add. Nothing is reassociated: results keep
    # their bits for any number of threads and any split of the batch, and infinities and NaN keep theirs.
    "fastmath": {"contract"},
    # Python's default raises on division by zero: a branch in every `/` that keeps loops scalar.
    "error_model": "numpy",
    "boundscheck": False,
    "nogil": True,
}

# Only kernels call it: what Numba would make for callers in Python and C took 20 of 30 ms for each function.
_CALLED = {**_KERNEL, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

# A call that stays keeps the loop around it scalar.
_INLINED = {**_CALLED, "forceinline": True}


@cache
def forced_plain() -> bool:
    """Read, once, whether ``NBLSTM_PLAIN_NUMBA=1`` asks for Numba's own target."""
    return os.environ.get("NBLSTM_PLAIN_NUMBA", "0") not in ("", "0")


@cache
def why_plain() -> str:
    """Reason for which kernels are compiled for Numba's own target; empty where the small one works.

    The answer is that of the process's first call, which compiles and calls a tiny kernel to find out.
    """
    return "NBLSTM_PLAIN_NUMBA is set" if forced_plain() else uninterrupted(_failure)


@cache  # for a thread that asked while another was finding out
def _failure() -> str:
    """Compile and call a kernel for the small target, and return what went wrong."""
    try:
        from nblstm.codegen import small_target

        return "" if _is_right(small_target) else f"numba {numba.__version__} compiles a kernel wrongly for it"
    except (MemoryError, OSError):  # says nothing of Numba
        raise
    except Exception as error:
        said = str(error).partition("\n")[0]
        return f"numba {numba.__version__} is not as the small target knows it ({type(error).__name__}: {said})"


def _is_right(target: ModuleType) -> bool:
    """Compile a kernel with a bit of everything that kernels have, and check what it computes."""

    def step(x, k):
        return x + x, larger(k + 1, 0)

    def double(n, x):
        k = 0
        while k != n:
            x[k], k = inner(x[k], k)

    inner = target.function(step, _INLINED)
    module, name = target.llvm_code(double, types.void(types.int64, types.CPointer(types.float32)), _KERNEL)
    address = machine.load(machine.object_code(module, name, "nblstm_probe"), "nblstm_probe")
    x = (ctypes.c_float * 3)(1, 2, 3)
    ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(address)(2, ctypes.addressof(x))
    return list(x) == [2, 4, 3]


@cache
def _target() -> ModuleType:
    if why_plain():
        return plain_target
    from nblstm.codegen import small_target

    return small_target


def inlined(function: Callable) -> Callable:
    """Make a function that disappears into the kernels that call it."""
    return _target().function(function, _INLINED)


def inlined_for_users(function: Callable) -> Callable:
    """Make a function that disappears into users' own ``@njit`` functions, which are for Numba's own target."""
    return plain_target.function(function, _INLINED)


def called(function: Callable) -> Callable:
    """Make a function that kernels call, unless LLVM inlines it: for one that is large, called twice, not in a loop."""
    return _target().function(function, _CALLED)


def object_code(function: Callable, signature, symbol: str) -> bytes:
    """Compile a kernel: an object file for `machine.load` with a C function under a symbol."""
    module, name = _target().llvm_code(function, signature, _KERNEL)
    return machine.object_code(module, name, symbol)
