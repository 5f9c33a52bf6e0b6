"""Parts of both kernels of a whole sequence: who computes what, weights on the chip, their product, kept states.

Each function makes device functions for one tiling; which of several ways fits it is decided here, in Python, so that
a kernel reads the same for all tilings. Letters are those of `nblstm.cuda.kernels.arguments` and `nblstm.cuda.tiling`;
``a`` are the `SequenceArguments`, ``tid`` is the thread's number in its block, ``shared`` the block's shared memory:

    2 * rows * inner            rows of h (or dz) that are multiplied
    shared_weights              quads of weights that are not in registers
    chunks * S * threads        states of each thread and chunk, if there are several chunks
"""

from __future__ import annotations

from nblstm.cuda.tiling import Tiling
from nblstm.symbolic.emit import functions_from


def locating_threads(p, v: Tiling, units: int):
    """``locate_thread(blocks) -> group, part, lane, unit, row, owner``: what a thread computes.

    ``part`` is the block's number in its group, ``row`` counts in a chunk. A tile has ``units`` units: 1 forward,
    M backward. Lanes that are left over repeat what the owner of a unit and row computes.
    """
    thread, block = p.thread, p.block
    LANES, TILES, REPLICAS = v.lanes, v.tiles, v.lanes // (v.rows * units)

    @p.inlined
    def locate_thread(blocks):
        tid = thread()
        lane, part = tid % LANES, block() % blocks
        # Lane l has item l // REPLICAS of the tile's rows * units sums.
        item = lane // REPLICAS
        unit = (part * TILES + tid // LANES) * units + item % units
        return block() // blocks, part, lane, unit, item // units, lane % REPLICAS == 0

    return locate_thread


def steps_of_group(p):
    """``steps(a, d, row_0) -> begin, end``: the steps of the span in which the group's longest sequence runs."""
    integers = p.integers

    @p.inlined
    def steps(a, d, row_0):
        # Sequences are sorted by length: the longest is the first. Direction 1 begins where it ends, at T - length.
        longest = integers(a.lengths)[row_0]
        return max(a.first, a.T - longest) if d else a.first, a.last if d else min(a.last, longest)

    return steps


def locating_rows(p):
    """``locate_row(a, t, b, start) -> running, row``: whether sequence b runs at step t, and its packed row or 0."""
    integers = p.integers

    @p.inlined
    def locate_row(a, t, b, start):
        running = b < a.B and t < integers(a.lengths)[min(b, a.B - 1)]
        return running, integers(a.offsets)[t] + b - start if running else 0

    return locate_row


def keeping_weights(p, v: Tiling):
    """``keep_weights(shared, tiles, tid)``: returns the quads in registers, copies the others to shared memory.

    Clears the rows that are multiplied: what lies beyond H then adds 0.
    """
    KEPT, ALL, THREADS, ROWS = v.in_registers * v.outputs, v.quads * v.outputs, v.threads, 2 * v.rows * v.inner
    offset, sync_block, load = p.offset, p.sync_block, p.load_quads(KEPT)
    load_quad, store_quad = p.load_quads(1), p.store_quad

    @p.inlined
    def keep_weights(shared, tiles, tid):
        others = offset(shared, ROWS + tid * 4)
        for k in range(KEPT, ALL):
            store_quad(others, (k - KEPT) * THREADS * 4, load_quad(offset(tiles, k * THREADS * 4), 0))
        for k in range(tid, ROWS, THREADS):
            shared[k] = 0
        sync_block()
        return load(tiles, THREADS * 4)

    return keep_weights


def multiplying(p, v: Tiling):
    """``multiply(weights, shared, rows, tid, lane, quads)``: the lane's part of a product, rows * outputs sums.

    ``sums[row, o] = sum over its quads q and e < 4 of W[o, q, e] * rows[row, (q * lanes + lane) * 4 + e]``
    """
    OUTPUTS, LANES, REGISTERS, THREADS, INNER = v.outputs, v.lanes, v.in_registers, v.threads, v.inner
    ROWS = 2 * v.rows * v.inner
    offset, load_column, zeros = p.offset, p.load_quads(OUTPUTS), p.zeros(OUTPUTS * v.rows)
    multiply_kept, multiply_quad = p.multiply(OUTPUTS, v.rows, REGISTERS), p.multiply(OUTPUTS, v.rows, 1)

    @p.inlined
    def multiply(weights, shared, rows, tid, lane, quads):
        # Quads in registers, then quads in shared memory.
        sums = multiply_kept(zeros(), weights, offset(rows, lane * 4), LANES * 4, INNER)
        others = offset(shared, ROWS + tid * 4)
        for q in range(REGISTERS, quads):
            column = load_column(offset(others, (q - REGISTERS) * OUTPUTS * THREADS * 4), THREADS * 4)
            sums = multiply_quad(sums, column, offset(rows, (q * LANES + lane) * 4), 0, INNER)
        return sums

    return multiply


def reducing_over_lanes(p, lanes: int, groups: int, width: int):
    """``reduce(sums, lane)``: sums over all lanes of a tile, scattered over them (a reduce-scatter by shuffles).

    ``sums`` are ``groups * width`` numbers of each lane; a lane gets the ``width`` totals of group
    ``lane // (lanes // groups)``. While there are groups to divide, lanes exchange halves; then they add up what all
    of them have. The order of additions is fixed. Written out as text, since a tuple's items cannot be looped over.
    """
    names = [f"sums[{k}]" for k in range(groups * width)]
    lines, mask, step = [], lanes // 2, 0
    while mask:
        half = groups // 2 * width
        if half:
            lines.append(f"    lower = lane & {mask} == 0")
            for k in range(half):
                lines.append(f"    kept_{step}_{k} = {names[k]} if lower else {names[k + half]}")
                lines.append(f"    sent_{step}_{k} = {names[k + half]} if lower else {names[k]}")
            groups //= 2
            new = [(f"kept_{step}_{k}", f"sent_{step}_{k}") for k in range(half)]
        else:
            new = [(name, name) for name in names]
        for k, (kept, sent) in enumerate(new):
            lines.append(f"    sum_{step}_{k} = {kept} + shuffle({sent}, {mask})")
        names = [f"sum_{step}_{k}" for k in range(len(new))]
        mask, step = mask // 2, step + 1
    totals = "".join(f"{name}, " for name in names)
    source = "\n".join(["def reduce(sums, lane):", *lines, f"    return ({totals})", ""])
    return p.inlined(functions_from(source, f"reduce {hash(source):x}", {"shuffle": p.shuffle})["reduce"])


def keeping_states(p, v: Tiling):
    """``keep_states(shared, tid, chunk, state)`` and ``kept_states(shared, tid, chunk, state)``: those of each chunk.

    States of several chunks lie in shared memory. Those of a single chunk stay in registers: ``kept_states`` then
    returns what it is given.
    """
    STATES, THREADS, S = 2 * v.rows * v.inner + v.shared_weights, v.threads, v.states
    offset, load_states, store_states = p.offset, p.load(S), p.store(S)

    @p.inlined
    def keep_in_registers(shared, tid, chunk, state):
        pass

    @p.inlined
    def kept_in_registers(shared, tid, chunk, state):
        return state

    @p.inlined
    def keep_in_shared(shared, tid, chunk, state):
        store_states(offset(shared, STATES + tid + chunk * S * THREADS), THREADS, state)

    @p.inlined
    def kept_in_shared(shared, tid, chunk, state):
        return load_states(offset(shared, STATES + tid + chunk * S * THREADS), THREADS)

    return (keep_in_shared, kept_in_shared) if v.chunks > 1 else (keep_in_registers, kept_in_registers)
