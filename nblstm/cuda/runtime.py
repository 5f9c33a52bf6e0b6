"""Launches, memory and library products on a GPU, through CuPy; kernels arrive as machine code."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import cache, lru_cache

import cupy
import numpy as np

from nblstm.cuda.availability import FORKED, forked
from nblstm.cuda.batch import DeviceBatch
from nblstm.cuda.compiler import compiled
from nblstm.cuda.gpu import Gpu
from nblstm.cuda.kernels.kernel import Kernel
from nblstm.process import locks

#: Bytes of shared memory that a block may have without asking for more.
_WITHOUT_ASKING = 48 * 1024

#: How CuPy's pool, the runtime, the driver and cuBLAS say that there is no memory left.
_NO_MEMORY = ("out of memory", "OUT_OF_MEMORY", "cudaErrorMemoryAllocation", "CUBLAS_STATUS_ALLOC_FAILED")


class Runtime:
    """One GPU. Work goes to CuPy's current stream, arrays into CuPy's memory pool.

    Parameters
    ----------
    index : int
        Of the GPU, as CUDA counts them.

    Attributes
    ----------
    xp : module
        CuPy.
    gpu : Gpu
    error : device array of int32, shape (1,)
        Set by kernels whose blocks waited in vain.
    settled : dict
        Layouts of kernels that have been compiled.
    """

    xp = cupy

    #: How often a block looks whether the others have come: some seconds, where steps take microseconds.
    patience = 2**23

    def __init__(self, index: int):
        self.index = index
        self._device = cupy.cuda.Device(index)
        self.gpu = gpu(index)
        self._loaded: dict[Kernel, cupy.cuda.function.Function] = {}
        self._allowed: dict[Kernel, int] = {}  # bytes of shared memory asked for
        self._lock = locks.lock()
        self._watched = threading.local()
        self.settled: dict = {}
        with self._device:
            self.error = cupy.zeros(1, np.int32)
        self._batches = lru_cache(maxsize=64)(lambda T, B: DeviceBatch(T, B, None, self))

    @contextmanager
    def active(self):
        """Make this the GPU that CuPy works on; running out of its memory is said in a sentence."""
        if forked():
            raise RuntimeError(f"GPU {self.index} cannot be used: {FORKED}, or use the device 'cpu'")
        try:
            with self._device:
                yield
        except (cupy.cuda.memory.OutOfMemoryError, RuntimeError) as error:
            # The errors of CUDA's libraries are RuntimeErrors.
            if isinstance(error, RuntimeError) and not any(words in str(error) for words in _NO_MEMORY):
                raise
            cupy.get_default_memory_pool().free_all_blocks()
            raise MemoryError(
                f"GPU {self.index} ({self.gpu.name}) is out of memory ({error}); use smaller batches, "
                "forward(checkpoint=...) for long sequences, or the device 'cpu'"
            ) from None

    def batch(self, T: int, B: int, lengths: np.ndarray | None) -> DeviceBatch:
        """How a batch is packed; of equal lengths, kept."""
        return self._batches(T, B) if lengths is None else DeviceBatch(T, B, lengths, self)

    def device_array(self, array: np.ndarray):
        """A copy of a NumPy array in the GPU's memory, made when this returns: what is kept is read on any stream."""
        return cupy.asarray(np.ascontiguousarray(array), blocking=True)

    def made(self, array):
        """An array of this GPU, when it has been computed: as `device_array`, for what is kept."""
        cupy.cuda.get_current_stream().synchronize()
        return array

    def here(self, array):
        """A device array on this GPU; one of another GPU is copied."""
        return array if array.device.id == self.index else cupy.array(array)

    def to_host(self, array) -> np.ndarray:
        """A copy in the CPU's memory, when all work before has ended."""
        return cupy.asnumpy(array)

    def matmul(self, a, b, out=None):
        """The matrix product, by cuBLAS; float32 is float32, not tf32, unless CUPY_TF32 is set."""
        return cupy.matmul(a, b, out=out)

    def launch(
        self, kernel: Kernel, blocks: int, threads: int, arguments, *, shared: int = 0, cooperative: bool = False
    ) -> None:
        """Launch a kernel.

        Parameters
        ----------
        kernel : Kernel
        blocks, threads : int
            Blocks, and threads of each.
        arguments : list of device array or int
            Of an array the kernel gets the address.
        shared : int
            Bytes of shared memory of a block.
        cooperative : bool
            Whether all blocks must run at once; CUDA refuses the launch if they can't.
        """
        function = self._function(kernel, shared)
        if cooperative:
            self._check_that_all_fit(kernel, function, blocks, threads, shared)
        values = tuple(np.int64(a.data.ptr if isinstance(a, cupy.ndarray) else a) for a in arguments)
        function((blocks,), (threads,), values, shared_mem=shared, enable_cooperative_groups=cooperative)

    def _function(self, kernel: Kernel, shared: int):
        function = self._loaded.get(kernel)
        if function is None:
            with self._lock:
                made = compiled(kernel, self.gpu.capability)
                module = cupy.cuda.function.Module()
                module.load(made.code)
                function = self._loaded[kernel] = module.get_function(made.entry)
        if shared > _WITHOUT_ASKING and shared > self._allowed.get(kernel, 0):
            cupy.cuda.driver.funcSetAttribute(
                function.ptr, cupy.cuda.driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared
            )
            self._allowed[kernel] = shared
        return function

    def _check_that_all_fit(self, kernel: Kernel, function, blocks: int, threads: int, shared: int) -> None:
        # CuPy would make the grid smaller and warn; blocks that do not run would be waited for.
        each = cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(function.ptr, threads, shared)
        if blocks > each * self.gpu.multiprocessors:
            raise RuntimeError(
                f"kernel {kernel.name} needs {blocks} blocks at once, but {self.gpu.name} runs "
                f"{each * self.gpu.multiprocessors}; report this, and set NBLSTM_CUDA_KERNELS=steps meanwhile"
            )

    def compile(self, kernel: Kernel) -> int:
        """Compile a kernel, or find it in the cache; bytes of values for which there was no register."""
        return compiled(kernel, self.gpu.capability).spilled

    def watch(self) -> None:
        """The next `check` looks at the error word: a kernel was launched whose blocks wait for each other."""
        self._watched.value = True

    def check(self) -> None:
        """Raise the error that a kernel left behind.

        Raises
        ------
        RuntimeError
            If blocks waited for one that did not come.
        """
        if not getattr(self._watched, "value", False):
            return
        self._watched.value = False
        if int(self.error.get()[0]):  # waits for the work of the current stream
            self.error.fill(0)
            raise RuntimeError(
                f"blocks of a kernel waited in vain for others on {self.gpu.name}, so its results are void; "
                "set NBLSTM_CUDA_KERNELS=steps, and report this"
            )


@cache
def gpu(index: int) -> Gpu:
    """What a GPU offers."""
    found = cupy.cuda.runtime.getDeviceProperties(index)
    return Gpu(
        found["name"].decode(), (found["major"], found["minor"]), found["multiProcessorCount"],
        found["sharedMemPerBlockOptin"], found["regsPerMultiprocessor"], bool(found["cooperativeLaunch"]),
    )  # fmt: skip
