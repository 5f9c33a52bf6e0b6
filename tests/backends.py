"""The backends that the contract suite runs on: the CPU, a GPU that is simulated, and a GPU if there is one."""

from contextlib import contextmanager
from importlib import import_module

import pytest
from cuda_simulator import SimulatedRuntime

import nblstm.cuda
from nblstm.cuda import sequence, tiling
from nblstm.cuda.gpu import Gpu
from nblstm.cuda.gpu_backend import GpuBackend

devices = import_module("nblstm.engine.device")  # `nblstm.engine.device` is the function

SMALL = Gpu("simulated", (8, 0), multiprocessors=4, shared_memory=48 * 1024, registers=112 * 128)


def _steps(*arguments):
    return None


def _alone(*arguments):
    """One block for all units, some weights in shared memory if there is such a tiling."""
    found = [v for v in tiling.candidates(*arguments[:5], arguments[6]) if v.blocks == 1]
    return max(found, key=lambda v: (v.quads - v.in_registers, v.rows, -v.threads))


def _together(*arguments):
    """Several blocks for a slice, several chunks of rows."""
    found = [v for v in tiling.candidates(*arguments[:5], arguments[6]) if v.blocks > 1]
    return max(
        found, key=lambda v: (v.chunks > 1, v.rows > 1, v.quads - v.in_registers, -v.blocks * v.slices, -v.threads)
    )


def _if_float32(choice):
    return lambda *arguments: choice(*arguments) if arguments[5] == "float32" else None


#: For each kind of kernel, a choice in place of `tiling.choose` that takes it where it fits small shapes.
CHOICES = {"steps": _steps, "alone": _if_float32(_alone), "together": _if_float32(_together)}


@contextmanager
def chosen(name: str):
    """Networks made inside are on that backend; yields the simulated runtime, or None."""
    before = devices._chosen, nblstm.cuda.unavailable, nblstm.cuda.backend, sequence.choose
    kind = name.removeprefix("simulated ")
    runtime = SimulatedRuntime(SMALL) if kind in CHOICES else None
    try:
        if runtime is not None:
            made, sequence.choose = GpuBackend(runtime), CHOICES[kind]
            nblstm.cuda.unavailable, nblstm.cuda.backend = lambda index=0: None, lambda index: made
        devices._chosen = "cpu" if name == "cpu" else "cuda"
        yield runtime
    finally:
        devices._chosen, nblstm.cuda.unavailable, nblstm.cuda.backend, sequence.choose = before


def names() -> list[str]:
    """Those that can be used here."""
    gpu = [] if nblstm.cuda.unavailable() else ["cuda"]
    return ["cpu", *gpu, *(f"simulated {name}" for name in CHOICES)]


@pytest.fixture(params=names(), autouse=True)
def backend(request):
    """The name of the backend that networks are made on; simulated ones must have been launched on."""
    with chosen(request.param) as runtime:
        yield request.param
        assert runtime is None or runtime.launched or "unlaunched" in request.keywords
