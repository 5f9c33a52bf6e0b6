"""The simulator of a GPU: what it computes, and the mistakes in kernels that it finds."""

import math
import random
from typing import NamedTuple

import numpy as np
import pytest
from backends import chosen
from cuda_simulator import Grid, SimulatedError, SimulatedPrimitives, SimulatedRuntime, as_generator, pointer_to

from nblstm import cells, nn
from nblstm.cuda.gpu import Gpu
from nblstm.cuda.kernels.arguments import Kernel
from nblstm.cuda.kernels.cell_functions import CellSizes, cell_source
from nblstm.cuda.kernels.exchange import barrier
from nblstm.cuda.kernels.sequence_parts import reducing_over_lanes

p = SimulatedPrimitives("float32")
thread, block, shared, sync_block, shuffle = p.thread, p.block, p.shared, p.sync_block, p.shuffle
numbers, words, add_release, load_acquire = p.numbers, p.words, p.add_release, p.load_acquire
arrive, wait = barrier(p)


def launch(kernel, blocks, threads, *arguments, shared_numbers=64, seed=0):
    given = [pointer_to(a) if isinstance(a, np.ndarray) else a for a in arguments]
    Grid(as_generator(kernel), blocks, threads, given, shared_numbers, random.Random(seed)).run()


@pytest.mark.parametrize("seed", range(5))
def test_blocks_run_at_once_and_meet(seed):
    """Each step adds up what all blocks wrote in the step before: wrong if blocks ran one after another."""

    def kernel(values, counter, error, steps, blocks):
        mine = block() * 32 + thread()
        for step in range(steps):
            old, new = step % 2 * blocks * 32, (1 - step % 2) * blocks * 32
            total = numbers(values)[old + mine]
            for other in range(blocks):
                total = total + numbers(values)[old + other * 32 + thread()]
            numbers(values)[new + mine] = total
            arrive(words(counter))
            wait(words(counter), (step + 1) * blocks, words(error), 1000)

    values = np.zeros((2, 3, 32), np.float32)
    values[0] = start = np.random.default_rng(seed).integers(0, 9, (3, 32))
    error = np.zeros(1, np.int32)
    launch(kernel, 3, 32, values, np.zeros(1, np.int32), error, 4, 3, seed=seed)
    for _ in range(4):
        start = start + start.sum(axis=0)
    np.testing.assert_array_equal(values[0], start)
    assert error[0] == 0


def test_a_lost_block_leaves_an_error_and_no_hang():
    def kernel(counter, error):
        if block() < 2:
            arrive(words(counter))
            wait(words(counter), 3, words(error), 50)

    error = np.zeros(1, np.int32)
    launch(kernel, 3, 32, np.zeros(1, np.int32), error)
    assert error[0] > 0


@pytest.mark.parametrize(("lanes", "groups", "width"), [(4, 4, 3), (8, 2, 4), (32, 8, 1), (16, 1, 2), (32, 32, 1)])
def test_sums_over_lanes(lanes, groups, width):
    reduce = reducing_over_lanes(p, lanes, groups, width)
    values = np.random.default_rng(0).integers(-9, 9, (32, groups * width)).astype(np.float32)
    results = np.full((32, width), np.nan, np.float32)

    def kernel(given, taken):
        k = thread()
        totals = reduce([numbers(given)[k * groups * width + j] for j in range(groups * width)], k % lanes)
        for j in range(width):
            numbers(taken)[k * width + j] = totals[j]

    launch(kernel, 1, 32, values, results)
    for k in range(32):
        tile, lane = k // lanes * lanes, k % lanes
        sums = values[tile : tile + lanes].sum(axis=0).reshape(groups, width)
        np.testing.assert_array_equal(results[k], sums[lane // (lanes // groups)])


def written_and_read_at_once():
    place = shared()
    place[thread()] = 1.0
    place[(thread() + 1) % 32]


def ordered():
    place = shared()
    place[thread()] = 1.0
    sync_block()
    place[(thread() + 1) % 32]


def one_place_for_all():
    shared()[0] = 1.0


def outside():
    shared()[64 + thread()] = 1.0


def half_a_barrier():
    if thread() < 16:
        sync_block()


def half_a_shuffle():
    if thread() < 16:
        shuffle(1.0, 1)
    else:
        sync_block()


def two_masks():
    shuffle(1.0, 1 if thread() < 16 else 2)


def not_aligned():
    p.store_quad(shared(), 4 * thread() + 1, (1.0, 1.0, 1.0, 1.0))


def never_ended():
    p.begin_copy(shared(), p.offset(shared(), 128), 4 * thread())


MISTAKES = {
    written_and_read_at_once: "no barrier between", one_place_for_all: "no barrier between", outside: "is outside",
    half_a_barrier: "left behind", half_a_shuffle: "wait", two_masks: "shuffle by", not_aligned: "not aligned",
    never_ended: "ended before the copies",
}  # fmt: skip


@pytest.mark.parametrize("kernel", MISTAKES)
def test_mistakes_are_found(kernel):
    with pytest.raises(SimulatedError, match=MISTAKES[kernel]):
        launch(_with_a_barrier(kernel), 1, 32, shared_numbers=32 if kernel is outside else 200)


def _with_a_barrier(kernel):
    """So that it is a generator even where the mistake is to have no barrier."""

    def both():
        kernel_(), sync_block()

    kernel_ = kernel
    return both


def test_what_a_barrier_orders_is_no_mistake():
    launch(ordered, 1, 32)


def test_a_block_that_is_lost_raises_and_the_next_call_works(monkeypatch):
    with chosen("simulated together") as runtime:
        net = nn.LSTM(3, 7, seed=0)
        x = np.random.default_rng(0).normal(size=(5, 2, 3))
        expected, _ = net(x)
        complete = runtime.launch
        monkeypatch.setattr(runtime, "timeout", 20)
        monkeypatch.setattr(
            runtime,
            "launch",
            lambda kernel, told, blocks, *rest, **more: complete(kernel, told, blocks - 1, *rest, **more),
        )
        with pytest.raises(RuntimeError, match="waited in vain"):
            net(x)
        monkeypatch.undo()
        np.testing.assert_array_equal(net(x)[0], expected)


def test_a_step_whose_block_is_lost_raises(monkeypatch):
    with chosen("simulated together") as runtime:
        step = nn.LSTM(3, 7, seed=0).stepper(2)
        complete = runtime.launch
        monkeypatch.setattr(runtime, "timeout", 20)
        monkeypatch.setattr(
            runtime,
            "launch",
            lambda kernel, told, blocks, *rest, **more: complete(kernel, told, blocks - 1, *rest, **more),
        )
        with pytest.raises(RuntimeError, match="waited in vain"):
            step(np.ones((2, 3), "float32"))


@pytest.mark.parametrize("cell", [cells.lstm, cells.gru, cells.rnn_tanh], ids=lambda cell: cell.name)
def test_device_functions_are_plain_python(cell):
    """They can be read, and run, where there is neither a GPU nor its libraries."""
    names = {"tanh": math.tanh, "sigmoid": lambda x: 1 / (1 + math.exp(-x)), "real": float}
    names["inlined"] = lambda function: function
    exec(cell_source(cell, "float64"), names)
    n, rng = CellSizes.of(cell), np.random.default_rng(0)
    z, r, bias, state = (rng.normal(size=k) for k in (n.G, n.R, n.P, n.S))
    sums = names["preactivations"](z, r, bias)
    values = dict(zip(cell.preactivations, sums, strict=True)) | dict(zip(cell.states, state, strict=True))
    new, _ = names["cell_forward"](sums, state, ())
    expected = np.ravel(cell(*(values[name] for name in cell.arguments)))
    np.testing.assert_allclose(new, [float(value) for value in expected], rtol=1e-12)
    assert names["join_states"](new[n.output], names["select_other_states"](new)) == new


class One(NamedTuple):
    number: int


def test_launches_are_checked():
    runtime = SimulatedRuntime(Gpu("small", (8, 0), 2, 1024))
    kernel = Kernel("k", "float32", 32, One, "", lambda p: lambda a: None)
    runtime.launch(kernel, One(1), 1, 32)
    for arguments, blocks, threads, options in (
        (One(1), 1, 64, {}), (One(1), 0, 32, {}), ((1,), 1, 32, {}), (One(0.5), 1, 32, {}),
        (One(1), 1, 32, {"shared": 2048}), (One(1), 3, 32, {"cooperative": True}),
    ):  # fmt: skip
        with pytest.raises(AssertionError):
            runtime.launch(kernel, arguments, blocks, threads, **options)


@pytest.mark.parametrize("kind", ["steps", "alone", "together"])
def test_no_grid_depends_on_the_number_of_steps(kind):
    """A dimension of a grid may end at 65,535; sequences do not."""
    grids = []
    for T in (2, 7):
        with chosen(f"simulated {kind}") as runtime:
            net = nn.LSTM(3, 7, bidirectional=True, seed=0)
            y, _, tape = net.forward(np.ones((T, 2, 3)))
            net.backward(tape, y)
            grids.append(set(runtime.launched))
    assert grids[0] == grids[1]
