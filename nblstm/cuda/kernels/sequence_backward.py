"""Backward kernel of a whole span of steps: backpropagation through time in one launch; mirrors `sequence_forward`.

For each step t from the last, row b of the batch, unit u and gate g of one direction:

    d_new = d_state[t], + dy[t,b,u] for the state that is the output
    dz[t,b,:,u], d_state[t-1], dv = gradient of the cell's step by d_new, at the states before and behind step t
    dh[t-1,b,u] += sum over g, k of W_hh[g,k,u] dz[t,b,g,k]      h is the first state
    d_vectors[b,:,u] += dv

Letters and arguments `a` are those of `nblstm.cuda.kernels.arguments`. Who has what is as in `sequence_forward`, but:

    tile        M units (`Tiling.outputs`) of the transposed matrix, whose inner dimension are the R H rows of W_hh
    thread      its slice of the sums of M units and `rows` rows; then one unit and one row of them

    registers   some quads of W_hh^T, vectors, d_vectors; d_state of this unit and row, if there is one chunk
    shared      rows * inner numbers of dz, twice; the other quads of weights; d_state of all chunks
    global      y, other_states and saved, as forward left them; dz, which the products behind this kernel read; the
                exchange buffer, with two copies of the group's dz: dz[t] and dz[t-1]

Barriers: before dz[t] is read, all blocks of the group must have written theirs: `arrive` and `wait`, once per step.
No barrier is needed before dz[t-2] takes the place of dz[t], for the same reason as in `sequence_forward`.
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


def backward_kernel(p, cell: Cell, v: Tiling):
    """The kernel of a cell and a tiling; its argument is a `SequenceArguments`."""
    n, f = CellSizes.of(cell), cell_functions(cell, p)
    R, P, S, K, V, M = n.R, n.P, n.S, n.K, n.V, v.outputs
    H, D, ROWS, BLOCK_WEIGHTS = v.hidden, v.directions, v.rows, v.block_weights
    numbers, integers, offset, thread, shared_memory = p.numbers, p.integers, p.offset, p.thread, p.shared
    locate_thread, locate_row, steps = locating_threads(p, v, M), locating_rows(p), steps_of_group(p)
    keep_weights, multiply = keeping_weights(p, v), multiplying(p, v)
    reduce = reducing_over_lanes(p, v.lanes, ROWS * M, 1)
    exchange_of, place_in, gather, arrive, wait = exchanging(p, v)
    keep_states, kept_states = keeping_states(p, v)
    load_states, load_saved, load_vectors = p.load(S), p.load(K), p.load(V)
    store_states, store_z, store_vectors, store_gates = p.store(S), p.store(P), p.store(V), p.store(R)
    choose, choose_gates, choose_vectors = p.choose(S), p.choose(R), p.choose(V)
    no_gates, no_vectors = p.zeros(R), p.zeros(V)
    cell_backward, select_recurrent = f.cell_backward, f.select_recurrent
    add_dy, add_dh, add_vectors, states_at = f.add_dy, f.add_dh, f.add_vectors, reading_states(p, n, f, v)

    def sequence_backward(a):
        # Which direction d, rows and unit u are this thread's. Units beyond H compute the last one again.
        tid, shared = thread(), shared_memory()
        group, part, lane, unit, my_row, owner = locate_thread(a.blocks)
        d, row_0 = group % D, group // D * ROWS * a.chunks
        mine, u = unit < H and owner, min(unit, H - 1)
        start, previous = a.start_1 if d else a.start_0, integers(a.previous_1 if d else a.previous_0)
        begin, end = steps(a, d, row_0)

        # What stays for all steps: W_hh[:,slice of k,u] of the tile's units, vectors[:,u]; and d_vectors, summed.
        weights = keep_weights(shared, offset(numbers(a.tiles), (d * a.blocks + part) * BLOCK_WEIGHTS + tid * 4), tid)
        vector, d_vector = load_vectors(offset(numbers(a.vectors), d * V * H + u), H), no_vectors()

        # The gradient of the final states.
        exchange = exchange_of(a, group, shared)
        for chunk in range(a.chunks):
            b = min(row_0 + chunk * ROWS + my_row, a.B - 1)
            d_state = load_states(offset(numbers(a.state), (d * a.B + b) * H + u), a.state_plane)
            keep_states(shared, tid, chunk, d_state)

        for k in range(end - begin):
            # Step t, from the last; dz[t] goes into one copy of the exchange buffer.
            i, copy = end - 1 - k, k & 1
            t = a.T - 1 - i if d else i
            for chunk in range(a.chunks):
                b = row_0 + chunk * ROWS + my_row
                # state[t], state[t-1], saved[t]; the row is 0 where the sequence has ended, and nothing of it is kept.
                running, row = locate_row(a, t, b, start)
                new, state = states_at(a, d, u, a.B + row), states_at(a, d, u, previous[row])
                saved = load_saved(offset(numbers(a.saved), (d * a.n + row) * K * H + u), H)
                # dz, d_state[t-1], dv = gradient of the step by d_state[t] + dy[t]
                d_state = kept_states(shared, tid, chunk, d_state)
                d_new = add_dy(d_state, numbers(a.dy)[((start + row) * D + d) * H + u])
                dz, d_old, dv = cell_backward(d_new, saved, state, new, vector)
                # d_state and d_vectors stay as they are where the sequence has ended.
                d_state = choose(running, d_old, d_state)
                d_vector = choose_vectors(running, add_vectors(d_vector, dv), d_vector)
                keep_states(shared, tid, chunk, d_state)
                # dz[t] of the gates that the recurrence feeds, for all blocks; 0 where the sequence has ended.
                if mine and b < a.B:
                    d_gates = choose_gates(running, select_recurrent(dz), no_gates())
                    store_gates(place_in(exchange, copy, a.chunks, chunk, my_row, u), H, d_gates)
                # dz[t] of all gates, for the products with x[t] and h[t-1] behind this kernel.
                if mine and running:
                    store_z(offset(numbers(a.dz), (d * a.n + row) * P * H + u), H, dz)
            arrive(a, group)
            wait(a, group, (k + 1) * a.blocks)
            # dh[t-1,b,u] += sum over g, k of W_hh[g,k,u] dz[t,b,g,k], when all blocks have written their dz[t].
            for chunk in range(a.chunks):
                running, row = locate_row(a, t, row_0 + chunk * ROWS + my_row, start)
                gates = gather(exchange, shared, copy, a.chunks, chunk, tid)
                dh = reduce(multiply(weights, shared, gates, tid, lane, a.quads), lane)
                d_state = kept_states(shared, tid, chunk, d_state)
                d_state = choose(running, add_dh(d_state, dh[0]), d_state)
                keep_states(shared, tid, chunk, d_state)

        # The gradient of the initial states.
        for chunk in range(a.chunks):
            b = row_0 + chunk * ROWS + my_row
            d_state = kept_states(shared, tid, chunk, d_state)
            if mine and b < a.B:
                store_states(offset(numbers(a.state), (d * a.B + b) * H + u), a.state_plane, d_state)

        # d_vectors[b,:,u] += this thread's sum over steps and chunks: it goes to the row of the first chunk.
        if mine and row_0 + my_row < a.B:
            at_vectors = offset(numbers(a.d_vectors), (d * a.B + row_0 + my_row) * V * H + u)
            store_vectors(at_vectors, H, add_vectors(load_vectors(at_vectors, H), d_vector))

    return sequence_backward


def reading_states(p, n: CellSizes, f, v: Tiling):
    """``states_at(a, d, u, row)``: a unit's states in a row of y and other_states, where initial ones come first."""
    S, H, D = n.S, v.hidden, v.directions
    numbers, offset, load_others, join_states = p.numbers, p.offset, p.load(n.S - 1), f.join_states

    @p.inlined
    def states_at(a, d, u, row):
        y = offset(numbers(a.y), d * H + u)
        others = offset(numbers(a.other_states), d * (S - 1) * (a.B + a.n) * H + u)
        return join_states(y[row * D * H], load_others(offset(others, row * H), (a.B + a.n) * H))

    return states_at
