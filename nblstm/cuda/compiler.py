"""From a kernel to machine code for one architecture; needs numba-cuda, and no GPU."""

from __future__ import annotations

import inspect
import re
from functools import cache
from importlib.metadata import version
from typing import NamedTuple

from cuda.bindings import nvjitlink
from numba import cuda, types

from nblstm.codegen import cache as files
from nblstm.cuda.kernels.kernel import Kernel
from nblstm.cuda.kernels.primitives import Primitives
from nblstm.process import compiling
from nblstm.process.uninterrupted import uninterrupted


@cache
def environment() -> str:
    """Everything but a kernel's own text that its machine code depends on."""
    libraries = [f"{name} {version(name)}" for name in ("numba", "numba-cuda", "llvmlite", "cuda-bindings")]
    return "\n".join((*libraries, str(nvjitlink.version()), files.sources("symbolic", "codegen", "cuda")))


def ptx(kernel: Kernel, capability: tuple[int, int]) -> str:
    """A kernel as PTX, the assembly language that all architectures from ``capability`` on understand."""
    function = kernel.make(Primitives(kernel.dtype))
    function.__name__ = function.__qualname__ = kernel.name
    count = len(inspect.signature(function).parameters)
    signature = types.void(*[types.int64] * count)
    text, _ = cuda.compile(
        function, signature, device=False, cc=capability, output="ptx", launch_bounds=kernel.threads, abi="numba"
    )
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


class Compiled(NamedTuple):
    """Machine code of a kernel.

    Attributes
    ----------
    code : bytes
        A cubin.
    entry : str
        The kernel's name in it.
    registers : int
        Of each thread.
    spilled : int
        Bytes of values for which there was no register.
    """

    code: bytes
    entry: str
    registers: int
    spilled: int


def compiled(kernel: Kernel, capability: tuple[int, int]) -> Compiled:
    """Machine code of a kernel, from the cache or new.

    Parameters
    ----------
    kernel : Kernel
    capability : (int, int)

    Returns
    -------
    Compiled
    """
    identity = f"{kernel.name}\n{kernel.dtype}\n{kernel.threads}\n{capability}\n{kernel.text}"
    name = f"{kernel.name}-{files.key(identity, environment())}"
    return Compiled(*(files.load(name) or uninterrupted(_made, name, kernel, capability)))


def _made(name: str, kernel: Kernel, capability: tuple[int, int]) -> tuple[bytes, str, int, int]:
    compiling.announce()
    text = ptx(kernel, capability)
    code, log = link(text, capability)
    registers, spilled = (int(_found(pattern, log)) for pattern in (r"Used (\d+) registers", r"(\d+) bytes spill st"))
    made = code, _found(r"^\.visible \.entry (\S+?)\(", text), registers, spilled
    files.store(name, made)
    return made


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    assert match is not None, f"no {pattern} in what the compiler wrote: {text[-500:]}"
    return match[1]
