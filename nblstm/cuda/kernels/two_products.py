"""One step of a cell with a second recurrent product: two launches each way, with a library's product in between.

Letters as in `pointwise`; C is the number of second gates.
"""

from __future__ import annotations

from nblstm.cells.cell import Cell
from nblstm.cuda.kernels.cell_functions import Sizes, cell_functions
from nblstm.cuda.kernels.tuples import add, add_to_output, all_states, other_states, preactivations

#: Arguments of both forward kernels, all int64: as `pointwise.FORWARD`, but for
FORWARD = (
    "rows", "H", "z",
    "r",  # (rows, (G - C) H), the recurrence's part of the other gates
    "r_second",  # (rows, C H), of the second gates: read by the second kernel
    "bias", "vectors", "state", "state_plane",
    "operand",  # (rows, H): written by the first kernel
    "y", "y_row", "tape", "tape_plane", "saved",
)  # fmt: skip

#: Arguments of both backward kernels: as `pointwise.BACKWARD`, and at the end
BACKWARD = (
    "rows", "H", "d_state", "d_state_plane", "dy", "dy_row", "saved", "first", "previous", "y_all", "y_row",
    "tape_all", "tape_plane", "B", "vectors", "d_vectors", "dz",
    "d_operand", "operand",  # (rows, H), read by the second kernel; and written by it
)  # fmt: skip


def _forward_parts(p, n: Sizes):
    """``inputs(k, ...)``: the row, the unit, and what both forward kernels read there."""
    numbers, offset = p.numbers, p.offset
    others = p.load(n.G - n.second)
    load_gates, load_biases, load_states, load_vectors = p.load(n.G), p.load(n.P), p.load(n.S), p.load(n.V)
    add_up, G, OTHERS = preactivations(p, n), n.G, n.G - n.second

    @p.inlined
    def inputs(k, H, z, r, r_second, bias, vectors, state, state_plane):
        b, u = k // H, k % H
        sums = add_up(
            load_gates(offset(numbers(z), b * G * H + u), H), others(offset(numbers(r), b * OTHERS * H + u), H),
            r_second, load_biases(offset(numbers(bias), u), H),
        )  # fmt: skip
        states = load_states(offset(numbers(state), b * H + u), state_plane)
        return b, u, sums, states, load_vectors(offset(numbers(vectors), u), H)

    return inputs


def operand_kernel(p, cell: Cell, training: bool):
    """The kernel before the second product; its arguments are `FORWARD`."""
    n, first = Sizes.of(cell), cell_functions(cell, p)["first"]
    K, early = n.K, cell.graph.saved_early
    numbers, offset, block, block_size, thread = p.numbers, p.offset, p.block, p.block_size, p.thread
    inputs, nothing, store_saved = _forward_parts(p, n), p.zeros(n.second), p.store(early)

    def step(
        rows, H, z, r, r_second, bias, vectors, state, state_plane, operand, y, y_row, tape, tape_plane, saved
    ):  # fmt: skip
        k = block() * block_size() + thread()
        if k < rows * H:
            b, u, sums, states, vector = inputs(k, H, z, r, nothing(), bias, vectors, state, state_plane)
            value, values = first(sums, states, vector)
            numbers(operand)[b * H + u] = value
            if training:
                store_saved(offset(numbers(saved), b * K * H + u), H, values)

    return step


def forward_kernel(p, cell: Cell, training: bool):
    """The kernel behind the second product; its arguments are `FORWARD`."""
    n, advance = Sizes.of(cell), cell_functions(cell, p)["advance"]
    K, C, OUTPUT, early = n.K, n.second, n.output, cell.graph.saved_early
    numbers, offset, block, block_size, thread = p.numbers, p.offset, p.block, p.block_size, p.thread
    inputs, load_second, store_saved = _forward_parts(p, n), p.load(n.second), p.store(n.K - early)
    store_states, taped, store_taped = p.store(n.S), other_states(p, n), p.store(n.S - 1)

    def step(
        rows, H, z, r, r_second, bias, vectors, state, state_plane, operand, y, y_row, tape, tape_plane, saved
    ):  # fmt: skip
        k = block() * block_size() + thread()
        if k < rows * H:
            second = load_second(offset(numbers(r_second), k // H * C * H + k % H), H)
            b, u, sums, states, vector = inputs(k, H, z, r, second, bias, vectors, state, state_plane)
            new, values = advance(sums, states, vector)
            store_states(offset(numbers(state), b * H + u), state_plane, new)
            numbers(y)[b * y_row + u] = new[OUTPUT]
            if training:
                store_taped(offset(numbers(tape), b * H + u), tape_plane, taped(new))
                store_saved(offset(numbers(saved), (b * K + early) * H + u), H, values)

    return step


def _backward_parts(p, n: Sizes):
    """``inputs(k, ...)``: the row, the unit, and what both backward kernels read there."""
    numbers, integers, offset, K = p.numbers, p.integers, p.offset, n.K
    load_states, load_taped, load_saved, load_vectors = p.load(n.S), p.load(n.S - 1), p.load(n.K), p.load(n.V)
    with_output, plus_output = all_states(p, n), add_to_output(p, n)

    @p.inlined
    def inputs(
        k, H, d_state, d_state_plane, dy, dy_row, saved, first, previous, y_all, y_row, tape_all, tape_plane, B, vectors
    ):  # fmt: skip
        b, u = k // H, k % H
        here, before = B + first + b, integers(previous)[first + b]
        y, tape = offset(numbers(y_all), u), offset(numbers(tape_all), u)
        new = with_output(y[here * y_row], load_taped(offset(tape, here * H), tape_plane))
        old = with_output(y[before * y_row], load_taped(offset(tape, before * H), tape_plane))
        d_new = plus_output(
            load_states(offset(numbers(d_state), b * H + u), d_state_plane), numbers(dy)[b * dy_row + u]
        )
        values = load_saved(offset(numbers(saved), b * K * H + u), H)
        return b, u, d_new, values, old, new, load_vectors(offset(numbers(vectors), u), H)

    return inputs


def second_gradient_kernel(p, cell: Cell):
    """The kernel of the second gates' gradients; its arguments are `BACKWARD`."""
    n, reverse_second = Sizes.of(cell), cell_functions(cell, p)["reverse_second"]
    P, SPLIT = n.P, n.split
    numbers, offset, block, block_size, thread = p.numbers, p.offset, p.block, p.block_size, p.thread
    inputs, store = _backward_parts(p, n), p.store(n.second)

    def step(
        rows, H, d_state, d_state_plane, dy, dy_row, saved, first, previous, y_all, y_row, tape_all, tape_plane, B,
        vectors, d_vectors, dz, d_operand, operand,
    ):  # fmt: skip
        k = block() * block_size() + thread()
        if k < rows * H:
            b, u, d_new, values, old, new, vector = inputs(
                k, H, d_state, d_state_plane, dy, dy_row, saved, first, previous, y_all, y_row, tape_all, tape_plane, B,
                vectors,
            )  # fmt: skip
            store(offset(numbers(dz), (b * P + SPLIT) * H + u), H, reverse_second(d_new, values, old, new, vector))

    return step


def backward_kernel(p, cell: Cell):
    """The kernel of the other gradients, when the operand's is known; its arguments are `BACKWARD`."""
    n, reverse = Sizes.of(cell), cell_functions(cell, p)["reverse"]
    P, V, SPLIT, OTHERS = n.P, n.V, n.split, n.split + n.second
    numbers, offset, block, block_size, thread = p.numbers, p.offset, p.block, p.block_size, p.thread
    inputs, add_vectors, load_vectors, store_vectors = _backward_parts(p, n), add(p, n.V), p.load(n.V), p.store(n.V)
    store_states, store_halves, store_others = p.store(n.S), p.store(n.split), p.store(n.P - n.split - n.second)

    def step(
        rows, H, d_state, d_state_plane, dy, dy_row, saved, first, previous, y_all, y_row, tape_all, tape_plane, B,
        vectors, d_vectors, dz, d_operand, operand,
    ):  # fmt: skip
        k = block() * block_size() + thread()
        if k < rows * H:
            b, u, d_new, values, old, new, vector = inputs(
                k, H, d_state, d_state_plane, dy, dy_row, saved, first, previous, y_all, y_row, tape_all, tape_plane, B,
                vectors,
            )  # fmt: skip
            value, d_sums, d_old, d_vector = reverse(numbers(d_operand)[b * H + u], d_new, values, old, new, vector)
            numbers(operand)[b * H + u] = value
            store_states(offset(numbers(d_state), b * H + u), d_state_plane, d_old)
            d_sums_at = offset(numbers(dz), b * P * H + u)
            store_halves(d_sums_at, H, d_sums[:SPLIT])
            store_others(offset(d_sums_at, OTHERS * H), H, d_sums[SPLIT:])
            d_vector_at = offset(numbers(d_vectors), b * V * H + u)
            store_vectors(d_vector_at, H, add_vectors(load_vectors(d_vector_at, H), d_vector))

    return step
