"""The kernel of backpropagation through time that is launched once per sequence; the mirror of `persistent_forward`.

At each step, from the last: the cell's gradient for a thread's own unit and row gives the gradients of the
pre-activations; these are exchanged, and multiplied by the transposed recurrent weights. Letters as in
`persistent_forward`; a tile is M units.
"""

from __future__ import annotations

from nblstm.cells.cell import Cell
from nblstm.cuda.cell_functions import Sizes, cell_functions
from nblstm.cuda.meeting import COUNTER_STRIDE, meeting
from nblstm.cuda.tuples import (
    add,
    add_to_output,
    add_to_recurrent,
    all_states,
    recurrent_part,
    reduce_over_lanes,
)
from nblstm.cuda.variant import Variant

#: Arguments of the kernel, all int64: addresses and sizes.
ARGUMENTS = (
    "tiles",  # transposed recurrent weights in the order of blocks, quads, outputs, threads
    "vectors",  # (D, V H)
    "d_state", "d_state_plane",  # S planes of (D, B, H): gradient of the states after the record in, before it out
    "dy",  # (N, D H), of all packed rows
    "y", "tape", "saved",  # as the forward kernel left them
    "previous_0", "previous_1",  # for each packed row of either direction, where its previous state is; of int64
    "lengths", "offsets",
    "dz",  # out: (D, n, P H)
    "d_vectors",  # (D, B, V H), added to; its sum over rows is what counts
    "mail", "counters", "error", "patience",
    "B", "T", "n", "first", "last", "start_0", "start_1", "blocks", "chunks", "quads",
)  # fmt: skip


def backward_kernel(p, cell: Cell, v: Variant):
    """The kernel of a cell and a layout, for some primitives; its arguments are `ARGUMENTS`."""
    n_, reverse = Sizes.of(cell), cell_functions(cell, p)["reverse"]
    G, P, S, K, V = n_.G, n_.P, n_.S, n_.K, n_.V
    M, LANES, QUADS, REGISTERS, ROWS, TILES = v.outputs, v.lanes, v.quads, v.in_registers, v.rows, v.tiles
    H, D = v.hidden, v.directions
    THREADS, INNER, REPLICAS = v.threads, v.inner, v.lanes // (v.rows * v.outputs)
    ALONE, MANY = v.blocks == 1, v.chunks > 1
    COLUMNS, SLOTS = 2 * v.rows * v.inner, 2 * v.rows * v.inner + v.shared_weights
    numbers, integers, words, offset, shared = p.numbers, p.integers, p.words, p.offset, p.shared
    thread, block, sync_block, (arrive, wait) = p.thread, p.block, p.sync_block, meeting(p)
    load_quad_coherent, load_quad, store_quad = p.load_quad_coherent, p.load_quads(1), p.store_quad
    load_column, load_weights, zeros = p.load_quads(M), p.load_quads(REGISTERS * M), p.zeros(M * ROWS)
    multiply, multiply_quad = p.multiply(M, ROWS, REGISTERS), p.multiply(M, ROWS, 1)
    load_states, load_others, load_saved, load_vectors = p.load(S), p.load(S - 1), p.load(K), p.load(V)
    store_states, store_z, store_vectors, store_gates = p.store(S), p.store(P), p.store(V), p.store(G)
    no_gates, no_vectors = p.zeros(G), p.zeros(V)
    choose, choose_vectors, choose_gates, add_vectors = p.choose(S), p.choose(V), p.choose(G), add(p, V)
    reduce, recurrent = reduce_over_lanes(p, LANES, ROWS * M, 1), recurrent_part(p, n_)
    with_output, plus_output, plus_recurrent = all_states(p, n_), add_to_output(p, n_), add_to_recurrent(p, n_)

    def backward(
        tiles, vectors, d_state, d_state_plane, dy, y, tape, saved, previous_0, previous_1, lengths, offsets, dz,
        d_vectors, mail, counters, error, patience, B, T, n, first, last, start_0, start_1, blocks, chunks, quads,
    ):  # fmt: skip
        tid = thread()
        lane, group, part = tid % LANES, block() // blocks, block() % blocks
        d, row_0 = group % D, group // D * ROWS * chunks
        item = lane // REPLICAS
        unit, my_row = (part * TILES + tid // LANES) * M + item % M, item // M
        mine = unit < H and lane % REPLICAS == 0
        u = min(unit, H - 1)
        inputs = shared()
        columns, slots = offset(inputs, COLUMNS + tid * 4), offset(inputs, SLOTS + tid)
        weights_at = offset(numbers(tiles), ((d * blocks + part) * QUADS * M * THREADS + tid) * 4)
        weights = load_weights(weights_at, THREADS * 4)
        for k in range(REGISTERS * M, QUADS * M):
            store_quad(columns, (k - REGISTERS * M) * THREADS * 4, load_quad(offset(weights_at, k * THREADS * 4), 0))
        for k in range(tid, COLUMNS, THREADS):
            inputs[k] = 0
        sync_block()

        vector, d_vector = load_vectors(offset(numbers(vectors), d * V * H + u), H), no_vectors()
        start, longest = start_1 if d else start_0, integers(lengths)[row_0]
        previous = integers(previous_1 if d else previous_0)
        begin = max(first, T - longest) if d else first
        end = last if d else min(last, longest)
        box = offset(numbers(mail), group * 2 * chunks * ROWS * INNER)
        counter, errors, arrivals = offset(words(counters), group * COUNTER_STRIDE), words(error), 0
        at_y, at_tape = offset(numbers(y), d * H + u), offset(numbers(tape), d * (S - 1) * (B + n) * H + u)

        d_states = load_states(offset(numbers(d_state), (d * B + min(row_0 + my_row, B - 1)) * H + u), d_state_plane)
        if MANY:
            for chunk in range(chunks):
                b = min(row_0 + chunk * ROWS + my_row, B - 1)
                d_states = load_states(offset(numbers(d_state), (d * B + b) * H + u), d_state_plane)
                store_states(offset(slots, chunk * S * THREADS), THREADS, d_states)

        for k in range(end - begin):
            i, parity = end - 1 - k, k & 1
            t = T - 1 - i if d else i
            for chunk in range(chunks):
                b = row_0 + chunk * ROWS + my_row
                running = b < B and t < integers(lengths)[min(b, B - 1)]
                row = integers(offsets)[t] + b - start if running else 0
                before = previous[row]
                new = with_output(at_y[(B + row) * D * H], load_others(offset(at_tape, (B + row) * H), (B + n) * H))
                old = with_output(at_y[before * D * H], load_others(offset(at_tape, before * H), (B + n) * H))
                values = load_saved(offset(numbers(saved), (d * n + row) * K * H + u), H)
                if MANY:
                    d_states = load_states(offset(slots, chunk * S * THREADS), THREADS)
                d_new = plus_output(d_states, numbers(dy)[((start + row) * D + d) * H + u])
                d_sums, d_old, d_used = reverse(d_new, values, old, new, vector)
                d_states = choose(running, d_old, d_states)
                d_vector = choose_vectors(running, add_vectors(d_vector, d_used), d_vector)
                if MANY:
                    store_states(offset(slots, chunk * S * THREADS), THREADS, d_states)
                if mine and b < B:
                    d_gates = choose_gates(running, recurrent(d_sums), no_gates())
                    if ALONE:
                        store_gates(offset(inputs, (parity * ROWS + my_row) * INNER + u), H, d_gates)
                    else:
                        place = ((parity * chunks + chunk) * ROWS + my_row) * INNER + u
                        store_gates(offset(box, place), H, d_gates)
                if mine and running:
                    store_z(offset(numbers(dz), (d * n + row) * P * H + u), H, d_sums)
            if not ALONE:
                arrive(counter)
                arrivals += 1
                wait(counter, arrivals * blocks, errors, patience)
            for chunk in range(chunks):
                b = row_0 + chunk * ROWS + my_row
                running = b < B and t < integers(lengths)[min(b, B - 1)]
                if ALONE:
                    gates = offset(inputs, parity * ROWS * INNER)
                else:
                    gates = offset(inputs, (chunk & 1) * ROWS * INNER)
                    sent = offset(box, (parity * chunks + chunk) * ROWS * INNER)
                    for q in range(tid * 4, ROWS * INNER, THREADS * 4):
                        store_quad(gates, q, load_quad_coherent(sent, q))
                sync_block()
                sums = multiply(zeros(), weights, offset(gates, lane * 4), LANES * 4, INNER)
                for q in range(REGISTERS, quads):
                    column = load_column(offset(columns, (q - REGISTERS) * M * THREADS * 4), THREADS * 4)
                    sums = multiply_quad(sums, column, offset(gates, (q * LANES + lane) * 4), 0, INNER)
                total = reduce(sums, lane)
                if MANY:
                    d_states = load_states(offset(slots, chunk * S * THREADS), THREADS)
                d_states = choose(running, plus_recurrent(d_states, total[0]), d_states)
                if MANY:
                    store_states(offset(slots, chunk * S * THREADS), THREADS, d_states)

        for chunk in range(chunks):
            b = row_0 + chunk * ROWS + my_row
            if MANY:
                d_states = load_states(offset(slots, chunk * S * THREADS), THREADS)
            if mine and b < B:
                store_states(offset(numbers(d_state), (d * B + b) * H + u), d_state_plane, d_states)
        if mine and row_0 + my_row < B:
            at_vectors = offset(numbers(d_vectors), (d * B + row_0 + my_row) * V * H + u)
            store_vectors(at_vectors, H, add_vectors(load_vectors(at_vectors, H), d_vector))

    return backward
