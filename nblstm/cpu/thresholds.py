"""Tuning thresholds of the CPU: when a second thread is used, how work is cut, how long threads wait.

None of them changes a result. All figures are of one machine: two cores of a Zen 4 (AVX-512, 32 KB of L1 and 1 MB of L2
cache each), float32, an LSTM, two threads, 2026-11-21; T, B, I, H are steps, rows, inputs and units. On another machine

    python -m benchmarks.thresholds NAME

measures again, where a threshold decides: the same calls with its value and with others, in turns. The block sizes of
the matrix kernel are in `matrix/blocks.py`.
"""

# --- when a second thread is used -----------------------------------------------------------------

#: Multiply-adds. A pass with fewer runs on the calling thread: about 10 us.
SERIAL_WORK = 500_000

#: Multiply-adds, of a pass with few packed rows: it waits for the weights, which two L2 caches read faster than one. A
#: step of H = 128 takes 6.7 us on one thread or two, one of H = 160 takes 11.8 or 8.3.
SERIAL_WORK_FEW_ROWS = 160_000

#: Multiply-adds, of BPTT with few packed rows: gradients of weights are then little more than memory written, which is
#: slow to come from a core that wrote to it before. A step of H = 256 takes 0.16 ms on one thread and 0.15 to 0.35 on
#: two, one of H = 512 takes 1.05 and 0.68.
SERIAL_WORK_GRADIENTS = 1_000_000

#: Numbers. A copy of fewer from one array to another, as in packing, runs on the calling thread: about 5 us.
SERIAL_COPY = 30_000

#: Numbers. Weights of fewer are packed on the calling thread.
SERIAL_PACKING = 100_000

#: On the threads of an OpenMP library, work is shared from so many times as much on, about 0.2 ms: it returns when all
#: its threads have been there, and one that has lost its core to another program comes 8 ms later. Beside one busy
#: process two layers of H = 32, T = 40, B = 16 took 68 ms to train on two such threads, and 0.9 on one.
TEAM_PATIENCE = 20

# --- how work is cut into parts and segments ------------------------------------------------------

#: Batch rows for each thread. With fewer, parts are hidden units: a part of few rows would read all weights for them.
ROWS_PER_THREAD = 4

#: Multiply-adds of one row's recurrent product, about 0.5 us. With fewer, threads do not share a time step: 1000 steps
#: of H = 64 take one thread 0.98 ms, and two 0.94, or 2.0 when their cores are slow to hear from each other; 300 steps
#: of H = 96 take 0.66 and 0.50 even then.
SHARED_STEP_WORK = 25_000

#: Pre-activations (numbers) whose input products a part computes at once: 512 KB of float32 stay in the L2 cache.
PREACTIVATIONS_AHEAD = 131_072

#: Batch rows times steps of which a part computes the input products at once, even if `PREACTIVATIONS_AHEAD` is less:
#: a panel of weights is then read once for so many.
ROWS_AHEAD = 128

#: Packed rows whose gradients BPTT holds at once: with 4 H = 2048 they are 8 MB, within the L3 cache.
BPTT_SEGMENT_ROWS = 1024

#: Rows of a weight matrix whose gradient is one part. Training with T=28 B=128 H=128, T=40 B=128 H=128, T=64 B=64 H=256
#: and T=50 B=64 H=512 stays within 1.5 % with 64, 128 or 192.
WEIGHT_GRADIENT_ROWS = 96

#: Packed rows of dx that are one part, at most.
INPUT_GRADIENT_ROWS = 128

#: Parts of a copy for each thread: whoever has zeros to write, the later steps of a padded batch, takes more of them.
COPY_PARTS_PER_THREAD = 4

# --- how long threads wait ------------------------------------------------------------------------

#: Rounds of 25 ns for which a worker without work watches for the next, keeping its core: what follows in a loop in
#: Python comes within 25 us.
WORKER_SPINS = 1000

#: Rounds of about 0.4 us for which it then watches, giving its core to whoever wants it, before it sleeps: 200 us.
WORKER_YIELDS = 500

#: Rounds of 25 ns for which threads that share a time step wait for another's part before they take it over: about
#: three steps of H = 64.
TAKEOVER_SPINS = 100

# --- when zeros in the input are skipped ----------------------------------------------------------

#: Multiply-adds of dW_ih in a pass. With fewer it stays dense, whatever the inputs: to skip zeros could save 0.2 ms on
#: two threads, and the kernel takes 0.3 s to compile.
SPARSE_GRADIENT_WORK = 20_000_000

#: Of `sparse_limit`: a nonzero of a row costs as much as so many numbers of a dense product, ...
SPARSE_COST = 8

#: ... and as so many divided by the columns more.
SPARSE_COST_OF_COLUMNS = 1024


def sparse_limit(n: int, columns: int) -> int:
    """Nonzeros that rows of n numbers may have, on average, for a product with so many columns to skip the zeros.

    About half as many as where that takes as long as the dense product: rows of 103 numbers break even with 11 nonzeros
    for 64 columns, 15 for 128, 20 for 512 and 22 for 2048, rows of 512 numbers with 31, 50, 85 and 90. Below 0, not
    even rows of zeros are worth looking for.
    """
    return n // (SPARSE_COST + SPARSE_COST_OF_COLUMNS // columns) - 1
