"""Forward kernel of a whole span of steps: one launch, in which recurrent weights stay on the chip.

For each step t, row b of the batch, unit u and gate g of one direction that the recurrence feeds, with k over the H
units:

    r[b,g,u] = sum_k W_hh[g,u,k] h[t-1,b,k]                      h is the first state
    state[t,b,u], saved[t,b,u] = forward(z[t,b,:,u] + r[b,:,u] + bias[:,u], state[t-1,b,u], vectors[:,u])

Letters and arguments `a` are those of `nblstm.cuda.kernels.arguments`. Who has what (see `nblstm.cuda.tiling`):

    group       all units of a slice of chunks * rows rows, in one direction: one block, or several that exchange h
    block       a part of the units
    tile        one unit: `lanes` threads, of which each multiplies its slice of k, in quads of 4 numbers
    thread      its slice of the sums of all R gates and `rows` rows; then, when the lanes have added up, one row. Lanes
                beyond the rows repeat what a neighbour computes; only the `owner` of a unit and a row stores it.

    registers   some quads of weights, biases, vectors; the states of this unit and row, if there is one chunk
    shared      rows * inner numbers of h, twice: the chunk that is multiplied and the next, or h[t-1] and h[t] of a
                block alone; the other quads of weights; the states of all chunks
    global      z, y, other_states, saved; the exchange buffer, with two copies of the group's h: h[t-1] and h[t]

Barriers: before h[t-1] is read, all blocks of the group must have written theirs, so each `arrive`s behind its h[t-1]
and `wait`s for the others, once per step. No barrier is needed before h[t+1] takes the place of h[t-1]: whoever writes
it has seen all arrive with h[t], and they wrote that when they had read h[t-1]. Inside a block, `gather` has one
barrier, before the rows of a chunk are multiplied; a block alone has no other.
"""

from __future__ import annotations

from nblstm.cells.cell import Cell
from nblstm.cuda.kernels.cell_functions import CellSizes, cell_functions
from nblstm.cuda.kernels.exchange import exchanging
from nblstm.cuda.kernels.sequence_parts import (
    keeping_states,
    keeping_weights,
    locating_rows,
    locating_threads,
    multiplying,
    reducing_over_lanes,
    steps_of_group,
)
from nblstm.cuda.tiling import Tiling


def forward_kernel(p, cell: Cell, v: Tiling, training: bool):
    """The kernel of a cell and a tiling; its argument is a `SequenceArguments`."""
    n, f = CellSizes.of(cell), cell_functions(cell, p)
    G, R, P, S, V, H, D, ROWS = n.G, n.R, n.P, n.S, n.V, v.hidden, v.directions, v.rows
    BLOCK_WEIGHTS = v.block_weights
    numbers, offset, thread, shared_memory = p.numbers, p.offset, p.thread, p.shared
    locate_thread, locate_row, steps = locating_threads(p, v, 1), locating_rows(p), steps_of_group(p)
    keep_weights, multiply, reduce = keeping_weights(p, v), multiplying(p, v), reducing_over_lanes(p, v.lanes, ROWS, R)
    exchange_of, place_in, gather, arrive, wait = exchanging(p, v)
    keep_states, kept_states = keeping_states(p, v)
    load_gates, load_biases, load_states, load_vectors = p.load(G), p.load(P), p.load(S), p.load(V)
    preactivations, cell_forward, choose, store_states = f.preactivations, f.cell_forward, p.choose(S), p.store(S)
    store_results = storing_results(p, n, f, v, training)

    def sequence_forward(a):
        # Which direction d, rows and unit u are this thread's. Units beyond H compute the last one again.
        tid, shared = thread(), shared_memory()
        group, part, lane, unit, my_row, owner = locate_thread(a.blocks)
        d, row_0 = group % D, group // D * ROWS * a.chunks
        mine, u = unit < H and owner, min(unit, H - 1)
        start = a.start_1 if d else a.start_0
        begin, end = steps(a, d, row_0)

        # What stays for all steps: W_hh[:,u,slice of k], bias[:,u], vectors[:,u].
        weights = keep_weights(shared, offset(numbers(a.tiles), (d * a.blocks + part) * BLOCK_WEIGHTS + tid * 4), tid)
        bias = load_biases(offset(numbers(a.bias), d * P * H + u), H)
        vector = load_vectors(offset(numbers(a.vectors), d * V * H + u), H)

        # The initial states; h of them is what the first step multiplies.
        exchange = exchange_of(a, group, shared)
        for chunk in range(a.chunks):
            b = row_0 + chunk * ROWS + my_row
            state = load_states(offset(numbers(a.state), (d * a.B + min(b, a.B - 1)) * H + u), a.state_plane)
            keep_states(shared, tid, chunk, state)
            if mine and b < a.B:
                place_in(exchange, 0, a.chunks, chunk, my_row, u)[0] = state[0]
        arrive(a, group)

        for i in range(begin, end):
            # Step t; h[t-1] is in one copy of the exchange buffer, h[t] goes into the other.
            t, copy = a.T - 1 - i if d else i, (i - begin) & 1
            for chunk in range(a.chunks):
                b = row_0 + chunk * ROWS + my_row
                # z[t,b,:,u]; its row is 0 where the sequence has ended, and what comes of it is not kept.
                running, row = locate_row(a, t, b, start)
                z = load_gates(offset(numbers(a.z), (d * a.n + row) * G * H + u), H)
                # r[b,:,u] = sum_k W_hh[:,u,k] h[t-1,b,k], when all blocks have written their h[t-1].
                if chunk == 0:
                    wait(a, group, (i - begin + 1) * a.blocks)
                h = gather(exchange, shared, copy, a.chunks, chunk, tid)
                r = reduce(multiply(weights, shared, h, tid, lane, a.quads), lane)
                # state[t] = forward(z + r + bias, state[t-1]), or state[t-1] where the sequence has ended.
                state = kept_states(shared, tid, chunk, state)
                new, saved = cell_forward(preactivations(z, r, bias), state, vector)
                state = choose(running, new, state)
                keep_states(shared, tid, chunk, state)
                # h[t] for the next step; y[t], and what BPTT needs, for the caller.
                if mine and b < a.B:
                    place_in(exchange, 1 - copy, a.chunks, chunk, my_row, u)[0] = state[0]
                if mine and running:
                    store_results(a, d, row, u, state, saved)
            arrive(a, group)

        # The final states.
        for chunk in range(a.chunks):
            b = row_0 + chunk * ROWS + my_row
            state = kept_states(shared, tid, chunk, state)
            if mine and b < a.B:
                store_states(offset(numbers(a.state), (d * a.B + b) * H + u), a.state_plane, state)

    return sequence_forward


def storing_results(p, n: CellSizes, f, v: Tiling, training: bool):
    """``store_results(a, d, row, u, state, saved)``: y of a packed row, when training also other_states and saved."""
    S, K, OUTPUT, H, D = n.S, n.K, n.output, v.hidden, v.directions
    numbers, offset, select_other_states = p.numbers, p.offset, f.select_other_states
    store_others, store_saved = p.store(S - 1), p.store(K)

    @p.inlined
    def store_y(a, d, row, u, state, saved):
        numbers(a.y)[((a.B + row) * D + d) * H + u] = state[OUTPUT]

    @p.inlined
    def store_all(a, d, row, u, state, saved):
        numbers(a.y)[((a.B + row) * D + d) * H + u] = state[OUTPUT]
        others = offset(numbers(a.other_states), (d * (S - 1) * (a.B + a.n) + a.B + row) * H + u)
        store_others(others, (a.B + a.n) * H, select_other_states(state))
        store_saved(offset(numbers(a.saved), (d * a.n + row) * K * H + u), H, saved)

    return store_all if training else store_y
