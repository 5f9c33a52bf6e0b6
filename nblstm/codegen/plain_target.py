"""Numba's own target by its public calls: slower to compile for than `small_target`, with the same results."""

from __future__ import annotations

import re
from collections.abc import Callable

import numba
from llvmlite import binding


def function(python: Callable, options: dict) -> Callable:
    """Return what kernels call for a Python function."""
    return numba.njit(**options)(python)


def llvm_code(python: Callable, signature, options: dict) -> tuple[binding.ModuleRef, str]:
    """Compile a kernel as far as optimized LLVM code, and return it with the name of its C function."""
    kernel = numba.cfunc(signature, **options)(python)
    return binding.parse_assembly(_without_python(kernel.inspect_llvm())), kernel.native_name


def _without_python(text: str) -> str:
    """Replace the interpreter, which a C function of Numba's calls to print an exception, by traps: kernels raise none.

    No thread waits for the interpreter's lock then, and the object file can be loaded without Numba.
    """
    symbol = r"@(?:Py|numba_|NRT_)\w+"
    trap = r"define \1 { call void @llvm.trap() unreachable }"
    text = re.sub(rf"^declare (.+ {symbol}\(.*?\)).*", trap, text, flags=re.MULTILINE)
    text = re.sub(rf"^({symbol} =) external (global \w+).*", r"\1 internal \2 0", text, flags=re.MULTILINE)
    return text if "declare void @llvm.trap()" in text else f"{text}\ndeclare void @llvm.trap()\n"
