"""The kernel of backpropagation through time that is launched once per sequence; the mirror of `persistent_forward`.

At each step, from the last: the cell's gradient for a thread's own unit and row gives the gradients of the
pre-activations; these are exchanged, and multiplied by the transposed recurrent weights. Letters as in
`persistent_forward`; a tile is M units.
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
from nblstm.cuda.kernels.tuples import (
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
    H, D, ROWS, TILE_WEIGHTS = v.hidden, v.directions, v.rows, v.quads * v.outputs * v.threads * 4
    numbers, integers, offset = p.numbers, p.integers, p.offset
    thread, shared = p.thread, p.shared
    place, span, locate, read = placing(p, v, v.outputs), spanning(p), locating(p), reading(p, n_, v)
    keep, product, reduce = keeping_weights(p, v), multiplying(p, v), reduce_over_lanes(p, v.lanes, ROWS * v.outputs, 1)
    box_of, desk, gather, arrive, wait = exchanging(p, v)
    remember, recall = remembering(p, v)
    load_states, load_saved, load_vectors = p.load(S), p.load(K), p.load(V)
    store_states, store_z, store_vectors, store_gates = p.store(S), p.store(P), p.store(V), p.store(G)
    choose, choose_gates, choose_vectors = p.choose(S), p.choose(G), p.choose(V)
    no_gates, no_vectors = p.zeros(G), p.zeros(V)
    add_vectors, recurrent = add(p, V), recurrent_part(p, n_)
    plus_output, plus_recurrent = add_to_output(p, n_), add_to_recurrent(p, n_)

    def backward(
        tiles, vectors, d_state, d_state_plane, dy, y, tape, saved, previous_0, previous_1, lengths, offsets, dz,
        d_vectors, mail, counters, error, patience, B, T, n, first, last, start_0, start_1, blocks, chunks, quads,
    ):  # fmt: skip
        tid, inputs = thread(), shared()
        group, part, lane, unit, my_row, answers = place(blocks)
        d, row_0 = group % D, group // D * ROWS * chunks
        mine, u = unit < H and answers, min(unit, H - 1)
        weights = keep(inputs, offset(numbers(tiles), (d * blocks + part) * TILE_WEIGHTS + tid * 4), tid)
        vector, d_vector = load_vectors(offset(numbers(vectors), d * V * H + u), H), no_vectors()
        start, (begin, end) = start_1 if d else start_0, span(d, first, last, T, integers(lengths)[row_0])
        previous = integers(previous_1 if d else previous_0)
        at_y, at_tape = offset(numbers(y), d * H + u), offset(numbers(tape), d * (S - 1) * (B + n) * H + u)

        box = box_of(mail, group, chunks, inputs)
        for chunk in range(chunks):
            b = min(row_0 + chunk * ROWS + my_row, B - 1)
            d_states = load_states(offset(numbers(d_state), (d * B + b) * H + u), d_state_plane)
            remember(inputs, tid, chunk, d_states)

        for k in range(end - begin):
            i, copy = end - 1 - k, k & 1
            t = T - 1 - i if d else i
            for chunk in range(chunks):
                b = row_0 + chunk * ROWS + my_row
                running, row = locate(t, b, B, lengths, offsets, start)
                new, old = read(at_y, at_tape, B, n, B + row), read(at_y, at_tape, B, n, previous[row])
                values = load_saved(offset(numbers(saved), (d * n + row) * K * H + u), H)
                d_states = recall(inputs, tid, chunk, d_states)
                d_new = plus_output(d_states, numbers(dy)[((start + row) * D + d) * H + u])
                d_sums, d_old, d_used = reverse(d_new, values, old, new, vector)
                d_states = choose(running, d_old, d_states)
                d_vector = choose_vectors(running, add_vectors(d_vector, d_used), d_vector)
                remember(inputs, tid, chunk, d_states)
                if mine and b < B:
                    d_gates = choose_gates(running, recurrent(d_sums), no_gates())
                    store_gates(desk(box, copy, chunks, chunk, my_row, u), H, d_gates)
                if mine and running:
                    store_z(offset(numbers(dz), (d * n + row) * P * H + u), H, d_sums)
            arrive(counters, group)
            wait(counters, group, (k + 1) * blocks, error, patience)
            for chunk in range(chunks):
                running, row = locate(t, row_0 + chunk * ROWS + my_row, B, lengths, offsets, start)
                gates = gather(box, inputs, copy, chunks, chunk, tid)
                total = reduce(product(weights, inputs, gates, tid, lane, quads), lane)
                d_states = recall(inputs, tid, chunk, d_states)
                d_states = choose(running, plus_recurrent(d_states, total[0]), d_states)
                remember(inputs, tid, chunk, d_states)

        for chunk in range(chunks):
            b = row_0 + chunk * ROWS + my_row
            d_states = recall(inputs, tid, chunk, d_states)
            if mine and b < B:
                store_states(offset(numbers(d_state), (d * B + b) * H + u), d_state_plane, d_states)
        if mine and row_0 + my_row < B:
            at_vectors = offset(numbers(d_vectors), (d * B + row_0 + my_row) * V * H + u)
            store_vectors(at_vectors, H, add_vectors(load_vectors(at_vectors, H), d_vector))

    return backward


def reading(p, n_: Sizes, v: Variant):
    """``read(at_y, at_tape, B, n, row)``: a unit's states in a row of the record, before which the initial ones lie."""
    H, D, offset, load_others, with_output = v.hidden, v.directions, p.offset, p.load(n_.S - 1), all_states(p, n_)

    @p.inlined
    def read(at_y, at_tape, B, n, row):
        return with_output(at_y[row * D * H], load_others(offset(at_tape, row * H), (B + n) * H))

    return read
