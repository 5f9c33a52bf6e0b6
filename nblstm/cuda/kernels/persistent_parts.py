"""What both kernels that are launched once per sequence are made of: places, weights, products, exchange, states.

Each function makes one or several device functions for a layout; which of several ways fits it is decided here, in
Python, so that a kernel reads the same for all layouts. Letters as in `variant`.
"""

from __future__ import annotations

from nblstm.cuda.kernels.meeting import COUNTER_STRIDE, meeting
from nblstm.cuda.variant import Variant


def placing(p, v: Variant, units: int):
    """``place(blocks)``: a block's group and part, a thread's lane, unit and row, and whether it answers for these.

    A tile has ``units`` units: 1 forward, several backward. Lanes with none of their own repeat what another does.
    """
    thread, block = p.thread, p.block
    LANES, TILES, REPLICAS = v.lanes, v.tiles, v.lanes // (v.rows * units)

    @p.inlined
    def place(blocks):
        tid = thread()
        lane, part = tid % LANES, block() % blocks
        item = lane // REPLICAS
        unit = (part * TILES + tid // LANES) * units + item % units
        return block() // blocks, part, lane, unit, item // units, lane % REPLICAS == 0

    return place


def spanning(p):
    """``span(d, first, last, T, longest)``: a direction's first step, and the one before which it ends, of a group."""

    @p.inlined
    def span(d, first, last, T, longest):
        return max(first, T - longest) if d else first, last if d else min(last, longest)

    return span


def locating(p):
    """``locate(t, b, B, lengths, offsets, start)``: whether a sequence runs at a step, and its row in the record."""
    integers = p.integers

    @p.inlined
    def locate(t, b, B, lengths, offsets, start):
        running = b < B and t < integers(lengths)[min(b, B - 1)]
        return running, integers(offsets)[t] + b - start if running else 0

    return locate


def keeping_weights(p, v: Variant):
    """``keep(inputs, tiles, tid)``: the thread's weights in registers; the others go to shared memory.

    ``inputs``, from which shared memory begins, are cleared.
    """
    KEPT, ALL, THREADS, COLUMNS = v.in_registers * v.outputs, v.quads * v.outputs, v.threads, 2 * v.rows * v.inner
    offset, sync_block, load = p.offset, p.sync_block, p.load_quads(KEPT)
    load_quad, store_quad = p.load_quads(1), p.store_quad

    @p.inlined
    def keep(inputs, tiles, tid):
        columns = offset(inputs, COLUMNS + tid * 4)
        for k in range(KEPT, ALL):
            store_quad(columns, (k - KEPT) * THREADS * 4, load_quad(offset(tiles, k * THREADS * 4), 0))
        for k in range(tid, COLUMNS, THREADS):
            inputs[k] = 0
        sync_block()
        return load(tiles, THREADS * 4)

    return keep


def multiplying(p, v: Variant):
    """``product(weights, inputs, rows, tid, lane, quads)``: a lane's part of the sums, of its slice of the rows."""
    OUTPUTS, LANES, REGISTERS, THREADS, INNER = v.outputs, v.lanes, v.in_registers, v.threads, v.inner
    COLUMNS = 2 * v.rows * v.inner
    offset, load_column, zeros = p.offset, p.load_quads(OUTPUTS), p.zeros(OUTPUTS * v.rows)
    multiply, multiply_quad = p.multiply(OUTPUTS, v.rows, REGISTERS), p.multiply(OUTPUTS, v.rows, 1)

    @p.inlined
    def product(weights, inputs, rows, tid, lane, quads):
        sums = multiply(zeros(), weights, offset(rows, lane * 4), LANES * 4, INNER)
        columns = offset(inputs, COLUMNS + tid * 4)
        for q in range(REGISTERS, quads):
            column = load_column(offset(columns, (q - REGISTERS) * OUTPUTS * THREADS * 4), THREADS * 4)
            sums = multiply_quad(sums, column, offset(rows, (q * LANES + lane) * 4), 0, INNER)
        return sums

    return product


def exchanging(p, v: Variant):
    """``box``, ``desk``, ``gather``, ``arrive`` and ``wait``: how the blocks of a group get each other's numbers.

    ``box(mail, group, chunks, inputs)`` is where the group's numbers lie, two copies of ``chunks`` chunks of rows;
    ``desk(box, copy, chunks, chunk, row, u)`` the place of one; ``gather(box, inputs, copy, chunks, chunk, tid)`` the
    rows of a chunk in shared memory, for all threads at once and chunk after chunk: those of the next are on their way
    while these are multiplied. A block alone has its rows there anyway.
    """
    ROWS, INNER, THREADS = v.rows, v.inner, v.threads
    numbers, words, offset, sync_block = p.numbers, p.words, p.offset, p.sync_block
    begin_copy, end_copies = p.begin_copy, p.end_copies
    arrive_all, wait_for_all = meeting(p)

    @p.inlined
    def box_of_inputs(mail, group, chunks, inputs):
        return inputs

    @p.inlined
    def desk_in_inputs(box, copy, chunks, chunk, row, u):
        return offset(box, (copy * ROWS + row) * INNER + u)

    @p.inlined
    def gathered(box, inputs, copy, chunks, chunk, tid):
        sync_block()
        return offset(inputs, copy * ROWS * INNER)

    @p.inlined
    def no_arrival(counters, group):
        pass

    @p.inlined
    def no_wait(counters, group, target, error, patience):
        pass

    @p.inlined
    def box(mail, group, chunks, inputs):
        return offset(numbers(mail), group * 2 * chunks * ROWS * INNER)

    @p.inlined
    def desk(box, copy, chunks, chunk, row, u):
        return offset(box, ((copy * chunks + chunk) * ROWS + row) * INNER + u)

    @p.inlined
    def fetch(box, inputs, copy, chunks, chunk, tid):
        rows = offset(inputs, (chunk & 1) * ROWS * INNER)
        sent = offset(box, (copy * chunks + chunk) * ROWS * INNER)
        for k in range(tid * 4, ROWS * INNER, THREADS * 4):
            begin_copy(rows, sent, k)

    @p.inlined
    def gather(box, inputs, copy, chunks, chunk, tid):
        if chunk == 0:
            fetch(box, inputs, copy, chunks, chunk, tid)
        end_copies()
        sync_block()  # behind it, nobody reads the rows before these any more: the next ones take their place
        if chunk + 1 < chunks:
            fetch(box, inputs, copy, chunks, chunk + 1, tid)
        return offset(inputs, (chunk & 1) * ROWS * INNER)

    @p.inlined
    def arrive(counters, group):
        arrive_all(offset(words(counters), group * COUNTER_STRIDE))

    @p.inlined
    def wait(counters, group, target, error, patience):
        wait_for_all(offset(words(counters), group * COUNTER_STRIDE), target, words(error), patience)

    if v.blocks == 1:
        return box_of_inputs, desk_in_inputs, gathered, no_arrival, no_wait
    return box, desk, gather, arrive, wait


def remembering(p, v: Variant):
    """``remember(inputs, tid, chunk, states)`` and ``recall(inputs, tid, chunk, states)``: states of several chunks.

    They lie in shared memory; those of a single chunk stay in registers, and are what is passed.
    """
    SLOTS, THREADS, S = 2 * v.rows * v.inner + v.shared_weights, v.threads, v.states
    offset, load_states, store_states = p.offset, p.load(S), p.store(S)

    @p.inlined
    def nothing(inputs, tid, chunk, states):
        pass

    @p.inlined
    def the_same(inputs, tid, chunk, states):
        return states

    @p.inlined
    def remember(inputs, tid, chunk, states):
        store_states(offset(inputs, SLOTS + tid + chunk * S * THREADS), THREADS, states)

    @p.inlined
    def recall(inputs, tid, chunk, states):
        return load_states(offset(inputs, SLOTS + tid + chunk * S * THREADS), THREADS)

    return (remember, recall) if v.chunks > 1 else (nothing, the_same)
