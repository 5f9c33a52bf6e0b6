"""Cells with a second recurrent product: gates that arrive as functions of what their weights multiply."""

import json
from pathlib import Path

import numpy as np
import pytest
import reference
from networks import Case, check_gradients, check_outputs
from reference import make_cell
from tolerances import DTYPES, GRADIENT, OUTPUT, assert_close

import nblstm
from nblstm import cell, cells, nn, sigmoid, tanh
from nblstm.cells import recurrent_dropout
from nblstm.cells.source import backward_functions, forward_functions
from nblstm.cells.stages import forward_program

SMALL = Case(T=3, B=2, I=3, H=5)
RAGGED = Case(T=4, B=3, I=3, H=7, num_layers=2, bidirectional=True, lengths=(2, 0, 4))
SEGMENTS = Case(T=190, B=9, I=5, H=23, bidirectional=True)

with np.load(Path(__file__).with_name("golden") / "keras_reset_before.npz") as archive:
    GOLDEN = {name: archive[name] for name in archive.files}
CASES = json.loads(str(GOLDEN["metadata"]))["cases"]

# --- Keras's GRU(reset_after=False) ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_keras(case, dtype):
    sizes = CASES[case]

    def golden(name):
        return GOLDEN[f"{case}/{name}"]

    net = nn.Recurrent(cells.gru_reset_before, sizes["I"], sizes["H"], bias=sizes["use_bias"], dtype=dtype)
    net.load_state_dict({name: golden(f"params/{name}") for name in net.state_dict()})
    y, (final,), tape = net.forward(golden("x"), (golden("h")[None],))
    np.testing.assert_array_equal(net(golden("x"), (golden("h")[None],))[0], y)
    assert_close(y, golden("y"), OUTPUT[dtype])
    assert_close(final[0], golden("final"), OUTPUT[dtype])
    gradients = net.backward(tape, golden("dy"), (golden("dh")[None],))
    for name, gradient in gradients.params.items():
        assert_close(gradient, golden(f"grads/{name}"), GRADIENT[dtype])
    assert_close(gradients.x, golden("grads/x"), GRADIENT[dtype])
    assert_close(gradients.state[0][0], golden("grads/h"), GRADIENT[dtype])


# --- a user's own cells ---------------------------------------------------------------------------


@cell(gates="k n r m", states="h s", split="k", called="n m", vectors="p", output="s")
def everything(k_x, k_h, n, r, m, h, s, p):
    """Two second gates among others, a split gate, a vector, an output of its own, a value that both stages need."""
    r = sigmoid(r + p * s)
    v = tanh(r * h + 0.5 * s)
    h = tanh(n(v)) * sigmoid(m(v)) + k_x * tanh(k_h) * 0.5
    return h, r * s + (1 - r) * h * v


def everything_oracle(k_x, k_h, n, r, m, h, s, p):
    r = reference.sigmoid(r + p * s)
    v = np.tanh(r * h + 0.5 * s)
    h = np.tanh(n(v)) * reference.sigmoid(m(v)) + k_x * np.tanh(k_h) * 0.5
    return h, r * s + (1 - r) * h * v


@cell(gates="a", states="h", called="a")
def alone(a, h):
    return tanh(a(h * h))


@cell(gates="r a", states="h", called="a")
def plain_operand(r, a, h):
    return sigmoid(r) * h + tanh(a(h))


@cell(gates="r a", states="h", called="a")
def constant_operand(r, a, h):
    return sigmoid(r) * h + tanh(a(0.5))


def masked_step(r, z, n, masked_h, h, mask):
    (h,) = reference.gru_reset_before(r, z, lambda v: n(mask * v), h)
    return mask * h, h, mask


OWN = {
    "everything": (
        everything,
        make_cell(everything_oracle, "k n r m", "h s", split="k", second="n m", vectors="p", output="s"),
    ),
    "alone": (alone, make_cell(lambda a, h: (np.tanh(a(h * h)),), "a", "h", second="a")),
    "plain_operand": (
        plain_operand,
        make_cell(lambda r, a, h: (reference.sigmoid(r) * h + np.tanh(a(h)),), "r a", "h", second="a"),
    ),
    "constant_operand": (
        constant_operand,
        make_cell(lambda r, a, h: (reference.sigmoid(r) * h + np.tanh(a(np.full_like(h, 0.5))),), "r a", "h",
                  second="a"),
    ),
    "recurrent_dropout": (
        recurrent_dropout(cells.gru_reset_before),
        make_cell(masked_step, "r z n", "masked_h h mask", second="n", output="h"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_own_cells(name):
    made, oracle = OWN[name]
    for case in (SMALL, RAGGED):
        check_outputs(made, oracle._replace(name=name), case, "float64")
        check_gradients(made, oracle._replace(name=name), case, "float64")


def test_an_own_cell_in_float32_over_segments_and_parts():
    check_outputs(*OWN["everything"], SEGMENTS, "float32")
    check_gradients(*OWN["everything"], SEGMENTS, "float32", samples=1)


@pytest.mark.parametrize("B", [1, 9])
def test_own_cells_have_the_same_bits_for_any_number_of_threads_and_checkpoints(B):
    net = nn.Recurrent(everything, 40, 83, 2, seed=0)
    x = np.random.default_rng(0).normal(size=(140, B, 40))
    before, results = nblstm.num_threads(), []
    try:
        for threads, checkpoint in ((1, None), (2, None), (3, 50), (7, 1)):
            nblstm.set_num_threads(threads)
            y, states, tape = net.forward(x, checkpoint=checkpoint)
            gradients = net.backward(tape, np.cos(y))
            results.append([net(x)[0], y, *states, gradients.flat, gradients.x, *gradients.state])
    finally:
        nblstm.set_num_threads(before)
    for others in results[1:]:
        for ours, theirs in zip(others, results[0], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_second_gates_on_plain_numbers():
    h = cells.gru_reset_before(0.3, -0.2, lambda v: 0.5 + 2 * v, 0.7)
    assert h == pytest.approx(float(reference.gru_reset_before(0.3, -0.2, lambda v: 0.5 + 2 * v, 0.7)[0]), rel=1e-14)


# --- generated code -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gru_reset_before", "everything"])
def test_source_runs(name):
    made, oracle = OWN.get(name) or (cells.gru_reset_before, reference.CELLS["gru_reset_before"])
    namespace = {f: lambda x, f=f: float(reference.FUNCTIONS[f](x)) for f in ("tanh", "sigmoid")} | {"real": float}
    exec(compile(made.source(dtype="float64"), f"<{name}>", "exec"), namespace)
    rng = np.random.default_rng(3)
    scalars = dict(zip(made.arguments, rng.normal(size=len(made.arguments)), strict=True))
    weights = dict(zip(made.called, rng.normal(size=len(made.called)), strict=True))

    def stepped(changed):
        gates = {g: lambda v, g=g: changed[g] + weights[g] * v for g in weights}
        return np.ravel(oracle.step(*(changed | gates).values()))

    def called(function, values):
        code = namespace[function.name]
        results = code(*(values[name] for name in function.arguments))
        return dict(zip((name.removeprefix("saved_") for name in function.results), results, strict=True))

    first, second = forward_functions(made)
    values = scalars | called(first, scalars)
    values |= {g: scalars[g] + w * values["operand_1"] for g, w in weights.items()}
    values |= called(second, values)
    np.testing.assert_allclose([values[f"new_{name}"] for name in made.states], stepped(scalars), rtol=1e-13)

    d_states = rng.normal(size=len(made.states))
    operand = values["operand_1"]
    values |= dict(zip((f"d{name}" for name in made.states), d_states, strict=True))
    second, first = backward_functions(made)
    derived = called(second, values)
    values["doperand_1"] = sum(weights[g] * derived[f"d{g}"] for g in weights)
    derived |= called(first, values)
    assert derived["operand_1"] == pytest.approx(operand, rel=1e-13)
    derived = {
        name: derived[f"d{name}_previous" if name in made.states else f"d{name}"] for name in made.arguments
    }  # fmt: skip
    for argument in made.arguments:
        above, below = (stepped(scalars | {argument: scalars[argument] + delta}) for delta in (1e-5, -1e-5))
        assert derived[argument] == pytest.approx(float(d_states @ (above - below)) / 2e-5, rel=1e-7, abs=1e-9)


def test_columns_of_each_product_lie_side_by_side():
    assert everything.preactivations == ("k_x", "n", "m", "r", "k_h")
    assert everything.arguments == ("k_x", "k_h", "n", "r", "m", "h", "s", "p")
    assert len(forward_program(everything).stages) == 2
    assert len(forward_program(cells.gru).stages) == 1
