"""Thresholds and tuning constants of the CUDA backend: unit, what each decides, and where the figure comes from.

No figure has been measured: no GPU has run these kernels yet. An *estimate* is from published figures of an H100 at
about 1.8 GHz. ``python -m nblstm layouts`` prints what they choose, ``python -m benchmarks.peers.gpu`` measures layers
beside cuDNN; neither measures one of these figures alone.
"""

from __future__ import annotations

# --- limits of CUDA, from the CUDA C++ Programming Guide, "Compute Capabilities" ------------------------------------

#: Compute capability of the oldest GPUs that are supported. Acquire and release need 7.0, asynchronous copies to shared
#: memory 8.0; tests compile for 8.0 and 9.0.
OLDEST_CAPABILITY = (8, 0)

#: Threads of a block, and registers of a thread: the most there can be.
MOST_THREADS, MOST_REGISTERS = 1024, 255

#: Bytes of shared memory that a block may have without an attribute of the kernel that allows more.
SHARED_MEMORY_WITHOUT_ATTRIBUTE = 48 * 1024

# --- kernels of one step ---------------------------------------------------------------------------------------------

#: Threads of a block: whole warps, with registers enough for each thread. By custom.
STEP_THREADS = 256

#: Pre-activations (numbers) of the span of steps that an inference pass computes at a time, to bound its memory: 256 MB
#: of float32. Estimate: launches are then few beside the work.
INFERENCE_PREACTIVATIONS = 2**26

# --- which tilings of a sequence kernel are tried (`tiling.candidates`) ----------------------------------------------

#: Threads of a tile; units of a tile, backward; rows multiplied at a time; threads of a block that is not alone in its
#: group. Powers of 2, up to what registers hold.
LANES, UNITS, ROWS = (4, 8, 16, 32), (1, 2, 4, 8), (1, 2, 4, 8)
COOPERATIVE_THREADS = (32, 64, 128, 256, 512)

#: Registers of a thread beside weights, sums and the cell's own values: addresses and counters. Estimate, which the
#: compiler confirms in tests/test_cuda_compile.py; where it is too few, `sequence.without_spills` takes more.
RESERVED_REGISTERS = 56

# --- the estimated cycles of a step, by which a tiling is chosen (`tiling.Tiling.cycles`, `tiling.cost_of_steps`) ----

#: Cycles of a barrier of all blocks of a group, 1.4 us. Estimate: two round trips through L2 and a memory fence.
GROUP_BARRIER_CYCLES = 2500

#: Cycles of a barrier of one block's threads. Estimate.
BLOCK_BARRIER_CYCLES = 60

#: Cycles of one step in launches of its own, 11 us: the launch of a product and of a kernel. Estimate of the GPU's
#: part. The host's part, in Python perhaps 45 to 60 us, is left out, so such steps may be chosen too early.
STEP_CYCLES = 20_000

#: Multiply-adds of a multiprocessor in a cycle, and the part of them that a library's product of a batch with W_hh
#: reaches. The first from NVIDIA's white paper on the H100 (an A100 has half as many), the second an estimate.
MULTIPLY_ADDS_PER_CYCLE, LIBRARY_EFFICIENCY = 128, 0.5

#: Bytes that a multiprocessor gets from L2 in a cycle while all 132 of them ask: 6.7 TB/s together. Estimate.
L2_BYTES_PER_CYCLE = 28

# --- the barrier between blocks --------------------------------------------------------------------------------------

#: Numbers of 32 bits from one group's counter to the next: 128 bytes, a cache line of its own for each.
COUNTER_STRIDE = 32

#: Looks at a counter for each look at the error word. One look takes as long as the other and every step waits for
#: both, so: seldom.
ERROR_INTERVAL = 64

#: Looks at a counter before a block says that it waited in vain: some seconds, where a step takes microseconds.
#: Estimate.
TIMEOUT = 2**23

# --- what is kept ----------------------------------------------------------------------------------------------------

#: Batches of equal lengths whose arrays are kept on a GPU; those used last. Each has T + B numbers of 8 bytes, and T B
#: more for each direction that has been trained.
BATCHES_KEPT = 64

#: Kernels and choices of tilings kept in memory, for each kind; those used last.
TILINGS_KEPT = 1024
