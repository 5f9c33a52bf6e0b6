"""The whole language of cells by CUDA's kernels, in the simulator: outputs, gradients and noise are the CPU's."""

import random

import numpy as np
import pytest
from backends import chosen
from cuda_cells import STEPS, plain
from cuda_simulator import Grid, SimulatedPrimitives, as_generator, pointer_to
from tolerances import GRADIENT, OUTPUT, assert_close

from nblstm import cell, cells, nn, noise, tanh
from nblstm.cells.cuda_source import forward_sources
from nblstm.cells.step_parts import backward_parts, forward_parts
from nblstm.cuda.kernels.step import reducing_over_block, shared_numbers

T, B, H = 4, 3, 6
#: Options of a network and of a pass, the latter with one letter before their names.
OPTIONS = {
    "forwards": {},
    "ragged": {"bidirectional": True, "_lengths": [2, 4, 0]},
    "reversed": {"reverse": True, "_lengths": [4, 1, 3]},
    "checkpoints": {"_lengths": [4, 2, 3], "_checkpoint": 2},
    "layers": {"num_layers": 2, "_checkpoint": 3},
}


def results(backend, made, dtype, **options):
    """Everything that a training pass, BPTT and inference return, by name."""
    of_pass = {name[1:]: options.pop(name) for name in [*options] if name[0] == "_"}
    rng = np.random.default_rng(5)
    with chosen(backend):
        net = nn.Recurrent(made, H if made.takes_x else 3, H, dtype=dtype, seed=2, **options)
        x = rng.normal(size=(T, B, net.input_size))
        signals = {name: rng.normal(size=(T, B, H)[: 2 + k % 2]) for k, name in enumerate(made.signals)}
        if signals:
            of_pass["signals"] = signals
        y, states, tape = net.forward(x, **of_pass)
        d_states = [rng.normal(size=state.shape) for state in states]
        gradients = net.backward(tape, rng.normal(size=y.shape), tuple(d_states))
        of_pass.pop("checkpoint", None)
        inferred, finals = net(x, **of_pass)
    outputs = {"y": y, "inferred": inferred, **{f"state {k}": state for k, state in enumerate([*states, *finals])}}
    found = {"dx": gradients.x, **gradients.params, **{f"d state {k}": d for k, d in enumerate(gradients.state)}}
    return outputs, found | {f"d {name}": d for name, d in gradients.signals.items()}


def check(backend, made, dtype, **options):
    ours, expected = (results(kind, made, dtype, **options) for kind in (backend, "cpu"))
    for own, other, tolerance in zip(ours, expected, (OUTPUT, GRADIENT), strict=True):
        assert own.keys() == other.keys()
        for name, array in own.items():
            assert array.dtype == dtype
            assert array.shape == other[name].shape
            assert_close(array, other[name], tolerance[dtype])


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", STEPS)
def test_cells(name, options):
    check("simulated steps", STEPS[name], "float64", **OPTIONS[options])


@pytest.mark.parametrize("name", STEPS)
def test_cells_in_float32(name):
    check("simulated steps", STEPS[name], "float32", **OPTIONS["ragged"])


@pytest.mark.parametrize("kind", ["steps", "alone", "together"])
def test_a_plain_cell_with_scalars(kind):
    check(f"simulated {kind}", plain, "float32", **OPTIONS["ragged"])


MATRICES = cells.antisymmetric(0.1), cells.heads(2), cells.low_rank(2), cells.dropconnect(0.3)


@pytest.mark.parametrize("matrix", MATRICES, ids=lambda matrix: type(matrix).__name__)
def test_recurrent_matrices(matrix):
    check("simulated together", cells.lstm.with_matrix(matrix), "float32", **OPTIONS["layers"])


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_projections(name):
    check("simulated steps", getattr(cells, name), "float64", proj_size=3, **OPTIONS["ragged"])


@pytest.mark.parametrize("per", ["step", "sequence"])
@pytest.mark.parametrize("options", ["ragged", "reversed"])
def test_masks_have_the_bits_of_the_cpu(options, per):
    @cell(gates="a", states="h c")
    def masks(a, h, c):
        first, second = noise.bernoulli(0.3, per=per), noise.bernoulli(0.8)
        return first + 2 * second, noise.normal(1.0, per=per)

    drawn = [results(kind, masks, "float32", **OPTIONS[options])[0] for kind in ("simulated steps", "cpu")]
    np.testing.assert_array_equal(drawn[0]["y"], drawn[1]["y"])
    assert len(np.unique(drawn[0]["y"])) == 4
    assert_close(drawn[0]["state 1"], drawn[1]["state 1"], OUTPUT["float32"])


@pytest.mark.parametrize("options", ["mask", "resets"])
def test_gaps_and_resets(options):
    flags = np.random.default_rng(1).random((T, B)) < 0.6
    check("simulated steps", STEPS["without_input"], "float64", **{f"_{options}": flags})


def test_parts_of_a_step():
    """A kernel follows each group of products, and does all stages up to the next."""
    assert len(forward_parts(cells.lstm)) == len(forward_parts(STEPS["normed"])) == 1
    assert len(backward_parts(STEPS["normed"])) == 2  # the last has the product for the first state alone
    assert [source.over_units for source in forward_sources(STEPS["normed"], "float32", True)] == [4]
    parts = forward_parts(STEPS["copied"])
    assert [[product.operand for product in part.products] for part in parts] == [[], ["b", "x"]]
    assert parts[0].copied == ["b", "x"]
    assert forward_parts(STEPS["independent"])[0].products == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("count", "threads"), [(1, 32), (3, 64), (2, 256)])
@pytest.mark.parametrize("maximum", [False, True])
def test_results_over_a_block(dtype, count, threads, maximum):
    """All threads get them, again and again, and no barrier is missing between two."""
    p, most = SimulatedPrimitives(dtype), 3
    thread, block_size, shared, numbers = p.thread, p.block_size, p.shared, p.numbers
    reduce = reducing_over_block(p, count, most, maximum)
    reduce_one = reducing_over_block(p, 1, most, maximum)
    values = np.random.default_rng(count).integers(-99, 99, (count, threads)).astype(dtype)
    found = np.full((threads, count + 1), np.nan, dtype)

    def kernel(given, taken):
        own = [numbers(given)[j * block_size() + thread()] for j in range(count)]
        totals = reduce(shared(), *own)
        (one,) = reduce_one(shared(), own[0])
        again = reduce(shared(), *own)
        for j in range(count):
            numbers(taken)[thread() * (count + 1) + j] = totals[j] if totals == again else numbers(given)[-1]
        numbers(taken)[thread() * (count + 1) + count] = one

    room = shared_numbers(most, threads)
    given = [pointer_to(values), pointer_to(found)]
    Grid(as_generator(kernel), 1, threads, given, room, random.Random(0), dtype).run()
    expected = values.max(axis=1) if maximum else values.sum(axis=1)
    np.testing.assert_array_equal(found, np.tile([*expected, expected[0]], (threads, 1)))


def test_sums_are_the_same_from_run_to_run():
    """The simulator takes threads in another order each time."""
    one, other = (results("simulated steps", STEPS["normed"], "float32") for _ in range(2))
    for own, again in zip((*one[0].values(), *one[1].values()), (*other[0].values(), *other[1].values()), strict=True):
        np.testing.assert_array_equal(own, again)


def test_tanh_of_nothing_that_recurs():
    @cell(gates="a", states="h", recurrent_only="a")
    def alone(a, h):
        return tanh(a)

    for kind in ("steps", "together"):
        check(f"simulated {kind}", alone, "float32", **OPTIONS["ragged"])
