"""Launches, memory, library products and errors on a GPU, through CuPy; kernels arrive as machine code."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import cache

import cupy
import numpy as np

from nblstm.cuda import thresholds
from nblstm.cuda.cubin import compile_kernel
from nblstm.cuda.gpu import FORKED, Gpu, forked
from nblstm.cuda.kernels.arguments import Kernel
from nblstm.process import locks

#: How CuPy's pool, the runtime, the driver and cuBLAS say that there is no memory left.
_NO_MEMORY = ("out of memory", "OUT_OF_MEMORY", "cudaErrorMemoryAllocation", "CUBLAS_STATUS_ALLOC_FAILED")


class Runtime:
    """One GPU. Work goes to CuPy's current stream, arrays into CuPy's memory pool.

    Parameters
    ----------
    index : int
        Number of the GPU, as CUDA counts them.

    Attributes
    ----------
    xp : module
        CuPy.
    gpu : Gpu
    error : device array of int32, shape (1,)
        Set by kernels whose blocks waited in vain.
    timeout : int
        How often a block looks at a counter before it waited in vain.
    sequence_kernels : dict
        Kernels of whole sequences that have been compiled, see `nblstm.cuda.sequence`.
    """

    xp = cupy
    timeout = thresholds.TIMEOUT

    def __init__(self, index: int):
        self.index = index
        self._device = cupy.cuda.Device(index)
        self.gpu = properties(index)
        self._loaded: dict[Kernel, cupy.cuda.function.Function] = {}
        self._allowed: dict[Kernel, int] = {}  # bytes of shared memory that its attribute allows
        self._lock = locks.lock()
        self._of_thread = threading.local()
        self.sequence_kernels: dict = {}
        with self._device:
            self.error = cupy.zeros(1, np.int32)

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

    def device_array(self, array: np.ndarray):
        """A copy of a NumPy array in the GPU's memory, made when this returns: it may be read on any stream."""
        return cupy.asarray(np.ascontiguousarray(array), blocking=True)

    def finished(self, array):
        """An array of this GPU, when it has been computed: it may be read on any stream."""
        cupy.cuda.get_current_stream().synchronize()
        return array

    def on_this_gpu(self, array):
        """A device array, copied if it is on another GPU."""
        return array if array.device.id == self.index else cupy.array(array)

    def to_host(self, array) -> np.ndarray:
        """A copy in the CPU's memory, when all work before has ended."""
        return cupy.asnumpy(array)

    def matmul(self, a, b, out=None):
        """The matrix product, by cuBLAS; float32 is float32, not tf32, unless CUPY_TF32 is set."""
        return cupy.matmul(a, b, out=out)

    def launch(
        self, kernel: Kernel, arguments, blocks: int, threads: int, *, shared: int = 0, cooperative: bool = False
    ) -> None:
        """Launch a kernel.

        Parameters
        ----------
        kernel : Kernel
        arguments : StepForward, StepBackward or SequenceArguments
            Device arrays, of which the kernel gets the address, and int.
        blocks, threads : int
            Blocks, and threads of each.
        shared : int
            Bytes of shared memory of a block.
        cooperative : bool
            All blocks must run at once, since they wait for each other; CUDA refuses the launch if they can't.
        """
        function = self._function(kernel, shared)
        if cooperative:
            self._check_that_all_fit(kernel, function, blocks, threads, shared)
            self._of_thread.waited = True
        values = tuple(np.int64(a.data.ptr if isinstance(a, cupy.ndarray) else a) for a in arguments)
        function((blocks,), (threads,), values, shared_mem=shared, enable_cooperative_groups=cooperative)

    def _function(self, kernel: Kernel, shared: int):
        """The loaded kernel, allowed so many bytes of shared memory; other threads may ask for it meanwhile."""
        function = self._loaded.get(kernel)
        if function is None or shared > self._allowed[kernel]:
            with self._lock:
                function = self._loaded.get(kernel) or self._load(kernel)
                if shared > self._allowed[kernel]:
                    cupy.cuda.driver.funcSetAttribute(
                        function.ptr, cupy.cuda.driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared
                    )
                    self._allowed[kernel] = shared
        return function

    def _load(self, kernel: Kernel):
        cubin = compile_kernel(kernel, self.gpu.capability)
        module = cupy.cuda.function.Module()
        module.load(cubin.code)
        self._allowed[kernel] = thresholds.SHARED_MEMORY_WITHOUT_ATTRIBUTE
        self._loaded[kernel] = module.get_function(cubin.entry)
        return self._loaded[kernel]

    def _check_that_all_fit(self, kernel: Kernel, function, blocks: int, threads: int, shared: int) -> None:
        # CuPy would make the grid smaller and warn; blocks that do not run would be waited for.
        each = cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(function.ptr, threads, shared)
        if blocks > each * self.gpu.multiprocessors:
            raise RuntimeError(
                f"kernel {kernel.name} needs {blocks} blocks at once, but {self.gpu.name} runs "
                f"{each * self.gpu.multiprocessors}; report this, and set NBLSTM_CUDA_KERNELS=steps meanwhile"
            )

    def compile(self, kernel: Kernel) -> int:
        """Compile a kernel, or find it in the cache; returns the bytes of values for which there was no register."""
        return compile_kernel(kernel, self.gpu.capability).spilled

    def check(self) -> None:
        """Raise the error that this thread's kernels have left behind, if their blocks wait for each other.

        Raises
        ------
        RuntimeError
            If blocks waited for one that did not come.
        """
        if not getattr(self._of_thread, "waited", False):
            return
        self._of_thread.waited = False
        if int(self.error.get()[0]):  # waits for the work of the current stream
            self.error.fill(0)
            raise RuntimeError(
                f"blocks of a kernel waited in vain for others on {self.gpu.name}, so its results are void; "
                "set NBLSTM_CUDA_KERNELS=steps, and report this"
            )


@cache
def properties(index: int) -> Gpu:
    """The properties of a GPU, as CUDA gives them."""
    found = cupy.cuda.runtime.getDeviceProperties(index)
    return Gpu(
        found["name"].decode(), (found["major"], found["minor"]), found["multiProcessorCount"],
        found["sharedMemPerBlockOptin"], found["regsPerMultiprocessor"], bool(found["cooperativeLaunch"]),
    )  # fmt: skip
