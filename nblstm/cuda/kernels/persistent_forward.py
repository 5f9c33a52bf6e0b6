"""The forward kernel that is launched once per sequence: weights stay in registers and shared memory over all steps.

T time, B batch, H hidden, D directions, G gates, P pre-activations, S states, K saved values, V vectors; n is the
number of packed rows of the record. See `variant` for tiles, lanes and quads.
"""

from __future__ import annotations

from nblstm.cells.cell import Cell
from nblstm.cuda.kernels.cell_functions import Sizes, cell_functions
from nblstm.cuda.kernels.persistent_parts import (
    exchanging,
    keeping_weights,
    locating,
    multiplying,
    placing,
    remembering,
    spanning,
)
from nblstm.cuda.kernels.tuples import other_states, preactivations, reduce_over_lanes
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
    G, P, S, V = n_.G, n_.P, n_.S, n_.V
    H, D, ROWS, TILE_WEIGHTS = v.hidden, v.directions, v.rows, v.quads * v.outputs * v.threads * 4
    numbers, integers, offset = p.numbers, p.integers, p.offset
    thread, shared = p.thread, p.shared
    place, span, locate = placing(p, v, 1), spanning(p), locating(p)
    keep, product, reduce = keeping_weights(p, v), multiplying(p, v), reduce_over_lanes(p, v.lanes, ROWS, G)
    box_of, desk, gather, arrive, wait = exchanging(p, v)
    remember, recall = remembering(p, v)
    load_gates, load_biases, load_states, load_vectors = p.load(G), p.load(P), p.load(S), p.load(V)
    store_states, choose, add_up, record = p.store(S), p.choose(S), preactivations(p, n_), recording(p, n_, v, training)

    def forward(
        z, tiles, bias, vectors, state, state_plane, y, tape, saved, lengths, offsets, mail, counters, error,
        patience, B, T, n, first, last, start_0, start_1, blocks, chunks, quads,
    ):  # fmt: skip
        tid, inputs = thread(), shared()
        group, part, lane, unit, my_row, answers = place(blocks)
        d, row_0 = group % D, group // D * ROWS * chunks
        mine, u = unit < H and answers, min(unit, H - 1)
        weights = keep(inputs, offset(numbers(tiles), (d * blocks + part) * TILE_WEIGHTS + tid * 4), tid)
        biases = load_biases(offset(numbers(bias), d * P * H + u), H)
        vector = load_vectors(offset(numbers(vectors), d * V * H + u), H)
        start, (begin, end) = start_1 if d else start_0, span(d, first, last, T, integers(lengths)[row_0])

        box = box_of(mail, group, chunks, inputs)
        for chunk in range(chunks):
            b = row_0 + chunk * ROWS + my_row
            states = load_states(offset(numbers(state), (d * B + min(b, B - 1)) * H + u), state_plane)
            remember(inputs, tid, chunk, states)
            if mine and b < B:
                desk(box, 0, chunks, chunk, my_row, u)[0] = states[0]
        arrive(counters, group)

        for i in range(begin, end):
            t, copy = T - 1 - i if d else i, (i - begin) & 1
            for chunk in range(chunks):
                b = row_0 + chunk * ROWS + my_row
                running, row = locate(t, b, B, lengths, offsets, start)
                from_input = load_gates(offset(numbers(z), (d * n + row) * G * H + u), H)
                if chunk == 0:
                    wait(counters, group, (i - begin + 1) * blocks, error, patience)
                h = gather(box, inputs, copy, chunks, chunk, tid)
                sums = reduce(product(weights, inputs, h, tid, lane, quads), lane)
                states = recall(inputs, tid, chunk, states)
                new, values = advance(add_up(from_input, sums, (), biases), states, vector)
                states = choose(running, new, states)
                remember(inputs, tid, chunk, states)
                if mine and b < B:
                    desk(box, 1 - copy, chunks, chunk, my_row, u)[0] = states[0]
                if mine and running:
                    record(y, tape, saved, d, B, n, row, u, states, values)
            arrive(counters, group)

        for chunk in range(chunks):
            b = row_0 + chunk * ROWS + my_row
            states = recall(inputs, tid, chunk, states)
            if mine and b < B:
                store_states(offset(numbers(state), (d * B + b) * H + u), state_plane, states)

    return forward


def recording(p, n_: Sizes, v: Variant, training: bool):
    """``record(y, tape, saved, d, B, n, row, u, states, values)``: what a step leaves for the caller and for BPTT."""
    S, K, OUTPUT, H, D = n_.S, n_.K, n_.output, v.hidden, v.directions
    numbers, offset = p.numbers, p.offset
    store_others, store_saved, others = p.store(S - 1), p.store(K), other_states(p, n_)

    @p.inlined
    def output_alone(y, tape, saved, d, B, n, row, u, states, values):
        numbers(y)[((B + row) * D + d) * H + u] = states[OUTPUT]

    @p.inlined
    def all_of_it(y, tape, saved, d, B, n, row, u, states, values):
        numbers(y)[((B + row) * D + d) * H + u] = states[OUTPUT]
        store_others(offset(numbers(tape), (d * (S - 1) * (B + n) + B + row) * H + u), (B + n) * H, others(states))
        store_saved(offset(numbers(saved), (d * n + row) * K * H + u), H, values)

    return all_of_it if training else output_alone
