"""Kernels of one step of one direction; the matrix products between them are a library's. One thread per row and unit.

A step, from row b of the state before it (h is the first state):

    r = W_hh h of the gates without a second product          by the library
    operand = operand(z + r + bias, state)                    `operand_kernel`, if the cell has second gates
    r_second = W_hh operand                                   by the library, likewise
    state, saved = forward(z + r + r_second + bias, state)    `forward_kernel`

and its gradient:

    dz of the second gates                                    `second_backward_kernel`, likewise
    d_operand = W_hh^T dz of the second gates                 by the library, likewise
    dz of the others, d_state, operand once more              `backward_kernel`
    dh += W_hh^T dz of the others                             by the library

Letters and arguments are those of `nblstm.cuda.kernels.arguments`; u is a unit. Neighbouring threads have neighbouring
units, so their accesses to memory fall together. Nothing is in shared memory, and threads never wait for each other.
"""

from __future__ import annotations

from nblstm.cells.cell import Cell
from nblstm.cuda.kernels.cell_functions import CellSizes, cell_functions


def operand_kernel(p, cell: Cell, training: bool):
    """Kernel before the second product: what that multiplies. Its argument is a `StepForward`."""
    n, f = CellSizes.of(cell), cell_functions(cell, p)
    K, read, cell_operand = n.K, _forward_reader(p, n, f), f.cell_operand
    numbers, offset, block, block_size, thread = p.numbers, p.offset, p.block, p.block_size, p.thread
    no_second, store_operand, store_saved = p.zeros(n.C), p.store(1), p.store(n.early)

    def step_operand(a):
        k = block() * block_size() + thread()
        if k < a.rows * a.H:
            b, u = k // a.H, k % a.H
            # operand[b,u] of the gates that are known; the second gates' part is not read.
            z, state, vector = read(a, b, u, no_second())
            operand, saved = cell_operand(z, state, vector)
            store_operand(offset(numbers(a.operand), b * a.H + u), 0, operand)
            if training:
                store_saved(offset(numbers(a.saved), b * K * a.H + u), a.H, saved)

    return step_operand


def forward_kernel(p, cell: Cell, training: bool):
    """Kernel behind all products: pre-activations become states. Its argument is a `StepForward`."""
    n, f = CellSizes.of(cell), cell_functions(cell, p)
    K, C, EARLY, OUTPUT = n.K, n.C, n.early, n.output
    read, cell_forward, select_other_states = _forward_reader(p, n, f), f.cell_forward, f.select_other_states
    numbers, offset, block, block_size, thread = p.numbers, p.offset, p.block, p.block_size, p.thread
    load_second, store_saved = p.load(n.C), p.store(n.K - n.early)
    store_states, store_others = p.store(n.S), p.store(n.S - 1)

    def step_forward(a):
        k = block() * block_size() + thread()
        if k < a.rows * a.H:
            b, u = k // a.H, k % a.H
            # state[b,u], saved[b,u] = forward(z[b,:,u] + r[b,:,u] + r_second[b,:,u] + bias[:,u], state[b,u])
            second = load_second(offset(numbers(a.r_second), b * C * a.H + u), a.H)
            z, state, vector = read(a, b, u, second)
            new, saved = cell_forward(z, state, vector)
            store_states(offset(numbers(a.state), b * a.H + u), a.state_plane, new)
            numbers(a.y)[b * a.y_row + u] = new[OUTPUT]
            # For BPTT: the states that y does not hold, and the saved values behind those of `operand_kernel`.
            if training:
                others = offset(numbers(a.other_states), b * a.H + u)
                store_others(others, a.other_states_plane, select_other_states(new))
                store_saved(offset(numbers(a.saved), (b * K + EARLY) * a.H + u), a.H, saved)

    return step_forward


def _forward_reader(p, n: CellSizes, f):
    """``read(a, b, u, second) -> z, state, vector``: all pre-activations, and the states before the step."""
    G, REST = n.G, n.G - n.C
    numbers, offset, preactivations = p.numbers, p.offset, f.preactivations
    load_gates, load_rest, load_biases = p.load(G), p.load(REST), p.load(n.P)
    load_states, load_vectors = p.load(n.S), p.load(n.V)

    @p.inlined
    def read(a, b, u, second):
        z = preactivations(
            load_gates(offset(numbers(a.z), b * G * a.H + u), a.H),
            load_rest(offset(numbers(a.r), b * REST * a.H + u), a.H),
            second,
            load_biases(offset(numbers(a.bias), u), a.H),
        )
        state = load_states(offset(numbers(a.state), b * a.H + u), a.state_plane)
        return z, state, load_vectors(offset(numbers(a.vectors), u), a.H)

    return read


def second_backward_kernel(p, cell: Cell):
    """Kernel of the second gates' gradients, before the product with them. Its argument is a `StepBackward`."""
    n, f = CellSizes.of(cell), cell_functions(cell, p)
    P, SPLIT, read, cell_backward_second = n.P, n.split, _backward_reader(p, n, f), f.cell_backward_second
    numbers, offset, block, block_size, thread = p.numbers, p.offset, p.block, p.block_size, p.thread
    store_second = p.store(n.C)

    def step_second_backward(a):
        k = block() * block_size() + thread()
        if k < a.rows * a.H:
            b, u = k // a.H, k % a.H
            # dz[b,second gates,u], which lie behind the first halves of split gates
            d_new, saved, state, new, vector = read(a, b, u)
            d_second = cell_backward_second(d_new, saved, state, new, vector)
            store_second(offset(numbers(a.dz), (b * P + SPLIT) * a.H + u), a.H, d_second)

    return step_second_backward


def backward_kernel(p, cell: Cell):
    """Kernel of the other gradients, when d_operand is known. Its argument is a `StepBackward`."""
    n, f = CellSizes.of(cell), cell_functions(cell, p)
    P, V, SPLIT, REST = n.P, n.V, n.split, n.split + n.C
    read, cell_backward, add_vectors = _backward_reader(p, n, f), f.cell_backward, f.add_vectors
    numbers, offset, block, block_size, thread = p.numbers, p.offset, p.block, p.block_size, p.thread
    load_operand, store_operand = p.load(1 if n.C else 0), p.store(1 if n.C else 0)
    load_vectors, store_vectors, store_states = p.load(V), p.store(V), p.store(n.S)
    store_halves, store_rest = p.store(SPLIT), p.store(P - REST)

    def step_backward(a):
        k = block() * block_size() + thread()
        if k < a.rows * a.H:
            b, u = k // a.H, k % a.H
            # operand[b,u], dz[b,:,u], d_state[b,u], dv = gradient of the step by d_operand[b,u] and d_new[b,u]
            d_new, saved, state, new, vector = read(a, b, u)
            d_operand = load_operand(offset(numbers(a.d_operand), b * a.H + u), 0)
            operand, dz, d_state, dv = cell_backward(d_operand, d_new, saved, state, new, vector)
            store_operand(offset(numbers(a.operand), b * a.H + u), 0, operand)
            store_states(offset(numbers(a.d_state), b * a.H + u), a.d_state_plane, d_state)
            # dz of all but the second gates: those lie between the first halves of split gates and the rest.
            at_dz = offset(numbers(a.dz), b * P * a.H + u)
            store_halves(at_dz, a.H, dz[:SPLIT])
            store_rest(offset(at_dz, REST * a.H), a.H, dz[SPLIT:])
            # d_vectors[b,:,u] += dv
            at_vectors = offset(numbers(a.d_vectors), b * V * a.H + u)
            store_vectors(at_vectors, a.H, add_vectors(load_vectors(at_vectors, a.H), dv))

    return step_backward


def _backward_reader(p, n: CellSizes, f):
    """``read(a, b, u) -> d_new, saved, state, new, vector``: what the gradient of a step depends on."""
    K, join_states, add_dy = n.K, f.join_states, f.add_dy
    numbers, integers, offset = p.numbers, p.integers, p.offset
    load_states, load_others, load_saved, load_vectors = p.load(n.S), p.load(n.S - 1), p.load(n.K), p.load(n.V)

    @p.inlined
    def read(a, b, u):
        # The states behind the step are those of this row, the states before it those of the row `previous`.
        here, before = a.B + a.first + b, integers(a.previous)[a.first + b]
        y, others = offset(numbers(a.y), u), offset(numbers(a.other_states), u)
        new = join_states(y[here * a.y_row], load_others(offset(others, here * a.H), a.other_states_plane))
        state = join_states(y[before * a.y_row], load_others(offset(others, before * a.H), a.other_states_plane))
        # d_new = d_state, + dy for the state that is the output
        d_state = load_states(offset(numbers(a.d_state), b * a.H + u), a.d_state_plane)
        d_new = add_dy(d_state, numbers(a.dy)[b * a.dy_row + u])
        saved = load_saved(offset(numbers(a.saved), b * K * a.H + u), a.H)
        return d_new, saved, state, new, load_vectors(offset(numbers(a.vectors), u), a.H)

    return read
