"""Machine code of a kernel for one architecture: Python to PTX to cubin; needs numba-cuda, and no GPU."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import version
from typing import NamedTuple

from cuda.bindings import nvjitlink
from numba import cuda, types

from nblstm.codegen import cache as files
from nblstm.cuda.kernels.arguments import Kernel
from nblstm.cuda.kernels.primitives import Primitives
from nblstm.process import compiling
from nblstm.process.uninterrupted import uninterrupted


class Cubin(NamedTuple):
    """Machine code of a kernel.

    Attributes
    ----------
    code : bytes
        The cubin's content.
    entry : str
        The kernel's name in it.
    registers : int
        Registers of each thread.
    spilled : int
        Bytes of values for which there was no register.
    """

    code: bytes
    entry: str
    registers: int
    spilled: int


def compile_kernel(kernel: Kernel, capability: tuple[int, int]) -> Cubin:
    """Compile a kernel for a compute capability, or find it in the cache."""
    identity = f"{kernel.name}\n{kernel.dtype}\n{kernel.threads}\n{capability}\n{kernel.text}"
    name = f"{kernel.name}-{files.key(identity, environment())}"
    return Cubin(*(files.load(name) or uninterrupted(_compiled, name, kernel, capability)))


@cache
def environment() -> str:
    """Everything but a kernel's own text that its machine code depends on."""
    libraries = [f"{name} {version(name)}" for name in ("numba", "numba-cuda", "llvmlite", "cuda-bindings")]
    return "\n".join((*libraries, str(nvjitlink.version()), files.sources("symbolic", "codegen", "cuda")))


def _compiled(name: str, kernel: Kernel, capability: tuple[int, int]) -> tuple[bytes, str, int, int]:
    compiling.announce()
    text = ptx(kernel, capability)
    code, log = link(text, capability)
    registers, spilled = (int(_found(pattern, log)) for pattern in (r"Used (\d+) registers", r"(\d+) bytes spill st"))
    made = code, _found(r"^\.visible \.entry (\S+?)\(", text), registers, spilled
    files.store(name, made)
    return made


def ptx(kernel: Kernel, capability: tuple[int, int]) -> str:
    """A kernel as PTX, the assembly language that all architectures from ``capability`` on understand."""
    function = kernel.make(Primitives(kernel.dtype))
    function.__name__ = function.__qualname__ = kernel.name
    # A named tuple of int64: each field becomes a parameter of 8 bytes.
    fields = types.NamedUniTuple(types.int64, len(kernel.arguments._fields), kernel.arguments)
    text, _ = cuda.compile(
        function, types.void(fields), device=False, cc=capability, output="ptx", launch_bounds=kernel.threads,
        abi="numba",
    )  # fmt: skip
    return text.decode() if isinstance(text, bytes) else text


def link(text: str, capability: tuple[int, int]) -> tuple[bytes, str]:
    """Machine code from PTX, and what the assembler says about registers and memory."""
    handle = nvjitlink.create(2, [f"-arch=sm_{capability[0]}{capability[1]}", "-verbose"])
    try:
        data = text.encode()
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, data, len(data), "kernel")
        nvjitlink.complete(handle)
        code = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, code)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
    finally:
        nvjitlink.destroy(handle)
    return bytes(code), log.decode(errors="replace")


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    assert match is not None, f"no {pattern} in what the compiler wrote: {text[-500:]}"
    return match[1]
