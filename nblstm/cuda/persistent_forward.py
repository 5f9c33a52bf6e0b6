"""The forward kernel that is launched once per sequence: weights stay in registers and shared memory over all steps.

T time, B batch, H hidden, D directions, G gates, P pre-activations, S states, K saved values, V vectors; n is the
number of packed rows of the record. See `variant` for tiles, lanes and quads.
"""

from __future__ import annotations

from nblstm.cells.cell import Cell
from nblstm.cuda.cell_functions import Sizes, cell_functions
from nblstm.cuda.meeting import COUNTER_STRIDE, meeting
from nblstm.cuda.tuples import other_states, preactivations, reduce_over_lanes
from nblstm.cuda.variant import Variant

#: Arguments of the kernel, all int64: addresses and sizes.
ARGUMENTS = (
    "z",  # (D, n, G H), the input's part of the pre-activations
    "tiles",  # recurrent weights in the order of blocks, quads, outputs, threads
    "bias", "vectors",  # (D, P H), (D, V H)
    "state", "state_plane",  # S planes of (D, B, H): in and out
    "y",  # out: (B + n, D H)
    "tape",  # out, when training: (D, S - 1, B + n, H)
    "saved",  # out, when training: (D, n, K H)
    "lengths", "offsets",  # (B,) and (T,), of int64
    "mail",  # zeros, for blocks together: two copies of each group's outputs, written and read in turn
    "counters", "error", "patience",  # zeros of int32, a word that errors set, and how often a counter is looked at
    "B", "T", "n",
    "first", "last",  # steps, as each direction counts them
    "start_0", "start_1",  # the packed row that is row 0 of the record, for each direction
    "blocks", "chunks", "quads",
)  # fmt: skip


def forward_kernel(p, cell: Cell, v: Variant, training: bool):
    """The kernel of a cell and a layout, for some primitives; its arguments are `ARGUMENTS`."""
    n_, advance = Sizes.of(cell), cell_functions(cell, p)["advance"]
    G, P, S, K, V, OUTPUT = n_.G, n_.P, n_.S, n_.K, n_.V, n_.output
    LANES, QUADS, REGISTERS, ROWS, TILES = v.lanes, v.quads, v.in_registers, v.rows, v.tiles
    H, D = v.hidden, v.directions
    THREADS, INNER, REPLICAS = v.threads, v.inner, v.lanes // v.rows
    ALONE, MANY = v.blocks == 1, v.chunks > 1
    COLUMNS, SLOTS = 2 * v.rows * v.inner, 2 * v.rows * v.inner + v.shared_weights
    numbers, integers, words, offset, shared = p.numbers, p.integers, p.words, p.offset, p.shared
    thread, block, sync_block, (arrive, wait) = p.thread, p.block, p.sync_block, meeting(p)
    load_quad_coherent, load_quad, store_quad = p.load_quad_coherent, p.load_quads(1), p.store_quad
    load_column, load_weights, zeros = p.load_quads(G), p.load_quads(REGISTERS * G), p.zeros(G * ROWS)
    multiply, multiply_quad = p.multiply(G, ROWS, REGISTERS), p.multiply(G, ROWS, 1)
    load_gates, load_biases, load_states, load_vectors = p.load(G), p.load(P), p.load(S), p.load(V)
    store_states, store_others, store_saved, choose = p.store(S), p.store(S - 1), p.store(K), p.choose(S)
    reduce, add_up, others = reduce_over_lanes(p, LANES, ROWS, G), preactivations(p, n_), other_states(p, n_)

    def forward(
        z, tiles, bias, vectors, state, state_plane, y, tape, saved, lengths, offsets, mail, counters, error,
        patience, B, T, n, first, last, start_0, start_1, blocks, chunks, quads,
    ):  # fmt: skip
        tid = thread()
        lane, group, part = tid % LANES, block() // blocks, block() % blocks
        d, row_0 = group % D, group // D * ROWS * chunks
        unit, my_row = part * TILES + tid // LANES, lane // REPLICAS
        mine = unit < H and lane % REPLICAS == 0
        u = min(unit, H - 1)
        inputs = shared()
        columns, slots = offset(inputs, COLUMNS + tid * 4), offset(inputs, SLOTS + tid)
        weights_at = offset(numbers(tiles), ((d * blocks + part) * QUADS * G * THREADS + tid) * 4)
        weights = load_weights(weights_at, THREADS * 4)
        for k in range(REGISTERS * G, QUADS * G):
            store_quad(columns, (k - REGISTERS * G) * THREADS * 4, load_quad(offset(weights_at, k * THREADS * 4), 0))
        for k in range(tid, COLUMNS, THREADS):
            inputs[k] = 0
        sync_block()

        biases = load_biases(offset(numbers(bias), d * P * H + u), H)
        vector = load_vectors(offset(numbers(vectors), d * V * H + u), H)
        start, longest = start_1 if d else start_0, integers(lengths)[row_0]
        begin = max(first, T - longest) if d else first
        end = last if d else min(last, longest)
        box = offset(numbers(mail), group * 2 * chunks * ROWS * INNER)
        counter, errors, arrivals = offset(words(counters), group * COUNTER_STRIDE), words(error), 1

        states = load_states(offset(numbers(state), (d * B + min(row_0 + my_row, B - 1)) * H + u), state_plane)
        for chunk in range(chunks):
            b = row_0 + chunk * ROWS + my_row
            if MANY:
                states = load_states(offset(numbers(state), (d * B + min(b, B - 1)) * H + u), state_plane)
                store_states(offset(slots, chunk * S * THREADS), THREADS, states)
            if mine and b < B:
                if ALONE:
                    inputs[my_row * INNER + u] = states[0]
                else:
                    box[(chunk * ROWS + my_row) * INNER + u] = states[0]
        if not ALONE:
            arrive(counter)

        for i in range(begin, end):
            t, parity = T - 1 - i if d else i, (i - begin) & 1
            for chunk in range(chunks):
                b = row_0 + chunk * ROWS + my_row
                running = b < B and t < integers(lengths)[min(b, B - 1)]
                row = integers(offsets)[t] + b - start if running else 0
                from_input = load_gates(offset(numbers(z), (d * n + row) * G * H + u), H)
                if ALONE:
                    h = offset(inputs, parity * ROWS * INNER)
                else:
                    if chunk == 0:
                        wait(counter, arrivals * blocks, errors, patience)
                    h = offset(inputs, (chunk & 1) * ROWS * INNER)
                    sent = offset(box, (parity * chunks + chunk) * ROWS * INNER)
                    for k in range(tid * 4, ROWS * INNER, THREADS * 4):
                        store_quad(h, k, load_quad_coherent(sent, k))
                sync_block()
                sums = multiply(zeros(), weights, offset(h, lane * 4), LANES * 4, INNER)
                for q in range(REGISTERS, quads):
                    column = load_column(offset(columns, (q - REGISTERS) * G * THREADS * 4), THREADS * 4)
                    sums = multiply_quad(sums, column, offset(h, (q * LANES + lane) * 4), 0, INNER)
                if MANY:
                    states = load_states(offset(slots, chunk * S * THREADS), THREADS)
                new, values = advance(add_up(from_input, reduce(sums, lane), (), biases), states, vector)
                states = choose(running, new, states)
                if MANY:
                    store_states(offset(slots, chunk * S * THREADS), THREADS, states)
                if mine and b < B:
                    if ALONE:
                        inputs[((1 - parity) * ROWS + my_row) * INNER + u] = states[0]
                    else:
                        box[(((1 - parity) * chunks + chunk) * ROWS + my_row) * INNER + u] = states[0]
                if mine and running:
                    numbers(y)[((B + row) * D + d) * H + u] = states[OUTPUT]
                    if training:
                        at_tape = (d * (S - 1) * (B + n) + B + row) * H + u
                        store_others(offset(numbers(tape), at_tape), (B + n) * H, others(states))
                        store_saved(offset(numbers(saved), (d * n + row) * K * H + u), H, values)
            if not ALONE:
                arrive(counter)
                arrivals += 1

        for chunk in range(chunks):
            b = row_0 + chunk * ROWS + my_row
            if MANY:
                states = load_states(offset(slots, chunk * S * THREADS), THREADS)
            if mine and b < B:
                store_states(offset(numbers(state), (d * B + b) * H + u), state_plane, states)

    return forward
