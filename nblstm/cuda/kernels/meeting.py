"""A barrier for the blocks that share a slice of the batch; all of them run at once, as a cooperative launch ensures.

CUDA's own grid barrier is a call that is not inlined: with it, a kernel with 96 weights in each thread went from 128
registers to 255 and a stack. Here one thread of each block adds to a counter, and looks at it until all have. It
looks a limited number of times: if a block is lost, the others leave an error word behind instead of waiting for ever.
"""

from __future__ import annotations

#: Numbers (of 32 bits) between two counters, so that each has a cache line of its own.
COUNTER_STRIDE = 32

#: Looks at a counter for each look at the error word: one takes as long as the other, and every step waits for both.
LOOKS = 64


def meeting(p):
    """``arrive(counter)`` and ``wait(counter, target, error, patience)``, for all threads of a block."""
    sync_block, thread = p.sync_block, p.thread
    add_release, load_acquire = p.add_release, p.load_acquire

    @p.inlined
    def arrive(counter):
        sync_block()  # all that the block wrote comes before the addition, which publishes it
        if thread() == 0:
            add_release(counter, 1)

    @p.inlined
    def wait(counter, target, error, patience):
        if thread() == 0:
            looks = 0
            while load_acquire(counter) < target:
                looks += 1
                if looks > patience or (looks % LOOKS == 0 and load_acquire(error) != 0):
                    add_release(error, 1)
                    break
        sync_block()

    return arrive, wait
