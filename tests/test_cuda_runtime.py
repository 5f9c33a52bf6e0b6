"""Launches and errors of the runtime, with a CuPy and a compiler that only write down what they are asked for."""

import os
import sys
import threading
import time
from contextlib import nullcontext
from importlib import import_module
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import nblstm.cuda
from nblstm.cuda import gpu
from nblstm.cuda.kernels.arguments import Kernel

KERNEL = Kernel("kernel", "float32", 256, tuple, "", None)
ATTRIBUTE = 8
NAME = "nblstm.cuda.runtime"


class FakeArray(np.ndarray):
    """A NumPy array with what the runtime reads of CuPy's."""

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)

    def get(self):
        return np.array(self)


class OutOfMemoryError(MemoryError):
    pass


class FakeFunction:
    def __init__(self, calls):
        self.calls, self.ptr = calls, 77

    def __call__(self, grid, block, args, **options):
        self.calls.append((grid, block, args, options))


@pytest.fixture
def fake(monkeypatch):
    """The module under test, its CuPy, and what was launched."""
    calls, attributes, loaded = [], [], []
    cupy = ModuleType("cupy")
    cupy.ndarray = FakeArray
    cupy.zeros = lambda shape, dtype: np.zeros(shape, dtype).view(FakeArray)
    cupy.get_default_memory_pool = lambda: SimpleNamespace(free_all_blocks=lambda: None)
    properties = {
        "name": b"fake", "major": 9, "minor": 0, "multiProcessorCount": 4, "sharedMemPerBlockOptin": 200_000,
        "regsPerMultiprocessor": 65536, "cooperativeLaunch": 1,
    }  # fmt: skip

    class Module:
        def load(self, code):
            loaded.append(code)

        def get_function(self, entry):
            assert entry == "entry"
            return FakeFunction(calls)

    cupy.cuda = SimpleNamespace(
        Device=lambda index: nullcontext(), runtime=SimpleNamespace(getDeviceProperties=lambda index: properties),
        function=SimpleNamespace(Module=Module, Function=FakeFunction),
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        driver=SimpleNamespace(
            CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=ATTRIBUTE,
            funcSetAttribute=lambda *given: attributes.append(given),
            occupancyMaxActiveBlocksPerMultiprocessor=lambda ptr, threads, shared: 2,
        ),
    )  # fmt: skip
    cubin = ModuleType("nblstm.cuda.cubin")
    cubin.compile_kernel = lambda kernel, capability: SimpleNamespace(code=b"ELF", entry="entry", spilled=3)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "nblstm.cuda.cubin", cubin)
    before = sys.modules.pop(NAME, None)
    made = import_module(NAME)
    yield SimpleNamespace(runtime=made.Runtime(0), calls=calls, attributes=attributes, loaded=loaded)
    del sys.modules[NAME]
    if before is not None:
        sys.modules[NAME] = before


def test_a_launch(fake):
    array = np.zeros(3, np.float32).view(FakeArray)
    fake.runtime.launch(KERNEL, (array, 7), 5, 64, shared=1000)
    fake.runtime.launch(KERNEL, (array, 8), 5, 64)
    (grid, block, args, options), _ = fake.calls
    assert (grid, block) == ((5,), (64,))
    assert args == (array.ctypes.data, 7)
    assert all(isinstance(value, np.int64) for value in args)
    assert options == {"shared_mem": 1000, "enable_cooperative_groups": False}
    assert fake.loaded == [b"ELF"]  # once
    assert fake.attributes == []
    assert fake.runtime.gpu.capability == (9, 0)
    assert fake.runtime.compile(KERNEL) == 3


def test_much_shared_memory_is_asked_for_once(fake):
    for shared in (60_000, 60_000, 50_000, 90_000):
        fake.runtime.launch(KERNEL, (), 1, 32, shared=shared)
    assert fake.attributes == [(77, ATTRIBUTE, 60_000), (77, ATTRIBUTE, 90_000)]


def test_threads_that_launch_a_kernel_at_once_load_it_once(fake, monkeypatch):
    """A second function of the same kernel would lack the attribute that allows its shared memory."""
    module, together = sys.modules[NAME], threading.Barrier(2)
    slowly = module.compile_kernel

    def compile_kernel(kernel, capability):
        time.sleep(0.05)  # so that the other thread comes meanwhile
        return slowly(kernel, capability)

    def launch():
        together.wait()
        fake.runtime.launch(KERNEL, (), 1, 32, shared=60_000)

    monkeypatch.setattr(module, "compile_kernel", compile_kernel)
    threads = [threading.Thread(target=launch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fake.loaded == [b"ELF"]
    assert fake.attributes == [(77, ATTRIBUTE, 60_000)]
    assert len(fake.calls) == 2


def test_a_gpu_has_one_backend(fake):
    gpu.backend.cache_clear()
    try:
        first = nblstm.cuda.backend(0)
        assert nblstm.cuda.backend(0) is first  # the import of its module has not taken the function's place
    finally:
        gpu.backend.cache_clear()


def test_blocks_that_cannot_all_run_are_not_launched(fake):
    fake.runtime.launch(KERNEL, (), 8, 32, cooperative=True)
    assert fake.calls[0][3]["enable_cooperative_groups"]
    with pytest.raises(RuntimeError, match="needs 9 blocks at once, but fake runs 8"):
        fake.runtime.launch(KERNEL, (), 9, 32, cooperative=True)
    assert len(fake.calls) == 1


def test_the_error_word_is_looked_at_after_kernels_that_wait(fake):
    runtime = fake.runtime
    runtime.error[0] = 1
    runtime.launch(KERNEL, (), 1, 32)
    runtime.check()  # nothing waited: it is not even read
    runtime.launch(KERNEL, (), 1, 32, cooperative=True)
    with pytest.raises(RuntimeError, match=r"waited in vain .* NBLSTM_CUDA_KERNELS=steps"):
        runtime.check()
    assert runtime.error[0] == 0
    runtime.launch(KERNEL, (), 1, 32, cooperative=True)
    runtime.check()


@pytest.mark.parametrize(
    "error",
    [OutOfMemoryError("3 bytes"), RuntimeError("cudaErrorMemoryAllocation: out of memory"),
     RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")],
    ids=["pool", "runtime", "driver", "cuBLAS"],
)  # fmt: skip
def test_out_of_memory_is_one_sentence(fake, error):
    with (
        pytest.raises(MemoryError, match=r"GPU 0 \(fake\) is out of memory .*use smaller batches"),
        fake.runtime.active(),
    ):
        raise error


def test_a_forked_child_is_told_to_be_spawned(fake, monkeypatch):
    monkeypatch.setattr(gpu, "_asked_by", os.getpid())
    with fake.runtime.active():
        pass
    monkeypatch.setattr(gpu, "_asked_by", os.getppid())
    with (
        pytest.raises(RuntimeError, match=r"GPU 0 cannot be used: this process was forked .*'spawn'"),
        fake.runtime.active(),
    ):
        pass
    assert "forked from one that had used CUDA" in gpu.unavailable()
    monkeypatch.setenv("NBLSTM_DEVICE", "auto")
    assert nblstm.device() == "cpu"


def test_other_errors_of_cuda_stay_what_they_are(fake):
    with pytest.raises(RuntimeError, match="IllegalAddress"), fake.runtime.active():
        raise RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")
