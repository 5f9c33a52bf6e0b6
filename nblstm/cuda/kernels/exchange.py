"""Exchange of h or dz between the blocks of a group, at each step: a buffer in global memory and a barrier.

All blocks of a group run at once, as a cooperative launch ensures. CUDA's own grid barrier is a call that is not
inlined: with it, a kernel with 96 weights in each thread went from 128 registers to 255 and a stack. Here one thread of
each block adds to the group's counter, and looks at it until all have. It looks a limited number of times: if a block
is lost, the others leave an error word behind instead of waiting for ever.
"""

from __future__ import annotations

from nblstm.cuda import thresholds
from nblstm.cuda.tiling import Tiling


def barrier(p):
    """``arrive_at(counter)`` and ``wait_for(counter, target, error, timeout)``, for all threads of a block."""
    sync_block, thread = p.sync_block, p.thread
    add_release, load_acquire, ERROR_INTERVAL = p.add_release, p.load_acquire, thresholds.ERROR_INTERVAL

    @p.inlined
    def arrive_at(counter):
        # What the whole block wrote comes before the addition, which publishes it to other blocks.
        sync_block()
        if thread() == 0:
            add_release(counter, 1)

    @p.inlined
    def wait_for(counter, target, error, timeout):
        # Until the counter has reached the target, this block's time is out, or another has.
        if thread() == 0:
            looks = 0
            while load_acquire(counter) < target:
                looks += 1
                if looks > timeout or (looks % ERROR_INTERVAL == 0 and load_acquire(error) != 0):
                    add_release(error, 1)
                    break
        sync_block()

    return arrive_at, wait_for


def exchanging(p, v: Tiling):
    """The five functions of the exchange; a block that is a group of its own exchanges through shared memory.

    Returns
    -------
    exchange_of : ``(a, group, shared) -> pointer``
        The group's buffer: two copies of ``chunks`` chunks of ``rows`` rows of ``inner`` numbers.
    place_in : ``(exchange, copy, chunks, chunk, row, u) -> pointer``
        The place of a row's number u in it.
    gather : ``(exchange, shared, copy, chunks, chunk, tid) -> pointer``
        The rows of a chunk in shared memory, for all threads of a block at once and chunk after chunk: those of the
        next chunk are on their way while these are multiplied.
    arrive : ``(a, group)``
        Say that this block has written its numbers of the step.
    wait : ``(a, group, target)``
        Wait until blocks have arrived ``target`` times.
    """
    return _between_blocks(p, v) if v.blocks > 1 else _within_a_block(p, v)


def _within_a_block(p, v: Tiling):
    ROWS, INNER, offset, sync_block = v.rows, v.inner, p.offset, p.sync_block

    @p.inlined
    def exchange_of(a, group, shared):
        return shared

    @p.inlined
    def place_in(exchange, copy, chunks, chunk, row, u):
        return offset(exchange, (copy * ROWS + row) * INNER + u)

    @p.inlined
    def gather(exchange, shared, copy, chunks, chunk, tid):
        # The rows are there. Behind this barrier, all have written them, and nobody reads the other copy any more.
        sync_block()
        return offset(shared, copy * ROWS * INNER)

    @p.inlined
    def arrive(a, group):
        pass

    @p.inlined
    def wait(a, group, target):
        pass

    return exchange_of, place_in, gather, arrive, wait


def _between_blocks(p, v: Tiling):
    ROWS, INNER, THREADS, STRIDE = v.rows, v.inner, v.threads, thresholds.COUNTER_STRIDE
    numbers, words, offset, sync_block = p.numbers, p.words, p.offset, p.sync_block
    begin_copy, end_copies = p.begin_copy, p.end_copies
    arrive_at, wait_for = barrier(p)

    @p.inlined
    def exchange_of(a, group, shared):
        return offset(numbers(a.exchange), group * 2 * a.chunks * ROWS * INNER)

    @p.inlined
    def place_in(exchange, copy, chunks, chunk, row, u):
        return offset(exchange, ((copy * chunks + chunk) * ROWS + row) * INNER + u)

    @p.inlined
    def fetch(exchange, shared, copy, chunks, chunk, tid):
        # Chunks take turns in the two halves of shared memory. Each thread copies every THREADS-th quad.
        rows = offset(shared, (chunk & 1) * ROWS * INNER)
        sent = offset(exchange, (copy * chunks + chunk) * ROWS * INNER)
        for k in range(tid * 4, ROWS * INNER, THREADS * 4):
            begin_copy(rows, sent, k)

    @p.inlined
    def gather(exchange, shared, copy, chunks, chunk, tid):
        if chunk == 0:
            fetch(exchange, shared, copy, chunks, chunk, tid)
        # Behind the barrier, all threads' copies have ended, and nobody reads the rows of the chunk before any more:
        # those of the next one take their place.
        end_copies()
        sync_block()
        if chunk + 1 < chunks:
            fetch(exchange, shared, copy, chunks, chunk + 1, tid)
        return offset(shared, (chunk & 1) * ROWS * INNER)

    @p.inlined
    def arrive(a, group):
        arrive_at(offset(words(a.counters), group * STRIDE))

    @p.inlined
    def wait(a, group, target):
        wait_for(offset(words(a.counters), group * STRIDE), target, words(a.error), a.timeout)

    return exchange_of, place_in, gather, arrive, wait
