"""The GPUs of this machine: what each offers, and why one can't be used; looked up once, when somebody asks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from nblstm.cuda.thresholds import OLDEST_CAPABILITY

_INSTALL = "install nblstm's extra 'cuda', by pip install -e '.[cuda]' in its folder"

#: CUDA, once it has been asked for anything, cannot be used in children that are forked from then on.
FORKED = (
    "this process was forked from one that had used CUDA, which then does not work here; start workers by "
    "multiprocessing's 'spawn' or 'forkserver'"
)
_asked_by: int | None = None  # the process


@dataclass(frozen=True)
class Gpu:
    """Properties of a GPU by which kernels are chosen.

    Attributes
    ----------
    name : str
    capability : (int, int)
        Compute capability, (9, 0) for an H100.
    multiprocessors : int
        Each runs at least one block at a time.
    shared_memory : int
        Bytes that one block may use.
    registers : int
        Of 32 bits, in one multiprocessor.
    cooperative : bool
        Whether all blocks of a launch can be made to run at once.
    """

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    shared_memory: int
    registers: int = 65536
    cooperative: bool = True


#: For looking at choices without a GPU.
H100 = Gpu("H100", (9, 0), 132, 227 * 1024)
A100 = Gpu("A100", (8, 0), 108, 163 * 1024)


def forked() -> bool:
    """True if an ancestor of this process has used CUDA, and not this one."""
    return _asked_by is not None and _asked_by != os.getpid()


def unavailable(index: int = 0) -> str | None:
    """Why the GPU of this number can't be used, as a clause; None if it can."""
    return FORKED if forked() else _unavailable(index)


@cache
def _unavailable(index: int) -> str | None:
    global _asked_by
    for module, package in (("numba_cuda", "numba-cuda"), ("cupy", "CuPy")):
        if find_spec(module) is None:
            return f"the package {package} is not installed; {_INSTALL}"
    try:
        runtime = import_module("cupy").cuda.runtime
    except (ImportError, OSError) as error:
        return f"CuPy cannot be imported ({_first_line(error)}); {_INSTALL}"
    try:
        count = runtime.getDeviceCount()
        _asked_by = os.getpid()
        driver = runtime.driverGetVersion()
    except runtime.CUDARuntimeError as error:
        return f"no NVIDIA GPU with a working driver was found ({_first_line(error)}); install or update the driver"
    if index >= count:
        return f"there {'is 1 GPU' if count == 1 else f'are {count} GPUs'} and their numbers begin at 0"
    try:
        import_module("nblstm.cuda.cubin")
    except (ImportError, OSError) as error:
        return f"numba-cuda's compiler cannot be imported ({_first_line(error)}); {_INSTALL}"
    if driver // 1000 < runtime.runtimeGetVersion() // 1000:
        return (
            f"the driver is for CUDA {driver // 1000} and the installed packages are for CUDA "
            f"{runtime.runtimeGetVersion() // 1000}; update the driver, or install numba-cuda and CuPy for CUDA "
            f"{driver // 1000}"
        )
    found = import_module("nblstm.cuda.runtime").properties(index)
    if found.capability < OLDEST_CAPABILITY:
        have, need = (".".join(map(str, version)) for version in (found.capability, OLDEST_CAPABILITY))
        return f"GPU {index}, {found.name}, has compute capability {have} and nblstm needs {need} or newer"
    return None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def names() -> list[str]:
    """The GPUs that can be used, each as ``cuda:0 NVIDIA H100 (compute capability 9.0)``."""
    found: list[str] = []
    while unavailable(len(found)) is None:
        gpu = import_module("nblstm.cuda.runtime").properties(len(found))
        major, minor = gpu.capability
        found.append(f"cuda:{len(found)} {gpu.name} (compute capability {major}.{minor})")
    return found


@cache
def backend(index: int):
    """The `GpuBackend` of a GPU that `unavailable` found usable."""
    runtime = import_module("nblstm.cuda.runtime").Runtime(index)
    return import_module("nblstm.cuda.gpu_backend").GpuBackend(runtime)
