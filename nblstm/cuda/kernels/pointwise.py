"""One step of one layer and direction, when its matrix product is a library's: a thread for each row and unit.

T time, B batch, H hidden, G gates, P pre-activations, S states, K saved values, V vectors. Rows are packed as in
`nblstm.buffers.batch`; arrays of states hold the B states before the first step, then the packed rows.
"""

from __future__ import annotations

from nblstm.cells.cell import Cell
from nblstm.cuda.kernels.cell_functions import Sizes, cell_functions
from nblstm.cuda.kernels.tuples import add, add_to_output, all_states, other_states, preactivations

#: Arguments of the kernels, all int64: addresses, sizes and distances counted in numbers.
FORWARD = (
    "rows", "H",
    "z",  # (rows, G H), the input's part of the pre-activations
    "r",  # (rows, G H), the recurrence's part
    "bias",  # (P H,)
    "vectors",  # (V H,)
    "state", "state_plane",  # S planes of (B, H): in and out
    "y", "y_row",  # out: the output of each row
    "tape", "tape_plane",  # out, when training: the other states, (S - 1) planes
    "saved",  # out, when training: (rows, K H)
)  # fmt: skip
BACKWARD = (
    "rows", "H",
    "d_state", "d_state_plane",  # S planes of (B, H): gradient of new states in; of old ones out, without R's part
    "dy", "dy_row",
    "saved",
    "first",  # where this step's rows begin among the packed rows
    "previous",  # for each packed row, where its previous state is
    "y_all", "y_row", "tape_all", "tape_plane",  # states before the first step, then of all packed rows
    "B",
    "vectors", "d_vectors",  # (V H,), and (B, V H), added to
    "dz",  # out: (rows, P H)
)  # fmt: skip


def forward_kernel(p, cell: Cell, training: bool):
    """The kernel that turns pre-activations into states, for some primitives; its arguments are `FORWARD`."""
    n, advance = Sizes.of(cell), cell_functions(cell, p)["advance"]
    G, P, S, K, V, OUTPUT = n.G, n.P, n.S, n.K, n.V, n.output
    numbers, offset, block, block_size, thread = p.numbers, p.offset, p.block, p.block_size, p.thread
    load_gates, load_biases, load_states, load_vectors = p.load(G), p.load(P), p.load(S), p.load(V)
    store_states, store_saved = p.store(S), p.store(K)
    add_up, taped, store_taped = preactivations(p, n), other_states(p, n), p.store(S - 1)

    def step(rows, H, z, r, bias, vectors, state, state_plane, y, y_row, tape, tape_plane, saved):
        k = block() * block_size() + thread()
        if k < rows * H:
            b, u = k // H, k % H
            at_gates = b * G * H + u
            old_state = offset(numbers(state), b * H + u)
            sums = add_up(
                load_gates(offset(numbers(z), at_gates), H),
                load_gates(offset(numbers(r), at_gates), H),
                (),
                load_biases(offset(numbers(bias), u), H),
            )
            new, values = advance(
                sums, load_states(old_state, state_plane), load_vectors(offset(numbers(vectors), u), H)
            )
            store_states(old_state, state_plane, new)
            numbers(y)[b * y_row + u] = new[OUTPUT]
            if training:
                store_taped(offset(numbers(tape), b * H + u), tape_plane, taped(new))
                store_saved(offset(numbers(saved), b * K * H + u), H, values)

    return step


def backward_kernel(p, cell: Cell):
    """The kernel of the gradient of one step; its arguments are `BACKWARD`."""
    n, reverse = Sizes.of(cell), cell_functions(cell, p)["reverse"]
    P, S, K, V = n.P, n.S, n.K, n.V
    numbers, integers, offset = p.numbers, p.integers, p.offset
    block, block_size, thread = p.block, p.block_size, p.thread
    load_states, load_taped, load_saved, load_vectors = p.load(S), p.load(S - 1), p.load(K), p.load(V)
    store_states, store_z, store_vectors = p.store(S), p.store(P), p.store(V)
    with_output, plus_output, add_vectors = all_states(p, n), add_to_output(p, n), add(p, V)

    def step(
        rows, H, d_state, d_state_plane, dy, dy_row, saved, first, previous, y_all, y_row, tape_all, tape_plane, B,
        vectors, d_vectors, dz,
    ):  # fmt: skip
        k = block() * block_size() + thread()
        if k < rows * H:
            b, u = k // H, k % H
            here, before = B + first + b, integers(previous)[first + b]
            d_at = offset(numbers(d_state), b * H + u)
            new = with_output(
                numbers(y_all)[here * y_row + u], load_taped(offset(numbers(tape_all), here * H + u), tape_plane)
            )
            old = with_output(
                numbers(y_all)[before * y_row + u], load_taped(offset(numbers(tape_all), before * H + u), tape_plane)
            )
            d_new = plus_output(load_states(d_at, d_state_plane), numbers(dy)[b * dy_row + u])
            values = load_saved(offset(numbers(saved), b * K * H + u), H)
            d_sums, d_old, d_vector = reverse(d_new, values, old, new, load_vectors(offset(numbers(vectors), u), H))
            store_states(d_at, d_state_plane, d_old)
            store_z(offset(numbers(dz), b * P * H + u), H, d_sums)
            d_vector_at = offset(numbers(d_vectors), b * V * H + u)
            store_vectors(d_vector_at, H, add_vectors(load_vectors(d_vector_at, H), d_vector))

    return step
